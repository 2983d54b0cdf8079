//! Who is summed with whom, under which mask, and the roots that name the sets.

use borsh::BorshSerialize;
use cifer_genesis::{
    BlockHash, ContributorId, Hash32, RoundId, TaskId, crypto::signing_bytes, privacy::Privacy,
};

use super::{Fate, Group, GroupIndex};
use crate::update::Update;

/// Domain of a round's seed.
pub const ROUND_SEED_DOMAIN: &str = "cifer/chain/private-round-seed/v1";
/// Domain of the draw of groups.
pub const GROUPS_DOMAIN: &str = "cifer/chain/private-groups/v1";
/// Domain of mask seeds.
pub const MASK_SEED_DOMAIN: &str = "cifer/chain/mask-seed/v1";
/// Domain of a cohort's set root.
pub const GROUP_SET_DOMAIN: &str = "cifer/chain/group-set/v1";
/// Domain of a sealed round's root.
pub const PRIVATE_SET_DOMAIN: &str = "cifer/chain/private-set/v1";

fn hash(domain: &'static str, chain_id: &str, payload: &impl BorshSerialize) -> Hash32 {
    Hash32::derive(domain, &signing_bytes(domain, chain_id, payload))
}

/// Seed of a round's groups and masks. `parent` is the parent of the block that forms the groups, a later block than
/// the one with which the share keys were fixed: no key can be chosen for the draw it leads to. The proposer
/// of that parent has some choice of its hash, so that it can draw as often as it can hash in time; nobody can name the outcome.
#[must_use]
pub fn round_seed(chain_id: &str, task: TaskId, round: RoundId, parent: BlockHash) -> Hash32 {
    hash(ROUND_SEED_DOMAIN, chain_id, &(task, round, parent))
}

/// Seed of a group's public mask. Two updates under one mask and one key would show their difference,
/// so a seed serves one group of one round.
#[must_use]
pub fn mask_seed(
    chain_id: &str,
    task: TaskId,
    round: RoundId,
    group: GroupIndex,
    seed: Hash32,
) -> Hash32 {
    hash(MASK_SEED_DOMAIN, chain_id, &(task, round, group, seed))
}

/// Puts contributors into `floor(n / group_size)` groups whose sizes differ by at most one, uniformly
/// at random from `seed` (Fisher and Yates' shuffle, drawn without bias). None for fewer
/// contributors than one group. Members of a group are sorted.
#[must_use]
pub fn partition(
    terms: &Privacy,
    seed: Hash32,
    mut contributors: Vec<ContributorId>,
) -> Vec<Vec<ContributorId>> {
    let count = contributors.len();
    let groups = usize::try_from(terms.groups(count as u64)).unwrap_or(0);
    if groups == 0 {
        return Vec::new();
    }
    contributors.sort_unstable();
    let mut draw = Draw::new(seed);
    for last in (1..count).rev() {
        let other = draw.below(last as u64 + 1) as usize;
        contributors.swap(last, other);
    }
    let (size, larger) = (count / groups, count % groups);
    let mut rest = contributors.as_slice();
    (0..groups)
        .map(|index| {
            let (group, after) = rest.split_at(size + usize::from(index < larger));
            rest = after;
            let mut group = group.to_vec();
            group.sort_unstable();
            group
        })
        .collect()
}

/// Uniform numbers from a seed.
struct Draw(blake3::OutputReader);

impl Draw {
    fn new(seed: Hash32) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(GROUPS_DOMAIN);
        hasher.update(&seed.0);
        Self(hasher.finalize_xof())
    }

    /// Uniform below `bound`, at least 1: numbers from the incomplete last stretch are drawn again.
    fn below(&mut self, bound: u64) -> u64 {
        let bound = bound.max(1);
        let excess = (u64::MAX % bound + 1) % bound;
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let number = u64::from_le_bytes(bytes);
            if number <= u64::MAX - excess {
                return number % bound;
            }
        }
    }
}

/// Root of the set of updates that a group's sum is of: the commitments, sorted by contributor, with
/// the mask they are under.
#[must_use]
pub fn set_root(
    chain_id: &str,
    (task, round, group): (TaskId, RoundId, GroupIndex),
    mask_seed: Hash32,
    sorted: &[&Update],
) -> Hash32 {
    let payload = (task, round, group, mask_seed, sorted);
    hash(GROUP_SET_DOMAIN, chain_id, &payload)
}

/// What a private round's result is a result of: all commitments and rejections (`update_set`), the
/// groups with their sets and fates, and the transactions whose sums open them. The `update_set` of the
/// [`crate::AggregateStatement`]: the decoded key sums, the group means and the model follow from it.
#[must_use]
pub fn private_set_root(
    chain_id: &str,
    update_set: Hash32,
    seed: Hash32,
    groups: &[Group],
) -> Hash32 {
    let summed: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                group.set,
                fate_byte(group.fate),
                &group.sums,
                &group.exposed,
            )
        })
        .collect();
    hash(PRIVATE_SET_DOMAIN, chain_id, &(update_set, seed, summed))
}

const fn fate_byte(fate: Fate) -> u8 {
    match fate {
        Fate::Opened => 0,
        Fate::CohortTooSmall => 1,
        Fate::TooFewSums => 2,
        Fate::BadShare => 3,
    }
}
