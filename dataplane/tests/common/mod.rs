//! Nodes on loopback, and what tests do with them.
#![allow(dead_code)] // Each test binary uses its part.

pub(crate) mod evil;

use std::time::Duration;

use cifer_dataplane::{
    BlobHash, BlobStore, Config, Event, Handle, KnownPeer, Multiaddr, PeerId, StoreOptions,
    peer_id, spawn,
};
use libp2p::identity::Keypair;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const GENESIS: [u8; 32] = [9; 32];
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// A test that waits longer than this is stuck.
const STUCK: Duration = Duration::from_secs(60);

pub(crate) struct TestNode {
    pub(crate) seed: u8,
    pub(crate) handle: Handle,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) dir: TempDir,
}

pub(crate) fn public_key(seed: u8) -> [u8; 32] {
    let keypair = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    keypair.public().try_into_ed25519().unwrap().to_bytes()
}

pub(crate) fn id(seed: u8) -> PeerId {
    peer_id(&public_key(seed)).unwrap()
}

pub(crate) fn known(seed: u8, addresses: Vec<Multiaddr>) -> KnownPeer {
    KnownPeer {
        public_key: public_key(seed),
        addresses,
    }
}

/// Listens on `listen`, knows the peers `knows` but no addresses.
pub(crate) fn config(seed: u8, listen: &str, knows: &[u8]) -> Config {
    let mut config = Config::new("test", GENESIS, [seed; 32]);
    config.listen = vec![listen.parse().unwrap()];
    config.known_peers = knows.iter().map(|seed| known(*seed, Vec::new())).collect();
    config
}

pub(crate) fn store(dir: &TempDir) -> BlobStore {
    let options = StoreOptions {
        quota_bytes: 1 << 30,
        durable: false,
    };
    BlobStore::open_with(dir.path().join("store"), options).unwrap()
}

pub(crate) async fn start(config: Config) -> TestNode {
    let dir = TempDir::new().unwrap();
    let store = store(&dir);
    start_with(config, store, dir).await
}

pub(crate) async fn start_with(config: Config, store: BlobStore, dir: TempDir) -> TestNode {
    let seed = config.secret_key[0];
    let (handle, events) = spawn(config, store).await.unwrap();
    TestNode {
        seed,
        handle,
        events,
        dir,
    }
}

/// Nodes with seeds 1..=n that know each other; later ones dial the earlier ones.
pub(crate) async fn network(n: u8, listen: &str) -> Vec<TestNode> {
    let all: Vec<u8> = (1..=n).collect();
    let mut nodes: Vec<TestNode> = Vec::new();
    for seed in &all {
        let mut config = config(*seed, listen, &all);
        for peer in &mut config.known_peers {
            if let Some(node) = nodes
                .iter()
                .find(|node| public_key(node.seed) == peer.public_key)
            {
                peer.addresses = node.handle.listen_addresses();
            }
        }
        nodes.push(start(config).await);
    }
    for node in &nodes {
        eventually("everybody is connected", || {
            node.handle.connected_peers().len() == usize::from(n) - 1
        })
        .await;
    }
    nodes
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(STUCK, waiting)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

impl TestNode {
    /// The next event that `pick` wants; others are dropped.
    pub(crate) async fn event<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(Event) -> Option<T>,
    ) -> T {
        let waiting = async {
            loop {
                let event = self.events.recv().await.expect("the data plane runs");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        };
        tokio::time::timeout(STUCK, waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
    }

    pub(crate) fn id(&self) -> PeerId {
        self.handle.local_peer_id()
    }
}

pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// A blob in the store of `node`.
pub(crate) fn give(node: &TestNode, bytes: &[u8]) -> BlobHash {
    node.handle.store().ingest_bytes(bytes).unwrap()
}

pub(crate) fn read_all(store: &BlobStore, hash: &BlobHash) -> Vec<u8> {
    let blob = store.open_read(hash).expect("blob is in the store");
    let mut bytes = vec![0; blob.len_bytes() as usize];
    blob.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
