//! Products in the ring: a mask that is given by its transform, times a key.
//!
//! Transforms modulo the two primes are `tfhe-ntt`'s: entry i holds the value at psi^(2 bitrev(i) + 1). Keys carry the factor of the
//! Chinese remainder, so that joining the two residues costs two products and one conditional subtraction.

use std::sync::LazyLock;

use pulp::Arch;
use tfhe_ntt::prime32::Plan;
use zeroize::Zeroize;

use super::params::{DEGREE, MODULUS, PRIMES};

/// One residue a coefficient, modulo one of the primes.
pub(super) type Residues = Box<[u32; DEGREE]>;

static PLANS: LazyLock<[Plan; 2]> = LazyLock::new(|| {
    PRIMES.map(|prime| {
        Plan::try_new(DEGREE, prime).expect("both primes are 1 modulo 2N, as a test checks")
    })
});

/// The transform of a key, wiped on drop.
pub(super) struct KeyTransform([Residues; 2]);

impl KeyTransform {
    /// Of a key with small coefficients of either sign.
    pub(super) fn of(key: &[i32; DEGREE]) -> Self {
        let residues = [0, 1].map(|which| {
            let prime = i64::from(PRIMES[which]);
            let other = PRIMES[1 - which];
            let factor = i64::from(inverse(other % PRIMES[which], PRIMES[which]));
            let mut out: Residues = Box::new([0; DEGREE]);
            for (out, key) in out.iter_mut().zip(key) {
                *out = (i64::from(*key).rem_euclid(prime) * factor % prime) as u32;
            }
            PLANS[which].fwd(&mut out[..]);
            out
        });
        Self(residues)
    }

    /// The coefficients in `[0, q)` of `mask * key`, into `out`. `mask` holds transforms and is used up.
    pub(super) fn product(&self, mask: &mut [Residues; 2], out: &mut [u64; DEGREE]) {
        for (which, plan) in PLANS.iter().enumerate() {
            plan.mul_assign_normalize(&mut mask[which][..], &self.0[which][..]);
            plan.inv(&mut mask[which][..]);
        }
        let [first, second] = &*mask;
        Arch::new().dispatch(|| {
            for ((out, first), second) in out.iter_mut().zip(&first[..]).zip(&second[..]) {
                let joined = u64::from(*first) * u64::from(PRIMES[1])
                    + u64::from(*second) * u64::from(PRIMES[0]);
                *out = joined - if joined >= MODULUS { MODULUS } else { 0 };
            }
        });
    }
}

impl Drop for KeyTransform {
    fn drop(&mut self) {
        self.0[0].zeroize();
        self.0[1].zeroize();
    }
}

/// `value^-1` modulo a prime, by Fermat.
fn inverse(value: u32, prime: u32) -> u32 {
    let (mut base, mut exponent, mut out) = (u64::from(value), prime - 2, 1_u64);
    while exponent > 0 {
        if exponent & 1 == 1 {
            out = out * base % u64::from(prime);
        }
        base = base * base % u64::from(prime);
        exponent >>= 1;
    }
    out as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_suit_the_ring() {
        for prime in PRIMES {
            assert_eq!(prime % (2 * DEGREE as u32), 1);
            assert!((2..5_000).all(|divisor| prime % divisor != 0));
            assert!(prime < 1 << 24);
        }
        const { assert!(MODULUS < 1 << 48) };
    }

    /// The product against the definition, with a mask that is transformed here.
    #[test]
    fn product_is_negacyclic() {
        let mask: Vec<u64> = (0..DEGREE as u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MODULUS)
            .collect();
        let key: [i32; DEGREE] = std::array::from_fn(|i| (i * i % 83) as i32 - 41);
        let mut expected = vec![0_i128; DEGREE];
        for (i, a) in mask.iter().enumerate() {
            for (j, s) in key.iter().enumerate() {
                let term = i128::from(*a) * i128::from(*s);
                let (k, term) = if i + j < DEGREE {
                    (i + j, term)
                } else {
                    (i + j - DEGREE, -term)
                };
                expected[k] += term;
            }
        }
        let mut residues = [0, 1].map(|which| {
            let mut out: Residues = Box::new([0; DEGREE]);
            for (out, a) in out.iter_mut().zip(&mask) {
                *out = (a % u64::from(PRIMES[which])) as u32;
            }
            PLANS[which].fwd(&mut out[..]);
            out
        });
        let mut out = [0; DEGREE];
        KeyTransform::of(&key).product(&mut residues, &mut out);
        for (out, expected) in out.into_iter().zip(expected) {
            assert_eq!(i128::from(out), expected.rem_euclid(i128::from(MODULUS)));
        }
    }
}
