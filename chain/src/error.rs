//! Why a transaction or a block is refused. Everything here is the fault of whoever sent it; what
//! can go wrong on our own side is in [`crate::tree::TreeError`] and [`crate::store::StoreError`].

use cifer_genesis::{
    BlockHash, ContributorId, Hash32, Height, ModelRoot, RoundId, SignatureError, StateRoot,
    TaskId, TimestampMs, TxHash, ValidatorId,
};

use crate::{
    evidence::Culprit, key::OffenceSite, private::PrivateError, validators::CertificateError,
};

/// Why a transaction is refused. The state is as if it had never been seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    /// Larger than the network allows.
    #[error("transaction of {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Encoded length.
        bytes: u64,
        /// `limits.max_tx_bytes`.
        limit: u64,
    },
    /// Already in this block.
    #[error("transaction {0} is already in the block")]
    Duplicate(TxHash),
    /// No room in this block; it may go into the next one.
    #[error("block is full: {bytes} bytes with this transaction; the limit is {limit}")]
    BlockFull {
        /// Encoded length that the block would have.
        bytes: u64,
        /// `limits.max_block_bytes`.
        limit: u64,
    },
    /// No such task.
    #[error("unknown task {0}")]
    UnknownTask(TaskId),
    /// All rounds are done.
    #[error("task {0} is complete: all its rounds are done")]
    TaskComplete(TaskId),
    /// For another round than the current one: stale, or too early.
    #[error("task {task}: for round {got}, the current round is {current}")]
    WrongRound {
        /// Task.
        task: TaskId,
        /// Round of the transaction.
        got: RoundId,
        /// Current round.
        current: RoundId,
    },
    /// The round's set is fixed.
    #[error("task {task}: round {round} is closed")]
    RoundClosed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
    },
    /// A result for a round that still takes updates.
    #[error("task {task}: round {round} is still open")]
    RoundOpen {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
    },
    /// Trained from another model.
    #[error("task {task}: base model {got}, round {round} starts from {expected}")]
    WrongBase {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Base of the transaction.
        got: ModelRoot,
        /// Model of the round.
        expected: ModelRoot,
    },
    /// Not a contributor of this network.
    #[error("contributor {0} is not registered")]
    NotRegistered(ContributorId),
    /// One turn a round, and it is used.
    #[error("task {task}: contributor {contributor} has used its turn of round {round}")]
    TurnUsed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Whose turn.
        contributor: ContributorId,
    },
    /// As many turns as the policy allows are used.
    #[error("task {task}: round {round} is full with {max_updates} updates")]
    RoundFull {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// The policy's bound.
        max_updates: u64,
    },
    /// Payload above the network's limit.
    #[error("payload of {bytes} bytes; the limit is {limit}")]
    PayloadTooLarge {
        /// Committed length.
        bytes: u64,
        /// `limits.max_payload_bytes`.
        limit: u64,
    },
    /// Payload of another length than the manifest's.
    #[error("payload of {bytes} bytes; the manifest of task {task} needs {expected}")]
    WrongPayloadLength {
        /// Task.
        task: TaskId,
        /// Committed length.
        bytes: u64,
        /// Length of the manifest.
        expected: u64,
    },
    /// An update of no samples.
    #[error("samples is 0; at least 1 is needed")]
    NoSamples,
    /// The sender's signature is not right.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The certificate is not right.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Contributors come from genesis only.
    #[error("registration is closed: contributors are named in genesis")]
    RegistrationClosed,
    /// Already a contributor.
    #[error("contributor {0} is already registered")]
    AlreadyRegistered(ContributorId),
    /// A name that genesis would refuse.
    #[error("name {0:?}: 1 to 48 of a-z A-Z 0-9 . _ - are allowed")]
    BadName(String),
    /// No room for another contributor.
    #[error("{limit} contributors are registered, the most that this network allows")]
    TooManyContributors {
        /// `limits.max_contributors`.
        limit: u64,
    },
    /// A result of another rule or of another set.
    #[error("task {task}: result of {field} {got}, expected {expected}")]
    WrongStatement {
        /// Task.
        task: TaskId,
        /// `rule` or `update_set`.
        field: &'static str,
        /// What the statement says.
        got: Hash32,
        /// What the ledger says.
        expected: Hash32,
    },
    /// Evidence that proves nothing.
    #[error("evidence: {0}")]
    Evidence(#[from] EvidenceError),
    /// Against the rules of private rounds.
    #[error(transparent)]
    Private(#[from] PrivateError),
}

/// Why evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// The two halves differ in what has to be the same.
    #[error("the two statements are not by one author on one occasion: {0} differs")]
    NotComparable(&'static str),
    /// The two halves say the same.
    #[error("the two statements do not conflict")]
    NoConflict,
    /// Not the smaller one first.
    #[error("the smaller statement has to come first")]
    Order,
    /// Somebody without a seat and without a registration.
    #[error("{0:?} is neither a validator nor a contributor of this network")]
    UnknownCulprit(Culprit),
    /// About something that has not happened yet.
    #[error("{0:?} has not happened yet")]
    Future(OffenceSite),
    /// On record already.
    #[error("{0:?} by this culprit is already on record")]
    Known(OffenceSite),
    /// The culprit's record is full.
    #[error("{limit} faults of this culprit are on record; no more are kept")]
    RecordFull {
        /// [`crate::state::MAX_FAULTS`].
        limit: u32,
    },
}

/// Why a block is refused: its proposer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Of another network.
    #[error("block of chain {got:?}, this is {expected:?}")]
    ChainId {
        /// What the header says.
        got: String,
        /// This network.
        expected: String,
    },
    /// Not the next block.
    #[error("block of height {got}, the next one is {expected}")]
    Height {
        /// What the header says.
        got: Height,
        /// The next height.
        expected: Height,
    },
    /// On another block than the newest.
    #[error("parent {got}, the newest block is {expected}")]
    Parent {
        /// What the header says.
        got: BlockHash,
        /// Newest block.
        expected: BlockHash,
    },
    /// Block time has to grow.
    #[error("block time {got} ms is not after the parent's {parent} ms")]
    Time {
        /// What the header says.
        got: TimestampMs,
        /// The parent's time.
        parent: TimestampMs,
    },
    /// Proposed by somebody without a seat.
    #[error("proposer {0} is not a validator")]
    Proposer(ValidatorId),
    /// Votes of another set.
    #[error("validator set {got}, this height is voted on by {expected}")]
    Validators {
        /// What the header says.
        got: Hash32,
        /// Hash of the set.
        expected: Hash32,
    },
    /// The header does not commit to these transactions.
    #[error("transaction root {got} in the header, {expected} of the transactions")]
    TxRoot {
        /// What the header says.
        got: Hash32,
        /// Root of the transactions.
        expected: Hash32,
    },
    /// Larger than the network allows.
    #[error("block of {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Encoded length.
        bytes: u64,
        /// `limits.max_block_bytes`.
        limit: u64,
    },
    /// A transaction is refused, so the whole block is.
    #[error("transaction {index} ({hash}): {error}")]
    Tx {
        /// Position in the block.
        index: u64,
        /// Its hash.
        hash: TxHash,
        /// Why.
        error: Box<TxError>,
    },
    /// No height comes after this one.
    #[error("height {0} is the last one")]
    EndOfHeights(Height),
    /// The header promises another state.
    #[error("state root {got} in the header, {computed} computed")]
    StateRoot {
        /// What the header says.
        got: StateRoot,
        /// What this node computed.
        computed: StateRoot,
    },
}
