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
        "1300000063696665722f636861696e2f766f74652f763106000000676f6c64656e01010000000000000002000000010303030303030303030303030303030303030303030303030303030303030303",
    );
}

#[test]
fn update_bytes_id_and_signature() {
    golden(
        "update",
        hex::encode(encode(&update())),
        "010000000200000000000000030303030303030303030303030303030303030303030303030303030303030304040404040404040404040404040404040404040404040404040404040404040500000000000000000600000000000000070000000000000008000000197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61",
    );
    let signed = SignedUpdate::sign(update(), CHAIN, &key());
    golden(
        "update id",
        signed.id(CHAIN),
        "4d31d431df75f5f5aacef314c413322c5fa07feafb1c889cb1bb99fbe82ef80e",
    );
    golden(
        "update signature",
        signed.signature,
        "2db1c2c2cb1b2451d93e42105773c90b3145a772616d684df317ebfc0ada42b6d92da2f2aab9c9e0057e21f444216723c3ae3abff1a28645487a957f489fe304",
    );
    let other = ContributorId(SecretKey::from_seed(&[43; 32]).public_key());
    let set = update_set_root(CHAIN, &[update()], &[other]);
    golden(
        "update set",
        set,
        "d99c5aeb79b8536a4c39a3f2dcb7b9c65df168d9230d58ace172240c9d143101",
    );
}

#[test]
fn verdict_and_statement_signing_bytes() {
    let verdict = |v| hex::encode(verdict_signing_bytes(CHAIN, Hash32([1; 32]), v));
    golden(
        "receipt",
        verdict(Verdict::Available),
        "1600000063696665722f636861696e2f766572646963742f763106000000676f6c64656e010101010101010101010101010101010101010101010101010101010101010100",
    );
    let rejected = Verdict::Rejected(RejectReason::NotFinite);
    golden(
        "rejection",
        verdict(rejected),
        "1600000063696665722f636861696e2f766572646963742f763106000000676f6c64656e01010101010101010101010101010101010101010101010101010101010101010101",
    );
    golden(
        "statement",
        hex::encode(statement().signing_bytes(CHAIN)),
        "1800000063696665722f636861696e2f6167677265676174652f763106000000676f6c64656e0100000002000000000000000303030303030303030303030303030303030303030303030303030303030303040404040404040404040404040404040404040404040404040404040404040405050505050505050505050505050505050505050505050505050505050505050606060606060606060606060606060606060606060606060606060606060606",
    );
}

#[test]
fn header_bytes_and_hash() {
    golden(
        "header",
        hex::encode(encode(&header())),
        "06000000676f6c64656e010000000000000002000000000000000303030303030303030303030303030303030303030303030303030303030303197f6b23e16c8532c6abc838facd5ea789be0c76b2920334039bfa8b3d368d61040404040404040404040404040404040404040404040404040404040404040405050505050505050505050505050505050505050505050505050505050505050606060606060606060606060606060606060606060606060606060606060606",
    );
    golden(
        "block hash",
        header().hash(),
        "4c34a5f2edcb1a2f718d188203c245fe8112902f14e88a1c439fe7fd850781d4",
    );
}

#[test]
fn transaction_and_validator_set_hashes() {
    let registration = Registration::sign("ada".into(), CHAIN, &key());
    let tx = Transaction::Register(registration);
    golden(
        "transaction",
        tx.hash(CHAIN),
        "458bade0294a4a195b08889b829e55e367f0923939c737ce148a3f00e07b98c1",
    );
    let entry = (ValidatorId(key().public_key()), VotingPower(9));
    let set = ValidatorSet::new(vec![entry]).unwrap();
    golden(
        "validator set",
        set.hash(CHAIN),
        "251853482dfe667693e26c5e48f56af6004d32e271ca159906746c4843ac67ca",
    );
}

/// Two rounds on a small network: covers the encodings of every state entry and the tree itself.
/// Depends on the genesis encoding, through the meta entry.
#[test]
fn state_roots_of_a_small_scenario() {
    use cifer_chain::{MemoryStore, Store, testing::Network};
    let network = Network::new(4, 4);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let root = cifer_chain::genesis_state_root(&network.genesis).unwrap();
    golden(
        "genesis state root",
        root,
        "d0a8e3ff7ac9637ec4150ce445eaa3e8b7b1a82c49d5000ef490c5b3b93d3c86",
    );
    network.run_round(&store);
    network.run_round(&store);
    let header = store.block(Height(4)).unwrap().unwrap().header;
    golden(
        "state root",
        header.state_root,
        "dd863381800ba6f14460c86cfc9209cede89bd873430f65808fedf1140b35b9d",
    );
    golden(
        "block hash of height 4",
        header.hash(),
        "17750bc3368e0f0fc47ea8c0ee4779e1591fb4b4c6f8ce59cfd67eb7c558c91c",
    );
}
