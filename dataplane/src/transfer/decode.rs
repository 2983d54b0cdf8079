//! The blocking half of a pull: checks each group as it arrives and keeps it.

use std::io::{self, Read};

use bao_tree::io::{BaoContentItem, DecodeError, sync::DecodeResponseIter};

use super::FaultKind;
use crate::store::{PartialBlob, tree};

/// Why decoding stopped.
#[derive(Debug)]
pub(super) enum DecodeFailure {
    /// The bytes are not those of the blob; offset in bytes.
    Fault(FaultKind, u64),
    /// The input ended before the range did.
    Truncated,
    /// Our disk.
    Storage(io::Error),
}

/// Reads the encoding of the groups from the first one missing to `end_group`.
pub(super) fn decode(
    partial: &mut PartialBlob,
    end_group: u64,
    encoded: impl Read,
) -> Result<(), DecodeFailure> {
    let len = partial.len();
    let ranges = tree::chunk_ranges(partial.verified_groups(), end_group, len);
    let root = partial.hash().to_blake3();
    for item in DecodeResponseIter::new(root, tree::tree(len), encoded, &ranges) {
        match item.map_err(failure)? {
            BaoContentItem::Parent(parent) => partial.save_node(parent.node, &parent.pair),
            BaoContentItem::Leaf(leaf) => partial.save_group(leaf.offset, &leaf.data),
        }
        .map_err(DecodeFailure::Storage)?;
    }
    Ok(())
}

fn failure(error: DecodeError) -> DecodeFailure {
    match error {
        DecodeError::LeafHashMismatch(chunk) => {
            DecodeFailure::Fault(FaultKind::CorruptData, chunk.to_bytes())
        }
        DecodeError::ParentHashMismatch(node) => {
            DecodeFailure::Fault(FaultKind::CorruptTree, tree::node_offset(node))
        }
        DecodeError::LeafNotFound(_) | DecodeError::ParentNotFound(_) => DecodeFailure::Truncated,
        // Reading from the pipe has no other errors.
        DecodeError::Io(error) => DecodeFailure::Storage(error),
    }
}
