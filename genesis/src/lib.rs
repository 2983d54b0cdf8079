//! The genesis document: who validates, who may contribute, which models are trained and by which
//! rules. People read and write it as TOML; its identity is the BLAKE3 hash of its canonical
//! (borsh) bytes, so that comments and formatting do not change the network.
//!
//! The crate also holds the primitives that every layer above shares (heights, hashes, keys,
//! signatures), because everything above depends on it and it depends on nothing of ours.

pub mod bounds;
pub mod crypto;
pub mod document;
pub mod error;
pub mod generate;
pub mod noise;
pub mod primitives;
pub mod privacy;
pub mod problem;
mod rule;
pub mod task;
pub mod toml_io;
pub mod validate;

pub use crypto::{PublicKey, SecretKey, Signature, SignatureError};
pub use document::Genesis;
pub use error::GenesisError;
pub use generate::GenesisBuilder;
pub use noise::{Noise, NoiseGrid, TAIL_FACTOR};
pub use primitives::{
    BlobHash, BlockHash, ContributorId, GenesisHash, Hash32, Height, ModelRoot, RoundId, StateRoot,
    TaskId, TimestampMs, TxHash, ValidatorId, VotingPower,
};
pub use privacy::{Privacy, PrivacyMode};
pub use problem::{Problem, ProblemKind, Problems};
