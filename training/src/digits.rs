//! The UCI optical digits, embedded: 1,797 images of 8x8 pixels (see `data/README.md`).

use crate::dataset::Dataset;
use crate::error::{TrainingError, expect};

/// 117 KB: 1,797 records of 64 pixels and a label.
static DIGITS: &[u8] = include_bytes!("../data/digits.bin");

const IMAGES: usize = 1_797;
const PIXELS: usize = 64;
const RECORD_BYTES: usize = PIXELS + 1;
const MAX_PIXEL: u8 = 16;
const CLASSES: u8 = 10;

/// The embedded digits, in the order of the source.
///
/// # Errors
/// None with the file that the crate was built from; a damaged one is refused.
pub fn digits() -> Result<Dataset, TrainingError> {
    decode_digits(DIGITS)
}

/// Decodes the format of `digits.bin`: exactly 1,797 records of 64 pixels (0..=16) and a label
/// (0..=9).
///
/// # Errors
/// If length, a pixel or a label is not as the format says.
pub fn decode_digits(bytes: &[u8]) -> Result<Dataset, TrainingError> {
    expect(
        "digits.bin: length in bytes",
        bytes.len() as u64,
        (IMAGES * RECORD_BYTES) as u64,
    )?;
    let mut pixels = Vec::with_capacity(IMAGES * PIXELS);
    let mut labels = Vec::with_capacity(IMAGES);
    for record in bytes.chunks_exact(RECORD_BYTES) {
        pixels.extend_from_slice(&record[..PIXELS]);
        labels.push(record[PIXELS]);
    }
    Dataset::new(PIXELS, CLASSES, MAX_PIXEL, pixels, labels)
}
