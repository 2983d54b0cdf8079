//! Sign majority: in every coordinate the sign that most updates have.
//!
//! **Definition.** 1 where more values are above zero than below, -1 where fewer are, 0 where it is a
//! tie. The server's learning rate is the size of the step.
//!
//! **Paper.** Bernstein et al., *signSGD with Majority Vote is Communication Efficient and Fault
//! Tolerant*, ICLR 2019, algorithm 1.
//!
//! **Breakdown point.** Every update has one vote in a coordinate, whatever its size: where more than
//! n/2 + f/2 updates agree honestly, f cannot turn the result. How large updates are is lost.
//!
//! **Cost.** One pass, n comparisons per coordinate.
//!
//! **Use.** With a learning rate of its own, where only directions can be trusted.

use crate::rules::Kernel;
use crate::simd::{Op, Simd, dispatch};
use crate::tiles::{Ahead, BLOCK};

pub(crate) struct SignMajority;

impl Kernel for SignMajority {
    fn reduce(&self, rows: &mut [[f32; BLOCK]], ahead: &mut Ahead<'_>, out: &mut [f32; BLOCK]) {
        dispatch(Vote { rows, ahead, out });
    }
}

struct Vote<'a, 'v> {
    rows: &'a [[f32; BLOCK]],
    ahead: &'a mut Ahead<'v>,
    out: &'a mut [f32; BLOCK],
}

impl Op for Vote<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut votes = [0_i32; BLOCK];
        for row in self.rows {
            self.ahead.next_row(simd);
            for (votes, x) in votes.iter_mut().zip(row) {
                *votes += i32::from(*x > 0.0) - i32::from(*x < 0.0);
            }
        }
        for (out, votes) in self.out.iter_mut().zip(&votes) {
            *out = votes.signum() as f32;
        }
    }
}
