//! The validators that a key is shared among: one Ristretto key each, fresh for the round.

use std::fmt;

use curve25519_dalek::constants::RISTRETTO_BASEPOINT_TABLE;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::IsIdentity;
use rand_core::{CryptoRng, RngCore};
use zeroize::Zeroize;

use super::error::RingError;
use super::params::DEGREE;
use super::seal::{PROOF_BYTES, TAG_BYTES};

/// Largest committee. A dealing is then 128 encrypted shares of 8.3 KB, 1 MiB.
pub const MAX_VALIDATORS: usize = 128;

/// A validator's public key of a round, published in the ledger. Not the identity, canonical.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RecipientKey {
    pub(super) point: RistrettoPoint,
    bytes: CompressedRistretto,
}

impl RecipientKey {
    /// # Errors
    /// [`RingError::Malformed`] for bytes that are no canonical point, and for the identity.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, RingError> {
        let bytes = CompressedRistretto(bytes);
        match bytes.decompress() {
            Some(point) if !point.is_identity() => Ok(Self { point, bytes }),
            _ => Err(RingError::malformed(
                "recipient key",
                "not a canonical point, or the identity",
            )),
        }
    }

    /// The canonical encoding of the point.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 32] {
        self.bytes.to_bytes()
    }
}

impl fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecipientKey").field(&self.bytes).finish()
    }
}

/// A validator's secret key of a round. Wiped on drop, never printed. Make a new one each round: who learns it opens every share of it.
pub struct RecipientSecret {
    pub(super) scalar: Scalar,
    public: RecipientKey,
}

impl RecipientSecret {
    /// A fresh key.
    pub fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        loop {
            let mut wide = [0; 64];
            rng.fill_bytes(&mut wide);
            let secret = Self::from_scalar(Scalar::from_bytes_mod_order_wide(&wide));
            wide.zeroize();
            if let Some(secret) = secret {
                return secret;
            }
        }
    }

    /// None for zero.
    fn from_scalar(scalar: Scalar) -> Option<Self> {
        let point = &scalar * RISTRETTO_BASEPOINT_TABLE;
        let public = RecipientKey {
            point,
            bytes: point.compress(),
        };
        (!point.is_identity()).then_some(Self { scalar, public })
    }

    /// The secret's 32 bytes, for a file of mode 0600 that is removed with the round.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.scalar.to_bytes())
    }

    /// # Errors
    /// [`RingError::Malformed`] for bytes that are no canonical scalar, and for zero.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, RingError> {
        let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes))
            .and_then(Self::from_scalar);
        scalar.ok_or(RingError::malformed(
            "recipient secret",
            "not a canonical scalar, or zero",
        ))
    }

    /// The key to publish.
    #[must_use]
    pub const fn public(&self) -> &RecipientKey {
        &self.public
    }
}

impl Drop for RecipientSecret {
    fn drop(&mut self) {
        self.scalar.zeroize();
    }
}

impl fmt::Debug for RecipientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientSecret")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// How many the recipients are, and the threshold: all that the lengths of what is dealt follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitteeSize {
    /// Validators, n.
    pub validators: usize,
    /// Degree of the sharing, t.
    pub threshold: u32,
}

impl CommitteeSize {
    /// Random combinations that a dealing is checked with, K.
    ///
    /// Shares of a given t + 2 validators that are not of one polynomial of degree t pass one combination with probability
    /// 1/(2^31 - 1). There are fewer than 2^n such sets, and 120 bits shall be left for any of them.
    pub(super) const fn checks(&self) -> usize {
        (120 + self.validators).div_ceil(30)
    }

    /// Elements of one share: the key and one masking row a check.
    pub(super) const fn rows(&self) -> usize {
        DEGREE + self.checks()
    }

    /// Bytes of a [`super::DealingHeader`].
    #[must_use]
    pub const fn header_bytes(&self) -> usize {
        6 + 4
            + 32
            + 32 * self.validators
            + 4 * self.checks() * (self.threshold as usize + 1)
            + PROOF_BYTES
    }

    /// Bytes of one sealed share.
    #[must_use]
    pub const fn share_bytes(&self) -> usize {
        self.rows() * 4 + TAG_BYTES
    }

    /// Bytes of a [`super::FraudProof`].
    #[must_use]
    pub const fn fraud_bytes(&self) -> usize {
        6 + 4 + 32 + PROOF_BYTES + self.share_bytes()
    }
}

/// The recipients in order, and the threshold t: t of them learn nothing, t + 1 together learn a key.
#[derive(Clone, Debug)]
pub struct Committee {
    recipients: Vec<RecipientKey>,
    threshold: u32,
    digest: [u8; 32],
}

impl Committee {
    /// # Errors
    /// [`RingError::OutOfRange`] unless `n >= 3t + 1`, `t >= 1`, `n <= 128`; [`RingError::Malformed`] for a key that occurs twice.
    pub fn new(recipients: Vec<RecipientKey>, threshold: u32) -> Result<Self, RingError> {
        let count = recipients.len();
        if threshold == 0 {
            return Err(RingError::range(
                "threshold",
                threshold,
                "at least 1: with 0 every validator learns every key",
            ));
        }
        if count > MAX_VALIDATORS || (count as u64) < 3 * u64::from(threshold) + 1 {
            let allowed = format!(
                "at least 3t + 1 = {} and at most {MAX_VALIDATORS}",
                3 * u64::from(threshold) + 1
            );
            return Err(RingError::range("validators", count as u64, allowed));
        }
        let mut sorted: Vec<[u8; 32]> = recipients.iter().map(RecipientKey::to_bytes).collect();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(RingError::malformed("committee", "a key occurs twice"));
        }
        let mut hasher = blake3::Hasher::new_derive_key("cifer/homocryption/committee/v1");
        hasher.update(&threshold.to_le_bytes());
        for recipient in &recipients {
            hasher.update(&recipient.to_bytes());
        }
        Ok(Self {
            digest: *hasher.finalize().as_bytes(),
            recipients,
            threshold,
        })
    }

    /// The recipients, in the order that indices refer to.
    #[must_use]
    pub fn recipients(&self) -> &[RecipientKey] {
        &self.recipients
    }

    /// Degree of the sharing.
    #[must_use]
    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(super) const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(super) fn recipient(&self, index: usize) -> Result<&RecipientKey, RingError> {
        let allowed = || format!("below {}", self.recipients.len());
        self.recipients
            .get(index)
            .ok_or_else(|| RingError::range("index of a validator", index as u64, allowed()))
    }

    /// Recipients and threshold, counted.
    #[must_use]
    pub const fn size(&self) -> CommitteeSize {
        CommitteeSize {
            validators: self.recipients.len(),
            threshold: self.threshold,
        }
    }

    pub(super) const fn checks(&self) -> usize {
        self.size().checks()
    }

    pub(super) const fn rows(&self) -> usize {
        self.size().rows()
    }
}
