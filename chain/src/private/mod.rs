//! Private rounds: what the ledger fixes so that only sums of groups are ever opened.
//!
//! A round of a private task goes through stages ([`Stage`]) inside its ordinary phases:
//!
//! 1. *Keys*: validators publish share keys ([`ShareKey`]) made for this round. When all are in, or
//!    `key_wait_ms` passed and `2t + 1` are, they are fixed; and once a block has followed that nobody knew who
//!    chose a key, the registered contributors are put into random groups by its hash.
//! 2. *Open*: updates are taken. A commitment names its group and the group's mask seed, and binds
//!    the dealing of the key's shares ([`crate::PayloadEncoding::GroupedSum`]).
//! 3. *Closed*: each group has one set of updates, its *cohort*. A validator publishes the sum of its
//!    shares over the cohort ([`KeyShareSum`]). Once: `apply` refuses every other.
//!    Or it proves that a member dealt it a bad share ([`ShareFraud`]), which aborts the group; while the
//!    round is open such a proof turns the update into a rejection.
//! 4. *Sealed*: all validators that gave a share key have spoken, or `sum_wait_ms` passed. Nothing
//!    changes any more: the opened sums are a function of the ledger, and so is the new model.
//!
//! Invariants: in a round, a group has at most one set, fixed when the round closes; a mask seed
//! belongs to one (task, round, group) and hashes a block that was there before the group was, and that
//! came after the share keys were fixed; a sum is taken only for that set, of at least `min_cohort`
//! updates, once a validator; a share key serves one round. Everything here is a pure function of committed blocks.

mod check;
mod error;
mod fraud;
mod groups;
pub mod payload;
mod terms;
#[cfg(feature = "testing")]
pub mod testing;
mod transition;
mod tx;

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    ContributorId, Hash32, Height, RoundId, TimestampMs, TxHash, ValidatorId, privacy,
};

use crate::validators::ValidatorSet;

pub use error::PrivateError;
pub use fraud::ShareFraud;
pub use groups::{
    GROUP_SET_DOMAIN, GROUPS_DOMAIN, MASK_SEED_DOMAIN, PRIVATE_SET_DOMAIN, ROUND_SEED_DOMAIN,
    mask_seed, partition, private_set_root, round_seed, set_root,
};
pub use terms::{
    ABSENT_KEY_DOMAIN, DEALING_DOMAIN, PayloadLayout, RoundFrame, RoundTerms, contributor_set,
    dealing_hash, identity, scale, seat,
};
pub(crate) use transition::{Place, Seal};
pub use tx::{
    KEY_SHARE_SUM_BYTES, KEY_SHARE_SUM_DOMAIN, KeyShareSum, SHARE_KEY_DOMAIN, ShareKey,
    ShareKeyBytes,
};

/// Number of a group in its round, from 0.
pub type GroupIndex = u32;

/// The private half of a task's current round: the value under [`crate::StateKey::Private`], and
/// of a finished round under [`crate::StateKey::PrivateRound`].
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct PrivateRound {
    /// The round, so that a proof of this entry says which one it is of.
    pub round: RoundId,
    /// Share keys of this round.
    pub keys: BTreeMap<ValidatorId, ShareKeyBytes>,
    /// The block with which `keys` were fixed: no more are taken, and the seed of the groups hashes a later block.
    pub keys_fixed: Option<Height>,
    /// Share keys of the next round, published ahead.
    pub next_keys: BTreeMap<ValidatorId, ShareKeyBytes>,
    /// The block with which all of `next_keys` were in.
    pub next_keys_fixed: Option<Height>,
    /// Of each validator the newest key of an earlier round, which it may not give again.
    pub last_keys: BTreeMap<ValidatorId, ShareKeyBytes>,
    /// Members of the largest group; 0 before the groups are formed. It fixes the width of the slots
    /// that all updates of the round use.
    pub capacity: u32,
    /// Where the round stands.
    pub stage: Stage,
}

/// Where a private round stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub enum Stage {
    /// Share keys are gathered; no updates yet.
    #[default]
    Keys,
    /// Groups are formed; updates are taken.
    Open {
        /// Seed of this round's groups and masks; see [`round_seed`].
        seed: Hash32,
        /// Members of each group, sorted.
        groups: Vec<Vec<ContributorId>>,
    },
    /// Each group's set is fixed; sums of shares are taken.
    Closed {
        /// As when open.
        seed: Hash32,
        /// The groups.
        groups: Vec<Group>,
        /// Block time after which the sums that are in have to do.
        deadline_ms: TimestampMs,
    },
    /// No more sums are taken; validators aggregate.
    Sealed {
        /// As when open.
        seed: Hash32,
        /// The groups.
        groups: Vec<Group>,
        /// [`private_set_root`]: what the result of this round is a result of.
        root: Hash32,
    },
}

/// A group of a closed round.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Group {
    /// Members whose updates are summed, sorted.
    pub cohort: Vec<ContributorId>,
    /// [`set_root`] of the cohort's updates: the one set that is opened.
    pub set: Hash32,
    /// The transactions with sums of shares. Their 8 KB each stay in the blocks.
    pub sums: BTreeMap<ValidatorId, TxHash>,
    /// Members who were proven, after the close, to have dealt a bad share, with the proof.
    pub exposed: BTreeMap<ContributorId, TxHash>,
    /// Whether its sum is opened.
    pub fate: Fate,
}

/// Whether a group's sum is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Fate {
    /// It is.
    Opened,
    /// Fewer than `min_cohort` updates: its sum would show too much.
    CohortTooSmall,
    /// The deadline passed with fewer than `2t + 1` sums.
    TooFewSums,
    /// A member dealt a bad share: the sum of the keys may be beyond decoding.
    BadShare,
}

impl Group {
    /// Whether its sum is opened, as far as the ledger knows.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.fate == Fate::Opened
    }
}

impl Stage {
    /// The groups of a closed or sealed round.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        match self {
            Self::Closed { groups, .. } | Self::Sealed { groups, .. } => groups,
            Self::Keys | Self::Open { .. } => &[],
        }
    }

    /// Seed of the round's groups and masks, once they are formed.
    #[must_use]
    pub const fn seed(&self) -> Option<Hash32> {
        match self {
            Self::Keys => None,
            Self::Open { seed, .. } | Self::Closed { seed, .. } | Self::Sealed { seed, .. } => {
                Some(*seed)
            }
        }
    }

    /// Members who were exposed after the close.
    #[must_use]
    pub fn exposed(&self) -> u64 {
        self.groups()
            .iter()
            .map(|group| group.exposed.len() as u64)
            .sum()
    }

    /// Groups whose sums are opened.
    #[must_use]
    pub fn live_groups(&self) -> u64 {
        self.groups().iter().filter(|group| group.is_live()).count() as u64
    }
}

impl PrivateRound {
    /// The group of a contributor while the round is open.
    #[must_use]
    pub fn group_of(&self, contributor: &ContributorId) -> Option<GroupIndex> {
        let Stage::Open { groups, .. } = &self.stage else {
            return None;
        };
        let holds = |group: &Vec<ContributorId>| group.binary_search(contributor).is_ok();
        groups.iter().position(holds)?.try_into().ok()
    }
}

/// `t`: shares of so many validators together say nothing.
#[must_use]
pub fn threshold(validators: &ValidatorSet) -> u64 {
    privacy::share_threshold(validators.entries().len() as u64)
}

/// `2t + 1`: so many agreeing sums hold at least `t + 1` honest ones, which fix the polynomial.
#[must_use]
pub fn quorum(validators: &ValidatorSet) -> u64 {
    threshold(validators).saturating_mul(2).saturating_add(1)
}
