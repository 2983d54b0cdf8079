//! The frame around every key and ciphertext, and bounded readers of its fields.
//!
//! ```text
//! offset  bytes  field
//!      0      8  magic "CIFERHC\0"
//!      8      2  version, little endian
//!     10      1  kind
//!     11      1  parameter set
//!     12     16  key id
//!     28      8  length of the payload, little endian
//!     36      n  payload
//!   36+n     32  BLAKE3 over everything before
//! ```
//!
//! The digest finds damage and mix-ups. It is no authentication: whoever can rewrite a file can
//! write a digest that fits. So every field of a payload is checked as hostile even when the digest is right.
//! Lengths are checked against the limit of the kind before anything is allocated.

use std::io::Read;

use crate::error::{Error, FormatError};
use crate::keys::KeyId;
use crate::params::{DIMENSION, MAX_PARAMETERS, MAX_VALUES, PARAMETER_SET};

/// First bytes of every file.
pub const MAGIC: [u8; 8] = *b"CIFERHC\0";
/// Version that this build writes and reads.
pub const VERSION: u16 = 1;

const HEADER: usize = 36;
const DIGEST: usize = 32;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// [`crate::PublicKey`]
    PublicKey = 1,
    /// [`crate::PrivateKey`]
    PrivateKey = 2,
    /// [`crate::RelinKey`]
    RelinKey = 3,
    /// [`crate::Scalar`]
    Scalar = 4,
    /// [`crate::PackedVector`]
    Vector = 5,
    /// [`crate::majority::SignSum`]
    Signs = 6,
    /// [`crate::majority::Majority`]
    Majority = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::PublicKey,
        Self::PrivateKey,
        Self::RelinKey,
        Self::Scalar,
        Self::Vector,
        Self::Signs,
        Self::Majority,
    ];

    /// The kind in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::PublicKey => "a public key",
            Self::PrivateKey => "a private key",
            Self::RelinKey => "a relinearization key",
            Self::Scalar => "an encrypted integer",
            Self::Vector => "an encrypted vector",
            Self::Signs => "encrypted signs",
            Self::Majority => "an encrypted majority",
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Bytes that a payload of this kind may have.
    fn max_payload(self) -> u64 {
        let words = match self {
            Self::PublicKey => 2 * DIMENSION,
            Self::PrivateKey => DIMENSION / 64,
            Self::RelinKey => 8 << 20,
            Self::Scalar => 64 * (DIMENSION + 1),
            // Five limbs; mask and body of every chunk.
            Self::Vector => 5 * 2 * (MAX_VALUES + DIMENSION),
            Self::Signs => 2 * (MAX_PARAMETERS + DIMENSION),
            // Three bytes a word are under half of eight.
            Self::Majority => MAX_PARAMETERS * (DIMENSION + 1) / 2,
        };
        words as u64 * 8 + 64
    }
}

/// Something with a frame: it can be written, and read back after every check.
pub trait Frame: Sized {
    /// The kind in the header.
    const KIND: Kind;

    /// Id of the key pair it belongs to.
    fn key_id(&self) -> KeyId;

    /// The payload, without header and digest.
    fn payload(&self) -> Vec<u8>;

    /// Reads a payload whose frame was checked. Its content is hostile.
    fn from_payload(key_id: KeyId, payload: &[u8]) -> Result<Self, FormatError>;

    /// Header, payload and digest.
    fn to_bytes(&self) -> Vec<u8> {
        seal(Self::KIND, self.key_id(), &self.payload())
    }

    /// Reads exactly one frame.
    ///
    /// # Errors
    ///
    /// [`FormatError`], naming what is wrong: another kind, version or parameter set, truncated,
    /// altered, or a field with a value that no honest writer produces.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (key_id, payload) = open(Self::KIND, bytes)?;
        Ok(Self::from_payload(key_id, payload)?)
    }
}

/// Puts a frame around a payload.
pub(crate) fn seal(kind: Kind, key_id: KeyId, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len() + DIGEST);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.push(kind as u8);
    bytes.push(PARAMETER_SET);
    bytes.extend_from_slice(&key_id.0);
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(payload);
    let digest = blake3::hash(&bytes);
    bytes.extend_from_slice(digest.as_bytes());
    bytes
}

struct Header {
    kind: u8,
    key_id: KeyId,
    payload: u64,
}

impl Header {
    /// Checks everything that a header can tell, the length last.
    fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let known = bytes.len().min(MAGIC.len());
        if bytes[..known] != MAGIC[..known] {
            return Err(FormatError::Magic);
        }
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(FormatError::Truncated {
                expected: HEADER as u64,
                found: bytes.len() as u64,
            });
        };
        let mut fields = Fields::new(&header[MAGIC.len()..]);
        let version = u16::from_le_bytes(fields.array()?);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let kind = fields.u8()?;
        let parameters = fields.u8()?;
        if parameters != PARAMETER_SET {
            return Err(FormatError::Parameters(parameters));
        }
        Ok(Self {
            kind,
            key_id: KeyId(fields.array()?),
            payload: fields.u64()?,
        })
    }

    fn expect(&self, kind: Kind) -> Result<(), FormatError> {
        if self.kind != kind as u8 {
            let found = match Kind::from_byte(self.kind) {
                Some(found) => found.name().to_owned(),
                None => format!("kind {}", self.kind),
            };
            return Err(FormatError::Kind {
                expected: kind.name(),
                found,
            });
        }
        let limit = kind.max_payload();
        if self.payload > limit {
            let value = self.payload;
            return Err(FormatError::TooLarge {
                field: "payload",
                value,
                limit,
            });
        }
        Ok(())
    }
}

/// The kind that the frame at the start of `bytes` claims to be.
///
/// # Errors
///
/// When the bytes are no frame of this version and parameter set.
pub fn peek(bytes: &[u8]) -> Result<Kind, FormatError> {
    let header = Header::read(bytes)?;
    Kind::from_byte(header.kind).ok_or(FormatError::Field {
        field: "kind",
        value: u64::from(header.kind),
        expected: "1 to 7".to_owned(),
    })
}

/// Checks a frame and hands out its key id and payload.
pub(crate) fn open(kind: Kind, bytes: &[u8]) -> Result<(KeyId, &[u8]), FormatError> {
    let header = Header::read(bytes)?;
    header.expect(kind)?;
    let expected = HEADER as u64 + header.payload + DIGEST as u64;
    let found = bytes.len() as u64;
    if found < expected {
        return Err(FormatError::Truncated { expected, found });
    }
    if found > expected {
        return Err(FormatError::Trailing(found - expected));
    }
    let (content, digest) = bytes.split_at(bytes.len() - DIGEST);
    if blake3::hash(content) != *digest {
        return Err(FormatError::Digest);
    }
    Ok((header.key_id, &content[HEADER..]))
}

/// Reads the next frame of a stream, header to digest; `None` at its end.
///
/// # Errors
///
/// [`FormatError`] when the header is refused, before memory is taken for the payload, or when the
/// stream ends inside the frame.
pub fn read_frame(reader: &mut impl Read, kind: Kind) -> Result<Option<Vec<u8>>, FormatError> {
    let failed = |e: std::io::Error| FormatError::Read(e.to_string());
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(HEADER as u64)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let header = Header::read(&bytes)?;
    header.expect(kind)?;
    let rest = header.payload + DIGEST as u64;
    reader
        .by_ref()
        .take(rest)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let expected = HEADER as u64 + rest;
    if (bytes.len() as u64) < expected {
        return Err(FormatError::Truncated {
            expected,
            found: bytes.len() as u64,
        });
    }
    Ok(Some(bytes))
}

/// Reads fields from the front of a payload, never past its end.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            let found = self.rest.len() as u64;
            return Err(FormatError::Truncated {
                expected: N as u64,
                found,
            });
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A byte within `range`.
    pub(crate) fn bounded(
        &mut self,
        field: &'static str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<u64, FormatError> {
        let value = u64::from(self.u8()?);
        within(field, value, range)
    }

    /// What is left, which must be `bytes` long.
    pub(crate) fn rest(self, bytes: usize) -> Result<&'a [u8], FormatError> {
        let (expected, found) = (bytes as u64, self.rest.len() as u64);
        match found.cmp(&expected) {
            std::cmp::Ordering::Less => Err(FormatError::Truncated { expected, found }),
            std::cmp::Ordering::Greater => Err(FormatError::Trailing(found - expected)),
            std::cmp::Ordering::Equal => Ok(self.rest),
        }
    }

    /// What is left, as exactly `count` little-endian words.
    pub(crate) fn words(self, count: usize) -> Result<Vec<u64>, FormatError> {
        let bytes = self.rest(count * 8)?;
        Ok(bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect())
    }
}

/// Refuses a value outside `range`.
pub(crate) fn within(
    field: &'static str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, FormatError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let expected = format!("{} to {}", range.start(), range.end());
    Err(FormatError::Field {
        field,
        value,
        expected,
    })
}

/// Appends words, little endian.
pub(crate) fn put_words(out: &mut Vec<u8>, words: &[u64]) {
    out.reserve(words.len() * 8);
    for word in words {
        out.extend_from_slice(&word.to_le_bytes());
    }
}
