//! Files as updates, mapped into memory: the kernels read the page cache itself, and no copy of the payload
//! is made or counts as memory of this process that must be kept.
//!
//! # When a file shrinks
//! Reading a page of a mapping that lies beyond the end of its file, or that the disk cannot give, ends the process
//! with SIGBUS; there is no error to return. So this is for files that nobody changes: the blobs of the
//! node's store are written under another name, checked, renamed, and from then on only deleted, which a
//! mapping survives. For files of unknown origin there is [`FileSource`](crate::FileSource), which reports a
//! shrunken file as an error. What a file *says* is checked as for any other source.
#![allow(unsafe_code, reason = "a mapping, and its bytes as numbers")]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::encoding::Encoding;
use crate::error::AggregationError;
use crate::source::{VectorSource, check_bounds};

/// A file with a vector in some [`Encoding`], mapped into memory.
#[derive(Debug)]
pub struct MappedSource {
    map: Mmap,
    encoding: Encoding,
    len: usize,
}

impl MappedSource {
    /// Maps `path` as a vector of at most `max_len` coordinates. The contents are not looked at. The
    /// file must not be truncated or written to while this exists, see the [module](self).
    ///
    /// # Errors
    /// [`AggregationError::Io`], or [`AggregationError::FileSize`] when no vector of at most
    /// `max_len` has that size.
    pub fn open(
        path: impl AsRef<Path>,
        encoding: Encoding,
        max_len: usize,
    ) -> Result<Self, AggregationError> {
        let path = path.as_ref();
        let io = |source| AggregationError::Io {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let size_bytes = file.metadata().map_err(io)?.len();
        let len = encoding
            .len_of(size_bytes)
            .and_then(|len| usize::try_from(len).ok())
            .filter(|&len| len <= max_len)
            .ok_or_else(|| AggregationError::FileSize {
                path: path.to_path_buf(),
                size_bytes,
                limit_bytes: encoding.size_bytes(max_len as u64).unwrap_or(u64::MAX),
            })?;
        // The length is at most that of the file as just seen, so a file that grows makes no difference.
        let size = usize::try_from(size_bytes).map_err(|_| io(too_large()))?;
        // SAFETY: the mapping is read-only and private to this value, and that nobody truncates or
        // writes the file is what the documentation asks of the caller. A write in spite of that
        // changes numbers, all of which are valid; nothing here relies on reading the same twice
        // for memory safety.
        let map = unsafe { memmap2::MmapOptions::new().len(size).map(&file) }.map_err(io)?;
        Ok(Self { map, encoding, len })
    }

    /// Its encoding.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

fn too_large() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::FileTooLarge)
}

impl VectorSource for MappedSource {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        check_bounds(offset, out.len(), self.len)?;
        self.encoding.decode(&self.map, offset, out)
    }

    fn as_slice(&self) -> Option<&[f32]> {
        if self.encoding != Encoding::F32 || cfg!(target_endian = "big") {
            return None;
        }
        // SAFETY: every pattern of 32 bits is an f32, and `align_to` cuts off what is not aligned.
        let (head, values, tail) = unsafe { self.map.align_to::<f32>() };
        // A mapping begins with a page, so nothing is cut off.
        (head.is_empty() && tail.is_empty()).then_some(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn f32_is_read_in_place() {
        let values = [1.5_f32, -0.0, f32::MAX];
        let file = file(&Encoding::F32.encode(&values).unwrap());
        let source = MappedSource::open(file.path(), Encoding::F32, 3).unwrap();
        assert_eq!(source.as_slice(), Some(&values[..]));
        let mut out = [0.0; 2];
        source.read(1, &mut out).unwrap();
        assert_eq!(
            out.map(f32::to_bits),
            [(-0.0_f32).to_bits(), f32::MAX.to_bits()]
        );
        assert!(source.read(2, &mut out).is_err());
        // A deleted file stays as long as it is mapped.
        drop(file);
        assert_eq!(source.as_slice(), Some(&values[..]));
    }

    #[test]
    fn an_empty_file_is_an_empty_vector() {
        let file = file(&[]);
        for encoding in Encoding::ALL {
            let source = MappedSource::open(file.path(), encoding, 10).unwrap();
            assert!(source.is_empty());
            assert!(source.as_slice().is_none_or(<[f32]>::is_empty));
        }
    }

    #[test]
    fn sizes_that_are_no_vector_are_refused() {
        for (encoding, size, max_len) in [
            (Encoding::F32, 5, 9),
            (Encoding::F32, 8, 1),
            (Encoding::F16, 3, 9),
            (Encoding::Bf16, 4, 1),
            // A scale without a byte behind it, or a part of one.
            (Encoding::Int8, 4, 99),
            (Encoding::Int8, 68 + 3, 99),
            (Encoding::Int8, 68 + 4, 99),
            (Encoding::Int8, 68 + 5, 64),
        ] {
            let file = file(&vec![0; size]);
            let error = MappedSource::open(file.path(), encoding, max_len).unwrap_err();
            assert!(
                matches!(error, AggregationError::FileSize { size_bytes, .. } if size_bytes == size as u64),
                "{encoding:?}, {size}: {error}"
            );
        }
        assert!(MappedSource::open("/nonexistent", Encoding::F32, 1).is_err());
    }
}
