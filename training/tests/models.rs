//! Gradients against finite differences, initial models, and what training does to them.

use cifer_training::{
    Batch, Dataset, DatasetKind, Hyperparameters, Mlp, Model, ModelKind, SoftmaxRegression,
    TrainingError, TrainingSeed, digits, evaluate, train,
};
use ndarray::Array2;
use proptest::prelude::*;

const SOFTMAX: ModelKind = ModelKind::Softmax;
const MLP: ModelKind = ModelKind::Mlp { hidden: None };
const SEED: TrainingSeed = TrainingSeed {
    seed: 7,
    contributor: 2,
    round: 5,
};

fn build(kind: ModelKind) -> Box<dyn Model> {
    kind.build(64, 10, 64).unwrap()
}

/// Mean loss in f64: the gradient's reference needs more precision than one f32 loss has, so the batch is
/// small and the differences wide.
fn mean_loss(model: &dyn Model, params: &[f32], batch: Batch<'_>) -> f64 {
    let mut scratch = model.scratch(batch.labels.len());
    let mut gradient = vec![0.0; params.len()];
    let metrics = model.loss_and_gradient(params, batch, &mut scratch, &mut gradient);
    metrics.loss_sum / batch.labels.len() as f64
}

fn check_gradient(
    model: &dyn Model,
    params: &[f32],
    batch: Batch<'_>,
) -> Result<(), TestCaseError> {
    const STEP: f32 = 1.0 / 256.0;
    // A scratch and a gradient with rubbish from before must not matter.
    let mut scratch = model.scratch(batch.labels.len() + 3);
    let mut gradient = vec![f32::NAN; params.len()];
    model.loss_and_gradient(params, batch, &mut scratch, &mut gradient);
    let mut params = params.to_vec();
    for index in 0..params.len() {
        let value = params[index];
        params[index] = value + STEP;
        let above = mean_loss(model, &params, batch);
        params[index] = value - STEP;
        let below = mean_loss(model, &params, batch);
        params[index] = value;
        let numeric = (above - below) / f64::from(2.0 * STEP);
        let error = (numeric - f64::from(gradient[index])).abs();
        prop_assert!(
            error < 2e-3,
            "parameter {}: {} and {}",
            index,
            numeric,
            gradient[index]
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn gradients_match_finite_differences(
        pixels in proptest::collection::vec(0.0..1.0_f32, 6 * 5),
        weights in proptest::collection::vec(-1.0..1.0_f32, 64),
        labels in proptest::collection::vec(0..3_u8, 6),
        offsets in proptest::collection::vec(-2.0..0.0_f32, 4),
    ) {
        let features = Array2::from_shape_vec((6, 5), pixels).unwrap();
        // The fourth class is out of the shard half of the time.
        let offsets = [offsets[0], offsets[1], offsets[2], if offsets[3] < -1.0 { f32::NEG_INFINITY } else { 0.0 }];
        let batch = Batch { features: features.view(), labels: &labels, logit_offsets: &offsets };
        let softmax = SoftmaxRegression::new(5, 4);
        check_gradient(&softmax, &weights[..softmax.parameter_count()], batch)?;

        // A hidden unit's derivative jumps at zero, where differences prove nothing: keep away from it by
        // shifting the biases, half of them up and half down.
        let mlp = Mlp::new(5, 4, 4);
        let mut params = weights[..mlp.parameter_count()].to_vec();
        for unit in 0..4 {
            params[5 * 4 + unit] = if unit % 2 == 0 { 5.5 } else { -5.5 };
        }
        check_gradient(&mlp, &params, batch)?;
    }
}

#[test]
fn manifests_cover_the_parameters() {
    for (kind, count, names) in [
        (SOFTMAX, 650, vec!["weights", "bias"]),
        (
            MLP,
            4_810,
            vec![
                "hidden.weights",
                "hidden.bias",
                "output.weights",
                "output.bias",
            ],
        ),
    ] {
        let model = build(kind);
        assert_eq!(model.parameter_count(), count);
        assert_eq!(model.init(1).len(), count);
        let found: Vec<String> = model
            .manifest()
            .into_iter()
            .map(|tensor| tensor.name)
            .collect();
        assert_eq!(found, names);
    }
}

#[test]
fn initial_models_are_golden() {
    let digest = |kind| {
        let bytes: Vec<u8> = build(kind)
            .init(7)
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        blake3::hash(&bytes).to_hex().to_string()
    };
    assert_eq!(
        digest(SOFTMAX),
        blake3::hash(&[0; 4 * 650]).to_hex().to_string()
    );
    assert_eq!(
        digest(MLP),
        "366190eea594242c769a2d97e0e12982f7544f818adc595652abc83081dbcdca"
    );
    assert_ne!(build(MLP).init(7), build(MLP).init(8));
}

#[test]
fn training_alone_on_all_data_learns() {
    let split = digits().unwrap().split(7);
    for (kind, least) in [(SOFTMAX, 0.93), (MLP, 0.95)] {
        let model = build(kind);
        let hyper = Hyperparameters {
            epochs: 20,
            logit_adjustment: 0.0,
            ..Hyperparameters::tuned(DatasetKind::Digits, kind)
        };
        let base = model.init(7);
        let update = train(&*model, &base, &split.train, &hyper, SEED).unwrap();
        let params: Vec<f32> = base
            .iter()
            .zip(&update.delta)
            .map(|(base, delta)| base + delta)
            .collect();
        let before = evaluate(&*model, &base, &split.test).unwrap();
        let after = evaluate(&*model, &params, &split.test).unwrap();
        assert!(before.accuracy < 0.3, "{kind}: {before:?}");
        assert!(
            after.accuracy >= least && after.loss < 0.3,
            "{kind}: {after:?}"
        );
        assert_eq!(update.samples, 1438);
        assert!(
            update.accuracy > 0.95 && update.loss < 0.3,
            "{kind}: {} {}",
            update.accuracy,
            update.loss
        );
    }
}

#[test]
fn training_repeats_to_the_bit_and_depends_on_its_seed() {
    let shard = digits().unwrap().split(7).test;
    for kind in [SOFTMAX, MLP] {
        let model = build(kind);
        let hyper = Hyperparameters::tuned(DatasetKind::Digits, kind);
        let base = model.init(7);
        let run = |seed| train(&*model, &base, &shard, &hyper, seed).unwrap();
        assert_eq!(run(SEED), run(SEED));
        for other in [
            TrainingSeed { seed: 8, ..SEED },
            TrainingSeed {
                contributor: 3,
                ..SEED
            },
            TrainingSeed { round: 6, ..SEED },
        ] {
            assert_ne!(run(SEED).delta, run(other).delta);
        }
    }
}

#[test]
fn one_step_is_the_learning_rate_times_the_gradient() {
    let data = Dataset::new(3, 2, 4, vec![4, 0, 1, 0, 2, 3], vec![0, 1]).unwrap();
    let model = SoftmaxRegression::new(3, 2);
    let hyper = Hyperparameters {
        epochs: 1,
        batch_size: 100,
        learning_rate: 0.5,
        momentum: 0.9,
        logit_adjustment: 1.0,
    };
    let update = train(&model, &[0.0; 8], &data, &hyper, SEED).unwrap();
    // From zero both classes have probability 1/2: the gradient of a weight is the mean of x (p - y).
    let expected = [0.125, -0.125, -0.0625, 0.0625, -0.0625, 0.0625, 0.0, 0.0];
    for (found, expected) in update.delta.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{:?}", update.delta);
    }
    assert!((update.loss - 2_f64.ln()).abs() < 1e-6);
    assert_eq!(update.accuracy, 0.5);
}

#[test]
fn classes_out_of_the_shard_are_left_alone() {
    let data = digits().unwrap();
    let only: Vec<u32> = (0..1797)
        .filter(|&i| data.labels()[i as usize] < 3)
        .collect();
    let shard = data.select(&only);
    let model = build(SOFTMAX);
    let hyper = Hyperparameters::tuned(DatasetKind::Digits, SOFTMAX);
    assert!(hyper.logit_adjustment > 0.0);
    let delta = train(&*model, &model.init(7), &shard, &hyper, SEED)
        .unwrap()
        .delta;
    for (index, value) in delta.iter().enumerate() {
        assert!(
            index % 10 < 3 || *value == 0.0,
            "parameter {index} moved by {value}"
        );
    }
    assert!(delta.iter().any(|value| *value != 0.0));
}

#[test]
fn what_does_not_fit_is_refused() {
    let shard = digits().unwrap().split(7).test;
    let model = build(SOFTMAX);
    let base = model.init(7);
    let good = Hyperparameters::tuned(DatasetKind::Digits, SOFTMAX);
    let refused = |base: &[f32], shard: &Dataset, hyper: Hyperparameters| {
        train(&*model, base, shard, &hyper, SEED)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&base[1..], &shard, good),
        "number of parameters is 649, expected 650"
    );
    assert_eq!(
        refused(
            &base,
            &Dataset::new(2, 10, 1, vec![0, 1], vec![3]).unwrap(),
            good
        ),
        "features of a sample is 2, expected 64"
    );
    assert_eq!(
        refused(&base, &shard.select(&[]), good),
        "number of samples is 0, allowed is at least 1"
    );
    for (hyper, field) in [
        (Hyperparameters { epochs: 0, ..good }, "epochs"),
        (
            Hyperparameters {
                epochs: 1001,
                ..good
            },
            "epochs",
        ),
        (
            Hyperparameters {
                batch_size: 0,
                ..good
            },
            "batch_size",
        ),
        (
            Hyperparameters {
                learning_rate: 0.0,
                ..good
            },
            "learning_rate",
        ),
        (
            Hyperparameters {
                learning_rate: f32::NAN,
                ..good
            },
            "learning_rate",
        ),
        (
            Hyperparameters {
                momentum: 1.0,
                ..good
            },
            "momentum",
        ),
        (
            Hyperparameters {
                momentum: f32::NAN,
                ..good
            },
            "momentum",
        ),
        (
            Hyperparameters {
                logit_adjustment: -1.0,
                ..good
            },
            "logit_adjustment",
        ),
    ] {
        let text = refused(&base, &shard, hyper);
        assert!(text.starts_with(field), "{text}");
    }
    assert!(evaluate(&*model, &base[1..], &shard).is_err());
}

#[test]
fn divergence_is_an_error_and_no_update() {
    let shard = digits().unwrap().split(7).test;
    let model = build(MLP);
    let hyper = Hyperparameters::tuned(DatasetKind::Digits, MLP);
    // Finite parameters whose logits are not.
    let base = vec![1e30; model.parameter_count()];
    let result = train(&*model, &base, &shard, &hyper, SEED);
    assert!(matches!(result, Err(TrainingError::Diverged { .. })));
}

#[test]
fn base_that_is_not_finite_is_refused() {
    let shard = digits().unwrap().split(7).test;
    let model = build(SOFTMAX);
    let hyper = Hyperparameters::tuned(DatasetKind::Digits, SOFTMAX);
    let mut base = model.init(7);
    base[12] = f32::INFINITY;
    let error = train(&*model, &base, &shard, &hyper, SEED)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "base parameter is inf at 12, allowed is a finite number"
    );
}

#[test]
fn predictions_agree_with_the_evaluation() {
    let data = digits().unwrap().split(7).test;
    let model = build(MLP);
    let params = model.init(7);
    let indices: Vec<u32> = (0..data.len() as u32).collect();
    let mut features = Array2::zeros((data.len(), 64));
    let mut labels = vec![0; data.len()];
    data.gather(&indices, features.as_slice_mut().unwrap(), &mut labels);
    let hits = model
        .predict(&params, features.view())
        .iter()
        .zip(&labels)
        .filter(|(a, b)| a == b)
        .count();
    let expected = evaluate(&*model, &params, &data).unwrap().accuracy;
    assert_eq!(hits as f64 / data.len() as f64, expected);
}

#[test]
fn model_names_round_trip_and_others_are_refused() {
    for (text, kind) in [
        ("softmax", SOFTMAX),
        ("mlp", MLP),
        ("mlp:96", ModelKind::Mlp { hidden: Some(96) }),
    ] {
        assert_eq!(text.parse::<ModelKind>().unwrap(), kind);
        assert_eq!(kind.to_string(), text);
    }
    for text in [
        "",
        "MLP",
        "mlp:",
        "mlp:0",
        "mlp:1025",
        "mlp:99999999999",
        "resnet",
    ] {
        assert!(text.parse::<ModelKind>().is_err(), "{text}");
    }
    assert!(
        ModelKind::Mlp { hidden: Some(0) }
            .build(64, 10, 64)
            .is_err()
    );
}
