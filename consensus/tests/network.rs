//! Networks of real engines: agreement, blocks on demand, faults, catching up.

mod support;

use std::time::Duration;

use cifer_consensus::{Error, Phase};
use cifer_genesis::GenesisHash;
use support::{Network, params};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_agree_on_twenty_blocks() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(20);
    }
    network.reach(0..4, 20).await;
    network.assert_agreement();
    let proposers: std::collections::BTreeSet<_> = network.nodes[0]
        .ledger()
        .blocks
        .iter()
        .map(|(b, _)| b.header.proposer)
        .collect();
    assert_eq!(proposers.len(), 4, "everybody proposes");
    let metrics = cifer_consensus::metrics();
    assert!(metrics.contains("node_safety_failure"), "{metrics}");
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_validator_decides() {
    let mut network = Network::new(&[5], params());
    network.start_all().await;
    network.nodes[0].add_work(10);
    network.reach([0], 10).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_work_there_are_no_blocks() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.start_all().await;
    // The start makes one block, and one more when a validator comes late.
    network.reach(0..4, 1).await;
    let idle = |network: &Network| {
        network.nodes.iter().all(|node| {
            let status = node
                .handle
                .as_ref()
                .map(|handle| handle.status().borrow().clone());
            status.is_some_and(|status| status.phase == Phase::Idle)
        })
    };
    network.wait_for("all to be idle", || idle(&network)).await;
    let before = network.tip(0);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(network.tip(0), before, "blocks without work");
    assert!(idle(&network));

    // Work that only one of them knows of is decided all the same, though another one proposes.
    network.nodes[2].add_work(1);
    network
        .wait_for("the work to be done", || {
            network.nodes[2].ledger().work == 0
        })
        .await;
    network.assert_agreement();
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_makes_empty_blocks() {
    let params = cifer_genesis::document::ConsensusParams {
        idle_heartbeat_ms: 300,
        ..params()
    };
    let mut network = Network::new(&[1, 1, 1, 1], params);
    network.start_all().await;
    network.reach(0..4, 4).await;
    let times = network.nodes[0].ledger().committed_at.clone();
    for pair in times[1..4].windows(2) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(200),
            "faster than the heartbeat"
        );
    }
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minimum_interval_is_kept() {
    let params = cifer_genesis::document::ConsensusParams {
        min_block_interval_ms: 200,
        ..params()
    };
    let mut network = Network::new(&[1, 1, 1, 1], params);
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(5);
    }
    network.reach(0..4, 5).await;
    let times = network.nodes[0].ledger().committed_at.clone();
    // A proposer counts from its own commit, which may be later than ours.
    assert!(
        times[4] - times[0] >= Duration::from_millis(4 * 200 - 100),
        "too fast"
    );
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_go_on_and_the_fourth_catches_up() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.start_all().await;
    network.reach(0..4, 1).await;
    network.nodes[3].abort();
    let stopped_at = network.tip(3);
    for node in &network.nodes {
        node.add_work(100);
    }
    network.reach(0..3, stopped_at + 40).await;
    assert!(network.tip(3) <= stopped_at + 1);
    network.nodes[3].ledger().work = 0;
    tokio::time::sleep(Duration::from_millis(300)).await;
    network.start(3).await;
    let target = network.tip(0);
    network.reach(0..4, target).await;
    // It votes again, too: without it, and without another one, there is no quorum.
    network.nodes[0].stop().await;
    network.reach(1..4, target + 4).await;
    network.assert_agreement();
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stop_and_the_same_chain_goes_on() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    for rounds in 1..=3_u64 {
        network.start_all().await;
        for node in &network.nodes {
            node.add_work(1000);
        }
        let target = (0..4).map(|index| network.tip(index)).max().unwrap_or(0) + 5;
        network.reach(0..4, target).await;
        if rounds % 2 == 0 {
            network.stop_all().await;
        } else {
            for node in &mut network.nodes {
                node.abort();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        network.assert_agreement();
    }
    assert!(network.tip(0) >= 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_follows_from_genesis() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(30);
    }
    network.reach(0..4, 30).await;
    let observer = network.add_observer();
    network.start(observer).await;
    network.reach([observer], 30).await;
    for node in &network.nodes[..4] {
        node.add_work(5);
    }
    network.reach(0..5, network.tip(0) + 3).await;
    network.assert_agreement();
    let status = network.nodes[observer]
        .handle
        .as_ref()
        .unwrap()
        .status()
        .borrow()
        .clone();
    assert!(
        status.peers.iter().all(|peer| peer.validator.is_some()),
        "{status:?}"
    );
    assert!(!network.nodes[observer].home().join("last-signed").exists());
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_decides_about_turns_and_quorum() {
    // The first has more than a third: nothing is decided without it. The last two do not matter.
    let mut network = Network::new(&[4, 4, 1, 1], params());
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(1000);
    }
    network.reach(0..4, 20).await;
    let counts: Vec<_> = network
        .nodes
        .iter()
        .map(|node| {
            let ledger = network.nodes[0].ledger.lock().unwrap();
            let blocks = &ledger.blocks[..20];
            blocks
                .iter()
                .filter(|(block, cert)| cert.round == 0 && block.header.proposer == node.id())
                .count()
        })
        .collect();
    let later_rounds = 20 - counts.iter().sum::<usize>();
    for (count, share) in counts.iter().zip([8, 8, 2, 2]) {
        assert!(count.abs_diff(share) <= later_rounds, "{counts:?}");
    }
    network.nodes[2].stop().await;
    network.nodes[3].stop().await;
    let target = network.tip(0) + 5;
    network.reach(0..2, target).await;
    network.nodes[0].stop().await;
    let stuck = network.tip(1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(network.tip(1) <= stuck + 1, "decided without a quorum");
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_genesis_has_no_part() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.nodes[3].genesis_hash = GenesisHash::from_bytes([0x22; 32]);
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(100);
    }
    network.reach(0..3, 5).await;
    let status = network.nodes[3]
        .handle
        .as_ref()
        .unwrap()
        .status()
        .borrow()
        .clone();
    assert_eq!(network.tip(3), 0);
    assert!(status.peers.is_empty(), "{status:?}");
    let peers = network.nodes[0]
        .handle
        .as_ref()
        .unwrap()
        .status()
        .borrow()
        .peers
        .clone();
    assert!(
        peers
            .iter()
            .all(|peer| peer.validator != Some(network.nodes[3].id())),
        "{peers:?}"
    );
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_halts_the_node() {
    let mut network = Network::new(&[1], params());
    network.nodes[0].ledger().fail_commit = Some("disk full".into());
    network.start_all().await;
    let handle = network.nodes[0].handle.as_mut().unwrap();
    let error = handle.wait().await.unwrap_err();
    assert!(
        matches!(&error, Error::Fatal(fatal) if fatal.to_string() == "disk full"),
        "{error}"
    );
    let status = handle.status().borrow().clone();
    assert_eq!(status.phase, Phase::Halted);
    assert_eq!(status.last_error.as_deref(), Some("disk full"));
    // The block was decided, and is offered again.
    network.nodes[0].handle = None;
    network.nodes[0].ledger().fail_commit = None;
    network.start(0).await;
    network.reach([0], 1).await;
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_work_is_refused_at_the_start() {
    let mut network = Network::new(&[1], params());
    network.start_all().await;
    let start = |config| cifer_consensus::start(config, network.app(0), Default::default());
    let error = start(network.config(0)).await.unwrap_err();
    assert!(
        matches!(error, Error::LastSigned(_)),
        "the folder is locked: {error}"
    );

    let elsewhere = tempfile::tempdir().unwrap();
    let mut config = network.config(0);
    config.home = elsewhere.path().to_owned();
    config.is_validator = false;
    let error = start(config.clone()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "is_validator",
                ..
            }
        ),
        "{error}"
    );
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_an_error_and_not_silence() {
    let network = Network::new(&[1], params());
    let mut config = network.config(0);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    config.listen = format!("/ip4/127.0.0.1/tcp/{port}");
    let result = cifer_consensus::start(config, network.app(0), Default::default()).await;
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::Listen { address } if address.contains(&port.to_string())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_write_ahead_log_holds_the_node_and_shows() {
    // Alone it has no quorum, so it votes at height 1 and stays there.
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.start(0).await;
    let path = network.nodes[0].home().join("consensus.wal");
    network
        .wait_for("a vote in the log", || {
            std::fs::metadata(&path).is_ok_and(|file| file.len() > 100)
        })
        .await;
    network.nodes[0].stop().await;
    let mut bytes = std::fs::read(&path).unwrap();
    // The last entry's data; its checksum no longer matches.
    *bytes.last_mut().unwrap() ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    network.start(0).await;
    network
        .wait_for("the failure to show", || {
            let handle = network.nodes[0].handle.as_ref();
            handle.is_some_and(|handle| handle.status().borrow().safety_failure)
        })
        .await;
    let handle = network.nodes[0].handle.as_mut().unwrap();
    assert_eq!(handle.status().borrow().phase, Phase::Halted);
    assert!(handle.status().borrow().last_error.is_some());
    let ended = tokio::time::timeout(Duration::from_millis(300), handle.wait()).await;
    assert!(ended.is_err(), "the process must stay for inspection");
    network.nodes[0].stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_have_no_part_where_observers_are_not_allowed() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.allow_observers = false;
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(100);
    }
    network.reach(0..4, 5).await;
    let stranger = network.add_observer();
    network.start(stranger).await;
    network.reach(0..4, network.tip(0) + 20).await;
    assert_eq!(network.tip(stranger), 0);
    let peers = network.nodes[0]
        .handle
        .as_ref()
        .unwrap()
        .status()
        .borrow()
        .peers
        .clone();
    assert!(
        peers.iter().all(|peer| peer.validator.is_some()),
        "{peers:?}"
    );
    network.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_works_as_well() {
    let mut network = Network::new(&[1, 1, 1, 1], params()).over_quic();
    network.start_all().await;
    for node in &network.nodes {
        node.add_work(10);
    }
    network.reach(0..4, 10).await;
    network.assert_agreement();
    network.stop_all().await;
}
