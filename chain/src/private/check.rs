//! What the state demands of the transactions of a private round, and what they change.

use cifer_genesis::{TaskId, TxHash};
use cifer_homocryption::ring::{RecipientKey, RingError, ShareSum};

use super::{
    Group, KEY_SHARE_SUM_BYTES, KeyShareSum, PrivateError, PrivateRound, RoundFrame, ShareKey,
    Stage, contributor_set, mask_seed, seat,
};
use crate::{
    error::TxError,
    key::StateKey,
    round::{Phase, TaskState},
    transact::{View, Working},
    update::{PayloadEncoding, Update},
};

impl<'a> View<'a> {
    pub(super) fn private_task(
        &self,
        task: TaskId,
    ) -> Result<(&'a TaskState, &'a PrivateRound), TxError> {
        let state = self.task(task)?;
        match state.private() {
            Some(private) => Ok((state, private)),
            None => Err(PrivateError::NotPrivate(task).into()),
        }
    }

    /// Whether the update is encoded as its task wants it, and a private one in its group and under
    /// its group's mask.
    pub(crate) fn check_encoding(
        &self,
        state: &TaskState,
        update: &Update,
    ) -> Result<(), PrivateError> {
        let wrong = |expected| PrivateError::WrongEncoding {
            task: state.task.id,
            got: update.encoding.name(),
            expected,
        };
        match (state.private(), update.encoding) {
            (None, PayloadEncoding::DeltaF32) => Ok(()),
            (
                Some(private),
                PayloadEncoding::GroupedSum {
                    group, mask_seed, ..
                },
            ) => self.check_group(state, private, update, (group, mask_seed)),
            (None, _) => Err(wrong("delta-f32")),
            (Some(_), _) => Err(wrong("grouped-sum")),
        }
    }

    fn check_group(
        &self,
        state: &TaskState,
        private: &PrivateRound,
        update: &Update,
        (group, got): (super::GroupIndex, cifer_genesis::Hash32),
    ) -> Result<(), PrivateError> {
        let (task, round, contributor) = (state.task.id, state.round, update.contributor);
        let Stage::Open { seed, .. } = &private.stage else {
            let keys = private.keys.len() as u64;
            return Err(PrivateError::NoGroups { task, round, keys });
        };
        let expected = private
            .group_of(&contributor)
            .ok_or(PrivateError::NoGroup(contributor))?;
        if group != expected {
            return Err(PrivateError::WrongGroup {
                contributor,
                got: group,
                expected,
            });
        }
        let expected = mask_seed(&self.state.chain_id, task, round, group, *seed);
        if got != expected {
            return Err(PrivateError::WrongMaskSeed {
                round,
                group,
                got,
                expected,
            });
        }
        for (field, got, expected) in [
            ("samples", update.samples, 1),
            ("metrics.loss_ppm", update.metrics.loss_ppm, 0),
            (
                "metrics.accuracy_ppm",
                u64::from(update.metrics.accuracy_ppm),
                0,
            ),
        ] {
            if got != expected {
                return Err(PrivateError::TellTale {
                    field,
                    got,
                    expected,
                });
            }
        }
        Ok(())
    }

    /// A payload's length is fixed by the round: the dealing and the body have no slack.
    pub(crate) fn check_private_payload(
        &self,
        state: &TaskState,
        update: &Update,
    ) -> Result<(), PrivateError> {
        let (task, round) = (state.task.id, state.round);
        let keys = || state.private().map_or(0, |p| p.keys.len() as u64);
        let frame = self
            .round_frame(state)?
            .ok_or_else(|| PrivateError::NoGroups {
                task,
                round,
                keys: keys(),
            })?;
        let layout = frame.payload().map_err(terms)?;
        let (bytes, expected) = (update.payload_bytes, layout.total());
        if bytes == expected {
            return Ok(());
        }
        Err(PrivateError::WrongPayloadLength { bytes, expected })
    }

    /// Lengths and seeds of the current round, once its groups are formed.
    fn round_frame(&self, state: &TaskState) -> Result<Option<RoundFrame>, PrivateError> {
        let Some(private) = state.private() else {
            return Ok(None);
        };
        let (chain_id, validators) = (&self.state.chain_id, &self.state.validators);
        RoundFrame::new(chain_id, &state.task, state.round, validators, private).map_err(terms)
    }

    pub(crate) fn check_share_key(&self, published: &ShareKey) -> Result<(), TxError> {
        let (task, got, validator) = (published.task, published.round, published.validator);
        let (state, private) = self.private_task(task)?;
        if self.state.validators.power_of(&validator).is_none() {
            return Err(PrivateError::NotAValidator(validator).into());
        }
        if state.phase == Phase::Complete {
            return Err(TxError::TaskComplete(task));
        }
        let (expected, known) = state.keys_due()?;
        if got != expected {
            return Err(PrivateError::KeyNotDue {
                task,
                got,
                expected,
            }
            .into());
        }
        if known.contains_key(&validator) {
            let round = got;
            return Err(PrivateError::KeyKnown { validator, round }.into());
        }
        let key = published.key;
        let of_rounds = [&private.last_keys, &private.keys, &private.next_keys];
        let mut in_use = of_rounds.into_iter().flat_map(|keys| keys.values());
        if in_use.any(|other| *other == key) {
            return Err(PrivateError::KeyReused(key).into());
        }
        match RecipientKey::from_bytes(key) {
            Ok(_) => Ok(()),
            Err(_) => Err(PrivateError::BadKey(key).into()),
        }
    }

    pub(crate) fn check_key_share_sum(&self, sum: &KeyShareSum) -> Result<(), TxError> {
        let (task, round, validator) = (sum.task, sum.round, sum.validator);
        let (state, private) = self.private_task(task)?;
        if state.phase == Phase::Complete {
            return Err(TxError::TaskComplete(task));
        }
        if round != state.round {
            return Err(TxError::WrongRound {
                task,
                got: round,
                current: state.round,
            });
        }
        let groups = match &private.stage {
            Stage::Closed { groups, .. } => groups,
            Stage::Sealed { .. } => return Err(PrivateError::Sealed { task, round }.into()),
            Stage::Keys | Stage::Open { .. } => {
                return Err(PrivateError::NotClosed { task, round }.into());
            }
        };
        let place = usize::try_from(sum.group).ok();
        let group = place.and_then(|index| groups.get(index)).ok_or({
            PrivateError::UnknownGroup {
                round,
                got: sum.group,
                groups: groups.len() as u64,
            }
        })?;
        if !group.is_live() {
            return Err(PrivateError::NotOpened {
                group: sum.group,
                fate: group.fate,
                cohort: group.cohort.len() as u64,
            }
            .into());
        }
        if sum.set != group.set {
            return Err(PrivateError::WrongSet {
                group: sum.group,
                got: sum.set,
                expected: group.set,
            }
            .into());
        }
        if !private.keys.contains_key(&validator) {
            return Err(PrivateError::NoShareKey(validator).into());
        }
        if group.sums.contains_key(&validator) {
            let group = sum.group;
            return Err(PrivateError::SumKnown { group, validator }.into());
        }
        self.check_shares(state, group, sum)?;
        Ok(())
    }

    /// Whether the summed shares say that they are this validator's, of this group and this cohort. Whether
    /// they are the right numbers shows when enough of them are decoded.
    fn check_shares(
        &self,
        state: &TaskState,
        group: &Group,
        sum: &KeyShareSum,
    ) -> Result<(), PrivateError> {
        let (bytes, expected) = (sum.shares.len() as u64, KEY_SHARE_SUM_BYTES as u64);
        if bytes != expected {
            return Err(PrivateError::WrongSumLength { bytes, expected });
        }
        let bad = |what: &str| PrivateError::BadSum(what.to_owned());
        let shares = ShareSum::from_bytes(&sum.shares).map_err(|error| bad(&error.to_string()))?;
        if seat(&self.state.validators, &sum.validator) != Some(shares.index()) {
            return Err(bad("it is another validator's"));
        }
        let frame = self
            .round_frame(state)?
            .ok_or_else(|| bad("there are no groups"))?;
        if *shares.group() != frame.group(sum.group).map_err(terms)?.digest() {
            return Err(bad("it is another group's"));
        }
        if shares.set() != contributor_set(&group.cohort).map_err(terms)?.digest() {
            return Err(bad("it is of other contributors"));
        }
        Ok(())
    }
}

/// What a valid document and state never lead to.
fn terms(error: RingError) -> PrivateError {
    PrivateError::Terms(error.to_string())
}

impl Working {
    /// Keeps a share key; [`View::check_share_key`] has been passed.
    pub(crate) fn publish_key(&mut self, published: &ShareKey) {
        let Some(task) = self.state.tasks.get_mut(&published.task) else {
            return;
        };
        let Some(private) = &mut task.private else {
            return;
        };
        let keys = if published.round == task.round {
            &mut private.keys
        } else {
            &mut private.next_keys
        };
        keys.insert(published.validator, published.key);
        self.dirty.insert(StateKey::Private(published.task));
    }

    /// Notes a sum; [`View::check_key_share_sum`] has been passed.
    pub(crate) fn add_sum(&mut self, sum: &KeyShareSum, tx: TxHash) {
        let task = self.state.tasks.get_mut(&sum.task);
        let Some(private) = task.and_then(|task| task.private.as_mut()) else {
            return;
        };
        let Stage::Closed { groups, .. } = &mut private.stage else {
            return;
        };
        let place = usize::try_from(sum.group).ok();
        if let Some(group) = place.and_then(|index| groups.get_mut(index)) {
            group.sums.insert(sum.validator, tx);
        }
        self.dirty.insert(StateKey::Private(sum.task));
    }
}
