//! How fast the rules are on this machine, against the memory bandwidth measured in the same run.
//!
//! `cargo run -p cifer-aggregation --example throughput` prints, for n = 10 and 16 updates of 1e6 and 1e7
//! coordinates in memory, the median and the best of several runs, the input bytes over the best
//! time, and what share of the bandwidth that is (on a busy machine the best run says more). Krum
//! reads the data twice and does arithmetic for every pair, so its share is small. Needs 1.2 GB of
//! memory; `-- --quick` leaves out 1e7.

use std::hint::black_box;
use std::time::Instant;

use cifer_aggregation::{AggregationError, Rule, RuleName, Update, aggregate};
use rayon::prelude::*;

const RUNS: usize = 15;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let bandwidth = read_bandwidth();
    println!(
        "{} threads, {:.1} GB/s read from memory",
        rayon::current_num_threads(),
        bandwidth
    );
    println!(
        "{:<18}{:>4}{:>10}{:>10}{:>10}{:>9}{:>8}",
        "rule", "n", "d", "median ms", "best ms", "GB/s", "share"
    );
    let lengths: &[usize] = match quick {
        true => &[1_000_000],
        false => &[1_000_000, 10_000_000],
    };
    for &len in lengths {
        for n in [10, 16] {
            let vectors: Vec<Vec<f32>> = (0..n).into_par_iter().map(|i| vector(i, len)).collect();
            for name in RuleName::ALL {
                let rule = name.for_numbers(n as u32, 3);
                if rule.check(n).is_err() {
                    continue; // Bulyan needs more than ten.
                }
                let (median, best) = measure(rule, &vectors)?;
                let rate = (n * len * 4) as f64 / best / 1e9;
                println!(
                    "{name:<18}{n:>4}{len:>10}{:>10.2}{:>10.2}{rate:>9.2}{:>7.0}%",
                    median * 1e3,
                    best * 1e3,
                    100.0 * rate / bandwidth
                );
            }
        }
    }
    Ok(())
}

/// Numbers in [-1, 1) from a linear congruential generator: the rules' time does not depend on them.
fn vector(seed: usize, len: usize) -> Vec<f32> {
    let mut state = seed as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as i32 as f32 / 2_147_483_648.0
    };
    (0..len).map(|_| next()).collect()
}

/// The median and the best of [`RUNS`] runs in seconds, after one that warms up.
fn measure(rule: Rule, vectors: &[Vec<f32>]) -> Result<(f64, f64), AggregationError> {
    let updates: Vec<Update<'_>> = vectors
        .iter()
        .map(|source| Update {
            source,
            weight: 100,
        })
        .collect();
    let mut out = Vec::with_capacity(vectors[0].len());
    let mut seconds = Vec::with_capacity(RUNS);
    for _ in 0..=RUNS {
        out.clear();
        let start = Instant::now();
        aggregate(&rule, &updates, &mut out)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    Ok((seconds[RUNS / 2], seconds[0]))
}

/// GB/s at which all threads together add up 512 MiB of numbers; the best of several runs.
fn read_bandwidth() -> f64 {
    let words = vec![1_u64; 64 << 20];
    let best = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let sum: u64 = words
                .par_chunks(1 << 16)
                .map(|part| part.iter().sum::<u64>())
                .sum();
            black_box(sum);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    (words.len() * 8) as f64 / best / 1e9
}
