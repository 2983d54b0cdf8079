//! Reading a blob, and writing one whose hash is not known yet.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use bao_tree::io::sync::outboard;

use super::{
    BlobStore, Reservation, StoreError,
    layout::{outboard_of, remove_pair},
    tree::{self, FileOutboard},
};
use crate::{BlobHash, limits::PIPE_CHUNK_BYTES};

/// A blob open for reading.
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    len: u64,
}

impl BlobReader {
    pub(super) fn new(file: File, len: u64) -> Self {
        Self { file, len }
    }

    /// Length of the blob in bytes; 0 is the empty blob.
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Fills `buffer` from `offset` on, without moving the cursor.
    ///
    /// # Errors
    /// `UnexpectedEof` if the blob ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// The file itself, for mapping or async reading. It must not be written to.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
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
    /// Gives files that have been found right their final name.
    ///
    /// A blob of one group is renamed before it is flushed: on journalling file systems that is one
    /// commit for file and name together, and ten contributors send forty of them a round. Should the
    /// power fail in between, the next `open` after the reboot drops what does not match its hash.
    pub(super) fn commit(
        &self,
        (path, data, outboard): (&Path, &File, Option<&File>),
        (hash, len): (BlobHash, u64),
        reservation: Reservation,
    ) -> Result<(), StoreError> {
        let target = self.inner.layout.blob(&hash);
        let publish = || -> io::Result<()> {
            let shard = target.parent().unwrap_or(&target);
            fs::create_dir_all(shard)?;
            let durable = self.inner.options.durable;
            if is_scrubbed(len) {
                fs::rename(path, &target)?;
            }
            if durable {
                data.sync_data()?;
                outboard.map_or(Ok(()), File::sync_data)?;
            }
            if outboard.is_some() {
                fs::rename(outboard_of(path), outboard_of(&target))?;
            }
            if !is_scrubbed(len) {
                fs::rename(path, &target)?;
            }
            if durable {
                File::open(shard)?.sync_all()?;
            }
            Ok(())
        };
        publish().map_err(StoreError::io("commit blob"))?;
        // If it was there already, the same bytes have replaced themselves, and the quota counts
        // them once.
        if self.index().blobs.insert(hash, len).is_none() {
            reservation.keep();
        }
        Ok(())
    }

    /// Stores `bytes`. Blocks; meant for small blobs.
    ///
    /// # Errors
    /// [`StoreError::Quota`], [`StoreError::Io`].
    pub fn ingest_bytes(&self, bytes: &[u8]) -> Result<BlobHash, StoreError> {
        let len = bytes.len() as u64;
        if !is_scrubbed(len) {
            let mut writer = self.create_writer(len)?;
            writer
                .write_all(bytes)
                .map_err(StoreError::io("write blob"))?;
            return Ok(writer.finish()?.0);
        }
        let reservation = self.reserve(len)?;
        let temp = TempPair::create(self, false).map_err(StoreError::io("create temp"))?;
        (&temp.data)
            .write_all(bytes)
            .map_err(StoreError::io("write blob"))?;
        let hash = BlobHash::of(bytes);
        self.commit((&temp.path, &temp.data, None), (hash, len), reservation)?;
        Ok(hash)
    }

    /// A writer for a blob of at most `capacity_bytes` whose hash is not known yet. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Quota`], [`StoreError::TooLarge`], [`StoreError::Io`].
    pub fn create_writer(&self, capacity_bytes: u64) -> Result<BlobWriter, StoreError> {
        let reservation = self.reserve(capacity_bytes)?;
        let temp = TempPair::create(self, true).map_err(StoreError::io("create temp"))?;
        Ok(BlobWriter {
            store: self.clone(),
            temp,
            reservation,
            capacity_bytes,
            len: 0,
        })
    }

    /// Adopts a file produced locally, after hashing it, by renaming it (or copying, if it is on
    /// another file system). The file is gone afterwards, and untouched on an error. Blocks.
    ///
    /// # Errors
    /// [`StoreError::HashMismatch`], [`StoreError::Quota`], [`StoreError::Io`].
    pub fn import_file(&self, path: impl AsRef<Path>, hash: BlobHash) -> Result<u64, StoreError> {
        let path = path.as_ref();
        let file = File::open(path).map_err(StoreError::io("open file to import"))?;
        let len = file
            .metadata()
            .map_err(StoreError::io("open file to import"))?
            .len();
        let reservation = self.reserve(len)?;
        let mut temp = TempPair::create(self, true).map_err(StoreError::io("create temp"))?;
        let actual = hash_file(&file, len, &mut temp.outboard)
            .map_err(StoreError::io("hash file to import"))?;
        if actual != hash {
            return Err(StoreError::HashMismatch {
                expected: hash,
                actual,
            });
        }
        match fs::rename(path, &temp.path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                // A copy could differ from what was hashed, so it goes the long way.
                drop((temp, reservation));
                let len = self.copy_in(&file, len, hash)?;
                fs::remove_file(path).map_err(StoreError::io("remove imported file"))?;
                return Ok(len);
            }
            result => result.map_err(StoreError::io("rename file to import"))?,
        }
        self.commit(
            (&temp.path, &file, kept(&temp, len)),
            (hash, len),
            reservation,
        )?;
        Ok(len)
    }

    fn copy_in(&self, mut file: &File, len: u64, hash: BlobHash) -> Result<u64, StoreError> {
        let mut writer = self.create_writer(len)?;
        io::copy(&mut file, &mut writer).map_err(StoreError::io("copy file"))?;
        let (actual, len) = writer.finish()?;
        if actual == hash {
            Ok(len)
        } else {
            Err(StoreError::HashMismatch {
                expected: hash,
                actual,
            })
        }
    }
}

/// Whether a blob of this length is hashed again after a reboot even in a durable store: those of one
/// group, at most 16 KiB each.
pub(super) fn is_scrubbed(len: u64) -> bool {
    tree::outboard_bytes(len) == 0
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
    let hash = outboard(reader, tree.tree, &mut tree);
    *target = tree.file;
    hash.map(BlobHash::from)
}

/// Writes a blob whose hash is not known beforehand. Dropped without [`BlobWriter::finish`], it
/// leaves nothing behind. Blocks.
#[derive(Debug)]
pub struct BlobWriter {
    store: BlobStore,
    temp: TempPair,
    reservation: Reservation,
    capacity_bytes: u64,
    len: u64,
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
        let written = self.temp.data.write(bytes)?;
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
        let Self {
            store,
            mut temp,
            mut reservation,
            len,
            ..
        } = self;
        let hash =
            hash_file(&temp.data, len, &mut temp.outboard).map_err(StoreError::io("hash blob"))?;
        let footprint = tree::footprint_bytes(len);
        store.release(reservation.bytes.saturating_sub(footprint));
        reservation.bytes = footprint;
        store.commit(
            (&temp.path, &temp.data, kept(&temp, len)),
            (hash, len),
            reservation,
        )?;
        Ok((hash, len))
    }
}
