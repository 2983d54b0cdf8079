//! The laws that pipelines obey on random rounds: order, shifts, equal inputs, and what f arbitrary
//! updates can do.

mod common;

use cifer_aggregation::{Pipeline, PreName, Rule};
use common::{pipelines, run_pipeline, vector};
use proptest::prelude::*;

/// Updates without ties, in [-1, 1).
fn round(seed: u64, n: usize, len: usize) -> Vec<Vec<f32>> {
    (0..n)
        .map(|i| vector(seed.wrapping_add(i as u64), len))
        .collect()
}

fn uses(pipeline: &Pipeline, name: PreName) -> bool {
    pipeline.pre.iter().any(|stage| stage.name() == name)
}

fn norm(v: impl IntoIterator<Item = f64>) -> f64 {
    v.into_iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    norm(a.iter().zip(b).map(|(x, y)| f64::from(*x) - f64::from(*y)))
}

fn diameter(v: &[Vec<f32>]) -> f64 {
    let to = |a: &Vec<f32>| v.iter().map(|b| distance(a, b)).fold(0.0, f64::max);
    v.iter().map(to).fold(0.0, f64::max)
}

/// Whether two of these rows tie by construction: each the other's only neighbour.
fn ties_by_construction(rule: Rule, rows: usize) -> bool {
    match rule {
        Rule::Krum { f } | Rule::MultiKrum { f, .. } => rows < f as usize + 4,
        Rule::Bulyan { f } => (1..3).contains(&f),
        _ => false,
    }
}

/// Whether mixed rows, of which many are equal but for rounding, go into a rule that chooses
/// between them: then the last bit of a row can decide.
fn mixed_into_a_choice(pipeline: &Pipeline) -> bool {
    let continuous = matches!(
        pipeline.rule,
        Rule::FedAvg { .. }
            | Rule::Median
            | Rule::TrimmedMean { .. }
            | Rule::GeometricMedian { .. }
            | Rule::CenteredClipping { .. }
            | Rule::NormClippedMean { .. }
    );
    !pipeline.pre.is_empty() && !continuous
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_order_of_the_updates_does_not_matter(
        seed: u64,
        len in 2_usize..20,
        order in (1_usize..17).prop_flat_map(|n| Just((0..n).collect::<Vec<_>>()).prop_shuffle()),
    ) {
        let n = order.len();
        let v = round(seed, n, len);
        let moved: Vec<Vec<f32>> = order.iter().map(|&i| v[i].clone()).collect();
        for straight in pipelines(n) {
            if uses(&straight, PreName::Bucketing)
                || ties_by_construction(straight.rule, n)
                || mixed_into_a_choice(&straight)
            {
                continue;
            }
            let mut shuffled = straight.clone();
            match &mut shuffled.rule {
                // Samples belong to updates, and `common::updates` gives them by place.
                Rule::FedAvg { weight_cap } => *weight_cap = 1,
                Rule::Monna { pivot, .. } => {
                    *pivot = order.iter().position(|&i| i == *pivot as usize).unwrap() as u32;
                }
                _ => {}
            }
            let straight = match straight.rule {
                Rule::FedAvg { .. } => shuffled.clone(),
                _ => straight,
            };
            let (a, report) = run_pipeline(&straight, &v).unwrap();
            let (b, other) = run_pipeline(&shuffled, &moved).unwrap();
            if let Rule::Mda { .. } = straight.rule {
                // Several sets may share their widest pair; that pair is the same.
                let members = |v: &[Vec<f32>], selected: &[usize]| -> Vec<Vec<f32>> {
                    selected.iter().map(|&i| v[i].clone()).collect()
                };
                if straight.pre.is_empty() {
                    let one = diameter(&members(&v, &report.selected));
                    let two = diameter(&members(&moved, &other.selected));
                    prop_assert!((one - two).abs() < 1e-9, "{straight}");
                }
                continue;
            }
            for (x, y) in a.iter().zip(&b) {
                prop_assert!((x - y).abs() <= 1e-5, "{straight}: {x} {y}");
            }
        }
    }

    #[test]
    fn shifting_all_updates_shifts_the_result(
        seed: u64, n in 1_usize..14, len in 1_usize..20, shift in -8_i32..8,
    ) {
        // Multiples of 1/1024, so that a shift by a whole number is exact, and so are differences.
        let v: Vec<Vec<f32>> = round(seed, n, len)
            .iter()
            .map(|u| u.iter().map(|x| (x * 1024.0).round() / 1024.0).collect())
            .collect();
        let moved: Vec<Vec<f32>> =
            v.iter().map(|u| u.iter().map(|x| x + shift as f32).collect()).collect();
        for pipeline in pipelines(n) {
            let fixed_to_zero = matches!(
                pipeline.rule,
                Rule::GeometricMedian { .. }
                    | Rule::CenteredClipping { .. }
                    | Rule::NormClippedMean { .. }
                    | Rule::SignMajority
            );
            if fixed_to_zero
                || uses(&pipeline, PreName::Clip)
                || uses(&pipeline, PreName::Arc)
                || mixed_into_a_choice(&pipeline)
            {
                continue;
            }
            let (a, report) = run_pipeline(&pipeline, &v).unwrap();
            let (b, other) = run_pipeline(&pipeline, &moved).unwrap();
            prop_assert_eq!(&report.selected, &other.selected, "{}", pipeline);
            for (x, y) in a.iter().zip(&b) {
                prop_assert!((x + shift as f32 - y).abs() <= 2e-6, "{pipeline}: {x} + {shift}, {y}");
            }
        }
    }

    #[test]
    fn equal_updates_give_themselves(seed: u64, n in 1_usize..14, len in 1_usize..600) {
        // Norms below every radius of `pipelines`.
        let one: Vec<f32> = vector(seed, len).iter().map(|x| x / 100.0).collect();
        let v = vec![one.clone(); n];
        for pipeline in pipelines(n) {
            let (out, _) = run_pipeline(&pipeline, &v).unwrap();
            match pipeline.rule {
                Rule::SignMajority => {
                    let signs = one.iter().map(|x| if *x == 0.0 { 0.0 } else { x.signum() });
                    prop_assert!(out.iter().copied().eq(signs));
                }
                _ => prop_assert_eq!(&out, &one, "{}", pipeline),
            }
        }
    }

    #[test]
    fn f_arbitrary_updates_stay_within_the_bound(
        seed: u64,
        f in 1_usize..4,
        more in 0_usize..3,
        len in 1_usize..12,
        place in 0_usize..20,
        lies in prop::collection::vec(
            prop::collection::vec(
                prop_oneof![
                    Just(f32::MAX),
                    Just(f32::MIN),
                    Just(0.0),
                    Just(1e-45),
                    -3.0_f32..3.0,
                    any::<f32>().prop_filter("finite", |x| x.is_finite())
                ],
                12,
            ),
            3,
        ),
        same in any::<bool>(),
    ) {
        let n = 4 * f + 3 + more;
        let byzantine: Vec<usize> = (0..f).map(|i| (place + i) % n).collect();
        let v: Vec<Vec<f32>> = (0..n)
            .map(|i| match byzantine.iter().position(|b| *b == i) {
                Some(k) => lies[if same { 0 } else { k }][..len].to_vec(),
                None => vector(seed.wrapping_add(i as u64), len).iter().map(|x| x + 0.5).collect(),
            })
            .collect();
        let honest: Vec<Vec<f32>> =
            (0..n).filter(|i| !byzantine.contains(i)).map(|i| v[i].clone()).collect();
        let trusted = (0..n).find(|i| !byzantine.contains(i)).unwrap();
        let fronts = ["", "arc,", "nnm,", "arc,nnm,"];
        for front in fronts {
            for name in cifer_aggregation::RuleName::ALL {
                let text = format!("{front}{name}");
                let mut pipeline = Pipeline::for_numbers(&text, n as u32, f as u32).unwrap();
                if let Rule::Monna { pivot, .. } = &mut pipeline.rule {
                    *pivot = trusted as u32;
                }
                let (out, _) = run_pipeline(&pipeline, &v).unwrap();
                if let Err(reason) = within_bound(&pipeline, &out, &honest, n, f) {
                    prop_assert!(false, "{pipeline}, n = {n}, f = {f}: {reason}");
                }
            }
        }
    }
}

/// The bounds that the modules of the rules state, for n ≥ 4f + 3.
fn within_bound(
    pipeline: &Pipeline,
    out: &[f32],
    honest: &[Vec<f32>],
    n: usize,
    f: usize,
) -> Result<(), String> {
    let size = norm(out.iter().map(|x| f64::from(*x)));
    let limit = |what: &str, value: f64, limit: f64| match value <= limit * (1.0 + 1e-5) + 1e-9 {
        true => Ok(()),
        false => Err(format!("{what} {value} > {limit}")),
    };
    let width = diameter(honest);
    let nearest = honest
        .iter()
        .map(|h| distance(h, out))
        .fold(f64::INFINITY, f64::min);
    let spread = (n - f) as f64;
    match pipeline.rule {
        Rule::SignMajority => {
            return match out.iter().all(|x| [-1.0, 0.0, 1.0].contains(x)) {
                true => Ok(()),
                false => Err(format!("{out:?}")),
            };
        }
        Rule::NormClippedMean { radius_ppm } => {
            return limit("norm", size, radius_ppm as f64 / 1e6);
        }
        Rule::CenteredClipping { radius_ppm, steps } => {
            return limit("norm", size, f64::from(steps) * radius_ppm as f64 / 1e6);
        }
        _ => {}
    }
    if !pipeline.pre.is_empty() {
        // Clipping moves honest updates towards zero, mixing keeps rows around honest ones: all within
        // a multiple of the honest norms, which no lie of any size can change.
        let largest = honest
            .iter()
            .map(|h| norm(h.iter().map(|x| f64::from(*x))))
            .fold(0.0, f64::max);
        let unbounded =
            matches!(pipeline.rule, Rule::FedAvg { .. }) && !uses(pipeline, PreName::Arc);
        return match unbounded {
            true => Ok(()),
            false => limit("norm", size, 3.0 * spread.sqrt() * largest),
        };
    }
    match pipeline.rule {
        Rule::FedAvg { .. } => Ok(()),
        Rule::Median | Rule::TrimmedMean { .. } | Rule::Meamed { .. } | Rule::Bulyan { .. } => {
            for (k, x) in out.iter().enumerate() {
                let column = || honest.iter().map(|h| h[k]);
                let low = column().fold(f32::INFINITY, f32::min);
                let high = column().fold(f32::NEG_INFINITY, f32::max);
                let slack = match pipeline.rule {
                    Rule::Meamed { .. } | Rule::Bulyan { .. } => high - low,
                    _ => 0.0,
                };
                if !(low - slack..=high + slack).contains(x) {
                    return Err(format!("coordinate {k}: {x} not near {low}..={high}"));
                }
            }
            Ok(())
        }
        Rule::Krum { .. } | Rule::MultiKrum { .. } => {
            limit("distance", nearest, spread.sqrt() * width)
        }
        Rule::Mda { .. } | Rule::Monna { .. } => limit("distance", nearest, width),
        Rule::Smea { .. } | Rule::Caf { .. } => limit("distance", nearest, spread.sqrt() * width),
        Rule::GeometricMedian { .. } => {
            let factor = 2.0 * spread / (spread - f as f64);
            limit("distance", nearest, factor * width)
        }
        other => Err(format!("{other} has no bound here")),
    }
}
