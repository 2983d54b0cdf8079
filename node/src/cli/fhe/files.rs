//! Reading of numbers, keys and ciphertexts, with limits that hold before memory is taken.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::str::FromStr;

use cifer_homocryption::format::{Kind, peek, read_frame};
use cifer_homocryption::{Error, FormatError, Frame, PackedVector, Scalar};
use cifer_node::error::{Exit, Failure};
use eyre::WrapErr;

/// Scalars of one file: 150 MB once they are relinearized.
pub(super) const MAX_SCALARS: usize = 256;

/// Bytes of a file of numbers.
const MAX_TEXT: u64 = 512 << 20;

/// Bytes that say what a file is: magic, version, kind, parameter set, key id, length.
const HEADER: u64 = 36;

/// The ciphertexts of one file.
pub(super) enum Encrypted {
    /// A frame for each number.
    Scalars(Vec<Scalar>),
    /// One frame for all.
    Vector(PackedVector),
}

/// A file with one key or ciphertext of a known kind.
pub(super) fn one<T: Frame>(path: &Path) -> eyre::Result<T> {
    only(&mut open(path)?).wrap_err_with(|| refused(path))
}

/// A file of encrypted numbers, whatever their form.
pub(super) fn encrypted(path: &Path) -> eyre::Result<Encrypted> {
    let mut file = open(path)?;
    let mut header = Vec::new();
    file.by_ref()
        .take(HEADER)
        .read_to_end(&mut header)
        .wrap_err_with(|| unreadable(path))?;
    let kind = peek(&header).map_err(Error::from);
    let mut whole = header.as_slice().chain(file);
    match kind {
        Ok(Kind::Vector) => only(&mut whole).map(Encrypted::Vector),
        Ok(_) => frames(&mut whole).map(Encrypted::Scalars),
        Err(error) => Err(error),
    }
    .wrap_err_with(|| refused(path))
}

/// A file of encrypted scalars.
pub(super) fn scalars(path: &Path) -> eyre::Result<Vec<Scalar>> {
    frames(&mut open(path)?).wrap_err_with(|| refused(path))
}

fn open(path: &Path) -> eyre::Result<BufReader<File>> {
    let file = File::open(path).wrap_err_with(|| unreadable(path))?;
    Ok(BufReader::new(file))
}

fn unreadable(path: &Path) -> String {
    format!("{} cannot be read", path.display())
}

fn refused(path: &Path) -> String {
    format!("{} was refused", path.display())
}

/// One frame and then the end.
fn only<T: Frame>(reader: &mut impl Read) -> Result<T, Error> {
    let frame = read_frame(reader, T::KIND)?.unwrap_or_default();
    let mut rest = Vec::new();
    reader
        .take(1)
        .read_to_end(&mut rest)
        .map_err(|error| FormatError::Read(error.to_string()))?;
    if !rest.is_empty() {
        return Err(FormatError::Trailing(1).into());
    }
    T::from_bytes(&frame)
}

/// Frames of scalars up to the end, at least one.
fn frames(reader: &mut impl Read) -> Result<Vec<Scalar>, Error> {
    let mut scalars = Vec::new();
    while let Some(frame) = read_frame(reader, Kind::Scalar)? {
        if scalars.len() == MAX_SCALARS {
            return Err(Error::Limit {
                field: "scalars",
                value: MAX_SCALARS as u64 + 1,
                limit: format!("at most {MAX_SCALARS}"),
            });
        }
        scalars.push(Scalar::from_bytes(&frame)?);
    }
    if scalars.is_empty() {
        return Err(Error::Limit {
            field: "scalars",
            value: 0,
            limit: format!("1 to {MAX_SCALARS}"),
        });
    }
    Ok(scalars)
}

/// Numbers of a text file, separated by white space.
pub(super) fn numbers<T: FromStr>(path: &Path) -> eyre::Result<Vec<T>> {
    let mut text = String::new();
    open(path)?
        .take(MAX_TEXT + 1)
        .read_to_string(&mut text)
        .wrap_err_with(|| unreadable(path))?;
    if text.len() as u64 > MAX_TEXT {
        let text = format!("{} has more than {MAX_TEXT} bytes", path.display());
        return Err(Failure::new(Exit::Refused, text, "split it into several files").into());
    }
    let mut numbers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in line.split_whitespace() {
            numbers.push(word.parse().map_err(|_| {
                let kind = std::any::type_name::<T>();
                let text = format!("{}:{}: {word:.40} is no {kind}", path.display(), index + 1);
                let next = "write one number a line; for fractions there is --as fixed";
                Failure::new(Exit::Refused, text, next)
            })?);
        }
    }
    if numbers.is_empty() {
        let text = format!("{} has no numbers", path.display());
        return Err(Failure::new(Exit::Refused, text, "write one number a line").into());
    }
    Ok(numbers)
}
