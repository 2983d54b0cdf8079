//! The three keys of a key pair.
//!
//! - [`PublicKey`]: encrypts, 32 KiB. One ring sample `(a, a*s + e)`.
//! - [`PrivateKey`]: decrypts, 2048 bits. Its words are zeroized on drop, `Debug` prints the key id only.
//!   tfhe keeps no such promise for the copies it makes while keys are generated; the containers that
//!   come back from it are wiped.
//! - [`RelinKey`]: evaluates: keyswitching and bootstrapping keys. It holds encryptions of secret
//!   bits and is as public as the public key.
//!
//! All three carry a [`KeyId`], a hash of the public key, and so does every ciphertext.

use std::fmt;

use tfhe::conformance::ParameterSetConformant;
use tfhe::core_crypto::prelude::*;
use tfhe::integer::{ClientKey as IntegerClientKey, CompressedServerKey, ServerKey};
use tfhe::safe_serialization::{safe_deserialize, safe_serialize};
use tfhe::shortint::ciphertext::MaxDegree;
use tfhe::shortint::client_key::atomic_pattern::{
    AtomicPatternClientKey, StandardAtomicPatternClientKey,
};
use tfhe::shortint::{AtomicPatternParameters, ClientKey as ShortintClientKey, PBSParameters};
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, FormatError};
use crate::format::{Fields, Frame, Kind, put_words, seal};
use crate::params::{BLOCK_MAX, DIMENSION, SMALL_DIMENSION, TFHE};

/// Names a key pair: the first 16 bytes of a hash of its public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    fn of(public: &[u64]) -> Self {
        let mut bytes = Vec::new();
        put_words(&mut bytes, public);
        let hash = blake3::derive_key("cifer homocryption 1 key id", &bytes);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }

    /// Refuses `what` unless it belongs to this key pair.
    pub(crate) fn expect(self, what: &'static str, found: Self) -> Result<(), Error> {
        if self == found {
            Ok(())
        } else {
            Err(Error::Key {
                what,
                expected: self,
                found,
            })
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Encrypts, for anybody.
#[derive(Clone)]
pub struct PublicKey {
    id: KeyId,
    pub(crate) lwe: LweCompactPublicKeyOwned<u64>,
}

/// Decrypts. Holds a word of all ones for a secret bit of 1 and of all zeros for 0, so that an inner
/// product is an AND and an addition, without a branch on a secret.
pub struct PrivateKey {
    id: KeyId,
    pub(crate) select: Zeroizing<Vec<u64>>,
}

/// Resets noise and multiplies, without decrypting.
pub struct RelinKey {
    id: KeyId,
    pub(crate) server: ServerKey,
    /// As it is stored. tfhe gives a safe encoding to this type only.
    compressed: tfhe::CompressedServerKey,
}

/// Generates a key pair with its evaluation key. Takes seconds.
///
/// # Errors
///
/// None today; the signature leaves room for a machine without entropy.
pub fn generate_keys() -> Result<(PublicKey, PrivateKey, RelinKey), Error> {
    let mut secrets =
        SecretRandomGenerator::<DefaultRandomGenerator>::new(new_seeder().as_mut().seed());
    let (public, private, ring) = key_pair(&mut secrets);
    let small = allocate_and_generate_new_binary_lwe_secret_key::<u64, _>(
        LweDimension(SMALL_DIMENSION),
        &mut secrets,
    );
    let compressed = evaluation_key(ring, small);
    let relin = RelinKey::new(public.id, compressed);
    Ok((public, private, relin))
}

/// Generates a key pair without an evaluation key: for sums, which need none. Takes milliseconds.
///
/// # Errors
///
/// As [`generate_keys`].
pub fn generate_key_pair() -> Result<(PublicKey, PrivateKey), Error> {
    let mut secrets =
        SecretRandomGenerator::<DefaultRandomGenerator>::new(new_seeder().as_mut().seed());
    let (public, private, mut ring) = key_pair(&mut secrets);
    ring.as_mut().zeroize();
    Ok((public, private))
}

/// The pair, and the secret in the form that evaluation keys are made from. To be wiped by the caller.
fn key_pair(
    secrets: &mut SecretRandomGenerator<DefaultRandomGenerator>,
) -> (PublicKey, PrivateKey, GlweSecretKeyOwned<u64>) {
    let ring = allocate_and_generate_new_binary_glwe_secret_key::<u64, _>(
        GlweDimension(1),
        PolynomialSize(DIMENSION),
        secrets,
    );
    let mut seeder = new_seeder();
    let seed = seeder.seed();
    let mut noise = EncryptionRandomGenerator::<DefaultRandomGenerator>::new(seed, seeder.as_mut());
    let lwe = allocate_and_generate_new_lwe_compact_public_key(
        &ring.as_lwe_secret_key(),
        TFHE.glwe_noise_distribution,
        TFHE.ciphertext_modulus,
        &mut noise,
    );
    let id = KeyId::of(lwe.as_ref());
    let select = Zeroizing::new(
        ring.as_ref()
            .iter()
            .map(|bit| 0_u64.wrapping_sub(*bit))
            .collect(),
    );
    (PublicKey { id, lwe }, PrivateKey { id, select }, ring)
}

/// Makes the evaluation key and wipes the secrets it is made from.
fn evaluation_key(
    ring: GlweSecretKeyOwned<u64>,
    small: LweSecretKeyOwned<u64>,
) -> CompressedServerKey {
    let standard =
        StandardAtomicPatternClientKey::from_raw_parts(ring, small, PBSParameters::PBS(TFHE), None);
    let client = IntegerClientKey::from_raw_parts(ShortintClientKey {
        atomic_pattern: AtomicPatternClientKey::Standard(standard),
    });
    let compressed = CompressedServerKey::new_radix_compressed_server_key(&client);
    let client = ShortintClientKey::from(client);
    if let AtomicPatternClientKey::Standard(standard) = client.atomic_pattern {
        let (mut ring, mut small, _, _) = standard.into_raw_parts();
        ring.as_mut().zeroize();
        small.as_mut().zeroize();
    }
    compressed
}

impl Frame for PublicKey {
    const KIND: Kind = Kind::PublicKey;

    fn key_id(&self) -> KeyId {
        self.id
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_words(&mut out, self.lwe.as_ref());
        out
    }

    fn from_payload(id: KeyId, payload: &[u8]) -> Result<Self, FormatError> {
        let words = Fields::new(payload).words(2 * DIMENSION)?;
        if KeyId::of(&words) != id {
            return Err(FormatError::Field {
                field: "key id",
                value: u64::from(id.0[0]),
                expected: format!("the hash of the key, {}", KeyId::of(&words)),
            });
        }
        Ok(Self {
            id,
            lwe: LweCompactPublicKey::from_container(words, TFHE.ciphertext_modulus),
        })
    }
}

impl PrivateKey {
    /// Id of the key pair.
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// The framed key, wiped when dropped.
    pub fn to_secret_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bits = Zeroizing::new(vec![0_u8; DIMENSION / 8]);
        for (index, select) in self.select.iter().enumerate() {
            bits[index / 8] |= ((select & 1) as u8) << (index % 8);
        }
        Zeroizing::new(seal(Kind::PrivateKey, self.id, &bits))
    }

    /// Reads a framed key.
    ///
    /// # Errors
    ///
    /// As [`Frame::from_bytes`].
    pub fn from_secret_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (id, payload) = crate::format::open(Kind::PrivateKey, bytes)?;
        let bits = Fields::new(payload).rest(DIMENSION / 8)?;
        let bit = |index: usize| u64::from(bits[index / 8] >> (index % 8) & 1);
        let select = (0..DIMENSION)
            .map(|index| 0_u64.wrapping_sub(bit(index)))
            .collect();
        Ok(Self {
            id,
            select: Zeroizing::new(select),
        })
    }
}

/// Bytes that tfhe's encoding of an evaluation key may have.
const MAX_RELIN: u64 = 64 << 20;

/// Largest block with which tfhe's radix operations may start, so that a carry of 3 still fits.
const MAX_DEGREE: u64 = (BLOCK_MAX - 3) as u64;

impl RelinKey {
    fn new(id: KeyId, compressed: CompressedServerKey) -> Self {
        let server = compressed.decompress();
        let tag = tfhe::Tag::default();
        let compressed = tfhe::CompressedServerKey::from_raw_parts(
            compressed, None, None, None, None, None, None, None, None, tag,
        );
        Self {
            id,
            server,
            compressed,
        }
    }
}

impl Frame for RelinKey {
    const KIND: Kind = Kind::RelinKey;

    fn key_id(&self) -> KeyId {
        self.id
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        safe_serialize(&self.compressed, &mut out, MAX_RELIN)
            .expect("a key of this parameter set is under the limit, and writing to memory works");
        out
    }

    fn from_payload(id: KeyId, payload: &[u8]) -> Result<Self, FormatError> {
        let mut rest = payload;
        let stored: tfhe::CompressedServerKey =
            safe_deserialize(&mut rest, MAX_RELIN).map_err(FormatError::Relin)?;
        if !rest.is_empty() {
            return Err(FormatError::Trailing(rest.len() as u64));
        }
        // Whatever else tfhe can put into this type is not ours, and dropped.
        let key = stored.into_raw_parts().0.into_raw_parts();
        let parameters = AtomicPatternParameters::Standard(PBSParameters::PBS(TFHE));
        if !key.is_conformant(&(parameters, MaxDegree::new(MAX_DEGREE))) {
            return Err(FormatError::Relin(
                "other parameters than this build's".to_owned(),
            ));
        }
        Ok(Self::new(id, CompressedServerKey::from_raw_parts(key)))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, secret)", self.id)
    }
}

impl fmt::Debug for RelinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelinKey({})", self.id)
    }
}
