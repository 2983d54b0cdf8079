//! Reading a blob, and writing one whose hash is not known yet.

use std::{
    fs::{self, File},
    io::{self, Seek, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use bao_tree::io::sync as bao;

use super::{
    BlobStore, Reservation, StoreError,
    layout::{outboard_of, remove_pair},
    pack::{Owner, Place, is_small},
    tree::{self, FileOutboard},
};
use crate::{BlobHash, limits::PIPE_CHUNK_BYTES};

/// A blob open for reading. It stays valid if the blob is removed.
#[derive(Debug)]
pub struct BlobReader {
    data: Data,
    len: u64,
}

#[derive(Debug)]
enum Data {
    File(File),
    /// A small blob, at most 16 KiB.
    Memory(Vec<u8>),
}

impl BlobReader {
    /// Length of the blob in bytes; 0 is the empty blob.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the blob ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match &self.data {
            Data::File(file) => file.read_exact_at(buffer, offset),
            Data::Memory(bytes) => bao::ReadAt::read_exact_at(bytes, offset, buffer),
        }
    }
}

impl bao::ReadAt for BlobReader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.data {
            Data::File(file) => FileExt::read_at(file, buffer, offset),
            Data::Memory(bytes) => bao::ReadAt::read_at(bytes, offset, buffer),
        }
    }
}

/// A data file and its outboard under temporary names; removed on drop.
#[derive(Debug)]
pub(super) struct TempPair {
    pub(super) path: PathBuf,
    pub(super) data: File,
    pub(super) outboard: Option<File>,
}

impl TempPair {
    pub(super) fn create(store: &BlobStore, needs_outboard: bool) -> io::Result<Self> {
        let number = store.inner.next_temp.fetch_add(1, Ordering::Relaxed);
        let path = store.inner.layout.temps().join(number.to_string());
        let data = create(&path)?;
        let outboard = needs_outboard
            .then(|| create(&outboard_of(&path)))
            .transpose()?;
        Ok(Self {
            path,
            data,
            outboard,
        })
    }
}

impl Drop for TempPair {
    fn drop(&mut self) {
        // After a commit the names are gone already.
        let _ = remove_pair(&self.path);
    }
}

pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
}

impl BlobStore {
    /// Opens a blob for reading.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Io`].
    pub fn open_read(&self, hash: &BlobHash) -> Result<BlobReader, StoreError> {
        let index = self.index();
        let len = *index.blobs.get(hash).ok_or(StoreError::NotFound(*hash))?;
        let data = match index.packed.get(hash) {
            // With the index locked nobody overwrites the place, and the pages are mostly in memory.
            Some(place) => self.inner.pack.read(*place).map(Data::Memory),
            None => {
                drop(index);
                File::open(self.inner.layout.blob(hash)).map(Data::File)
            }
        };
        let data = data.map_err(StoreError::io("open blob"))?;
        Ok(BlobReader { data, len })
    }

    /// Makes what has been found right a blob: packs it if it is small, else gives the files their final
    /// names. `path` may still be there afterwards.
    pub(super) fn commit(
        &self,
        (path, data, outboard): (&Path, &File, Option<&File>),
        (hash, len): (BlobHash, u64),
        reservation: Reservation,
    ) -> Result<(), StoreError> {
        if is_small(len) {
            let mut bytes = vec![0; len as usize];
            data.read_exact_at(&mut bytes, 0)
                .map_err(StoreError::io("commit blob"))?;
            return self.pack(hash, bytes, reservation);
        }
        let durable = self.inner.options.durable;
        let target = self.inner.layout.blob(&hash);
        let publish = || -> io::Result<()> {
            if durable {
                data.sync_data()?;
                outboard.map_or(Ok(()), File::sync_data)?;
            }
            fs::create_dir_all(target.parent().unwrap_or(&target))?;
            // A blob exists when its data has its name, so the outboard comes first.
            if outboard.is_some() {
                fs::rename(outboard_of(path), outboard_of(&target))?;
            }
            fs::rename(path, &target)?;
            if durable { sync_name(&target) } else { Ok(()) }
        };
        publish().map_err(StoreError::io("commit blob"))?;
        // If it was there already, the same bytes have replaced themselves, and the quota counts
        // them once.
        if self.index().blobs.insert(hash, len).is_none() {
            reservation.keep();
        }
        Ok(())
    }

    fn pack(
        &self,
        hash: BlobHash,
        bytes: Vec<u8>,
        reservation: Reservation,
    ) -> Result<(), StoreError> {
        if self.contains(&hash) {
            return Ok(());
        }
        let packed = self.inner.pack.append(hash, bytes, self);
        if packed.map_err(StoreError::io("pack blob"))? {
            reservation.keep();
        }
        Ok(())
    }

    /// Stores `bytes`. Blocks; meant for small blobs.
    ///
    /// # Errors
    /// [`StoreError::Quota`], [`StoreError::Io`].
    pub fn ingest_bytes(&self, bytes: &[u8]) -> Result<BlobHash, StoreError> {
        let mut writer = self.create_writer(bytes.len() as u64)?;
        writer
            .write_all(bytes)
            .map_err(StoreError::io("write blob"))?;
        Ok(writer.finish()?.0)
    }

    /// A writer for a blob of at most `capacity_bytes` whose hash is not known yet. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Quota`], [`StoreError::TooLarge`], [`StoreError::Io`].
    pub fn create_writer(&self, capacity_bytes: u64) -> Result<BlobWriter, StoreError> {
        let reservation = self.reserve(capacity_bytes)?;
        let content = if is_small(capacity_bytes) {
            Content::Memory(Vec::with_capacity(capacity_bytes as usize))
        } else {
            TempPair::create(self, true)
                .map(Content::Files)
                .map_err(StoreError::io("create temp"))?
        };
        Ok(BlobWriter {
            store: self.clone(),
            content,
            reservation,
            capacity_bytes,
            len: 0,
        })
    }
}

impl Owner for BlobStore {
    fn packed(&self, hash: BlobHash, place: Place) -> bool {
        let mut index = self.index();
        if index.blobs.contains_key(&hash) {
            return false; // Somebody else was faster; this copy is not used.
        }
        index.blobs.insert(hash, place.len());
        index.packed.insert(hash, place);
        true
    }

    fn evict(&self, hash: BlobHash, place: Place) -> io::Result<()> {
        let is_here = |store: &Self| store.index().packed.get(&hash) == Some(&place);
        if !is_here(self) {
            return Ok(());
        }
        let target = self.inner.layout.blob(&hash);
        let temp = TempPair::create(self, false)?;
        (&temp.data).write_all(&self.inner.pack.read(place)?)?;
        if self.inner.options.durable {
            temp.data.sync_data()?;
        }
        fs::create_dir_all(target.parent().unwrap_or(&target))?;
        fs::rename(&temp.path, &target)?;
        if self.inner.options.durable {
            sync_name(&target)?;
        }
        if self.index().packed.remove(&hash).is_none() {
            fs::remove_file(target)?; // It was removed meanwhile.
        }
        Ok(())
    }
}

/// Flushes a blob's name: its entry in the shard, and the shard's in the folder above.
fn sync_name(blob: &Path) -> io::Result<()> {
    let folders = blob.ancestors().skip(1).take(2);
    folders
        .map(File::open)
        .try_for_each(|folder| folder?.sync_all())
}

/// The outboard, if a blob of this length has one.
fn kept(temp: &TempPair, len: u64) -> Option<&File> {
    temp.outboard
        .as_ref()
        .filter(|_| tree::outboard_bytes(len) > 0)
}

/// Reads `len` bytes of `file` from the start and writes the outboard.
fn hash_file(mut file: &File, len: u64, target: &mut Option<File>) -> io::Result<BlobHash> {
    file.rewind()?;
    let mut tree = FileOutboard::new(BlobHash([0; 32]), len, target.take());
    let reader = io::BufReader::with_capacity(PIPE_CHUNK_BYTES, file);
    let hash = bao::outboard(reader, tree.tree, &mut tree);
    *target = tree.file;
    hash.map(BlobHash::from)
}

/// Writes a blob whose hash is not known beforehand. Dropped without [`BlobWriter::finish`], it
/// leaves nothing behind. Blocks.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    content: Content,
    reservation: Reservation,
    capacity_bytes: u64,
    len: u64,
}

#[derive(Debug)]
enum Content {
    /// Of a small blob.
    Memory(Vec<u8>),
    Files(TempPair),
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let after = self.len.saturating_add(bytes.len() as u64);
        if after > self.capacity_bytes {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!(
                    "blob has {after} bytes, reserved were {}",
                    self.capacity_bytes
                ),
            ));
        }
        let written = match &mut self.content {
            Content::Memory(content) => content.write(bytes)?,
            Content::Files(temp) => temp.data.write(bytes)?,
        };
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter {
    /// Hashes what was written and makes it a blob; returns its name and length in bytes.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn finish(self) -> Result<(BlobHash, u64), StoreError> {
        self.finish_after(|_| {})
    }

    /// [`BlobWriter::finish`], but `announced` hears the name before there is a blob of that name: for an
    /// owner that removes what it does not know of.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn finish_after(
        self,
        announced: impl FnOnce(BlobHash),
    ) -> Result<(BlobHash, u64), StoreError> {
        let Self {
            store,
            content,
            mut reservation,
            len,
            ..
        } = self;
        let mut shrink = || {
            let footprint = tree::footprint_bytes(len);
            store.release(reservation.bytes.saturating_sub(footprint));
            reservation.bytes = footprint;
        };
        match content {
            Content::Memory(bytes) => {
                let hash = BlobHash::of(&bytes);
                announced(hash);
                shrink();
                store.pack(hash, bytes, reservation)?;
                Ok((hash, len))
            }
            Content::Files(mut temp) => {
                let hash = hash_file(&temp.data, len, &mut temp.outboard)
                    .map_err(StoreError::io("hash blob"))?;
                announced(hash);
                shrink();
                let files = (temp.path.as_path(), &temp.data, kept(&temp, len));
                store.commit(files, (hash, len), reservation)?;
                Ok((hash, len))
            }
        }
    }
}
