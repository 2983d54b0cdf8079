//! Sums over all coordinates, in one pass over the data and in a shape that nothing changes.
//!
//! 1. Whoever measures adds what a block of 256 coordinates gives, one number for each sum; a short last block is
//!    padded with zeros;
//! 2. the blocks of a tile of [`TILE`] coordinates in order;
//! 3. the tiles of a segment of [`SEGMENT`] coordinates in order;
//! 4. the segments in order.
//!
//! All of it in f64. So the sums of a segment can be computed anywhere (by another thread, by a committee
//! that has only that part of the updates) and added up to the same bits.

use crate::error::AggregationError;
use crate::tiles::{Ahead, BLOCK, Inputs, Pool, Scratch, TILE, slot_count, walk};

/// Coordinates of the largest part that is summed on its own: 256 tiles.
pub const SEGMENT: usize = 256 * TILE;

/// `count` sums; `add_block` adds one block of all rows to them.
pub(crate) fn over_coordinates(
    inputs: &Inputs<'_>,
    count: usize,
    add_block: impl Fn(&[[f32; BLOCK]], &mut Ahead<'_>, &mut [f64]) + Sync,
) -> Result<Vec<f64>, AggregationError> {
    let slots = slot_count(count * size_of::<f64>()).min(inputs.len().div_ceil(TILE));
    let mut slots = vec![vec![0.0; count]; slots];
    let scratches = Pool::new();
    let mut total = vec![0.0; count];
    let mut segment = vec![0.0; count];
    walk(
        inputs.len(),
        &mut slots,
        |sums, tile| {
            sums.fill(0.0);
            scratches.with(
                || Scratch::new(inputs),
                |scratch| {
                    inputs.for_each_block(tile, scratch, |rows, ahead, _| {
                        add_block(rows, ahead, sums);
                    })
                },
            )
        },
        |sums, tile| {
            add(&mut segment, sums);
            if tile.end.is_multiple_of(SEGMENT) || tile.end == inputs.len() {
                add(&mut total, &segment);
                segment.fill(0.0);
            }
            Ok(())
        },
    )?;
    Ok(total)
}

fn add(sums: &mut [f64], more: &[f64]) {
    for (sum, value) in sums.iter_mut().zip(more) {
        *sum += value;
    }
}

/// The sum of eight lanes: `((l0+l4)+(l2+l6)) + ((l1+l5)+(l3+l7))`.
#[inline(always)]
pub(crate) fn fold(l: [f64; 8]) -> f64 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}
