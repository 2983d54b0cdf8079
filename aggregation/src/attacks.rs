//! Attacks on a round, for tests and for trial networks: what a Byzantine contributor sends instead
//! of its honest update.
//!
//! The attacks know what their papers let them know: their own honest update, the updates of the
//! honest contributors, and (the optimised ones) the rule that the network runs. Means, deviations and
//! distances are f64 in a fixed order, so an attack is as reproducible as a rule. One file each.

use std::fmt;
use std::str::FromStr;

mod alie;
mod envelope;
mod error;
mod extreme;
mod gaussian;
mod honest;
mod ipm;
mod knowledge;
mod mimic;
mod scaled;
mod search;

pub use error::AttackError;
pub use knowledge::{Defence, Knowledge};

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
    /// Inner-product manipulation with the tau that moves the network's own rule farthest from the
    /// honest mean, found by a line search of 20 aggregations. Allouah et al., *Fixing by Mixing*,
    /// AISTATS 2023; `Optimal_InnerProductManipulation` of ByzFL.
    OptimalInnerProduct,
    /// A little is enough with the z that moves the network's own rule farthest from the honest
    /// mean; same search and source, `Optimal_ALittleIsEnough` of ByzFL with the sign of
    /// [`Attack::Alie`].
    OptimalAlie,
    /// The update of one honest contributor, sent again by every attacker: it passes every filter, and
    /// what is heterogeneous between honest contributors is learned wrongly. Karimireddy et al.,
    /// *Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing*, ICLR 2022.
    Mimic {
        /// Index of the contributor among the honest ones, 0 by default.
        target: usize,
    },
    /// The largest finite f32 in every coordinate. ByzFL's `Inf` sends true infinities, which a node
    /// rejects before they count, exactly as [`Attack::Nan`]; this is the largest value that a rule sees.
    Infinity,
    /// `mean - gamma * deviation` with the largest gamma for which no honest update is farther from
    /// it than the farthest two honest updates are from each other. Shejwalkar and Houmansadr,
    /// *Manipulating the Byzantine*, NDSS 2021.
    MinMax,
    /// `mean - gamma * deviation` with the largest gamma for which the squared distances to the honest
    /// updates do not sum to more than those of the honest update with the largest such sum. The same
    /// paper.
    MinSum,
    /// Model replacement: the trainer learns from wrong labels, and the update is scaled so that
    /// in a mean the attackers' model replaces everybody's. Bagdasaryan et al., *How to Backdoor
    /// Federated Learning*, AISTATS 2020, equation 3.
    Scaling {
        /// Factor; by default n / f, the attackers sharing the work.
        factor: Option<f64>,
    },
}

impl Attack {
    /// Every attack with its default strength.
    pub const ALL: [Self; 14] = [
        Self::SignFlip { scale: 4.0 },
        Self::Alie { z: None },
        Self::InnerProduct { tau: 3.0 },
        Self::Gaussian { sigma: 10.0 },
        Self::LabelFlip,
        Self::Nan,
        Self::None,
        Self::OptimalInnerProduct,
        Self::OptimalAlie,
        Self::Mimic { target: 0 },
        Self::Infinity,
        Self::MinMax,
        Self::MinSum,
        Self::Scaling { factor: None },
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
            Self::OptimalInnerProduct => "opt-ipm",
            Self::OptimalAlie => "opt-alie",
            Self::Mimic { .. } => "mimic",
            Self::Infinity => "infinity",
            Self::MinMax => "min-max",
            Self::MinSum => "min-sum",
            Self::Scaling { .. } => "scaling",
        }
    }

    /// The same attack with its scale, tau, z, sigma, factor or target set (a target is rounded
    /// down); the others have no strength.
    #[must_use]
    pub fn with_scale(self, value: f64) -> Self {
        match self {
            Self::SignFlip { .. } => Self::SignFlip { scale: value },
            Self::InnerProduct { .. } => Self::InnerProduct { tau: value },
            Self::Alie { .. } => Self::Alie { z: Some(value) },
            Self::Gaussian { .. } => Self::Gaussian { sigma: value },
            Self::Scaling { .. } => Self::Scaling {
                factor: Some(value),
            },
            // `as` saturates, and makes zero of NaN; a target that does not exist is refused later.
            Self::Mimic { .. } => Self::Mimic {
                target: value as usize,
            },
            Self::LabelFlip
            | Self::Nan
            | Self::None
            | Self::OptimalInnerProduct
            | Self::OptimalAlie
            | Self::Infinity
            | Self::MinMax
            | Self::MinSum => self,
        }
    }

    /// True when the attack is made by training on wrong labels.
    pub fn flips_labels(&self) -> bool {
        matches!(self, Self::LabelFlip | Self::Scaling { .. })
    }

    /// True when the attack looks at [`Knowledge::honest`].
    pub fn sees_honest(&self) -> bool {
        match self {
            Self::InnerProduct { .. }
            | Self::Alie { .. }
            | Self::OptimalInnerProduct
            | Self::OptimalAlie
            | Self::Mimic { .. }
            | Self::MinMax
            | Self::MinSum => true,
            Self::SignFlip { .. }
            | Self::Gaussian { .. }
            | Self::LabelFlip
            | Self::Nan
            | Self::None
            | Self::Infinity
            | Self::Scaling { .. } => false,
        }
    }

    /// True when the attack looks at [`Knowledge::defence`].
    pub fn sees_defence(&self) -> bool {
        matches!(self, Self::OptimalInnerProduct | Self::OptimalAlie)
    }

    /// The vector that the attacker sends, as long as its own update.
    ///
    /// # Errors
    /// [`AttackError`] when what the attack looks at is missing or does not fit together.
    pub fn forge(&self, known: &Knowledge<'_>) -> Result<Vec<f32>, AttackError> {
        if self.sees_honest() {
            honest::check(self.name(), known)?;
        }
        match *self {
            Self::SignFlip { scale } => Ok(scaled::forge(known.own, -scale)),
            Self::InnerProduct { tau } => Ok(ipm::forge(known, tau)),
            Self::Alie { z } => {
                let z = z.map_or_else(|| alie::largest_z(known.n, known.f), Ok)?;
                Ok(alie::forge(known, z))
            }
            Self::Gaussian { sigma } => Ok(gaussian::forge(known, sigma)),
            Self::LabelFlip | Self::None => Ok(known.own.to_vec()),
            Self::Nan => Ok(vec![extreme::NAN; known.own.len()]),
            Self::Infinity => Ok(vec![extreme::LARGEST; known.own.len()]),
            Self::OptimalInnerProduct => search::strongest(self.name(), known, ipm::forge),
            Self::OptimalAlie => search::strongest(self.name(), known, alie::forge),
            Self::Mimic { target } => mimic::forge(known, target),
            Self::MinMax => Ok(envelope::min_max(known)),
            Self::MinSum => Ok(envelope::min_sum(known)),
            Self::Scaling { factor } => {
                let factor = match factor {
                    Some(factor) => factor,
                    None if known.f == 0 => return Err(AttackError::NoAttackers(self.name())),
                    None => known.n as f64 / known.f as f64,
                };
                Ok(scaled::forge(known.own, factor))
            }
        }
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
