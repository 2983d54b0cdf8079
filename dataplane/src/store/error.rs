//! Errors of the blob store.

use std::{io, sync::Arc};

use crate::BlobHash;

/// The store could not do what it was asked. None of these is a peer's fault.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The quota does not allow it.
    #[error("blob store is full: {needed_bytes} bytes needed, {used_bytes} of {limit_bytes} used")]
    Quota {
        /// Bytes that the blob and its hash tree take.
        needed_bytes: u64,
        /// Bytes in use or reserved.
        used_bytes: u64,
        /// The quota.
        limit_bytes: u64,
    },
    /// The blob is larger than anything we handle.
    #[error("blob has {len_bytes} bytes, limit {limit_bytes}")]
    TooLarge {
        /// Its length.
        len_bytes: u64,
        /// [`crate::limits::MAX_BLOB_BYTES`].
        limit_bytes: u64,
    },
    /// The blob is not here.
    #[error("blob {0} is not in the store")]
    NotFound(BlobHash),
    /// The blob is being fetched by somebody else already.
    #[error("blob {0} is already being written")]
    InUse(BlobHash),
    /// The disk, or what is on it.
    #[error("blob store, {action}: {source}")]
    Io {
        /// What we were doing.
        action: &'static str,
        /// What the system said. Shared, because the error of one fetch goes to all who wait.
        source: Arc<io::Error>,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            action,
            source: Arc::new(error),
        }
    }
}

/// A stream was not taken into the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// The sender promised more bytes than it sent.
    #[error("stream ended after {received_bytes} bytes, {expected_bytes} were announced")]
    TooShort {
        /// Length announced.
        expected_bytes: u64,
        /// Length seen.
        received_bytes: u64,
    },
    /// The sender sent more than it promised.
    #[error("stream goes on after the {expected_bytes} bytes that were announced")]
    TooLong {
        /// Length announced.
        expected_bytes: u64,
    },
    /// The bytes are not those that were announced.
    #[error("stream has hash {actual}, announced was {expected}")]
    HashMismatch {
        /// Hash announced.
        expected: BlobHash,
        /// Hash of the bytes.
        actual: BlobHash,
    },
    /// The hash is known and belongs to a blob of another length.
    #[error("blob {hash} has {actual_bytes} bytes, {expected_bytes} were announced")]
    LengthMismatch {
        /// The blob.
        hash: BlobHash,
        /// Length announced.
        expected_bytes: u64,
        /// The length of the blob with this hash.
        actual_bytes: u64,
    },
    /// Reading from the source failed.
    #[error("reading the stream: {0}")]
    Source(Arc<io::Error>),
    /// The store failed; not the sender's fault.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IngestError {
    /// Whether the sender of the stream is to blame (and not we, or the network).
    pub fn is_sender_fault(&self) -> bool {
        !matches!(self, Self::Source(_) | Self::Store(_))
    }
}
