//! Golden bytes and hashes: everything that is signed, hashed or agreed on. A change here is a
//! change of protocol; the domain of what changed has to become `v2`.

use cifer_chain::{
    AggregateStatement, BlobHash, BlockHash, ContributorId, Hash32, Header, Height, Metrics,
    ModelRoot, PayloadEncoding, RejectReason, RoundId, SecretKey, SignedUpdate, StateRoot, TaskId,
    TimestampMs, Transaction, Update, ValidatorId, ValidatorSet, Verdict, Vote, VoteKind,
    VotingPower, aggregate::update_set_root, decode::encode, tx::Registration,
    update::verdict_signing_bytes,
};

const CHAIN: &str = "golden";

fn key() -> SecretKey {
    SecretKey::from_seed(&[42; 32])
}

fn update() -> Update {
    Update {
        task: TaskId(1),
        round: RoundId(2),
        base: ModelRoot::from_bytes([3; 32]),
        payload: BlobHash::from_bytes([4; 32]),
        payload_bytes: 5,
        encoding: PayloadEncoding::DeltaF32,
        samples: 6,
        metrics: Metrics {
            loss_ppm: 7,
            accuracy_ppm: 8,
        },
        contributor: ContributorId(key().public_key()),
    }
}

fn statement() -> AggregateStatement {
    AggregateStatement {
        task: TaskId(1),
        round: RoundId(2),
        rule: Hash32([3; 32]),
        update_set: Hash32([4; 32]),
        base: ModelRoot::from_bytes([5; 32]),
        model: ModelRoot::from_bytes([6; 32]),
    }
}

fn header() -> Header {
    Header {
        chain_id: CHAIN.into(),
        height: Height(1),
        time_ms: TimestampMs(2),
        parent: BlockHash::from_bytes([3; 32]),
        proposer: ValidatorId(key().public_key()),
        tx_root: Hash32([4; 32]),
        validators: Hash32([5; 32]),
        state_root: StateRoot::from_bytes([6; 32]),
    }
}

#[track_caller]
fn golden(what: &str, got: impl ToString, expected: &str) {
    assert_eq!(
        got.to_string(),
        expected,
        "{what} has changed: that is a change of protocol"
    );
}

#[test]
fn vote_signing_bytes() {
    let vote = Vote {
        kind: VoteKind::Precommit,
        height: Height(1),
        round: 2,
        block: Some(BlockHash::from_bytes([3; 32])),
        validator: ValidatorId(key().public_key()),
    };
    golden(
        "vote",
        hex::encode(vote.signing_bytes(CHAIN)),
        "GOLDEN_vote",
    );
}

#[test]
fn update_bytes_id_and_signature() {
    golden("update", hex::encode(encode(&update())), "GOLDEN_update");
    let signed = SignedUpdate::sign(update(), CHAIN, &key());
    golden("update id", signed.id(CHAIN), "GOLDEN_update id");
    golden(
        "update signature",
        signed.signature,
        "GOLDEN_update signature",
    );
    let other = ContributorId(SecretKey::from_seed(&[43; 32]).public_key());
    let set = update_set_root(CHAIN, &[update()], &[other]);
    golden("update set", set, "GOLDEN_update set");
}

#[test]
fn verdict_and_statement_signing_bytes() {
    let verdict = |v| hex::encode(verdict_signing_bytes(CHAIN, Hash32([1; 32]), v));
    golden("receipt", verdict(Verdict::Available), "GOLDEN_receipt");
    let rejected = Verdict::Rejected(RejectReason::NotFinite);
    golden("rejection", verdict(rejected), "GOLDEN_rejection");
    golden(
        "statement",
        hex::encode(statement().signing_bytes(CHAIN)),
        "GOLDEN_statement",
    );
}

#[test]
fn header_bytes_and_hash() {
    golden("header", hex::encode(encode(&header())), "GOLDEN_header");
    golden("block hash", header().hash(), "GOLDEN_block hash");
}

#[test]
fn transaction_and_validator_set_hashes() {
    let registration = Registration::sign("ada".into(), CHAIN, &key());
    let tx = Transaction::Register(registration);
    golden("transaction", tx.hash(CHAIN), "GOLDEN_transaction");
    let entry = (ValidatorId(key().public_key()), VotingPower(9));
    let set = ValidatorSet::new(vec![entry]).unwrap();
    golden("validator set", set.hash(CHAIN), "GOLDEN_validator set");
}

/// Two rounds on a small network: covers the encodings of every state entry and the tree itself.
/// Depends on the genesis encoding, through the meta entry.
#[test]
fn state_roots_of_a_small_scenario() {
    use cifer_chain::{MemoryStore, Store, testing::Network};
    let network = Network::new(4, 4);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let root = cifer_chain::genesis_state_root(&network.genesis).unwrap();
    golden("genesis state root", root, "GOLDEN_genesis state root");
    network.run_round(&store);
    network.run_round(&store);
    let header = store.block(Height(4)).unwrap().unwrap().header;
    golden("state root", header.state_root, "GOLDEN_state root");
    golden(
        "block hash of height 4",
        header.hash(),
        "GOLDEN_block hash of height 4",
    );
}
