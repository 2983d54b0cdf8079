//! Downloading models from gateways that lie, break, hang, or hold what they promise.

mod common;

use std::{sync::atomic::Ordering, time::Duration};

use cifer_chain::RoundId;
use cifer_client::{
    ClientError, ErrorKind, Fault, ModelBytes, ModelSelector, ModelTarget, VerifiedModel,
};
use common::{Ledger, Lie, Setup, TASK, impatient, model_bytes, options};

const FLOATS: usize = 10_000;

/// Round 1 is open, from a certified model.
fn ledger() -> Ledger {
    let ledger = Ledger::new(3, FLOATS);
    ledger.finish_round(model_bytes(1, FLOATS));
    ledger
}

fn bytes(model: &VerifiedModel) -> &[u8] {
    match &model.bytes {
        ModelBytes::Memory(bytes) => bytes,
        ModelBytes::File(_) => panic!("not in memory"),
    }
}

/// The lying gateway is asked first, the model comes from the honest one, the liar is named.
async fn falls_over(lie: Lie, expected: impl Fn(&Fault) -> bool) {
    let setup = Setup::new(ledger(), &[lie, Lie::None]).await;
    let client = setup.client();
    let current = client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(current.round.round, RoundId(1));
    assert_eq!(bytes(&current.model), model_bytes(1, FLOATS));
    assert_eq!(current.model.gateway, setup.gateways[1].address);
    let faults = client.gateways().faults();
    assert_eq!(faults.len(), 1, "{lie:?}: {faults:?}");
    assert_eq!(faults[0].0, setup.gateways[0].address);
    assert!(expected(&faults[0].1), "{lie:?}: {:?}", faults[0].1);
    // It is not asked again.
    let asked = setup.gateways[0].downloads.load(Ordering::SeqCst);
    client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(setup.gateways[0].downloads.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn an_honest_gateway_is_enough() {
    let setup = Setup::new(ledger(), &[Lie::None]).await;
    let current = setup
        .client()
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(bytes(&current.model), model_bytes(1, FLOATS));
    assert_eq!(current.model.round(), Some(RoundId(0)));
    assert_eq!(current.round.base, current.model.root);
    assert_eq!(current.model.parameters().unwrap().len(), FLOATS);
    assert_eq!(setup.gateways[0].downloads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_initial_model_needs_no_certificate() {
    let setup = Setup::new(Ledger::new(3, FLOATS), &[Lie::None]).await;
    let current = setup
        .client()
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(current.model.certificate, None);
    assert_eq!(bytes(&current.model), model_bytes(0, FLOATS));
}

#[tokio::test]
async fn wrong_bytes() {
    falls_over(Lie::WrongModelBytes, |fault| {
        matches!(fault, Fault::ModelBytes { .. })
    })
    .await;
}

#[tokio::test]
async fn a_wrong_root() {
    falls_over(Lie::WrongRoot, |fault| {
        matches!(fault, Fault::Mismatch { .. })
    })
    .await;
}

#[tokio::test]
async fn a_wrong_root_for_round_zero() {
    let setup = Setup::new(Ledger::new(3, FLOATS), &[Lie::WrongRoot, Lie::None]).await;
    let client = setup.client();
    let current = client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(bytes(&current.model), model_bytes(0, FLOATS));
    let faults = client.gateways().faults();
    assert!(
        matches!(faults[0].1, Fault::Root { round: 0, .. }),
        "{faults:?}"
    );
}

#[tokio::test]
async fn forged_short_and_doubled_certificates() {
    let expected = |fault: &Fault| {
        matches!(
            fault,
            Fault::Certificate {
                what: "aggregate certificate",
                ..
            }
        )
    };
    falls_over(Lie::ForgedCertificate, expected).await;
    falls_over(Lie::ShortCertificate, expected).await;
    falls_over(Lie::DuplicateSigner, expected).await;
}

#[tokio::test]
async fn too_few_and_too_many_bytes() {
    let of_model = |fault: &Fault| matches!(fault, Fault::Length { .. });
    falls_over(Lie::TruncateAt(8192), of_model).await;
    falls_over(Lie::WrongLength, of_model).await;
}

#[tokio::test]
async fn bytes_beyond_the_model_are_not_taken() {
    let setup = Setup::new(ledger(), &[Lie::TooLong]).await;
    let result = setup
        .client()
        .fetch_current(TASK, ModelTarget::Memory)
        .await;
    // 40,000 bytes are no multiple of the chunk, so that the last chunk holds too much.
    assert!(
        matches!(result, Err(ClientError::Distrusted { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn another_network() {
    falls_over(Lie::WrongGenesis, |fault| {
        matches!(fault, Fault::Genesis { .. })
    })
    .await;
}

#[tokio::test]
async fn all_gateways_lie() {
    let lies = [Lie::WrongModelBytes, Lie::ForgedCertificate];
    let setup = Setup::new(ledger(), &lies).await;
    let error = setup
        .client()
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap_err();
    let ClientError::Distrusted { faults } = &error else {
        panic!("{error}")
    };
    assert_eq!(faults.len(), 2);
    assert_eq!(error.kind(), ErrorKind::Verification);
    for gateway in &setup.gateways {
        assert!(error.to_string().contains(&gateway.address), "{error}");
    }
}

#[tokio::test]
async fn a_broken_download_goes_on_at_its_offset() {
    let setup = Setup::new(ledger(), &[Lie::BreakAt(12_288), Lie::None]).await;
    let client = setup.client();
    let current = client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(bytes(&current.model), model_bytes(1, FLOATS));
    assert_eq!(setup.gateways[1].last_offset.load(Ordering::SeqCst), 12_288);
    assert_eq!(client.gateways().faults(), []);
}

#[tokio::test]
async fn a_download_to_a_file_goes_on_at_its_offset() {
    let setup = Setup::new(ledger(), &[Lie::BreakAt(12_288), Lie::None]).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.bin");
    let target = ModelTarget::File(path.clone());
    let model = setup
        .client()
        .fetch_model(TASK, ModelSelector::Newest, target)
        .await
        .unwrap();
    assert_eq!(model.bytes, ModelBytes::File(path.clone()));
    assert_eq!(std::fs::read(&path).unwrap(), model_bytes(1, FLOATS));
    assert_eq!(setup.gateways[1].last_offset.load(Ordering::SeqCst), 12_288);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// The first gateway poisons the beginning and breaks; the second, honest one must not be blamed.
#[tokio::test]
async fn mixed_bytes_put_the_blame_on_nobody_innocent() {
    let lies = [Lie::WrongBytesThenBreak(8192), Lie::None];
    let setup = Setup::new(ledger(), &lies).await;
    let client = setup.client();
    let current = client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(bytes(&current.model), model_bytes(1, FLOATS));
    let honest = &setup.gateways[1].address;
    assert!(
        client
            .gateways()
            .faults()
            .iter()
            .all(|(gateway, _)| gateway != honest)
    );
    assert_eq!(setup.gateways[1].last_offset.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_failed_download_leaves_no_file() {
    let setup = Setup::new(ledger(), &[Lie::WrongModelBytes]).await;
    let dir = tempfile::tempdir().unwrap();
    let target = ModelTarget::File(dir.path().join("model.bin"));
    setup
        .client()
        .fetch_current(TASK, target)
        .await
        .unwrap_err();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_gateway_that_hangs_is_left() {
    for lie in [Lie::HangAfterHeader, Lie::HangOnRound] {
        let setup = Setup::new(ledger(), &[lie, Lie::None]).await;
        let client = setup.client_with(impatient());
        let current = client
            .fetch_current(TASK, ModelTarget::Memory)
            .await
            .unwrap();
        assert_eq!(current.model.gateway, setup.gateways[1].address);
        assert_eq!(client.gateways().faults(), []);
    }
}

#[tokio::test]
async fn gateways_that_are_down_are_named_and_given_up() {
    let setup = Setup::new(ledger(), &[Lie::None, Lie::Down]).await;
    setup.gateways[0].kill();
    let mut options = options();
    options.give_up_after = Duration::ZERO;
    let client = setup.client_with(options);
    let error = client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let ClientError::Exhausted { attempts: 2, .. } = error else {
        panic!("{error}")
    };
}

#[tokio::test]
async fn an_aborted_round_is_proven_by_the_state() {
    let ledger = ledger();
    ledger.abort_round();
    let setup = Setup::new(ledger, &[Lie::None]).await;
    let current = setup
        .client()
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    // The model is that of round 0, the open round is not the one after it.
    assert_eq!(current.round.round, RoundId(2));
    assert_eq!(current.model.round(), Some(RoundId(0)));
}

#[tokio::test]
async fn a_round_that_is_not_open_yet_is_not_believed() {
    let setup = Setup::new(ledger(), &[Lie::FutureRound, Lie::None]).await;
    let client = setup.client();
    let current = client
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(current.round.round, RoundId(1));
    let faults = client.gateways().faults();
    assert!(
        matches!(
            faults[0].1,
            Fault::Malformed {
                field: "state proof",
                ..
            }
        ),
        "{faults:?}"
    );
}

#[tokio::test]
async fn models_of_past_rounds() {
    let ledger = ledger();
    ledger.finish_round(model_bytes(2, FLOATS));
    let setup = Setup::new(ledger, &[Lie::None]).await;
    let client = setup.client();
    let fetch = |selector| client.fetch_model(TASK, selector, ModelTarget::Memory);
    let first = fetch(ModelSelector::Round(RoundId(0))).await.unwrap();
    assert_eq!(bytes(&first), model_bytes(1, FLOATS));
    let newest = fetch(ModelSelector::Newest).await.unwrap();
    assert_eq!(bytes(&newest), model_bytes(2, FLOATS));
    assert_eq!(
        fetch(ModelSelector::Root(first.root)).await.unwrap().bytes,
        first.bytes
    );
    let error = fetch(ModelSelector::Round(RoundId(7))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}
