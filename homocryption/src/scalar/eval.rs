//! Operations under the evaluation key: noise reset and multiplication.
//!
//! Bootstrapping makes them slow (seconds on two cores) and is what carries a failure probability: 2^-129.6 each by tfhe's
//! analysis. A relinearization makes 137 of them, a multiplication 2309 (`tests/bootstraps.rs`).

use rayon::prelude::*;
use tfhe::core_crypto::prelude::LweCiphertext;
use tfhe::integer::{
    IntegerCiphertext, IntegerRadixCiphertext, RadixCiphertext, ServerKey, SignedRadixCiphertext,
};
use tfhe::shortint::ciphertext::{Degree, NoiseLevel};
use tfhe::shortint::{AtomicPatternKind, Ciphertext, PBSOrder};

use super::{BLOCKS, Body, DIGIT_MAX, LWE, Scalar, VALUE_BLOCKS, add_scalar, mul_small};
use crate::error::Error;
use crate::format::Frame;
use crate::keys::RelinKey;
use crate::params::TFHE;

/// Resets the noise: propagates all carries by bootstrapping, so that each block holds 2 bits
/// again and the weight is 1. Checks under encryption whether the value fits `i64`; if not,
/// everything computed from the result decrypts to [`Error::Overflow`].
///
/// # Errors
///
/// [`Error::Key`] for a ciphertext of other keys.
pub fn relinearize(value: &Scalar, relin: &RelinKey) -> Result<Scalar, Error> {
    relin.key_id().expect("the ciphertext", value.key_id)?;
    if value.weight == 1 && value.magnitude == 1 && value.is_normal() {
        return Ok(value.clone());
    }
    let key = &relin.server;
    let (mut blocks, flag) = value.blocks();
    propagate(key, &mut blocks);
    let flag = overflow(key, &blocks, (value.flag_degree > 0).then_some(flag));
    Ok(Scalar::normal(value, blocks, flag))
}

/// Multiplies two encrypted values. A product outside `i64` is found under encryption.
///
/// # Errors
///
/// [`Error::Key`] when the two values and the key are not of one key pair.
pub fn mul(left: &Scalar, right: &Scalar, relin: &RelinKey) -> Result<Scalar, Error> {
    left.key_id.expect("the second value", right.key_id)?;
    let (left, right) = (relinearize(left, relin)?, relinearize(right, relin)?);
    let key = &relin.server;
    let ((a, flag_a), (b, flag_b)) = (left.blocks(), right.blocks());
    let (product, too_long) = rayon::join(
        || {
            key.mul_parallelized(&signed(a.clone()), &signed(b.clone()))
                .into_blocks()
        },
        || too_long(key, &a, &b),
    );
    let mut flags = too_long;
    for (scalar, flag) in [(&left, flag_a), (&right, flag_b)] {
        if scalar.flag_degree > 0 {
            key_ref(key).unchecked_add_assign(&mut flags, &flag);
        }
    }
    let flag = overflow(key, &product, Some(flags));
    Ok(Scalar::normal(&left, product, flag))
}

/// Multiplies by a public number of any size.
///
/// # Errors
///
/// As [`mul`].
pub fn mul_scalar(value: &Scalar, factor: i64, relin: &RelinKey) -> Result<Scalar, Error> {
    relin.key_id().expect("the ciphertext", value.key_id)?;
    if let Ok(product) = i8::try_from(factor).map_or(Err(()), |f| mul_small(value, f).map_err(drop))
    {
        return Ok(product);
    }
    // The factor as a ciphertext without noise: zero blocks, and the digits as constants.
    let zero = Scalar {
        key_id: value.key_id,
        weight: 1,
        magnitude: 1,
        degree: [0; BLOCKS],
        flag_degree: 0,
        body: Body::Expanded(vec![0; (BLOCKS + 1) * LWE]),
    };
    let mut factor = add_scalar(&zero, factor)?;
    factor.magnitude = 1;
    mul(value, &factor, relin)
}

impl Scalar {
    fn is_normal(&self) -> bool {
        self.degree.iter().all(|degree| *degree <= DIGIT_MAX) && self.flag_degree <= 1
    }

    /// The blocks and the flag as tfhe's ciphertexts, with this sum's degrees and noise.
    fn blocks(&self) -> (Vec<Ciphertext>, Ciphertext) {
        let words = self.lwe_words();
        let summed = NoiseLevel::NOMINAL * u64::from(self.weight);
        let degrees = self.degree.iter().chain([&self.flag_degree]);
        let mut blocks: Vec<_> = words
            .chunks_exact(LWE)
            .zip(degrees)
            .map(|(lwe, degree)| {
                // Constants, which tfhe computes with in the clear.
                let known = lwe[..LWE - 1].iter().all(|word| *word == 0);
                let noise = if known { NoiseLevel::ZERO } else { summed };
                Ciphertext::new(
                    LweCiphertext::from_container(lwe.to_vec(), TFHE.ciphertext_modulus),
                    Degree::new(u64::from(*degree)),
                    noise,
                    TFHE.message_modulus,
                    TFHE.carry_modulus,
                    AtomicPatternKind::Standard(PBSOrder::KeyswitchBootstrap),
                )
            })
            .collect();
        let flag = blocks.pop().expect("34 blocks and the flag");
        (blocks, flag)
    }

    /// A scalar of bootstrapped blocks: weight 1, 2 bits a block.
    fn normal(origin: &Self, blocks: Vec<Ciphertext>, flag: Ciphertext) -> Self {
        debug_assert_eq!(blocks.len(), BLOCKS);
        debug_assert!(
            blocks
                .iter()
                .all(|block| block.degree.get() <= u64::from(DIGIT_MAX))
        );
        let words = blocks
            .iter()
            .chain([&flag])
            .flat_map(|block| block.ct.as_ref())
            .copied();
        Self {
            key_id: origin.key_id,
            weight: 1,
            magnitude: 1,
            degree: [DIGIT_MAX; BLOCKS],
            flag_degree: 1,
            body: Body::Expanded(words.collect()),
        }
    }
}

fn signed(blocks: Vec<Ciphertext>) -> SignedRadixCiphertext {
    SignedRadixCiphertext::from_blocks(blocks)
}

/// Reduces every block to 2 bits. tfhe's own propagation wants blocks of at most 12, so that a carry still
/// fits; ours start at up to 15, and are split into digit and carry first.
fn propagate(key: &ServerKey, blocks: &mut Vec<Ciphertext>) {
    let short = key_ref(key);
    let parts: Vec<_> = blocks
        .par_iter()
        .map(|block| {
            rayon::join(
                || short.message_extract(block),
                || short.carry_extract(block),
            )
        })
        .collect();
    let mut carry: Option<Ciphertext> = None;
    *blocks = Vec::with_capacity(BLOCKS);
    for (mut digit, next) in parts {
        if let Some(carry) = carry.replace(next) {
            short.unchecked_add_assign(&mut digit, &carry);
        }
        blocks.push(digit);
    }
    let mut radix = signed(std::mem::take(blocks));
    key.full_propagate_parallelized(&mut radix);
    *blocks = radix.into_blocks();
}

/// Whether normal `blocks` are outside `i64`, or a flag is set already: 0 or 1.
/// Inside means that bits 63 to 67 are all the sign.
fn overflow(key: &ServerKey, blocks: &[Ciphertext], flag: Option<Ciphertext>) -> Ciphertext {
    let short = key_ref(key);
    let (guard, sign) = rayon::join(
        || {
            let mut guard = short.unchecked_scalar_mul(&blocks[BLOCKS - 1], 4);
            short.unchecked_add_assign(&mut guard, &blocks[BLOCKS - 2]);
            // 0: all guard bits clear; 1: all set; 2: mixed.
            let table = short.generate_lookup_table(|bits| match bits {
                0 => 0,
                15 => 1,
                _ => 2,
            });
            short.apply_lookup_table(&guard, &table)
        },
        || {
            let table = short.generate_lookup_table(|digit| (digit >> 1) & 1);
            short.apply_lookup_table(&blocks[VALUE_BLOCKS - 1], &table)
        },
    );
    let mut state = short.unchecked_scalar_mul(&sign, 3);
    short.unchecked_add_assign(&mut state, &guard);
    // 0: clear guards and sign; 4: set guards and sign. Everything else is outside.
    let table = short.generate_lookup_table(|state| u64::from(state != 0 && state != 4));
    let outside = short.apply_lookup_table(&state, &table);
    let Some(mut any) = flag else { return outside };
    short.unchecked_add_assign(&mut any, &outside);
    let table = short.generate_lookup_table(|flags| u64::from(flags != 0));
    short.apply_lookup_table(&any, &table)
}

/// Whether a product could leave the 68 bits in which it is computed: 0 or 1. With bit lengths `l` of the
/// absolute values, `|a*b| < 2^(l_a + l_b)`: up to 66 the product is exact in 68 bits, and from 67 on
/// `|a*b| >= 2^65` is outside `i64` anyway.
fn too_long(key: &ServerKey, left: &[Ciphertext], right: &[Ciphertext]) -> Ciphertext {
    let zeros = |blocks: &[Ciphertext]| {
        let value = signed(blocks[..VALUE_BLOCKS].to_vec());
        // The absolute value of i64::MIN is 2^63 when it is read as unsigned.
        let absolute = RadixCiphertext::from_blocks(key.abs_parallelized(&value).into_blocks());
        key.leading_zeros_parallelized(&absolute)
    };
    let (left, right) = rayon::join(|| zeros(left), || zeros(right));
    // Both counts are at most 64 and have at least 8 bits: the sum does not wrap.
    let sum = key.add_parallelized(&left, &right);
    key.scalar_le_parallelized(&sum, 128_u64 - 67)
        .into_raw_parts()
}

fn key_ref(key: &ServerKey) -> &tfhe::shortint::ServerKey {
    key.as_ref()
}
