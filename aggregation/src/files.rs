//! Vectors in the files that other programs write: NumPy's `.npy` and safetensors.
//!
//! A contributor's update is an [`UpdateFile`]: every number of the file, in row-major order, and for
//! safetensors the tensors one after the other by name, whatever their order in the file. Numbers are
//! f32, or f16, bf16 and f64, which become f32 as they are read: f16 and bf16 exactly, f64 rounded to the
//! nearest; what is not finite then is refused by the aggregation with its contributor and coordinate.
//!
//! Files come from anywhere. A header is bounded before it is read, every field of it is checked against the
//! size of the file before anything is allocated for it, and a refusal names the field, its
//! value and what was expected. Data are read by position, never as a whole.
//!
//! There are crates for both formats, but they want the data in memory or in a stream, and the
//! headers are all that has to be understood here.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::AggregationError;
use crate::source::{VectorSource, check_bounds};

mod error;
mod npy;
mod number;
mod output;
mod safetensors;

pub use error::FileError;
pub use number::Number;
pub use output::OutputFile;

/// Most dimensions of a tensor, as in NumPy 1.
pub const MAX_DIMENSIONS: usize = 32;

/// Most bytes of a `.npy` header; what NumPy accepts without being asked to trust the file.
pub const MAX_NPY_HEADER: usize = 10_000;

/// Most bytes of a safetensors header: 65,536 tensors with 200 bytes each. Held in memory twice
/// while it is read.
pub const MAX_SAFETENSORS_HEADER: u64 = 16 << 20;

/// Most tensors of a file, as many as a task may have.
pub const MAX_TENSORS: usize = 65_536;

/// Most coordinates of an update: four times the 10^8 that the rules are tested for.
pub const MAX_COORDINATES: u64 = 400_000_000;

/// A tensor's name and shape. The one tensor of a `.npy` file has no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, empty in `.npy` files.
    pub name: String,
    /// Its dimensions, the last one contiguous.
    pub shape: Vec<u64>,
}

/// Numbers of one kind that lie one after the other in a file.
#[derive(Clone, Copy, Debug)]
struct Part {
    number: Number,
    /// Where in the file.
    position: u64,
    /// Index in the vector of its first number.
    start: usize,
    len: usize,
}

/// The numbers of a file, or of one row of it, as a vector.
#[derive(Clone, Debug)]
pub struct UpdateFile {
    file: Arc<File>,
    path: PathBuf,
    tensors: Vec<Tensor>,
    // Without empty ones, ascending.
    parts: Vec<Part>,
    len: usize,
}

impl UpdateFile {
    /// Opens a `.npy` or `.safetensors` file, told apart by their first bytes.
    ///
    /// # Errors
    /// [`FileError`] for files that cannot be read, are neither, say something impossible or hold
    /// more than [`MAX_COORDINATES`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let file = open(path)?;
        if file.is_npy()? {
            let array = npy::header(&file)?;
            Ok(file.update(vec![(String::new(), array)]))
        } else {
            let tensors = safetensors::header(&file)?;
            Ok(file.update(tensors))
        }
    }

    /// Opens a `.npy` file of two dimensions, one update a row.
    ///
    /// # Errors
    /// Those of [`UpdateFile::open`]; another format or number of dimensions.
    pub fn open_rows(path: impl AsRef<Path>) -> Result<Vec<Self>, FileError> {
        let file = open(path.as_ref())?;
        let wrong = |shown: String| file.refuse("shape", shown, "two dimensions, updates by rows");
        if !file.is_npy()? {
            return Err(wrong("a safetensors file".into()));
        }
        let array = npy::header(&file)?;
        let &[rows, columns] = array.shape.as_slice() else {
            return Err(wrong(format!("{:?}", array.shape)));
        };
        if rows > crate::MAX_UPDATES as u64 {
            let expected = format!("at most {} rows", crate::MAX_UPDATES);
            return Err(file.refuse("shape", format!("{:?}", array.shape), expected));
        }
        // Columns are bounded by the count, unless there are no rows.
        let row_bytes = columns.saturating_mul(array.number.size());
        let row = |row| {
            let array = Array {
                shape: vec![columns],
                position: array.position + row * row_bytes,
                ..array.clone()
            };
            file.clone().update(vec![(String::new(), array)])
        };
        Ok((0..rows).map(row).collect())
    }

    /// Names and shapes, in the order of the vector.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Whether its tensors have names, as in safetensors files.
    pub fn has_names(&self) -> bool {
        self.tensors.iter().any(|tensor| !tensor.name.is_empty())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl VectorSource for UpdateFile {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        check_bounds(offset, out.len(), self.len)?;
        let count = out.len();
        let first = self.parts.partition_point(|p| p.start + p.len <= offset);
        let (mut done, mut parts) = (0, self.parts[first..].iter());
        while done < count {
            // The parts cover the whole length.
            let Some(part) = parts.next() else { break };
            let skipped = offset + done - part.start;
            let take = (part.len - skipped).min(count - done);
            let position = part.position + skipped as u64 * part.number.size();
            let io = |source| AggregationError::Io {
                path: self.path.clone(),
                source,
            };
            let out = &mut out[done..done + take];
            part.number.read(&self.file, position, out).map_err(io)?;
            done += take;
        }
        Ok(())
    }
}

/// Refuses named tensors that are not the same in all files: their vectors would have the length of
/// each other and another meaning. Files without names are compared with nobody.
///
/// # Errors
/// [`FileError::Header`] for the first file that differs from the first one with names.
pub fn check_layouts(updates: &[UpdateFile]) -> Result<(), FileError> {
    let mut named = updates.iter().filter(|update| update.has_names());
    let Some(first) = named.next() else {
        return Ok(());
    };
    match named.find(|update| update.tensors != first.tensors) {
        None => Ok(()),
        Some(other) => {
            let expected = format!("the names and shapes of {}", first.path.display());
            let differs = |tensor: &&Tensor| !first.tensors.contains(tensor);
            let value = match other.tensors.iter().find(differs) {
                Some(Tensor { name, shape }) => {
                    format!("{} {shape:?}", shown(name))
                }
                None => format!("{} of {}", other.tensors.len(), first.tensors.len()),
            };
            Err(FileError::Header {
                path: other.path.clone(),
                field: "tensors".into(),
                value,
                expected,
            })
        }
    }
}

/// The weights in a `.npy` file of one dimension: whole numbers from 0 to 2^53.
///
/// # Errors
/// [`FileError`] for a file that is no such list, or a weight that is no such number.
pub fn read_weights(path: impl AsRef<Path>) -> Result<Vec<u64>, FileError> {
    let file = open(path.as_ref())?;
    if !file.is_npy()? {
        return Err(file.refuse("first bytes", "other", "a .npy file of weights"));
    }
    let array = npy::weights_header(&file)?;
    let &[count] = array.shape.as_slice() else {
        return Err(file.refuse("shape", format!("{:?}", array.shape), "one dimension"));
    };
    if count > crate::MAX_UPDATES as u64 {
        let expected = format!("at most {} weights", crate::MAX_UPDATES);
        return Err(file.refuse("shape", format!("{:?}", array.shape), expected));
    }
    let size = array.number.size();
    let mut bytes = vec![0; (count * size) as usize];
    let read = file.file.read_exact_at(&mut bytes, array.position);
    read.map_err(|error| file.io(error))?;
    let weight = |(index, bytes): (usize, &[u8])| {
        array.number.whole(bytes).ok_or_else(|| {
            let field = format!("weight {index}");
            file.refuse(field, "another number", "a whole number from 0 to 2^53")
        })
    };
    let words = bytes.chunks_exact(size as usize).enumerate();
    words.map(weight).collect()
}

/// The front of foreign text, for an error: short, and without control characters.
fn shown(text: &str) -> String {
    format!("{:?}", crate::params::shorten(text))
}

/// One array as a header describes it, and as it fits into its file.
#[derive(Clone, Debug)]
struct Array {
    number: Number,
    shape: Vec<u64>,
    /// Where in the file its numbers begin.
    position: u64,
}

/// An open file whose header is being read.
#[derive(Clone, Debug)]
struct Opened {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
}

fn open(path: &Path) -> Result<Opened, FileError> {
    let io = |source| FileError::Io {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(io(std::io::Error::from(std::io::ErrorKind::InvalidInput)));
    }
    Ok(Opened {
        file: Arc::new(file),
        path: path.to_path_buf(),
        size: metadata.len(),
    })
}

impl Opened {
    fn io(&self, source: std::io::Error) -> FileError {
        let path = self.path.clone();
        FileError::Io { path, source }
    }

    fn refuse(
        &self,
        field: impl Into<String>,
        value: impl Into<String>,
        expected: impl Into<String>,
    ) -> FileError {
        FileError::Header {
            path: self.path.clone(),
            field: field.into(),
            value: value.into(),
            expected: expected.into(),
        }
    }

    fn is_npy(&self) -> Result<bool, FileError> {
        Ok(self.size >= npy::MAGIC.len() as u64
            && self.bytes(0, npy::MAGIC.len() as u64, "magic")? == npy::MAGIC)
    }

    /// Bytes of the header; the caller has bounded the length.
    fn bytes(&self, position: u64, len: u64, field: &str) -> Result<Vec<u8>, FileError> {
        let end = position.checked_add(len).filter(|&end| end <= self.size);
        if end.is_none() {
            let value = format!("{len} bytes from {position}");
            return Err(self.refuse(field, value, format!("within the {} bytes", self.size)));
        }
        let mut bytes = vec![0; len as usize];
        let read = self.file.read_exact_at(&mut bytes, position);
        read.map_err(|error| self.io(error))?;
        Ok(bytes)
    }

    /// Numbers of a tensor with this shape, within the limits.
    fn count(&self, field: &str, shape: &[u64]) -> Result<u64, FileError> {
        if shape.len() > MAX_DIMENSIONS {
            let value = format!("{} dimensions", shape.len());
            return Err(self.refuse(field, value, format!("at most {MAX_DIMENSIONS}")));
        }
        let count = shape.iter().try_fold(1_u64, |n, side| n.checked_mul(*side));
        let count = count.filter(|&count| count <= MAX_COORDINATES);
        count.ok_or_else(|| {
            let expected = format!("at most {MAX_COORDINATES} numbers");
            self.refuse(field, format!("{shape:?}"), expected)
        })
    }

    /// The vector of these arrays, which fit into the file and are not too many.
    fn update(self, arrays: Vec<(String, Array)>) -> UpdateFile {
        let mut parts = Vec::with_capacity(arrays.len());
        let mut tensors = Vec::with_capacity(arrays.len());
        let mut start = 0;
        for (name, array) in arrays {
            // Bounded by MAX_COORDINATES in all.
            let len = array.shape.iter().product::<u64>() as usize;
            if len > 0 {
                parts.push(Part {
                    number: array.number,
                    position: array.position,
                    start,
                    len,
                });
            }
            start += len;
            let shape = array.shape;
            tensors.push(Tensor { name, shape });
        }
        UpdateFile {
            file: self.file,
            path: self.path,
            tensors,
            parts,
            len: start,
        }
    }
}
