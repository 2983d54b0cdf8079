//! Where updates are read from: memory, or files of little-endian f32 read by position (for
//! mapped files and other encodings see [`MappedSource`](crate::MappedSource)).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::AggregationError;

/// A vector of f32 that can be read from any position, by several threads at once.
pub trait VectorSource: Sync {
    /// Length in coordinates.
    fn len(&self) -> usize;

    /// True when there are no coordinates.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with the coordinates from `offset` on.
    ///
    /// # Errors
    /// [`AggregationError::OutOfBounds`] when `offset + out.len()` exceeds the length, or what the
    /// underlying storage reports.
    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError>;

    /// All coordinates, when they lie in memory anyway. Saves one copy; never changes a result.
    fn as_slice(&self) -> Option<&[f32]> {
        None
    }
}

pub(crate) fn check_bounds(
    offset: usize,
    count: usize,
    len: usize,
) -> Result<(), AggregationError> {
    match offset.checked_add(count) {
        Some(end) if end <= len => Ok(()),
        _ => Err(AggregationError::OutOfBounds { offset, count, len }),
    }
}

impl VectorSource for [f32] {
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        check_bounds(offset, out.len(), self.len())?;
        out.copy_from_slice(&self[offset..offset + out.len()]);
        Ok(())
    }

    fn as_slice(&self) -> Option<&[f32]> {
        Some(self)
    }
}

impl VectorSource for &[f32] {
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        (**self).read(offset, out)
    }

    fn as_slice(&self) -> Option<&[f32]> {
        Some(self)
    }
}

impl VectorSource for Vec<f32> {
    fn len(&self) -> usize {
        <[f32]>::len(self)
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        self[..].read(offset, out)
    }

    fn as_slice(&self) -> Option<&[f32]> {
        Some(self)
    }
}

#[cfg(feature = "ndarray")]
impl<S> VectorSource for ndarray::ArrayBase<S, ndarray::Ix1, f32>
where
    S: ndarray::Data<Elem = f32> + Sync,
{
    fn len(&self) -> usize {
        (**self).len()
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        check_bounds(offset, out.len(), VectorSource::len(self))?;
        let part = self.slice(ndarray::s![offset..offset + out.len()]);
        for (to, from) in out.iter_mut().zip(part.iter()) {
            *to = *from;
        }
        Ok(())
    }

    fn as_slice(&self) -> Option<&[f32]> {
        // The method of the array, not this one again.
        (**self).as_slice()
    }
}

/// Bytes per coordinate in files.
const F32_BYTES: usize = 4;

/// Coordinates converted at a time; the byte buffer of 16 KiB lies on the stack.
const READ_COORDINATES: usize = 4096;

/// A file of little-endian f32 with nothing else in it.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    path: PathBuf,
    len: usize,
}

impl FileSource {
    /// Opens `path` as a vector of at most `max_len` coordinates. The contents are not looked at.
    ///
    /// # Errors
    /// [`AggregationError::Io`], or [`AggregationError::FileSize`] when the size is no multiple of
    /// 4 bytes or above `4 * max_len`.
    pub fn open(path: impl AsRef<Path>, max_len: usize) -> Result<Self, AggregationError> {
        let path = path.as_ref().to_path_buf();
        let io = |source| AggregationError::Io {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(io)?;
        let size_bytes = file.metadata().map_err(io)?.len();
        let limit_bytes = (max_len as u64).saturating_mul(F32_BYTES as u64);
        if !size_bytes.is_multiple_of(F32_BYTES as u64) || size_bytes > limit_bytes {
            return Err(AggregationError::FileSize {
                path,
                size_bytes,
                limit_bytes,
            });
        }
        // At most max_len, which is a usize.
        let len = (size_bytes / F32_BYTES as u64) as usize;
        Ok(Self { file, path, len })
    }
}

impl VectorSource for FileSource {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        check_bounds(offset, out.len(), self.len)?;
        let mut bytes = [0_u8; READ_COORDINATES * F32_BYTES];
        let mut position = offset as u64 * F32_BYTES as u64;
        for part in out.chunks_mut(READ_COORDINATES) {
            let raw = &mut bytes[..part.len() * F32_BYTES];
            self.file
                .read_exact_at(raw, position)
                .map_err(|source| AggregationError::Io {
                    path: self.path.clone(),
                    source,
                })?;
            for (value, word) in part.iter_mut().zip(raw.as_chunks::<F32_BYTES>().0) {
                *value = f32::from_le_bytes(*word);
            }
            position += raw.len() as u64;
        }
        Ok(())
    }
}
