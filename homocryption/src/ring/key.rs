//! Keys: a contributor's, which is secret and serves once, and the sum of a group's, which is public once opened.

use std::fmt;

use rand_core::{CryptoRng, RngCore};
use zeroize::Zeroize;

use super::bytes::{Input, start};
use super::context::GroupContext;
use super::error::RingError;
use super::gauss::Sampler;
use super::keystream::{Purpose, StreamKey};
use super::params::{DEGREE, MAX_CONTRIBUTORS, TAIL};

/// A contributor's key for one group of one round.
///
/// It is dealt ([`super::deal`]) and then consumed by [`super::encrypt`]: two bodies under one key and one mask would give away the
/// difference of their values. It cannot be copied, printed or stored, and is wiped on drop; who restarts makes a new one.
pub struct ContributorKey {
    pub(super) group: GroupContext,
    pub(super) coefficients: Box<[i32; DEGREE]>,
}

impl ContributorKey {
    /// A fresh key for `group`.
    pub fn generate(group: &GroupContext, rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut stream = StreamKey::fresh(rng).stream(Purpose::Key, 0);
        let mut sampler = Sampler::new();
        let mut coefficients = Box::new([0; DEGREE]);
        for (out, sample) in coefficients.iter_mut().zip(sampler.draw(&mut stream)) {
            *out = *sample as i32;
        }
        Self {
            group: group.clone(),
            coefficients,
        }
    }

    /// The group that this key is for.
    #[must_use]
    pub const fn group(&self) -> &GroupContext {
        &self.group
    }
}

impl Drop for ContributorKey {
    fn drop(&mut self) {
        self.coefficients.zeroize();
    }
}

impl fmt::Debug for ContributorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContributorKey")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// The sum of the keys of a group's fixed set. It opens the sum of exactly these bodies, and is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySum {
    pub(super) contributors: u32,
    pub(super) coefficients: Box<[i32; DEGREE]>,
}

const MAGIC: [u8; 4] = *b"CFKS";

impl KeySum {
    /// Bytes of the encoding.
    pub const BYTES: usize = 10 + DEGREE * 4;

    /// Checks that every coefficient can be a sum of that many keys.
    pub(super) fn checked(
        contributors: u32,
        coefficients: Box<[i32; DEGREE]>,
    ) -> Result<Self, RingError> {
        if !(1..=MAX_CONTRIBUTORS).contains(&contributors) {
            return Err(RingError::range(
                "contributors",
                contributors,
                format!("1 to {MAX_CONTRIBUTORS}"),
            ));
        }
        let limit = i64::from(TAIL) * i64::from(contributors);
        for (index, value) in coefficients.iter().enumerate() {
            if i64::from(value.unsigned_abs()) > limit {
                return Err(RingError::KeyTooLarge {
                    index,
                    value: i64::from(*value),
                    limit,
                });
            }
        }
        Ok(Self {
            contributors,
            coefficients,
        })
    }

    /// The sum of keys that are at hand, for tests and simulations; in a round it comes from [`super::open`].
    ///
    /// # Errors
    /// [`RingError::OutOfRange`] for no keys or too many.
    pub fn of(keys: &[&ContributorKey]) -> Result<Self, RingError> {
        let mut coefficients = Box::new([0; DEGREE]);
        for key in keys {
            for (sum, value) in coefficients.iter_mut().zip(&key.coefficients[..]) {
                *sum += value;
            }
        }
        Self::checked(u32::try_from(keys.len()).unwrap_or(u32::MAX), coefficients)
    }

    /// Keys in the sum.
    #[must_use]
    pub const fn contributors(&self) -> u32 {
        self.contributors
    }

    /// Canonical bytes: magic, version, contributors (u32), then 2048 coefficients (i32), little endian.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = start(MAGIC, Self::BYTES);
        out.extend_from_slice(&self.contributors.to_le_bytes());
        for value in &self.coefficients[..] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        out
    }

    /// # Errors
    /// [`RingError::Malformed`], and the checks of a decoded sum.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RingError> {
        let mut input = Input::new("key sum", MAGIC, bytes)?;
        let contributors = input.u32()?;
        let mut coefficients = Box::new([0; DEGREE]);
        for value in coefficients.iter_mut() {
            *value = i32::from_le_bytes(input.array()?);
        }
        input.finish()?;
        Self::checked(contributors, coefficients)
    }
}
