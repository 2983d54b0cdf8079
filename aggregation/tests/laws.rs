//! The laws that robust rules obey, on random rounds.

mod common;

use cifer_aggregation::{Report, Rule, Update, aggregate};
use common::{ok, rules, run};
use proptest::prelude::*;

/// A round of 1 to 24 updates with 1 to 40 coordinates in [-100, 100].
fn round() -> impl Strategy<Value = Vec<Vec<f32>>> {
    (1_usize..24, 1_usize..40).prop_flat_map(|(n, len)| {
        prop::collection::vec(prop::collection::vec(-100.0_f32..100.0, len), n)
    })
}

/// A round with a permutation of it.
fn shuffled() -> impl Strategy<Value = (Vec<Vec<f32>>, Vec<usize>)> {
    round().prop_flat_map(|v| {
        let order: Vec<usize> = (0..v.len()).collect();
        (Just(v), Just(order).prop_shuffle())
    })
}

/// Honest updates, and up to f = (n - 1) / 2 (or (n - 3) / 2) arbitrary finite ones.
fn attacked() -> impl Strategy<Value = (Vec<Vec<f32>>, Vec<Vec<f32>>)> {
    (0_usize..6, 0_usize..5, 1_usize..20).prop_flat_map(|(f, more, len)| {
        let honest = prop::collection::vec(-1.0_f32..1.0, len);
        let arbitrary = prop_oneof![
            Just(f32::MAX),
            Just(f32::MIN),
            Just(0.0),
            any::<f32>().prop_filter("finite", |x| x.is_finite())
        ];
        let lie = prop::collection::vec(arbitrary, len);
        (
            prop::collection::vec(honest, f + 3 + more),
            prop::collection::vec(lie, f),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_order_of_the_updates_does_not_matter((v, order) in shuffled()) {
        let straight: Vec<usize> = (0..v.len()).collect();
        for rule in rules(v.len()) {
            // The weight belongs to the update, not to its place.
            let run = |at: &[usize]| -> (Vec<f32>, Report) {
                let updates: Vec<Update<'_>> =
                    at.iter().map(|&i| Update { source: &v[i], weight: 10 + i as u64 }).collect();
                let mut out = Vec::new();
                let report = aggregate(&rule, &updates, &mut out).unwrap();
                (out, report)
            };
            let ((a, report), (b, moved)) = (run(&straight), run(&order));
            // Scores go with their updates, to the bit; selections may differ between equal scores
            // only.
            for (place, &i) in order.iter().enumerate().take(moved.scores.len()) {
                prop_assert_eq!(moved.scores[place], report.scores[i], "{}", rule);
            }
            let selected_scores = |report: &Report| {
                let scores = report.selected.iter().filter_map(|&i| report.scores.get(i).copied());
                let mut scores: Vec<f64> = scores.collect();
                scores.sort_by(f64::total_cmp);
                scores
            };
            prop_assert_eq!(selected_scores(&report), selected_scores(&moved), "{}", rule);
            let mut back: Vec<usize> = moved.selected.iter().map(|&place| order[place]).collect();
            back.sort_unstable();
            if back != report.selected {
                let mut scores = report.scores.clone();
                scores.sort_by(f64::total_cmp);
                prop_assert!(scores.windows(2).any(|pair| pair[0] == pair[1]), "{}", rule);
                continue;
            }
            match rule {
                // Sums in index order: the last bit may differ.
                Rule::FedAvg { .. } | Rule::MultiKrum { .. } => {
                    for (x, y) in a.iter().zip(&b) {
                        prop_assert!((x - y).abs() <= 1e-5, "{rule}: {x} {y}");
                    }
                }
                _ => prop_assert_eq!(&a, &b, "{}", rule),
            }
        }
    }

    #[test]
    fn shifting_all_updates_shifts_the_result(v in round(), shift in -8_i32..8) {
        let shift = shift as f32 * 16.0;
        let moved: Vec<Vec<f32>> =
            v.iter().map(|u| u.iter().map(|x| x + shift).collect()).collect();
        for rule in rules(v.len()) {
            let (a, report) = run(rule, &v).unwrap();
            let (b, report_of_moved) = run(rule, &moved).unwrap();
            // Rounding of the shifted inputs can decide between nearly equal scores.
            if report.selected != report_of_moved.selected {
                continue;
            }
            for (x, y) in a.iter().zip(&b) {
                prop_assert!((x + shift - y).abs() <= 2e-4, "{rule}: {x} + {shift}, {y}");
            }
        }
    }

    #[test]
    fn f_arbitrary_updates_cannot_leave_the_honest_range((honest, lies) in attacked()) {
        let f = lies.len() as u32;
        let mut v = honest.clone();
        // Between the honest ones, not only behind them.
        for (i, lie) in lies.into_iter().enumerate() {
            v.insert((2 * i).min(v.len()), lie);
        }
        for rule in [Rule::Median, Rule::TrimmedMean { f }] {
            for (k, x) in ok(rule, &v).iter().enumerate() {
                let column = || honest.iter().map(|u| u[k]);
                let low = column().fold(f32::INFINITY, f32::min);
                let high = column().fold(f32::NEG_INFINITY, f32::max);
                prop_assert!((low..=high).contains(x), "{rule}: {x} not in {low}..={high}");
            }
        }
    }

    #[test]
    fn krum_selects_from_an_honest_cluster(
        f in 1_usize..6,
        more in 0_usize..4,
        place in 0_usize..20,
        centre in -5.0_f32..5.0,
        lie in prop_oneof![Just(f32::MAX), Just(-1e20_f32), 100.0_f32..1e6],
    ) {
        let n = 2 * f + 3 + more;
        let noise = common::vectors(n, 30);
        let byzantine: Vec<usize> = (0..f).map(|i| (place + i) % n).collect();
        let v: Vec<Vec<f32>> = (0..n)
            .map(|i| match byzantine.contains(&i) {
                // All at the same place, as close to each other as can be.
                true => vec![lie; 30],
                false => noise[i].iter().map(|x| centre + x).collect(),
            })
            .collect();
        let f = f as u32;
        for rule in [Rule::Krum { f }, Rule::MultiKrum { f, m: n as u32 - f }] {
            let selected = run(rule, &v).unwrap().1.selected;
            prop_assert!(selected.iter().all(|i| !byzantine.contains(i)), "{rule}: {selected:?}");
        }
    }
}

#[test]
fn one_update_breaks_the_mean() {
    let mut v = vec![vec![1.0_f32]; 9];
    v.push(vec![-1e9]);
    assert!(ok(Rule::FedAvg { weight_cap: 10 }, &v)[0] < -1e7);
}
