//! Handlers against hostile and awkward input, on an adapter without an engine.

use std::{sync::Arc, time::Instant};

use arc_malachitebft_app_channel::{
    NetworkMsg, Reply as EngineReply,
    app::{
        consensus::Role,
        engine::{host::SyncedValueOutcome, util::streaming::StreamContent},
        streaming::{StreamId, StreamMessage},
        types::{
            PeerId, ProposedValue,
            core::{CommitCertificate as EngineCertificate, CommitSignature, Round, Validity},
        },
    },
};
use cifer_chain::{
    block::Block,
    tx::{Registration, Transaction},
    vote::{CommitCertificate, Vote, VoteKind},
};
use cifer_genesis::{Height, SecretKey, ValidatorId};
use tokio::sync::{mpsc, oneshot, watch};

use super::*;
use crate::{
    adapter::Settings,
    api::{Phase, Status},
    context::{EngineAddress, EngineHeight, EngineProposal, EngineSignature, EngineValue},
    last_signed::LastSigned,
    network::peer_id,
    proposal::{Init, PARTS_DOMAIN, Part, WAKE_DOMAIN, Wake, split},
    signing::CiferSigner,
    support::{App, CHAIN_ID, Network, genesis_hash, params},
};

/// An adapter of one of four validators, and what it sends.
struct Bench {
    network: Network,
    adapter: Adapter<App>,
    sent: mpsc::Receiver<NetworkMsg<Cifer>>,
}

fn adapter(network: &Network, index: usize) -> (Adapter<App>, mpsc::Receiver<NetworkMsg<Cifer>>) {
    let node = &network.nodes[index];
    let record = LastSigned::open(node.home(), genesis_hash(), node.key.public_key()).unwrap();
    let signer = CiferSigner::new(node.key.clone(), CHAIN_ID, record, Arc::default());
    let settings = Settings {
        chain_id: CHAIN_ID.into(),
        own: node.id(),
        params: network.params.clone(),
        max_block_bytes: 1 << 20,
        signer: Some(Arc::new(signer)),
    };
    let (to_network, sent) = mpsc::channel(64);
    let status = Status {
        tip: Height(0),
        height: Height(1),
        round: None,
        proposer: None,
        phase: Phase::Starting,
        peers: Vec::new(),
        signatures_refused: 0,
        last_error: None,
        safety_failure: false,
    };
    let adapter = Adapter::new(
        network.app(index),
        settings,
        to_network,
        watch::channel(status).0,
        watch::channel(false).0,
        Instant::now(),
    );
    (adapter, sent)
}

impl Bench {
    /// The adapter of a validator that does not propose first.
    fn new() -> Self {
        let network = Network::new(&[1, 1, 1, 1], params());
        let proposer = proposer(&network, 1, 0);
        let index = (0..4)
            .find(|index| network.nodes[*index].id() != proposer)
            .unwrap();
        let (adapter, sent) = adapter(&network, index);
        Self {
            network,
            adapter,
            sent,
        }
    }

    fn key(&self, id: ValidatorId) -> SecretKey {
        let node = self.network.nodes.iter().find(|node| node.id() == id);
        node.unwrap().key.clone()
    }

    /// A block that the application accepts, of the proposer of that height and round.
    fn block(&self, height: u64, round: u32) -> Block {
        let proposer = proposer(&self.network, height, round);
        let index = self
            .network
            .nodes
            .iter()
            .position(|node| node.id() == proposer);
        self.network
            .app(index.unwrap())
            .build(Height(height))
            .unwrap()
    }

    fn receive(&mut self, publisher: ValidatorId, part: Part) -> Option<ProposedValue<Cifer>> {
        let peer = peer_id(publisher.key()).unwrap().to_bytes();
        let peer = PeerId::from_bytes(&peer).unwrap();
        let message =
            StreamMessage::new(StreamId::new(vec![1].into()), 0, StreamContent::Data(part));
        let (reply, answer) = reply();
        received_proposal_part::handle(&mut self.adapter, peer, Some(peer), message, reply)
            .unwrap();
        answered(answer)
    }

    /// Receives all parts and returns the last answer.
    fn propose(&mut self, init: &Init, payload: &[u8]) -> Option<ProposedValue<Cifer>> {
        let parts = split(init, payload);
        parts
            .into_iter()
            .map(|part| self.receive(init.proposer, part))
            .last()
            .flatten()
    }

    fn sync(&mut self, height: u64, bytes: &[u8]) -> SyncedValueOutcome<Cifer> {
        let proposer = EngineAddress(proposer(&self.network, height, 0));
        let (reply, answer) = reply();
        let height = EngineHeight(Height(height));
        let round = Round::new(0);
        process_synced_value::handle(&mut self.adapter, height, round, proposer, bytes, reply)
            .unwrap();
        answered(answer)
    }

    fn start_round(&mut self, height: u64, round: u32) -> Vec<ProposedValue<Cifer>> {
        let proposer = EngineAddress(proposer(&self.network, height, round));
        let (reply, answer) = reply();
        let (height, round) = (EngineHeight(Height(height)), Round::new(round));
        let role = Role::Validator;
        started_round::handle(&mut self.adapter, height, round, proposer, role, reply).unwrap();
        answered(answer)
    }

    fn decide(&mut self, block: &Block) {
        let certificate = certificate(&self.network, block, 0);
        let certificate = EngineCertificate {
            height: EngineHeight(certificate.height),
            round: Round::new(certificate.round),
            value_id: certificate.block,
            commit_signatures: certificate
                .signatures
                .iter()
                .map(|(id, signature)| {
                    CommitSignature::new(EngineAddress(*id), EngineSignature(*signature))
                })
                .collect(),
        };
        let (reply, answer) = reply();
        decided::handle(&mut self.adapter, certificate, reply).unwrap();
        answered(answer);
    }

    fn stored(&self) -> usize {
        self.adapter.app.ledger().undecided.len()
    }
}

fn reply<T>() -> (Reply<T>, oneshot::Receiver<T>) {
    let (sender, receiver): (EngineReply<T>, _) = oneshot::channel();
    (Reply::new(sender, "test"), receiver)
}

fn answered<T>(mut answer: oneshot::Receiver<T>) -> T {
    answer
        .try_recv()
        .unwrap_or_else(|_| panic!("every message is answered"))
}

fn proposer(network: &Network, height: u64, round: u32) -> ValidatorId {
    use arc_malachitebft_app_channel::app::types::core::Validator as _;
    let set = crate::context::EngineValidators::new(network.validators.clone()).unwrap();
    set.proposer(Height(height), round).address().0
}

fn certificate(network: &Network, block: &Block, round: u32) -> CommitCertificate {
    let (height, hash) = (block.header.height, block.hash());
    let mut signatures: Vec<_> = network
        .nodes
        .iter()
        .map(|node| {
            let vote = Vote {
                kind: VoteKind::Precommit,
                height,
                round,
                block: Some(hash),
                validator: node.id(),
            };
            (
                node.id(),
                node.key.sign_bytes(&vote.signing_bytes(CHAIN_ID)),
            )
        })
        .collect();
    signatures.reverse();
    CommitCertificate {
        height,
        round,
        block: hash,
        signatures,
    }
}

/// A head for `payload`, signed by `key`.
fn init(key: &SecretKey, chain_id: &str, block: &Block, round: u32, payload: &[u8]) -> Init {
    let proposal = EngineProposal {
        height: EngineHeight(block.header.height),
        round: Round::new(round),
        value: EngineValue(block.hash()),
        pol_round: Round::Nil,
        address: EngineAddress(ValidatorId(key.public_key())),
    };
    let mut init = Init::new(&proposal, payload).unwrap();
    init.signature = key.sign(PARTS_DOMAIN, chain_id, &init.signed_payload());
    init
}

fn bytes(block: &Block) -> Vec<u8> {
    borsh::to_vec(block).unwrap()
}

/// A transaction; which one does not matter, as long as the header does not know of it.
fn transaction() -> Transaction {
    let key = SecretKey::from_seed(&[77; 32]);
    Transaction::Register(Registration::sign("late".into(), CHAIN_ID, &key))
}

#[test]
fn a_good_proposal_is_kept_before_it_is_reported() {
    let mut bench = Bench::new();
    let block = bench.block(1, 0);
    let key = bench.key(block.header.proposer);
    let payload = bytes(&block);
    let init = init(&key, CHAIN_ID, &block, 0, &payload);
    let value = bench.propose(&init, &payload).unwrap();
    assert_eq!(value.value, EngineValue(block.hash()));
    assert_eq!(value.validity, Validity::Valid);
    assert_eq!(bench.stored(), 1);
    assert_eq!(bench.propose(&init, &payload), None, "once is enough");
    bench.decide(&block);
    assert_eq!(bench.adapter.app.tip(), Height(1));
}

#[test]
fn proposals_that_are_not_the_proposers_are_refused() {
    let mut bench = Bench::new();
    let block = bench.block(1, 0);
    let payload = bytes(&block);
    let rightful = bench.key(block.header.proposer);
    let other = bench
        .network
        .nodes
        .iter()
        .find(|node| node.id() != block.header.proposer)
        .map(|node| node.key.clone())
        .unwrap();
    // Not its turn; signed for another chain; signed by another key.
    let turn = init(&other, CHAIN_ID, &block, 0, &payload);
    let chain = init(&rightful, "other-chain", &block, 0, &payload);
    let mut forged = init(&other, CHAIN_ID, &block, 0, &payload);
    forged.proposer = block.header.proposer;
    for init in [turn, chain, forged] {
        assert_eq!(bench.propose(&init, &payload), None);
    }
    // Published by somebody without a seat, though signed by the proposer.
    let good = init(&rightful, CHAIN_ID, &block, 0, &payload);
    let stranger = ValidatorId(SecretKey::from_seed(&[99; 32]).public_key());
    let part = split(&good, &payload).remove(0);
    assert_eq!(bench.receive(stranger, part), None);
    assert_eq!(bench.stored(), 0);
    // Another validator may pass it on.
    let relay = ValidatorId(other.public_key());
    let part = split(&good, &payload).remove(0);
    assert!(bench.receive(relay, part).is_some());
}

#[test]
fn signed_nonsense_is_reported_as_invalid() {
    let mut bench = Bench::new();
    let block = bench.block(1, 0);
    let key = bench.key(block.header.proposer);
    let mut smuggled = block.clone();
    smuggled.transactions.push(transaction());
    let mut other_chain = block.clone();
    other_chain.header.chain_id = "other-chain".into();
    let mut other_height = block.clone();
    other_height.header.height = Height(9);
    let payloads = [
        b"no block".to_vec(),
        bytes(&smuggled),
        bytes(&other_chain),
        bytes(&other_height),
    ];
    for payload in payloads {
        let init = init(&key, CHAIN_ID, &block, 0, &payload);
        let value = bench.propose(&init, &payload).unwrap();
        assert_eq!(value.validity, Validity::Invalid);
    }
    // Well-formed, and wrong to the application.
    let mut wrong = block.clone();
    wrong.header.parent = wrong.hash();
    let payload = bytes(&wrong);
    let init = init(&key, CHAIN_ID, &wrong, 0, &payload);
    let value = bench.propose(&init, &payload).unwrap();
    assert_eq!(value.validity, Validity::Invalid);
}

#[test]
fn proposals_beyond_the_window_hold_nothing_and_early_ones_wait() {
    let mut bench = Bench::new();
    let first = bench.block(1, 0);
    for (height, round) in [(4, 0), (1_000_000, 0), (1, 11), (1, u32::MAX)] {
        let mut block = first.clone();
        block.header.height = Height(height);
        let key = bench.key(proposer(&bench.network, height, round));
        let payload = bytes(&block);
        let init = init(&key, CHAIN_ID, &block, round, &payload);
        assert_eq!(bench.propose(&init, &payload), None);
    }
    assert_eq!(bench.stored(), 0);

    // Height 2 arrives before height 1 is decided.
    let mut second = first.clone();
    second.header.height = Height(2);
    second.header.parent = first.hash();
    second.header.proposer = proposer(&bench.network, 2, 0);
    second.header.state_root = crate::support::state_root(Height(2));
    let payload = bytes(&second);
    let key = bench.key(second.header.proposer);
    let early = init(&key, CHAIN_ID, &second, 0, &payload);
    assert_eq!(
        bench.propose(&early, &payload),
        None,
        "cannot be judged yet"
    );
    assert_eq!(bench.stored(), 1);
    let SyncedValueOutcome::Verdict(value) = bench.sync(1, &bytes(&first)) else {
        panic!("a good block")
    };
    assert!(value.validity.is_valid());
    bench.decide(&first);
    let values = bench.start_round(2, 0);
    assert_eq!(values.len(), 1);
    assert!(values[0].validity.is_valid());
    assert!(bench.start_round(2, 1).is_empty(), "of that round only");
}

#[test]
fn synced_bytes_that_are_not_the_block_are_the_peers_fault() {
    let mut bench = Bench::new();
    let block = bench.block(1, 0);
    let mut smuggled = block.clone();
    smuggled.transactions.push(transaction());
    assert_eq!(smuggled.hash(), block.hash(), "the header does not change");
    for bytes in [
        b"no block".to_vec(),
        bytes(&smuggled),
        vec![0; (1 << 20) + 1],
    ] {
        assert!(matches!(
            bench.sync(1, &bytes),
            SyncedValueOutcome::PeerFault
        ));
    }
    assert!(matches!(
        bench.sync(2, &bytes(&block)),
        SyncedValueOutcome::LocalTransientError
    ));
    // The certificate is checked by the engine; a certified block that is invalid here is our trouble.
    let mut wrong = block.clone();
    wrong.header.state_root = crate::support::state_root(Height(7));
    let SyncedValueOutcome::Verdict(value) = bench.sync(1, &bytes(&wrong)) else {
        panic!("a verdict")
    };
    assert_eq!(value.validity, Validity::Invalid);
    assert!(bench.adapter.status.borrow().last_error.is_some());
}

#[test]
fn sync_responses_are_clamped() {
    let mut bench = Bench::new();
    for height in 1..=40 {
        let block = bench.adapter.app.build(Height(height)).unwrap();
        let SyncedValueOutcome::Verdict(_) = bench.sync(height, &bytes(&block)) else {
            panic!("a verdict")
        };
        bench.decide(&block);
    }
    let ask = |first: u64, last: u64| {
        let (reply, answer) = reply();
        let range = EngineHeight(Height(first))..=EngineHeight(Height(last));
        get_decided_values::handle(&bench.adapter, range, reply).unwrap();
        let heights: Vec<_> = answered(answer)
            .iter()
            .map(|value| value.height().0.0)
            .collect();
        heights
    };
    assert_eq!(ask(1, u64::MAX), (1..=32).collect::<Vec<_>>());
    assert_eq!(ask(38, 50), [38, 39, 40]);
    assert_eq!(ask(0, 2), [1, 2]);
    assert!(ask(41, 50).is_empty());
    assert!(ask(u64::MAX, u64::MAX).is_empty());
}

#[tokio::test]
async fn a_proposal_is_the_same_again_even_after_a_restart() {
    let network = Network::new(&[1, 1, 1, 1], params());
    let own = proposer(&network, 1, 0);
    let index = network
        .nodes
        .iter()
        .position(|node| node.id() == own)
        .unwrap();
    let mut proposed = Vec::new();
    for _restart in 0..2 {
        let (mut adapter, mut sent) = adapter(&network, index);
        for _again in 0..2 {
            let (reply, answer) = reply();
            let (height, round) = (EngineHeight(Height(1)), Round::new(0));
            get_value::handle(&mut adapter, height, round, reply)
                .await
                .unwrap();
            proposed.push(answered(answer).value);
            let NetworkMsg::PublishProposalPart(message) = sent.try_recv().unwrap();
            let StreamContent::Data(Part::Chunk(chunk)) = message.content else {
                panic!("a chunk")
            };
            chunk.init.verify(CHAIN_ID).unwrap();
            assert_eq!(chunk.init.block, proposed[0].0);
        }
        // Another clock reading would make another block.
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    assert!(proposed.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(network.nodes[index].ledger().undecided.len(), 1);
}

#[tokio::test]
async fn a_locked_proposal_is_sent_again_as_it_was_signed() {
    let mut bench = Bench::new();
    let block = bench.block(1, 0);
    let key = bench.key(block.header.proposer);
    let payload = bytes(&block);
    let init = init(&key, CHAIN_ID, &block, 0, &payload);
    bench.propose(&init, &payload).unwrap();
    restream_proposal::handle(
        &mut bench.adapter,
        EngineHeight(Height(1)),
        Round::new(0),
        Round::Nil,
        EngineAddress(block.header.proposer),
        block.hash(),
    )
    .await
    .unwrap();
    let NetworkMsg::PublishProposalPart(message) = bench.sent.try_recv().unwrap();
    assert_eq!(message.content.as_data(), split(&init, &payload).first());

    // Our own for a later round is signed anew, with the round that justifies it.
    let own = bench.adapter.settings.own;
    restream_proposal::handle(
        &mut bench.adapter,
        EngineHeight(Height(1)),
        Round::new(3),
        Round::new(0),
        EngineAddress(own),
        block.hash(),
    )
    .await
    .unwrap();
    let NetworkMsg::PublishProposalPart(message) = bench.sent.try_recv().unwrap();
    let Some(Part::Chunk(chunk)) = message.content.into_data() else {
        panic!("a chunk")
    };
    chunk.init.verify(CHAIN_ID).unwrap();
    assert_eq!((chunk.init.round, chunk.init.pol_round), (3, Some(0)));
    assert_eq!(chunk.init.proposer, own);
}

#[test]
fn calls_count_only_when_a_validator_signed_them() {
    let mut bench = Bench::new();
    bench.adapter.pace.started();
    let soon = Instant::now() + std::time::Duration::from_secs(10);
    let caller = bench.network.nodes[0].key.clone();
    let id = ValidatorId(caller.public_key());
    let wake = |height: u64, chain_id: &str| {
        Part::Wake(Wake {
            height: Height(height),
            validator: id,
            signature: caller.sign(WAKE_DOMAIN, chain_id, &Height(height)),
        })
    };
    bench.receive(id, wake(0, CHAIN_ID));
    bench.receive(id, wake(1, "other-chain"));
    assert!(bench.adapter.pace.due(soon, false).is_err());
    bench.receive(id, wake(1, CHAIN_ID));
    assert!(bench.adapter.pace.due(soon, false).is_ok());
}

#[test]
fn a_decided_block_is_found_though_memory_forgot_it() {
    let mut bench = Bench::new();
    let block = bench.block(1, 0);
    let key = bench.key(block.header.proposer);
    let payload = bytes(&block);
    let init = init(&key, CHAIN_ID, &block, 0, &payload);
    bench.propose(&init, &payload).unwrap();
    bench.start_round(1, 0);
    bench.adapter.undecided = crate::proposal::Undecided::default();
    bench.decide(&block);
    assert_eq!(bench.adapter.app.tip(), Height(1));
}

#[test]
fn a_lost_block_and_a_height_out_of_turn_halt() {
    let bench = Bench::new();
    let mut adapter = bench.adapter;
    let block = bench.network.app(0).build(Height(1)).unwrap();
    for height in [1, 2] {
        let certificate = EngineCertificate {
            height: EngineHeight(Height(height)),
            round: Round::new(0),
            value_id: block.hash(),
            commit_signatures: Vec::new(),
        };
        let (reply, mut answer) = reply();
        let fatal = decided::handle(&mut adapter, certificate, reply).unwrap_err();
        assert!(answer.try_recv().is_err(), "no acknowledgement: {fatal}");
    }
    assert_eq!(adapter.app.tip(), Height(0));
}

#[test]
fn intervals_of_any_size_are_no_overflow() {
    let network = Network::new(
        &[1],
        cifer_genesis::document::ConsensusParams {
            min_block_interval_ms: u64::MAX,
            idle_heartbeat_ms: u64::MAX,
            ..params()
        },
    );
    let (mut adapter, _sent) = adapter(&network, 0);
    let now = Instant::now();
    adapter.pace.started();
    adapter.pace.committed(now, false);
    assert!(adapter.pace.due(now, true).is_err());
}
