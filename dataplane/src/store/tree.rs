//! The hash tree of a blob: BLAKE3's own tree, cut off at groups of 16 KiB.
//!
//! The inner nodes above the groups are the *outboard*, kept in a file beside the data, in
//! pre-order, 64 bytes (two child hashes) a node. A blob of one group needs none. Format and
//! verification are those of Bao (O'Connor, "bao specification") through the `bao-tree` crate.

use std::{fs::File, io, os::unix::fs::FileExt};

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges, TreeNode,
    io::{
        EncodeError,
        sync::{self, Outboard, OutboardMut, encode_ranges_validated},
    },
};

use crate::{BlobHash, limits::GROUP_BYTES};

/// log2 of the 1 KiB BLAKE3 chunks in a group.
const GROUP_CHUNK_LOG: u8 = 4;
const CHUNKS_PER_GROUP: u64 = 1 << GROUP_CHUNK_LOG;
const NODE_BYTES: u64 = 64;
const _: () = assert!(CHUNKS_PER_GROUP * 1024 == GROUP_BYTES);

pub(crate) fn tree(len: u64) -> BaoTree {
    BaoTree::new(len, BlockSize::from_chunk_log(GROUP_CHUNK_LOG))
}

/// Groups of a blob of `len` bytes; the empty blob has one, empty, group.
pub(crate) fn group_count(len: u64) -> u64 {
    len.div_ceil(GROUP_BYTES).max(1)
}

/// Bytes of the outboard: a binary tree over n groups has n - 1 inner nodes.
pub(crate) fn outboard_bytes(len: u64) -> u64 {
    (group_count(len) - 1) * NODE_BYTES
}

/// What a blob takes from the quota: data and outboard.
pub(crate) fn footprint_bytes(len: u64) -> u64 {
    len.saturating_add(outboard_bytes(len))
}

/// The chunks of the groups `first..end` of a blob of `len` bytes.
pub(crate) fn chunk_ranges(first: u64, end: u64, len: u64) -> ChunkRanges {
    let start = ChunkNum(first * CHUNKS_PER_GROUP);
    if end >= group_count(len) {
        ChunkRanges::from(start..)
    } else {
        ChunkRanges::from(start..ChunkNum(end * CHUNKS_PER_GROUP))
    }
}

/// The outboard of one blob in a file, or of a blob that needs none.
#[derive(Debug)]
pub(crate) struct FileOutboard {
    pub(crate) root: blake3::Hash,
    pub(crate) tree: BaoTree,
    pub(crate) file: Option<File>,
}

impl FileOutboard {
    pub(crate) fn new(hash: BlobHash, len: u64, file: Option<File>) -> Self {
        Self {
            root: hash.to_blake3(),
            tree: tree(len),
            file,
        }
    }

    fn offset(&self, node: TreeNode) -> Option<u64> {
        self.tree
            .pre_order_offset(node)
            .map(|index| index * NODE_BYTES)
    }
}

impl Outboard for FileOutboard {
    fn root(&self) -> blake3::Hash {
        self.root
    }

    fn tree(&self) -> BaoTree {
        self.tree
    }

    fn load(&self, node: TreeNode) -> io::Result<Option<(blake3::Hash, blake3::Hash)>> {
        let (Some(offset), Some(file)) = (self.offset(node), &self.file) else {
            return Ok(None);
        };
        // A node that was never written reads as zeros, which match no hash.
        let mut pair = [0; NODE_BYTES as usize];
        match file.read_exact_at(&mut pair, offset) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => {}
        }
        let (left, right) = pair.split_at(32);
        let hash = |half: &[u8]| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(half);
            blake3::Hash::from_bytes(bytes)
        };
        Ok(Some((hash(left), hash(right))))
    }
}

impl OutboardMut for FileOutboard {
    fn save(
        &mut self,
        node: TreeNode,
        (left, right): &(blake3::Hash, blake3::Hash),
    ) -> io::Result<()> {
        let (Some(offset), Some(file)) = (self.offset(node), &self.file) else {
            return Ok(());
        };
        let mut pair = [0; NODE_BYTES as usize];
        pair[..32].copy_from_slice(left.as_bytes());
        pair[32..].copy_from_slice(right.as_bytes());
        file.write_all_at(&pair, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Number of groups, counted from the first, that match the root.
///
/// Reads the data once; nothing on disk is believed, so no record of progress has to survive a
/// crash in step with the data.
pub(crate) fn verified_prefix(data: impl sync::ReadAt, outboard: &FileOutboard) -> io::Result<u64> {
    let len = outboard.tree.size();
    let result =
        encode_ranges_validated(data, outboard, &chunk_ranges(0, u64::MAX, len), io::sink());
    match result {
        Ok(()) => Ok(group_count(len)),
        Err(EncodeError::LeafHashMismatch(chunk)) => Ok(chunk.0 / CHUNKS_PER_GROUP),
        Err(EncodeError::ParentHashMismatch(node)) => {
            Ok(node.chunk_range().start.0 / CHUNKS_PER_GROUP)
        }
        Err(error) => Err(error.into()),
    }
}

/// Byte offset where the subtree of `node` starts.
pub(crate) fn node_offset(node: TreeNode) -> u64 {
    node.chunk_range().start.to_bytes()
}
