//! Pipelines: every rule and chain against its definition, the forms they are written in, what they
//! refuse, and what they report.

mod common;

use cifer_aggregation::{
    MAX_PRE_AGGREGATORS, ParseRuleError, Pipeline, PreAggregator, PreName, Rule, RuleName,
    Template, Update, aggregate, aggregate_pipeline, aggregate_pipeline_step,
};
use common::reference::pipeline_reference;
use common::{SEED, pipelines, run_pipeline, updates, vectors};

fn pipeline(text: &str) -> Pipeline {
    text.parse().unwrap()
}

fn has_bucketing(pipeline: &Pipeline) -> bool {
    let named = |stage: &PreAggregator| stage.name() == PreName::Bucketing;
    pipeline.pre.iter().any(named)
}

#[test]
fn agrees_with_the_definitions() {
    for (n, len) in [(1, 3), (2, 5), (3, 1), (5, 300), (7, 40), (11, 4200)] {
        // Norms between 0.2 and 2.2 times that of a random vector, around a common direction.
        let mut v = vectors(n, len);
        for (i, row) in v.iter_mut().enumerate() {
            let scale = 0.2 + 2.0 * i as f32 / n as f32;
            row.iter_mut().for_each(|x| *x = scale * (*x + 0.3));
        }
        let equal: Vec<Update<'_>> = v
            .iter()
            .map(|source| Update { source, weight: 5 })
            .collect();
        for pipeline in pipelines(n).iter().filter(|p| !has_bucketing(p)) {
            // Mixed rows are nearly equal in groups, and these rules then choose by the last bit.
            let chooses = matches!(
                pipeline.rule,
                Rule::Bulyan { .. } | Rule::Mda { .. } | Rule::Smea { .. }
            );
            if chooses && !pipeline.pre.is_empty() {
                continue;
            }
            let mut out = Vec::new();
            aggregate_pipeline(pipeline, &SEED, &equal, &mut out).unwrap();
            let expected = pipeline_reference(pipeline, &v);
            let scale = expected.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
            for (k, (got, want)) in out.iter().zip(&expected).enumerate() {
                let error = (f64::from(*got) - want).abs();
                // Filters weigh by eigenvectors, which the reference finds by iteration.
                assert!(
                    error <= 2e-6 * scale + 1e-12,
                    "{pipeline}, n = {n}, d = {len}, coordinate {k}: {got} {want}"
                );
            }
        }
    }
}

#[test]
fn small_vectors_by_hand() {
    let column = |values: &[f32]| -> Vec<Vec<f32>> { values.iter().map(|x| vec![*x]).collect() };
    let one = |text: &str, values: &[f32]| run_pipeline(&pipeline(text), &column(values)).unwrap();

    // Median 3; the two values closest to it are 3 and 2 (4.5 is farther than 2).
    assert_eq!(
        one("meamed:f=3", &[1.0, 2.0, 3.0, 4.5, 90.0, -7.0, 3.0]).0[0],
        2.75 + 0.375
    );
    // A tie of 1 and 3 around 2 goes to the lower value.
    assert_eq!(one("meamed:f=1", &[3.0, 2.0, 1.0]).0, [1.5]);
    assert_eq!(one("sign-majority", &[-5.0, 0.0, 1.0, 2.0]).0, [1.0]);
    assert_eq!(one("sign-majority", &[-5.0, -0.0, 0.0, 2.0]).0, [0.0]);
    let (out, report) = one("mda:f=2", &[0.0, 10.0, 11.0, 12.5, 40.0]);
    assert_eq!(
        (out, report.selected),
        (vec![(33.5_f64 / 3.0) as f32], vec![1, 2, 3])
    );
    // Two sets have diameter 1: {0, 1} and {1, 2}. The first one is taken.
    assert_eq!(one("mda:f=1", &[0.0, 1.0, 2.0]).1.selected, [0, 1]);
    assert_eq!(one("monna:f=1,pivot=2", &[0.0, 5.0, 6.0]).0, [5.5]);
    assert_eq!(one("smea:f=1", &[0.0, 5.0, 6.0]).1.selected, [1, 2]);
    assert_eq!(one("norm-clipped-mean:radius=2", &[1.0, -6.0]).0, [-0.5]);
    // Step one: pulls 1, 1, 2 of 1, 1, 9, so v = 4/3; step two: -1/3, -1/3, 2.
    let (out, report) = one("centered-clipping:radius=2,steps=2", &[1.0, 1.0, 9.0]);
    assert!(
        (f64::from(out[0]) - (4.0 / 3.0 + 4.0 / 9.0)).abs() < 1e-6,
        "{out:?}"
    );
    assert!(report.shares.iter().sum::<f64>() < 1.0);
    // Weights 1, 1/2, 1/4 from zero: (1 + 1 + 1) / 1.75.
    assert_eq!(
        one("geometric-median:nu=0.5,steps=1", &[1.0, 2.0, 4.0]).0,
        [(3.0_f64 / 1.75) as f32]
    );
    // The lone outlier loses its weight in the first step.
    assert_eq!(one("caf:f=1", &[1.0, 1.0, 1.0, 50.0]).0, [1.0]);
}

#[test]
fn a_pipeline_is_its_stages_one_after_the_other() {
    let (n, len) = (9, 1500);
    let v = vectors(n, len);
    // What stands in front gives rows that can be read off: one stage, then the row i alone.
    for front in ["clip:radius=3", "arc:f=2", "nnm:f=3"] {
        let rows: Vec<Vec<f32>> = (0..n)
            .map(|i| {
                let alone = format!("{front},monna:f=0,pivot={i}")
                    .parse::<Pipeline>()
                    .unwrap();
                // f = 0 averages everything; so take the row from a fedavg in which only it counts.
                let Pipeline { pre, .. } = alone;
                let rule = Rule::FedAvg { weight_cap: 1 };
                let weighted: Vec<Update<'_>> = v
                    .iter()
                    .enumerate()
                    .map(|(k, source)| Update {
                        source,
                        weight: u64::from(k == i),
                    })
                    .collect();
                let mut out = Vec::new();
                aggregate_pipeline(&Pipeline { pre, rule }, &SEED, &weighted, &mut out).unwrap();
                out
            })
            .collect();
        for name in RuleName::ALL {
            let rule = name.for_numbers(n as u32, 1);
            let mut separately = Vec::new();
            let one = aggregate(&rule, &updates(&rows), &mut separately).unwrap();
            let whole = pipeline(&format!("{front},{rule}"));
            let (together, two) = run_pipeline(&whole, &v).unwrap();
            assert_eq!(one.scores, two.scores, "{whole}");
            for (k, (a, b)) in together.iter().zip(&separately).enumerate() {
                // The same bits for rules that look at coordinates; sums of mixtures are folded and
                // so round once less.
                match one.shares.is_empty() {
                    true => assert_eq!(a.to_bits(), b.to_bits(), "{whole}, coordinate {k}"),
                    false => assert!((a - b).abs() <= 2e-7, "{whole}, coordinate {k}: {a} {b}"),
                }
            }
        }
    }
}

#[test]
fn buckets_are_drawn_from_the_seed_and_carry_their_samples() {
    let n = 10;
    // Unit vectors: a bucket's row shows its members.
    let v: Vec<Vec<f32>> = (0..n)
        .map(|i| (0..n).map(|k| f32::from(u8::from(i == k))).collect())
        .collect();
    let whole = pipeline("bucketing:s=3,krum:f=0");
    let selected = |seed: [u8; 32]| {
        let mut out = Vec::new();
        let report = aggregate_pipeline(&whole, &seed, &updates(&v), &mut out).unwrap();
        assert_eq!(report.scores.len(), 4, "10 in buckets of 3");
        for (k, x) in out.iter().enumerate() {
            let part = 1.0 / report.selected.len() as f32;
            let expected = if report.selected.contains(&k) {
                part
            } else {
                0.0
            };
            assert_eq!(*x, expected);
        }
        report.selected
    };
    let draws: Vec<Vec<usize>> = (0..20).map(|i| selected([i; 32])).collect();
    assert!(
        draws
            .iter()
            .all(|members| members.len() == 3 || members.len() == 1)
    );
    assert!(draws.iter().any(|members| *members != draws[0]));
    assert_eq!(draws[3], selected([3; 32]));

    // The samples of a bucket are those of its members, each capped: the mean is what it was without.
    let rule = Rule::FedAvg { weight_cap: 12 };
    let pre = vec![PreAggregator::Bucketing { s: 1 }];
    let (bucketed, _) = run_pipeline(&Pipeline { pre, rule }, &v).unwrap();
    let plain = common::ok(rule, &v);
    for (a, b) in bucketed.iter().zip(&plain) {
        assert!((a - b).abs() < 1e-8);
    }
    // One bucket of everybody is the mean.
    let (out, report) = run_pipeline(&pipeline("bucketing:s=10,median"), &v).unwrap();
    assert_eq!(out, [0.1; 10]);
    assert_eq!(report.selected, (0..10).collect::<Vec<_>>());
}

#[test]
fn the_server_step_follows_every_pipeline() {
    let (n, len) = (11, 700);
    let (v, base) = (vectors(n, len), common::vector(5, len));
    for pipeline in pipelines(n) {
        let (aggregated, report) = run_pipeline(&pipeline, &v).unwrap();
        let mut out = Vec::new();
        let again =
            aggregate_pipeline_step(&pipeline, &SEED, &updates(&v), &base, 0.3, &mut out).unwrap();
        assert_eq!(report, again);
        for k in 0..len {
            let want = f64::from(base[k]) + f64::from(0.3_f32) * f64::from(aggregated[k]);
            assert_eq!(out[k], want as f32, "{pipeline}, coordinate {k}");
        }
        assert!(report.selected.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(report.selected.iter().all(|i| *i < n));
        if !report.shares.is_empty() {
            assert_eq!(report.shares.len(), report.selected.len());
            assert!(report.shares.iter().all(|share| *share > 0.0));
            let sum: f64 = report.shares.iter().sum();
            assert!(sum <= 1.0 + 1e-12, "{pipeline}: {sum}");
        }
    }
}

#[test]
fn pipelines_have_a_text_and_a_table_form() {
    let cases = [
        ("median", r#"{"name":"median"}"#),
        (
            "clip:radius=2,nnm:f=3,trimmed-mean:f=3",
            r#"{"pre":[{"name":"clip","radius_ppm":2000000},{"name":"nnm","f":3}],"name":"trimmed-mean","f":3}"#,
        ),
        (
            "arc:f=1,bucketing:s=2,multi-krum:f=1,m=2",
            r#"{"pre":[{"name":"arc","f":1},{"name":"bucketing","s":2}],"name":"multi-krum","f":1,"m":2}"#,
        ),
        (
            "centered-clipping:radius=0.5,steps=3",
            r#"{"name":"centered-clipping","radius_ppm":500000,"steps":3}"#,
        ),
        (
            "geometric-median:nu=0.000001,steps=8",
            r#"{"name":"geometric-median","nu_ppm":1,"steps":8}"#,
        ),
        ("monna:f=2,pivot=4", r#"{"name":"monna","f":2,"pivot":4}"#),
    ];
    for (text, table) in cases {
        let whole = pipeline(text);
        assert_eq!(whole.to_string(), text);
        assert_eq!(serde_json::to_string(&whole).unwrap(), table);
        assert_eq!(serde_json::from_str::<Pipeline>(table).unwrap(), whole);
    }
    for n in [1, 4, 11] {
        for whole in pipelines(n) {
            assert_eq!(whole.to_string().parse(), Ok(whole.clone()));
            let table = serde_json::to_string(&whole).unwrap();
            assert_eq!(serde_json::from_str::<Pipeline>(&table).unwrap(), whole);
        }
    }
    assert_eq!(
        pipeline("norm-clipped-mean:radius_ppm=7"),
        pipeline("norm-clipped-mean:radius=0.000007")
    );
    // A rule alone is written as it was before there were pipelines.
    assert_eq!(pipeline("krum:f=3"), Pipeline::from(Rule::Krum { f: 3 }));
}

#[test]
fn names_alone_are_filled_in() {
    let filled = |text: &str, n, f| Pipeline::for_numbers(text, n, f).unwrap().to_string();
    assert_eq!(
        filled("clip,nnm,trimmed-mean", 10, 3),
        "clip:radius=2,nnm:f=3,trimmed-mean:f=3"
    );
    assert_eq!(
        filled("clip:radius=0.25,nnm,multi-krum:m=1", 10, 3),
        "clip:radius=0.25,nnm:f=3,multi-krum:f=3,m=1"
    );
    // Of 10 updates bucketing leaves 5 rows.
    assert_eq!(
        filled("bucketing,multi-krum", 10, 1),
        "bucketing:s=2,multi-krum:f=1,m=4"
    );
    assert_eq!(filled("fedavg", 10, 3), "fedavg");
    let template: Template = "arc,krum".parse().unwrap();
    assert_eq!(
        (template.to_string(), template.rule()),
        ("arc,krum".into(), RuleName::Krum)
    );
    assert_eq!(
        Template::from(RuleName::Krum).for_numbers(9, 2),
        Ok(pipeline("krum:f=2"))
    );
}

#[test]
fn text_that_is_no_pipeline_is_refused() {
    let cases = [
        (
            "clip:radius=2",
            "a pipeline is pre-aggregators and then one rule: clip is not followed by a rule",
        ),
        (
            "median,clip:radius=2",
            "a pipeline is pre-aggregators and then one rule: clip stands behind the rule",
        ),
        (
            "median,krum:f=1",
            "a pipeline is pre-aggregators and then one rule: krum stands behind the rule",
        ),
        ("clip,median", "clip needs the parameter radius_ppm"),
        ("nnm:f=1,trimmed-mean", "trimmed-mean needs the parameter f"),
        ("nnm:f=1,g=2,median", r#"nnm has no parameter "g""#),
        (
            "clip:radius=1.2345678,median",
            r#""radius=1.2345678" is not one parameter=number"#,
        ),
        ("f=1,median", r#"unknown stage "f=1": expected a rule"#),
        ("", r#"unknown stage "": expected a rule"#),
        ("median,", r#"unknown stage "": expected a rule"#),
        (
            "clip:radius=1,,median",
            r#"unknown stage "": expected a rule"#,
        ),
    ];
    for (text, expected) in cases {
        let error = text.parse::<Pipeline>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let long = "nnm:f=0,".repeat(MAX_PRE_AGGREGATORS + 1) + "median";
    let error = long.parse::<Pipeline>().unwrap_err();
    assert_eq!(error, ParseRuleError::TooManyStages { count: 9, limit: 8 });
    // Whoever sends a million stages is stopped at the ninth.
    assert_eq!(
        "nnm:f=0,"
            .repeat(1_000_000)
            .parse::<Pipeline>()
            .unwrap_err(),
        error
    );

    for table in [
        r#"{"name":"median","pre":[{"name":"median"}]}"#,
        r#"{"name":"median","pre":[{"name":"clip"}]}"#,
        r#"{"name":"median","pre":[{"name":"nnm","f":-1}]}"#,
        r#"{"name":"median","pre":[{"name":"nnm","f":4294967296}]}"#,
        r#"{"name":"median","prae":[]}"#,
        r#"{"name":"median","pre":{}}"#,
        r#"{"pre":[]}"#,
    ] {
        assert!(serde_json::from_str::<Pipeline>(table).is_err(), "{table}");
    }
    let many = [r#"{"name":"nnm","f":0}"#; 9].join(",");
    let many = format!(r#"{{"name":"median","pre":[{many}]}}"#);
    assert!(serde_json::from_str::<Pipeline>(&many).is_err());
}

#[test]
fn impossible_numbers_are_refused_with_stage_and_inequality() {
    let cases = [
        (
            "meamed:f=3",
            6,
            "meamed needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (
            "bulyan:f=1",
            6,
            "bulyan needs n >= 4f+3: n = 6, f = 1 gives 6 < 7",
        ),
        (
            "mda:f=3",
            6,
            "mda needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (
            "mda:f=1",
            129,
            "mda needs n <= 128: n = 129 gives 129 > 128",
        ),
        (
            "mda:f=7",
            32,
            "mda needs (n choose f) <= 1000000: n = 32, f = 7 gives 3365856 > 1000000",
        ),
        (
            "smea:f=3",
            6,
            "smea needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        ("smea:f=1", 65, "smea needs n <= 64: n = 65 gives 65 > 64"),
        (
            "smea:f=4",
            32,
            "smea needs (n choose f) <= 20000: n = 32, f = 4 gives 35960 > 20000",
        ),
        (
            "caf:f=3",
            6,
            "caf needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (
            "caf:f=1",
            129,
            "caf needs n <= 128: n = 129 gives 129 > 128",
        ),
        (
            "monna:f=3,pivot=0",
            6,
            "monna needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (
            "monna:f=1,pivot=6",
            6,
            "monna needs pivot < n: pivot = 6, n = 6 gives 6 >= 6",
        ),
        (
            "geometric-median:nu=0,steps=1",
            6,
            "geometric-median needs nu_ppm >= 1: nu_ppm = 0 gives 0 < 1",
        ),
        (
            "geometric-median:nu=1,steps=65",
            6,
            "geometric-median needs 1 <= steps <= 64: steps = 65",
        ),
        (
            "geometric-median:nu=1,steps=1",
            0,
            "geometric-median needs n >= 1: n = 0 gives 0 < 1",
        ),
        (
            "centered-clipping:radius=0,steps=1",
            6,
            "centered-clipping needs radius_ppm >= 1: radius_ppm = 0 gives 0 < 1",
        ),
        (
            "centered-clipping:radius=1,steps=0",
            6,
            "centered-clipping needs 1 <= steps <= 64: steps = 0",
        ),
        (
            "norm-clipped-mean:radius=0",
            6,
            "norm-clipped-mean needs radius_ppm >= 1: radius_ppm = 0 gives 0 < 1",
        ),
        (
            "sign-majority",
            0,
            "sign-majority needs n >= 1: n = 0 gives 0 < 1",
        ),
        (
            "clip:radius=0,median",
            6,
            "clip needs radius_ppm >= 1: radius_ppm = 0 gives 0 < 1",
        ),
        (
            "nnm:f=3,median",
            6,
            "nnm needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (
            "arc:f=3,median",
            6,
            "arc needs n >= 2f+1: n = 6, f = 3 gives 6 < 7",
        ),
        (
            "bucketing:s=0,median",
            6,
            "bucketing needs s >= 1: s = 0 gives 0 < 1",
        ),
        (
            "bucketing:s=7,median",
            6,
            "bucketing needs s <= n: s = 7, n = 6 gives 7 > 6",
        ),
        // Five rows are left of ten updates.
        (
            "bucketing:s=2,krum:f=2",
            10,
            "krum needs n >= 2f+3: n = 5, f = 2 gives 5 < 7",
        ),
    ];
    for (text, n, expected) in cases {
        let whole = pipeline(text);
        assert_eq!(whole.check(n).unwrap_err().to_string(), expected);
        assert_eq!(
            run_pipeline(&whole, &vectors(n, 2))
                .unwrap_err()
                .to_string(),
            expected
        );
    }
    let too_long = Pipeline {
        pre: vec![PreAggregator::Nnm { f: 0 }; 9],
        rule: Rule::Median,
    };
    assert_eq!(
        too_long.check(3).unwrap_err().to_string(),
        "9 pre-aggregators exceed the limit of 8"
    );
}

#[test]
fn the_range_of_updates_is_where_check_passes() {
    let range = |text: &str| pipeline(text).updates();
    assert_eq!(range("median"), Some(1..=1024));
    assert_eq!(
        range("clip:radius=1,nnm:f=3,trimmed-mean:f=2"),
        Some(7..=1024)
    );
    assert_eq!(range("bucketing:s=2,krum:f=2"), Some(13..=1024));
    assert_eq!(range("caf:f=1"), Some(3..=128));
    assert_eq!(range("bucketing:s=2,caf:f=1"), Some(5..=256));
    assert_eq!(range("smea:f=3"), Some(7..=50));
    assert_eq!(range("monna:f=1,pivot=9"), Some(10..=1024));
    assert_eq!(range("krum:f=4294967295"), None);
    assert_eq!(pipeline("nnm:f=2,trimmed-mean:f=3").tolerated(), Some(2));
    assert_eq!(pipeline("clip:radius=1,median").tolerated(), None);
    assert_eq!(pipeline("bucketing:s=2,krum:f=2").rows(11), 6);
    let names: Vec<String> = pipeline("arc:f=1,median")
        .names()
        .iter()
        .map(|n| n.to_string())
        .collect();
    assert_eq!(names, ["arc", "median"]);
}
