//! What the tuned defaults have to reach on digits with ten contributors, seed 7 and label skew (alpha 1).
//! `examples/simulate.rs` prints the same for more seeds.

mod common;

use cifer_training::{FederatedTask, ModelKind, Partition, TaskSpec};
use common::{Attack, ROUNDS, Rule, simulate, spec, task};

const MODELS: [(ModelKind, f64); 2] = [
    (ModelKind::Softmax, 0.93),
    (ModelKind::Mlp { hidden: None }, 0.94),
];
const SKEWED: Partition = Partition::Dirichlet { alpha: 1.0 };

fn final_accuracy(task: &FederatedTask, rule: Rule, attack: Attack) -> f64 {
    *simulate(task, rule, attack, ROUNDS).last().unwrap()
}

#[test]
fn fedavg_learns_and_collapses_under_sign_flip() {
    for (model, least) in MODELS {
        let task = task(model, SKEWED, 7, None);
        let clean = final_accuracy(&task, Rule::FedAvg, Attack::None);
        assert!(clean >= least, "{model}: {clean}");
        let attacked = final_accuracy(&task, Rule::FedAvg, Attack::SignFlip);
        assert!(attacked < 0.3, "{model}: {attacked}");
    }
}

#[test]
fn multi_krum_stays_within_three_points_under_each_attack() {
    for (model, _) in MODELS {
        let task = task(model, SKEWED, 7, None);
        let clean = final_accuracy(&task, Rule::MultiKrum, Attack::None);
        for attack in Attack::REQUIRED {
            let attacked = final_accuracy(&task, Rule::MultiKrum, attack);
            assert!(
                attacked > clean - 0.03,
                "{model}, {attack}: {attacked}, without attack {clean}"
            );
        }
    }
}

#[test]
fn two_processes_derive_the_same_task() {
    let spec = spec(ModelKind::Mlp { hidden: None }, SKEWED, 7);
    let text = serde_json::to_string(&spec).unwrap();
    let ours = FederatedTask::new(spec).unwrap();
    let theirs = FederatedTask::new(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(ours.initial_model(), theirs.initial_model());
    assert_eq!(ours.test_set(), theirs.test_set());
    for index in 0..10 {
        assert_eq!(ours.shard(index).unwrap(), theirs.shard(index).unwrap());
    }
    let samples: usize = (0..10).map(|index| ours.shard(index).unwrap().len()).sum();
    assert_eq!(samples + ours.test_set().len(), 1797);
    assert_eq!(
        ours.shard(10).unwrap_err().to_string(),
        "contributor index is 10, allowed is 0..10"
    );
}

#[test]
fn unknown_fields_and_values_of_a_spec_are_refused() {
    let good = serde_json::to_value(spec(ModelKind::Softmax, SKEWED, 7)).unwrap();
    for (field, value) in [
        ("extra", serde_json::json!(1)),
        ("model", serde_json::json!("resnet")),
        ("partition", serde_json::json!("0")),
        ("dataset", serde_json::json!("cifar")),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(serde_json::from_value::<TaskSpec>(bad).is_err(), "{field}");
    }
}
