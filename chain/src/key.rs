//! Keys of the state tree.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    BlockHash, ContributorId, GenesisHash, Hash32, Height, RoundId, TaskId, TimestampMs, TxHash,
    ValidatorId,
};

use crate::{evidence::Culprit, round::Phase};

/// What a state value is about. Its borsh bytes are the key that proofs speak of; the variant is
/// the first byte and the fields that share a prefix come first, so a store can scan by prefix.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum StateKey {
    /// [`MetaRecord`].
    Meta,
    /// [`crate::ValidatorSet`] that votes on the next block.
    Validators,
    /// [`crate::Contributor`].
    Contributor(ContributorId),
    /// `u32`: faults proven against a validator; absent while there are none.
    ValidatorFaults(ValidatorId),
    /// [`TaskRecord`].
    Task(TaskId),
    /// [`crate::Turn`] of a contributor in a round.
    Update(TaskId, RoundId, ContributorId),
    /// [`crate::RoundRecord`] of a finished round.
    Round(TaskId, RoundId),
    /// [`EvidenceRecord`].
    Evidence(Offence),
    /// [`crate::PrivateRound`] of a private task's current round.
    Private(TaskId),
    /// [`crate::PrivateRound`] of a finished round.
    PrivateRound(TaskId, RoundId),
}

impl StateKey {
    /// The key's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        // Writing into a Vec cannot fail, and our types have no failing encoders.
        let _ = self.serialize(&mut bytes);
        bytes
    }
}

/// Where the chain stands: changes with every block, so every block has a new state root.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct MetaRecord {
    /// The network.
    pub chain_id: String,
    /// Its genesis.
    pub genesis: GenesisHash,
    /// Height of the block that made this state.
    pub height: Height,
    /// Time of that block.
    pub time_ms: TimestampMs,
    /// Parent of that block. (Its own hash depends on the state root.)
    pub parent: BlockHash,
}

/// A task's state without its updates, which have keys of their own so that accepting one does
/// not rewrite the others.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskRecord {
    /// Hash of the definition, whose text is in genesis.
    pub definition: Hash32,
    /// The model that the current round starts from.
    pub model: cifer_genesis::ModelRoot,
    /// Current round.
    pub round: RoundId,
    /// Where it stands.
    pub phase: PhaseRecord,
}

/// A [`Phase`] without its updates.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PhaseRecord {
    /// Takes updates.
    Open {
        /// When it opened.
        opened: crate::Moment,
        /// Current deadline.
        deadline_ms: TimestampMs,
        /// Deadlines granted beyond the first.
        extensions: u32,
        /// Updates in the set.
        accepted: u64,
        /// Updates rejected.
        rejected: u64,
    },
    /// Waits for its aggregate certificate.
    Closed {
        /// When it opened.
        opened: crate::Moment,
        /// When it closed.
        closed: crate::Moment,
        /// Deadlines granted beyond the first.
        extensions: u32,
        /// Root of the set.
        update_set: Hash32,
    },
    /// All rounds are done.
    Complete,
}

impl From<&Phase> for PhaseRecord {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Open(open) => Self::Open {
                opened: open.opened,
                deadline_ms: open.deadline_ms,
                extensions: open.extensions,
                accepted: open.updates.len() as u64,
                rejected: open.rejected.len() as u64,
            },
            Phase::Closed(closed) => Self::Closed {
                opened: closed.opened,
                closed: closed.closed,
                extensions: closed.extensions,
                update_set: closed.update_set,
            },
            Phase::Complete => Self::Complete,
        }
    }
}

/// Who did what where. One record an offence: a key that signs a thousand different pairs of
/// votes for one height has broken its word there once, and cannot fill the ledger with it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Offence {
    /// Who.
    pub culprit: Culprit,
    /// Where.
    pub site: OffenceSite,
}

/// Where an equivocation happened.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum OffenceSite {
    /// Two votes at a height.
    Votes(Height),
    /// Two results of a round.
    Aggregates(TaskId, RoundId),
    /// Two updates in a round.
    Updates(TaskId, RoundId),
}

/// Where the proof of an offence stands on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EvidenceRecord {
    /// The transaction with both signatures.
    pub tx: TxHash,
    /// The block that carried it.
    pub height: Height,
}
