//! The operations as loops over arrays of four: the reference that the others are tested against.

use super::Simd;
use crate::tiles::BLOCK;

/// No instructions beyond those that the compiler targets anyway.
#[derive(Clone, Copy)]
pub(super) struct Portable;

type F32 = [f32; 4];
type F64 = [f64; 2];

#[inline(always)]
fn zip<T: Copy, const N: usize>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> T) -> [T; N] {
    std::array::from_fn(|l| f(a[l], b[l]))
}

impl Simd for Portable {
    views!(4);

    #[inline(always)]
    fn fold16(self, [a, b, c, d]: Self::F32x16) -> f64 {
        let [low, high] = [self.widen(self.add(a, c)), self.widen(self.add(b, d))];
        let [even, odd] = [self.add64(low[0], high[0]), self.add64(low[1], high[1])];
        let [x, y] = self.add64(even, odd);
        x + y
    }

    #[inline(always)]
    fn prefetch(self, _: &f32) {}

    #[inline(always)]
    fn min(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn add(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn widen(self, x: F32) -> [F64; 2] {
        [[x[0].into(), x[1].into()], [x[2].into(), x[3].into()]]
    }

    #[inline(always)]
    fn narrow(self, [a, b]: [F64; 2]) -> F32 {
        [a[0] as f32, a[1] as f32, b[0] as f32, b[1] as f32]
    }

    #[inline(always)]
    fn add64(self, a: F64, b: F64) -> F64 {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn mul64(self, a: F64, b: F64) -> F64 {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div64(self, a: F64, b: F64) -> F64 {
        zip(a, b, |a, b| a / b)
    }
}
