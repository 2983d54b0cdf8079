//! The operations as loops over arrays of four: the reference that the others are tested against.

use super::Simd;
use crate::tiles::BLOCK;

/// No instructions beyond those that the compiler targets anyway.
#[derive(Clone, Copy)]
pub(super) struct Portable;

const WIDTH: usize = 4;

type F32 = [f32; WIDTH];
type F64 = [f64; WIDTH / 2];

#[inline(always)]
fn zip<T: Copy, const N: usize>(a: [T; N], b: [T; N], f: impl Fn(T, T) -> T) -> [T; N] {
    std::array::from_fn(|l| f(a[l], b[l]))
}

impl Simd for Portable {
    type F32 = F32;
    type F64 = F64;
    type F64x8 = [F64; 16 / WIDTH];

    #[inline(always)]
    fn f32s(self, block: &[f32; BLOCK]) -> &[F32] {
        block.as_chunks().0
    }

    #[inline(always)]
    fn f32s_mut(self, block: &mut [f32; BLOCK]) -> &mut [F32] {
        block.as_chunks_mut().0
    }

    #[inline(always)]
    fn f64x8s(self, block: &[f64; BLOCK]) -> &[Self::F64x8] {
        block.as_chunks().0.as_chunks().0
    }

    #[inline(always)]
    fn zero64x8(self) -> Self::F64x8 {
        [[0.0; WIDTH / 2]; 16 / WIDTH]
    }

    #[inline(always)]
    fn zip64x8(
        self,
        a: Self::F64x8,
        b: Self::F64x8,
        f: impl Fn(Self::F64, Self::F64) -> Self::F64,
    ) -> Self::F64x8 {
        std::array::from_fn(|k| f(a[k], b[k]))
    }

    #[inline(always)]
    fn lanes64(self, x: Self::F64x8) -> [f64; 8] {
        let mut lanes = [0.0; 8];
        lanes.copy_from_slice(x.as_flattened());
        lanes
    }

    #[inline(always)]
    fn min(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: F32, b: F32) -> F32 {
        zip(a, b, |a, b| if a > b { a } else { b })
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
    fn splat64(self, x: f64) -> F64 {
        [x; WIDTH / 2]
    }

    #[inline(always)]
    fn add64(self, a: F64, b: F64) -> F64 {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub64(self, a: F64, b: F64) -> F64 {
        zip(a, b, |a, b| a - b)
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
