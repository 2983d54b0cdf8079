//! MNIST (or a set of the same shape) from a folder with the four IDX files.
//!
//! IDX, from <http://yann.lecun.com/exdb/mnist/>: big-endian `u32`s (magic, count and for images rows and
//! columns), then one byte a pixel or label. Files are hostile until checked: nothing is read or
//! allocated beyond the bound of its kind, and every header field has one legal value or range.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::dataset::{Dataset, Split};
use crate::error::{TrainingError, expect};

const IMAGE_MAGIC: u64 = 0x0803;
const LABEL_MAGIC: u64 = 0x0801;
const SIDE: u64 = 28;
const PIXELS: usize = 784;
const IMAGE_HEADER_BYTES: usize = 16;
const LABEL_HEADER_BYTES: usize = 8;
const CLASSES: u8 = 10;

/// MNIST has 60,000 images a file; 100,000 of 784 bytes are 78 MB.
const MAX_ITEMS: u64 = 100_000;

const FETCH_HINT: &str = "; `scripts/fetch-mnist` downloads MNIST";

/// Where `scripts/fetch-mnist` puts the files: `$XDG_DATA_HOME/cifer/mnist`, else
/// `$HOME/.local/share/cifer/mnist`. None without either variable.
pub(crate) fn default_mnist_dir() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = set("XDG_DATA_HOME").or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("cifer/mnist"))
}

/// Loads the train and test set from the four uncompressed IDX files in `dir`.
///
/// # Errors
/// If a file is missing or not what its format says.
pub fn load_mnist(dir: &Path) -> Result<Split, TrainingError> {
    Ok(Split {
        train: load_pair(dir, "train")?,
        test: load_pair(dir, "t10k")?,
    })
}

fn load_pair(dir: &Path, prefix: &str) -> Result<Dataset, TrainingError> {
    let pixels = decode_mnist_images(read_bounded(
        &dir.join(format!("{prefix}-images-idx3-ubyte")),
        IMAGE_HEADER_BYTES as u64 + MAX_ITEMS * PIXELS as u64,
    )?)?;
    let labels = decode_mnist_labels(read_bounded(
        &dir.join(format!("{prefix}-labels-idx1-ubyte")),
        LABEL_HEADER_BYTES as u64 + MAX_ITEMS,
    )?)?;
    expect(
        "MNIST labels: count",
        labels.len() as u64,
        (pixels.len() / PIXELS) as u64,
    )?;
    Dataset::new(PIXELS, CLASSES, u8::MAX, pixels, labels)
}

/// The pixels of an IDX image file, header removed: at most 100,000 images of 28x28.
///
/// # Errors
/// If magic, count, rows, columns or length is not as the format says.
pub fn decode_mnist_images(mut bytes: Vec<u8>) -> Result<Vec<u8>, TrainingError> {
    expect(
        "MNIST images: magic",
        field("MNIST images: magic", &bytes, 0)?,
        IMAGE_MAGIC,
    )?;
    let count = checked_count(
        "MNIST images: count",
        field("MNIST images: count", &bytes, 1)?,
    )?;
    expect(
        "MNIST images: rows",
        field("MNIST images: rows", &bytes, 2)?,
        SIDE,
    )?;
    expect(
        "MNIST images: columns",
        field("MNIST images: columns", &bytes, 3)?,
        SIDE,
    )?;
    let expected = IMAGE_HEADER_BYTES as u64 + count * PIXELS as u64;
    expect(
        "MNIST images: length in bytes",
        bytes.len() as u64,
        expected,
    )?;
    bytes.drain(..IMAGE_HEADER_BYTES);
    Ok(bytes)
}

/// The labels of an IDX label file, header removed: at most 100,000, each 0..=9.
///
/// # Errors
/// If magic, count, length or a label is not as the format says.
pub fn decode_mnist_labels(mut bytes: Vec<u8>) -> Result<Vec<u8>, TrainingError> {
    expect(
        "MNIST labels: magic",
        field("MNIST labels: magic", &bytes, 0)?,
        LABEL_MAGIC,
    )?;
    let count = checked_count(
        "MNIST labels: count",
        field("MNIST labels: count", &bytes, 1)?,
    )?;
    let expected = LABEL_HEADER_BYTES as u64 + count;
    expect(
        "MNIST labels: length in bytes",
        bytes.len() as u64,
        expected,
    )?;
    bytes.drain(..LABEL_HEADER_BYTES);
    if let Some(label) = bytes.iter().find(|&&label| label >= CLASSES) {
        return Err(TrainingError::out_of_range(
            "MNIST labels: label",
            label,
            "0..10",
        ));
    }
    Ok(bytes)
}

/// Header word `index`; a file too short for it has the value's length wrong.
fn field(name: &'static str, bytes: &[u8], index: usize) -> Result<u64, TrainingError> {
    let word = bytes
        .get(index * 4..index * 4 + 4)
        .and_then(|word| word.try_into().ok());
    word.map(|word| u64::from(u32::from_be_bytes(word)))
        .ok_or_else(|| {
            TrainingError::out_of_range(
                name,
                format!("missing in {} bytes", bytes.len()),
                "4 bytes, big-endian",
            )
        })
}

fn checked_count(name: &'static str, count: u64) -> Result<u64, TrainingError> {
    if (1..=MAX_ITEMS).contains(&count) {
        Ok(count)
    } else {
        Err(TrainingError::out_of_range(
            name,
            count,
            format!("1..={MAX_ITEMS}"),
        ))
    }
}

/// The file's bytes if there are at most `max_bytes`, whatever its metadata says.
fn read_bounded(path: &Path, max_bytes: u64) -> Result<Vec<u8>, TrainingError> {
    let io = |source| TrainingError::Io {
        path: path.to_owned(),
        source,
        hint: FETCH_HINT,
    };
    let file = File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::with_capacity(length.min(max_bytes) as usize + 1);
    file.take(max_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > max_bytes {
        return Err(TrainingError::out_of_range(
            "MNIST file: length in bytes",
            format!("more than {max_bytes}"),
            format!("at most {max_bytes}"),
        ));
    }
    Ok(bytes)
}
