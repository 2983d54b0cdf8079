//! What can go wrong with a fetch, and whose fault it is.

use std::{sync::Arc, time::Duration};

use libp2p::PeerId;

use crate::{BlobHash, StoreError};

/// What a holder did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// A group does not match its hash.
    #[error("corrupt data")]
    CorruptData,
    /// Two hashes do not combine to the one above them.
    #[error("corrupt hash tree")]
    CorruptTree,
    /// The answer is not of the protocol.
    #[error("malformed answer")]
    Malformed,
}

/// Proof to ourselves that a holder is faulty: what it sent cannot come from the blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer} served {kind} at byte {offset} of blob {hash}")]
pub struct PeerFault {
    /// The holder.
    pub peer: PeerId,
    /// The blob.
    pub hash: BlobHash,
    /// Where in the blob, in bytes, at the start of a group; everything before it is right.
    pub offset: u64,
    /// What was wrong.
    pub kind: FaultKind,
}

/// Why one holder did not deliver.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HolderFailure {
    /// It served something that is not the blob. It is not asked again.
    #[error(transparent)]
    Fault(Box<PeerFault>),
    /// It does not have the blob.
    #[error("does not have the blob")]
    NotFound,
    /// It has the blob with another length.
    #[error("has the blob with {theirs_bytes} bytes, we asked for {ours_bytes}")]
    LengthMismatch {
        /// Length that we asked for.
        ours_bytes: u64,
        /// Length that it has.
        theirs_bytes: u64,
    },
    /// It has no capacity now.
    #[error("is busy")]
    Busy,
    /// It cannot be reached, or does not speak the protocol.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It stopped before the end: went away, or sent too little.
    #[error("stream ended at byte {offset}")]
    Truncated {
        /// Bytes that were verified by then.
        offset: u64,
    },
    /// It is there and sends nothing, or next to nothing.
    #[error("stalled at byte {offset} for {timeout:?}")]
    Stalled {
        /// Bytes that were verified by then.
        offset: u64,
        /// How long we waited.
        timeout: Duration,
    },
}

impl From<PeerFault> for HolderFailure {
    fn from(fault: PeerFault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl HolderFailure {
    /// Whether asking this holder again may help.
    pub(crate) fn is_transient(&self) -> bool {
        !matches!(
            self,
            Self::Fault(_) | Self::NotFound | Self::LengthMismatch { .. }
        )
    }
}

/// A fetch did not complete. What was verified is kept, and the next fetch goes on from there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// No holder delivered the rest.
    #[error("blob {hash}: {verified_bytes} of {len_bytes} bytes, then no holder delivered: {}",
        .failures.iter().map(|(peer, failure)| format!("{peer}: {failure}")).collect::<Vec<_>>().join("; "))]
    Exhausted {
        /// The blob.
        hash: BlobHash,
        /// Its length in bytes.
        len_bytes: u64,
        /// Bytes verified and kept.
        verified_bytes: u64,
        /// The last failure of each holder.
        failures: Arc<Vec<(PeerId, HolderFailure)>>,
    },
    /// The blob is here and has another length.
    #[error("blob {hash} has {actual_bytes} bytes, {expected_bytes} were asked for")]
    LengthMismatch {
        /// The blob.
        hash: BlobHash,
        /// Length that was asked for.
        expected_bytes: u64,
        /// Length that it has.
        actual_bytes: u64,
    },
    /// Too many fetches are waiting.
    #[error("{limit} fetches are waiting already")]
    TooMany {
        /// [`crate::limits::MAX_FETCHES`].
        limit: usize,
    },
    /// Our store failed: quota, disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The data plane has been shut down.
    #[error("the data plane is shut down")]
    Shutdown,
}

/// How a fetch went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchReport {
    /// Bytes that did not have to be fetched, because they were here from an earlier attempt.
    pub resumed_bytes: u64,
    /// Bytes that each holder contributed, in the order of contribution.
    pub served: Vec<(PeerId, u64)>,
    /// Holders that turned out to be faulty on the way.
    pub faults: Vec<PeerFault>,
}
