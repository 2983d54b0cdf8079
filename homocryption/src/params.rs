//! The one parameter set of this crate, and every bound that follows from it.
//!
//! The numbers are tfhe's `V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128`. A test compares them
//! with the constant of the linked version, so that a new tfhe cannot change them silently. Their
//! security level is in `docs/security-estimates.md`, with the output of the lattice estimator.
//!
//! Correctness of what is done without the evaluation key does not rest on a probability. Secrets
//! and encryption randomness are binary and errors are TUniform(17), that is at most 2^17 in absolute
//! value, so one public-key encryption has an error of at most [`FRESH_NOISE`], always; sums of
//! `w` encryptions one of at most `w * FRESH_NOISE`. Bootstrapping is where a failure probability enters
//! (tfhe: 2^-129.6 for each one).

use tfhe::shortint::ClassicPBSParameters;
use tfhe::shortint::parameters::v1_8::V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

/// Identifier of the parameter set on the wire.
pub const PARAMETER_SET: u8 = 1;

/// The parameters handed to tfhe.
pub(crate) const TFHE: ClassicPBSParameters = V1_8_PARAM_MESSAGE_2_CARRY_2_KS_PBS_TUNIFORM_2M128;

/// Dimension of the ring and of the key that ciphertexts are under.
pub const DIMENSION: usize = 2048;

/// Dimension of the small key, which only exists inside the evaluation key.
pub const SMALL_DIMENSION: usize = 918;

/// Bound on the absolute value of one TUniform(17) error.
const ERROR_BOUND: u64 = 1 << 17;

/// Bound on the error of one public-key encryption, in units of 2^-64 of the torus: an error times
/// a binary vector, twice, and the error of the body.
pub const FRESH_NOISE: u64 = 2 * DIMENSION as u64 * ERROR_BOUND + ERROR_BOUND;

/// Bits of message in a block of a scalar.
pub(crate) const BLOCK_BITS: u32 = 2;

/// Largest value that a block can hold: 2 bits of message and 2 of carry.
pub(crate) const BLOCK_MAX: u8 = 15;

/// A block value `v` is encoded as `v << BLOCK_SHIFT`; the bit above is padding.
pub(crate) const BLOCK_SHIFT: u32 = 59;

/// Encryptions that may be summed before the noise must be reset: the 2-norm for which tfhe states
/// the failure probability of the next bootstrapping.
pub const SCALAR_WEIGHT: u8 = 5;

/// Error beyond which a decryption of bootstrapped blocks is refused, a quarter of the distance between two
/// values. Honest sums stay below it by dozens of standard deviations (a bootstrapped block has one of about
/// 2^49); a block of a foreign key is beyond it half the time.
pub(crate) const SCALAR_NOISE: u64 = 1 << 57;

/// A vector slot `v` is encoded as `v << SLOT_SHIFT`, modulo 2^24.
pub(crate) const SLOT_SHIFT: u32 = 40;

/// Encryptions that may be summed in a vector: the largest `w` with
/// `w * FRESH_NOISE < 2^39`, half the distance between two slot values.
pub const VECTOR_WEIGHT: u32 = ((1_u64 << (SLOT_SHIFT - 1)) / FRESH_NOISE) as u32;

/// Contributors of a majority vote: what a block can hold.
pub const MAX_VOTERS: u8 = BLOCK_MAX;

/// Coordinates of one vector.
pub const MAX_VALUES: usize = 1 << 24;

/// Parameters of one majority vote. Every one costs a bootstrapping and 6 KiB.
pub const MAX_PARAMETERS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use tfhe::core_crypto::prelude::*;
    use tfhe::shortint::parameters::{EncryptionKeyChoice, MaxNoiseLevel};

    use super::*;

    #[test]
    fn the_linked_tfhe_has_the_parameters_that_the_bounds_are_computed_from() {
        assert_eq!(TFHE.lwe_dimension, LweDimension(SMALL_DIMENSION));
        assert_eq!(TFHE.glwe_dimension, GlweDimension(1));
        assert_eq!(TFHE.polynomial_size, PolynomialSize(DIMENSION));
        assert_eq!(
            TFHE.glwe_noise_distribution,
            DynamicDistribution::new_t_uniform(17)
        );
        assert_eq!(
            TFHE.lwe_noise_distribution,
            DynamicDistribution::new_t_uniform(45)
        );
        assert_eq!(
            TFHE.message_modulus.0 * TFHE.carry_modulus.0,
            u64::from(BLOCK_MAX) + 1
        );
        assert_eq!(TFHE.message_modulus.0, 1 << BLOCK_BITS);
        assert_eq!(
            TFHE.max_noise_level,
            MaxNoiseLevel::new(u64::from(SCALAR_WEIGHT))
        );
        assert_eq!(TFHE.encryption_key_choice, EncryptionKeyChoice::Big);
        assert!(TFHE.ciphertext_modulus.is_native_modulus());
        const { assert!(TFHE.log2_p_fail <= -128.0) };
    }

    #[test]
    fn a_full_vector_sum_keeps_noise_and_value_apart() {
        let noise = u64::from(VECTOR_WEIGHT) * FRESH_NOISE;
        assert_eq!(VECTOR_WEIGHT, 1023);
        assert!(noise < 1 << (SLOT_SHIFT - 1));
        assert!(noise + FRESH_NOISE >= 1 << (SLOT_SHIFT - 1));
    }
}
