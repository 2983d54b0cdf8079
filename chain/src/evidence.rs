//! Proof that somebody signed two things of which an honest party signs one.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{ContributorId, Signature, ValidatorId};

use crate::{aggregate::AggregateVote, update::SignedUpdate, vote::Vote};

/// Evidence of equivocation. It is recorded against its author; it changes no power.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Evidence {
    /// Two votes of one validator for one height, round and step, for different blocks.
    ConflictingVotes {
        /// First vote (the smaller one, so that the evidence has one encoding).
        first: (Vote, Signature),
        /// Second vote.
        second: (Vote, Signature),
    },
    /// Two results of one validator for one round and update set.
    ConflictingAggregates {
        /// First result (the smaller one).
        first: AggregateVote,
        /// Second result.
        second: AggregateVote,
    },
    /// Two updates of one contributor for one task and round.
    ConflictingUpdates {
        /// First update (of the smaller id).
        first: SignedUpdate,
        /// Second update.
        second: SignedUpdate,
    },
}

/// Who is proven faulty.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Culprit {
    /// A validator.
    Validator(ValidatorId),
    /// A contributor.
    Contributor(ContributorId),
}

impl Evidence {
    /// Who the evidence is against, as it claims.
    #[must_use]
    pub const fn culprit(&self) -> Culprit {
        match self {
            Self::ConflictingVotes { first, .. } => Culprit::Validator(first.0.validator),
            Self::ConflictingAggregates { first, .. } => Culprit::Validator(first.validator),
            Self::ConflictingUpdates { first, .. } => {
                Culprit::Contributor(first.update.contributor)
            }
        }
    }
}
