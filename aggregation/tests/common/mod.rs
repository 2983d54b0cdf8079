//! Inputs and plain float64 references that the tests share.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod reference;

use std::io::Write;

use cifer_aggregation::{
    AggregationError, Pipeline, Report, Rule, RuleName, Update, VectorSource, aggregate,
    aggregate_pipeline,
};

/// Whole numbers from a fixed generator (SplitMix64) as f32 in [-1, 1): the same on every machine.
pub fn vector(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..len)
        .map(|_| ((next() >> 40) as i32 - (1 << 23)) as f32 / (1 << 23) as f32)
        .collect()
}

pub fn vectors(n: usize, len: usize) -> Vec<Vec<f32>> {
    (0..n).map(|i| vector(1 + i as u64, len)).collect()
}

pub fn updates<S: VectorSource>(sources: &[S]) -> Vec<Update<'_>> {
    sources
        .iter()
        .enumerate()
        .map(|(i, s)| Update {
            source: s,
            weight: 10 + i as u64,
        })
        .collect()
}

pub fn run<S: VectorSource>(
    rule: Rule,
    sources: &[S],
) -> Result<(Vec<f32>, Report), AggregationError> {
    let mut out = Vec::new();
    let report = aggregate(&rule, &updates(sources), &mut out)?;
    Ok((out, report))
}

pub fn ok<S: VectorSource>(rule: Rule, sources: &[S]) -> Vec<f32> {
    run(rule, sources).unwrap().0
}

/// A source that only reads, so that the path through the read buffers is taken.
pub struct ReadOnly(pub Vec<f32>);

impl VectorSource for ReadOnly {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, offset: usize, out: &mut [f32]) -> Result<(), AggregationError> {
        self.0.read(offset, out)
    }
}

/// A file of f32.
pub fn write(v: &[f32]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
    file.write_all(&bytes).unwrap();
    file
}

/// The seed of all pipelines in tests.
pub const SEED: [u8; 32] = [42; 32];

pub fn run_pipeline<S: VectorSource>(
    pipeline: &Pipeline,
    sources: &[S],
) -> Result<(Vec<f32>, Report), AggregationError> {
    let mut out = Vec::new();
    let report = aggregate_pipeline(pipeline, &SEED, &updates(sources), &mut out)?;
    Ok((out, report))
}

/// Every rule alone, and behind every pre-aggregator and some chains of them, with parameters that
/// hold for n updates.
pub fn pipelines(n: usize) -> Vec<Pipeline> {
    let fronts = [
        "",
        "clip:radius=1.5,",
        "arc,",
        "nnm,",
        "bucketing:s=2,",
        "arc,nnm,",
        "clip:radius=3,bucketing:s=2,nnm:f=0,arc:f=0,",
    ];
    let mut all = Vec::new();
    for f in [0, 1, n / 4, n.saturating_sub(1) / 2] {
        for front in fronts {
            for name in RuleName::ALL {
                let text = format!("{front}{name}");
                let pipeline = Pipeline::for_numbers(&text, n as u32, f as u32).unwrap();
                if pipeline.check(n).is_ok() && !all.contains(&pipeline) {
                    all.push(pipeline);
                }
            }
        }
    }
    all
}

/// The first five rules with parameters that hold for n updates.
pub fn rules(n: usize) -> Vec<Rule> {
    let n = n as u32;
    let mut rules = vec![
        Rule::FedAvg {
            weight_cap: u64::MAX,
        },
        Rule::FedAvg { weight_cap: 12 },
        Rule::Median,
        Rule::TrimmedMean { f: (n - 1) / 2 },
        Rule::TrimmedMean { f: n / 4 },
    ];
    if n >= 3 {
        let f = (n - 3) / 2;
        rules.extend([
            Rule::Krum { f },
            Rule::Krum { f: 0 },
            Rule::MultiKrum { f, m: n - f },
            Rule::MultiKrum { f: 0, m: n / 2 },
        ]);
    }
    rules
}

/// The rules as their papers define them, in float64 and without any cleverness. Returns the result
/// and the selected updates.
pub fn reference(rule: Rule, vectors: &[Vec<f32>]) -> (Vec<f64>, Vec<usize>) {
    let (n, len) = (vectors.len(), vectors[0].len());
    let all: Vec<usize> = (0..n).collect();
    let sorted = |k: usize| {
        let mut column: Vec<f64> = vectors.iter().map(|v| f64::from(v[k])).collect();
        column.sort_by(f64::total_cmp);
        column
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    match rule {
        Rule::FedAvg { weight_cap } => {
            let weight = |i: usize| (10 + i as u64).min(weight_cap) as f64;
            let total: f64 = all.iter().map(|&i| weight(i)).sum();
            let column = |k| {
                all.iter()
                    .map(|&i| weight(i) * f64::from(vectors[i][k]))
                    .sum::<f64>()
            };
            ((0..len).map(|k| column(k) / total).collect(), all)
        }
        Rule::Median => (
            (0..len)
                .map(|k| mean(&sorted(k)[(n - 1) / 2..n / 2 + 1]))
                .collect(),
            all,
        ),
        Rule::TrimmedMean { f } => {
            let f = f as usize;
            ((0..len).map(|k| mean(&sorted(k)[f..n - f])).collect(), all)
        }
        Rule::Krum { f } => krum(vectors, f as usize, 1),
        Rule::MultiKrum { f, m } => krum(vectors, f as usize, m as usize),
        _ => unreachable!("rule without a reference"),
    }
}

fn krum(vectors: &[Vec<f32>], f: usize, m: usize) -> (Vec<f64>, Vec<usize>) {
    let n = vectors.len();
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2))
            .sum()
    };
    let score = |i: usize| -> f64 {
        let others = (0..n).filter(|&j| j != i);
        let mut row: Vec<f64> = others.map(|j| distance(&vectors[i], &vectors[j])).collect();
        row.sort_by(f64::total_cmp);
        row[..n - f - 2].iter().sum()
    };
    let mut order: Vec<(f64, usize)> = (0..n).map(|i| (score(i), i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut chosen: Vec<usize> = order[..m].iter().map(|(_, i)| *i).collect();
    chosen.sort_unstable();
    let column = |k: usize| {
        chosen
            .iter()
            .map(|&i| f64::from(vectors[i][k]))
            .sum::<f64>()
    };
    (
        (0..vectors[0].len())
            .map(|k| column(k) / m as f64)
            .collect(),
        chosen,
    )
}
