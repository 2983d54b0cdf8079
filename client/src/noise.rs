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

/// An epsilon for people: two digits, rounded up, since a guarantee is not shortened to a better one; `none` where there is none.
#[must_use]
pub fn epsilon_text(epsilon: Option<f64>) -> String {
    epsilon.map_or_else(
        || "none".to_owned(),
        |epsilon| format!("{:.2}", (epsilon * 100.0).ceil() / 100.0),
    )
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
    use super::epsilon_text;

    #[test]
    fn epsilons_are_rounded_up() {
        assert_eq!(epsilon_text(Some(5.2215)), "5.23");
        assert_eq!(epsilon_text(Some(0.001)), "0.01");
        assert_eq!(epsilon_text(Some(0.0)), "0.00");
        assert_eq!(epsilon_text(None), "none");
    }
}
