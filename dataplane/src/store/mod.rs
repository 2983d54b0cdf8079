//! Content-addressed files on disk, named by the BLAKE3 hash of their contents.
//!
//! Invariants:
//!
//! - A file under its final name has, when it gets there, been hashed and found right; it is never
//!   written again. Blobs of up to 16 KiB share one file (`pack`).
//! - Memory does not depend on the size of a blob; data goes through buffers of 128 KiB.
//! - Data, hash trees, downloads in progress and reservations together stay within the quota.
//! - Each blob has a tree of hashes beside it (1/256 of its size), so that any range can be served
//!   with a proof.
//!
//! One process owns a store at a time; the node's lock on its home folder sees to that. Methods
//! that are not `async` block on the disk: short ones (`contains`, `len`) only take a lock, those
//! that read or write a whole blob say so and belong on a blocking thread.

mod error;
mod file;
mod ingest;
mod layout;
mod open;
mod pack;
mod partial;
pub(crate) mod tree;

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

pub use error::{IngestError, StoreError};
pub use file::{BlobReader, BlobWriter};
use layout::Layout;
use pack::{Pack, Place};
pub(crate) use partial::PartialBlob;
use tree::{FileOutboard, footprint_bytes, outboard_bytes};

use crate::{BlobHash, limits::MAX_BLOB_BYTES};

/// How a store behaves.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Bytes that data, hash trees and downloads in progress may take together.
    pub quota_bytes: u64,
    /// Whether a blob is flushed to the disk before it counts as stored. Default: true.
    ///
    /// With `false` a blob survives the death of the process (the kernel has its bytes) but maybe
    /// not that of the machine. Then every blob is hashed again at the next `open` after a
    /// reboot, and those that suffered are dropped, so that what is in the store is always right.
    /// That is enough where other nodes hold the same blob and a promise to hold it may be broken
    /// by a power cut; a flush of 40 MB costs as long as the disk needs for it.
    pub durable: bool,
}

/// A store of blobs. Clones share it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    options: StoreOptions,
    /// Small blobs.
    pack: Pack,
    index: Mutex<Index>,
    next_temp: AtomicU64,
}

#[derive(Debug, Default)]
struct Index {
    /// Length of each blob: 40 bytes and overhead each.
    blobs: BTreeMap<BlobHash, u64>,
    /// Those of them that are in the pack; the others are files.
    packed: BTreeMap<BlobHash, Place>,
    /// Downloads on disk, and whether somebody writes to them now.
    partials: BTreeMap<(BlobHash, u64), bool>,
    /// Bytes of blobs, partials and reservations.
    used_bytes: u64,
}

impl BlobStore {
    /// Opens the store in `dir`, durable, and creates it if need be. Downloads that were cut off
    /// are kept; other leftovers are removed.
    ///
    /// # Errors
    /// [`StoreError::Io`]. A store that exceeds a lowered quota opens; it only takes nothing in.
    pub fn open(dir: impl AsRef<Path>, quota_bytes: u64) -> Result<Self, StoreError> {
        Self::open_with(
            dir,
            StoreOptions {
                quota_bytes,
                durable: true,
            },
        )
    }

    /// Opens the store in `dir` with `options`.
    ///
    /// # Errors
    /// As [`BlobStore::open`].
    pub fn open_with(dir: impl AsRef<Path>, options: StoreOptions) -> Result<Self, StoreError> {
        open::open(dir.as_ref(), options)
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        // The index is consistent between any two statements, so a panic elsewhere does not
        // spoil it.
        self.inner
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the blob is here, complete.
    pub fn contains(&self, hash: &BlobHash) -> bool {
        self.index().blobs.contains_key(hash)
    }

    /// The length of the blob in bytes, if it is here.
    pub fn len(&self, hash: &BlobHash) -> Option<u64> {
        self.index().blobs.get(hash).copied()
    }

    /// Where the blob is, if it is here and in a file of its own. The file must not be written to.
    pub fn path(&self, hash: &BlobHash) -> Option<PathBuf> {
        let index = self.index();
        let is_file = index.blobs.contains_key(hash) && !index.packed.contains_key(hash);
        is_file.then(|| self.inner.layout.blob(hash))
    }

    /// All blobs with their lengths, by hash.
    pub fn list(&self) -> Vec<(BlobHash, u64)> {
        self.index()
            .blobs
            .iter()
            .map(|(hash, len)| (*hash, *len))
            .collect()
    }

    /// Downloads that are not complete, with the length they will have.
    pub fn partials(&self) -> Vec<(BlobHash, u64)> {
        self.index().partials.keys().copied().collect()
    }

    /// Bytes in use: data, hash trees, downloads in progress (at full length), reservations.
    pub fn used_bytes(&self) -> u64 {
        self.index().used_bytes
    }

    /// The quota in bytes.
    pub fn quota_bytes(&self) -> u64 {
        self.inner.options.quota_bytes
    }

    /// Fills `buffer` with the bytes of the blob from `offset` on.
    ///
    /// # Errors
    /// As [`BlobStore::open_read`]; [`StoreError::Io`] if the blob ends before.
    pub fn read_at(
        &self,
        hash: &BlobHash,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), StoreError> {
        self.open_read(hash)?
            .read_exact_at(buffer, offset)
            .map_err(StoreError::io("read blob"))
    }

    /// Removes a blob; false if it was not here.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the blob is then no longer listed, and its files go at the next open.
    pub fn remove(&self, hash: &BlobHash) -> Result<bool, StoreError> {
        let (len, was_packed) = {
            let mut index = self.index();
            let Some(len) = index.blobs.remove(hash) else {
                return Ok(false);
            };
            (len, index.packed.remove(hash).is_some())
        };
        let removed = if was_packed {
            Ok(())
        } else {
            layout::remove_pair(&self.inner.layout.blob(hash))
        };
        self.release(footprint_bytes(len));
        removed
            .map_err(StoreError::io("remove blob"))
            .map(|()| true)
    }

    /// Reads the whole blob and checks it against its hash; false if it does not match. Blocks.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn verify(&self, hash: &BlobHash) -> Result<bool, StoreError> {
        let (data, outboard) = self.open_verified(hash)?;
        let groups =
            tree::verified_prefix(&data, &outboard).map_err(StoreError::io("verify blob"))?;
        Ok(groups == tree::group_count(outboard.tree.size()))
    }

    /// The files of a blob, for reading with proofs.
    pub(crate) fn open_verified(
        &self,
        hash: &BlobHash,
    ) -> Result<(BlobReader, FileOutboard), StoreError> {
        let data = self.open_read(hash)?;
        let len = data.len_bytes();
        let outboard = layout::outboard_of(&self.inner.layout.blob(hash));
        let file = (outboard_bytes(len) > 0)
            .then(|| File::open(outboard))
            .transpose()
            .map_err(StoreError::io("open outboard"))?;
        Ok((data, FileOutboard::new(*hash, len, file)))
    }

    fn reserve(&self, len: u64) -> Result<Reservation, StoreError> {
        if len > MAX_BLOB_BYTES {
            return Err(StoreError::TooLarge {
                len_bytes: len,
                limit_bytes: MAX_BLOB_BYTES,
            });
        }
        let bytes = footprint_bytes(len);
        let limit_bytes = self.inner.options.quota_bytes;
        let mut index = self.index();
        // A download that nobody works on is worth less than what is wanted now.
        while index.used_bytes.saturating_add(bytes) > limit_bytes {
            let idle = index
                .partials
                .iter()
                .find(|(_, active)| !**active)
                .map(|(key, _)| *key);
            let Some((hash, len)) = idle else {
                return Err(StoreError::Quota {
                    needed_bytes: bytes,
                    used_bytes: index.used_bytes,
                    limit_bytes,
                });
            };
            layout::remove_pair(&self.inner.layout.partial(&hash, len))
                .map_err(StoreError::io("remove partial"))?;
            index.partials.remove(&(hash, len));
            index.used_bytes = index.used_bytes.saturating_sub(footprint_bytes(len));
        }
        index.used_bytes = index.used_bytes.saturating_add(bytes);
        Ok(Reservation {
            store: self.clone(),
            bytes,
        })
    }

    fn release(&self, bytes: u64) {
        let mut index = self.index();
        index.used_bytes = index.used_bytes.saturating_sub(bytes);
    }
}

impl Index {
    /// Takes up a small blob that is in the pack. One that has moved to a file is there twice.
    fn add_packed(&mut self, hash: BlobHash, place: Place) {
        if self.blobs.contains_key(&hash) && !self.packed.contains_key(&hash) {
            return;
        }
        if self.packed.insert(hash, place).is_none() {
            self.blobs.insert(hash, place.len());
            self.used_bytes = self.used_bytes.saturating_add(footprint_bytes(place.len()));
        }
    }
}

/// Part of the quota, given back on drop unless it has become a blob.
#[derive(Debug)]
struct Reservation {
    store: BlobStore,
    bytes: u64,
}

impl Reservation {
    /// The bytes now belong to something in the index.
    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.store.release(self.bytes);
        }
    }
}
