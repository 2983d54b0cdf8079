//! Attacks on a round, for tests and for trial networks: what a Byzantine contributor sends instead
//! of its honest update.
//!
//! The attacks know what their papers let them know: their own honest update, or the updates of the
//! honest contributors. Means and deviations are f64 over contributors in order, so an attack is as
//! reproducible as a rule.

use std::fmt;
use std::str::FromStr;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::quantile::normal_quantile;

/// What a Byzantine contributor does.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attack {
    /// `-scale * own`. At 3 of 10 a mean is turned around by any scale above 7/3.
    SignFlip {
        /// Factor, 4 by default.
        scale: f64,
    },
    /// Inner-product manipulation: `-tau * mean of the honest updates`, so that the aggregate's
    /// inner product with the true direction turns negative. Xie et al., *Fall of Empires: Breaking
    /// Byzantine-tolerant SGD by Inner Product Manipulation*, UAI 2020.
    InnerProduct {
        /// Factor, 3 by default. At 3 of 10 a mean is turned around by any above 7/3.
        tau: f64,
    },
    /// A little is enough: `mean - z * deviation` of the honest updates, small enough to pass for
    /// one of them. Baruch et al., *A Little Is Enough: Circumventing Defenses For Distributed
    /// Learning*, NeurIPS 2019, algorithm 3.
    Alie {
        /// Deviations; by default the largest that the paper's equation allows for n and f.
        z: Option<f64>,
    },
    /// Independent normal noise of mean zero in place of the update.
    Gaussian {
        /// Standard deviation, 10 by default.
        sigma: f64,
    },
    /// The trainer learns from wrong labels; the update itself is sent as it is.
    LabelFlip,
    /// NaN in every coordinate.
    Nan,
    /// No attack.
    None,
}

/// What the attackers know and how many they are.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge<'a> {
    /// The update that this contributor would send if it were honest.
    pub own: &'a [f32],
    /// Updates of honest contributors, or the attackers' estimate of them; used by `ipm` and `alie`.
    pub honest: &'a [Vec<f32>],
    /// Contributors in all.
    pub n: usize,
    /// Byzantine ones among them.
    pub f: usize,
    /// Seed of random attacks; different for each attacker and round.
    pub seed: u64,
}

/// Why an attack could not be named or computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// No attack has this name.
    #[error(
        "unknown attack {0:?}: expected sign-flip, alie, ipm, gaussian, label-flip, nan or none"
    )]
    Unknown(String),
    /// The attack needs the updates of honest contributors.
    #[error("{0} needs at least one honest update to look at")]
    NoHonest(&'static str),
    /// An honest update has another length than the attacker's own.
    #[error("honest update {index} has {len} coordinates, expected {expected}")]
    Length {
        /// Its index.
        index: usize,
        /// Its length.
        len: usize,
        /// Length of the attacker's own update.
        expected: usize,
    },
    /// ALIE without honest contributors.
    #[error("alie needs f < n: n = {n}, f = {f}")]
    Numbers {
        /// Contributors in all.
        n: usize,
        /// Byzantine ones among them.
        f: usize,
    },
}

impl Attack {
    /// Every attack with its default strength.
    pub const ALL: [Self; 7] = [
        Self::SignFlip { scale: 4.0 },
        Self::Alie { z: None },
        Self::InnerProduct { tau: 3.0 },
        Self::Gaussian { sigma: 10.0 },
        Self::LabelFlip,
        Self::Nan,
        Self::None,
    ];

    /// The name as users write it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SignFlip { .. } => "sign-flip",
            Self::InnerProduct { .. } => "ipm",
            Self::Alie { .. } => "alie",
            Self::Gaussian { .. } => "gaussian",
            Self::LabelFlip => "label-flip",
            Self::Nan => "nan",
            Self::None => "none",
        }
    }

    /// The same attack with its scale, tau, z or sigma set; the others have no strength.
    #[must_use]
    pub fn with_scale(self, value: f64) -> Self {
        match self {
            Self::SignFlip { .. } => Self::SignFlip { scale: value },
            Self::InnerProduct { .. } => Self::InnerProduct { tau: value },
            Self::Alie { .. } => Self::Alie { z: Some(value) },
            Self::Gaussian { .. } => Self::Gaussian { sigma: value },
            Self::LabelFlip | Self::Nan | Self::None => self,
        }
    }

    /// True when the attack is made by training on wrong labels.
    pub fn flips_labels(&self) -> bool {
        matches!(self, Self::LabelFlip)
    }

    /// The vector that the attacker sends, as long as its own update.
    ///
    /// # Errors
    /// [`AttackError`] when the honest updates are missing or of different lengths, or when no
    /// contributor is honest.
    pub fn forge(&self, known: &Knowledge<'_>) -> Result<Vec<f32>, AttackError> {
        let own = known.own;
        match *self {
            Self::SignFlip { scale } => Ok(own
                .iter()
                .map(|x| (-scale * f64::from(*x)) as f32)
                .collect()),
            Self::InnerProduct { tau } => {
                self.per_coordinate(known, |values| -tau * mean_and_deviation(values).0)
            }
            Self::Alie { z } => {
                let z = z.map_or_else(|| alie_z(known.n, known.f), Ok)?;
                self.per_coordinate(known, |values| {
                    let (mean, deviation) = mean_and_deviation(values);
                    mean - z * deviation
                })
            }
            Self::Gaussian { sigma } => {
                let mut rng = ChaCha12Rng::seed_from_u64(known.seed);
                Ok(own
                    .iter()
                    .map(|_| (sigma * normal(&mut rng)) as f32)
                    .collect())
            }
            Self::Nan => Ok(vec![f32::NAN; own.len()]),
            Self::LabelFlip | Self::None => Ok(own.to_vec()),
        }
    }

    /// Applies `forge` to the honest values of every coordinate.
    fn per_coordinate(
        &self,
        known: &Knowledge<'_>,
        forge: impl Fn(&[f64]) -> f64,
    ) -> Result<Vec<f32>, AttackError> {
        let expected = known.own.len();
        if known.honest.is_empty() {
            return Err(AttackError::NoHonest(self.name()));
        }
        for (index, update) in known.honest.iter().enumerate() {
            if update.len() != expected {
                return Err(AttackError::Length {
                    index,
                    len: update.len(),
                    expected,
                });
            }
        }
        let mut values = vec![0.0; known.honest.len()];
        let forged = (0..expected).map(|k| {
            for (value, update) in values.iter_mut().zip(known.honest) {
                *value = f64::from(update[k]);
            }
            forge(&values) as f32
        });
        Ok(forged.collect())
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Parses a name, with the default strength.
impl FromStr for Attack {
    type Err = AttackError;

    fn from_str(text: &str) -> Result<Self, AttackError> {
        let known = Self::ALL.into_iter().find(|attack| attack.name() == text);
        known.ok_or_else(|| AttackError::Unknown(text.chars().take(40).collect()))
    }
}

/// The paper's `z_max`: the attackers need `s = ⌊n/2 + 1⌋ - f` honest supporters, so z is where a
/// share `(n - f - s) / (n - f)` of the honest values lies below.
fn alie_z(n: usize, f: usize) -> Result<f64, AttackError> {
    let honest = n.checked_sub(f).filter(|&honest| honest > 0);
    let honest = honest.ok_or(AttackError::Numbers { n, f })?;
    // Attackers in the majority need nobody; one supporter keeps z finite.
    let supporters = (n / 2 + 1).saturating_sub(f).clamp(1, honest);
    let share = (honest - supporters) as f64 / honest as f64;
    Ok(normal_quantile(share.max(1e-6)))
}

/// Mean and sample standard deviation (zero for one value).
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

/// One standard normal number, by inversion of a uniform one.
fn normal(rng: &mut ChaCha12Rng) -> f64 {
    normal_quantile((f64::from(rng.next_u32()) + 0.5) / 4_294_967_296.0)
}
