//! Rounds that nobody would send in good faith: one coordinate, hundreds of updates, ties
//! everywhere, all zero, subnormal and largest values. Nothing panics, and all results are finite.

mod common;

use cifer_aggregation::{PreAggregator, Rule, TILE};
use common::{pipelines, run_pipeline, vectors};

/// Pipelines for n whose work is not out of proportion to what a test is for.
fn cheap(n: usize) -> Vec<cifer_aggregation::Pipeline> {
    let mut all = pipelines(n);
    if n > 20 {
        // One chain is as good as all of them.
        all.retain(|p| p.pre.is_empty() || p.pre.len() == 2);
        all.retain(|p| !matches!(p.rule, Rule::Smea { f } if f > 1));
        all.retain(|p| !matches!(p.rule, Rule::Mda { f } if f > 2));
        all.retain(|p| !matches!(p.rule, Rule::Caf { f } if n > 70 && f > 1));
    }
    all
}

fn check(v: &[Vec<f32>]) {
    for pipeline in cheap(v.len()) {
        let (out, report) = run_pipeline(&pipeline, v).unwrap();
        assert_eq!(out.len(), v[0].len());
        let bad = out.iter().find(|x| !x.is_finite());
        assert_eq!(bad, None, "{pipeline}, n = {}", v.len());
        assert!(report.shares.iter().all(|x| x.is_finite()), "{pipeline}");
    }
}

const SIZES: [usize; 12] = [1, 2, 3, 4, 5, 7, 11, 16, 33, 64, 128, 300];

#[test]
fn one_coordinate() {
    for n in SIZES {
        check(&vectors(n, 1));
    }
}

#[test]
fn a_thousand_updates() {
    let v = vectors(1000, 2);
    for rule in [
        Rule::Median,
        Rule::TrimmedMean { f: 499 },
        Rule::Meamed { f: 499 },
        Rule::MultiKrum { f: 300, m: 700 },
        Rule::Bulyan { f: 249 },
        Rule::Monna { f: 499, pivot: 999 },
        Rule::GeometricMedian {
            nu_ppm: 1,
            steps: 3,
        },
        Rule::SignMajority,
    ] {
        let pre = match rule {
            Rule::Bulyan { .. } => vec![],
            _ => vec![PreAggregator::Arc { f: 300 }, PreAggregator::Nnm { f: 300 }],
        };
        let (out, _) = run_pipeline(&cifer_aggregation::Pipeline { pre, rule }, &v).unwrap();
        assert!(
            out.iter().all(|x| x.is_finite() && x.abs() <= 1.0),
            "{rule}: {out:?}"
        );
    }
}

#[test]
fn ties_everywhere() {
    for n in SIZES {
        // Three different values in all, each update with many equals.
        let v: Vec<Vec<f32>> = (0..n)
            .map(|i| (0..3).map(|k| ((i + k) % 3) as f32).collect())
            .collect();
        check(&v);
    }
}

#[test]
fn all_zero_and_all_equal() {
    for n in SIZES {
        for value in [0.0, -0.0, 1.0, f32::MAX, f32::MIN_POSITIVE, 1e-45] {
            let v = vec![vec![value; 3]; n];
            for pipeline in cheap(n) {
                let (out, _) = run_pipeline(&pipeline, &v).unwrap();
                assert!(out.iter().all(|x| x.is_finite()), "{pipeline}, {value}");
                if value == 0.0 {
                    assert_eq!(out, [0.0; 3], "{pipeline}");
                }
            }
        }
    }
}

#[test]
fn subnormal_and_largest_values() {
    for n in SIZES {
        let tiny: Vec<Vec<f32>> = vectors(n, 9)
            .iter()
            .map(|v| v.iter().map(|x| x * 1e-40).collect())
            .collect();
        check(&tiny);
        let huge: Vec<Vec<f32>> = vectors(n, 9)
            .iter()
            .map(|v| v.iter().map(|x| x.signum() * f32::MAX).collect())
            .collect();
        check(&huge);
        // Both in one round.
        let mixed: Vec<Vec<f32>> = (0..n)
            .map(|i| {
                if i % 2 == 0 {
                    tiny[i].clone()
                } else {
                    huge[i].clone()
                }
            })
            .collect();
        check(&mixed);
    }
}

#[test]
fn lengths_around_blocks_and_tiles() {
    for len in [1, 255, 256, 257, TILE - 1, TILE, TILE + 1] {
        check(&vectors(7, len));
    }
}
