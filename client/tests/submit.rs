//! Sending updates through gateways that forge, withhold or refuse, and through an honest one.

mod common;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use cifer_chain::{RejectReason, RoundId};
use cifer_client::{ClientError, ErrorKind, Fault, Payload, Submission};
use common::{Ledger, Lie, Setup, impatient, model_bytes, root_of, signed_update};

/// More than one chunk of an upload.
const FLOATS: usize = 100_000;

struct Case {
    setup: Setup,
    signed: cifer_chain::SignedUpdate,
    payload: Payload,
}

async fn case(lies: &[Lie], payload: Vec<u8>) -> Case {
    let setup = Setup::new(Ledger::new(3, FLOATS), lies).await;
    let base = root_of(&model_bytes(0, FLOATS));
    let signed = signed_update(&setup.ledger, 0, RoundId(0), base, &payload);
    Case {
        setup,
        signed,
        payload: Payload::Memory(Bytes::from(payload)),
    }
}

impl Case {
    async fn submit(&self, client: &cifer_client::Client) -> Result<Submission, ClientError> {
        client.submit(&self.signed, &self.payload).await
    }
}

#[tokio::test]
async fn certified() {
    let payload = model_bytes(5, FLOATS);
    let case = case(&[Lie::None], payload.clone()).await;
    let client = case.setup.client();
    let submission = case.submit(&client).await.unwrap();
    let Submission::Certified {
        update_id,
        receipts,
        tx,
        ..
    } = &submission
    else {
        panic!("{submission:?}")
    };
    assert_eq!(*update_id, case.signed.id("test-net"));
    assert_eq!(receipts.len(), 4);
    assert_eq!(
        case.setup.ledger.payload(&case.signed.update.payload),
        Some(payload)
    );
    // What the gateway says is in a block is in a block.
    assert!(client.tx(*tx).await.unwrap().verified);
    // Again is harmless.
    assert_eq!(case.submit(&client).await.unwrap(), submission);
}

#[tokio::test]
async fn from_a_file() {
    let payload = model_bytes(5, FLOATS);
    let mut case = case(&[Lie::None], payload.clone()).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("update.bin");
    std::fs::write(&path, &payload).unwrap();
    case.payload = Payload::File(path);
    let (hash, length) = case.payload.digest().unwrap();
    assert_eq!(
        (hash, length),
        (case.signed.update.payload, payload.len() as u64)
    );
    let submission = case.submit(&case.setup.client()).await.unwrap();
    assert!(
        matches!(submission, Submission::Certified { .. }),
        "{submission:?}"
    );
    assert_eq!(case.setup.ledger.payload(&hash), Some(payload));
}

#[tokio::test]
async fn a_missing_file_is_our_own_fault() {
    let mut case = case(&[Lie::None], model_bytes(5, FLOATS)).await;
    case.payload = Payload::File("/nowhere/update.bin".into());
    let error = case.submit(&case.setup.client()).await.unwrap_err();
    assert!(matches!(error, ClientError::Io { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/update.bin"), "{error}");
}

#[tokio::test]
async fn rejected_with_signatures() {
    let mut payload = model_bytes(5, FLOATS);
    payload[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let case = case(&[Lie::None], payload).await;
    let submission = case.submit(&case.setup.client()).await.unwrap();
    let Submission::Rejected {
        reason,
        certified,
        tx,
        ..
    } = submission
    else {
        panic!("{submission:?}")
    };
    assert_eq!((reason, certified), (RejectReason::NotFinite, true));
    assert!(tx.is_some());
}

#[tokio::test]
async fn false_verdicts_cost_the_gateway_its_place() {
    for (lie, what) in [
        (Lie::ForgedReceipts, "set of availability receipts"),
        (Lie::ShortReceipts, "set of availability receipts"),
        (Lie::ShortRejection, "set of signed rejections"),
    ] {
        let case = case(&[lie, Lie::None], model_bytes(5, FLOATS)).await;
        let client = case.setup.client();
        let submission = case.submit(&client).await.unwrap();
        assert!(
            matches!(submission, Submission::Certified { .. }),
            "{submission:?}"
        );
        let faults = client.gateways().faults();
        assert_eq!(faults.len(), 1, "{lie:?}");
        assert_eq!(faults[0].0, case.setup.gateways[0].address);
        let fault = &faults[0].1;
        assert!(
            matches!(fault, Fault::Certificate { what: w, .. } if *w == what),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_plain_refusal_is_checked_with_the_others() {
    let case = case(&[Lie::RefuseUpdates, Lie::None], model_bytes(5, FLOATS)).await;
    let submission = case.submit(&case.setup.client()).await.unwrap();
    assert!(
        matches!(submission, Submission::Certified { .. }),
        "{submission:?}"
    );
}

#[tokio::test]
async fn refused_by_all() {
    let lies = [Lie::RefuseUpdates, Lie::Down, Lie::RefuseUpdates];
    let case = case(&lies, model_bytes(5, FLOATS)).await;
    let submission = case.submit(&case.setup.client()).await.unwrap();
    let Submission::Refused { refusal, .. } = submission else {
        panic!("{submission:?}")
    };
    assert_eq!(refusal.code, tonic::Code::FailedPrecondition);
    assert!(
        refusal.to_string().contains("round 99 is not open"),
        "{refusal}"
    );
    // Each once: a refusal is not begged about.
    assert_eq!(case.setup.gateways[0].submissions.load(Ordering::SeqCst), 1);
    assert_eq!(case.setup.gateways[2].submissions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_gateway_that_never_answers_is_left() {
    let case = case(&[Lie::HangOnSubmit, Lie::None], model_bytes(5, FLOATS)).await;
    let client = case.setup.client_with(impatient());
    let submission = case.submit(&client).await.unwrap();
    assert!(
        matches!(submission, Submission::Certified { .. }),
        "{submission:?}"
    );
    assert_eq!(client.gateways().faults(), []);
}

#[tokio::test]
async fn without_genesis_nothing_is_submitted() {
    let case = case(&[Lie::None], model_bytes(5, FLOATS)).await;
    let gateways = case.setup.client().gateways().clone();
    let error = case
        .submit(&cifer_client::Client::unverified(gateways))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
