//! Questions about the ledger, to honest gateways and to others.

mod common;

use cifer_chain::{BlockHash, ContributorId, Height, RoundId, StateKey, Store};
use cifer_client::{
    BlockSelector, Client, ClientError, ErrorKind, Fault, GatewayOptions, Gateways, ProofKey,
};
use common::{Ledger, Lie, Setup, TASK, model_bytes};

const FLOATS: usize = 16;

async fn setup(lies: &[Lie]) -> Setup {
    let ledger = Ledger::new(3, FLOATS);
    ledger.finish_round(model_bytes(1, FLOATS));
    Setup::new(ledger, lies).await
}

#[tokio::test]
async fn status_comes_without_control_characters() {
    let setup = setup(&[Lie::None, Lie::Down]).await;
    let client = setup.client();
    let status = client.status().await.unwrap();
    assert_eq!(
        (status.node_name.as_str(), status.role),
        ("test ", "observer")
    );
    assert_eq!(status.height, setup.ledger.store.tip());
    let all = client.statuses().await;
    assert!(all[0].1.is_ok() && all[1].1.is_err());
    assert!(client.status_of(&setup.addresses()[0]).await.is_ok());
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["genesis_hash"], status.genesis_hash.to_string());
}

#[tokio::test]
async fn blocks_and_transactions_are_verified() {
    let setup = setup(&[Lie::None]).await;
    let client = setup.client();
    let block = client
        .block(BlockSelector::Height(Height(2)))
        .await
        .unwrap();
    assert!(block.verified);
    assert_eq!((block.transactions.len(), block.signers.len()), (3, 4));
    assert_eq!(
        client.block(BlockSelector::Hash(block.hash)).await.unwrap(),
        block
    );
    let tx = client.tx(block.transactions[1].hash).await.unwrap();
    assert!(tx.verified);
    assert_eq!(
        (tx.height, tx.index, tx.summary.kind),
        (Height(2), 1, "update")
    );
    let newest = client.block(BlockSelector::Latest).await.unwrap();
    assert_eq!(newest.height, setup.ledger.store.tip());
    let error = client
        .block(BlockSelector::Height(Height(99)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn a_changed_header_is_caught() {
    let setup = setup(&[Lie::WrongHeader, Lie::None]).await;
    let client = setup.client();
    let block = client.block(BlockSelector::Latest).await.unwrap();
    assert_eq!(block.gateway, setup.gateways[1].address);
    let faults = client.gateways().faults();
    assert!(matches!(
        faults[0].1,
        Fault::Certificate {
            what: "commit certificate",
            ..
        }
    ));
}

#[tokio::test]
async fn another_block_than_asked_for_is_caught() {
    let setup = setup(&[Lie::None]).await;
    // The test gateway answers an unknown hash with height 0, which is no block: an honest refusal.
    let unknown = BlockSelector::Hash(BlockHash::from_bytes([3; 32]));
    let error = setup.client().block(unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn rounds_are_verified_by_their_certificate() {
    let honest = setup(&[Lie::None]).await;
    let round = honest.client().round(TASK, Some(RoundId(0))).await.unwrap();
    assert!(round.verified);
    assert_eq!(round.signers.len(), 4);

    let lying = setup(&[Lie::ShortCertificate]).await;
    let error = lying
        .client()
        .round(TASK, Some(RoundId(0)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
}

#[tokio::test]
async fn pages_of_rounds_are_followed() {
    let setup = setup(&[Lie::None]).await;
    for label in 2..6 {
        setup.ledger.finish_round(model_bytes(label, FLOATS));
    }
    let client = setup.client();
    let rounds = client.rounds(TASK, 4).await.unwrap();
    let numbers: Vec<u64> = rounds.iter().map(|round| round.round.0).collect();
    assert_eq!(numbers, [5, 4, 3, 2]);
    assert_eq!(client.rounds(TASK, 100).await.unwrap().len(), 6);
}

#[tokio::test]
async fn state_is_proven_present_and_absent() {
    let setup = setup(&[Lie::None]).await;
    let client = setup.client();
    let task = client.proof(&ProofKey::Task(TASK)).await.unwrap();
    assert!(task.verified && task.value.is_some());
    let nobody = ContributorId(cifer_chain::testing::key(7, 7).public_key());
    let key = ProofKey::Raw(StateKey::Contributor(nobody).to_bytes());
    let absent = client.proof(&key).await.unwrap();
    assert!(absent.verified && absent.value.is_none());
}

#[tokio::test]
async fn a_proof_of_something_else_is_caught() {
    let setup = setup(&[Lie::WrongProof]).await;
    let error = setup
        .client()
        .proof(&ProofKey::Task(TASK))
        .await
        .unwrap_err();
    let ClientError::Distrusted { faults } = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(
            faults[0].1,
            Fault::Malformed {
                field: "state proof",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn the_validators_are_those_of_genesis() {
    let honest = setup(&[Lie::None]).await;
    let validators = honest.client().validators().await.unwrap();
    assert!(validators.verified);
    assert_eq!(validators.validators.len(), 4);
    let lying = setup(&[Lie::WrongHeader]).await;
    assert_eq!(
        lying.client().validators().await.unwrap_err().kind(),
        ErrorKind::Verification
    );
}

#[tokio::test]
async fn without_genesis_answers_are_marked() {
    let setup = setup(&[Lie::None]).await;
    let gateways = Gateways::new(&setup.addresses(), GatewayOptions::default()).unwrap();
    let client = Client::unverified(gateways);
    assert!(!client.block(BlockSelector::Latest).await.unwrap().verified);
    let (genesis, hash) = client.genesis().await.unwrap();
    assert_eq!(
        (&genesis, hash),
        (&setup.ledger.network.genesis, genesis.hash())
    );
}

#[tokio::test]
async fn unusable_settings_are_named() {
    let new = |addresses: &[&str], options: GatewayOptions| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        Gateways::new(&addresses, options).map(drop)
    };
    for addresses in [
        &[][..],
        &["ftp://127.0.0.1:1"],
        &["http://"],
        &["https://127.0.0.1:1"],
        &["a b"],
    ] {
        let error = new(addresses, GatewayOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{addresses:?}: {error}");
    }
    let mut options = GatewayOptions::default();
    options.tls.ca = Some("/nowhere/ca.pem".into());
    let error = new(&["https://127.0.0.1:1"], options.clone()).unwrap_err();
    assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    options.tls.ca = None;
    options.tls.cert = Some("/nowhere/cert.pem".into());
    assert_eq!(
        new(&["https://127.0.0.1:1"], options).unwrap_err().kind(),
        ErrorKind::Config
    );
    assert!(
        new(
            &["127.0.0.1:26652", "http://localhost:1/"],
            GatewayOptions::default()
        )
        .is_ok()
    );
}
