//! Rules and attacks against ByzFL and Flower in float64, on the vectors that
//! `scripts/make-byzfl-vectors` writes. It says what had to be replaced in the peers and why.

use cifer_aggregation::attacks::{Defence, Knowledge};
use cifer_aggregation::{Attack, Report, Rule, Update, aggregate};
use serde::Deserialize;

/// Agreement relative to the coordinate, where both sides compute in floating point.
const RELATIVE: f64 = 1e-5;
/// And where a coordinate cancels, relative to the largest input: half an f32's last place, with some
/// air for intermediate rows that are rounded to f32.
const CANCELLED: f64 = 2e-7;

#[derive(Deserialize)]
struct Vectors {
    name: String,
    versions: std::collections::BTreeMap<String, String>,
    f: usize,
    inputs: Vec<Vec<f64>>,
    rules: Vec<RuleCase>,
    attacks: Vec<AttackCase>,
}

#[derive(Deserialize)]
struct RuleCase {
    pipeline: String,
    peer: String,
    result: Vec<f64>,
    selected: Option<Vec<usize>>,
}

#[derive(Deserialize)]
struct AttackCase {
    attack: String,
    strength: Option<f64>,
    peer: String,
    pipeline: Option<String>,
    result: Vec<f64>,
}

impl Vectors {
    /// The inputs are f32 numbers written as f64.
    fn updates(&self) -> Vec<Vec<f32>> {
        let row = |row: &Vec<f64>| row.iter().map(|x| *x as f32).collect();
        self.inputs.iter().map(row).collect()
    }

    fn largest(&self) -> f64 {
        let all = self.inputs.iter().flatten();
        all.fold(0.0, |largest, x| largest.max(x.abs()))
    }

    #[track_caller]
    fn agree(&self, what: &str, peer: &str, ours: &[f32], theirs: &[f64], largest: f64) {
        assert_eq!(ours.len(), theirs.len());
        for (k, (x, y)) in ours.iter().zip(theirs).enumerate() {
            let off = (f64::from(*x) - y).abs();
            let allowed = (RELATIVE * y.abs()).max(CANCELLED * largest);
            let name = &self.name;
            assert!(
                off <= allowed,
                "{name}, {what}, {peer}: coordinate {k} is {x}, there {y}"
            );
        }
    }
}

fn all() -> Vec<Vectors> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let vectors: Vec<Vectors> = paths
        .iter()
        .map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect();
    assert_eq!(vectors.len(), 7);
    vectors
}

fn run(rule: &Rule, rows: &[Vec<f32>]) -> (Vec<f32>, Report) {
    let updates: Vec<Update<'_>> = rows
        .iter()
        .map(|source| Update { source, weight: 1 })
        .collect();
    let mut out = Vec::new();
    let report = aggregate(rule, &updates, &mut out).unwrap();
    (out, report)
}

#[test]
fn the_vectors_say_what_made_them() {
    for vectors in all() {
        assert_eq!(vectors.versions["byzfl"], "0.0.11");
        for library in ["flwr", "numpy", "python", "scipy", "torch"] {
            assert!(vectors.versions.contains_key(library), "{library}");
        }
    }
}

#[test]
fn rules_give_what_the_peers_give() {
    let mut selections = 0;
    for vectors in all() {
        for case in &vectors.rules {
            // The vectors have more rules than the crate.
            let Ok(rule) = case.pipeline.parse::<Rule>() else {
                continue;
            };
            let (out, report) = run(&rule, &vectors.updates());
            // A pipeline without huge values may not use those of the inputs as an excuse.
            let scale = case.result.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let largest = vectors.largest().min(1e3 * scale);
            vectors.agree(&case.pipeline, &case.peer, &out, &case.result, largest);
            if let Some(selected) = &case.selected {
                selections += 1;
                let what = format!("{}: {}, {}", vectors.name, case.pipeline, case.peer);
                assert_eq!(&report.selected, selected, "{what}");
            }
        }
    }
    assert!(selections >= 20, "{selections}");
}

#[test]
fn every_rule_has_a_peer() {
    let cases: Vec<String> = all()
        .iter()
        .flat_map(|v| v.rules.iter().map(|case| case.pipeline.clone()))
        .collect();
    let has = |name: &str| {
        let mut stages = cases.iter().flat_map(|text| text.split(','));
        stages.any(|stage| stage.split(':').next() == Some(name))
    };
    for name in cifer_aggregation::RuleName::ALL {
        assert!(has(name.as_str()), "{name}");
    }
}

#[test]
fn attacks_send_what_the_peers_send() {
    for vectors in all() {
        let updates = vectors.updates();
        let (n, f) = (updates.len(), vectors.f);
        for case in &vectors.attacks {
            let plain: Attack = case.attack.parse().unwrap();
            let attack = case.strength.map_or(plain, |s| plain.with_scale(s));
            let rule = case.pipeline.as_ref().map(|text| text.parse::<Rule>());
            if matches!(rule, Some(Err(_))) {
                continue;
            }
            let rule = rule.and_then(Result::ok);
            let known = Knowledge {
                own: &updates[n - 1],
                honest: &updates[..n - f],
                n,
                f,
                seed: 0,
                defence: rule.as_ref().map(|r| r as &dyn Defence),
            };
            let sent = attack.forge(&known).unwrap();
            let what = format!("{attack} against {:?}", case.pipeline);
            let scale = case.result.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            vectors.agree(&what, &case.peer, &sent, &case.result, scale);
        }
    }
}
