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
        type F32x16 = [Self::F32; 16 / $width];

        const PARTS: usize = 16 / $width;

        #[inline(always)]
        fn f32s(self, block: &[f32; BLOCK]) -> &[Self::F32] {
            block.as_chunks().0
        }

        #[inline(always)]
        fn f32s_mut(self, block: &mut [f32; BLOCK]) -> &mut [Self::F32] {
            block.as_chunks_mut().0
        }

        #[inline(always)]
        fn f32x16s(self, block: &[f32; BLOCK]) -> &[Self::F32x16] {
            block.as_chunks().0.as_chunks().0
        }

        #[inline(always)]
        fn zero16(self) -> Self::F32x16 {
            [[0.0; $width]; 16 / $width]
        }

        #[inline(always)]
        fn splat(self, x: f32) -> Self::F32 {
            [x; $width]
        }

        #[inline(always)]
        fn splat64(self, x: f64) -> Self::F64 {
            [x; $width / 2]
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

    /// The one in use: the widest that is available and not above the [limit].
    pub fn current() -> Self {
        let chosen = usize::from(CURRENT.load(Ordering::Relaxed));
        match Self::ALL.get(chosen) {
            Some(level) => *level,
            None => choose(Self::Avx512),
        }
    }
}

/// Position in [`Level::ALL`] of the one in use, or beyond it when none was chosen yet: kernels ask for every
/// block, and asking the processor takes longer.
static CURRENT: AtomicU8 = AtomicU8::new(u8::MAX);

/// Lets the whole process use no instruction set above `level`. Changes speed, never a result: for
/// tests and measurements.
pub fn limit(level: Level) {
    choose(level);
}

fn choose(most: Level) -> Level {
    let widest = Level::available().take_while(|level| *level <= most).last();
    let chosen = widest.unwrap_or(Level::Portable);
    CURRENT.store(chosen as u8, Ordering::Relaxed);
    chosen
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

/// Does `steps` rounds of `sum += (x - y)²` in f32 with all numbers in registers, and gives how
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
        let step = simd.splat(1e-3);
        let ys = [0.1, 0.2, 0.3, 0.4].map(|y| simd.splat(y));
        let mut xs = [1.0, 2.0].map(|x| simd.splat(x));
        let mut sums = [[simd.splat(0.0); 4]; 2];
        for _ in 0..self.0 {
            for (x, sums) in xs.iter_mut().zip(&mut sums) {
                for (sum, y) in sums.iter_mut().zip(ys) {
                    let difference = simd.sub(*x, y);
                    *sum = simd.add(*sum, simd.mul(difference, difference));
                }
                *x = simd.add(*x, step);
            }
        }
        std::hint::black_box(sums);
        let lanes = size_of::<S::F32>() / size_of::<f32>();
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
    /// Sixteen f32, as `PARTS` vectors: for sums whose lanes are part of the specification.
    type F32x16: Copy + AsRef<[Self::F32]> + AsMut<[Self::F32]>;

    /// Vectors of sixteen f32.
    const PARTS: usize;

    /// A block as vectors.
    fn f32s(self, block: &[f32; BLOCK]) -> &[Self::F32];
    /// A block as vectors.
    fn f32s_mut(self, block: &mut [f32; BLOCK]) -> &mut [Self::F32];
    /// A block in sixteens.
    fn f32x16s(self, block: &[f32; BLOCK]) -> &[Self::F32x16];
    /// Sixteen zeros.
    fn zero16(self) -> Self::F32x16;
    /// The sum of the sixteen lanes: lane l and lane l + 8 are added in f32, the eight sums are [folded](crate::sums::fold) in
    /// f64.
    fn fold16(self, x: Self::F32x16) -> f64;

    /// Brings the cache line of a number into the second-level cache, or does nothing.
    fn prefetch(self, x: &f32);

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F32;
    /// The smaller one, where neither is NaN and zeros have the same sign.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger one, where neither is NaN and zeros have the same sign.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a + b`.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;

    /// The f32 as f64, lower lanes first. Exact.
    fn widen(self, x: Self::F32) -> [Self::F64; 2];
    /// Rounds to f32, the inverse of [`widen`](Self::widen).
    fn narrow(self, x: [Self::F64; 2]) -> Self::F32;

    /// `x` in every lane.
    fn splat64(self, x: f64) -> Self::F64;
    /// `a + b`.
    fn add64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// `a * b`.
    fn mul64(self, a: Self::F64, b: Self::F64) -> Self::F64;
    /// `a / b`.
    fn div64(self, a: Self::F64, b: Self::F64) -> Self::F64;
}
