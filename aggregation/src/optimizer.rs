//! Server optimisers: what the server does with the aggregate Δ of a round.
//!
//! With the model x, the learning rate η and state vectors that start as said below and are f32, as x is:
//!
//! | optimiser | state | step |
//! |---|---|---|
//! | `sgd` | none | `x + η Δ` |
//! | `fedavgm` | m = 0 | `m ← β m + Δ`, `x + η m` |
//! | `fedadam` | m = 0, v = τ² | `m ← β₁ m + (1-β₁) Δ`, `v ← β₂ v + (1-β₂) Δ²`, `x + η m / (√v + τ)` |
//! | `fedyogi` | m = 0, v = τ² | as `fedadam`, but `v ← v - (1-β₂) Δ² sign(v - Δ²)` |
//!
//! Everything is computed in f64 from f32 values with `+ - * /` and square roots, and each of m, v
//! and the model is rounded to f32 once. The rounded state is what the model's step uses, so a step depends on
//! what is stored and on nothing else: the same bits on every machine.
//!
//! **Papers.** FedAvgM: Hsu, Qi and Brown, *Measuring the Effects of Non-Identical Data Distribution
//! for Federated Visual Classification*, 2019 (arXiv:1909.06335), section 4.3. FedAdam and FedYogi: Reddi
//! et al., *Adaptive Federated Optimization*, ICLR 2021, algorithm 2 (no bias correction).
//!
//! **Cost.** One or two more vectors read and written with the model. Memory: a tile of each.
//!
//! **Use.** FedAvgM smooths rounds in which few contributors take part; FedAdam and FedYogi adapt to
//! coordinates of different scale, Yogi with a second moment that falls more slowly. They amplify what the
//! rule lets through, so they stand behind a robust rule, not instead of one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::AggregationError;
use crate::params::{
    MILLION, Params, ParseRuleError, Table, from_ppm, read_stage, shorten, write_stage,
};

/// Most state vectors of an optimiser.
pub(crate) const MAX_STATE: usize = 2;

/// The name of an optimiser, without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum OptimizerName {
    /// `sgd`
    Sgd,
    /// `fedavgm`
    FedAvgM,
    /// `fedadam`
    FedAdam,
    /// `fedyogi`
    FedYogi,
}

impl OptimizerName {
    /// All optimisers.
    pub const ALL: [Self; 4] = [Self::Sgd, Self::FedAvgM, Self::FedAdam, Self::FedYogi];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sgd => "sgd",
            Self::FedAvgM => "fedavgm",
            Self::FedAdam => "fedadam",
            Self::FedYogi => "fedyogi",
        }
    }

    /// The optimiser of this name with the values of its paper: β = 0.9, β₁ = 0.9, β₂ = 0.99, τ =
    /// 0.001.
    pub fn with_defaults(self) -> Optimizer {
        let (beta1_ppm, beta2_ppm, tau_ppm) = (900_000, 990_000, 1_000);
        match self {
            Self::Sgd => Optimizer::Sgd,
            Self::FedAvgM => Optimizer::FedAvgM { beta_ppm: 900_000 },
            Self::FedAdam => Optimizer::FedAdam {
                beta1_ppm,
                beta2_ppm,
                tau_ppm,
            },
            Self::FedYogi => Optimizer::FedYogi {
                beta1_ppm,
                beta2_ppm,
                tau_ppm,
            },
        }
    }
}

impl fmt::Display for OptimizerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for OptimizerName {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let known = Self::ALL.into_iter().find(|name| name.as_str() == text);
        known.ok_or_else(|| ParseRuleError::UnknownOptimizer(shorten(text)))
    }
}

/// An optimiser and its parameters, in millionths. In text `fedadam:beta1=0.9,beta2=0.99,tau=0.001`,
/// with a name alone for the defaults; in serde formats a table, as a [`Rule`](crate::Rule) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Table<OptimizerName>", into = "Table<OptimizerName>")]
#[cfg_attr(
    feature = "borsh",
    derive(borsh::BorshSerialize, borsh::BorshDeserialize)
)]
#[non_exhaustive]
pub enum Optimizer {
    /// The aggregate times the learning rate.
    Sgd,
    /// Momentum.
    FedAvgM {
        /// Share of the momentum that is kept, below one.
        beta_ppm: u32,
    },
    /// Adam.
    FedAdam {
        /// Share of the first moment that is kept, below one.
        beta1_ppm: u32,
        /// Share of the second moment that is kept, below one.
        beta2_ppm: u32,
        /// What keeps the divisor from zero, above zero.
        tau_ppm: u32,
    },
    /// Yogi.
    FedYogi {
        /// Share of the first moment that is kept, below one.
        beta1_ppm: u32,
        /// Part of the squared aggregate that does not enter the second moment, below one.
        beta2_ppm: u32,
        /// What keeps the divisor from zero, above zero.
        tau_ppm: u32,
    },
}

impl Optimizer {
    /// Its name.
    pub fn name(&self) -> OptimizerName {
        match self {
            Self::Sgd => OptimizerName::Sgd,
            Self::FedAvgM { .. } => OptimizerName::FedAvgM,
            Self::FedAdam { .. } => OptimizerName::FedAdam,
            Self::FedYogi { .. } => OptimizerName::FedYogi,
        }
    }

    /// Vectors that it keeps from round to round, each as long as the model.
    pub fn state_vectors(&self) -> usize {
        match self {
            Self::Sgd => 0,
            Self::FedAvgM { .. } => 1,
            Self::FedAdam { .. } | Self::FedYogi { .. } => 2,
        }
    }

    /// Whether the parameters have a meaning.
    ///
    /// # Errors
    /// [`AggregationError::Infeasible`] with the inequality.
    pub fn check(&self) -> Result<(), AggregationError> {
        let infeasible = |inequality, instance| {
            Err(AggregationError::Infeasible {
                stage: self.name().into(),
                inequality,
                instance,
            })
        };
        for (name, value) in self.params() {
            if name == "tau_ppm" && value == 0 {
                return infeasible("tau_ppm >= 1", "tau_ppm = 0 gives 0 < 1".into());
            }
            if name.starts_with("beta") && value >= MILLION {
                return infeasible(
                    "beta < 1",
                    format!("{name} = {value} gives {value} >= {MILLION}"),
                );
            }
        }
        Ok(())
    }

    /// What every coordinate of the state vectors is before the first round.
    pub(crate) fn initial_state(&self) -> [f32; MAX_STATE] {
        match *self {
            Self::Sgd | Self::FedAvgM { .. } => [0.0; MAX_STATE],
            Self::FedAdam { tau_ppm, .. } | Self::FedYogi { tau_ppm, .. } => {
                let tau = from_ppm(tau_ppm.into());
                [0.0, (tau * tau) as f32]
            }
        }
    }

    /// Replaces the aggregate in `values` by the model after the step, and `state` by the state
    /// after it. All slices are of one length; of `state` the first
    /// [`state_vectors`](Self::state_vectors) are used.
    pub(crate) fn step(
        &self,
        values: &mut [f32],
        base: &[f32],
        lr: f64,
        state: [&mut [f32]; MAX_STATE],
    ) {
        let [first, second] = state;
        match *self {
            Self::Sgd => {
                for (value, base) in values.iter_mut().zip(base) {
                    *value = (f64::from(*base) + lr * f64::from(*value)) as f32;
                }
            }
            Self::FedAvgM { beta_ppm } => {
                let beta = from_ppm(beta_ppm.into());
                for ((value, base), m) in values.iter_mut().zip(base).zip(first) {
                    *m = (beta * f64::from(*m) + f64::from(*value)) as f32;
                    *value = (f64::from(*base) + lr * f64::from(*m)) as f32;
                }
            }
            Self::FedAdam {
                beta1_ppm,
                beta2_ppm,
                tau_ppm,
            } => {
                let kept = from_ppm(beta2_ppm.into());
                let new = 1.0 - kept;
                let second_moment = |v: f64, square: f64| kept * v + new * square;
                adaptive(
                    values,
                    base,
                    lr,
                    [first, second],
                    (beta1_ppm, tau_ppm),
                    second_moment,
                );
            }
            Self::FedYogi {
                beta1_ppm,
                beta2_ppm,
                tau_ppm,
            } => {
                let new = 1.0 - from_ppm(beta2_ppm.into());
                let second_moment = |v: f64, square: f64| match v.partial_cmp(&square) {
                    Some(std::cmp::Ordering::Greater) => v - new * square,
                    Some(std::cmp::Ordering::Less) => v + new * square,
                    _ => v,
                };
                adaptive(
                    values,
                    base,
                    lr,
                    [first, second],
                    (beta1_ppm, tau_ppm),
                    second_moment,
                );
            }
        }
    }

    fn params(&self) -> Vec<(&'static str, u64)> {
        match *self {
            Self::Sgd => vec![],
            Self::FedAvgM { beta_ppm } => vec![("beta_ppm", beta_ppm.into())],
            Self::FedAdam {
                beta1_ppm,
                beta2_ppm,
                tau_ppm,
            }
            | Self::FedYogi {
                beta1_ppm,
                beta2_ppm,
                tau_ppm,
            } => vec![
                ("beta1_ppm", beta1_ppm.into()),
                ("beta2_ppm", beta2_ppm.into()),
                ("tau_ppm", tau_ppm.into()),
            ],
        }
    }

    /// The optimiser of this name; parameters that are not given have their defaults.
    fn from_params(name: OptimizerName, mut p: Params) -> Result<Self, ParseRuleError> {
        p.fill(name.with_defaults().params());
        let optimizer = match name {
            OptimizerName::Sgd => Self::Sgd,
            OptimizerName::FedAvgM => Self::FedAvgM {
                beta_ppm: p.count(name, "beta_ppm")?,
            },
            OptimizerName::FedAdam => Self::FedAdam {
                beta1_ppm: p.count(name, "beta1_ppm")?,
                beta2_ppm: p.count(name, "beta2_ppm")?,
                tau_ppm: p.count(name, "tau_ppm")?,
            },
            OptimizerName::FedYogi => Self::FedYogi {
                beta1_ppm: p.count(name, "beta1_ppm")?,
                beta2_ppm: p.count(name, "beta2_ppm")?,
                tau_ppm: p.count(name, "tau_ppm")?,
            },
        };
        p.finish(name)?;
        Ok(optimizer)
    }
}

/// The step of Adam and Yogi, which differ in the second moment.
fn adaptive(
    values: &mut [f32],
    base: &[f32],
    lr: f64,
    [first, second]: [&mut [f32]; MAX_STATE],
    (beta1_ppm, tau_ppm): (u32, u32),
    second_moment: impl Fn(f64, f64) -> f64,
) {
    let (kept, tau) = (from_ppm(beta1_ppm.into()), from_ppm(tau_ppm.into()));
    let new = 1.0 - kept;
    let state = first.iter_mut().zip(second);
    for ((value, base), (m, v)) in values.iter_mut().zip(base).zip(state) {
        let delta = f64::from(*value);
        *m = (kept * f64::from(*m) + new * delta) as f32;
        *v = second_moment(f64::from(*v), delta * delta) as f32;
        let divisor = f64::from(*v).sqrt() + tau;
        *value = (f64::from(*base) + lr * (f64::from(*m) / divisor)) as f32;
    }
}

impl From<Optimizer> for Table<OptimizerName> {
    fn from(optimizer: Optimizer) -> Self {
        Self::new(optimizer.name(), &optimizer.params())
    }
}

impl TryFrom<Table<OptimizerName>> for Optimizer {
    type Error = ParseRuleError;

    fn try_from(table: Table<OptimizerName>) -> Result<Self, ParseRuleError> {
        let (name, params) = table.into_parts();
        Self::from_params(name, params)
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_stage(out, self.name(), &self.params())
    }
}

impl FromStr for Optimizer {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        let (name, params) = read_stage(text)?;
        Self::from_params(name, params)
    }
}
