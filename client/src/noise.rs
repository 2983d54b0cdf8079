//! Noise of private tasks: what a contributor adds to its update, and what the rounds of a task cost.
//!
//! Invariants: the integers are those of the genesis document ([`cifer_genesis::Noise::on_grid`]), on the grid that opened
//! sums are read with; a noised coordinate always fits its slot. Epsilons are for people: nothing decides by them.

use cifer_genesis::{NoiseGrid, document::Task};
use cifer_privacy::{Ledger, Mechanism, Neighbours, Parameters, PrivacyError, Round, Variance};
use rand::{CryptoRng, RngCore, SeedableRng, rngs::StdRng};

/// The noise of a task, ready to be added.
#[derive(Debug, Clone, Copy)]
pub struct TaskNoise {
    mechanism: Mechanism,
    grid: NoiseGrid,
    honest: u32,
    delta: f64,
    rounds: u64,
}

/// What so many rounds of a task cost one contributor. An epsilon is absent where there is no guarantee worth the name: one so large that the
/// part of the noise that is cut weighs more than delta.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Cost {
    /// Rounds, aborted ones included.
    pub rounds: u64,
    /// Any update in the place of the contributor's, seen by who knows the group's sum.
    pub replaced: Option<f64>,
    /// Zero in the place of the contributor's update, seen by who knows the group's sum.
    pub zeroed: Option<f64>,
    /// As [`Self::replaced`], seen by who knows the noise of all others, or this one update: all other members together, or
    /// more validators than may collude.
    pub replaced_alone: Option<f64>,
}

impl TaskNoise {
    /// The noise of `task`; none where its document asks for none.
    ///
    /// # Errors
    /// [`PrivacyError`] for a document that validation would have refused.
    pub fn of(task: &Task) -> Result<Option<Self>, PrivacyError> {
        let (Some(noise), Some(terms)) = (&task.noise, &task.privacy) else {
            return Ok(None);
        };
        let grid = noise.on_grid(terms);
        // The same single precision bound that sums are read with.
        let clip = f64::from((terms.clip_ppm as f64 / 1_000_000.0) as f32);
        let mechanism = Mechanism::new(Parameters {
            coordinates: task.coordinates(),
            steps_per_unit: grid.levels as f64 / clip,
            norm: grid.norm,
            variance: Variance::new(grid.variance, 1)?,
            tail: u32::try_from(grid.tail).unwrap_or(u32::MAX),
        })?;
        Ok(Some(Self {
            mechanism,
            grid,
            honest: u32::try_from(noise.honest).unwrap_or(u32::MAX),
            delta: 10_f64.powi(-i32::try_from(noise.delta_exponent).unwrap_or(i32::MAX)),
            rounds: task.rounds.max_rounds,
        }))
    }

    /// The integers of the noise.
    #[must_use]
    pub const fn grid(&self) -> &NoiseGrid {
        &self.grid
    }

    /// The delta of the guarantee.
    #[must_use]
    pub const fn delta(&self) -> f64 {
        self.delta
    }

    /// Members whose noise is counted, the protected one among them.
    #[must_use]
    pub const fn honest(&self) -> u32 {
        self.honest
    }

    /// Clips, rounds and noises an update of f32 little endian: slot values of u32 little endian, in `0..=2 * levels`.
    ///
    /// Every call is a release of its own: one a round.
    ///
    /// # Errors
    /// [`PrivacyError`] for another length and for numbers that are not finite.
    pub fn slots(
        &self,
        update: &[u8],
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Result<Vec<u8>, PrivacyError> {
        let (values, rest) = update.as_chunks::<4>();
        let values: Vec<f32> = values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        if !rest.is_empty() {
            return Err(PrivacyError::Length {
                got: values.len() as u64 + 1,
                expected: self.mechanism.parameters().coordinates,
            });
        }
        // The operating system's generator is slow to ask a dozen times a coordinate.
        let mut seed = <StdRng as SeedableRng>::Seed::default();
        rng.fill_bytes(&mut seed);
        let noised = self
            .mechanism
            .perturb(&values, &mut StdRng::from_seed(seed))?;
        let levels = self.grid.levels as i64;
        // In a valid document reach <= levels, so the sum is not negative; validation saw to it.
        let slot = |value: i32| (i64::from(value) + levels).clamp(0, 2 * levels) as u32;
        Ok(noised
            .into_iter()
            .flat_map(|value| slot(value).to_le_bytes())
            .collect())
    }

    /// What 1, 10, 100, … and all rounds of the task cost.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`] for a document that validation would have refused.
    pub fn costs(&self) -> Result<Vec<Cost>, PrivacyError> {
        let mut counts: Vec<u64> = (0..19)
            .map(|power| 10_u64.pow(power))
            .take_while(|count| *count < self.rounds)
            .collect();
        counts.push(self.rounds);
        counts.into_iter().map(|rounds| self.cost(rounds)).collect()
    }

    fn cost(&self, rounds: u64) -> Result<Cost, PrivacyError> {
        let epsilon = |honest: u32, neighbours: Neighbours| {
            let round = Round::new(&self.mechanism, honest, neighbours)?;
            match Ledger::new(round, rounds)?.epsilon(self.delta) {
                Ok(epsilon) => Ok(Some(epsilon)),
                Err(PrivacyError::Tail { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        Ok(Cost {
            rounds,
            replaced: epsilon(self.honest, Neighbours::Replaced)?,
            zeroed: epsilon(self.honest, Neighbours::Zeroed)?,
            replaced_alone: epsilon(1, Neighbours::Replaced)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use cifer_genesis::{
        ModelRoot, Noise, Privacy, TaskId,
        document::{RoundPolicy, RuleSpec, Tensor},
    };
    use rand::rngs::OsRng;

    use super::*;

    fn task(coordinates: u64) -> Task {
        let policy = RoundPolicy {
            min_updates: 9,
            max_updates: 9,
            deadline_ms: 1000,
            max_extensions: 0,
            max_rounds: 50,
        };
        let tensors = vec![Tensor::f32("w", &[coordinates])];
        let mut task = Task::new(
            TaskId(0),
            "t",
            tensors,
            ModelRoot::from_bytes([0; 32]),
            RuleSpec::Median,
            policy,
        );
        task.privacy = Some(Privacy {
            value_bits: 16,
            ..Privacy::grouped_sum(6_000_000)
        });
        task.noise = Some(Noise {
            clip_norm_ppm: 500_000,
            multiplier_ppm: 1_000_000,
            honest: 2,
            delta_exponent: 6,
        });
        task
    }

    #[test]
    fn a_task_without_noise_has_none() {
        let mut plain = task(10);
        plain.noise = None;
        assert!(TaskNoise::of(&plain).unwrap().is_none());
    }

    #[test]
    fn slots_hold_the_clipped_update_and_noise_of_the_documents_size() {
        let coordinates = 40_000;
        let noise = TaskNoise::of(&task(coordinates)).unwrap().unwrap();
        // Norm 2.0 clipped to 0.5: every coordinate is 0.0025, 13.65 steps.
        let update: Vec<u8> = (0..coordinates)
            .flat_map(|_| 0.01_f32.to_le_bytes())
            .collect();
        let slots = noise.slots(&update, &mut OsRng).unwrap();
        let (slots, rest) = slots.as_chunks::<4>();
        assert!(rest.is_empty());
        let values: Vec<f64> = slots
            .iter()
            .map(|bytes| f64::from(u32::from_le_bytes(*bytes)) - 32_767.0)
            .collect();
        assert!(
            values
                .iter()
                .all(|value| value.abs() <= noise.grid().reach() as f64)
        );
        let count = coordinates as f64;
        let mean = values.iter().sum::<f64>() / count;
        // Six standard deviations: fails once in 5 * 10^8 runs.
        let sigma = 3_728_043_f64.sqrt();
        assert!((mean - 13.65).abs() < 6.0 * sigma / count.sqrt(), "{mean}");
        let variance = values.iter().map(|value| value * value).sum::<f64>() / count;
        assert!(
            (variance / 3_728_230.0 - 1.0).abs() < 6.0 * (2.0 / count).sqrt(),
            "{variance}"
        );
    }

    #[test]
    fn updates_that_are_none_are_refused() {
        let noise = TaskNoise::of(&task(2)).unwrap().unwrap();
        for length in [0, 4, 7, 9, 12] {
            let error = noise.slots(&vec![0; length], &mut OsRng).unwrap_err();
            assert!(
                matches!(error, PrivacyError::Length { expected: 2, .. }),
                "{length}: {error}"
            );
        }
        let nan = [f32::NAN.to_le_bytes(), [0; 4]].concat();
        let error = noise.slots(&nan, &mut OsRng).unwrap_err();
        assert!(
            matches!(error, PrivacyError::NotFinite { index: 0, .. }),
            "{error}"
        );
    }

    #[test]
    fn costs_are_of_all_rounds_and_larger_for_stronger_adversaries() {
        let noise = TaskNoise::of(&task(650)).unwrap().unwrap();
        let costs = noise.costs().unwrap();
        assert_eq!(
            costs.iter().map(|cost| cost.rounds).collect::<Vec<_>>(),
            [1, 10, 50]
        );
        for pair in costs.windows(2) {
            assert!(pair[0].zeroed.unwrap() < pair[1].zeroed.unwrap());
        }
        let first = costs[0];
        assert!(first.zeroed.unwrap() < first.replaced.unwrap());
        assert!(first.replaced.unwrap() < first.replaced_alone.unwrap());
        // Multiplier 1, one round, delta 1e-6: rho = 1/2 and a little for rounding. 5.2215 is OpenDP's for 1/2.
        assert!((5.2215..5.23).contains(&first.zeroed.unwrap()), "{first:?}");
    }
}
