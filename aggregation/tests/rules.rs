//! Every rule on vectors whose result is known, against a float64 reference, and every refusal.

mod common;

use cifer_aggregation::{
    AggregationError, MAX_UPDATES, Origin, Rule, RuleName, TILE, Update, VectorSource, aggregate,
    aggregate_step, check_finite,
};
use common::{ok, reference, rules, run, updates, vectors};

const FEDAVG: Rule = Rule::FedAvg {
    weight_cap: u64::MAX,
};

#[test]
fn small_vectors_by_hand() {
    let v = [
        vec![1.0_f32, 10.0],
        vec![2.0, -10.0],
        vec![4.0, 0.0],
        vec![100.0, 1.0],
    ];
    assert_eq!(ok(Rule::Median, &v), [3.0, 0.5]);
    assert_eq!(ok(Rule::Median, &v[..3]), [2.0, 0.0]);
    assert_eq!(ok(Rule::TrimmedMean { f: 1 }, &v), [3.0, 0.5]);
    assert_eq!(ok(Rule::TrimmedMean { f: 0 }, &v), [26.75, 0.25]);

    // Weights 10, 11, 12, 13; capped at 10 they are equal.
    assert_eq!(
        ok(FEDAVG, &v[..2]),
        [(32.0_f64 / 21.0) as f32, (-10.0_f64 / 21.0) as f32]
    );
    assert_eq!(ok(Rule::FedAvg { weight_cap: 10 }, &v), [26.75, 0.25]);
}

#[test]
fn krum_by_hand() {
    // Scores with f = 1 (two neighbours of five): 1+4, 1+1, 1+4, ...; 1.0 has the closest ones.
    let v: Vec<Vec<f32>> = [0.0_f32, 1.0, 2.0, 50.0, 90.0]
        .iter()
        .map(|&x| vec![x])
        .collect();
    let (out, report) = run(Rule::Krum { f: 1 }, &v).unwrap();
    assert_eq!((out, report.selected), (vec![1.0], vec![1]));
    assert_eq!(
        report.scores,
        [5.0, 2.0, 5.0, 2304.0 + 1600.0, 1600.0 + 7744.0]
    );

    // The tie of 0.0 and 2.0 goes to the lower index.
    let (out, report) = run(Rule::MultiKrum { f: 1, m: 2 }, &v).unwrap();
    assert_eq!(
        (out, report.selected, report.shares),
        (vec![0.5], vec![0, 1], vec![0.5, 0.5])
    );
    let (_, report) = run(Rule::MultiKrum { f: 1, m: 4 }, &v).unwrap();
    assert_eq!(report.selected, [0, 1, 2, 3]);
}

#[test]
fn equal_updates_give_themselves_and_ties_the_lowest_index() {
    let one = common::vector(9, 1000);
    for n in [1, 2, 3, 7, 16] {
        let v = vec![one.clone(); n];
        for rule in rules(n) {
            let (out, report) = run(rule, &v).unwrap();
            assert!(out.iter().zip(&one).all(|(a, b)| a == b), "{rule}, n = {n}");
            if let Rule::Krum { .. } | Rule::MultiKrum { .. } = rule {
                assert_eq!(
                    report.selected,
                    (0..report.selected.len()).collect::<Vec<_>>()
                );
            }
        }
    }
}

#[test]
fn agrees_with_the_float64_reference_for_all_sizes() {
    let lengths = [
        1,
        2,
        255,
        256,
        257,
        TILE - 1,
        TILE,
        TILE + 1,
        3 * TILE + 300,
    ];
    for n in (1..=64).chain([100, 257]) {
        let len = lengths[n % lengths.len()];
        compare(n, len);
    }
    for len in lengths {
        compare(7, len);
    }
}

fn compare(n: usize, len: usize) {
    let v = vectors(n, len);
    for rule in rules(n) {
        let (out, report) = run(rule, &v).unwrap();
        let (expected, selected) = reference(rule, &v);
        assert_eq!(report.selected, selected, "{rule}, n = {n}, d = {len}");
        assert_eq!((report.len, out.len()), (len, len));
        for (k, (got, want)) in out.iter().zip(&expected).enumerate() {
            // Both are sums of at most n doubles; half a unit in the last place of f32 remains.
            let error = (f64::from(*got) - want).abs();
            let limit = 6e-8 * want.abs() + 1e-15;
            assert!(
                error <= limit,
                "{rule}, n = {n}, d = {len}, coordinate {k}: {got} {want}"
            );
        }
    }
}

#[test]
fn subnormal_and_largest_values_pass_through() {
    let v = [
        vec![1e-45_f32, f32::MAX, 0.0],
        vec![1e-45, f32::MAX, -0.0],
        vec![1e-45, f32::MAX, -0.0],
    ];
    for rule in rules(3) {
        let out = ok(rule, &v);
        let bits: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [1, f32::MAX.to_bits(), 0], "{rule}");
    }
}

#[test]
fn fedavg_reports_capped_weights_and_leaves_out_zero_weight() {
    let v = vectors(3, 5);
    let weighted: Vec<Update<'_>> = v
        .iter()
        .zip([5, 0, 900])
        .map(|(s, weight)| Update { source: s, weight })
        .collect();
    let mut out = Vec::new();
    let report = aggregate(&Rule::FedAvg { weight_cap: 5 }, &weighted, &mut out).unwrap();
    assert_eq!(
        (report.selected, report.shares),
        (vec![0, 2], vec![0.5, 0.5])
    );
    let mean = ((f64::from(v[0][3]) + f64::from(v[2][3])) / 2.0) as f32;
    assert_eq!(out[3], mean);

    let huge: Vec<Update<'_>> = v
        .iter()
        .map(|s| Update {
            source: s,
            weight: u64::MAX,
        })
        .collect();
    let mut out = Vec::new();
    aggregate(&FEDAVG, &huge, &mut out).unwrap();
    let want = v.iter().map(|x| f64::from(x[0])).sum::<f64>() / 3.0;
    assert!((f64::from(out[0]) - want).abs() < 1e-7);
}

#[test]
fn the_server_step_is_the_aggregate_applied_to_the_base() {
    let v = vectors(9, TILE + 13);
    let base = common::vector(77, TILE + 13);
    for rule in rules(9) {
        let (aggregated, report) = run(rule, &v).unwrap();
        let mut out = Vec::new();
        let again = aggregate_step(&rule, &updates(&v), &base, 0.3, &mut out).unwrap();
        assert_eq!(report, again);
        for k in 0..out.len() {
            let want = f64::from(base[k]) + f64::from(0.3_f32) * f64::from(aggregated[k]);
            assert_eq!(out[k], want as f32, "{rule}, coordinate {k}");
        }
    }
}

fn message<T: std::fmt::Debug>(outcome: Result<T, AggregationError>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn impossible_numbers_are_refused_with_the_inequality() {
    let v = vectors(6, 4);
    let cases = [
        (
            Rule::Krum { f: 2 },
            6,
            "krum needs n >= 2f+3: n = 6, f = 2 gives 6 < 7",
        ),
        (
            Rule::MultiKrum { f: 2, m: 1 },
            6,
            "multi-krum needs n >= 2f+3: n = 6, f = 2 gives 6 < 7",
        ),
        (
            Rule::MultiKrum { f: 1, m: 6 },
            6,
            "multi-krum needs m <= n-f: n = 6, f = 1, m = 6 gives 6 > 5",
        ),
        (
            Rule::MultiKrum { f: 1, m: 0 },
            6,
            "multi-krum needs m >= 1: m = 0 gives 0 < 1",
        ),
        (
            Rule::TrimmedMean { f: 3 },
            6,
            "trimmed-mean needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (Rule::Median, 0, "median needs n >= 1: n = 0 gives 0 < 1"),
        (FEDAVG, 0, "fedavg needs n >= 1: n = 0 gives 0 < 1"),
        (
            Rule::FedAvg { weight_cap: 0 },
            6,
            "fedavg needs weight_cap >= 1: weight_cap = 0 gives 0 < 1",
        ),
    ];
    for (rule, n, expected) in cases {
        assert_eq!(message(run(rule, &v[..n])), expected);
        assert_eq!(message(rule.check(n)), expected);
    }
    let extreme = Rule::MultiKrum {
        f: u32::MAX,
        m: u32::MAX,
    };
    assert!(extreme.check(MAX_UPDATES).is_err());
    assert_eq!(extreme.min_updates(), 2 * u64::from(u32::MAX) + 3);
}

#[test]
fn min_updates_is_where_check_begins_to_pass() {
    for f in 0..20 {
        for m in 1..40 {
            for rule in [
                FEDAVG,
                Rule::Median,
                Rule::TrimmedMean { f },
                Rule::Krum { f },
                Rule::MultiKrum { f, m },
            ] {
                let least = rule.min_updates() as usize;
                assert!(rule.check(least).is_ok(), "{rule}, n = {least}");
                assert!(rule.check(least - 1).is_err(), "{rule}, n = {}", least - 1);
            }
        }
    }
    for name in RuleName::ALL {
        assert!(name.for_numbers(15, 3).check(15).is_ok(), "{name}");
    }
}

#[test]
fn too_many_updates_are_refused() {
    let one = vec![0.5_f32];
    let most: Vec<&[f32]> = vec![&one; MAX_UPDATES];
    assert_eq!(ok(Rule::Median, &most), [0.5]);
    let more: Vec<&[f32]> = vec![&one; MAX_UPDATES + 1];
    assert_eq!(
        message(run(Rule::Median, &more)),
        "1025 updates exceed the limit of 1024"
    );
}

#[test]
fn values_that_are_not_finite_are_refused_where_they_are() {
    for (contributor, coordinate) in [(0, 0), (4, 255), (6, 256), (2, TILE), (3, 2 * TILE + 16)] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut v = vectors(7, 2 * TILE + 17);
            v[contributor][coordinate] = bad;
            for rule in rules(7) {
                let error = run(rule, &v).unwrap_err();
                assert_eq!(error.contributor(), Some(contributor));
                assert_eq!(
                    error.to_string(),
                    format!("update {contributor} is not finite: coordinate {coordinate} is {bad}")
                );
            }
        }
    }
}

#[test]
fn mismatched_empty_and_weightless_updates_are_refused() {
    let mut v = vectors(5, 10);
    v[3].pop();
    let error = run(Rule::Median, &v).unwrap_err();
    assert_eq!(error.contributor(), Some(3));
    assert_eq!(error.to_string(), "update 3 has 9 coordinates, expected 10");

    let empty: Vec<Vec<f32>> = vec![vec![]; 3];
    assert_eq!(
        message(run(Rule::Median, &empty)),
        "the updates have no coordinates"
    );

    let idle: Vec<Update<'_>> = v[..2]
        .iter()
        .map(|s| Update {
            source: s,
            weight: 0,
        })
        .collect();
    let outcome = aggregate(&FEDAVG, &idle, &mut Vec::new());
    assert_eq!(message(outcome), "the total weight of 2 updates is zero");
}

#[test]
fn bad_server_steps_are_refused() {
    let len = TILE + 5;
    let v = vec![vec![1e38_f32; len]; 3];
    let step = |base: &Vec<f32>, lr| {
        aggregate_step(&Rule::Median, &updates(&v), base, lr, &mut Vec::new())
    };
    let mut base = vec![0.0_f32; len];
    assert!(step(&base, 1.0).is_ok());
    assert_eq!(
        message(step(&base, f32::NAN)),
        "learning rate NaN is not finite"
    );
    assert_eq!(
        message(step(&vec![0.0; len - 1], 1.0)),
        format!(
            "base model has {} coordinates, the updates have {len}",
            len - 1
        )
    );
    base[TILE + 2] = f32::MAX;
    let error = step(&base, 1.0).unwrap_err();
    assert_eq!(error.contributor(), None);
    assert_eq!(
        error.to_string(),
        format!(
            "result of the server step is not finite: coordinate {} is inf",
            TILE + 2
        )
    );
    base[TILE + 1] = f32::NAN;
    let error = step(&base, 1.0).unwrap_err();
    assert!(matches!(
        error,
        AggregationError::NonFinite { origin: Origin::Base, coordinate, .. } if coordinate == TILE + 1
    ));
}

#[test]
fn a_payload_is_checked_to_its_last_coordinate() {
    let mut v = common::vector(3, 3 * TILE + 1);
    assert!(check_finite(&v, 1.0).is_ok());
    let last = v.len() - 1;
    v[last] = 8.0;
    assert_eq!(
        message(check_finite(&v, 7.5)),
        format!("coordinate {last} is 8, above the limit |x| <= 7.5")
    );
    assert!(check_finite(&v, 8.0).is_ok());
    v[TILE] = f32::NEG_INFINITY;
    assert_eq!(
        message(check_finite(&v, f32::INFINITY)),
        format!("vector is not finite: coordinate {TILE} is -inf")
    );
    assert!(check_finite(&vec![0.0_f32], f32::NAN).is_err());
}

#[test]
fn reads_beyond_the_end_are_refused() {
    let v = vec![0.0_f32; 10];
    let mut out = [1.0; 4];
    assert!(v.read(6, &mut out).is_ok());
    assert_eq!(
        message(v.read(7, &mut out)),
        "read of 4 coordinates at 7 is beyond the end of a vector of 10"
    );
    assert!(v.read(usize::MAX, &mut out).is_err());
}

#[test]
fn rules_have_a_text_and_a_table_form() {
    let texts = [
        (FEDAVG, "fedavg", r#"{"name":"fedavg"}"#),
        (
            Rule::FedAvg { weight_cap: 9 },
            "fedavg:weight_cap=9",
            r#"{"name":"fedavg","weight_cap":9}"#,
        ),
        (Rule::Median, "median", r#"{"name":"median"}"#),
        (
            Rule::TrimmedMean { f: 3 },
            "trimmed-mean:f=3",
            r#"{"name":"trimmed-mean","f":3}"#,
        ),
        (Rule::Krum { f: 0 }, "krum:f=0", r#"{"name":"krum","f":0}"#),
        (
            Rule::MultiKrum { f: 3, m: 7 },
            "multi-krum:f=3,m=7",
            r#"{"name":"multi-krum","f":3,"m":7}"#,
        ),
    ];
    for (rule, text, table) in texts {
        assert_eq!(rule.to_string(), text);
        assert_eq!(text.parse(), Ok(rule));
        assert_eq!(serde_json::to_string(&rule).unwrap(), table);
        assert_eq!(serde_json::from_str::<Rule>(table).unwrap(), rule);
    }
    let bad = [
        (
            "kurm",
            "unknown rule \"kurm\": expected one of fedavg, median, trimmed-mean, krum, multi-krum, \
             meamed, bulyan, geometric-median, centered-clipping, mda, monna, caf, smea, \
             norm-clipped-mean, sign-majority",
        ),
        ("krum", "krum needs the parameter f"),
        ("multi-krum:f=1", "multi-krum needs the parameter m"),
        ("median:f=1", r#"median has no parameter "f""#),
        ("krum:f=1,g=2", r#"krum has no parameter "g""#),
        ("krum:f=1,f=2", r#""f=2" is not one parameter=number"#),
        ("krum:f=-1", r#""f=-1" is not one parameter=number"#),
        (
            "krum:f=4294967296",
            r#""f=4294967296" is not one parameter=number"#,
        ),
        ("krum:", r#""" is not one parameter=number"#),
    ];
    for (text, expected) in bad {
        assert_eq!(
            text.parse::<Rule>().unwrap_err().to_string(),
            expected,
            "{text}"
        );
    }
    for table in [
        r#"{"name":"krum"}"#,
        r#"{"name":"median","f":1}"#,
        r#"{"name":"krum","f":1,"x":1}"#,
    ] {
        assert!(serde_json::from_str::<Rule>(table).is_err(), "{table}");
    }
}
