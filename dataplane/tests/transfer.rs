//! Blobs between real nodes, and between a node and holders that misbehave.

mod common;

use std::time::Duration;

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges,
    io::{BaoContentItem, sync::DecodeResponseIter},
};
use cifer_dataplane::{
    BlobHash, BlobStore, Config, Event, FaultKind, FetchError, HolderFailure, StoreError,
    StoreOptions,
    transfer::{
        protocol,
        wire::{Answer, BlobRequest, HEADER_BYTES, ResponseHeader},
    },
};
use common::{
    GENESIS, QUIC, TCP, TestNode, bytes, config, eventually,
    evil::{Evil, RawPeer},
    give, known, network, read_all, start, start_with,
};
use futures::{AsyncReadExt, AsyncWriteExt};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

const GROUP: u64 = 16 * 1024;
const MB: usize = 1_000_000;

/// A node (seed 1), an honest holder (2) and a raw peer (3), all connected.
async fn with_evil(blob: &[u8]) -> (TestNode, TestNode, RawPeer) {
    let honest = start(config(2, TCP, &[1])).await;
    give(&honest, blob);
    let raw = RawPeer::start(&config(3, TCP, &[1])).await;
    let mut ours = config(1, TCP, &[]);
    ours.known_peers = vec![
        known(2, honest.handle.listen_addresses()),
        known(3, vec![raw.address.clone().unwrap()]),
    ];
    ours.stall_timeout = Duration::from_millis(500);
    ours.fetch_patience = Duration::from_secs(1);
    let ours = start(ours).await;
    eventually("both are connected", || {
        ours.handle.connected_peers().len() == 2
    })
    .await;
    (ours, honest, raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_over_either_transport() {
    for listen in [TCP, QUIC] {
        let nodes = network(2, listen).await;
        let blob = bytes(1, 40 * MB);
        let hash = give(&nodes[0], &blob);
        let report = nodes[1]
            .handle
            .fetch(hash, 40 * MB as u64, vec![nodes[0].id()])
            .await
            .unwrap();
        assert_eq!(report.served, [(nodes[0].id(), 40 * MB as u64)]);
        assert!(report.faults.is_empty());
        assert!(read_all(nodes[1].handle.store(), &hash) == blob);
        assert!(
            nodes[1].handle.store().verify(&hash).unwrap(),
            "the hash tree is complete too"
        );
        // The tree costs one part in 256 on the wire, and nothing else does.
        let sent = nodes[0].handle.metrics().blob_bytes_out;
        assert!(sent < 40 * MB as u64 * 258 / 256, "{sent}");
        assert_eq!(nodes[1].handle.metrics().fetches_completed, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sizes_around_a_group() {
    let nodes = network(2, TCP).await;
    let from = vec![nodes[0].id()];
    for len in [
        0,
        1,
        1023,
        1024,
        1025,
        GROUP - 1,
        GROUP,
        GROUP + 1,
        2 * GROUP,
        5 * GROUP + 77,
    ] {
        let blob = bytes(len, len as usize);
        let hash = give(&nodes[0], &blob);
        nodes[1]
            .handle
            .fetch(hash, len, from.clone())
            .await
            .unwrap();
        assert_eq!(read_all(nodes[1].handle.store(), &hash), blob, "{len}");
        assert!(nodes[1].handle.store().verify(&hash).unwrap(), "{len}");
    }
    // What was fetched can be passed on.
    let hash = BlobHash::of(&bytes(5 * GROUP + 77, 5 * GROUP as usize + 77));
    nodes[0].handle.store().remove(&hash).unwrap();
    nodes[0]
        .handle
        .fetch(hash, 5 * GROUP + 77, vec![nodes[1].id()])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_byte_is_caught_in_its_group() {
    let blob = bytes(2, 10 * MB);
    let (mut ours, honest, raw) = with_evil(&blob).await;
    let bad_group = 311u64;
    raw.serve(Evil::Flip((bad_group * GROUP) as usize + 5), blob.clone());
    let hash = BlobHash::of(&blob);
    let report = ours
        .handle
        .fetch(hash, 10 * MB as u64, vec![raw.id, honest.id()])
        .await
        .unwrap();

    let fault = &report.faults[0];
    assert_eq!((fault.peer, fault.hash), (raw.id, hash));
    assert_eq!(
        (fault.offset, fault.kind),
        (bad_group * GROUP, FaultKind::CorruptData)
    );
    let before = bad_group * GROUP;
    assert_eq!(
        report.served,
        [(raw.id, before), (honest.id(), 10 * MB as u64 - before)],
        "what was good is kept, the honest holder sends the rest"
    );
    let sent = honest.handle.metrics().blob_bytes_out;
    assert!(
        sent < (10 * MB as u64 - before) * 258 / 256 + 1024,
        "{sent}"
    );
    assert!(read_all(ours.handle.store(), &hash) == blob);
    let event = ours
        .event("fault", |event| match event {
            Event::BlobFault(fault) => Some(fault),
            _ => None,
        })
        .await;
    assert_eq!(&event, fault);

    // From now on the faulty holder is asked last.
    let other = bytes(3, MB);
    let hash = give(&honest, &other);
    let report = ours
        .handle
        .fetch(hash, MB as u64, vec![raw.id, honest.id()])
        .await
        .unwrap();
    assert_eq!(report.served, [(honest.id(), MB as u64)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_bad_holder_is_told_apart() {
    let blob = bytes(4, 2 * MB);
    let hash = BlobHash::of(&blob);
    let len = blob.len() as u64;
    type Check = fn(&HolderFailure) -> bool;
    let cases: [(Evil, Check); 5] = [
        (
            Evil::Flip(0),
            |f| matches!(f, HolderFailure::Fault(fault) if fault.offset == 0),
        ),
        (
            Evil::Garbage,
            |f| matches!(f, HolderFailure::Fault(fault) if fault.kind == FaultKind::Malformed),
        ),
        (Evil::ClaimLength(7), |f| {
            matches!(
                f,
                HolderFailure::LengthMismatch {
                    theirs_bytes: 7,
                    ..
                }
            )
        }),
        (Evil::Cut(0), |f| {
            matches!(f, HolderFailure::Truncated { offset: 0 })
        }),
        (
            Evil::Stall(500_000),
            |f| matches!(f, HolderFailure::Stalled { offset, .. } if *offset > 400_000),
        ),
    ];
    for (index, (evil, check)) in cases.into_iter().enumerate() {
        let (ours, _honest, raw) = with_evil(b"").await;
        raw.serve(evil, blob.clone());
        let result = ours.handle.fetch(hash, len, vec![raw.id]).await;
        let Err(FetchError::Exhausted { failures, .. }) = result else {
            panic!("case {index}: {result:?}")
        };
        assert_eq!(failures.len(), 1);
        assert!(check(&failures[0].1), "case {index}: {}", failures[0].1);
        assert_eq!(failures[0].0, raw.id);
        assert!(!ours.handle.store().contains(&hash));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_it_was_cut_off_even_after_a_restart() {
    let blob = bytes(5, 8 * MB);
    let hash = BlobHash::of(&blob);
    let len = blob.len() as u64;
    let (ours, honest, raw) = with_evil(&blob).await;
    raw.serve(Evil::Stall(3 * MB), blob.clone());
    // The holder disappears in the middle.
    let fetch = {
        let (handle, raw_id) = (ours.handle.clone(), raw.id);
        tokio::spawn(async move { handle.fetch(hash, len, vec![raw_id]).await })
    };
    eventually("some has arrived", || {
        ours.handle.metrics().blob_bytes_in > 2_900_000
    })
    .await;
    drop(raw);
    let error = fetch.await.unwrap().unwrap_err();
    let FetchError::Exhausted { verified_bytes, .. } = error else {
        panic!("{error}")
    };
    assert!(verified_bytes > 2_500_000, "{verified_bytes}");
    assert_eq!(ours.handle.store().partials(), [(hash, len)]);
    assert!(
        ours.handle.store().used_bytes() >= len,
        "a download counts in full"
    );

    // The node restarts; half a group of what is there has rotted meanwhile.
    ours.handle.shutdown().await;
    let partial = ours.dir.path().join(format!("store/partial/{hash}.{len}"));
    let mut data = std::fs::read(&partial).unwrap();
    let rotten = 100 * GROUP as usize;
    data[rotten..rotten + 100].fill(0xee);
    std::fs::write(&partial, data).unwrap();
    let mut again = config(1, TCP, &[]);
    again.known_peers = vec![known(2, honest.handle.listen_addresses())];
    let store = common::store(&ours.dir);
    let ours = start_with(again, store, ours.dir).await;

    let report = ours
        .handle
        .fetch(hash, len, vec![honest.id()])
        .await
        .unwrap();
    assert_eq!(
        report.resumed_bytes,
        100 * GROUP,
        "up to what still matches"
    );
    assert_eq!(report.served, [(honest.id(), len - 100 * GROUP)]);
    assert!(read_all(ours.handle.store(), &hash) == blob);
    assert!(ours.handle.store().partials().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_holder_takes_over_from_one_that_cuts_or_stalls() {
    let blob = bytes(6, 3 * MB);
    let hash = BlobHash::of(&blob);
    for evil in [Evil::Cut(MB), Evil::Stall(MB)] {
        let (ours, honest, raw) = with_evil(&blob).await;
        raw.serve(evil, blob.clone());
        let holders = vec![raw.id, honest.id()];
        let report = ours
            .handle
            .fetch(hash, 3 * MB as u64, holders)
            .await
            .unwrap();
        assert!(report.faults.is_empty(), "slow or gone is not false");
        let [(first, some), (second, rest)] = report.served[..] else {
            panic!("{report:?}")
        };
        assert_eq!((first, second), (raw.id, honest.id()));
        assert!(some > 900_000 && some + rest == 3 * MB as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_lengths_and_missing_blobs() {
    let nodes = network(2, TCP).await;
    let blob = bytes(7, 100_000);
    let hash = give(&nodes[0], &blob);
    let holder = nodes[0].id();
    let fetch = |hash, len| nodes[1].handle.fetch(hash, len, vec![holder]);
    let failure = |result| match result {
        Err(FetchError::Exhausted {
            failures,
            verified_bytes: 0,
            ..
        }) => failures[0].1.clone(),
        other => panic!("{other:?}"),
    };

    for wrong in [99_999, 100_001, 0, u64::from(u32::MAX) / 8] {
        let failure = failure(fetch(hash, wrong).await);
        assert!(
            matches!(
                failure,
                HolderFailure::LengthMismatch {
                    theirs_bytes: 100_000,
                    ..
                }
            ),
            "{failure}"
        );
    }
    let failure = failure(fetch(BlobHash([1; 32]), 5).await);
    assert!(matches!(failure, HolderFailure::NotFound), "{failure}");
    assert_eq!(
        nodes[1].handle.store().used_bytes(),
        0,
        "nothing is left of failed fetches"
    );

    fetch(hash, 100_000).await.unwrap();
    let error = fetch(hash, 99_999).await.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::LengthMismatch {
                actual_bytes: 100_000,
                ..
            }
        ),
        "{error}"
    );
    let error = fetch(BlobHash([1; 32]), u64::MAX).await.unwrap_err();
    assert!(
        matches!(error, FetchError::Store(StoreError::TooLarge { .. })),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_fetches_of_one_blob_are_one_download() {
    let nodes = network(2, TCP).await;
    let blob = bytes(8, 5 * MB);
    let hash = give(&nodes[0], &blob);
    let fetches = (0..20).map(|_| {
        nodes[1]
            .handle
            .fetch(hash, 5 * MB as u64, vec![nodes[0].id()])
    });
    for result in futures::future::join_all(fetches).await {
        result.unwrap();
    }
    assert_eq!(nodes[1].handle.metrics().fetches_completed, 1);
    let received = nodes[1].handle.metrics().blob_bytes_in;
    assert!(received < 5 * MB as u64 * 258 / 256, "{received}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_blobs_at_once_from_one_holder() {
    let nodes = network(3, TCP).await;
    let blobs: Vec<_> = (0..40u64).map(|i| bytes(100 + i, 300_000)).collect();
    let hashes: Vec<_> = blobs.iter().map(|blob| give(&nodes[0], blob)).collect();
    let fetches = nodes[1..].iter().flat_map(|node| {
        let holder = nodes[0].id();
        hashes
            .iter()
            .map(move |hash| node.handle.fetch(*hash, 300_000, vec![holder]))
    });
    for result in futures::future::join_all(fetches).await {
        result.unwrap();
    }
    assert_eq!(nodes[1].handle.store().list().len(), 40);
    assert_eq!(nodes[2].handle.store().list().len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_is_our_own_error_and_idle_downloads_make_room() {
    let blob = bytes(9, 2 * MB);
    let hash = BlobHash::of(&blob);
    let (full, honest, _raw) = with_evil(&blob).await;
    full.handle.shutdown().await;
    let dir = TempDir::new().unwrap();
    let options = StoreOptions {
        quota_bytes: 1_500_000,
        durable: true,
    };
    let store = BlobStore::open_with(dir.path(), options).unwrap();
    let raw = RawPeer::start(&config(3, TCP, &[1])).await;
    let mut ours = config(1, TCP, &[]);
    ours.known_peers = vec![
        known(2, honest.handle.listen_addresses()),
        known(3, vec![raw.address.clone().unwrap()]),
    ];
    ours.stall_timeout = Duration::from_millis(300);
    ours.fetch_patience = Duration::from_millis(300);
    let ours = start_with(ours, store, dir).await;
    eventually("connected", || ours.handle.connected_peers().len() == 2).await;

    let error = ours
        .handle
        .fetch(hash, 2 * MB as u64, vec![honest.id()])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Store(StoreError::Quota {
                limit_bytes: 1_500_000,
                ..
            })
        ),
        "{error}"
    );

    // Of 1 MB half arrives, and keeps its place ...
    let cut = bytes(10, MB);
    let hash = BlobHash::of(&cut);
    raw.serve(Evil::Cut(500_000), cut);
    let error = ours
        .handle
        .fetch(hash, MB as u64, vec![raw.id])
        .await
        .unwrap_err();
    assert!(matches!(error, FetchError::Exhausted { .. }), "{error}");
    assert_eq!(ours.handle.store().partials(), [(hash, MB as u64)]);
    assert!(ours.handle.store().used_bytes() > MB as u64);
    // ... until something else is wanted.
    let wanted = bytes(11, 1_400_000);
    let hash = give(&honest, &wanted);
    ours.handle
        .fetch(hash, 1_400_000, vec![honest.id()])
        .await
        .unwrap();
    assert_eq!(ours.handle.store().list(), [(hash, 1_400_000)]);
    assert!(ours.handle.store().partials().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_holder_with_a_rotten_disk_notices_itself() {
    let mut nodes = network(3, TCP).await;
    let blob = bytes(12, 2 * MB);
    let hash = give(&nodes[0], &blob);
    give(&nodes[1], &blob);
    let path = nodes[0].handle.store().path(&hash).unwrap();
    let mut data = std::fs::read(&path).unwrap();
    data[MB] ^= 1;
    std::fs::write(&path, data).unwrap();

    let holders = vec![nodes[0].id(), nodes[1].id()];
    let report = nodes[2]
        .handle
        .fetch(hash, 2 * MB as u64, holders)
        .await
        .unwrap();
    assert!(report.faults.is_empty(), "it did not lie");
    assert!(read_all(nodes[2].handle.store(), &hash) == blob);
    let corrupt = nodes[0]
        .event("corruption", |event| match event {
            Event::LocalCorruption { hash } => Some(hash),
            _ => None,
        })
        .await;
    assert_eq!(corrupt, hash);
    assert!(!nodes[0].handle.store().contains(&hash));
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_a_fetch_and_keeps_what_it_has() {
    let blob = bytes(13, 2 * MB);
    let hash = BlobHash::of(&blob);
    let (ours, _honest, raw) = with_evil(b"").await;
    raw.serve(Evil::Stall(MB), blob);
    let handle = ours.handle.clone();
    let raw_id = raw.id;
    let fetch = tokio::spawn(async move { handle.fetch(hash, 2 * MB as u64, vec![raw_id]).await });
    eventually("some has arrived", || {
        ours.handle.metrics().blob_bytes_in > 900_000
    })
    .await;
    ours.handle.shutdown().await;
    let error = fetch.await.unwrap().unwrap_err();
    assert!(matches!(error, FetchError::Shutdown), "{error}");
}

/// Any range can be asked for: what is needed to pull stripes from several holders.
#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_served_with_proofs() {
    let server = start(config(1, TCP, &[3])).await;
    let blob = bytes(14, 700_001);
    let len = blob.len() as u64;
    let groups = len.div_ceil(GROUP);
    let hash = give(&server, &blob);
    let mut raw_config = Config::new("test", GENESIS, [3; 32]);
    raw_config.known_peers = vec![known(1, server.handle.listen_addresses())];
    let mut raw = RawPeer::start(&raw_config).await;
    eventually("connected", || !server.handle.connected_peers().is_empty()).await;

    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..40 {
        let first = rng.gen_range(0..groups);
        let end = rng.gen_range(first + 1..=groups);
        let request = BlobRequest {
            hash,
            len,
            first_group: first,
            end_group: end,
        };
        let (header, encoded) = ask(&mut raw, server.id(), &request).await;
        assert_eq!(
            header,
            ResponseHeader {
                answer: Answer::Found,
                len
            }
        );
        let start = ChunkNum(first * 16);
        let ranges = if end == groups {
            ChunkRanges::from(start..)
        } else {
            ChunkRanges::from(start..ChunkNum(end * 16))
        };
        let tree = BaoTree::new(len, BlockSize::from_chunk_log(4));
        let root = blake3::Hash::from_bytes(hash.0);
        let mut decoded = Vec::new();
        for item in DecodeResponseIter::new(root, tree, &encoded[..], &ranges) {
            if let BaoContentItem::Leaf(leaf) = item.unwrap() {
                assert_eq!(leaf.offset, first * GROUP + decoded.len() as u64);
                decoded.extend_from_slice(&leaf.data);
            }
        }
        assert!(decoded == blob[(first * GROUP) as usize..(end * GROUP).min(len) as usize]);
    }
    for (first_group, end_group) in [(0, 0), (3, 2), (0, groups + 1), (u64::MAX, u64::MAX)] {
        let request = BlobRequest {
            hash,
            len,
            first_group,
            end_group,
        };
        let (header, rest) = ask(&mut raw, server.id(), &request).await;
        assert_eq!((header.answer, rest.len()), (Answer::BadRange, 0));
    }
}

async fn ask(
    raw: &mut RawPeer,
    peer: cifer_dataplane::PeerId,
    request: &BlobRequest,
) -> (ResponseHeader, Vec<u8>) {
    let mut stream = raw.open(peer, protocol(&GENESIS)).await;
    stream
        .write_all(&borsh::to_vec(request).unwrap())
        .await
        .unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let rest = all.split_off(HEADER_BYTES);
    (borsh::from_slice(&all).unwrap(), rest)
}
