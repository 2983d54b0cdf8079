//! Why an engine did not start or stopped. All of these are faults on our side; faults of peers are
//! refused where they arrive and never end the engine.

use std::{io, path::PathBuf};

use cifer_genesis::{GenesisHash, PublicKey};

use crate::api::Fatal;

/// Why an engine did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A configuration value cannot be used.
    #[error("consensus config: {field}: {reason}")]
    Config {
        /// Which field.
        field: &'static str,
        /// What is wrong with it, with the limit.
        reason: String,
    },
    /// The last-signed record cannot be used.
    #[error(transparent)]
    LastSigned(#[from] LastSignedError),
    /// The engine does not listen.
    #[error("consensus does not listen on {address}: is the port taken?")]
    Listen {
        /// The configured address.
        address: String,
    },
    /// The engine's parts failed to start.
    #[error("consensus engine did not start: {0}")]
    Engine(String),
    /// The application reported a failure that consensus must not survive.
    #[error("consensus halted: {0}")]
    Fatal(#[from] Fatal),
    /// The engine stopped by itself; a restart of the process is safe.
    #[error("consensus engine stopped: {0}")]
    Stopped(String),
}

/// Why a last-signed record was refused.
#[derive(Debug, thiserror::Error)]
pub enum LastSignedError {
    /// The file system failed.
    #[error("last-signed record {path}: {error}")]
    Io {
        /// The record's file.
        path: PathBuf,
        /// What failed.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("last-signed record {path} is in use: another node runs in this folder")]
    Locked {
        /// The record's file.
        path: PathBuf,
    },
    /// Neither copy in it is intact.
    #[error(
        "last-signed record {path} is damaged. Signing without it may sign twice: restore it, or \
         delete it only when the network is known to have left the height this node signed last"
    )]
    Damaged {
        /// The record's file.
        path: PathBuf,
    },
    /// It was made by another validator.
    #[error("last-signed record {path} is of key {found}, this node has {expected}")]
    OtherKey {
        /// The record's file.
        path: PathBuf,
        /// The record's key.
        found: PublicKey,
        /// This node's key.
        expected: PublicKey,
    },
    /// It was made on another network.
    #[error("last-signed record {path} is of genesis {found}, this node has {expected}")]
    OtherNetwork {
        /// The record's file.
        path: PathBuf,
        /// The record's genesis hash.
        found: GenesisHash,
        /// This node's genesis hash.
        expected: GenesisHash,
    },
}
