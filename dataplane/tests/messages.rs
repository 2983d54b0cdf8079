//! Gossip and requests over real swarms.

mod common;

use std::collections::BTreeSet;

use cifer_dataplane::{
    Config, Event, GossipMessage, PublishError, RequestError, Topic,
    limits::{MAX_GOSSIP_BYTES, MAX_REQUEST_BYTES},
};
use common::{
    QUIC, TCP, TestNode, bytes, config, eventually, evil::RawPeer, id, known, network, start,
};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::StreamProtocol;

fn gossip(event: Event) -> Option<GossipMessage> {
    match event {
        Event::Gossip(message) => Some(message),
        _ => None,
    }
}

/// Publishes as soon as somebody listens.
async fn publish(node: &TestNode, topic: Topic, bytes: Vec<u8>) {
    loop {
        match node.handle.publish(topic, bytes.clone()).await {
            Ok(()) => return,
            Err(PublishError::NoPeers | PublishError::QueuesFull) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Answers every request with its bytes reversed, until the node stops.
fn echo(mut node: TestNode) -> cifer_dataplane::Handle {
    let handle = node.handle.clone();
    tokio::spawn(async move {
        while let Some(event) = node.events.recv().await {
            if let Event::Request(request) = event {
                let mut bytes = request.bytes.to_vec();
                bytes.reverse();
                request.reply.send(bytes);
            }
        }
    });
    handle
}

#[tokio::test(flavor = "multi_thread")]
async fn gossip_reaches_everybody() {
    for listen in [TCP, QUIC] {
        let mut nodes = network(4, listen).await;
        // Everybody has to listen before the one publication that all should see.
        for node in &nodes {
            publish(node, Topic::Vote, vec![node.seed]).await;
        }
        let mut seen = vec![BTreeSet::new(); nodes.len()];
        let mut round = 0u8;
        while seen.iter().any(|seen| seen.len() < 3) {
            for (node, seen) in nodes.iter_mut().zip(&mut seen) {
                while let Ok(event) = node.events.try_recv() {
                    if let Some(message) = gossip(event) {
                        assert_eq!(message.topic, Topic::Vote);
                        seen.insert(message.bytes[0]);
                        message.validation.accept();
                    }
                }
            }
            // A subscription may have come after a publication; those are not repeated for us.
            round += 1;
            for node in &nodes {
                publish(node, Topic::Vote, vec![node.seed, round]).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert!(round < 250, "gossip does not get through");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_is_not_forwarded() {
    // A line: 1 - 2 - 3; what 3 sees of 1 went through 2.
    let first = start(config(1, TCP, &[2])).await;
    let mut middle_config = config(2, TCP, &[3]);
    middle_config
        .known_peers
        .push(known(1, first.handle.listen_addresses()));
    let mut middle = start(middle_config).await;
    let mut last_config = config(3, TCP, &[]);
    last_config
        .known_peers
        .push(known(2, middle.handle.listen_addresses()));
    let mut last = start(last_config).await;
    eventually("the line is connected", || {
        middle.handle.connected_peers().len() == 2
    })
    .await;

    // Until a message has come through, the mesh of the line is not complete.
    let mut through = false;
    for probe in 0..200u8 {
        publish(&first, Topic::Tx, vec![b'p', probe]).await;
        middle.event("probe", gossip).await.validation.accept();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        while let Ok(event) = last.events.try_recv() {
            through |= gossip(event).is_some();
        }
        if through {
            break;
        }
    }
    assert!(through);
    publish(&first, Topic::Tx, b"bad".to_vec()).await;
    publish(&first, Topic::Tx, b"useless".to_vec()).await;
    publish(&first, Topic::Tx, b"dropped".to_vec()).await;
    publish(&first, Topic::Tx, b"good".to_vec()).await;
    for _ in 0..4 {
        let message = middle.event("message", gossip).await;
        match &message.bytes[..] {
            b"bad" => message.validation.reject(),
            b"useless" => message.validation.ignore(),
            b"dropped" => drop(message),
            _ => message.validation.accept(),
        }
    }
    let message = last
        .event("the good one", |event| {
            gossip(event).filter(|m| m.bytes[0] != b'p')
        })
        .await;
    assert_eq!(&message.bytes[..], b"good");
    assert_eq!(message.from, middle.id());
    eventually("the rejection is counted", || {
        middle.handle.metrics().gossip_rejected == 1
    })
    .await;
    assert!(
        middle.handle.is_connected(&first.id()),
        "known peers are not banned"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered() {
    let mut nodes = network(2, TCP).await;
    let mut server = nodes.remove(0);
    let client = nodes.remove(0).handle;
    let peer = server.id();

    // The application drops the replier: an error at once, not a timeout.
    let (answer, ()) = tokio::join!(client.request(peer, "first"), async {
        let request = server
            .event("request", |event| match event {
                Event::Request(request) => Some(request),
                _ => None,
            })
            .await;
        assert_eq!(request.peer, client.local_peer_id());
        assert_eq!(request.public_key, common::public_key(2));
        drop(request);
    });
    assert_eq!(answer, Err(RequestError::Unserved(peer)));

    let server = echo(server);
    assert_eq!(client.request(peer, "abc").await.unwrap(), "cba");
    assert_eq!(client.request(peer, "").await.unwrap(), "");
    let large = bytes(1, MAX_REQUEST_BYTES);
    let answer = client.request(peer, large.clone()).await.unwrap();
    assert!(answer.iter().eq(large.iter().rev()));

    let parallel = (0..20u8).map(|i| client.request(peer, vec![i, 0]));
    for (i, answer) in futures::future::join_all(parallel)
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(answer.unwrap(), vec![0, i as u8]);
    }

    let too_large = vec![0; MAX_REQUEST_BYTES + 1];
    let error = client.request(peer, too_large).await.unwrap_err();
    assert!(
        matches!(
            error,
            RequestError::TooLarge {
                size_bytes: 1_048_577,
                ..
            }
        ),
        "{error}"
    );
    let error = client
        .publish(Topic::Tx, vec![0; MAX_GOSSIP_BYTES + 1])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            PublishError::TooLarge {
                size_bytes: 262_145,
                ..
            }
        ),
        "{error}"
    );
    let stranger = id(77);
    assert_eq!(
        client.request(stranger, "x").await,
        Err(RequestError::NotConnected(stranger))
    );

    server.shutdown().await;
    eventually("the peer is gone", || client.connected_peers().is_empty()).await;
    assert_eq!(
        client.request(peer, "x").await,
        Err(RequestError::NotConnected(peer))
    );
    client.shutdown().await;
    assert_eq!(client.request(peer, "x").await, Err(RequestError::Shutdown));
    assert_eq!(
        client.publish(Topic::Tx, "x").await,
        Err(PublishError::Shutdown)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_behind_costs_a_bounded_amount() {
    let mut nodes = network(2, TCP).await;
    let mut slow = nodes.remove(0);
    let client = nodes.remove(0);
    // Nobody reads the events of `slow`; the budget is 64 MiB, a message 256 KiB.
    for i in 0..300u64 {
        publish(&client, Topic::Tx, bytes(i, MAX_GOSSIP_BYTES)).await;
        if slow.handle.metrics().gossip_dropped > 0 {
            break;
        }
    }
    eventually("gossip is dropped", || {
        slow.handle.metrics().gossip_dropped > 0
    })
    .await;
    let peer = slow.id();
    assert_eq!(
        client
            .handle
            .request(peer, vec![0; MAX_REQUEST_BYTES])
            .await,
        Err(RequestError::Busy(peer))
    );
    assert!(slow.handle.metrics().requests_refused > 0);
    // Once it has caught up all is well.
    while let Ok(event) = slow.events.try_recv() {
        drop(event);
    }
    let slow = echo(slow);
    assert_eq!(client.handle.request(peer, "abc").await.unwrap(), "cba");
    drop(slow);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_request_hurts_nobody() {
    let mut server_config = config(1, TCP, &[2, 3]);
    server_config.request_timeout = std::time::Duration::from_secs(5);
    let server = start(server_config).await;
    let address = server.handle.listen_addresses();
    let dial = |seed: u8| {
        let mut config = Config::new("test", common::GENESIS, [seed; 32]);
        config.known_peers = vec![known(1, address.clone())];
        config
    };
    let peer = server.id();
    let honest = start(dial(2)).await;
    let mut raw = RawPeer::start(&dial(3)).await;
    eventually("both are connected", || {
        server.handle.connected_peers().len() == 2
    })
    .await;

    let name = format!("/cifer/{}/request/1", "09".repeat(8));
    let protocol = StreamProtocol::try_from_owned(name).unwrap();
    // Claims 4 GiB; an unknown tag; ends in the middle.
    for hostile in [
        &[2, 0xff, 0xff, 0xff, 0xff][..],
        &[9, 0, 0, 0, 0],
        &[2, 9, 0, 0, 0, 1],
    ] {
        let mut stream = raw.open(peer, protocol.clone()).await;
        stream.write_all(hostile).await.unwrap();
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "closed without an answer");
    }
    let server = echo(server);
    eventually("connected", || honest.handle.is_connected(&peer)).await;
    assert_eq!(honest.handle.request(peer, "abc").await.unwrap(), "cba");
    assert_eq!(server.metrics().requests_received, 1);
}
