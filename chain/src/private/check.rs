//! What the state demands of the transactions of a private round, and what they change.

use cifer_genesis::{RoundId, TaskId, TxHash};
use curve25519_dalek::{ristretto::CompressedRistretto, traits::IsIdentity};

use super::{KeyShareSum, PrivateError, PrivateRound, ShareKey, ShareKeyBytes, Stage, mask_seed};
use crate::{
    error::TxError,
    key::StateKey,
    round::{Phase, TaskState},
    transact::{View, Working},
    update::{PayloadEncoding, Update},
};

/// Bytes of a coefficient of a ciphertext's body.
const COEFFICIENT_BYTES: u64 = 8;
/// Coefficients of a chunk: bodies are whole chunks.
const CHUNK: u64 = 2_048;
/// Bytes of a dealing beside the shares, for each validator and for all.
const DEALING_BYTES: u64 = 1_024;

impl<'a> View<'a> {
    fn private_task(&self, task: TaskId) -> Result<(&'a TaskState, &'a PrivateRound), TxError> {
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

    /// Most bytes that an encrypted update of a task can have; saturating.
    pub(crate) fn max_private_payload(&self, state: &TaskState) -> u64 {
        let coordinates = state
            .task
            .coordinates()
            .div_ceil(CHUNK)
            .saturating_mul(CHUNK);
        let validators = self.state.validators.entries().len() as u64;
        let share = super::KEY_SHARE_SUM_BYTES as u64 + DEALING_BYTES;
        coordinates
            .saturating_mul(COEFFICIENT_BYTES)
            .saturating_add(validators.saturating_add(1).saturating_mul(share))
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
        let (expected, known) = self.keys_due(state, private)?;
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
        let mut in_use = private.keys.values().chain(private.next_keys.values());
        if in_use.any(|other| *other == key) {
            return Err(PrivateError::KeyReused(key).into());
        }
        if is_usable(&key) {
            Ok(())
        } else {
            Err(PrivateError::BadKey(key).into())
        }
    }

    /// The round for which keys are taken, and those that are in: of the current round until its
    /// groups are formed, of the next one from then on.
    fn keys_due(
        &self,
        state: &TaskState,
        private: &'a PrivateRound,
    ) -> Result<
        (
            RoundId,
            &'a std::collections::BTreeMap<cifer_genesis::ValidatorId, ShareKeyBytes>,
        ),
        PrivateError,
    > {
        if private.stage == Stage::Keys {
            return Ok((state.round, &private.keys));
        }
        let last = state.task.rounds.max_rounds;
        match state.round.next() {
            Some(next) if last == 0 || next.0 < last => Ok((next, &private.next_keys)),
            _ => Err(PrivateError::LastRound {
                task: state.task.id,
                round: state.round,
            }),
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
        check_sum_length(sum.shares.len())?;
        Ok(())
    }
}

fn check_sum_length(got: usize) -> Result<(), PrivateError> {
    if got == super::KEY_SHARE_SUM_BYTES {
        return Ok(());
    }
    Err(PrivateError::WrongSumLength {
        bytes: got as u64,
        expected: super::KEY_SHARE_SUM_BYTES as u64,
    })
}

/// Whether something can be encrypted to a key: a canonical point that is not the identity.
fn is_usable(key: &ShareKeyBytes) -> bool {
    CompressedRistretto(*key)
        .decompress()
        .is_some_and(|point| !point.is_identity())
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
