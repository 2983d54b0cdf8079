//! Momentum at the workers: what is sent is the average over rounds that the module says it is.

use cifer_training::{
    Batch, Dataset, DatasetKind, FederatedTask, Model, ModelKind, MomentumWorker, Partition,
    TaskSpec, WorkerSettings, digits,
};
use ndarray::ArrayView2;

fn task(partition: Partition) -> FederatedTask {
    FederatedTask::new(TaskSpec {
        dataset: DatasetKind::Digits,
        model: ModelKind::Mlp { hidden: Some(8) },
        partition,
        contributors: 10,
        seed: 7,
        hyperparameters: None,
        mnist_dir: None,
    })
    .unwrap()
}

fn settings(momentum: f32, batch_size: u32) -> WorkerSettings {
    WorkerSettings {
        batch_size,
        momentum,
        logit_adjustment: 0.0,
    }
}

/// The gradient over a whole shard.
fn gradient(model: &dyn Model, params: &[f32], shard: &Dataset) -> Vec<f32> {
    let mut rows = vec![0.0; shard.len() * shard.features()];
    let mut labels = vec![0; shard.len()];
    let all: Vec<u32> = (0..shard.len() as u32).collect();
    shard.gather(&all, &mut rows, &mut labels);
    let mut gradient = vec![0.0; params.len()];
    let batch = Batch {
        features: ArrayView2::from_shape((shard.len(), shard.features()), &rows).unwrap(),
        labels: &labels,
        logit_offsets: &vec![0.0; shard.classes()],
    };
    model.loss_and_gradient(
        params,
        batch,
        &mut model.scratch(shard.len()),
        &mut gradient,
    );
    gradient
}

fn close(found: &[f32], expected: &[f32]) {
    let scale = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    assert!(scale > 0.0);
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-5 * scale,
            "{found} {expected}"
        );
    }
}

#[test]
fn momentum_is_the_exponential_average_of_the_gradients() {
    let task = task(Partition::Iid);
    let (model, shard) = (task.model(), task.shard(0).unwrap());
    // A batch as large as the shard is the same samples in every step.
    let mut worker =
        MomentumWorker::new(model, shard.clone(), settings(0.75, u16::MAX.into()), 7, 0).unwrap();
    let first = task.initial_model();
    let second: Vec<f32> = first.iter().map(|x| 0.5 * x).collect();
    let at_first: Vec<f32> = gradient(model, &first, &shard)
        .iter()
        .map(|g| 0.25 * g)
        .collect();
    close(worker.step(model, &first).unwrap().0, &at_first);
    let at_second: Vec<f32> = gradient(model, &second, &shard)
        .iter()
        .zip(&at_first)
        .map(|(g, m)| 0.75 * m + 0.25 * g)
        .collect();
    close(worker.step(model, &second).unwrap().0, &at_second);
}

#[test]
fn workers_of_one_seed_are_the_same_and_others_differ() {
    let task = task(Partition::Similarity { gamma: 0.5 });
    let (model, params) = (task.model(), task.initial_model());
    let run = |seed, contributor| {
        let shard = task.shard(3).unwrap();
        let mut worker =
            MomentumWorker::new(model, shard, settings(0.9, 10), seed, contributor).unwrap();
        // More samples than the shard has: the order is shuffled again on the way.
        for _ in 0..30 {
            worker.step(model, &params).unwrap();
        }
        worker.step(model, &params).unwrap().0.to_vec()
    };
    assert_eq!(run(1, 3), run(1, 3));
    assert_ne!(run(1, 3), run(2, 3));
    assert_ne!(run(1, 3), run(1, 4));
}

#[test]
fn descending_along_the_momentum_learns() {
    let task = task(Partition::Iid);
    let model = task.model();
    let mut params = task.initial_model();
    let before = task.evaluate(&params).unwrap();
    let shard = task.shard(0).unwrap();
    let mut worker = MomentumWorker::new(model, shard, settings(0.9, 25), 7, 0).unwrap();
    for _ in 0..200 {
        let (momentum, _) = worker.step(model, &params).unwrap();
        params
            .iter_mut()
            .zip(momentum)
            .for_each(|(x, m)| *x -= 0.5 * m);
    }
    let after = task.evaluate(&params).unwrap();
    assert!(
        after.accuracy > before.accuracy + 0.3,
        "{before:?} {after:?}"
    );
    assert!(after.loss < before.loss);
}

#[test]
fn settings_and_sizes_are_checked() {
    let task = task(Partition::Iid);
    let new = |settings| {
        MomentumWorker::new(task.model(), task.shard(0).unwrap(), settings, 7, 0)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(new(settings(1.0, 10)).starts_with("momentum is 1"));
    assert!(new(settings(f32::NAN, 10)).starts_with("momentum is NaN"));
    assert!(new(settings(0.9, 0)).starts_with("batch_size is 0"));
    let shard = task.shard(0).unwrap();
    let mut worker = MomentumWorker::new(task.model(), shard, settings(0.9, 10), 7, 0).unwrap();
    assert!(worker.step(task.model(), &[0.0]).is_err());
    let infinite = vec![f32::INFINITY; task.initial_model().len()];
    assert!(
        worker
            .step(task.model(), &infinite)
            .unwrap_err()
            .to_string()
            .contains("diverged")
    );
}

#[test]
fn standardised_features_have_the_mean_and_deviation_taken_out() {
    let plain = digits().unwrap();
    let standard = plain.clone().standardised(0.3, 0.4).unwrap();
    let gather = |data: &Dataset| {
        let mut rows = vec![0.0; 3 * data.features()];
        data.gather(&[5, 0, 9], &mut rows, &mut [0; 3]);
        rows
    };
    for (x, z) in gather(&plain).iter().zip(gather(&standard)) {
        assert!(((x - 0.3) / 0.4 - z).abs() < 1e-5);
    }
    assert_eq!(
        plain.select(&[1, 2]).standardised(0.3, 0.4).unwrap(),
        standard.select(&[1, 2])
    );
    assert!(plain.clone().standardised(-1.0, 1.0).is_err());
    assert!(plain.clone().standardised(0.5, 0.0).is_err());
    assert!(plain.standardised(f32::NAN, 1.0).is_err());
}
