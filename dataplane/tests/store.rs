//! The blob store: what goes in comes out, and what is wrong does not go in.

mod common;

use std::{
    io::{self, Cursor, Write},
    path::Path,
    pin::Pin,
    task::{Context, Poll},
};

use cifer_dataplane::{BlobHash, BlobStore, IngestError, StoreError, StoreOptions};
use common::{bytes, read_all};
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::io::{AsyncRead, ReadBuf};

const GROUP: usize = 16 * 1024;

fn open(dir: &TempDir, quota_bytes: u64) -> BlobStore {
    BlobStore::open(dir.path(), quota_bytes).unwrap()
}

fn files_under(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found
}

/// A source that hands out its bytes in pieces of `piece`.
struct Pieces {
    bytes: Cursor<Vec<u8>>,
    piece: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = buffer.take(self.piece);
        let result = Pin::new(&mut self.bytes).poll_read(cx, &mut piece);
        let count = piece.filled().len();
        // The bytes are in the buffer already; it only has to know.
        let filled = piece.filled().to_vec();
        buffer.put_slice(&filled[..count]);
        result
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_goes_in_comes_out(seed in any::<u64>(), len in 0usize..6 * GROUP, piece in 1usize..50_000,
        edge in prop::option::of((0usize..5, 0usize..3))) {
        // Half of the cases sit on a group boundary, give or take a byte.
        let len = edge.map_or(len, |(groups, around)| (groups * GROUP + around).saturating_sub(1));
        let data = bytes(seed, len);
        let hash = BlobHash::of(&data);
        let dir = TempDir::new().unwrap();
        let store = open(&dir, 1 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let source = Pieces { bytes: Cursor::new(data.clone()), piece };
        runtime.block_on(store.ingest(hash, len as u64, source)).unwrap();

        prop_assert_eq!(store.len(&hash), Some(len as u64));
        prop_assert!(store.verify(&hash).unwrap());
        prop_assert_eq!(&read_all(&store, &hash), &data);
        let middle = len / 2;
        let mut tail = vec![0; len - middle];
        store.read_at(&hash, middle as u64, &mut tail).unwrap();
        prop_assert_eq!(&tail, &data[middle..]);
        let used = store.used_bytes();
        drop(store);
        let store = open(&dir, 1 << 20);
        prop_assert_eq!(store.list(), vec![(hash, len as u64)]);
        prop_assert_eq!(store.used_bytes(), used);
        prop_assert!(store.remove(&hash).unwrap());
        prop_assert!(!store.remove(&hash).unwrap());
        prop_assert_eq!(store.used_bytes(), 0);
        prop_assert_eq!(files_under(&dir.path().join("blobs")), Vec::<String>::new());
    }
}

#[tokio::test]
async fn bad_streams_leave_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 10 << 20);
    let data = bytes(1, 300_000);
    let hash = BlobHash::of(&data);

    let error = store
        .ingest(hash, 300_000, &data[..299_999])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            IngestError::TooShort {
                expected_bytes: 300_000,
                received_bytes: 299_999
            }
        ),
        "{error}"
    );
    assert!(error.is_sender_fault());

    let longer = [&data[..], &[0]].concat();
    let error = store.ingest(hash, 300_000, &longer[..]).await.unwrap_err();
    assert!(
        matches!(
            error,
            IngestError::TooLong {
                expected_bytes: 300_000
            }
        ),
        "{error}"
    );

    let mut wrong = data.clone();
    wrong[150_000] ^= 1;
    let error = store.ingest(hash, 300_000, &wrong[..]).await.unwrap_err();
    assert!(
        matches!(error, IngestError::HashMismatch { expected, actual }
        if expected == hash && actual == BlobHash::of(&wrong)),
        "{error}"
    );

    assert!(!store.contains(&hash));
    assert_eq!(store.used_bytes(), 0);
    assert_eq!(files_under(&dir.path().join("tmp")), Vec::<String>::new());

    store.ingest(hash, 300_000, &data[..]).await.unwrap();
    // Known now: nothing is read, but the length has to be right.
    store.ingest(hash, 300_000, &b"ignored"[..]).await.unwrap();
    let error = store.ingest(hash, 5, &data[..]).await.unwrap_err();
    assert!(
        matches!(
            error,
            IngestError::LengthMismatch {
                actual_bytes: 300_000,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_source_that_fails_is_not_the_senders_lie() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::other("cable cut")))
        }
    }
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 1 << 20);
    let error = store
        .ingest(BlobHash([1; 32]), 10, Broken)
        .await
        .unwrap_err();
    assert!(
        matches!(error, IngestError::Source(_)) && !error.is_sender_fault(),
        "{error}"
    );
    assert_eq!(store.used_bytes(), 0);
}

#[tokio::test]
async fn the_quota_is_refused_by_name_and_given_back() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 100_000);
    let (first, second) = (bytes(1, 60_000), bytes(2, 60_000));
    store
        .ingest(BlobHash::of(&first), 60_000, &first[..])
        .await
        .unwrap();
    let error = store
        .ingest(BlobHash::of(&second), 60_000, &second[..])
        .await
        .unwrap_err();
    // 60,000 bytes are four groups: three inner nodes of 64 bytes.
    assert!(
        matches!(
            error,
            IngestError::Store(StoreError::Quota {
                needed_bytes: 60_192,
                used_bytes: 60_192,
                limit_bytes: 100_000
            })
        ),
        "{error}"
    );
    assert!(!error.is_sender_fault());
    assert!(error.to_string().contains("60192 of 100000"), "{error}");
    store.remove(&BlobHash::of(&first)).unwrap();
    store
        .ingest(BlobHash::of(&second), 60_000, &second[..])
        .await
        .unwrap();

    let error = store.create_writer(u64::MAX).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
}

#[test]
fn writers() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 1 << 20);
    let data = bytes(3, 200_000);

    let mut writer = store.create_writer(200_000).unwrap();
    writer.write_all(&data).unwrap();
    assert!(writer.write_all(&[0]).is_err(), "more than was reserved");
    assert_eq!(writer.finish().unwrap(), (BlobHash::of(&data), 200_000));
    assert_eq!(store.used_bytes(), 200_000 + 12 * 64);

    drop(store.create_writer(500_000).unwrap());
    assert_eq!(
        store.used_bytes(),
        200_000 + 12 * 64,
        "an abandoned writer costs nothing"
    );

    let small = store.ingest_bytes(b"small").unwrap();
    assert_eq!(read_all(&store, &small), b"small");

    let other = bytes(4, 10_000);
    let mut writer = store.create_writer(10_000).unwrap();
    writer.write_all(&other).unwrap();
    let mut announced = None;
    let stored = writer.finish_after(|hash| {
        assert!(!store.contains(&hash), "announced before it is there");
        announced = Some(hash);
    });
    assert_eq!(stored.unwrap(), (BlobHash::of(&other), 10_000));
    assert_eq!(announced, Some(BlobHash::of(&other)));
    assert!(store.verify(&BlobHash::of(&other)).unwrap());
    assert_eq!(files_under(&dir.path().join("tmp")), Vec::<String>::new());
}

#[test]
fn leftovers_go_and_strangers_stay() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 1 << 20);
    let (kept, damaged) = (bytes(5, 100_000), bytes(6, 100_000));
    let (kept, damaged) = (
        store.ingest_bytes(&kept).unwrap(),
        store.ingest_bytes(&damaged).unwrap(),
    );
    let outboard = store.path(&damaged).unwrap().display().to_string() + ".obao";
    drop(store);
    std::fs::write(dir.path().join("tmp/7"), "half").unwrap();
    std::fs::write(dir.path().join("partial/nonsense"), "?").unwrap();
    std::fs::remove_file(outboard).unwrap();

    let store = open(&dir, 1 << 20);
    assert_eq!(store.list(), [(kept, 100_000)]);
    assert_eq!(files_under(&dir.path().join("tmp")), Vec::<String>::new());
    assert_eq!(
        files_under(&dir.path().join("partial")),
        Vec::<String>::new()
    );
}

#[test]
fn after_a_reboot_a_store_that_does_not_flush_checks_itself() {
    let options = StoreOptions {
        quota_bytes: 1 << 20,
        durable: false,
    };
    let dir = TempDir::new().unwrap();
    let store = BlobStore::open_with(dir.path(), options).unwrap();
    let good = store.ingest_bytes(&bytes(7, 100_000)).unwrap();
    let bad = store.ingest_bytes(&bytes(8, 100_000)).unwrap();
    let path = store.path(&bad).unwrap();
    drop(store);
    let mut data = std::fs::read(&path).unwrap();
    data[70_000..90_000].fill(0); // Pages that never made it to the disk.
    std::fs::write(&path, data).unwrap();

    let store = BlobStore::open_with(dir.path(), options).unwrap();
    assert!(store.contains(&bad), "same boot: the kernel had the bytes");
    assert!(!store.verify(&bad).unwrap());
    drop(store);

    std::fs::write(dir.path().join("boot-id"), "another boot").unwrap();
    let store = BlobStore::open_with(dir.path(), options).unwrap();
    assert_eq!(store.list(), [(good, 100_000)]);
}

#[test]
fn small_blobs_share_a_file_until_their_place_is_needed() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 10 << 20);
    let model = store.ingest_bytes(&bytes(1, 2_600)).unwrap();
    let reader = store.open_read(&model).unwrap();
    let gone = store.ingest_bytes(&bytes(2, 2_600)).unwrap();
    assert_eq!(store.path(&model), None);
    assert!(store.remove(&gone).unwrap());
    assert!(!store.contains(&gone));

    // More than both halves hold.
    let others: Vec<_> = (0..600)
        .map(|seed| store.ingest_bytes(&bytes(100 + seed, 4_000)).unwrap())
        .collect();
    assert!(
        store.path(&model).is_some(),
        "it has moved to a file of its own"
    );
    assert_eq!(read_all(&store, &model), bytes(1, 2_600));
    assert!(!store.contains(&gone));
    drop(store);

    let store = open(&dir, 10 << 20);
    assert_eq!(store.list().len(), 601);
    assert_eq!(store.used_bytes(), 2_600 + 600 * 4_000);
    for (hash, seed) in others.iter().zip(100..) {
        assert_eq!(read_all(&store, hash), bytes(seed, 4_000));
        assert!(store.remove(hash).unwrap());
    }
    let mut late = vec![0; 2_600];
    assert!(store.remove(&model).unwrap());
    reader.read_exact_at(&mut late, 0).unwrap();
    assert_eq!(late, bytes(1, 2_600), "a reader outlives the blob");
    assert_eq!(files_under(&dir.path().join("blobs")), Vec::<String>::new());
}

#[tokio::test]
async fn many_ingests_of_one_blob_are_one_blob() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir, 100 << 20);
    let data = bytes(9, 1_000_000);
    let hash = BlobHash::of(&data);
    let ingests = (0..8).map(|_| store.ingest(hash, 1_000_000, &data[..]));
    for result in futures::future::join_all(ingests).await {
        result.unwrap();
    }
    assert_eq!(store.list(), [(hash, 1_000_000)]);
    assert_eq!(store.used_bytes(), 1_000_000 + 61 * 64, "counted once");
    assert!(store.verify(&hash).unwrap());
}

#[test]
fn hashes_are_read_and_written() {
    let hash = BlobHash([0xab; 32]);
    assert_eq!(hash.to_string(), "ab".repeat(32));
    assert_eq!("ab".repeat(32).parse(), Ok(hash));
    let error = "abc".parse::<BlobHash>().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("64 hexadecimal digits, got 3 characters"),
        "{error}"
    );
}
