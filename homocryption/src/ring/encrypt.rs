//! From a stream of values to a body, chunk by chunk on all cores, with a few megabytes of memory whatever the length.
//!
//! Chunk j of a body is `a_j s + e_j + spread * m_j`: the group's mask times the key, an error of its own, and the packed values.

use std::io::{Read, Write};

use pulp::Arch;
use rand_core::{CryptoRng, RngCore};
use rayon::prelude::*;
use zeroize::Zeroize;

use super::body::BodyHeader;
use super::error::RingError;
use super::gauss::Sampler;
use super::key::ContributorKey;
use super::keystream::{Purpose, StreamKey};
use super::layout::{Layout, check_values};
use super::mask::{Mask, MaskScratch};
use super::params::{CHUNK_BYTES, DEGREE, MODULUS};
use super::planes;
use super::quantise::Encoder;
use super::transform::KeyTransform;

/// Chunks in work at once: their values and bodies are the memory that [`encrypt`] needs. With four values a coefficient 3 MiB.
const BATCH: usize = 64;

/// Encrypts `values` 4-byte values of `source` into `sink`, and uses the key up.
///
/// A failure leaves a useless part in `sink`, and the key is gone: start over with a new one.
///
/// # Errors
/// [`RingError::Mismatch`] for an encoder that the layout was not made for, [`RingError::Length`] for a source of another
/// length, values that have no encoding, and I/O.
pub fn encrypt(
    key: ContributorKey,
    layout: &Layout,
    encoder: &impl Encoder,
    values: u64,
    mut source: impl Read,
    mut sink: impl Write,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<BodyHeader, RingError> {
    check_values(values)?;
    if encoder.value_max() != layout.value_max() {
        return Err(RingError::Mismatch {
            field: "largest value",
            left: format!("encoder ({})", encoder.value_max()),
            right: format!("layout ({})", layout.value_max()),
        });
    }
    let weighted = encoder.weight().is_some();
    let header = BodyHeader {
        layout: *layout,
        weighted,
        summed: 1,
        values,
        group: key.group.digest(),
    };
    let work = Work::new(&key, layout, encoder, &header, rng);
    drop(key);
    sink.write_all(&header.to_bytes())?;

    let mut input = Plain(Vec::new());
    let mut output = vec![[0; CHUNK_BYTES]; BATCH];
    let (mut chunk, mut read) = (0, 0);
    while chunk < header.chunks() {
        let count = (header.chunks() - chunk).min(BATCH as u64);
        let end = ((chunk + count) * layout.chunk_values() as u64).min(header.used())
            - u64::from(weighted);
        input.0.resize((end - read) as usize, [0; 4]);
        fill(&mut source, input.0.as_flattened_mut(), values, read)?;
        let output = &mut output[..count as usize];
        output.par_iter_mut().enumerate().try_for_each_init(
            Scratch::new,
            |scratch, (place, output)| {
                work.chunk(chunk + place as u64, read, &input.0, scratch, output)
            },
        )?;
        sink.write_all(output.as_flattened())?;
        chunk += count;
        read = end;
    }
    if source.read(&mut [0])? != 0 {
        return Err(RingError::Length {
            expected: values,
            found: values + 1,
        });
    }
    Ok(header)
}

/// Values in the clear, wiped on drop.
struct Plain(Vec<[u8; 4]>);

impl Drop for Plain {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn fill(
    source: &mut impl Read,
    mut out: &mut [u8],
    expected: u64,
    read: u64,
) -> Result<(), RingError> {
    let whole = out.len();
    while !out.is_empty() {
        match source.read(out) {
            Ok(0) => {
                let found = read + ((whole - out.len()) / 4) as u64;
                return Err(RingError::Length { expected, found });
            }
            Ok(length) => out = &mut out[length..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What all chunks of one body share.
struct Work<'a, E> {
    layout: &'a Layout,
    encoder: &'a E,
    header: &'a BodyHeader,
    mask: Mask,
    key: KeyTransform,
    errors: StreamKey,
}

/// Buffers of one thread.
struct Scratch {
    mask: MaskScratch,
    sampler: Sampler,
    slots: Vec<u32>,
    coefficients: Box<[u64; DEGREE]>,
}

impl Scratch {
    fn new() -> Self {
        Self {
            mask: MaskScratch::new(),
            sampler: Sampler::new(),
            slots: Vec::new(),
            coefficients: Box::new([0; DEGREE]),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.slots.zeroize();
        self.coefficients.zeroize();
        self.mask.wipe();
    }
}

impl<'a, E: Encoder> Work<'a, E> {
    fn new(
        key: &ContributorKey,
        layout: &'a Layout,
        encoder: &'a E,
        header: &'a BodyHeader,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Self {
        Self {
            layout,
            encoder,
            header,
            mask: Mask::new(&key.group),
            key: KeyTransform::of(&key.coefficients),
            errors: StreamKey::fresh(rng),
        }
    }

    /// Encrypts one chunk. `input` holds the values from index `read` on.
    fn chunk(
        &self,
        chunk: u64,
        read: u64,
        input: &[[u8; 4]],
        scratch: &mut Scratch,
        output: &mut [u8; CHUNK_BYTES],
    ) -> Result<(), RingError> {
        self.encode(chunk, read, input, &mut scratch.slots)?;
        self.mask.chunk(chunk, &mut scratch.mask);
        self.key
            .product(&mut scratch.mask.residues, &mut scratch.coefficients);
        let errors = scratch
            .sampler
            .draw(&mut self.errors.stream(Purpose::Error, chunk));
        pack(
            self.layout,
            &scratch.slots,
            errors,
            &mut scratch.coefficients,
        );
        planes::store(&scratch.coefficients, output);
        Ok(())
    }

    fn encode(
        &self,
        chunk: u64,
        read: u64,
        input: &[[u8; 4]],
        slots: &mut Vec<u32>,
    ) -> Result<(), RingError> {
        let lead = u64::from(self.header.weighted);
        let length = self.layout.chunk_values() as u64;
        let (first, end) = (
            chunk * length,
            ((chunk + 1) * length).min(self.header.used()),
        );
        slots.clear();
        slots.resize(length as usize, 0);
        let mut values = &mut slots[..(end - first) as usize];
        if let Some(weight) = self.encoder.weight().filter(|_| chunk == 0) {
            values[0] = weight;
            values = &mut values[1..];
        }
        let start = first.saturating_sub(lead);
        let offset = (start - read) as usize;
        self.encoder
            .encode(start, &input[offset..offset + values.len()], values)
    }
}

/// Adds the packed values and the errors to `coefficients`, modulo q.
fn pack(layout: &Layout, slots: &[u32], errors: &[i64; DEGREE], coefficients: &mut [u64; DEGREE]) {
    // One factor a slot, spread included: the digits need no Horner scheme.
    let mut factor = layout.spread();
    Arch::new().dispatch(|| {
        for (digits, last) in slots.chunks_exact(DEGREE).zip((0..layout.slots()).rev()) {
            for (sum, digit) in coefficients.iter_mut().zip(digits) {
                *sum = sum.wrapping_add(u64::from(*digit).wrapping_mul(factor));
            }
            if last > 0 {
                factor *= layout.radix();
            }
        }
        // Product and message are below q each, and the message leaves room for the error.
        for (sum, error) in coefficients.iter_mut().zip(errors) {
            let value = *sum as i64 + error;
            let value = value
                - if value >= MODULUS as i64 {
                    MODULUS as i64
                } else {
                    0
                };
            *sum = (value + if value < 0 { MODULUS as i64 } else { 0 }) as u64;
        }
    });
}
