//! Ed25519 keys and signatures with strict verification, and the one way bytes are prepared for
//! signing: `borsh(domain, chain id, payload)`.
//!
//! Invariants: a [`PublicKey`] is a valid point that is not of small order; verification is
//! `verify_strict` everywhere; secret keys are wiped on drop and never printed.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::primitives::{ParseHexError, parse_hex};

/// Why a key or a signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not hexadecimal of the right length.
    #[error(transparent)]
    Hex(#[from] ParseHexError),
    /// The bytes are not a point of the curve, or a point of small order.
    #[error("{0} is not a usable ed25519 public key")]
    BadKey(String),
    /// The signature does not verify.
    #[error("signature does not verify under key {0}")]
    BadSignature(PublicKey),
}

/// Bytes to sign: the domain and the chain id in front keep a signature from being replayed as
/// another kind of message or on another network.
#[must_use]
pub fn signing_bytes<T: BorshSerialize + ?Sized>(
    domain: &str,
    chain_id: &str,
    payload: &T,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    // Writing into a Vec cannot fail, and our types have no failing encoders.
    let _ = BorshSerialize::serialize(&(domain, chain_id), &mut bytes);
    let _ = BorshSerialize::serialize(payload, &mut bytes);
    bytes
}

/// An ed25519 public key, checked when made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Checks that the bytes are a usable key.
    ///
    /// # Errors
    /// [`SignatureError::BadKey`] for bytes off the curve and for keys of small order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SignatureError> {
        let bad = || SignatureError::BadKey(hex::encode(bytes));
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| bad())?;
        if key.is_weak() {
            Err(bad())
        } else {
            Ok(Self(bytes))
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Strict verification of `signature` over exactly `message`.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`] naming this key.
    pub fn verify_bytes(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| {
                key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0))
            })
            .map_err(|_| SignatureError::BadSignature(*self))
    }

    /// Verifies a payload signed with [`SecretKey::sign`].
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`] naming this key.
    pub fn verify<T: BorshSerialize + ?Sized>(
        &self,
        domain: &str,
        chain_id: &str,
        payload: &T,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        self.verify_bytes(&signing_bytes(domain, chain_id, payload), signature)
    }
}

impl BorshDeserialize for PublicKey {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let bytes = <[u8; 32]>::deserialize_reader(reader)?;
        Self::from_bytes(bytes)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = SignatureError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_bytes(parse_hex(text)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// An ed25519 signature; not verified by being made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signature {
    type Err = ParseHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self)
    }
}

/// An ed25519 secret key. Wiped on drop (by dalek), absent from `Debug`.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A fresh key from the operating system's randomness.
    #[must_use]
    pub fn generate() -> Self {
        Self(SigningKey::generate(&mut rand::rngs::OsRng))
    }

    /// The key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32-byte seed, for key files and for binding a network identity to this key.
    #[must_use]
    pub fn to_seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs exactly `message`. Only for bytes that [`signing_bytes`] made.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// Signs a payload under a domain and a chain id.
    #[must_use]
    pub fn sign<T: BorshSerialize + ?Sized>(
        &self,
        domain: &str,
        chain_id: &str,
        payload: &T,
    ) -> Signature {
        self.sign_bytes(&signing_bytes(domain, chain_id, payload))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}
