//! Vector instructions, chosen when the program runs: one generic kernel, compiled for each
//! instruction set.
//!
//! A kernel is an `Op`, written once against `Simd`; `dispatch` runs the copy that was compiled for the
//! best instruction set of this processor. Nothing here decides a result: every operation is the IEEE-754
//! one on each lane by itself (there is no fused multiply-add and no horizontal sum), and where a kernel
//! adds lanes up, their number and order are written in the kernel and do not follow the width of
//! a register.
//!
//! # Safety
//! This is one of the few modules with `unsafe`. A value of a type that stands for an
//! instruction set (`x86::Avx2`, …) is made only by `dispatch`, after the processor was asked;
//! so having one is the proof that its instructions exist, and its methods, which use nothing else, are safe to
//! call. Vectors are plain arrays: memory is reached by references and slices only.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::tiles::BLOCK;

/// The views of blocks as vectors, for a register of `$width` f32.
macro_rules! views {
    ($width:literal) => {
        type F32 = [f32; $width];
        type F64 = [f64; $width / 2];
        type F64x8 = [Self::F64; 16 / $width];

        #[inline(always)]
        fn f32s(self, block: &[f32; BLOCK]) -> &[Self::F32] {
            block.as_chunks().0
        }

        #[inline(always)]
        fn f32s_mut(self, block: &mut [f32; BLOCK]) -> &mut [Self::F32] {
            block.as_chunks_mut().0
        }

        #[inline(always)]
        fn f64x8s(self, block: &[f64; BLOCK]) -> &[Self::F64x8] {
            block.as_chunks().0.as_chunks().0
        }

        #[inline(always)]
        fn zero64x8(self) -> Self::F64x8 {
            [[0.0; $width / 2]; 16 / $width]
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
        fn splat64(self, x: f64) -> Self::F64 {
            [x; $width / 2]
        }

        #[inline(always)]
        fn lanes64(self, x: Self::F64x8) -> [f64; 8] {
            let mut lanes = [0.0; 8];
            lanes.copy_from_slice(x.as_flattened());
            lanes
        }
    };
}

mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

/// An instruction set that the kernels are compiled for, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Level {
    /// Whatever the compiler makes of arrays of four; the only one outside of x86-64.
    Portable,
    /// 128 bits; part of x86-64.
    Sse2,
    /// 256 bits.
    Avx2,
    /// 512 bits (AVX-512F).
    Avx512,
}

impl Level {
    const ALL: [Self; 4] = [Self::Portable, Self::Sse2, Self::Avx2, Self::Avx512];

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// All that this processor has, narrowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }

    /// The one in use: the widest that is available and not above the [cap](limit).
    pub fn current() -> Self {
        let cap = usize::from(CAP.load(Ordering::Relaxed));
        let allowed = Self::ALL.into_iter().take(cap + 1).rev();
        allowed
            .into_iter()
            .find(|level| level.is_available())
            .unwrap_or(Self::Portable)
    }
}

/// Position in [`Level::ALL`] of the widest instruction set to use.
static CAP: AtomicU8 = AtomicU8::new(u8::MAX);

/// Lets the whole process use no instruction set above `level`. Changes speed, never a result: for
/// tests and measurements.
pub fn limit(level: Level) {
    CAP.store(level as u8, Ordering::Relaxed);
}

/// A kernel: the same source for every instruction set.
pub(crate) trait Op {
    type Output;

    /// Has to be `#[inline(always)]`, like what it calls with `S`, to be compiled for `S`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `op` with the widest instructions that may be used.
pub(crate) fn dispatch<O: Op>(op: O) -> O::Output {
    run(Level::current(), op)
}

fn run<O: Op>(level: Level, op: O) -> O::Output {
    match level {
        #[cfg(target_arch = "x86_64")]
        level @ (Level::Sse2 | Level::Avx2 | Level::Avx512) => x86::run(level, op),
        _ => op.run(portable::Portable),
    }
}

/// Does `steps` rounds of `sum += (x - y)²` in f64 with all numbers in registers, and gives how
/// many there were: the limit of the [distances](crate::distances), for whoever has a clock.
#[doc(hidden)]
pub fn difference_squares(steps: usize) -> u64 {
    dispatch(DifferenceSquares(steps))
}

struct DifferenceSquares(usize);

impl Op for DifferenceSquares {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Output {
        let step = simd.splat64(1e-3);
        let ys = [0.1, 0.2, 0.3, 0.4].map(|y| simd.splat64(y));
        let mut xs = [1.0, 2.0].map(|x| simd.splat64(x));
        let mut sums = [[simd.splat64(0.0); 4]; 2];
        for _ in 0..self.0 {
            for (x, sums) in xs.iter_mut().zip(&mut sums) {
                for (sum, y) in sums.iter_mut().zip(ys) {
                    let difference = simd.sub64(*x, y);
                    *sum = simd.add64(*sum, simd.mul64(difference, difference));
                }
                *x = simd.add64(*x, step);
            }
        }
        std::hint::black_box(sums);
        let lanes = size_of::<S::F64>() / size_of::<f64>();
        (8 * lanes * self.0) as u64
    }
}

/// The operations of an instruction set. A vector `F32` has some number of f32, and two vectors `F64` take
/// as many f64.
pub(crate) trait Simd: Copy {
    /// Some f32, `[f32; W]`.
    type F32: Copy;
    /// Half as many f64, `[f64; W / 2]`.
    type F64: Copy + AsRef<[f64]>;
    /// Eight f64, as several `F64` or one: for sums whose lanes are part of the specification.
    type F64x8: Copy;

    /// A block as vectors.
    fn f32s(self, block: &[f32; BLOCK]) -> &[Self::F32];
    /// A block as vectors.
    fn f32s_mut(self, block: &mut [f32; BLOCK]) -> &mut [Self::F32];

    /// The smaller one, where neither is NaN and zeros have the same sign.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger one, where neither is NaN and zeros have the same sign.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// The f32 as f64, lower lanes first. Exact.
    fn widen(self, x: Self::F32) -> [Self::F64; 2];
    /// Rounds to f32, the inverse of [`widen`](Self::widen).
    fn narrow(self, x: [Self::F64; 2]) -> Self::F32;

    /// `x` in every lane.
    fn splat64(self, x: f64) -> Self::F64;
    /// `a + b`.
    fn add64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// `a - b`.
    fn sub64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// `a * b`.
    fn mul64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// `a / b`.
    fn div64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// A block in eights.
    fn f64x8s(self, block: &[f64; BLOCK]) -> &[Self::F64x8];
    /// Eight zeros.
    fn zero64x8(self) -> Self::F64x8;
    /// `f` of each vector of `a` and `b`.
    fn zip64x8(
        self,
        a: Self::F64x8,
        b: Self::F64x8,
        f: impl Fn(Self::F64, Self::F64) -> Self::F64,
    ) -> Self::F64x8;
    /// The eight lanes.
    fn lanes64(self, x: Self::F64x8) -> [f64; 8];
}
