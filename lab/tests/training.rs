//! Trainings: what attacks do to a mean, what pipelines do to attacks, and that nothing depends on luck.

use cifer_aggregation::Attack;
use cifer_lab::{Cell, Data, History, LabError, Outcome, Training, simulate};
use cifer_training::{DatasetKind, ModelKind, Partition};

fn cell(pipeline: &str, attack: &str) -> Cell {
    Cell {
        dataset: DatasetKind::Digits,
        model: ModelKind::Softmax,
        partition: Partition::Iid,
        honest: 7,
        byzantine: 3,
        tolerated: 3,
        pipeline: pipeline.into(),
        history: History::None,
        attack: attack.parse().unwrap(),
        training: Training {
            rounds: 60,
            batch_size: 16,
            learning_rate: 0.2,
            momentum: 0.9,
            weight_decay: 0.0,
            logit_adjustment: 0.0,
            averaging: 0.0,
            evaluate_every: 20,
            search_every: 5,
            search_coordinates: 0,
        },
        seed: 7,
    }
}

fn train(cell: &Cell) -> Outcome {
    simulate(cell, &Data::load(cell.dataset, cell.seed, None).unwrap()).unwrap()
}

fn last(cell: &Cell) -> f64 {
    train(cell).last().unwrap()
}

#[test]
fn a_mean_is_turned_around_and_a_robust_pipeline_is_not() {
    let honest = Cell {
        byzantine: 0,
        ..cell("fedavg", "none")
    };
    let unattacked = last(&honest);
    assert!(unattacked > 0.9, "{unattacked}");
    for attack in ["sign-flip", "ipm", "opt-ipm"] {
        let mean = last(&cell("fedavg", attack));
        let robust = last(&cell("clip,nnm,trimmed-mean", attack));
        assert!(mean < 0.5, "{attack}: {mean}");
        assert!(robust > unattacked - 0.05, "{attack}: {robust}");
    }
}

#[test]
fn a_searched_strength_does_more_than_a_weak_one() {
    // Not more than every strength: the search looks at one round and at distance, and the default of 3
    // ends lower here.
    let skewed = |attack| Cell {
        partition: Partition::Similarity { gamma: 0.0 },
        ..cell("clip,nnm,trimmed-mean", attack)
    };
    let (searched, fixed) = (last(&skewed("opt-ipm")), last(&skewed("ipm:0.1")));
    assert!(searched < fixed, "{searched} {fixed}");
}

#[test]
fn every_attack_and_history_runs() {
    let short = |cell: Cell| Cell {
        training: Training {
            rounds: 3,
            ..cell.training
        },
        ..cell
    };
    for attack in Attack::ALL {
        let name = attack.name();
        let outcome = train(&short(cell("median", name)));
        assert_eq!(
            (outcome.accuracy.len(), outcome.remark),
            (2, None),
            "{name}"
        );
    }
    for history in ["none", "momentum:0.5", "center:1", "foolsgold"] {
        let history = history.parse().unwrap();
        let outcome = train(&short(Cell {
            history,
            ..cell("fedavg", "opt-alie")
        }));
        assert_eq!(
            (outcome.accuracy.len(), outcome.remark),
            (2, None),
            "{history}"
        );
    }
}

#[test]
fn a_training_is_its_fields_alone() {
    let cell = Cell {
        partition: Partition::Similarity { gamma: 0.33 },
        history: History::Momentum { beta: 0.5 },
        ..cell("bucketing,median", "opt-alie")
    };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| train(&cell).accuracy)
    };
    assert_eq!(on(1), on(3));
    let other = Cell {
        seed: 8,
        ..cell.clone()
    };
    assert_ne!(train(&cell).accuracy, train(&other).accuracy);
}

#[test]
fn what_is_not_finite_is_refused_before_it_counts() {
    // Three of ten contributors send NaN: the seven honest ones are aggregated as if nobody attacked.
    let refused = train(&cell("krum", "nan"));
    let alone = train(&Cell {
        byzantine: 0,
        tolerated: 0,
        ..cell("krum", "none")
    });
    assert_eq!(refused.accuracy, alone.accuracy);
}

#[test]
fn a_lost_model_and_refused_numbers_are_outcomes() {
    let refused = train(&cell("bulyan", "ipm"));
    assert_eq!((refused.best(), refused.last()), (None, None));
    assert!(refused.remark.unwrap().contains("4f+3"));
    // The mean of the largest finite values and an enormous step: not finite after the first round.
    let lost = Cell {
        training: Training {
            learning_rate: 100.0,
            ..cell("fedavg", "infinity").training
        },
        ..cell("fedavg", "infinity")
    };
    let outcome = train(&lost);
    assert!(outcome.remark.unwrap().starts_with("round 0: "));
    assert_eq!(outcome.accuracy.len(), 4);
    assert_eq!(outcome.accuracy[1..], [0.0; 3]);
}

#[test]
fn settings_are_checked() {
    let data = Data::load(DatasetKind::Digits, 7, None).unwrap();
    let error = |change: fn(&mut Cell)| {
        let mut cell = cell("fedavg", "none");
        change(&mut cell);
        simulate(&cell, &data).unwrap_err().to_string()
    };
    assert_eq!(error(|c| c.honest = 0), "honest is 0, allowed is 1..=100");
    let fewer = "byzantine is 7, allowed is fewer than the honest contributors";
    assert_eq!(error(|c| c.byzantine = 7), fewer);
    assert!(error(|c| c.training.rounds = 0).starts_with("rounds is 0"));
    assert!(error(|c| c.training.learning_rate = f32::NAN).starts_with("learning rate is NaN"));
    assert!(error(|c| c.training.momentum = 1.0).starts_with("momentum is 1"));
    assert!(error(|c| c.training.evaluate_every = 0).starts_with("evaluate every is 0"));
    assert!(error(|c| c.pipeline = "nnm".into()).starts_with("pipeline \"nnm\": "));
    assert!(matches!(
        "evil".parse::<cifer_lab::AttackSpec>(),
        Err(LabError::Attack(_))
    ));
}
