//! Why a transaction of a private round is refused. All of these are the sender's fault.

use cifer_genesis::{ContributorId, Hash32, RoundId, TaskId, ValidatorId};

use super::{Fate, GroupIndex};

/// Why a transaction of a private round is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrivateError {
    /// A transaction of private rounds for a task in the clear.
    #[error("task {0} is not private")]
    NotPrivate(TaskId),
    /// An encrypted update of a task in the clear, or the other way round.
    #[error("task {task}: encoding {got}, this task takes {expected}")]
    WrongEncoding {
        /// Task.
        task: TaskId,
        /// Encoding of the update.
        got: &'static str,
        /// What the task takes.
        expected: &'static str,
    },
    /// No groups yet.
    #[error("task {task}: round {round} still gathers share keys ({keys} so far)")]
    NoGroups {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Keys so far.
        keys: u64,
    },
    /// Registered after the groups were formed.
    #[error("contributor {0} is in no group of this round")]
    NoGroup(ContributorId),
    /// An update for another group.
    #[error("group {got}: contributor {contributor} is in group {expected} of this round")]
    WrongGroup {
        /// Whose update.
        contributor: ContributorId,
        /// Group of the update.
        got: GroupIndex,
        /// Group of the contributor.
        expected: GroupIndex,
    },
    /// An update under another mask: of another round, of another group, or of the sender's choice.
    #[error(
        "mask seed {got}: group {group} of round {round} has {expected}, and a seed serves once"
    )]
    WrongMaskSeed {
        /// Round.
        round: RoundId,
        /// Group.
        group: GroupIndex,
        /// Seed of the update.
        got: Hash32,
        /// Seed of the group.
        expected: Hash32,
    },
    /// A field that would say something of one contributor.
    #[error(
        "{field} = {got}: a private update says nothing of its training, {expected} is expected"
    )]
    TellTale {
        /// The field.
        field: &'static str,
        /// As signed.
        got: u64,
        /// What is expected.
        expected: u64,
    },
    /// Not a seat.
    #[error("{0} is not a validator")]
    NotAValidator(ValidatorId),
    /// A share key for a round that does not take one.
    #[error("task {task}: share key for round {got}; keys are taken for {expected}")]
    KeyNotDue {
        /// Task.
        task: TaskId,
        /// Round of the key.
        got: RoundId,
        /// The round for which keys are taken.
        expected: RoundId,
    },
    /// No round comes after the current one.
    #[error("task {task}: round {round} is the last one")]
    LastRound {
        /// Task.
        task: TaskId,
        /// Current round.
        round: RoundId,
    },
    /// One share key a validator and round.
    #[error("validator {validator} has published its share key of round {round}")]
    KeyKnown {
        /// Whose.
        validator: ValidatorId,
        /// Round.
        round: RoundId,
    },
    /// A share key that serves another round or validator.
    #[error("share key {} is in use: a key serves one validator and one round", hex::encode(.0))]
    KeyReused([u8; 32]),
    /// Not a point that anything could be encrypted to.
    #[error("share key {} is not a usable Ristretto point", hex::encode(.0))]
    BadKey([u8; 32]),
    /// A sum before the round closed.
    #[error("task {task}: round {round} is open; sums are taken when it is closed")]
    NotClosed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
    },
    /// A sum after the deadline, or after everybody had spoken.
    #[error("task {task}: round {round} is sealed; no more sums are taken")]
    Sealed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
    },
    /// No such group.
    #[error("group {got} of round {round}: there are {groups}")]
    UnknownGroup {
        /// Round.
        round: RoundId,
        /// Group of the transaction.
        got: GroupIndex,
        /// Groups of the round.
        groups: u64,
    },
    /// A group whose sum stays closed.
    #[error("group {group} is not opened: {fate:?} ({cohort} updates)")]
    NotOpened {
        /// Group.
        group: GroupIndex,
        /// Why.
        fate: Fate,
        /// Updates in its set.
        cohort: u64,
    },
    /// A sum over another set of updates than the one that was fixed.
    #[error("group {group}: sum over set {got}; the one set of this group is {expected}")]
    WrongSet {
        /// Group.
        group: GroupIndex,
        /// Set of the sum.
        got: Hash32,
        /// The group's set.
        expected: Hash32,
    },
    /// A sum of somebody to whom no shares were dealt.
    #[error("validator {0} gave no share key for this round, so it holds no shares")]
    NoShareKey(ValidatorId),
    /// One sum a validator and group.
    #[error("group {group}: validator {validator} has published its sum")]
    SumKnown {
        /// Group.
        group: GroupIndex,
        /// Whose.
        validator: ValidatorId,
    },
    /// A rejection for a bad share by verdicts: each validator sees its own share only.
    #[error("a bad share is shown by a proof, not by verdicts")]
    NeedsProof,
    /// An accusation of somebody without an accepted update, or who is exposed already.
    #[error("contributor {0} has no update in this round that a share could be bad of")]
    NothingToAccuse(ContributorId),
    /// An accusation with another dealing than the one that was signed.
    #[error("dealing {got}: contributor {contributor} has signed {expected}")]
    WrongDealing {
        /// Who is accused.
        contributor: ContributorId,
        /// Hash of the dealing in the accusation.
        got: Hash32,
        /// Hash in the commitment.
        expected: Hash32,
    },
    /// An accusation that proves nothing.
    #[error("accusation of contributor {contributor}: {reason}")]
    Unfounded {
        /// Who is accused.
        contributor: ContributorId,
        /// What is wrong with the proof.
        reason: String,
    },
    /// An accusation whose parts have other lengths than the round gives them.
    #[error("{part} of an accusation has {bytes} bytes; expected {expected}")]
    WrongFraudLength {
        /// Which part.
        part: &'static str,
        /// As sent.
        bytes: u64,
        /// What it has.
        expected: u64,
    },
    /// The round's terms make no sense, which genesis validation excludes: nothing can be judged by them.
    #[error("terms of the round: {0}")]
    Terms(String),
    /// A sum that is none of this validator's shares of this set.
    #[error("sum of key shares: {0}")]
    BadSum(String),
    /// A payload of another length than its parts have.
    #[error("payload of {bytes} bytes; the dealing and the body have {expected}")]
    WrongPayloadLength {
        /// As signed.
        bytes: u64,
        /// What they have.
        expected: u64,
    },
    /// A sum of another length than shares have.
    #[error("sum of key shares of {bytes} bytes; expected {expected}")]
    WrongSumLength {
        /// As sent.
        bytes: u64,
        /// Length of a share.
        expected: u64,
    },
}
