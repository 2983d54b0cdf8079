//! Every operation of every instruction set of this processor, against plain arithmetic.

use super::*;
use crate::sums::fold;

/// Numbers of all kinds that kernels meet: finite, and no negative zero.
fn numbers(seed: u32) -> [f32; BLOCK] {
    let special = [
        0.0,
        1.0,
        -1.0,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
        3.0e-39,
        1.0 + f32::EPSILON,
    ];
    let mut state = seed;
    std::array::from_fn(|k| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let x = f32::from_bits(state);
        match k % 3 {
            0 => special[state as usize / 7 % special.len()],
            _ if x.is_finite() => x + 0.0,
            _ => -2.5,
        }
    })
}

/// All operations on two blocks; the results as bits, operation by operation.
struct Everything<'a>(&'a [f32; BLOCK], &'a [f32; BLOCK]);

impl Op for Everything<'_> {
    type Output = Vec<Vec<u64>>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let (a, b) = (simd.f32s(self.0), simd.f32s(self.1));
        let mut out = [[0.0_f32; BLOCK]; 7];
        let mut out64 = vec![Vec::new(); 4];
        for c in 0..a.len() {
            let (x, y) = (simd.widen(a[c]), simd.widen(b[c]));
            let products = [0, 1].map(|h| simd.mul64(x[h], y[h]));
            let [min, max, round, same, sum, difference, product] = &mut out;
            simd.f32s_mut(min)[c] = simd.min(a[c], b[c]);
            simd.f32s_mut(max)[c] = simd.max(a[c], b[c]);
            simd.f32s_mut(round)[c] = simd.narrow(products);
            simd.f32s_mut(same)[c] = simd.narrow(x);
            simd.f32s_mut(sum)[c] = simd.add(a[c], b[c]);
            simd.f32s_mut(difference)[c] = simd.sub(a[c], b[c]);
            simd.f32s_mut(product)[c] = simd.mul(a[c], b[c]);
            for h in 0..2 {
                out64[0].extend_from_slice(x[h].as_ref());
                out64[1].extend_from_slice(simd.add64(x[h], y[h]).as_ref());
                out64[2].extend_from_slice(products[h].as_ref());
                out64[3].extend_from_slice(simd.div64(x[h], simd.splat64(3.0)).as_ref());
            }
        }
        let mut lanes = simd.zero16();
        for sixteen in simd.f32x16s(self.0) {
            for part in 0..S::PARTS {
                lanes.as_mut()[part] = simd.max(lanes.as_ref()[part], sixteen.as_ref()[part]);
            }
        }
        let folded = vec![simd.fold16(lanes).to_bits()];
        let f32s = out
            .iter()
            .map(|row| row.map(|x| x.to_bits().into()).to_vec());
        let f64s = out64
            .iter()
            .map(|row| row.iter().map(|x| x.to_bits()).collect());
        f32s.chain(f64s).chain([folded]).collect()
    }
}

/// The same without vectors.
fn expected(a: &[f32; BLOCK], b: &[f32; BLOCK]) -> Vec<Vec<u64>> {
    let f32s = |f: &dyn Fn(f32, f32) -> f32| {
        let values = a.iter().zip(b);
        values
            .map(|(a, b)| u64::from(f(*a, *b).to_bits()))
            .collect()
    };
    let f64s = |f: &dyn Fn(f64, f64) -> f64| {
        let values = a.iter().zip(b);
        values
            .map(|(a, b)| f(f64::from(*a), f64::from(*b)).to_bits())
            .collect()
    };
    let lane = |l: usize| {
        (l..BLOCK)
            .step_by(16)
            .fold(0.0_f32, |most, k| if a[k] > most { a[k] } else { most })
    };
    vec![
        f32s(&|a, b| if b < a { b } else { a }),
        f32s(&|a, b| if b > a { b } else { a }),
        f32s(&|a, b| (f64::from(a) * f64::from(b)) as f32),
        f32s(&|a, _| a),
        f32s(&|a, b| a + b),
        f32s(&|a, b| a - b),
        f32s(&|a, b| a * b),
        f64s(&|a, _| a),
        f64s(&|a, b| a + b),
        f64s(&|a, b| a * b),
        f64s(&|a, _| a / 3.0),
        vec![fold(std::array::from_fn(|l| f64::from(lane(l) + lane(l + 8)))).to_bits()],
    ]
}

#[test]
fn every_operation_gives_the_bits_of_plain_arithmetic() {
    for seed in 0..200 {
        let (a, b) = (numbers(seed), numbers(seed + 1000));
        let expected = expected(&a, &b);
        for level in Level::available() {
            let found = run(level, Everything(&a, &b));
            for (operation, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(
                    found, expected,
                    "{level:?}, operation {operation}, seed {seed}"
                );
            }
        }
    }
}

#[test]
fn a_limit_is_kept_and_what_is_missing_is_not_used() {
    let widest = Level::available().last().unwrap();
    for level in Level::ALL {
        limit(level);
        assert_eq!(Level::current(), level.min(widest));
    }
    limit(Level::Avx512);
    assert_eq!(Level::current(), widest);
}
