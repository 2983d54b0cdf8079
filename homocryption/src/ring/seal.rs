//! Encryption of a share to one validator such that the validator can prove, to everybody, what was in it.
//!
//! Hashed Diffie-Hellman over Ristretto255 with ChaCha20-Poly1305. The dealer's point R serves all recipients of a dealing. To accuse,
//! a recipient reveals the shared point D with a proof that log_G(PK) = log_R(D) (Chaum, Pedersen, "Wallet databases with observers",
//! CRYPTO 1992, made non-interactive); D opens that one ciphertext and no other.
//! That holds only if nobody else's dealing uses R, so the dealer proves knowledge of its logarithm (Schnorr) over everything it
//! publishes: whoever copies another's R cannot, and no recipient reveals anything for a dealing whose proof fails.

use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, Tag};
use curve25519_dalek::constants::{RISTRETTO_BASEPOINT_POINT, RISTRETTO_BASEPOINT_TABLE};
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{Identity, IsIdentity, VartimeMultiscalarMul};
use rand_core::{CryptoRng, RngCore};
use zeroize::{Zeroize, Zeroizing};

use super::bytes::Input;
use super::committee::RecipientKey;
use super::context::Terms;
use super::error::RingError;

/// Bytes that the authentication adds to a share.
pub(super) const TAG_BYTES: usize = 16;

/// Bytes of a proof.
pub(super) const PROOF_BYTES: usize = 64;

/// A Schnorr or Chaum-Pedersen proof: challenge and response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proof {
    challenge: Scalar,
    response: Scalar,
}

impl Proof {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.challenge.as_bytes());
        out.extend_from_slice(self.response.as_bytes());
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, RingError> {
        let mut scalar = || {
            let bytes = input.array()?;
            Option::from(Scalar::from_canonical_bytes(bytes))
                .ok_or(input.error("a scalar is not canonical"))
        };
        Ok(Self {
            challenge: scalar()?,
            response: scalar()?,
        })
    }
}

/// Reads a canonical point that is not the identity.
pub(super) fn read_point(input: &mut Input<'_>) -> Result<RistrettoPoint, RingError> {
    let bytes = input.array()?;
    match CompressedRistretto(bytes).decompress() {
        Some(point) if !point.is_identity() => Ok(point),
        _ => Err(input.error("a point is not canonical, or the identity")),
    }
}

fn challenge(mut hasher: blake3::Hasher, points: &[RistrettoPoint]) -> Scalar {
    for point in points {
        hasher.update(point.compress().as_bytes());
    }
    let mut wide = [0; 64];
    hasher.finalize_xof().fill(&mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// A nonce of fresh randomness, the secret and the statement: a weak generator alone does not give the secret away.
fn nonce(
    secret: &Scalar,
    statement: &blake3::Hasher,
    rng: &mut (impl RngCore + CryptoRng),
) -> Scalar {
    let mut material = Zeroizing::new([0; 96]);
    rng.fill_bytes(&mut material[..32]);
    material[32..64].copy_from_slice(secret.as_bytes());
    material[64..].copy_from_slice(statement.finalize().as_bytes());
    let mut hasher = blake3::Hasher::new_derive_key("cifer/homocryption/proof-nonce/v1");
    hasher.update(&material[..]);
    let mut wide = Zeroizing::new([0; 64]);
    hasher.finalize_xof().fill(&mut wide[..]);
    hasher.zeroize();
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// Proves that the secret is the logarithm of `image` to the base point, and of each `others.1` to `others.0`.
/// `statement` has taken in whatever the proof is bound to.
pub(super) fn prove(
    secret: &Scalar,
    image: &RistrettoPoint,
    other: Option<(RistrettoPoint, RistrettoPoint)>,
    statement: &blake3::Hasher,
    rng: &mut (impl RngCore + CryptoRng),
) -> Proof {
    let mut nonce = nonce(secret, statement, rng);
    let mut points = vec![*image, &nonce * RISTRETTO_BASEPOINT_TABLE];
    if let Some((base, power)) = other {
        points.extend([base, power, nonce * base]);
    }
    let challenge = challenge(statement.clone(), &points);
    let response = nonce + challenge * secret;
    nonce.zeroize();
    Proof {
        challenge,
        response,
    }
}

pub(super) fn verify(
    proof: &Proof,
    image: &RistrettoPoint,
    other: Option<(RistrettoPoint, RistrettoPoint)>,
    statement: &blake3::Hasher,
) -> bool {
    let commitment = |base: RistrettoPoint, power: RistrettoPoint| {
        RistrettoPoint::vartime_multiscalar_mul([proof.response, -proof.challenge], [base, power])
    };
    let mut points = vec![*image, commitment(RISTRETTO_BASEPOINT_POINT, *image)];
    if let Some((base, power)) = other {
        points.extend([base, power, commitment(base, power)]);
    }
    challenge(statement.clone(), &points) == proof.challenge
}

/// The ephemeral secret of a dealing. Wiped on drop.
pub(super) struct Ephemeral {
    pub(super) secret: Scalar,
    pub(super) public: RistrettoPoint,
}

impl Ephemeral {
    pub(super) fn generate(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut wide = Zeroizing::new([0; 64]);
        let (mut secret, mut public) = (Scalar::ZERO, RistrettoPoint::identity());
        while public.is_identity() {
            rng.fill_bytes(&mut wide[..]);
            secret = Scalar::from_bytes_mod_order_wide(&wide);
            public = &secret * RISTRETTO_BASEPOINT_TABLE;
        }
        Self { secret, public }
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// The cipher of the share for `recipient`, from the point that it shares with the dealer.
fn cipher(
    terms: &Terms<'_>,
    index: usize,
    ephemeral: &RistrettoPoint,
    recipient: &RecipientKey,
    shared: &RistrettoPoint,
) -> ChaCha20Poly1305 {
    let mut hasher = terms.hasher("cifer/homocryption/share-key/v1");
    hasher.update(&(index as u64).to_le_bytes());
    hasher.update(ephemeral.compress().as_bytes());
    hasher.update(&recipient.to_bytes());
    let mut point = Zeroizing::new(shared.compress().to_bytes());
    hasher.update(&point[..]);
    point.zeroize();
    let mut key = Zeroizing::new(*hasher.finalize().as_bytes());
    hasher.zeroize();
    let cipher = ChaCha20Poly1305::new((&*key).into());
    key.zeroize();
    cipher
}

/// Encrypts in place and appends the tag. The key serves once, so the nonce is zero.
pub(super) fn seal(
    terms: &Terms<'_>,
    index: usize,
    ephemeral: &Ephemeral,
    recipient: &RecipientKey,
    share: &mut Vec<u8>,
) -> Result<(), RingError> {
    let shared = Zeroizing::new(ephemeral.secret * recipient.point);
    let cipher = cipher(terms, index, &ephemeral.public, recipient, &shared);
    let tag = cipher
        .encrypt_in_place_detached(&[0; 12].into(), &[], share)
        .map_err(|_| RingError::Unverified("sealing a share"))?;
    share.extend_from_slice(&tag);
    Ok(())
}

/// What is in `sealed`, or None where it does not authenticate.
pub(super) fn unseal(
    terms: &Terms<'_>,
    index: usize,
    ephemeral: &RistrettoPoint,
    recipient: &RecipientKey,
    shared: &RistrettoPoint,
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (body, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
    let mut share = Zeroizing::new(body.to_vec());
    cipher(terms, index, ephemeral, recipient, shared)
        .decrypt_in_place_detached(&[0; 12].into(), &[], &mut share, Tag::from_slice(tag))
        .ok()
        .map(|()| share)
}
