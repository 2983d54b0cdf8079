//! How a private round moves at the end of a block. Pure; all counts are by head, as genesis holds the
//! validators of a private task to equal power.

use std::{collections::BTreeMap, mem};

use cifer_genesis::{
    BlockHash, ContributorId, Hash32, RoundId, TaskId, TimestampMs, ValidatorId, privacy::Privacy,
};

use super::{
    Fate, Group, GroupIndex, PrivateError, PrivateRound, ShareKeyBytes, Stage, mask_seed,
    partition, private_set_root, quorum, round_seed, set_root,
};
use crate::{
    event::Event,
    round::{ClosedRound, Moment, OpenRound, Phase, TaskState, later},
    update::Update,
    validators::ValidatorSet,
};

/// What a block knows of its place.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) chain_id: &'a str,
    pub(crate) now: Moment,
    /// Hash of the block before the one being made.
    pub(crate) parent: BlockHash,
    pub(crate) validators: &'a ValidatorSet,
}

/// What the end of a block did to a closed private round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seal {
    /// It waits for sums.
    Waits,
    /// It is sealed.
    Sealed { root: Hash32, opened: u64 },
    /// Too few groups are left for the rule.
    TooFewGroups,
}

impl TaskState {
    /// The private half of the current round, of a private task.
    #[must_use]
    pub const fn private(&self) -> Option<&PrivateRound> {
        self.private.as_ref()
    }

    /// The round for which share keys are taken, and those that are in: the current round until its
    /// keys are fixed, the next one from then on.
    ///
    /// # Errors
    /// [`PrivateError`] when no round takes any.
    pub fn keys_due(
        &self,
    ) -> Result<(RoundId, &BTreeMap<ValidatorId, ShareKeyBytes>), PrivateError> {
        let (task, round) = (self.task.id, self.round);
        let Some(private) = &self.private else {
            return Err(PrivateError::NotPrivate(task));
        };
        if self.phase == Phase::Complete {
            return Err(PrivateError::LastRound { task, round });
        }
        if private.keys_fixed.is_none() {
            return Ok((round, &private.keys));
        }
        let last = self.task.rounds.max_rounds;
        match round.next() {
            Some(next) if last == 0 || next.0 < last => Ok((next, &private.next_keys)),
            _ => Err(PrivateError::LastRound { task, round }),
        }
    }

    /// Whether this is a private round whose groups are not formed yet.
    #[must_use]
    pub fn gathers_keys(&self) -> bool {
        let open = matches!(self.phase, Phase::Open(_));
        let keys = |private: &PrivateRound| private.stage == Stage::Keys;
        open && self.private.as_ref().is_some_and(keys)
    }

    /// Block time at which the private half has to be looked at, if its stage depends on time.
    pub(crate) fn private_deadline(&self, validators: &ValidatorSet) -> Option<TimestampMs> {
        let (private, terms) = (self.private.as_ref()?, self.task.privacy.as_ref()?);
        match (&private.stage, &self.phase) {
            // Two blocks are due at once: the one that the seed hashes, and the one that forms the groups.
            (Stage::Keys, Phase::Open(open)) if private.keys_fixed.is_some() => {
                Some(open.opened.time_ms)
            }
            (Stage::Keys, Phase::Open(open)) if private.keys.len() as u64 >= quorum(validators) => {
                Some(later(open.opened.time_ms, terms.key_wait_ms))
            }
            (Stage::Closed { deadline_ms, .. }, Phase::Closed(_)) => Some(*deadline_ms),
            _ => None,
        }
    }

    /// Fixes the share keys of this round and the next when they are in: of this round all of them, or `2t + 1` after
    /// the wait; of the next one all. True when something has changed.
    pub(crate) fn fix_keys(&mut self, place: Place<'_>) -> bool {
        let (Some(private), Some(terms)) = (&mut self.private, &self.task.privacy) else {
            return false;
        };
        let n = place.validators.entries().len();
        let before = (private.keys_fixed, private.next_keys_fixed);
        if let (Phase::Open(open), Stage::Keys) = (&self.phase, &private.stage) {
            let keys = private.keys.len();
            let waited = place.now.time_ms >= later(open.opened.time_ms, terms.key_wait_ms);
            if keys as u64 >= quorum(place.validators) && (waited || keys == n) {
                private.keys_fixed.get_or_insert(place.now.height);
            }
        }
        if private.next_keys.len() == n {
            private.next_keys_fixed.get_or_insert(place.now.height);
        }
        (private.keys_fixed, private.next_keys_fixed) != before
    }

    /// Forms the groups when the parent is a later block than the one that fixed the share keys, and starts the clock of
    /// the round.
    pub(crate) fn form_groups(
        &mut self,
        place: Place<'_>,
        contributors: impl Iterator<Item = ContributorId>,
    ) -> Option<Event> {
        let (Some(private), Some(terms)) = (&mut self.private, &self.task.privacy) else {
            return None;
        };
        let Phase::Open(open) = &mut self.phase else {
            return None;
        };
        let fixed = private.keys_fixed?;
        // The parent has the height before this one.
        if private.stage != Stage::Keys || fixed.0.saturating_add(1) >= place.now.height.0 {
            return None;
        }
        let (task, round) = (self.task.id, self.round);
        let seed = round_seed(place.chain_id, task, round, place.parent);
        let groups = partition(terms, seed, contributors.collect());
        let formed = groups.len() as u64;
        let largest = groups.iter().map(Vec::len).max();
        private.capacity = largest.and_then(|n| n.try_into().ok()).unwrap_or(0);
        private.stage = Stage::Open { seed, groups };
        open.deadline_ms = later(place.now.time_ms, self.task.rounds.deadline_ms);
        Some(Event::GroupsFormed {
            task,
            round,
            groups: formed,
            deadline_ms: open.deadline_ms,
        })
    }

    /// Inputs that the rule would get if the round closed now: updates in the clear, or groups of at
    /// least the minimum cohort.
    pub(crate) fn inputs(&self) -> u64 {
        let Phase::Open(open) = &self.phase else {
            return 0;
        };
        match (&self.private, &self.task.privacy) {
            (Some(private), Some(terms)) => match &private.stage {
                Stage::Open { groups, .. } => groups
                    .iter()
                    .filter(|group| cohort(open, group).count() as u64 >= terms.min_cohort)
                    .count() as u64,
                _ => 0,
            },
            _ => open.updates.len() as u64,
        }
    }

    /// Fixes the one set of each group, when the round has closed.
    pub(crate) fn fix_sets(&mut self, chain_id: &str, now: Moment) {
        let (Some(private), Some(terms)) = (&mut self.private, &self.task.privacy) else {
            return;
        };
        let Phase::Closed(closed) = &self.phase else {
            return;
        };
        let (seed, formed) = match mem::take(&mut private.stage) {
            Stage::Open { seed, groups } => (seed, groups),
            other => {
                private.stage = other;
                return;
            }
        };
        let place = (self.task.id, self.round);
        let fix = |(index, members): (GroupIndex, Vec<ContributorId>)| {
            fix_set(
                chain_id,
                (place.0, place.1, index),
                seed,
                terms,
                closed,
                &members,
            )
        };
        private.stage = Stage::Closed {
            seed,
            groups: (0..).zip(formed).map(fix).collect(),
            deadline_ms: later(now.time_ms, terms.sum_wait_ms),
        };
    }

    /// Seals a closed private round when everybody has spoken, or when it is time.
    pub(crate) fn seal(&mut self, place: Place<'_>) -> Seal {
        let Phase::Closed(closed) = &self.phase else {
            return Seal::Waits;
        };
        let Some(private) = &mut self.private else {
            return Seal::Waits;
        };
        let keys = private.keys.len();
        let Stage::Closed {
            seed,
            groups,
            deadline_ms,
        } = &mut private.stage
        else {
            return Seal::Waits;
        };
        let spoken = |group: &Group| !group.is_live() || group.sums.len() >= keys;
        if place.now.time_ms < *deadline_ms && !groups.iter().all(spoken) {
            return Seal::Waits;
        }
        let quorum = quorum(place.validators);
        for group in groups.iter_mut() {
            if group.is_live() && (group.sums.len() as u64) < quorum {
                group.fate = Fate::TooFewSums;
            }
        }
        let opened = groups.iter().filter(|group| group.is_live()).count() as u64;
        let exposed: u64 = groups.iter().map(|group| group.exposed.len() as u64).sum();
        let rejected = (closed.rejected.len() as u64).saturating_add(exposed);
        if self.task.rule.after_rejections(opened, rejected).is_none() {
            return Seal::TooFewGroups;
        }
        let (seed, groups) = (*seed, mem::take(groups));
        let root = private_set_root(place.chain_id, closed.update_set, seed, &groups);
        private.stage = Stage::Sealed { seed, groups, root };
        Seal::Sealed { root, opened }
    }

    /// What the round leaves behind, when it ends.
    pub(crate) fn finished_private(&self) -> Option<PrivateRound> {
        let mut private = self.private.clone()?;
        private.next_keys.clear();
        private.next_keys_fixed = None;
        private.last_keys.clear();
        Some(private)
    }

    /// Starts the private half of the next round with the keys that were published ahead.
    pub(crate) fn advance_private(&mut self) {
        if let Some(private) = &mut self.private {
            let mut last_keys = mem::take(&mut private.last_keys);
            last_keys.append(&mut private.keys);
            *private = PrivateRound {
                round: self.round,
                keys: mem::take(&mut private.next_keys),
                keys_fixed: private.next_keys_fixed,
                last_keys,
                ..PrivateRound::default()
            };
        }
    }
}

/// Members whose updates are accepted so far.
fn cohort<'a>(
    open: &'a OpenRound,
    group: &'a [ContributorId],
) -> impl Iterator<Item = &'a ContributorId> {
    group.iter().filter(|id| open.updates.contains_key(id))
}

fn fix_set(
    chain_id: &str,
    place: (TaskId, RoundId, GroupIndex),
    seed: Hash32,
    terms: &Privacy,
    closed: &ClosedRound,
    members: &[ContributorId],
) -> Group {
    // Members and updates are both sorted by contributor, so the set is too.
    let updates: Vec<&Update> = closed
        .updates
        .iter()
        .map(|turn| &turn.update)
        .filter(|update| members.binary_search(&update.contributor).is_ok())
        .collect();
    let mask = mask_seed(chain_id, place.0, place.1, place.2, seed);
    Group {
        cohort: updates.iter().map(|update| update.contributor).collect(),
        set: set_root(chain_id, place, mask, &updates),
        sums: BTreeMap::new(),
        exposed: BTreeMap::new(),
        fate: if updates.len() as u64 >= terms.min_cohort {
            Fate::Opened
        } else {
            Fate::CohortTooSmall
        },
    }
}
