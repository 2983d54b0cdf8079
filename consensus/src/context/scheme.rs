//! The signature scheme as the engine names it: our own ed25519 types, verified strictly.

use std::cmp::Ordering;

use arc_malachitebft_app_channel::app::types::core::SigningScheme;
use cifer_genesis::{PublicKey, SecretKey, Signature};

/// A signature with the order that the engine asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EngineSignature(pub(crate) Signature);

impl EngineSignature {
    /// What stands in for a signature that the last-signed record forbids. It never verifies: its
    /// first half is a point of small order.
    pub(crate) const WITHHELD: Self = Self(Signature([0; 64]));
}

impl Ord for EngineSignature {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.0.cmp(&other.0.0)
    }
}

impl PartialOrd for EngineSignature {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Ed25519 with strict verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl SigningScheme for Ed25519 {
    type DecodingError = String;
    type Signature = EngineSignature;
    type PublicKey = PublicKey;
    type PrivateKey = SecretKey;

    fn decode_signature(bytes: &[u8]) -> Result<EngineSignature, String> {
        bytes
            .try_into()
            .map(|bytes| EngineSignature(Signature(bytes)))
            .map_err(|_| format!("signature has {} bytes, not 64", bytes.len()))
    }

    fn encode_signature(signature: &EngineSignature) -> Vec<u8> {
        signature.0.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, String> {
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| format!("public key has {} bytes, not 32", bytes.len()))?;
        PublicKey::from_bytes(bytes).map_err(|error| error.to_string())
    }

    fn encode_public_key(public_key: &PublicKey) -> Vec<u8> {
        public_key.as_bytes().to_vec()
    }
}
