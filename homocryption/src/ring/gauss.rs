//! Discrete Gaussian of parameter 4.5 over the integers, by table, in constant time.
//!
//! A sample takes one uniform 64-bit word: 63 bits are compared with every threshold `2^63 P(|x| > k)`, and the lowest bit is
//! the sign. No branch and no address depends on the word. Every probability is within 2^-63 of the exact one. The table was
//! computed with 80 decimal digits from rho(k) = exp(-k^2 / (2 * 4.5^2)); a test computes it again in f64.

use pulp::Arch;
use zeroize::Zeroize;

use super::keystream::Stream;
use super::params::{DEGREE, TAIL};

const THRESHOLDS: [i64; TAIL as usize] = [
    0x74a6fdb013761517,
    0x5e82ac6dca2f5e4e,
    0x49f30eb9efa62f7c,
    0x37c6c23d61f162d2,
    0x287ce83b4dd601a9,
    0x1c3ef09656279474,
    0x12ea5eb5ae7385ea,
    0x0c259fdd80726d39,
    0x0779336d0068a0f9,
    0x0466e68358621797,
    0x027b093732aa65a7,
    0x01562dcef4883e14,
    0x00b0367e3a0e9c31,
    0x0056b0842694e064,
    0x0028ba08d8f29b07,
    0x001244006fae85cf,
    0x0007d178e3930a99,
    0x00033166aa884cb7,
    0x00013e721f8f5515,
    0x000076526e721d1d,
    0x000029ec379fe174,
    0x00000e296f2d3588,
    0x0000048f7ffe65f2,
    0x000001665d8029c1,
    0x00000068d681199c,
    0x0000001d3a37c4a1,
    0x00000007c3a924d6,
    0x00000001f71ab3fd,
    0x000000007952d201,
    0x000000001bdf5145,
    0x0000000006198cc3,
    0x000000000145870e,
    0x000000000040a344,
    0x00000000000c3978,
    0x00000000000233b1,
    0x00000000000060b3,
    0x0000000000000fcc,
    0x0000000000000275,
    0x000000000000005d,
    0x000000000000000d,
    0x0000000000000002,
];

/// Words and samples of one polynomial, wiped on drop.
pub(super) struct Sampler {
    bytes: Box<[u8; DEGREE * 8]>,
    samples: Box<[i64; DEGREE]>,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            bytes: Box::new([0; DEGREE * 8]),
            samples: Box::new([0; DEGREE]),
        }
    }

    /// The next [`DEGREE`] samples of `stream`.
    pub(super) fn draw(&mut self, stream: &mut Stream) -> &[i64; DEGREE] {
        stream.fill(&mut self.bytes[..]);
        let (words, _) = self.bytes.as_chunks::<8>();
        Arch::new().dispatch(|| {
            for (out, words) in self
                .samples
                .as_chunks_mut::<8>()
                .0
                .iter_mut()
                .zip(words.as_chunks::<8>().0)
            {
                *out = sample(words);
            }
        });
        &self.samples
    }
}

/// Eight samples at a time, so that the loop over the thresholds works on whole registers.
#[inline(always)]
fn sample(words: &[[u8; 8]; 8]) -> [i64; 8] {
    let words: [i64; 8] = std::array::from_fn(|lane| i64::from_le_bytes(words[lane]));
    let uniform = words.map(|word| (word as u64 >> 1) as i64);
    let mut magnitude = [0_i64; 8];
    for threshold in THRESHOLDS {
        for lane in 0..8 {
            magnitude[lane] += i64::from(uniform[lane] < threshold);
        }
    }
    std::array::from_fn(|lane| {
        let sign = -(words[lane] & 1);
        (magnitude[lane] ^ sign) - sign
    })
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.bytes.zeroize();
        self.samples.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::keystream::{Purpose, StreamKey};
    use crate::ring::params::SIGMA;

    #[test]
    fn thresholds_are_those_of_the_gaussian() {
        let rho = |k: i32| (-f64::from(k * k) / (2.0 * SIGMA * SIGMA)).exp();
        let total = rho(0) + 2.0 * (1..200).map(rho).sum::<f64>();
        for (k, threshold) in THRESHOLDS.into_iter().enumerate() {
            let tail = 2.0 * (k as i32 + 1..200).rev().map(rho).sum::<f64>() / total;
            let expected = tail * 2f64.powi(63);
            let difference = (threshold as f64 - expected).abs();
            assert!(
                difference <= 0.5 + expected * 1e-13,
                "threshold {k}: {threshold} against {expected}"
            );
        }
    }

    #[test]
    fn extreme_words_give_the_extreme_samples() {
        let zero = sample(&[[0; 8]; 8]);
        assert_eq!(zero, [i64::from(TAIL); 8]);
        let mut one = [0; 8];
        one[0] = 1;
        assert_eq!(sample(&[one; 8]), [-i64::from(TAIL); 8]);
        assert_eq!(sample(&[[255; 8]; 8]), [0; 8]);
    }

    #[test]
    fn frequencies_pass_a_chi_square_test() {
        let mut stream = StreamKey::new([7; 32]).stream(Purpose::Error, 0);
        let mut sampler = Sampler::new();
        let (rounds, bins) = (500, 33_usize);
        let mut counts = vec![0_u64; bins];
        for _ in 0..rounds {
            for sample in sampler.draw(&mut stream) {
                counts[(sample + 16).clamp(0, 32) as usize] += 1;
            }
        }
        let rho = |k: i64| (-((k * k) as f64) / (2.0 * SIGMA * SIGMA)).exp();
        let total: f64 = (-200..=200).map(rho).sum();
        let drawn = (rounds * DEGREE) as f64;
        let statistic: f64 = (0..bins)
            .map(|bin| {
                let k = bin as i64 - 16;
                let mass: f64 = match bin {
                    0 => (-200..=-16).map(rho).sum(),
                    32 => (16..=200).map(rho).sum(),
                    _ => rho(k),
                };
                let expected = drawn * mass / total;
                (counts[bin] as f64 - expected).powi(2) / expected
            })
            .sum();
        // 32 degrees of freedom: above 74 with probability 3e-5; the seed is fixed.
        assert!(statistic < 74.0, "chi square {statistic}");
    }
}
