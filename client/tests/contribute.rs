//! Contributors that train on real data against a real ledger, through gateways of all kinds.

mod common;

use std::sync::{Arc, Mutex};

use cifer_aggregation::Attack;
use cifer_chain::{ContributorId, SecretKey, testing};
use cifer_client::{
    Client, ClientError, ContributorConfig, ContributorEvent, ContributorSummary, ErrorKind,
    FinishReason, Trainer, TrainerConfig, UpdateReport, UpdateResult, UpdateSource, contribute,
};
use cifer_genesis::document::Tensor;
use cifer_training::{DatasetKind, FederatedTask, ModelKind, Partition, TaskSpec};
use common::{Ledger, Lie, Setup, TASK, model_bytes};
use tokio_util::sync::CancellationToken;

const CONTRIBUTORS: usize = 3;
const ROUNDS: u64 = 3;

fn spec() -> TaskSpec {
    TaskSpec {
        dataset: DatasetKind::Digits,
        model: ModelKind::Softmax,
        partition: Partition::Iid,
        contributors: CONTRIBUTORS,
        seed: 7,
        hyperparameters: None,
        mnist_dir: None,
    }
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A network that trains digits for three rounds.
fn digits() -> Ledger {
    let task = FederatedTask::new(spec()).unwrap();
    let tensor = |t: cifer_training::TensorSpec| {
        Tensor::f32(
            t.name,
            &t.shape.iter().map(|d| *d as u64).collect::<Vec<_>>(),
        )
    };
    let tensors = task.manifest().into_iter().map(tensor).collect();
    Ledger::with(
        CONTRIBUTORS,
        le_bytes(&task.initial_model()),
        tensors,
        |genesis| {
            genesis.tasks[0].rounds.max_rounds = ROUNDS;
            genesis.tasks[0].rounds.min_updates = 1;
        },
    )
}

fn config(index: usize, attack: Attack) -> ContributorConfig {
    ContributorConfig {
        key: testing::key(2, index),
        name: format!("contributor-{index}"),
        task: TASK,
        source: UpdateSource::Train(Box::new(TrainerConfig {
            spec: spec(),
            index,
            attack,
            byzantine: 1,
        })),
        rounds: None,
        record: None,
    }
}

type Outcome = (
    Result<ContributorSummary, ClientError>,
    Vec<ContributorEvent>,
);

async fn run(client: Client, config: ContributorConfig, cancel: CancellationToken) -> Outcome {
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&events);
    let report = move |event: &ContributorEvent| log.lock().unwrap().push(event.clone());
    let result = contribute(client, config, cancel, report).await;
    let events = events.lock().unwrap().clone();
    (result, events)
}

/// All contributors at once, the last one with this attack.
async fn train(setup: &Setup, attack: Attack) -> Vec<Outcome> {
    let running = (0..CONTRIBUTORS).map(|index| {
        let attack = if index + 1 == CONTRIBUTORS {
            attack
        } else {
            Attack::None
        };
        let client = setup.client();
        tokio::spawn(run(client, config(index, attack), CancellationToken::new()))
    });
    let outcomes = futures::future::join_all(running).await;
    outcomes.into_iter().map(Result::unwrap).collect()
}

fn updates(events: &[ContributorEvent]) -> Vec<&UpdateReport> {
    let mut updates = Vec::new();
    for event in events {
        if let ContributorEvent::Update(update) = event {
            updates.push(update);
        }
    }
    updates
}

fn accuracy(setup: &Setup) -> f64 {
    let root = testing::current(&cifer_chain::Store::state(&setup.ledger.store)).model;
    let bytes = setup.ledger.model(&root).unwrap().0;
    let values: Vec<f32> = bytes
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    FederatedTask::new(spec())
        .unwrap()
        .evaluate(&values)
        .unwrap()
        .accuracy
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_contributors_train_to_the_end() {
    let setup = Setup::new(digits(), &[Lie::None]).await;
    for (result, events) in train(&setup, Attack::None).await {
        let summary = result.unwrap();
        assert_eq!(summary.reason, FinishReason::Complete);
        assert_eq!((summary.rounds, summary.certified), (ROUNDS, ROUNDS));
        assert!(matches!(events[0], ContributorEvent::Started { .. }));
        assert!(matches!(events.last(), Some(ContributorEvent::Finished(_))));
        let rounds: Vec<u64> = updates(&events)
            .iter()
            .map(|update| update.round.0)
            .collect();
        assert_eq!(rounds, [0, 1, 2]);
        let line = serde_json::to_value(&events[1]).unwrap();
        assert_eq!(
            (&line["event"], &line["outcome"]),
            (&"update".into(), &"certified".into())
        );
    }
    let accuracy = accuracy(&setup);
    assert!(accuracy > 0.8, "three rounds of digits gave {accuracy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn training_survives_gateways_that_lie_and_break() {
    let lies = [
        Lie::WrongGenesis,
        Lie::ForgedReceipts,
        Lie::WrongModelBytes,
        Lie::Down,
        Lie::DeadEvents,
        Lie::None,
    ];
    let setup = Setup::new(digits(), &lies).await;
    for (result, events) in train(&setup, Attack::None).await {
        assert_eq!(result.unwrap().reason, FinishReason::Complete, "{events:?}");
    }
    assert!(accuracy(&setup) > 0.8);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_a_number_is_rejected_with_signatures() {
    let setup = Setup::new(digits(), &[Lie::None]).await;
    let outcomes = train(&setup, Attack::Nan).await;
    let (result, events) = &outcomes[CONTRIBUTORS - 1];
    let summary = result.as_ref().unwrap();
    assert_eq!((summary.rounds, summary.certified), (ROUNDS, 0));
    for update in updates(events) {
        assert_eq!(update.result, UpdateResult::Rejected);
        assert_eq!(update.reason.as_deref(), Some("not-finite"));
    }
    assert_eq!(outcomes[0].0.as_ref().unwrap().certified, ROUNDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_can_be_sent() {
    for attack in [
        Attack::Alie { z: None },
        Attack::InnerProduct { tau: 3.0 },
        Attack::LabelFlip,
        Attack::OptimalAlie,
        Attack::MinSum,
        Attack::Scaling { factor: None },
    ] {
        let setup = Setup::new(digits(), &[Lie::None]).await;
        for (result, _) in train(&setup, attack).await {
            assert_eq!(result.unwrap().certified, ROUNDS, "{attack}");
        }
    }
}

/// What an omniscient attacker believes the honest ones send is what they do send.
#[test]
fn omniscient_attackers_know_the_honest_updates() {
    let network = digits().network;
    let task = &network.genesis.tasks[0];
    let base = FederatedTask::new(spec()).unwrap().initial_model();
    let update = |index, attack| {
        let config = TrainerConfig {
            spec: spec(),
            index,
            attack,
            byzantine: 1,
        };
        let trainer = Trainer::new(config, task).unwrap();
        let payload = trainer
            .update(cifer_chain::RoundId(0), &base)
            .unwrap()
            .payload;
        let values = payload
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        values.collect::<Vec<f32>>()
    };
    let honest: Vec<_> = (0..2).map(|index| update(index, Attack::None)).collect();
    let sent = update(2, Attack::InnerProduct { tau: 3.0 });
    for (k, value) in sent.iter().enumerate() {
        let mean = (f64::from(honest[0][k]) + f64::from(honest[1][k])) / 2.0;
        assert_eq!(*value, (-3.0 * mean) as f32, "coordinate {k}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_sent_as_it_is() {
    let setup = Setup::new(digits(), &[Lie::None]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("update.bin");
    let payload = model_bytes(1, 650);
    std::fs::write(&path, &payload).unwrap();
    let mut config = config(0, Attack::None);
    config.source = UpdateSource::File { path, samples: 5 };
    config.rounds = Some(1);
    let (result, events) = run(setup.client(), config, CancellationToken::new()).await;
    assert_eq!(result.unwrap().reason, FinishReason::Rounds);
    let update = updates(&events)[0];
    assert_eq!(
        (update.result, update.samples),
        (UpdateResult::Certified, 5)
    );
    let hash = cifer_chain::BlobHash::from_bytes(*blake3::hash(&payload).as_bytes());
    assert_eq!(setup.ledger.payload(&hash), Some(payload));
}

/// Alone among three: round 0 aborts before anybody trains, round 1 closes by its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn rounds_that_abort_or_run_out_lead_to_the_next() {
    let setup = Setup::new(digits(), &[Lie::None]).await;
    setup.ledger.abort_round();
    let ledger = Arc::clone(&setup.ledger);
    let report = move |event: &ContributorEvent| {
        if matches!(event, ContributorEvent::Update(_)) {
            ledger.run_out_of_time();
        }
    };
    let config = config(0, Attack::None);
    let summary = contribute(setup.client(), config, CancellationToken::new(), report)
        .await
        .unwrap();
    assert_eq!(
        (summary.rounds, summary.reason),
        (2, FinishReason::Complete)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_so() {
    let setup = Setup::new(digits(), &[Lie::None]).await;
    let mut config = config(0, Attack::None);
    config.key = SecretKey::from_seed(&[77; 32]);
    let (result, _) = run(setup.client(), config, CancellationToken::new()).await;
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let id = ContributorId(SecretKey::from_seed(&[77; 32]).public_key());
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_than_the_task_s_is_refused() {
    let setup = Setup::new(Ledger::new(CONTRIBUTORS, 16), &[Lie::None]).await;
    let config = config(0, Attack::None);
    let (result, _) = run(setup.client(), config, CancellationToken::new()).await;
    let error = result.unwrap_err();
    assert!(
        matches!(error, ClientError::Config { field: "model", .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_while_it_waits() {
    let setup = Setup::new(digits(), &[Lie::None]).await;
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(setup.client(), config(0, Attack::None), cancel.clone()));
    // It has sent its update and waits for a next round that does not come.
    let mut heights = setup.ledger.heights();
    heights.wait_for(|height| height.0 >= 2).await.unwrap();
    cancel.cancel();
    let (result, events) = running.await.unwrap();
    assert_eq!(result.unwrap().reason, FinishReason::Cancelled);
    assert!(matches!(events.last(), Some(ContributorEvent::Finished(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_other_settings_signs_nothing_twice() {
    let setup = Setup::new(digits(), &[Lie::HangOnSubmit, Lie::None]).await;
    let dir = tempfile::tempdir().unwrap();
    let mut first = config(0, Attack::None);
    first.record = Some(dir.path().join("signed"));
    let record = first.record.clone().unwrap();
    // The first run signs and gets no answer.
    let cancel = CancellationToken::new();
    let running = tokio::spawn(run(setup.client(), first.clone(), cancel.clone()));
    while setup.gateways[0]
        .submissions
        .load(std::sync::atomic::Ordering::SeqCst)
        == 0
    {
        tokio::task::yield_now().await;
    }
    cancel.cancel();
    running.await.unwrap().0.unwrap();
    assert!(record.exists());
    // The second run would sign something else for the same round.
    let mut second = config(0, Attack::SignFlip { scale: 4.0 });
    second.record = first.record;
    let cancel = CancellationToken::new();
    let (stop, seen) = (cancel.clone(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&seen);
    let report = move |event: &ContributorEvent| {
        log.lock().unwrap().push(event.clone());
        if matches!(event, ContributorEvent::Skipped { .. }) {
            stop.cancel();
        }
    };
    contribute(setup.client(), second, cancel, report)
        .await
        .unwrap();
    let events = seen.lock().unwrap().clone();
    assert!(updates(&events).is_empty(), "{events:?}");
}

/// One round of one contributor that gives up after one pass over its only gateway.
async fn once(lie: Lie) -> (Setup, Outcome) {
    let setup = Setup::new(digits(), &[lie]).await;
    let mut options = common::options();
    options.give_up_after = std::time::Duration::ZERO;
    let mut config = config(0, Attack::None);
    config.rounds = Some(1);
    let client = setup.client_with(options);
    let outcome = run(client, config, CancellationToken::new()).await;
    let trouble = |event: &ContributorEvent| matches!(event, ContributorEvent::Trouble { .. });
    assert!(outcome.1.iter().any(trouble), "{:?}", outcome.1);
    (setup, outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_was_lost_on_its_way_is_sent_again() {
    let (_setup, (result, events)) = once(Lie::LosesFirstUpload).await;
    assert_eq!(result.unwrap().certified, 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_whose_answer_was_lost_is_found_in_the_state() {
    let (setup, (result, events)) = once(Lie::LosesFirstAnswer).await;
    assert_eq!(result.unwrap().certified, 1, "{events:?}");
    let report = updates(&events)[0];
    let state = cifer_chain::Store::state(&setup.ledger.store);
    let turn = testing::current(&state).turn(&ContributorId(testing::key(2, 0).public_key()));
    let Some(cifer_chain::Turn::Accepted(accepted)) = turn else {
        panic!("{turn:?}")
    };
    assert_eq!((report.round.0, report.tx), (0, Some(accepted.tx)));
}
