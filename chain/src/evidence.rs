//! Proof that somebody signed two things of which an honest party signs one.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{ContributorId, Signature, ValidatorId};

use crate::{
    aggregate::AggregateVote,
    error::EvidenceError,
    key::{Offence, OffenceSite},
    update::SignedUpdate,
    vote::Vote,
};

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

/// The offence that a piece of evidence speaks of.
#[must_use]
pub fn offence(evidence: &Evidence) -> Offence {
    let site = match evidence {
        Evidence::ConflictingVotes { first, .. } => OffenceSite::Votes(first.0.height),
        Evidence::ConflictingAggregates { first, .. } => {
            OffenceSite::Aggregates(first.statement.task, first.statement.round)
        }
        Evidence::ConflictingUpdates { first, .. } => {
            OffenceSite::Updates(first.update.task, first.update.round)
        }
    };
    Offence {
        culprit: evidence.culprit(),
        site,
    }
}

/// Whether the two halves are comparable, in conflict and in canonical order.
pub(crate) fn check_conflict(evidence: &Evidence, chain_id: &str) -> Result<(), EvidenceError> {
    let (same, order) = match evidence {
        Evidence::ConflictingVotes {
            first: (a, _),
            second: (b, _),
        } => (
            vec![
                ("validator", a.validator == b.validator),
                ("height", a.height == b.height),
                ("round", a.round == b.round),
                ("kind", a.kind == b.kind),
            ],
            a.cmp(b),
        ),
        Evidence::ConflictingAggregates {
            first: a,
            second: b,
        } => (
            vec![
                ("validator", a.validator == b.validator),
                ("task", a.statement.task == b.statement.task),
                ("round", a.statement.round == b.statement.round),
                (
                    "update_set",
                    a.statement.update_set == b.statement.update_set,
                ),
            ],
            a.statement.cmp(&b.statement),
        ),
        Evidence::ConflictingUpdates {
            first: a,
            second: b,
        } => (
            vec![
                ("contributor", a.update.contributor == b.update.contributor),
                ("task", a.update.task == b.update.task),
                ("round", a.update.round == b.update.round),
            ],
            signed_order(a, b, chain_id),
        ),
    };
    if let Some((field, _)) = same.iter().find(|(_, equal)| !equal) {
        return Err(EvidenceError::NotComparable(field));
    }
    match order {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(EvidenceError::NoConflict),
        std::cmp::Ordering::Greater => Err(EvidenceError::Order),
    }
}

fn signed_order(a: &SignedUpdate, b: &SignedUpdate, chain_id: &str) -> std::cmp::Ordering {
    a.id(chain_id).cmp(&b.id(chain_id))
}
