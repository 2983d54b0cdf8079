//! Who gets in, who does not, and how nodes find each other.

mod common;

use std::time::Duration;

use cifer_dataplane::{Config, Event, Multiaddr, Refusal, Role, transfer::protocol};
use common::{
    GENESIS, QUIC, TCP, config, eventually, evil::RawPeer, id, known, network, public_key, start,
    store,
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{SwarmBuilder, noise, tcp, yamux};

/// Knows node 1 at `addresses`, listens nowhere.
fn visitor(seed: u8, addresses: Vec<Multiaddr>) -> Config {
    let mut config = Config::new("test", GENESIS, [seed; 32]);
    config.role = Role::Observer;
    config.known_peers = vec![known(1, addresses)];
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_peers_are_refused_unless_observers_are_admitted() {
    for listen in [TCP, QUIC] {
        let mut server = start(config(1, listen, &[2])).await;
        let mut stranger = start(visitor(3, server.handle.listen_addresses())).await;
        let refused = |event| match event {
            Event::PeerRefused {
                peer,
                refusal,
                by_peer,
            } => Some((peer, refusal, by_peer)),
            Event::PeerConnected(_) => panic!("connected"),
            _ => None,
        };
        let heard = stranger.event("refusal", refused).await;
        assert_eq!(heard, (server.id(), Refusal::Unknown, true));
        let seen = server.event("refusal", refused).await;
        assert_eq!(seen, (stranger.id(), Refusal::Unknown, false));
        assert!(server.handle.connected_peers().is_empty());
        assert!(stranger.handle.connected_peers().is_empty());
    }

    let mut open = config(1, TCP, &[2]);
    open.allow_observers = true;
    open.max_observers = 1;
    let server = start(open).await;
    let observer = start(visitor(3, server.handle.listen_addresses())).await;
    eventually("the observer is in", || {
        server.handle.is_connected(&observer.id())
    })
    .await;
    let info = server.handle.connected_peers().remove(0);
    assert_eq!(
        (info.public_key, info.role, info.known),
        (public_key(3), Role::Observer, false)
    );

    let mut second = start(visitor(4, server.handle.listen_addresses())).await;
    let refusal = second
        .event("refusal", |event| match event {
            Event::PeerRefused { refusal, .. } => Some(refusal),
            _ => None,
        })
        .await;
    assert_eq!(refusal, Refusal::Full { limit: 1 });
    // Known peers do not count as observers.
    let known = start(visitor(2, server.handle.listen_addresses())).await;
    eventually("the known peer is in", || {
        server.handle.is_connected(&known.id())
    })
    .await;
    // A place that becomes free is given again.
    observer.handle.shutdown().await;
    eventually("the second is in", || {
        server.handle.is_connected(&second.id())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_genesis_is_refused_and_reported_by_both() {
    for listen in [TCP, QUIC] {
        let mut ours = start(config(1, listen, &[2])).await;
        let mut other = visitor(2, ours.handle.listen_addresses());
        other.genesis_hash = [8; 32];
        let mut theirs = start(other).await;
        let mismatch = |event| match event {
            Event::GenesisMismatch { peer, ours, theirs } => Some((peer, ours, theirs)),
            Event::PeerConnected(_) => panic!("connected"),
            _ => None,
        };
        assert_eq!(
            ours.event("mismatch", mismatch).await,
            (theirs.id(), [9; 32], [8; 32])
        );
        assert_eq!(
            theirs.event("mismatch", mismatch).await,
            (ours.id(), [8; 32], [9; 32])
        );
        assert!(ours.handle.metrics().genesis_mismatches > 0);
        assert!(ours.handle.connected_peers().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chain_id_is_refused() {
    let server = start(config(1, TCP, &[2])).await;
    let mut other = visitor(2, server.handle.listen_addresses());
    other.chain_id = "other".into();
    let mut other = start(other).await;
    let refusal = other
        .event("refusal", |event| match event {
            Event::PeerRefused { refusal, .. } => Some(refusal),
            _ => None,
        })
        .await;
    assert_eq!(refusal, Refusal::ChainId);
}

/// A peer with a known key that skips the handshake gets nothing, neither data nor a connection.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_before_the_handshake() {
    let server = start(config(1, TCP, &[2])).await;
    let hash = common::give(&server, b"secret");
    let keypair = libp2p::identity::Keypair::ed25519_from_bytes([2; 32]).unwrap();
    let mut swarm = SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::MAX))
        .build();
    let mut control = swarm.behaviour().new_control();
    swarm
        .dial(server.handle.listen_addresses().remove(0))
        .unwrap();
    let driver = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let asked = async {
        let mut stream = control
            .open_stream(server.id(), protocol(&GENESIS))
            .await
            .ok()?;
        let request = cifer_dataplane::transfer::wire::BlobRequest {
            hash,
            len: 6,
            first_group: 0,
            end_group: 1,
        };
        stream
            .write_all(&borsh::to_vec(&request).unwrap())
            .await
            .ok()?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        Some(byte)
    };
    let answer = tokio::time::timeout(Duration::from_secs(30), asked).await;
    assert!(!matches!(answer, Ok(Some(_))), "served without a handshake");
    assert!(server.handle.connected_peers().is_empty());
    assert_eq!(server.handle.metrics().blob_bytes_out, 0);
    driver.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarts_is_found_again() {
    for listen in [TCP, QUIC] {
        let mut nodes = network(2, listen).await;
        let second = nodes.remove(1);
        let first = nodes.remove(0);
        // The second dials the first. The first comes back at the same address, and knows nobody's.
        let address = first.handle.listen_addresses();
        first.handle.shutdown().await;
        eventually("gone", || second.handle.connected_peers().is_empty()).await;
        let mut again = config(1, listen, &[2]);
        again.listen = address;
        let dir = first.dir;
        let store = store(&dir);
        let first = loop {
            // A QUIC socket lives on until its connections have drained.
            match cifer_dataplane::spawn(again.clone(), store.clone()).await {
                Ok((handle, _)) => break handle,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        eventually("back", || second.handle.is_connected(&id(1))).await;
        eventually("back", || first.is_connected(&second.id())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_is_enough_to_find_all_known_peers() {
    let all = [1, 2, 3];
    let mut nodes = Vec::new();
    for seed in all {
        let mut config = config(seed, TCP, &all);
        config.allow_observers = true;
        if let Some(first) = nodes.first() {
            let first: &common::TestNode = first;
            config.known_peers[0].addresses = first.handle.listen_addresses();
        }
        nodes.push(start(config).await);
    }
    // 2 and 3 only know where 1 is, and find each other through it.
    eventually("2 and 3 have found each other", || {
        nodes[1].handle.is_connected(&id(3))
    })
    .await;

    let mut late = Config::new("test", GENESIS, [7; 32]);
    late.role = Role::Observer;
    late.known_peers = all.iter().map(|seed| known(*seed, Vec::new())).collect();
    late.bootstrap = nodes[2].handle.listen_addresses();
    let late = start(late).await;
    eventually("the observer has found all", || {
        late.handle.connected_peers().len() == 3
    })
    .await;
    assert!(late.handle.connected_peers().iter().all(|peer| peer.known));
}

#[tokio::test(flavor = "multi_thread")]
async fn known_peers_can_change() {
    let mut server = start(config(1, TCP, &[2])).await;
    let mut stranger = start(visitor(3, server.handle.listen_addresses())).await;
    let refused = |event| match event {
        Event::PeerRefused { peer, .. } => Some(peer),
        _ => None,
    };
    stranger.event("refusal", refused).await;
    server
        .handle
        .set_known_peers(vec![known(3, Vec::new())])
        .await
        .unwrap();
    eventually("admitted", || server.handle.is_connected(&stranger.id())).await;
    let raw = RawPeer::start(&visitor(2, server.handle.listen_addresses())).await;
    let refused = |event| refused(event).filter(|peer| *peer == raw.id);
    server.event("2 is no longer known", refused).await;
}

#[tokio::test]
async fn bad_configurations_are_refused_by_name() {
    let dir = tempfile::TempDir::new().unwrap();
    let store = store(&dir);
    let mut config = Config::new("x".repeat(129), GENESIS, [1; 32]);
    let error = cifer_dataplane::spawn(config.clone(), store.clone())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "chain id has 129 bytes, limit 128");
    config.chain_id = "x".into();
    config.listen = vec!["/ip4/127.0.0.1/sctp/1".parse().unwrap()];
    let error = cifer_dataplane::spawn(config.clone(), store.clone())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot listen on /ip4/127.0.0.1/sctp/1"),
        "{error}"
    );
    assert!(
        !format!("{config:?}").contains("1, 1, 1"),
        "the secret is not printed"
    );
}
