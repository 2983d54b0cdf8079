//! A round far larger than the memory bound passes through files within it. Alone in its process,
//! so that the peak it reads is its own.
#![cfg(target_os = "linux")]

use std::fs::File;

use cifer_aggregation::{FileSink, FileSource, Rule, Update, aggregate_step};

/// Peak resident memory of this process so far.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_round_of_640_mb_takes_less_than_64_mib() {
    const LEN: usize = 16_000_000;
    let folder = tempfile::tempdir().unwrap();
    // Sparse files: they read as zeros and take no disk.
    let open = |name: usize| {
        let path = folder.path().join(name.to_string());
        File::create(&path)
            .unwrap()
            .set_len(4 * LEN as u64)
            .unwrap();
        FileSource::open(&path, LEN).unwrap()
    };
    let sources: Vec<FileSource> = (0..10).map(open).collect();
    let base = open(10);
    let updates: Vec<Update<'_>> = sources
        .iter()
        .map(|source| Update { source, weight: 1 })
        .collect();
    let before = peak_kib();
    for rule in [Rule::Median, Rule::MultiKrum { f: 3, m: 7 }] {
        let mut sink = FileSink::create(folder.path().join("model")).unwrap();
        aggregate_step(&rule, &updates, &base, 1.0, &mut sink).unwrap();
        assert_eq!(sink.finish().unwrap().len_bytes, 4 * LEN as u64);
    }
    let grown = peak_kib() - before;
    println!("peak grew by {grown} KiB");
    assert!(grown < 64 << 10, "peak grew by {grown} KiB");
}
