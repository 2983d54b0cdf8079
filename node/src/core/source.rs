//! A stored payload or model as a vector of little-endian f32.

use cifer_aggregation::{AggregationError, VectorSource};
use cifer_dataplane::{BlobHash, BlobStore, store::BlobReader};

/// Coordinates read at a time; the byte buffer of 16 KiB lies on the stack.
const READ_COORDINATES: usize = 4096;

/// A blob of f32, read by position.
#[derive(Debug)]
pub(crate) struct BlobSource {
    blob: BlobReader,
    hash: BlobHash,
}

impl BlobSource {
    /// Opens a blob that must have `coordinates` coordinates. The contents are not looked at.
    pub(crate) fn open(
        store: &BlobStore,
        hash: BlobHash,
        coordinates: usize,
    ) -> Result<Self, AggregationError> {
        let failed = |error| io(hash, std::io::Error::other(error));
        let blob = store.open_read(&hash).map_err(failed)?;
        let limit_bytes = 4 * coordinates as u64;
        if blob.len_bytes() != limit_bytes {
            return Err(AggregationError::FileSize {
                path: hash.to_string().into(),
                size_bytes: blob.len_bytes(),
                limit_bytes,
            });
        }
        Ok(Self { blob, hash })
    }
}

fn io(hash: BlobHash, source: std::io::Error) -> AggregationError {
    let path = hash.to_string().into();
    AggregationError::Io { path, source }
}

impl VectorSource for BlobSource {
    fn len(&self) -> usize {
        // What was opened as a number of coordinates.
        (self.blob.len_bytes() / 4) as usize
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        let (count, len) = (out.len(), self.len());
        if offset.checked_add(count).is_none_or(|end| end > len) {
            return Err(AggregationError::OutOfBounds { offset, count, len });
        }
        let mut bytes = [0; 4 * READ_COORDINATES];
        let mut position = 4 * offset as u64;
        for part in out.chunks_mut(READ_COORDINATES) {
            let raw = &mut bytes[..4 * part.len()];
            self.blob
                .read_exact_at(raw, position)
                .map_err(|source| io(self.hash, source))?;
            for (value, word) in part.iter_mut().zip(raw.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*word);
            }
            position += raw.len() as u64;
        }
        Ok(())
    }
}
