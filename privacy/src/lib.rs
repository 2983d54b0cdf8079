//! Differential privacy of sums of updates, in integers.
//!
//! Every contributor clips its update to an L2 norm, rounds it to a grid of integers and adds discrete Gaussian noise
//! *before* it encrypts. Whoever sees only the sum of a group sees the noise of all its members; the accountant counts that of the
//! members that are assumed honest, and says which epsilon so many rounds cost at a given delta.
//!
//! - [`Gaussian`]: exact sampling, integer arithmetic only (Canonne, Kamath, Steinke 2020, algorithms 1 to 3).
//! - [`Mechanism`]: clip, round, add. The norm of what noise is added to is checked in integers, so that no rounding of a
//!   float can make an update larger than the accountant believes.
//! - [`Ledger`]: what rounds cost, by Theorem 1 of Kairouz, Liu, Steinke 2021 and the conversion of Canonne,
//!   Kamath, Steinke 2020.
//!
//! The accountant computes in f64. Nothing in this crate is part of consensus: an epsilon is something that people
//! read, and two machines may differ in its last digits.
//!
//! What is *not* claimed: amplification by subsampling (contributors take part in every round), security against who measures how long a
//! contributor's computer takes (the sampler's time depends on what it draws), or anything about contributors who do not
//! add the noise that they are asked to add.
//!
//! ```
//! use cifer_privacy::{Ledger, Mechanism, Neighbours, Parameters, Round, Variance};
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//!
//! // Norm 1.0 on a grid of 1000 steps; two honest members together add 4.0 times that as standard deviation.
//! let mechanism = Mechanism::new(Parameters {
//!     coordinates: 4,
//!     steps_per_unit: 1000.0,
//!     norm: 1000 << 16,
//!     variance: Variance::new(8_000_000, 1)?,
//!     tail: 33_942,
//! })?;
//! let mut rng = ChaCha20Rng::from_seed([7; 32]); // from the operating system outside of examples
//! let noised = mechanism.perturb(&[0.5, -0.5, 0.0, 10.0], &mut rng)?;
//! assert!(noised.iter().all(|x| x.unsigned_abs() <= mechanism.reach()));
//!
//! let round = Round::new(&mechanism, 2, Neighbours::Replaced)?;
//! let epsilon = Ledger::new(round, 10)?.epsilon(1e-6)?;
//! assert!((8.0..10.0).contains(&epsilon), "{epsilon}");
//! # Ok::<(), cifer_privacy::PrivacyError>(())
//! ```

mod accountant;
mod bernoulli;
mod error;
mod gaussian;
mod mechanism;
mod rounding;
mod variance;

pub use accountant::{Ledger, Neighbours, Round, epsilon_of, zero_concentrated};
pub use error::PrivacyError;
pub use gaussian::Gaussian;
pub use mechanism::{Mechanism, Parameters};
pub use variance::Variance;
