//! Bodies, the ciphertexts: a header of 64 bytes and one chunk a polynomial.
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | `CFRB` |
//! | 4..6 | version |
//! | 6..8 | 1 where a weight goes before the values, else 0 |
//! | 8..12 | contributors of the layout |
//! | 12..16 | largest value of the layout |
//! | 16..20 | bodies in this sum, 1 for a contributor's |
//! | 20..24 | zero |
//! | 24..32 | number of values |
//! | 32..64 | digest of the group |

use std::io::Read;

use super::bytes::{Input, start};
use super::error::RingError;
use super::layout::{Layout, check_values};
use super::params::CHUNK_BYTES;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = *b"CFRB";

/// What a body says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHeader {
    /// Packing, and how many bodies a sum may hold.
    pub layout: Layout,
    /// Whether a weight goes before the values.
    pub weighted: bool,
    /// Bodies in this sum.
    pub summed: u32,
    /// Values, the weight not counted.
    pub values: u64,
    /// [`super::GroupContext::digest`].
    pub group: [u8; 32],
}

impl BodyHeader {
    /// Slots that are in use.
    pub(super) fn used(&self) -> u64 {
        self.values + u64::from(self.weighted)
    }

    /// Chunks that follow the header.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.layout.chunks(self.used())
    }

    /// Bytes of the whole body.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.chunks() * CHUNK_BYTES as u64
    }

    /// Canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut out = start(MAGIC, HEADER_BYTES);
        out.extend_from_slice(&u16::from(self.weighted).to_le_bytes());
        out.extend_from_slice(&self.layout.contributors().to_le_bytes());
        out.extend_from_slice(&self.layout.value_max().to_le_bytes());
        out.extend_from_slice(&self.summed.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.values.to_le_bytes());
        let mut bytes = [0; HEADER_BYTES];
        bytes[..32].copy_from_slice(&out);
        bytes[32..].copy_from_slice(&self.group);
        bytes
    }

    /// # Errors
    /// [`RingError::Malformed`], and what [`Layout::new`] refuses.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RingError> {
        let mut input = Input::new("body header", MAGIC, bytes)?;
        let weighted = match input.u16()? {
            0 => false,
            1 => true,
            _ => return Err(input.error("flags other than 0 and 1")),
        };
        let layout = Layout::new(input.u32()?, input.u32()?)?;
        let summed = input.u32()?;
        if input.u32()? != 0 {
            return Err(input.error("reserved bytes are not zero"));
        }
        let values = input.u64()?;
        let group = input.array()?;
        input.finish()?;
        check_values(values)?;
        if summed == 0 || summed > layout.contributors() {
            return Err(RingError::TooManyBodies {
                summed: summed.into(),
                contributors: layout.contributors(),
            });
        }
        Ok(Self {
            layout,
            weighted,
            summed,
            values,
            group,
        })
    }

    /// Header of the sum of bodies with these headers.
    ///
    /// # Errors
    /// [`RingError::Mismatch`] where they are not of one group, layout and length, and [`RingError::TooManyBodies`].
    pub fn sum(headers: &[Self]) -> Result<Self, RingError> {
        let first = *headers
            .first()
            .ok_or(RingError::range("bodies", 0_u32, "at least 1"))?;
        let mut summed = 0;
        for (index, header) in headers.iter().enumerate() {
            if (Self {
                summed: first.summed,
                ..*header
            }) != first
            {
                return Err(RingError::Mismatch {
                    field: "group, layout or length",
                    left: format!("body {index}"),
                    right: "body 0".to_owned(),
                });
            }
            summed += u64::from(header.summed);
        }
        let contributors = first.layout.contributors();
        match u32::try_from(summed) {
            Ok(summed) if summed <= contributors => Ok(Self { summed, ..first }),
            _ => Err(RingError::TooManyBodies {
                summed,
                contributors,
            }),
        }
    }
}

/// Chunk after chunk of several bodies of one header, from wherever they are.
pub trait Bodies {
    /// The headers, in order.
    fn headers(&self) -> &[BodyHeader];

    /// How many chunks of each body may be asked for at once.
    fn batch(&self) -> usize;

    /// The next `count` chunks of each body.
    ///
    /// # Errors
    /// A source that ends early or cannot be read.
    fn next(&mut self, count: usize) -> Result<Vec<&[[u8; CHUNK_BYTES]]>, RingError>;

    /// Called after the last chunk.
    ///
    /// # Errors
    /// Bytes after the end.
    fn finish(&mut self) -> Result<(), RingError>;
}

/// Bodies in memory, or in files that are mapped into it. Nothing is copied.
pub struct Mapped<'a> {
    headers: Vec<BodyHeader>,
    rest: Vec<&'a [[u8; CHUNK_BYTES]]>,
}

impl<'a> Mapped<'a> {
    /// # Errors
    /// A header that does not decode, or a length that is not the one it implies.
    pub fn new(bodies: &[&'a [u8]]) -> Result<Self, RingError> {
        let mut mapped = Self {
            headers: Vec::new(),
            rest: Vec::new(),
        };
        for body in bodies {
            let (head, tail) = body
                .split_at_checked(HEADER_BYTES)
                .ok_or(RingError::malformed("body", "shorter than its header"))?;
            let header = BodyHeader::from_bytes(head)?;
            if body.len() as u64 != header.body_bytes() {
                return Err(RingError::malformed(
                    "body",
                    "another length than its header implies",
                ));
            }
            mapped.headers.push(header);
            mapped.rest.push(tail.as_chunks().0);
        }
        Ok(mapped)
    }
}

impl Bodies for Mapped<'_> {
    fn headers(&self) -> &[BodyHeader] {
        &self.headers
    }

    fn batch(&self) -> usize {
        1_024
    }

    fn next(&mut self, count: usize) -> Result<Vec<&[[u8; CHUNK_BYTES]]>, RingError> {
        self.rest
            .iter_mut()
            .map(|rest| {
                let (now, later) = rest
                    .split_at_checked(count)
                    .ok_or(RingError::malformed("body", "too short"))?;
                *rest = later;
                Ok(now)
            })
            .collect()
    }

    fn finish(&mut self) -> Result<(), RingError> {
        Ok(())
    }
}

/// Chunks that all buffers of [`Streamed`] hold together: 24 MiB.
const STREAMED_CHUNKS: usize = 2_048;

/// Bodies that are read as they are needed. Holds at most 24 MiB, whatever the number and the length of the bodies.
pub struct Streamed<R> {
    headers: Vec<BodyHeader>,
    readers: Vec<R>,
    buffers: Vec<Vec<[u8; CHUNK_BYTES]>>,
}

impl<R: Read> Streamed<R> {
    /// Reads the headers.
    ///
    /// # Errors
    /// A header that cannot be read or does not decode.
    pub fn new(mut readers: Vec<R>) -> Result<Self, RingError> {
        let mut headers = Vec::with_capacity(readers.len());
        for reader in &mut readers {
            let mut bytes = [0; HEADER_BYTES];
            reader.read_exact(&mut bytes)?;
            headers.push(BodyHeader::from_bytes(&bytes)?);
        }
        let buffers = readers.iter().map(|_| Vec::new()).collect();
        Ok(Self {
            headers,
            readers,
            buffers,
        })
    }
}

impl<R: Read> Bodies for Streamed<R> {
    fn headers(&self) -> &[BodyHeader] {
        &self.headers
    }

    fn batch(&self) -> usize {
        (STREAMED_CHUNKS / self.readers.len().max(1)).clamp(2, 64)
    }

    fn next(&mut self, count: usize) -> Result<Vec<&[[u8; CHUNK_BYTES]]>, RingError> {
        for (reader, buffer) in self.readers.iter_mut().zip(&mut self.buffers) {
            buffer.resize(count, [0; CHUNK_BYTES]);
            reader.read_exact(buffer.as_flattened_mut())?;
        }
        Ok(self.buffers.iter().map(Vec::as_slice).collect())
    }

    fn finish(&mut self) -> Result<(), RingError> {
        for reader in &mut self.readers {
            if reader.read(&mut [0])? != 0 {
                return Err(RingError::malformed("body", "bytes after the end"));
            }
        }
        Ok(())
    }
}
