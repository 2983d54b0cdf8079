//! Ring ciphertexts as plain words: encryption of a list, phases, sums, extraction.
//!
//! A list of up to [`DIMENSION`] plaintexts is one mask polynomial and a body for each plaintext
//! (<https://eprint.iacr.org/2023/603>, section 3). Body `i` belongs to the LWE ciphertext whose mask
//! is `X^i * mask` modulo `X^N + 1`. Everything here is linear: words are added modulo 2^64.

use rayon::prelude::*;
use tfhe::core_crypto::commons::generators::NoiseRandomGenerator;
use tfhe::core_crypto::prelude::*;

use crate::keys::{PrivateKey, PublicKey};
use crate::params::{DIMENSION, TFHE};

/// Mask polynomials of consecutive chunks of [`DIMENSION`] bodies, and all bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// `chunks(bodies.len()) * DIMENSION` words.
    pub(crate) masks: Vec<u64>,
    /// One word a plaintext.
    pub(crate) bodies: Vec<u64>,
}

/// Words of mask that `count` bodies need.
pub(crate) fn mask_words(count: usize) -> usize {
    count.div_ceil(DIMENSION) * DIMENSION
}

impl List {
    /// Encrypts encoded plaintexts with fresh randomness.
    pub(crate) fn encrypt(public: &PublicKey, encoded: Vec<u64>) -> Self {
        let count = encoded.len();
        let mut list = LweCompactCiphertextList::new(
            0_u64,
            LweDimension(DIMENSION).to_lwe_size(),
            LweCiphertextCount(count),
            TFHE.ciphertext_modulus,
        );
        let mut seeder = new_seeder();
        let mut noise = NoiseRandomGenerator::<DefaultRandomGenerator>::new(seeder.as_mut());
        par_encrypt_lwe_compact_ciphertext_list_with_compact_public_key(
            &public.lwe,
            &mut list,
            &PlaintextList::from_container(encoded),
            TFHE.glwe_noise_distribution,
            TFHE.glwe_noise_distribution,
            &mut noise,
        );
        let mut masks = list.into_container();
        let bodies = masks.split_off(mask_words(count));
        Self { masks, bodies }
    }

    pub(crate) fn add_assign(&mut self, other: &Self) {
        add_assign(&mut self.masks, &other.masks);
        add_assign(&mut self.bodies, &other.bodies);
    }

    /// Multiplies by a public integer, modulo 2^64.
    pub(crate) fn scale(&mut self, factor: i64) {
        scale(&mut self.masks, factor);
        scale(&mut self.bodies, factor);
    }

    /// `body - <mask, secret>` of every plaintext: its encoding and its error.
    pub(crate) fn phases(&self, private: &PrivateKey) -> Vec<u64> {
        self.bodies
            .par_chunks(DIMENSION)
            .zip(self.masks.par_chunks(DIMENSION))
            .flat_map_iter(|(bodies, mask)| {
                bodies.iter().enumerate().map(|(index, body)| {
                    let (front, wrapped) = mask.split_at(DIMENSION - index);
                    let (low, high) = private.select.split_at(index);
                    body.wrapping_sub(dot(front, high))
                        .wrapping_add(dot(wrapped, low))
                })
            })
            .collect()
    }

    /// The LWE ciphertext of one plaintext: [`DIMENSION`] words of mask, then the body.
    pub(crate) fn extract(&self, index: usize) -> Vec<u64> {
        let (chunk, shift) = (index / DIMENSION, index % DIMENSION);
        let mask = &self.masks[chunk * DIMENSION..][..DIMENSION];
        let (front, wrapped) = mask.split_at(DIMENSION - shift);
        let mut lwe = Vec::with_capacity(DIMENSION + 1);
        lwe.extend(wrapped.iter().map(|word| word.wrapping_neg()));
        lwe.extend_from_slice(front);
        lwe.push(self.bodies[index]);
        lwe
    }
}

/// Phase of one LWE ciphertext of [`DIMENSION`] + 1 words.
pub(crate) fn phase(lwe: &[u64], private: &PrivateKey) -> u64 {
    lwe[DIMENSION].wrapping_sub(dot(&lwe[..DIMENSION], &private.select))
}

pub(crate) fn add_assign(left: &mut [u64], right: &[u64]) {
    debug_assert_eq!(left.len(), right.len());
    for (left, right) in left.iter_mut().zip(right) {
        *left = left.wrapping_add(*right);
    }
}

pub(crate) fn scale(words: &mut [u64], factor: i64) {
    for word in words {
        *word = word.wrapping_mul(factor as u64);
    }
}

/// Splits a phase into the nearest multiple of `2^shift`, divided by it and modulo `2^(64-shift)`,
/// and the distance to it.
pub(crate) fn round(phase: u64, shift: u32) -> (u64, u64) {
    let nearest = phase.wrapping_add(1 << (shift - 1)) >> shift;
    let distance = phase.wrapping_sub(nearest << shift) as i64;
    (nearest, distance.unsigned_abs())
}

fn dot(mask: &[u64], select: &[u64]) -> u64 {
    mask.iter()
        .zip(select)
        .fold(0, |sum, (mask, select)| sum.wrapping_add(mask & select))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate_key_pair;
    use crate::params::FRESH_NOISE;

    #[test]
    fn phases_are_the_plaintexts_and_an_error_within_its_bound() {
        let (public, private) = generate_key_pair().unwrap();
        for count in [1, 34, DIMENSION, DIMENSION + 1, 2 * DIMENSION + 77] {
            let plain: Vec<u64> = (0..count as u64).map(|v| (v % 16) << 59).collect();
            let list = List::encrypt(&public, plain.clone());
            assert_eq!(list.masks.len(), mask_words(count));
            let phases = list.phases(&private);
            assert_eq!(phases.len(), count);
            for (index, (phase_of, plain)) in phases.iter().zip(&plain).enumerate() {
                assert!((phase_of.wrapping_sub(*plain) as i64).unsigned_abs() <= FRESH_NOISE);
                if index % 97 == 0 {
                    assert_eq!(phase(&list.extract(index), &private), *phase_of);
                }
            }
        }
    }

    #[test]
    fn our_extraction_is_the_expansion_of_tfhe() {
        let (public, _) = generate_key_pair().unwrap();
        let count = DIMENSION + 5;
        let list = List::encrypt(&public, vec![0; count]);
        let words = [list.masks.as_slice(), &list.bodies].concat();
        let compact = LweCompactCiphertextList::from_container(
            words,
            LweDimension(DIMENSION).to_lwe_size(),
            LweCiphertextCount(count),
            TFHE.ciphertext_modulus,
        );
        let expanded = compact.expand_into_lwe_ciphertext_list();
        for (index, lwe) in expanded.iter().enumerate() {
            assert_eq!(list.extract(index), lwe.as_ref());
        }
    }

    #[test]
    fn rounding_takes_the_nearest_multiple_and_wraps() {
        assert_eq!(round(0, 59), (0, 0));
        assert_eq!(round((3 << 59) + 5, 59), (3, 5));
        assert_eq!(round((3 << 59) - 5, 59), (3, 5));
        assert_eq!(round(u64::MAX, 59), (0, 1));
        assert_eq!(round(1 << 63, 40), (1 << 23, 0));
    }
}
