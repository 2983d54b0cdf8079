//! How near each kernel comes to what this machine can do, measured in the same run.
//!
//! `cargo run --release -p cifer-aggregation --example kernels` prints the bandwidth of the memory and the peak of
//! `sum += (x - y)²` in f32 registers, and then for 16 updates of 1e6 coordinates (or `-- N D`):
//!
//! - each rule on every instruction set that the processor has: best and median time, input bytes
//!   over the best time as a share of the bandwidth (coordinate-wise rules and the mean read them
//!   once), and for rules of distances also differences squared over the best time as a
//!   share of the peak;
//! - the median of the same updates from every kind of source.
//!
//! Threads are those of rayon (`RAYON_NUM_THREADS`).

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use cifer_aggregation::simd::{self, Level};
use cifer_aggregation::{
    Encoding, FileSource, MappedSource, Rule, Update, VectorSource, aggregate,
};
use rayon::prelude::*;

const RUNS: usize = 21;

/// Best and median of some runs, in seconds.
struct Times {
    best: f64,
    median: f64,
}

fn measure(mut run: impl FnMut()) -> Times {
    run();
    let mut seconds: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    Times {
        best: seconds[0],
        median: seconds[RUNS / 2],
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers = std::env::args().skip(1).map(|argument| argument.parse());
    let numbers: Vec<usize> = numbers.collect::<Result<_, _>>()?;
    let (n, len) = match numbers[..] {
        [] => (16, 1_000_000),
        [n, len] => (n, len),
        _ => return Err("expected nothing, or N and D".into()),
    };
    let (bandwidth, peak) = (read_bandwidth(), difference_peak());
    println!(
        "{} threads, {:.1} GB/s read from memory, {:.1} G differences squared/s",
        rayon::current_num_threads(),
        bandwidth / 1e9,
        peak / 1e9
    );
    let vectors: Vec<Vec<f32>> = (0..n).into_par_iter().map(|i| vector(i, len)).collect();
    by_rule(&vectors, bandwidth, peak)?;
    by_source(&vectors)
}

fn by_rule(vectors: &[Vec<f32>], bandwidth: f64, peak: f64) -> Result<(), Box<dyn Error>> {
    let (n, len) = (vectors.len(), vectors[0].len());
    let f = (n.saturating_sub(3) / 2).min(3);
    println!("\nn = {n}, d = {len}, f = {f}");
    println!(
        "{:<24}{:<10}{:>9}{:>11}{:>9}{:>8}{:>8}",
        "rule", "level", "best ms", "median ms", "GB/s", "memory", "peak"
    );
    let mut out = Vec::with_capacity(len);
    for name in RULES {
        let rule: Rule = name.replace('F', &f.to_string()).parse()?;
        for level in Level::available() {
            simd::limit(level);
            let times = measure(|| {
                out.clear();
                aggregate(&rule, &updates(vectors), &mut out).expect("honest updates");
            });
            let rate = (n * len * 4) as f64 / times.best;
            let differences = (n * (n - 1) / 2 * len) as f64 / times.best;
            let share = match name.contains("krum") {
                true => format!("{:.0}%", 100.0 * differences / peak),
                false => String::new(),
            };
            println!(
                "{:<24}{:<10}{:>9.2}{:>11.2}{:>9.2}{:>7.0}%{share:>8}",
                rule.to_string(),
                format!("{level:?}"),
                times.best * 1e3,
                times.median * 1e3,
                rate / 1e9,
                100.0 * rate / bandwidth
            );
        }
    }
    Ok(())
}

/// Rules, with F for the number of attackers.
const RULES: [&str; 4] = ["fedavg", "trimmed-mean:f=F", "median", "krum:f=F"];

/// The median of the same updates from memory and from files.
fn by_source(vectors: &[Vec<f32>]) -> Result<(), Box<dyn Error>> {
    let len = vectors[0].len();
    println!(
        "\n{:<24}{:>9}{:>11}{:>9}",
        "median from", "best ms", "median ms", "GB/s"
    );
    let report = |name: &str, bytes: u64, updates: &[Update<'_>]| {
        let mut out = Vec::with_capacity(len);
        let times = measure(|| {
            out.clear();
            aggregate(&Rule::Median, updates, &mut out).expect("honest updates");
        });
        let (best, median) = (times.best * 1e3, times.median * 1e3);
        let rate = bytes as f64 / times.best / 1e9;
        println!("{name:<24}{best:>9.2}{median:>11.2}{rate:>9.2}");
    };
    let bytes =
        |encoding: Encoding| encoding.size_bytes(len as u64).unwrap_or(0) * vectors.len() as u64;
    report("memory", bytes(Encoding::F32), &updates(vectors));
    let folder = tempfile::tempdir()?;
    for encoding in Encoding::ALL {
        let paths: Vec<_> = (0..vectors.len())
            .map(|i| folder.path().join(format!("{encoding:?}{i}")))
            .collect();
        for (vector, path) in vectors.iter().zip(&paths) {
            std::fs::write(path, encoding.encode(vector)?)?;
        }
        let open = |path| MappedSource::open(path, encoding, len);
        let mapped: Vec<_> = paths.iter().map(open).collect::<Result<_, _>>()?;
        let name = format!("mapped files, {encoding:?}");
        report(&name, bytes(encoding), &updates(&mapped));
        if encoding == Encoding::F32 {
            let open = |path| FileSource::open(path, len);
            let files: Vec<_> = paths.iter().map(open).collect::<Result<_, _>>()?;
            report("files read by position", bytes(encoding), &updates(&files));
        }
    }
    Ok(())
}

fn updates<S: VectorSource>(sources: &[S]) -> Vec<Update<'_>> {
    let update = |source| Update {
        source,
        weight: 100,
    };
    sources.iter().map(|source| update(source as _)).collect()
}

/// Numbers in [-1, 1) from a linear congruential generator: no kernel's time depends on them.
fn vector(seed: usize, len: usize) -> Vec<f32> {
    let mut state = seed as u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as i32 as f32 / 2_147_483_648.0
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes per second at which all threads together add up 512 MiB of numbers.
fn read_bandwidth() -> f64 {
    let words = vec![1_u64; 64 << 20];
    let times = measure(|| {
        let sums = words
            .par_chunks(1 << 16)
            .map(|part| part.iter().sum::<u64>());
        black_box(sums.sum::<u64>());
    });
    (words.len() * 8) as f64 / times.best
}

/// `sum += (x - y)²` per second on all threads together, with everything in registers.
fn difference_peak() -> f64 {
    let threads = rayon::current_num_threads();
    let mut count = 0_u64;
    let times = measure(|| {
        let counts = (0..threads).into_par_iter().with_max_len(1);
        count = counts.map(|_| simd::difference_squares(1 << 20)).sum();
    });
    count as f64 / times.best
}
