//! A download in progress. What was verified stays on disk when it is cut off, and is found again
//! by checking the files against the hash, not by believing a record.

use std::{fs::File, io, os::unix::fs::FileExt};

use bao_tree::{TreeNode, io::sync::OutboardMut};

use super::{
    BlobStore, Reservation, StoreError,
    layout::{outboard_of, remove_pair},
    tree::{self, FileOutboard, footprint_bytes, group_count, outboard_bytes},
};
use crate::{BlobHash, limits::GROUP_BYTES};

/// A download in progress; only one exists for a blob at a time.
#[derive(Debug)]
pub(crate) struct PartialBlob {
    store: BlobStore,
    hash: BlobHash,
    len: u64,
    data: File,
    outboard: FileOutboard,
    verified_groups: u64,
    /// Taken when the files have become a blob.
    reservation: Option<Reservation>,
}

impl BlobStore {
    /// Starts or resumes a download. Reads what is there already; blocks.
    pub(crate) fn open_partial(&self, hash: BlobHash, len: u64) -> Result<PartialBlob, StoreError> {
        let key = (hash, len);
        let known = {
            let mut index = self.index();
            match index.partials.get_mut(&key) {
                Some(active) if *active => return Err(StoreError::InUse(hash)),
                Some(active) => {
                    *active = true;
                    true
                }
                None => {
                    index.partials.insert(key, true);
                    false
                }
            }
        };
        let reservation = if known {
            Reservation {
                store: self.clone(),
                bytes: footprint_bytes(len),
            }
        } else {
            self.reserve(len).inspect_err(|_| {
                self.index().partials.remove(&key);
            })?
        };
        // From here on `Drop` of the partial cleans up.
        let mut partial = match self.open_partial_files(hash, len, reservation) {
            Ok(partial) => partial,
            Err(error) => {
                self.index().partials.remove(&key);
                return Err(StoreError::io("open partial")(error));
            }
        };
        if known {
            partial.verified_groups = tree::verified_prefix(&partial.data, &partial.outboard)
                .map_err(StoreError::io("verify partial"))?;
        }
        Ok(partial)
    }

    fn open_partial_files(
        &self,
        hash: BlobHash,
        len: u64,
        reservation: Reservation,
    ) -> io::Result<PartialBlob> {
        let path = self.inner.layout.partial(&hash, len);
        let open = |path| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
        };
        let data = open(path.clone())?;
        // Sparse: what has not arrived reads as zeros, which match no hash by accident.
        data.set_len(len)?;
        let file = (outboard_bytes(len) > 0)
            .then(|| open(outboard_of(&path)))
            .transpose()?;
        Ok(PartialBlob {
            store: self.clone(),
            hash,
            len,
            data,
            outboard: FileOutboard::new(hash, len, file),
            verified_groups: 0,
            reservation: Some(reservation),
        })
    }
}

impl PartialBlob {
    pub(crate) fn hash(&self) -> BlobHash {
        self.hash
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Groups verified, counted from the first.
    pub(crate) fn verified_groups(&self) -> u64 {
        self.verified_groups
    }

    pub(crate) fn verified_bytes(&self) -> u64 {
        self.verified_groups
            .saturating_mul(GROUP_BYTES)
            .min(self.len)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.verified_groups == group_count(self.len)
    }

    /// Keeps a verified node of the tree.
    pub(crate) fn save_node(
        &mut self,
        node: TreeNode,
        pair: &(blake3::Hash, blake3::Hash),
    ) -> io::Result<()> {
        self.outboard.save(node, pair)
    }

    /// Keeps a verified group; groups come in order.
    pub(crate) fn save_group(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all_at(bytes, offset)?;
        self.verified_groups = (offset / GROUP_BYTES).saturating_add(1);
        Ok(())
    }

    /// Makes the complete download a blob. Blocks.
    pub(crate) fn complete(mut self) -> Result<(), StoreError> {
        let Some(reservation) = self.reservation.take() else {
            return Ok(());
        };
        let path = self.store.inner.layout.partial(&self.hash, self.len);
        self.store.index().partials.remove(&(self.hash, self.len));
        let files = (path.as_path(), &self.data, self.outboard.file.as_ref());
        let result = self.store.commit(files, (self.hash, self.len), reservation);
        // Not there any more, unless it was packed or something failed.
        let _ = remove_pair(&path);
        result
    }
}

impl Drop for PartialBlob {
    fn drop(&mut self) {
        let Some(reservation) = self.reservation.take() else {
            return;
        };
        let key = (self.hash, self.len);
        if self.verified_groups > 0 {
            // Stays on disk, and in the quota, for the next attempt.
            self.store.index().partials.insert(key, false);
            reservation.keep();
        } else {
            let _ = remove_pair(&self.store.inner.layout.partial(&self.hash, self.len));
            self.store.index().partials.remove(&key);
        }
    }
}
