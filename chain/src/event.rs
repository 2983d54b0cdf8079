//! What a block did, for people and subscribers. Derived from the block, never an input.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{ContributorId, Hash32, ModelRoot, RoundId, TaskId, TimestampMs, TxHash};

use crate::{evidence::Culprit, round::AbortReason, update::RejectReason};

/// One thing that a block did.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Event {
    /// A contributor was let in.
    ContributorRegistered {
        /// Who.
        contributor: ContributorId,
    },
    /// An update is in its round's set.
    UpdateAccepted {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Whose.
        contributor: ContributorId,
        /// By which transaction.
        tx: TxHash,
    },
    /// An update was rejected and its contributor's turn is used.
    UpdateRejected {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Whose.
        contributor: ContributorId,
        /// Why.
        reason: RejectReason,
        /// By which transaction.
        tx: TxHash,
    },
    /// A round takes updates.
    RoundOpened {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// The model to train from.
        base: ModelRoot,
        /// First deadline, in block time.
        deadline_ms: TimestampMs,
    },
    /// A round got more time.
    RoundExtended {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Deadlines granted beyond the first.
        extensions: u32,
        /// New deadline, in block time.
        deadline_ms: TimestampMs,
    },
    /// A round's set is fixed; validators aggregate it now.
    RoundClosed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Root of the set.
        update_set: Hash32,
        /// Updates in the set.
        updates: u64,
    },
    /// A round has a new model.
    RoundFinalised {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// The new model.
        model: ModelRoot,
        /// By which transaction.
        tx: TxHash,
    },
    /// A round ended without a new model.
    RoundAborted {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Why.
        reason: AbortReason,
    },
    /// All rounds of a task are done.
    TaskCompleted {
        /// Task.
        task: TaskId,
        /// The final model.
        model: ModelRoot,
    },
    /// The groups of a private round are formed; updates are taken from now on.
    GroupsFormed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// How many.
        groups: u64,
        /// First deadline, in block time.
        deadline_ms: TimestampMs,
    },
    /// A contributor was proven to have dealt a bad share.
    ShareExposed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// Who.
        contributor: ContributorId,
        /// By which transaction.
        tx: TxHash,
    },
    /// No more sums of a private round are taken; validators aggregate it now.
    RoundSealed {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
        /// What its result is a result of.
        root: Hash32,
        /// Groups whose sums are opened.
        opened: u64,
    },
    /// An equivocation was proven.
    FaultRecorded {
        /// Against whom.
        culprit: Culprit,
        /// Faults proven against it so far.
        faults: u32,
        /// By which transaction.
        tx: TxHash,
    },
}
