//! The validator set with its proposer schedule.
//!
//! Proposers follow a weighted round robin: in every cycle a validator proposes in proportion to its
//! power, spread as evenly as possible. The schedule is a pure function of the set, and a proposer of
//! the set, the height and the round, so that everybody computes the same one without history.

use std::sync::Arc;

use arc_malachitebft_app_channel::app::types::core as engine;
use cifer_chain::validators::ValidatorSet;
use cifer_genesis::{Height, PublicKey, ValidatorId};

use super::{Cifer, EngineAddress};

/// Longest proposer cycle; two bytes an entry make 8 KiB a set. Powers that do not reduce to this many turns
/// are scaled down to it, so that shares are exact to one part in four thousand.
const MAX_CYCLE: u64 = 4096;

/// The engine multiplies powers by 3 in 64 bits and panics on overflow.
const MAX_TOTAL_POWER: u64 = u64::MAX / 3;

/// Why the engine cannot work with a validator set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("total voting power {total} exceeds the engine's limit of {MAX_TOTAL_POWER}")]
pub(crate) struct ValidatorsError {
    total: u64,
}

/// A seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineValidator {
    address: EngineAddress,
    power: u64,
}

impl engine::Validator<Cifer> for EngineValidator {
    fn address(&self) -> &EngineAddress {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        self.address.0.key()
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// A validator set; cheap to clone, as the engine does it often.
#[derive(Debug, Clone)]
pub(crate) struct EngineValidators(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    set: ValidatorSet,
    validators: Vec<EngineValidator>,
    schedule: Vec<u16>,
}

impl EngineValidators {
    /// Prepares a set for the engine.
    pub(crate) fn new(set: ValidatorSet) -> Result<Self, ValidatorsError> {
        let total = set.total_power().0;
        if total > MAX_TOTAL_POWER {
            return Err(ValidatorsError { total });
        }
        let validators = set
            .entries()
            .iter()
            .map(|(id, power)| EngineValidator {
                address: EngineAddress(*id),
                power: power.0,
            })
            .collect();
        let powers: Vec<_> = set.entries().iter().map(|(_, power)| power.0).collect();
        Ok(Self(Arc::new(Inner {
            validators,
            schedule: proposer_schedule(&powers),
            set,
        })))
    }

    /// The ledger's form.
    pub(crate) fn set(&self) -> &ValidatorSet {
        &self.0.set
    }

    /// Whether somebody has a seat.
    pub(crate) fn contains(&self, id: &ValidatorId) -> bool {
        self.0.set.power_of(id).is_some()
    }

    /// Who proposes. Height and round step through the same cycle, so that with equal powers
    /// the rounds of one height have different proposers.
    pub(crate) fn proposer(&self, height: Height, round: u32) -> &EngineValidator {
        let cycle = self.0.schedule.len() as u64;
        let turn = (height.0 % cycle + u64::from(round) % cycle) % cycle;
        &self.0.validators[usize::from(self.0.schedule[turn as usize])]
    }
}

impl PartialEq for EngineValidators {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.set == other.0.set
    }
}

impl Eq for EngineValidators {}

impl engine::ValidatorSet<Cifer> for EngineValidators {
    fn count(&self) -> usize {
        self.0.validators.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.set.total_power().0
    }

    fn get_by_address(&self, address: &EngineAddress) -> Option<&EngineValidator> {
        let index = self
            .0
            .validators
            .binary_search_by(|entry| entry.address.cmp(address))
            .ok()?;
        Some(&self.0.validators[index])
    }

    fn get_by_index(&self, index: usize) -> Option<&EngineValidator> {
        self.0.validators.get(index)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Powers reduced to turns a cycle: divided by their common divisor, or scaled to [`MAX_CYCLE`].
fn turns(powers: &[u64]) -> Vec<u64> {
    let divisor = powers
        .iter()
        .copied()
        .fold(0, greatest_common_divisor)
        .max(1);
    let reduced: Vec<u64> = powers.iter().map(|power| power / divisor).collect();
    let total: u128 = reduced.iter().map(|turns| u128::from(*turns)).sum();
    if total <= u128::from(MAX_CYCLE) {
        return reduced;
    }
    reduced
        .iter()
        .map(|turns| {
            let scaled = u128::from(*turns) * u128::from(MAX_CYCLE) / total;
            u64::try_from(scaled).unwrap_or(MAX_CYCLE).max(1)
        })
        .collect()
}

/// Smooth weighted round robin: each turn everybody gains its weight, the richest (ties: the lowest
/// index) proposes and pays the total.
fn proposer_schedule(powers: &[u64]) -> Vec<u16> {
    let weights: Vec<i64> = turns(powers)
        .into_iter()
        .map(|turns| i64::try_from(turns).unwrap_or(1))
        .collect();
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0_i64; weights.len()];
    let mut schedule = Vec::new();
    for _ in 0..total {
        let mut richest = 0;
        for index in 0..weights.len() {
            credit[index] += weights[index];
            if credit[index] > credit[richest] {
                richest = index;
            }
        }
        credit[richest] -= total;
        // A set has at most 512 seats.
        schedule.push(u16::try_from(richest).unwrap_or(u16::MAX));
    }
    schedule
}

#[cfg(test)]
mod tests {
    use cifer_genesis::{SecretKey, VotingPower};
    use proptest::prelude::*;

    use super::*;

    fn count(schedule: &[u16], index: u16) -> usize {
        schedule.iter().filter(|entry| **entry == index).count()
    }

    #[test]
    fn equal_powers_take_turns() {
        assert_eq!(proposer_schedule(&[10, 10, 10, 10]), [0, 1, 2, 3]);
        assert_eq!(proposer_schedule(&[u64::MAX / 4; 3]), [0, 1, 2]);
    }

    #[test]
    fn turns_follow_power_and_are_spread() {
        assert_eq!(proposer_schedule(&[3, 1, 1]), [0, 1, 0, 2, 0]);
        let schedule = proposer_schedule(&[600, 300, 100]);
        assert_eq!(schedule.len(), 10);
        assert_eq!(
            [
                count(&schedule, 0),
                count(&schedule, 1),
                count(&schedule, 2)
            ],
            [6, 3, 1]
        );
    }

    #[test]
    fn rounds_of_a_height_have_different_proposers() {
        let entries = (0..4_u8)
            .map(|seed| {
                (
                    ValidatorId(SecretKey::from_seed(&[seed; 32]).public_key()),
                    VotingPower(1),
                )
            })
            .collect();
        let set = EngineValidators::new(ValidatorSet::new(entries).unwrap()).unwrap();
        let mut seen: Vec<_> = (0..4)
            .map(|round| set.proposer(Height(9), round).address)
            .collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4);
        assert_eq!(set.proposer(Height(1), 1), set.proposer(Height(2), 0));
        assert_eq!(set.proposer(Height(u64::MAX), u32::MAX).power, 1);
    }

    #[test]
    fn a_total_that_the_engine_would_overflow_on_is_refused() {
        let key = ValidatorId(SecretKey::from_seed(&[1; 32]).public_key());
        let set = ValidatorSet::new(vec![(key, VotingPower(u64::MAX / 3 + 1))]).unwrap();
        assert!(EngineValidators::new(set).is_err());
    }

    proptest! {
        #[test]
        fn everybody_proposes_and_shares_are_right(
            powers in proptest::collection::vec(1..u64::MAX / 64, 1..12),
        ) {
            let schedule = proposer_schedule(&powers);
            prop_assert!(schedule.len() as u64 <= MAX_CYCLE + powers.len() as u64);
            let total: u128 = powers.iter().map(|power| u128::from(*power)).sum();
            for (index, power) in powers.iter().enumerate() {
                let turns = count(&schedule, index as u16) as f64;
                let share = *power as f64 / total as f64;
                prop_assert!(turns >= 1.0);
                prop_assert!((turns / schedule.len() as f64 - share).abs() < 0.005);
            }
        }
    }
}
