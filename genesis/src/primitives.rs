//! Newtypes shared by every layer. Bare integers and byte arrays never cross a crate boundary.
//!
//! Invariant: every type here has exactly one borsh encoding and one textual form (lower-case hex
//! for bytes, decimal for numbers), and the textual form parses back to the same value.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::crypto::PublicKey;

/// A hexadecimal text that is not exactly the bytes it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected_bytes} bytes as {} hex digits, got {got:?}", expected_bytes * 2)]
pub struct ParseHexError {
    expected_bytes: usize,
    got: String,
}

/// Decodes exactly `N` bytes of hex. The text in the error is cut so that hostile input cannot flood a log.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], ParseHexError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseHexError {
        expected_bytes: N,
        got: text.chars().take(2 * N + 8).collect(),
    })?;
    Ok(bytes)
}

/// A BLAKE3 hash; the typed hashes below say of what.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Hash32(pub [u8; 32]);

impl Hash32 {
    /// The hash of `bytes` under a domain string (BLAKE3 `derive_key` mode).
    #[must_use]
    pub fn derive(domain: &str, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(domain, bytes))
    }
}

impl fmt::Display for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash32 {
    type Err = ParseHexError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex(text).map(Self)
    }
}

impl Serialize for Hash32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

macro_rules! hash_newtypes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Hash32);

        impl $name {
            /// Wraps raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(Hash32(bytes))
            }
            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = ParseHexError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

hash_newtypes! {
    /// Plain BLAKE3 hash of a payload's bytes: the address of a blob in the data plane.
    BlobHash;
    /// Plain BLAKE3 hash (a tree root, so ranges can be verified) of a model's canonical bytes:
    /// every tensor of the manifest in order, row-major, f32 little endian.
    ModelRoot;
    /// Hash of a block header.
    BlockHash;
    /// Root of the state tree after a block.
    StateRoot;
    /// Hash of a transaction.
    TxHash;
    /// Hash of the canonical genesis bytes; names the network.
    GenesisHash;
}

impl From<ModelRoot> for BlobHash {
    fn from(root: ModelRoot) -> Self {
        Self(root.0)
    }
}

macro_rules! number_newtypes {
    ($($(#[$doc:meta])* $name:ident($inner:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, BorshSerialize,
            BorshDeserialize, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The next value, or `None` at the end of the range.
            #[must_use]
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(value) => Some(Self(value)),
                    None => None,
                }
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

number_newtypes! {
    /// Block height. Genesis is height 0 and has no block; the first block has height 1.
    Height(u64);
    /// Training round of one task, from 0. Not a consensus round.
    RoundId(u64);
    /// A task (a model, a rule and a round policy) of the network.
    TaskId(u32);
    /// Voting power of a validator or of a set of them.
    VotingPower(u64);
    /// Milliseconds since the Unix epoch, as agreed in blocks; never a local clock.
    TimestampMs(u64);
}

macro_rules! key_newtypes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
            Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub PublicKey);

        impl $name {
            /// The key that signs for this party.
            #[must_use]
            pub const fn key(&self) -> &PublicKey {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = crate::crypto::SignatureError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

key_newtypes! {
    /// A validator, named by its consensus key.
    ValidatorId;
    /// A contributor, named by its signing key.
    ContributorId;
}

impl VotingPower {
    /// Whether `self` is strictly more than two thirds of `total` (exact, in 128 bits).
    #[must_use]
    pub const fn is_more_than_two_thirds_of(self, total: Self) -> bool {
        (self.0 as u128) * 3 > (total.0 as u128) * 2
    }

    /// Whether `self` is strictly more than one third of `total`.
    #[must_use]
    pub const fn is_more_than_one_third_of(self, total: Self) -> bool {
        (self.0 as u128) * 3 > (total.0 as u128)
    }
}
