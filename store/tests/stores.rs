//! One behaviour, two stores: every test here runs over memory and RocksDB.

use cifer_chain::{
    BlockHash, CommitCertificate, Durability, Height, MemoryStore, RoundId, StateKey, StateTree,
    Store, StoreError, TxHash, UndecidedKey,
    store::{MAX_ROUNDS_PAGE, MAX_UNDECIDED},
    testing::{Network, TASK},
    tree::PROOF_HISTORY,
    verify_chain,
};

macro_rules! over_both_stores {
    ($($name:ident)*) => {
        mod memory {
            $(#[test]
            fn $name() {
                let network = super::network();
                let store = super::MemoryStore::new(&network.genesis).unwrap();
                super::$name(&network, &store);
            })*
        }
        mod rocks {
            $(#[test]
            fn $name() {
                let network = super::network();
                let home = tempfile::tempdir().unwrap();
                let store =
                    cifer_store::RocksStore::open(home.path(), &network.genesis).unwrap();
                super::$name(&network, &store);
            })*
        }
    };
}

over_both_stores! {
    genesis_is_height_zero
    everything_committed_is_found
    what_does_not_continue_the_chain_is_not_committed
    rounds_come_in_pages
    undecided_proposals_are_kept_bounded_and_forgotten
    proofs_of_recent_heights_verify
    the_store_verifies
    readers_run_beside_the_writer
}

fn network() -> Network {
    Network::new(4, 4)
}

fn genesis_is_height_zero(network: &Network, store: &dyn Store) {
    assert_eq!(store.tip(), Height(0));
    assert_eq!(store.genesis_hash(), network.genesis.hash());
    let root = StateTree::new(store).root(Height(0)).unwrap();
    assert_eq!(
        root,
        cifer_chain::genesis_state_root(&network.genesis).unwrap()
    );
    assert!(store.block(Height(0)).unwrap().is_none());
    assert!(store.block(Height(1)).unwrap().is_none());
    assert!(store.validators(Height(0)).unwrap().is_none());
    assert_eq!(
        store.validators(Height(1)).unwrap().unwrap(),
        store.state().validators
    );
    assert!(store.validators(Height(2)).unwrap().is_none());
    assert!(store.tx(&TxHash::default()).unwrap().is_none());
    assert!(
        store
            .block_by_hash(&BlockHash::default())
            .unwrap()
            .is_none()
    );
    let (height, proof) = store.prove(StateKey::Task(TASK)).unwrap();
    assert_eq!(height, Height(0));
    proof.verify(root).unwrap();
}

fn everything_committed_is_found(network: &Network, store: &dyn Store) {
    let state = store.state();
    let tx = network.update_tx(&state, 1);
    let executed = network.commit(store, [network.update_tx(&state, 0), tx.clone()]);
    network.commit(store, []);
    let height = Height(1);
    assert_eq!(store.tip(), Height(2));
    assert_eq!(store.block(height).unwrap().unwrap(), executed.block);
    assert_eq!(
        store.block_by_hash(&executed.hash).unwrap().unwrap(),
        executed.block
    );
    assert_eq!(store.height_of(&executed.hash).unwrap(), Some(height));
    let certificate = network.commit_certificate(&executed.block);
    assert_eq!(store.certificate(height).unwrap().unwrap(), certificate);
    assert_eq!(
        store.events(height).unwrap().unwrap(),
        executed.transition.events
    );
    assert_eq!(
        store.validators(Height(3)).unwrap().unwrap(),
        store.state().validators
    );
    let (location, found) = store.tx(&tx.hash(network.chain_id())).unwrap().unwrap();
    assert_eq!((location.height, location.index, found), (height, 1, tx));
    for (key, value) in &executed.transition.writes {
        let newest = store.value(key).unwrap().unwrap();
        assert_eq!(newest == *value, *key != StateKey::Meta, "{key:?}");
    }
    assert!(
        store
            .value(&StateKey::Round(TASK, RoundId(0)))
            .unwrap()
            .is_none()
    );
}

fn what_does_not_continue_the_chain_is_not_committed(network: &Network, store: &dyn Store) {
    let first = network.commit(store, []);
    let time = cifer_chain::TimestampMs(store.state().time_ms.0 + 1);
    let next = network.propose_at(store, time, []);
    let certificate = network.commit_certificate(&next.block);
    let field = |error| match error {
        Err(StoreError::NotNext { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let again = network.commit_certificate(&first.block);
    assert_eq!(field(store.commit(&first, &again)), "height");
    assert_eq!(field(store.commit(&next, &again)), "certificate height");
    let other = CommitCertificate {
        block: first.hash,
        ..certificate.clone()
    };
    assert_eq!(field(store.commit(&next, &other)), "certificate block");
    let mut stranger = next.clone();
    stranger.block.header.parent = BlockHash::default();
    assert_eq!(field(store.commit(&stranger, &certificate)), "parent");
    assert_eq!(store.tip(), Height(1));
    store.commit(&next, &certificate).unwrap();
    assert_eq!(store.tip(), Height(2));
}

fn rounds_come_in_pages(network: &Network, store: &dyn Store) {
    let models: Vec<_> = (0..5).map(|_| network.run_round(store)).collect();
    let page = |from, limit| {
        let rounds = store.rounds(TASK, RoundId(from), limit).unwrap();
        rounds
            .iter()
            .map(|r| (r.round.0, r.model()))
            .collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2), [(0, models[0]), (1, models[1])]);
    assert_eq!(
        page(3, MAX_ROUNDS_PAGE + 1),
        [(3, models[3]), (4, models[4])]
    );
    assert_eq!(page(5, 1), []);
    assert_eq!(page(0, 0), []);
    assert!(
        store
            .rounds(cifer_chain::TaskId(9), RoundId(0), 9)
            .unwrap()
            .is_empty()
    );
}

fn undecided_proposals_are_kept_bounded_and_forgotten(_: &Network, store: &dyn Store) {
    let key = |height: u64, round: u32, block: u8| UndecidedKey {
        height: Height(height),
        round,
        block: BlockHash::from_bytes([block; 32]),
    };
    let put =
        |key: &UndecidedKey, bytes: &[u8]| store.put_undecided(key, bytes, Durability::Synced);
    put(&key(1, 0, 1), b"a").unwrap();
    put(&key(1, 256, 2), b"c").unwrap();
    put(&key(1, 1, 3), b"b").unwrap();
    put(&key(2, 0, 4), b"d").unwrap();
    put(&key(2, 0, 4), b"dd").unwrap();
    assert_eq!(store.undecided(&key(2, 0, 4)).unwrap().unwrap(), b"dd");
    assert!(store.undecided(&key(3, 0, 4)).unwrap().is_none());
    let at = |height| {
        let all = store.undecided_at(Height(height)).unwrap();
        all.into_iter()
            .map(|(key, bytes)| (key.round, bytes))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        at(1),
        [(0, b"a".to_vec()), (1, b"b".to_vec()), (256, b"c".to_vec())]
    );
    store.delete_undecided(Height(1)).unwrap();
    assert_eq!((at(1).len(), at(2).len()), (0, 1));
    for round in 1..MAX_UNDECIDED as u32 {
        put(&key(2, round, 4), b"x").unwrap();
    }
    let error = put(&key(2, MAX_UNDECIDED as u32, 4), b"x").unwrap_err();
    assert!(matches!(
        error,
        StoreError::TooManyUndecided { height: Height(2) }
    ));
    put(&key(2, 7, 4), b"again").unwrap();
    put(&key(3, 0, 4), b"other height").unwrap();
}

fn proofs_of_recent_heights_verify(network: &Network, store: &dyn Store) {
    let keys = [
        StateKey::Meta,
        StateKey::Task(TASK),
        StateKey::Round(TASK, RoundId(0)),
        StateKey::Update(TASK, RoundId(0), network.contributor(1)),
    ];
    let mut roots = vec![StateTree::new(store).root(Height(0)).unwrap()];
    let state = store.state();
    for i in 0..4 {
        roots.push(
            network
                .commit(store, [network.update_tx(&state, i)])
                .tree
                .root,
        );
    }
    let model = cifer_chain::testing::model_after(RoundId(0));
    roots.push(
        network
            .commit(store, [network.aggregate_tx(&store.state(), model)])
            .tree
            .root,
    );
    for (height, root) in (0..).map(Height).zip(&roots) {
        for key in keys {
            let proof = store.prove_at(key, height).unwrap();
            proof.verify(*root).unwrap();
            let present = match key {
                StateKey::Round(..) => height == Height(5),
                StateKey::Update(..) => height >= Height(2),
                _ => true,
            };
            assert_eq!(proof.value.is_some(), present, "{key:?} at {height}");
        }
    }
    store.prove_at(StateKey::Meta, Height(6)).unwrap_err();
}

fn the_store_verifies(network: &Network, store: &dyn Store) {
    for _ in 0..3 {
        network.run_round(store);
    }
    let mut heights = Vec::new();
    let report = verify_chain(store, &network.genesis, |height| heights.push(height.0)).unwrap();
    assert_eq!(heights, [1, 2, 3, 4, 5, 6]);
    assert_eq!((report.height, report.transactions), (Height(6), 15));
    assert_eq!((report.rounds_finalised, report.rounds_aborted), (3, 0));
    assert_eq!(
        report.state_root,
        store.block(Height(6)).unwrap().unwrap().header.state_root
    );
    let other = Network::new(4, 5).genesis;
    let error = verify_chain(store, &other, |_| {}).unwrap_err().to_string();
    assert!(error.contains(&other.hash().to_string()), "{error}");
    assert!(
        error.contains(&network.genesis.hash().to_string()),
        "{error}"
    );
}

fn readers_run_beside_the_writer(network: &Network, store: &dyn Store) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut proofs = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || proofs == 0 {
                let (height, proof) = store.prove(StateKey::Meta).unwrap();
                let root = match store.block(height).unwrap() {
                    Some(block) => block.header.state_root,
                    None => StateTree::new(store).root(Height(0)).unwrap(),
                };
                proof.verify(root).unwrap();
                proofs += 1;
            }
        });
        for _ in 0..5 {
            network.run_round(store);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn old_proofs_are_pruned_and_the_rest_stays_whole() {
    let network = Network::new(1, 1);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let mut roots = Vec::new();
    for _ in 0..PROOF_HISTORY + 50 {
        roots.push(network.commit(&store, []).tree.root);
    }
    let tip = store.tip();
    let task = StateKey::Task(TASK);
    for height in (51..=tip.0).step_by(37) {
        let proof = store.prove_at(task, Height(height)).unwrap();
        proof.verify(roots[height as usize - 1]).unwrap();
        assert!(proof.value.is_some());
    }
    store.prove_at(StateKey::Meta, Height(10)).unwrap_err();
    verify_chain(&store, &network.genesis, |_| {}).unwrap();
}

mod durable {
    use super::*;
    use cifer_store::RocksStore;

    #[test]
    fn a_reopened_store_goes_on_where_it_was() {
        let network = network();
        let home = tempfile::tempdir().unwrap();
        let twin = MemoryStore::new(&network.genesis).unwrap();
        for step in 0..12 {
            let store = RocksStore::open(home.path(), &network.genesis).unwrap();
            assert_eq!(store.state(), twin.state(), "step {step}");
            let state = store.state();
            let transactions = match step % 6 {
                i @ 0..4 => vec![network.update_tx(&state, i)],
                4 => vec![network.aggregate_tx(
                    &state,
                    cifer_chain::testing::model_after(RoundId(step as u64)),
                )],
                _ => vec![],
            };
            let executed = network.commit(&store, transactions);
            let certificate = network.commit_certificate(&executed.block);
            let same = twin
                .execute(executed.block.clone(), cifer_chain::VERIFY_ALL)
                .unwrap();
            assert_eq!(same.tree.root, executed.tree.root);
            twin.commit(&same, &certificate).unwrap();
        }
        let store = RocksStore::open(home.path(), &network.genesis).unwrap();
        let report = verify_chain(&store, &network.genesis, |_| {}).unwrap();
        assert_eq!(
            report,
            verify_chain(&twin, &network.genesis, |_| {}).unwrap()
        );
    }

    #[test]
    fn the_store_of_another_network_is_refused_with_both_hashes() {
        let network = network();
        let home = tempfile::tempdir().unwrap();
        drop(RocksStore::open(home.path(), &network.genesis).unwrap());
        let other = Network::new(4, 5).genesis;
        match RocksStore::open(home.path(), &other) {
            Err(StoreError::WrongGenesis { stored, given }) => {
                assert_eq!((stored, given), (network.genesis.hash(), other.hash()));
            }
            other => panic!("{other:?}"),
        }
        let store = RocksStore::open(home.path(), &network.genesis).unwrap();
        assert_eq!(store.genesis_hash(), network.genesis.hash());
    }

    #[test]
    fn a_store_that_is_open_is_not_opened_again() {
        let network = network();
        let home = tempfile::tempdir().unwrap();
        let _open = RocksStore::open(home.path(), &network.genesis).unwrap();
        let error = RocksStore::open(home.path(), &network.genesis).unwrap_err();
        assert!(matches!(error, StoreError::Database(_)), "{error}");
    }

    fn tamper(
        home: &std::path::Path,
        column: &str,
        change: impl FnOnce(&rocksdb::DB, &rocksdb::ColumnFamily),
    ) {
        let options = rocksdb::Options::default();
        let columns = rocksdb::DB::list_cf(&options, home).unwrap();
        let db = rocksdb::DB::open_cf(&options, home, columns).unwrap();
        change(&db, db.cf_handle(column).unwrap());
    }

    #[test]
    fn another_schema_is_refused() {
        let network = network();
        let home = tempfile::tempdir().unwrap();
        drop(RocksStore::open(home.path(), &network.genesis).unwrap());
        tamper(home.path(), "meta", |db, cf| {
            db.put_cf(cf, "schema", 99_u32.to_le_bytes()).unwrap()
        });
        let error = RocksStore::open(home.path(), &network.genesis).unwrap_err();
        assert!(
            matches!(error, StoreError::SchemaVersion { stored: 99 }),
            "{error}"
        );
    }

    #[test]
    fn damage_at_the_tip_is_found_when_opening_and_elsewhere_by_replay() {
        let network = network();
        let height = |h: u64| h.to_be_bytes();
        let cases: [(&str, u64); 3] = [("blocks", 6), ("certificates", 6), ("blocks", 2)];
        for (column, damaged) in cases {
            let home = tempfile::tempdir().unwrap();
            {
                let store = RocksStore::open(home.path(), &network.genesis).unwrap();
                for _ in 0..3 {
                    network.run_round(&store);
                }
            }
            tamper(home.path(), column, |db, cf| {
                let neighbour = db.get_cf(cf, height(damaged - 1)).unwrap().unwrap();
                db.put_cf(cf, height(damaged), neighbour).unwrap();
            });
            match RocksStore::open(home.path(), &network.genesis) {
                Err(StoreError::Corrupt { .. }) => assert_eq!(damaged, 6),
                Ok(store) => {
                    assert_eq!(damaged, 2);
                    let error = verify_chain(&store, &network.genesis, |_| {}).unwrap_err();
                    assert_eq!(error.height, Height(2), "{error}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn a_removed_record_or_index_is_found_by_replay() {
        let network = network();
        for column in ["txs", "heights", "events", "state"] {
            let home = tempfile::tempdir().unwrap();
            {
                let store = RocksStore::open(home.path(), &network.genesis).unwrap();
                network.run_round(&store);
            }
            let round = StateKey::Round(TASK, RoundId(0)).to_bytes();
            tamper(home.path(), column, |db, cf| {
                let first = db
                    .iterator_cf(cf, rocksdb::IteratorMode::Start)
                    .next()
                    .unwrap()
                    .unwrap();
                let key = if column == "state" {
                    round
                } else {
                    first.0.into_vec()
                };
                db.delete_cf(cf, key).unwrap();
            });
            let store = RocksStore::open(home.path(), &network.genesis).unwrap();
            let error = verify_chain(&store, &network.genesis, |_| {}).unwrap_err();
            assert!(error.to_string().contains("missing"), "{column}: {error}");
        }
    }

    const HOME: &str = "CIFER_TEST_STORE";

    /// The child of the test below: commits and says so, until it is killed.
    #[test]
    #[ignore = "a process for another test to kill"]
    fn writer() {
        let Ok(home) = std::env::var(HOME) else {
            return;
        };
        let network = network();
        let store = RocksStore::open(std::path::Path::new(&home), &network.genesis).unwrap();
        // An end of its own, should the parent die without killing it.
        for _ in 0..2_000 {
            network.run_round(&store);
            println!("committed {}", store.tip());
        }
    }

    #[test]
    fn a_killed_writer_loses_nothing_that_it_committed() {
        use std::io::{BufRead, BufReader};
        let network = network();
        let home = tempfile::tempdir().unwrap();
        for kill in 1..=4 {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "durable::writer", "--ignored", "--nocapture"])
                .env(HOME, home.path())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let committed: u64 = lines
                .map_while(Result::ok)
                .filter_map(|line| line.rsplit_once("committed ")?.1.parse().ok())
                .nth(kill * 7)
                .expect("the writer goes on until it is killed");
            child.kill().unwrap();
            child.wait().unwrap();
            let store = RocksStore::open(home.path(), &network.genesis).unwrap();
            assert!(
                store.tip() >= Height(committed),
                "{} < {committed}",
                store.tip()
            );
            let report = verify_chain(&store, &network.genesis, |_| {}).unwrap();
            assert_eq!(report.height, store.tip());
        }
    }

    #[test]
    fn proofs_are_pruned_on_disk_too() {
        let network = Network::new(1, 1);
        let home = tempfile::tempdir().unwrap();
        let store = RocksStore::open(home.path(), &network.genesis).unwrap();
        for _ in 0..PROOF_HISTORY + 20 {
            network.commit(&store, []);
        }
        store.prove_at(StateKey::Meta, Height(5)).unwrap_err();
        let height = Height(30);
        let root = store.block(height).unwrap().unwrap().header.state_root;
        store
            .prove_at(StateKey::Task(TASK), height)
            .unwrap()
            .verify(root)
            .unwrap();
    }
}
