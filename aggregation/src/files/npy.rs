//! The header of a `.npy` file: magic, version, length, and a Python dictionary with exactly the keys `descr`,
//! `fortran_order` and `shape`. Format: NumPy's NEP 1, versions 1.0 to 3.0.

use super::{Array, FileError, MAX_DIMENSIONS, MAX_NPY_HEADER, Number, Opened, shown};

pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

const LENGTH_AT: u64 = 8;

/// The array of floating point numbers that the header announces; it fills the file to its end.
pub(super) fn header(file: &Opened) -> Result<Array, FileError> {
    let (array, descr) = read(file, FLOATS)?;
    match array.number {
        Number::Integer { .. } => Err(file.refuse("descr", shown(&descr), FLOATS)),
        _ => Ok(array),
    }
}

/// The same with integers.
pub(super) fn weights_header(file: &Opened) -> Result<Array, FileError> {
    read(file, NUMBERS).map(|(array, _)| array)
}

const FLOATS: &str = "'<f2', '<f4' or '<f8'";
const NUMBERS: &str = "a little-endian float or integer";

fn read(file: &Opened, expected: &str) -> Result<(Array, String), FileError> {
    let version = file.bytes(MAGIC.len() as u64, 2, "version")?;
    let length_bytes = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(file.refuse("version", other.to_string(), "1, 2 or 3")),
    };
    let mut length = [0; 4];
    let bytes = file.bytes(LENGTH_AT, length_bytes, "header length")?;
    length[..bytes.len()].copy_from_slice(&bytes);
    let length = u32::from_le_bytes(length);
    if length as usize > MAX_NPY_HEADER {
        let expected = format!("at most {MAX_NPY_HEADER}");
        return Err(file.refuse("header length", length.to_string(), expected));
    }
    let start = LENGTH_AT + length_bytes;
    let text = file.bytes(start, u64::from(length), "header")?;
    let fields = std::str::from_utf8(&text).ok().and_then(dictionary);
    let Some(Fields {
        descr,
        fortran_order,
        shape,
    }) = fields
    else {
        let expected = "a dictionary with descr, fortran_order and shape";
        return Err(file.refuse("header", "something else", expected));
    };
    let Some(number) = number(&descr) else {
        return Err(file.refuse("descr", shown(&descr), expected));
    };
    // Up to one dimension both orders are the same.
    if fortran_order && shape.len() > 1 {
        return Err(file.refuse("fortran_order", "True", "False"));
    }
    let count = file.count("shape", &shape)?;
    let position = start + u64::from(length);
    // Neither overflows: count is bounded, the header is small.
    let (expected, found) = (count * number.size(), file.size - position);
    if expected != found {
        let value = format!("{shape:?} with {found} bytes behind it");
        return Err(file.refuse("shape", value, format!("{expected} bytes")));
    }
    let array = Array {
        number,
        shape,
        position,
    };
    Ok((array, descr))
}

fn number(descr: &str) -> Option<Number> {
    let integer = |size, signed| Number::Integer { size, signed };
    Some(match descr {
        "<f4" => Number::F32,
        "<f8" => Number::F64,
        "<f2" => Number::F16,
        "|i1" => integer(1, true),
        "|u1" => integer(1, false),
        "<i2" => integer(2, true),
        "<u2" => integer(2, false),
        "<i4" => integer(4, true),
        "<u4" => integer(4, false),
        "<i8" => integer(8, true),
        "<u8" => integer(8, false),
        _ => return None,
    })
}

struct Fields {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

/// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`: keys in any order, each once.
fn dictionary(text: &str) -> Option<Fields> {
    let mut rest = Rest(text);
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    rest.skip("{")?;
    while rest.skip("}").is_none() {
        let key = rest.string()?;
        rest.skip(":")?;
        let is_first = match key {
            "descr" => descr.replace(rest.string()?.to_owned()).is_none(),
            "fortran_order" => fortran_order.replace(rest.boolean()?).is_none(),
            "shape" => shape.replace(rest.shape()?).is_none(),
            _ => false,
        };
        if !is_first {
            return None;
        }
        if rest.skip(",").is_none() {
            rest.skip("}")?;
            break;
        }
    }
    rest.0.trim().is_empty().then_some(())?;
    Some(Fields {
        descr: descr?,
        fortran_order: fortran_order?,
        shape: shape?,
    })
}

/// What is left of a text.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, token: &str) -> Option<()> {
        self.0 = self.0.trim_start().strip_prefix(token)?;
        Some(())
    }

    /// A quoted string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (string, rest) = text[1..].split_once(quote)?;
        self.0 = rest;
        (!string.contains('\\')).then_some(string)
    }

    fn boolean(&mut self) -> Option<bool> {
        if self.skip("True").is_some() {
            return Some(true);
        }
        self.skip("False").map(|()| false)
    }

    fn shape(&mut self) -> Option<Vec<u64>> {
        let mut sides = Vec::new();
        self.skip("(")?;
        while self.skip(")").is_none() {
            let text = self.0.trim_start();
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            let (digits, rest) = text.split_at(end);
            sides.push(digits.parse().ok()?);
            self.0 = rest;
            // One more than allowed is read, so that the caller can say so.
            (sides.len() <= MAX_DIMENSIONS + 1).then_some(())?;
            if self.skip(",").is_none() {
                // Python has a comma behind a single number.
                (sides.len() > 1).then_some(())?;
                self.skip(")")?;
                break;
            }
        }
        Some(sides)
    }
}

/// The header of an f32 array, padded so that the numbers begin at a multiple of 64 bytes.
pub(super) fn write_header(shape: &[u64]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(u64::to_string).collect();
    let tuple = match sides.as_slice() {
        [one] => format!("({one},)"),
        many => format!("({})", many.join(", ")),
    };
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple}, }}");
    let before = LENGTH_AT as usize + 2;
    let end = (before + text.len() + 1).next_multiple_of(64);
    text.push_str(&" ".repeat(end - before - text.len() - 1));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    // At most 32 sides of 20 digits.
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}
