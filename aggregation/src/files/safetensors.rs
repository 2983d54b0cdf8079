//! The header of a safetensors file: its length in 8 bytes, then JSON that gives each tensor its dtype, its shape
//! and where in the data behind the header it lies. Format: the README of the safetensors project,
//! which also asks for no duplicate names and no holes in the data.

use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{
    Array, FileError, MAX_DIMENSIONS, MAX_SAFETENSORS_HEADER, MAX_TENSORS, Number, Opened, Tensor,
    shown,
};

const LENGTH_BYTES: u64 = 8;

/// A key that is no tensor.
const METADATA: &str = "__metadata__";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "sides")]
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Reads a shape, of which every side takes more memory than it took in the header.
fn sides<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct SidesVisitor;
    impl<'de> Visitor<'de> for SidesVisitor {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the sides of a tensor")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut sides = Vec::new();
            while let Some(side) = list.next_element()? {
                if sides.len() == MAX_DIMENSIONS {
                    let limit = format!("more than {MAX_DIMENSIONS} dimensions");
                    return Err(A::Error::custom(limit));
                }
                sides.push(side);
            }
            Ok(sides)
        }
    }
    deserializer.deserialize_seq(SidesVisitor)
}

/// Tensors by name in the order of the file; the same name may stand there twice.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;
        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == METADATA {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        continue;
                    }
                    if entries.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    entries.push((name, map.next_value()?));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor)
    }
}

/// The tensors by name, ascending. Together they fill the data to the end of the file.
pub(super) fn header(file: &Opened) -> Result<Vec<(String, Array)>, FileError> {
    let length = file.bytes(0, LENGTH_BYTES, "header length")?;
    let length = u64::from_le_bytes(length.try_into().unwrap_or_default());
    let limit = MAX_SAFETENSORS_HEADER.min(file.size - LENGTH_BYTES);
    if length > limit {
        let value = length.to_string();
        return Err(file.refuse("header length", value, format!("at most {limit}")));
    }
    let json = file.bytes(LENGTH_BYTES, length, "header")?;
    let entries: Entries = serde_json::from_slice(&json)
        .map_err(|error| file.refuse("header", shown(&error.to_string()), "JSON of tensors"))?;
    let data = LENGTH_BYTES + length;
    let (mut tensors, mut ranges) = (Vec::new(), Vec::new());
    let mut left = super::MAX_COORDINATES;
    for (name, entry) in entries.0 {
        if name.is_empty() {
            return Err(file.refuse("tensor", shown(&name), "a name"));
        }
        let array = array(file, &name, &entry, data, &mut left)?;
        ranges.push(entry.data_offsets);
        tensors.push((name, array));
    }
    no_holes(file, ranges, file.size - data)?;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    match tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(file.refuse("tensor", shown(&pair[0].0), "each name once")),
        None => Ok(tensors),
    }
}

fn array(
    file: &Opened,
    name: &str,
    entry: &Entry,
    data: u64,
    left: &mut u64,
) -> Result<Array, FileError> {
    let field = |what| format!("{what} of tensor {}", shown(name));
    let number = match entry.dtype.as_str() {
        "F32" => Number::F32,
        "F64" => Number::F64,
        "F16" => Number::F16,
        "BF16" => Number::Bf16,
        other => return Err(file.refuse(field("dtype"), shown(other), "F16, BF16, F32 or F64")),
    };
    let count = file.count(&field("shape"), &entry.shape)?;
    *left = left.checked_sub(count).ok_or_else(|| {
        let expected = format!("at most {} numbers in all tensors", super::MAX_COORDINATES);
        file.refuse(field("shape"), format!("{:?}", entry.shape), expected)
    })?;
    let [begin, end] = entry.data_offsets;
    let bytes = count * number.size();
    if end.checked_sub(begin) != Some(bytes) || end > file.size - data {
        let expected = format!("{bytes} bytes within {}", file.size - data);
        let value = format!("{:?}", entry.data_offsets);
        return Err(file.refuse(field("data_offsets"), value, expected));
    }
    Ok(Array {
        number,
        shape: entry.shape.clone(),
        position: data + begin,
    })
}

fn no_holes(file: &Opened, mut ranges: Vec<[u64; 2]>, size: u64) -> Result<(), FileError> {
    ranges.sort_unstable();
    let mut at = 0;
    for range in ranges.into_iter().chain([[size, size]]) {
        if range[0] != at {
            let expected = "every byte of the data in one tensor";
            return Err(file.refuse("data_offsets", format!("{at} to {}", range[0]), expected));
        }
        at = range[1];
    }
    Ok(())
}

/// The header of f32 tensors one after the other, padded so that the data begin at a multiple of 8 bytes.
pub(super) fn write_header(tensors: &[Tensor]) -> Result<Vec<u8>, serde_json::Error> {
    let mut at = 0;
    let mut map = serde_json::Map::new();
    for tensor in tensors {
        let end = at + 4 * tensor.shape.iter().product::<u64>();
        let entry = Entry {
            dtype: "F32".into(),
            shape: tensor.shape.clone(),
            data_offsets: [at, end],
        };
        map.insert(tensor.name.clone(), serde_json::to_value(entry)?);
        at = end;
    }
    let mut json = serde_json::to_vec(&map)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}
