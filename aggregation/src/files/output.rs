//! A result as a file: written under another name, hashed on the way, and renamed when it is whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{FileError, MAX_COORDINATES, Tensor, npy, safetensors};
use crate::error::AggregationError;
use crate::sink::{FileDigest, Sink};

/// Name of the one tensor of a safetensors file when the inputs have no names.
const UNNAMED: &str = "update";

/// A `.npy` or `.safetensors` file in the making, f32. Dropped before [`OutputFile::finish`], it leaves
/// nothing behind.
#[derive(Debug)]
pub struct OutputFile {
    writer: BufWriter<File>,
    target: PathBuf,
    partial: Option<PathBuf>,
    hasher: blake3::Hasher,
    len_bytes: u64,
    /// What the header announces.
    expected_bytes: u64,
    bytes: Vec<u8>,
}

impl OutputFile {
    /// Begins a file for tensors with these names and shapes, in this order; the ending of `path` says
    /// which format. A `.npy` file of several tensors is one vector.
    ///
    /// # Errors
    /// [`FileError`] for another ending, for more than [`MAX_COORDINATES`] numbers, and for what the system
    /// refuses.
    pub fn create(path: impl AsRef<Path>, tensors: &[Tensor]) -> Result<Self, FileError> {
        let target = path.as_ref().to_path_buf();
        let io = |source| FileError::Io {
            path: target.clone(),
            source,
        };
        let sides = |tensor: &Tensor| -> Option<u64> {
            let mut sides = tensor.shape.iter();
            sides.try_fold(1_u64, |n, side| n.checked_mul(*side))
        };
        let mut tensor_lens = tensors.iter().map(sides);
        let count = tensor_lens.try_fold(0_u64, |sum, len| sum.checked_add(len?));
        let Some(count) = count.filter(|&count| count <= MAX_COORDINATES) else {
            return Err(FileError::Header {
                path: target,
                field: "tensors".into(),
                value: format!("{} with too many numbers", tensors.len()),
                expected: format!("at most {MAX_COORDINATES} numbers"),
            });
        };
        let header = match target.extension().and_then(|ending| ending.to_str()) {
            Some("npy") => match tensors {
                [one] => npy::write_header(&one.shape),
                _ => npy::write_header(&[count]),
            },
            Some("safetensors") => {
                safetensors::write_header(&named(tensors)).map_err(|error| io(error.into()))?
            }
            _ => {
                return Err(FileError::Header {
                    field: "ending".into(),
                    value: format!("{:?}", target.extension().unwrap_or_default()),
                    expected: "npy or safetensors".into(),
                    path: target,
                });
            }
        };
        let mut partial = target.clone().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let writer = BufWriter::new(File::create(&partial).map_err(io)?);
        let mut output = Self {
            writer,
            partial: Some(partial),
            hasher: blake3::Hasher::new(),
            len_bytes: 0,
            expected_bytes: 4 * count,
            bytes: Vec::new(),
            target: target.clone(),
        };
        // From here on a failure removes the file.
        output.writer.write_all(&header).map_err(io)?;
        Ok(output)
    }

    /// Puts the whole file in its place. The digest is that of the numbers alone, the same for both
    /// formats and for a node's payload.
    ///
    /// # Errors
    /// Another number of numbers than the header says, and what the system refuses.
    pub fn finish(mut self) -> Result<FileDigest, FileError> {
        let target = self.target.clone();
        if self.len_bytes != self.expected_bytes {
            return Err(FileError::Header {
                path: target,
                field: "numbers".into(),
                value: (self.len_bytes / 4).to_string(),
                expected: (self.expected_bytes / 4).to_string(),
            });
        }
        let io = |source| FileError::Io {
            path: target.clone(),
            source,
        };
        self.writer.flush().map_err(io)?;
        self.writer.get_ref().sync_all().map_err(io)?;
        if let Some(partial) = &self.partial {
            std::fs::rename(partial, &self.target).map_err(io)?;
        }
        self.partial = None;
        Ok(FileDigest {
            hash: self.hasher.finalize(),
            len_bytes: self.len_bytes,
        })
    }
}

impl Sink for OutputFile {
    fn write(&mut self, chunk: &[f32]) -> Result<(), AggregationError> {
        self.bytes.clear();
        self.bytes
            .extend(chunk.iter().flat_map(|x| x.to_le_bytes()));
        self.hasher.update(&self.bytes);
        self.len_bytes += self.bytes.len() as u64;
        let written = self.writer.write_all(&self.bytes);
        written.map_err(|source| AggregationError::Io {
            path: self.target.clone(),
            source,
        })
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // It may be gone already; there is nobody left to tell.
            let _ = std::fs::remove_file(partial);
        }
    }
}

fn named(tensors: &[Tensor]) -> Vec<Tensor> {
    let name = |tensor: &Tensor| match tensor.name.as_str() {
        "" => UNNAMED.to_owned(),
        name => name.to_owned(),
    };
    let tensors = tensors.iter().map(|tensor| Tensor {
        name: name(tensor),
        shape: tensor.shape.clone(),
    });
    tensors.collect()
}
