//! The numbers of the scheme, and why.
//!
//! **Ring.** Z_q\[X\]/(X^2048 + 1) with q = p1 p2, both primes congruent to 1 modulo 4096, so that the negacyclic
//! transform exists modulo each. Both are the largest such primes below 2^24 and q is 0.9966 times 2^48: a coefficient of a
//! body is 6 bytes on the wire, and a transform works on 32-bit lanes (twice as many a register as a 64-bit prime,
//! and a product of two residues is one native multiplication).
//!
//! **Why not 2^64.** Security rests on q over the noise, and so does room for the message. With q = 2^64 the same security
//! needs an error of about 2^16.7, so that the lowest 14 bits of every coefficient carry nothing but noise, and are stored
//! and added all the same. Dividing everything by 2^15 keeps message room and security, saves a quarter of the
//! bytes, and makes the error as small as the secret: one table serves both. Sums stay cheap: 2^16 bodies fit a 64-bit accumulator
//! before one reduction.
//!
//! **Secret and error.** Discrete Gaussians with parameter [`SIGMA`] = 4.5, sampled from [`TAIL`]-bounded tables with 63 bits.
//! Gaussian, because the sum of keys and the sum of errors become public when a group is opened: given the sum over at
//! least two honest contributors, one contributor's secret and error are still Gaussian, of parameter at least 4.5/sqrt(2) = 3.18
//! (Hint-LWE; Kim, Lee, Seo, Song, "Toward practical lattice-based proof of knowledge from Hint-MLWE", CRYPTO 2023).
//! The estimator is therefore run for n = 2048, q = [`MODULUS`], secret and error both of parameter
//! [`SIGMA_AFTER_OPENING`]: 2^149.8 by MATZOV's cost model, 2^123.2 by core-SVP (`docs/security-estimates.md`).
//!
//! **Failure.** With n honest contributors the error of a coefficient is sub-Gaussian with parameter 4.5 sqrt(n), so it exceeds
//! `TAIL_FACTOR * 4.5 * sqrt(n)` with probability below 2 exp(-11.6^2/2) < 2^-96. A body has at most 2^32 coefficients
//! ([`MAX_VALUES`]), so an opened sum holds a wrong number with probability below 2^-64.

/// Coefficients of a polynomial, N.
pub const DEGREE: usize = 2048;

/// The two primes below 2^24 that divide [`MODULUS`]. Both are 1 modulo 2N.
pub const PRIMES: [u32; 2] = [16_760_833, 16_736_257];

/// The modulus q of bodies, a little less than 2^48.
pub const MODULUS: u64 = PRIMES[0] as u64 * PRIMES[1] as u64;

/// Parameter of the discrete Gaussian of which key and error are drawn.
pub const SIGMA: f64 = 4.5;

/// What is left of [`SIGMA`] for one of two honest contributors once their sum is public.
pub const SIGMA_AFTER_OPENING: f64 = SIGMA / std::f64::consts::SQRT_2;

/// Largest magnitude of a coefficient of a key or an error.
pub const TAIL: i32 = 41;

/// Standard deviations of a sum's error that [`super::Layout`] leaves room for.
pub const TAIL_FACTOR: f64 = 11.6;

/// `(TAIL_FACTOR * SIGMA)^2`, rounded up: what one contributor adds to the square of the error bound.
pub(super) const NOISE_SQUARED: u64 = 2_725;

/// Largest cohort of a group. The sum of so many keys and errors is far from wrapping, and 8-bit values still pack two a coefficient.
pub const MAX_CONTRIBUTORS: u32 = 1_000;

/// Largest number of values in a body. With one value a coefficient these are 2^32 coefficients; see the failure probability.
pub const MAX_VALUES: u64 = 1 << 32;

/// Bytes of a chunk, one polynomial: 48 bits a coefficient.
pub const CHUNK_BYTES: usize = DEGREE * 6;
