//! Every rule, pre-aggregator and attack against ByzFL and Flower in float64, on the vectors that
//! `scripts/make-byzfl-vectors` writes. It says what had to be replaced in the peers and why.

use cifer_aggregation::attacks::{Defence, Knowledge};
use cifer_aggregation::{Attack, Pipeline, Report, Update, aggregate_pipeline};
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
    permutation: Option<Vec<usize>>,
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
    // Tests run in the folder of their crate. A path from the compiler would be that of the checkout which
    // a shared target folder was filled from.
    let mut paths: Vec<_> = std::fs::read_dir("tests/vectors")
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

fn run(pipeline: &Pipeline, rows: &[Vec<f32>]) -> (Vec<f32>, Report) {
    let updates: Vec<Update<'_>> = rows
        .iter()
        .map(|source| Update { source, weight: 1 })
        .collect();
    let mut out = Vec::new();
    let report = aggregate_pipeline(pipeline, &[7; 32], &updates, &mut out).unwrap();
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
fn rules_and_pre_aggregators_give_what_the_peers_give() {
    let mut selections = 0;
    for vectors in all() {
        for case in &vectors.rules {
            let pipeline: Pipeline = case.pipeline.parse().unwrap();
            let mut rows = vectors.updates();
            if let Some(theirs) = &case.permutation {
                rows = dealt_as(&rows, theirs);
            }
            let (out, report) = run(&pipeline, &rows);
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
    assert!(selections >= 40, "{selections}");
}

#[test]
fn every_rule_and_pre_aggregator_has_a_peer() {
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
    for name in cifer_aggregation::PreName::ALL {
        assert!(has(name.as_str()), "{name}");
    }
}

/// The rows in an order in which our bucketing deals them as the peer's permutation deals the inputs.
fn dealt_as(rows: &[Vec<f32>], theirs: &[usize]) -> Vec<Vec<f32>> {
    // The permutation depends on the number of rows and the seed only. With buckets of one, Krum's
    // scores of rows without symmetry tell which row lies where.
    let marked: Vec<Vec<f32>> = (0..rows.len()).map(|i| vec![(i * i * i) as f32]).collect();
    let (_, plain) = run(&"krum:f=0".parse().unwrap(), &marked);
    let (_, dealt) = run(&"bucketing:s=1,krum:f=0".parse().unwrap(), &marked);
    let mut sorted = rows.to_vec();
    for (place, score) in dealt.scores.iter().enumerate() {
        let mut found = (0..rows.len()).filter(|&i| plain.scores[i] == *score);
        let ours = found.next().unwrap();
        assert!(found.next().is_none(), "scores are distinct");
        sorted[ours].clone_from(&rows[theirs[place]]);
    }
    sorted
}

#[test]
fn attacks_send_what_the_peers_send() {
    for vectors in all() {
        let updates = vectors.updates();
        let (n, f) = (updates.len(), vectors.f);
        for case in &vectors.attacks {
            let plain: Attack = case.attack.parse().unwrap();
            let attack = case.strength.map_or(plain, |s| plain.with_scale(s));
            let pipeline: Option<Pipeline> =
                case.pipeline.as_ref().map(|text| text.parse().unwrap());
            let known = Knowledge {
                own: &updates[n - 1],
                honest: &updates[..n - f],
                n,
                f,
                seed: 0,
                defence: pipeline.as_ref().map(|p| p as &dyn Defence),
            };
            let sent = attack.forge(&known).unwrap();
            let what = format!("{attack} against {:?}", case.pipeline);
            let scale = case.result.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            vectors.agree(&what, &case.peer, &sent, &case.result, scale);
        }
    }
}
