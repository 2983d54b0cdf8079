//! Encrypted signed 64-bit integers.
//!
//! A value is 34 blocks of 2 bits in two's complement: 64 bits and 4 guard bits. Sums are exact
//! integers in those 68 bits; a result outside `i64` is [`Error::Overflow`] when it is decrypted, never a
//! wrapped number. [`relinearize`](crate::relinearize) and [`mul`](crate::mul) check the range
//! under encryption and keep the answer in one more block, the overflow flag, which is sticky.
//!
//! Invariants, kept by every operation and checked when bytes are read:
//!
//! - `degree[i]`: the plaintext of block `i` is in `0..=degree[i]`, at most 15, what a block can hold.
//! - `weight`: absolute coefficients of the encryptions or bootstrapped blocks in this sum, at most 5.
//! - `magnitude`: the value is within `magnitude * 2^63`, at most 15: it cannot leave 68 bits.
//!
//! What `add` and `sub` cost: nothing but additions of words; no key is needed. They refuse once one
//! of the three would be exceeded, with "noise budget spent, relinearize".

mod eval;
mod wire;

pub use eval::{mul, mul_scalar, relinearize};

use crate::error::Error;
use crate::format::Frame;
use crate::keys::{KeyId, PrivateKey, PublicKey};
use crate::lattice::{self, List};
use crate::params::{
    BLOCK_BITS, BLOCK_MAX, BLOCK_SHIFT, DIMENSION, FRESH_NOISE, SCALAR_NOISE, SCALAR_WEIGHT,
};

/// Blocks of the value.
pub(crate) const BLOCKS: usize = 34;
/// Blocks of an `i64`.
const VALUE_BLOCKS: usize = 32;
/// Words of one LWE ciphertext.
const LWE: usize = DIMENSION + 1;
/// Largest digit.
const DIGIT_MAX: u8 = (1 << BLOCK_BITS) - 1;
/// Largest magnitude: 15 * 2^63 is inside 68 bits, 16 * 2^63 is not.
const MAX_MAGNITUDE: u8 = 15;

/// An encrypted `i64` with its noise accounting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    key_id: KeyId,
    weight: u8,
    magnitude: u8,
    degree: [u8; BLOCKS],
    /// Largest plaintext of the overflow flag; 0 where the flag is known to be unset.
    flag_degree: u8,
    body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    /// As encrypted: one mask for all blocks, and no flag. 16.7 KB.
    Compact(List),
    /// An LWE ciphertext for every block and the flag: what bootstrapping returns. 574 KB.
    Expanded(Vec<u64>),
}

/// Base-4 digits of `value`, modulo 2^68.
fn digits(value: i128) -> [u8; BLOCKS] {
    std::array::from_fn(|i| (value >> (BLOCK_BITS as usize * i)) as u8 & DIGIT_MAX)
}

/// Encrypts `value` under the public key.
///
/// # Errors
///
/// None today; the signature is that of all operations.
pub fn encrypt(public: &PublicKey, value: i64) -> Result<Scalar, Error> {
    let encoded = digits(i128::from(value)).map(|digit| u64::from(digit) << BLOCK_SHIFT);
    Ok(Scalar {
        key_id: public.key_id(),
        weight: 1,
        magnitude: 1,
        degree: [DIGIT_MAX; BLOCKS],
        flag_degree: 0,
        body: Body::Compact(List::encrypt(public, encoded.to_vec())),
    })
}

/// Decrypts the exact value.
///
/// # Errors
///
/// [`Error::Key`] for a ciphertext of other keys, [`Error::Overflow`] when the exact result does not fit
/// `i64`, [`Error::Ciphertext`] when blocks are not what a sum of the stated weight can be.
pub fn decrypt(private: &PrivateKey, scalar: &Scalar) -> Result<i64, Error> {
    private.key_id().expect("the ciphertext", scalar.key_id)?;
    let overflow = || Error::Overflow {
        place: "of the computation".to_owned(),
        range: "a signed 64-bit integer",
    };
    let (phases, noise) = match &scalar.body {
        Body::Compact(list) => (list.phases(private), u64::from(scalar.weight) * FRESH_NOISE),
        Body::Expanded(words) => {
            let phases = words
                .chunks_exact(LWE)
                .map(|lwe| lattice::phase(lwe, private))
                .collect();
            (phases, SCALAR_NOISE)
        }
    };
    let degrees = scalar.degree.iter().chain([&scalar.flag_degree]);
    let mut value = 0_i128;
    for (index, (phase, degree)) in phases.iter().zip(degrees).enumerate() {
        let (block, error) = lattice::round(*phase, BLOCK_SHIFT);
        if error > noise {
            return Err(Error::Ciphertext(
                "a block has more noise than its history explains",
            ));
        }
        if block > u64::from(*degree) {
            return Err(Error::Ciphertext(
                "a block is larger than its history explains",
            ));
        }
        if index < BLOCKS {
            value += i128::from(block) << (BLOCK_BITS as usize * index);
        } else if block != 0 {
            return Err(overflow());
        }
    }
    // The blocks stand for a value modulo 2^68; the invariant on the magnitude makes its sign unique.
    let spare = i128::BITS - BLOCK_BITS * BLOCKS as u32;
    i64::try_from(value << spare >> spare).map_err(|_| overflow())
}

/// Adds two encrypted values, without a key.
///
/// # Errors
///
/// [`Error::Key`] for values of different keys, [`Error::Noise`] when the sum could become wrong.
pub fn add(left: &Scalar, right: &Scalar) -> Result<Scalar, Error> {
    left.key_id.expect("the second value", right.key_id)?;
    let mut sum = left.clone();
    sum.weight = budget("weight", sum.weight, right.weight, SCALAR_WEIGHT)?;
    sum.magnitude = budget("magnitude", sum.magnitude, right.magnitude, MAX_MAGNITUDE)?;
    for (degree, other) in sum.degree.iter_mut().zip(&right.degree) {
        *degree = budget("block degree", *degree, *other, BLOCK_MAX)?;
    }
    sum.flag_degree = budget("flag degree", sum.flag_degree, right.flag_degree, BLOCK_MAX)?;
    match (&mut sum.body, &right.body) {
        (Body::Compact(sum), Body::Compact(right)) => sum.add_assign(right),
        (Body::Expanded(sum), Body::Expanded(right)) => lattice::add_assign(sum, right),
        (Body::Expanded(sum), Body::Compact(right)) => lattice::add_assign(sum, &expand(right)),
        (Body::Compact(list), Body::Expanded(right)) => {
            let mut words = expand(list);
            lattice::add_assign(&mut words, right);
            sum.body = Body::Expanded(words);
        }
    }
    Ok(sum)
}

/// Subtracts `right` from `left`, without a key.
///
/// # Errors
///
/// As [`add`]. A subtraction takes a little more of the budget than an addition: 3 in a row fit.
pub fn sub(left: &Scalar, right: &Scalar) -> Result<Scalar, Error> {
    left.key_id.expect("the second value", right.key_id)?;
    add(left, &neg(right)?)
}

/// Negates an encrypted value, without a key. The negation of `i64::MIN` overflows, and says so.
///
/// # Errors
///
/// [`Error::Noise`] when a block could leave its range.
pub fn neg(value: &Scalar) -> Result<Scalar, Error> {
    let mut result = value.clone();
    let mut constants = [0_u64; BLOCKS];
    let mut borrow = 0_u8;
    for (index, degree) in value.degree.iter().enumerate() {
        // The smallest multiple of 4 that keeps the block from going below zero; the next block pays it back.
        let lent = budget("block degree", *degree, borrow, BLOCK_MAX)?.next_multiple_of(4);
        let highest = lent - borrow;
        result.degree[index] = budget("block degree", highest, 0, BLOCK_MAX)?;
        constants[index] = u64::from(highest);
        borrow = lent >> BLOCK_BITS;
    }
    match &mut result.body {
        Body::Compact(list) => list.scale(-1),
        Body::Expanded(words) => lattice::scale(&mut words[..BLOCKS * LWE], -1),
    }
    result.add_constants(&constants);
    Ok(result)
}

/// Adds a public number, without a key. Costs no noise, but room in the blocks.
///
/// # Errors
///
/// [`Error::Noise`] when a block could leave its range.
pub fn add_scalar(value: &Scalar, number: i64) -> Result<Scalar, Error> {
    let mut result = value.clone();
    let digits = digits(i128::from(number));
    result.magnitude = budget("magnitude", value.magnitude, 1, MAX_MAGNITUDE)?;
    for (degree, digit) in result.degree.iter_mut().zip(digits) {
        *degree = budget("block degree", *degree, digit, BLOCK_MAX)?;
    }
    result.add_constants(&digits.map(u64::from));
    Ok(result)
}

/// Subtracts a public number, without a key.
///
/// # Errors
///
/// As [`add_scalar`]; [`Error::Value`] for `i64::MIN`, whose negation is no `i64`.
pub fn sub_scalar(value: &Scalar, number: i64) -> Result<Scalar, Error> {
    let negated = number.checked_neg().ok_or_else(|| Error::Value {
        index: 0,
        value: number.to_string(),
        limit: "the numbers that can be negated".to_owned(),
    })?;
    add_scalar(value, negated)
}

/// Multiplies by a small public number, without a key: its absolute value, times the weight of
/// `value`, must stay within the budget (5). For others there is [`mul_scalar`].
///
/// # Errors
///
/// [`Error::Noise`] when the product could become wrong.
pub fn mul_small(value: &Scalar, factor: i8) -> Result<Scalar, Error> {
    let mut result = if factor < 0 {
        neg(value)?
    } else {
        value.clone()
    };
    let factor = factor.unsigned_abs();
    // A product with zero is the trivial encryption of zero; it keeps the weight of a fresh one.
    result.weight = times("weight", result.weight, factor, SCALAR_WEIGHT)?.max(1);
    result.magnitude = times("magnitude", result.magnitude, factor, MAX_MAGNITUDE)?.max(1);
    for degree in &mut result.degree {
        *degree = times("block degree", *degree, factor, BLOCK_MAX)?;
    }
    match &mut result.body {
        Body::Compact(list) => list.scale(i64::from(factor)),
        // The flag says whether the value is void, which no factor changes.
        Body::Expanded(words) => lattice::scale(&mut words[..BLOCKS * LWE], i64::from(factor)),
    }
    Ok(result)
}

impl Scalar {
    /// Encryptions in this sum, of at most [`SCALAR_WEIGHT`].
    pub fn weight(&self) -> u8 {
        self.weight
    }

    /// Adds a public plaintext to every block.
    fn add_constants(&mut self, constants: &[u64; BLOCKS]) {
        for (index, constant) in constants.iter().enumerate() {
            let body = match &mut self.body {
                Body::Compact(list) => &mut list.bodies[index],
                Body::Expanded(words) => &mut words[index * LWE + DIMENSION],
            };
            *body = body.wrapping_add(constant << BLOCK_SHIFT);
        }
    }

    /// The blocks and the flag, each as an LWE ciphertext.
    fn lwe_words(&self) -> std::borrow::Cow<'_, [u64]> {
        match &self.body {
            Body::Compact(list) => expand(list).into(),
            Body::Expanded(words) => words.into(),
        }
    }
}

/// Gives every block its own mask, and adds a flag that is known to be unset.
fn expand(list: &List) -> Vec<u64> {
    let mut words = Vec::with_capacity((BLOCKS + 1) * LWE);
    for index in 0..BLOCKS {
        words.extend(list.extract(index));
    }
    words.resize((BLOCKS + 1) * LWE, 0);
    words
}

fn within(what: &'static str, used: u16, limit: u8) -> Result<u8, Error> {
    match u8::try_from(used) {
        Ok(small) if small <= limit => Ok(small),
        _ => Err(Error::Noise {
            what,
            used: u64::from(used),
            limit: u64::from(limit),
        }),
    }
}

fn budget(what: &'static str, left: u8, right: u8, limit: u8) -> Result<u8, Error> {
    within(what, u16::from(left) + u16::from(right), limit)
}

fn times(what: &'static str, left: u8, right: u8, limit: u8) -> Result<u8, Error> {
    within(what, u16::from(left) * u16::from(right), limit)
}
