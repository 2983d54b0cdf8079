//! Where results go: memory, or a file that is hashed while it is written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::AggregationError;
use crate::tiles::TILE;

/// Takes a result in coordinate order, some thousand coordinates at a time.
///
/// When an aggregation fails the sink has seen a part of the result; the caller throws it away.
pub trait Sink: Send {
    /// Takes the next coordinates.
    ///
    /// # Errors
    /// Whatever the storage behind it reports; the aggregation ends with that error.
    fn write(&mut self, chunk: &[f32]) -> Result<(), AggregationError>;
}

impl Sink for Vec<f32> {
    fn write(&mut self, chunk: &[f32]) -> Result<(), AggregationError> {
        self.extend_from_slice(chunk);
        Ok(())
    }
}

/// What [`FileSink::finish`] knows about the file it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// BLAKE3 of all bytes of the file.
    pub hash: blake3::Hash,
    /// Size of the file.
    pub len_bytes: u64,
}

/// Writes little-endian f32 to a file and hashes the bytes on the way.
#[derive(Debug)]
pub struct FileSink {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    len_bytes: u64,
    // One tile of bytes (16 KiB): enough for BLAKE3 to hash sixteen chunks side by side.
    bytes: Vec<u8>,
}

impl FileSink {
    /// Creates the file, or truncates it.
    ///
    /// # Errors
    /// [`AggregationError::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, AggregationError> {
        let path = path.as_ref().to_path_buf();
        let file = File::create(&path).map_err(|source| AggregationError::Io {
            path: path.clone(),
            source,
        })?;
        let bytes = Vec::with_capacity(TILE * 4);
        Ok(Self {
            file,
            path,
            hasher: blake3::Hasher::new(),
            len_bytes: 0,
            bytes,
        })
    }

    /// Syncs the file to disk and gives its hash and size.
    ///
    /// # Errors
    /// [`AggregationError::Io`].
    pub fn finish(self) -> Result<FileDigest, AggregationError> {
        self.file
            .sync_all()
            .map_err(|source| AggregationError::Io {
                path: self.path,
                source,
            })?;
        Ok(FileDigest {
            hash: self.hasher.finalize(),
            len_bytes: self.len_bytes,
        })
    }
}

impl Sink for FileSink {
    fn write(&mut self, chunk: &[f32]) -> Result<(), AggregationError> {
        for part in chunk.chunks(TILE) {
            self.bytes.clear();
            self.bytes
                .extend(part.iter().flat_map(|value| value.to_le_bytes()));
            self.file
                .write_all(&self.bytes)
                .map_err(|source| AggregationError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            self.hasher.update(&self.bytes);
            self.len_bytes += self.bytes.len() as u64;
        }
        Ok(())
    }
}
