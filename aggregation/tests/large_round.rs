//! A round of mapped files takes little memory of its own, however large the files are. Alone in its
//! process, so that the memory it reads is its own.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use cifer_aggregation::{
    AggregationError, Encoding, MappedSource, Rule, Sink, Update, VectorSource, aggregate,
};

/// Resident anonymous memory of this process in KiB: what cannot be dropped and read again.
fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Forgets the result but for some coordinates, and looks at the memory on the way.
struct Watch {
    len: usize,
    peak_kib: u64,
    samples: Vec<(usize, f32)>,
}

impl Sink for Watch {
    fn write(&mut self, chunk: &[f32]) -> Result<(), AggregationError> {
        self.samples.push((self.len, chunk[0]));
        if self.samples.len().is_multiple_of(16) {
            self.peak_kib = self.peak_kib.max(anonymous_kib());
        }
        self.len += chunk.len();
        Ok(())
    }
}

/// Writes an update of pseudo-random numbers in [-1, 1).
fn write(path: &Path, seed: u32, len: usize, encoding: Encoding) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut left = len;
    while left > 0 {
        let part: Vec<f32> = (0..left.min(1 << 16))
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as i32 as f32 / 2_147_483_648.0
            })
            .collect();
        file.write_all(&encoding.encode(&part).unwrap()).unwrap();
        left -= part.len();
    }
    file.flush().unwrap();
}

/// The trimmed mean of one coordinate, by definition.
fn trimmed_mean(sources: &[MappedSource], coordinate: usize, f: usize) -> f32 {
    let mut column: Vec<f32> = sources
        .iter()
        .map(|source| {
            let mut x = [0.0];
            source.read(coordinate, &mut x).unwrap();
            x[0]
        })
        .collect();
    column.sort_by(f32::total_cmp);
    let kept = &column[f..column.len() - f];
    let sum: f64 = kept.iter().map(|x| f64::from(*x)).sum();
    (sum / kept.len() as f64) as f32
}

/// Aggregates 32 updates of `len` coordinates and gives the peak of anonymous memory in KiB.
fn peak_of_round(len: usize, encoding: Encoding) -> u64 {
    const N: usize = 32;
    const F: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let sources: Vec<MappedSource> = (0..N)
        .map(|i| {
            let path = folder.path().join(i.to_string());
            write(&path, i as u32 + 1, len, encoding);
            MappedSource::open(&path, encoding, len).unwrap()
        })
        .collect();
    let updates: Vec<Update<'_>> = sources
        .iter()
        .map(|source| Update { source, weight: 1 })
        .collect();
    let mut peak = 0;
    for rule in [
        Rule::TrimmedMean { f: F as u32 },
        Rule::MultiKrum { f: 6, m: 26 },
    ] {
        let mut sink = Watch {
            len: 0,
            peak_kib: 0,
            samples: vec![],
        };
        let start = std::time::Instant::now();
        aggregate(&rule, &updates, &mut sink).unwrap();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(sink.len, len);
        if matches!(rule, Rule::TrimmedMean { .. }) {
            for &(coordinate, found) in sink.samples.iter().step_by(7) {
                assert_eq!(found, trimmed_mean(&sources, coordinate, F), "{coordinate}");
            }
        }
        println!(
            "{rule} of {N} updates of {len} ({encoding:?}): {seconds:.2} s, peak {} KiB anonymous",
            sink.peak_kib
        );
        peak = peak.max(sink.peak_kib);
    }
    peak
}

#[test]
fn a_short_round_of_mapped_files_takes_less_than_64_mib() {
    for encoding in Encoding::ALL {
        let peak = peak_of_round(300_001, encoding);
        assert!(0 < peak && peak < 64 << 10, "{encoding:?}: {peak} KiB");
    }
}

#[test]
#[ignore = "writes 3.2 GB to the temporary folder"]
fn a_round_of_32_updates_of_25_million_takes_less_than_500_mb() {
    let peak = peak_of_round(25_000_000, Encoding::F32);
    assert!(0 < peak && peak < 500_000_000 / 1024, "{peak} KiB");
}
