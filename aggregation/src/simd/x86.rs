//! The operations in SSE2, AVX2 and AVX-512F.
#![allow(
    unsafe_code,
    reason = "instructions beyond the compiler's target; what makes them safe is in the parent module"
)]
#![allow(
    clippy::missing_transmute_annotations,
    reason = "both sides are given by the intrinsic and by the method's signature"
)]

use std::arch::x86_64::*;
use std::mem::transmute;

use super::{Level, Op, Simd};
use crate::sums::fold;
use crate::tiles::BLOCK;

/// 128-bit registers.
#[derive(Clone, Copy)]
pub(super) struct Sse2(());

/// 256-bit registers.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

/// 512-bit registers.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

/// Runs `op` with the instructions of `level`.
///
/// # Panics
/// When the processor does not have them.
pub(super) fn run<O: Op>(level: Level, op: O) -> O::Output {
    assert!(level.is_available(), "{level:?} on a processor without it");
    // SAFETY: the assertion; SSE2 is part of x86-64.
    unsafe {
        match level {
            Level::Avx512 => run_avx512(op),
            Level::Avx2 => run_avx2(op),
            _ => op.run(Sse2(())),
        }
    }
}

#[target_feature(enable = "avx2")]
fn run_avx2<O: Op>(op: O) -> O::Output {
    op.run(Avx2(()))
}

#[target_feature(enable = "avx512f")]
fn run_avx512<O: Op>(op: O) -> O::Output {
    op.run(Avx512(()))
}

/// An expression of intrinsics of the instruction set whose proof `self` is. Transmutes are between
/// a register and the array of the same lanes.
macro_rules! proven {
    ($e:expr) => {
        // SAFETY: a value of this type exists only where the instructions do (see the parent
        // module), and an array and a register of the same size hold the same plain numbers.
        unsafe { transmute($e) }
    };
}

/// Methods that are the same everywhere from SSE on.
macro_rules! common {
    () => {
        #[inline(always)]
        fn prefetch(self, x: &f32) {
            // SAFETY: part of SSE, and so of x86-64; it changes nothing but the caches.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(x).cast()) }
        }
    };
}

/// A method of two vectors that is one instruction.
macro_rules! binary {
    ($($name:ident: $vector:ty = $intrinsic:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, a: $vector, b: $vector) -> $vector {
            proven!($intrinsic(transmute(a), transmute(b)))
        }
    )*};
}

/// Conversions where half of an f32 register widens to a whole one.
macro_rules! wide {
    ($half:ty, $widen:ident, $narrow:ident) => {
        #[inline(always)]
        fn widen(self, x: Self::F32) -> [Self::F64; 2] {
            proven!({
                let x: [$half; 2] = transmute(x);
                [$widen(x[0]), $widen(x[1])]
            })
        }

        #[inline(always)]
        fn narrow(self, [a, b]: [Self::F64; 2]) -> Self::F32 {
            proven!([$narrow(transmute(a)), $narrow(transmute(b))])
        }
    };
}

impl Simd for Sse2 {
    views!(4);
    common!();

    #[inline(always)]
    fn fold16(self, [a, b, c, d]: Self::F32x16) -> f64 {
        let [low, high] = [self.widen(self.add(a, c)), self.widen(self.add(b, d))];
        let [even, odd] = [self.add64(low[0], high[0]), self.add64(low[1], high[1])];
        let [x, y] = self.add64(even, odd);
        x + y
    }

    binary! {
        min: Self::F32 = _mm_min_ps;
        max: Self::F32 = _mm_max_ps;
        add: Self::F32 = _mm_add_ps;
        sub: Self::F32 = _mm_sub_ps;
        mul: Self::F32 = _mm_mul_ps;
        add64: Self::F64 = _mm_add_pd;
        mul64: Self::F64 = _mm_mul_pd;
        div64: Self::F64 = _mm_div_pd;
    }

    #[inline(always)]
    fn widen(self, x: Self::F32) -> [Self::F64; 2] {
        proven!({
            let x: __m128 = transmute(x);
            [_mm_cvtps_pd(x), _mm_cvtps_pd(_mm_movehl_ps(x, x))]
        })
    }

    #[inline(always)]
    fn narrow(self, [a, b]: [Self::F64; 2]) -> Self::F32 {
        proven!(_mm_movelh_ps(
            _mm_cvtpd_ps(transmute(a)),
            _mm_cvtpd_ps(transmute(b))
        ))
    }
}

impl Simd for Avx2 {
    views!(8);
    common!();

    #[inline(always)]
    fn fold16(self, [a, b]: Self::F32x16) -> f64 {
        let [low, high] = self.widen(self.add(a, b));
        let [x, y, z, w] = self.add64(low, high);
        (x + z) + (y + w)
    }

    binary! {
        min: Self::F32 = _mm256_min_ps;
        max: Self::F32 = _mm256_max_ps;
        add: Self::F32 = _mm256_add_ps;
        sub: Self::F32 = _mm256_sub_ps;
        mul: Self::F32 = _mm256_mul_ps;
        add64: Self::F64 = _mm256_add_pd;
        mul64: Self::F64 = _mm256_mul_pd;
        div64: Self::F64 = _mm256_div_pd;
    }

    wide!(__m128, _mm256_cvtps_pd, _mm256_cvtpd_ps);
}

impl Simd for Avx512 {
    views!(16);
    common!();

    #[inline(always)]
    fn fold16(self, [lanes]: Self::F32x16) -> f64 {
        let mut sums = [0.0; 8];
        for (l, sum) in sums.iter_mut().enumerate() {
            *sum = f64::from(lanes[l] + lanes[l + 8]);
        }
        fold(sums)
    }

    binary! {
        min: Self::F32 = _mm512_min_ps;
        max: Self::F32 = _mm512_max_ps;
        add: Self::F32 = _mm512_add_ps;
        sub: Self::F32 = _mm512_sub_ps;
        mul: Self::F32 = _mm512_mul_ps;
        add64: Self::F64 = _mm512_add_pd;
        mul64: Self::F64 = _mm512_mul_pd;
        div64: Self::F64 = _mm512_div_pd;
    }

    wide!(__m256, _mm512_cvtps_pd, _mm512_cvtpd_ps);
}
