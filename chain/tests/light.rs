//! What a light client believes, and what not.

use cifer_chain::{
    AggregateCertificate, BlockHash, Hash32, Height, LightClient, LightError, MemoryStore,
    ModelRoot, Phase, RoundId, RoundRecord, StateKey, StateProof, Store, TaskRecord, Transaction,
    testing::{Network, TASK, model_after},
};

fn setup() -> (Network, MemoryStore, LightClient) {
    let network = Network::new(4, 4);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let client = LightClient::new(&network.genesis).unwrap();
    (network, store, client)
}

#[test]
fn a_model_is_trusted_through_header_proof_and_certificate() {
    let (network, store, client) = setup();
    assert_eq!(
        client.initial_model(TASK),
        Some(network.genesis.tasks[0].initial_model)
    );
    let model = network.run_round(&store);
    let header = store.block(Height(2)).unwrap().unwrap().header;
    let certificate = store.certificate(Height(2)).unwrap().unwrap();
    let header = client.verify_header(header, &certificate).unwrap();
    let (_, proof) = store.prove(StateKey::Task(TASK)).unwrap();
    header.verify_state(&proof).unwrap();
    assert_eq!(proof.decode::<TaskRecord>().unwrap().unwrap().model, model);
    let (_, proof) = store.prove(StateKey::Round(TASK, RoundId(0))).unwrap();
    header.verify_state(&proof).unwrap();
    let record: RoundRecord = proof.decode().unwrap().unwrap();
    let cifer_chain::Outcome::Finalised(certificate) = record.outcome else {
        panic!()
    };
    assert_eq!(client.verify_model(&certificate).unwrap(), model);
}

#[test]
fn headers_that_are_not_committed_are_refused() {
    let (network, store, client) = setup();
    let block = network.commit(&store, []).block;
    let certificate = network.commit_certificate(&block);
    client
        .verify_header(block.header.clone(), &certificate)
        .unwrap();

    let mut header = block.header.clone();
    header.state_root = Default::default();
    let error = client.verify_header(header, &certificate).unwrap_err();
    assert!(matches!(error, LightError::Block { .. }));
    let mut header = block.header.clone();
    header.chain_id = "other".into();
    let error = client.verify_header(header, &certificate).unwrap_err();
    assert!(matches!(error, LightError::ChainId { .. }));
    let mut header = block.header.clone();
    header.validators = Hash32::default();
    let error = client.verify_header(header, &certificate).unwrap_err();
    assert!(matches!(error, LightError::Validators { .. }));
    let mut other = certificate.clone();
    other.height = Height(2);
    let error = client
        .verify_header(block.header.clone(), &other)
        .unwrap_err();
    assert!(matches!(error, LightError::Height { .. }));
    // The signatures are for another consensus round.
    let mut other = certificate.clone();
    other.round = 1;
    let error = client
        .verify_header(block.header.clone(), &other)
        .unwrap_err();
    assert!(matches!(error, LightError::Certificate(_)));
    let mut short = certificate;
    short.signatures.truncate(2);
    let error = client.verify_header(block.header, &short).unwrap_err();
    assert!(matches!(error, LightError::Certificate(_)));
}

#[test]
fn models_by_another_rule_or_without_a_quorum_are_refused() {
    let (network, store, client) = setup();
    let state = store.state();
    network.commit(&store, (0..4).map(|i| network.update_tx(&state, i)));
    let state = store.state();
    let Transaction::Aggregate(good) = network.aggregate_tx(&state, model_after(RoundId(0))) else {
        panic!()
    };
    client.verify_model(&good).unwrap();
    let mut other = good.clone();
    other.statement.model = ModelRoot::from_bytes([1; 32]);
    assert!(matches!(
        client.verify_model(&other),
        Err(LightError::Certificate(_))
    ));
    let mut short = good.clone();
    short.signatures.truncate(2);
    assert!(matches!(
        client.verify_model(&short),
        Err(LightError::Certificate(_))
    ));
    let sign = |change: fn(&mut cifer_chain::AggregateStatement)| {
        let mut statement = good.statement;
        change(&mut statement);
        let signatures = network.quorum(&statement.signing_bytes(network.chain_id()));
        AggregateCertificate {
            statement,
            signatures,
        }
    };
    let lax = sign(|s| s.rule = Hash32::default());
    assert!(matches!(
        client.verify_model(&lax),
        Err(LightError::Rule { .. })
    ));
    let unknown = sign(|s| s.task = cifer_chain::TaskId(8));
    assert!(matches!(
        client.verify_model(&unknown),
        Err(LightError::UnknownTask(_))
    ));
}

/// Every change to a proof that a prover could make is refused.
#[test]
fn tampered_proofs_are_refused() {
    let (network, store, _) = setup();
    network.run_round(&store);
    let state = store.state();
    network.commit(&store, [network.update_tx(&state, 0)]);
    assert!(matches!(store.state().tasks[&TASK].phase, Phase::Open(_)));
    let root = store.block(store.tip()).unwrap().unwrap().header.state_root;
    let present = StateKey::Update(TASK, RoundId(1), network.contributor(0));
    let absent = StateKey::Update(TASK, RoundId(1), network.contributor(1));
    let proofs = [present, absent].map(|key| store.prove(key).unwrap().1);
    assert!(proofs[0].value.is_some() && proofs[1].value.is_none());
    for proof in &proofs {
        proof.verify(root).unwrap();
        proof.verify(Default::default()).unwrap_err();
        let with = |change: &dyn Fn(&mut StateProof)| {
            let mut other = proof.clone();
            change(&mut other);
            other.verify(root)
        };
        with(&|p| p.key = StateKey::Meta).unwrap_err();
        with(&|p| p.value = p.value.is_none().then(Vec::new)).unwrap_err();
        with(&|p| p.value = Some(vec![1, 2, 3])).unwrap_err();
        with(&|p| p.proof.clear()).unwrap_err();
        with(&|p| p.proof.push(0)).unwrap_err();
        with(&|p| p.proof.resize(1 << 20, 0)).unwrap_err();
        for cut in 0..proof.proof.len() {
            with(&|p| p.proof.truncate(cut)).unwrap_err();
        }
        for byte in 0..proof.proof.len() {
            for bit in [1_u8, 128] {
                with(&|p| p.proof[byte] ^= bit).unwrap_err();
            }
        }
    }
    // Neither proof works for the other key.
    let mut swapped = proofs[0].clone();
    swapped.proof = proofs[1].proof.clone();
    swapped.verify(root).unwrap_err();
    let _ = BlockHash::default();
}
