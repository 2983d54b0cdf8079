//! A network of real engines in one process, on loopback, with a ledger in memory.

#![allow(dead_code, reason = "each test and example uses a part of it")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cifer_chain::{
    block::{Block, Header},
    evidence::Evidence,
    validators::ValidatorSet,
    vote::CommitCertificate,
};
use cifer_consensus::{Application, Config, Fatal, Handle, Origin, Verdict, start};
use cifer_genesis::{
    BlockHash, GenesisHash, Hash32, Height, SecretKey, StateRoot, TimestampMs, ValidatorId,
    VotingPower, document::ConsensusParams,
};
use tempfile::TempDir;
use tokio::sync::Notify;

pub(crate) const CHAIN_ID: &str = "test-net";
/// Far longer than anything takes; tests wait for conditions, not for times.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a node keeps on disk, and what tests look at.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) blocks: Vec<(Block, CommitCertificate)>,
    pub(crate) committed_at: Vec<Instant>,
    pub(crate) undecided: BTreeMap<(Height, u32, BlockHash), Vec<u8>>,
    pub(crate) evidence: Vec<Evidence>,
    /// Pending units of work; a block of the own making takes one.
    pub(crate) work: u64,
    /// What `commit` fails with.
    pub(crate) fail_commit: Option<String>,
}

impl Ledger {
    pub(crate) fn tip(&self) -> u64 {
        self.blocks.len() as u64
    }

    pub(crate) fn hash(&self, height: u64) -> Option<BlockHash> {
        let index = usize::try_from(height.checked_sub(1)?).ok()?;
        self.blocks.get(index).map(|(block, _)| block.hash())
    }
}

/// The application: blocks without transactions, whose state root counts heights.
pub(crate) struct App {
    ledger: Arc<Mutex<Ledger>>,
    validators: ValidatorSet,
    own: ValidatorId,
}

pub(crate) fn state_root(height: Height) -> StateRoot {
    StateRoot(Hash32::derive(
        "cifer/consensus/test",
        &height.0.to_le_bytes(),
    ))
}

impl App {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }
}

impl Application for App {
    fn tip(&self) -> Height {
        Height(self.ledger().tip())
    }

    fn history_min_height(&self) -> Height {
        Height(1)
    }

    fn validators(&self, height: Height) -> Option<ValidatorSet> {
        (height.0 <= self.ledger().tip() + 1).then(|| self.validators.clone())
    }

    fn has_work(&self) -> bool {
        self.ledger().work > 0
    }

    fn build(&mut self, height: Height) -> Result<Block, Fatal> {
        let ledger = self.ledger();
        let parent = ledger.blocks.last();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let after = parent.map_or(0, |(block, _)| block.header.time_ms.0 + 1);
        let header = Header {
            chain_id: CHAIN_ID.into(),
            height,
            time_ms: TimestampMs(now.max(after)),
            parent: parent.map_or_else(BlockHash::default, |(block, _)| block.hash()),
            proposer: self.own,
            tx_root: Block::compute_tx_root(CHAIN_ID, &[]),
            validators: self.validators.hash(CHAIN_ID),
            state_root: state_root(height),
        };
        Ok(Block {
            header,
            transactions: Vec::new(),
        })
    }

    fn validate(&mut self, block: &Block, _origin: Origin) -> Verdict {
        let ledger = self.ledger();
        assert_eq!(block.header.height.0, ledger.tip() + 1, "asked out of turn");
        let parent = ledger
            .blocks
            .last()
            .map_or_else(BlockHash::default, |(b, _)| b.hash());
        if block.header.parent != parent {
            return Verdict::Invalid("parent".into());
        }
        if block.header.state_root != state_root(block.header.height) {
            return Verdict::Invalid("state root".into());
        }
        Verdict::Valid
    }

    fn commit(&mut self, block: Block, certificate: CommitCertificate) -> Result<(), Fatal> {
        certificate
            .verify(CHAIN_ID, &self.validators)
            .expect("the ledger accepts certificates");
        assert_eq!(certificate.block, block.hash());
        let own = self.own;
        let mut ledger = self.ledger();
        if let Some(reason) = &ledger.fail_commit {
            return Err(Fatal::new(reason));
        }
        assert_eq!(block.header.height.0, ledger.tip() + 1);
        let height = block.header.height;
        ledger.undecided.retain(|(entry, _, _), _| *entry > height);
        if block.header.proposer == own {
            ledger.work = ledger.work.saturating_sub(1);
        }
        ledger.blocks.push((block, certificate));
        ledger.committed_at.push(Instant::now());
        Ok(())
    }

    fn decided(&self, height: Height) -> Option<(Block, CommitCertificate)> {
        let index = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.ledger().blocks.get(index).cloned()
    }

    fn store_undecided(
        &mut self,
        height: Height,
        round: u32,
        block: BlockHash,
        bytes: Vec<u8>,
    ) -> Result<(), Fatal> {
        self.ledger()
            .undecided
            .insert((height, round, block), bytes);
        Ok(())
    }

    fn undecided(&self, height: Height, round: u32) -> Vec<Vec<u8>> {
        self.ledger()
            .undecided
            .iter()
            .filter(|((h, r, _), _)| (*h, *r) == (height, round))
            .map(|(_, bytes)| bytes.clone())
            .collect()
    }

    fn evidence(&mut self, evidence: Vec<Evidence>) {
        self.ledger().evidence.extend(evidence);
    }
}

/// A node, running or not. Stopping it keeps what a disk would keep.
pub(crate) struct Node {
    pub(crate) key: SecretKey,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    pub(crate) work: Arc<Notify>,
    pub(crate) handle: Option<Handle>,
    pub(crate) is_validator: bool,
    pub(crate) genesis_hash: GenesisHash,
    pub(crate) address: String,
    home: TempDir,
}

impl Node {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn id(&self) -> ValidatorId {
        ValidatorId(self.key.public_key())
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn add_work(&self, units: u64) {
        self.ledger().work += units;
        self.work.notify_one();
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.shutdown().await.unwrap();
        }
    }

    /// Stops without ceremony; what is in memory is lost.
    pub(crate) fn abort(&mut self) {
        self.handle = None;
    }
}

/// Nodes that know each other.
pub(crate) struct Network {
    pub(crate) nodes: Vec<Node>,
    pub(crate) params: ConsensusParams,
    pub(crate) validators: ValidatorSet,
    pub(crate) allow_observers: bool,
}

/// Short timeouts, and a heartbeat that no test waits for by chance.
pub(crate) fn params() -> ConsensusParams {
    ConsensusParams {
        min_block_interval_ms: 0,
        idle_heartbeat_ms: 3_600_000,
        timeout_propose_ms: 500,
        timeout_prevote_ms: 250,
        timeout_precommit_ms: 250,
        ..ConsensusParams::default()
    }
}

pub(crate) fn genesis_hash() -> GenesisHash {
    GenesisHash::from_bytes([0x11; 32])
}

/// A port that was free a moment ago. Different tests run in different processes, so each starts
/// somewhere else and never hands out a port twice.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    if NEXT.load(Ordering::Relaxed) == 0 {
        let start = 20_000 + (std::process::id() % 200) as u16 * 100;
        let _ = NEXT.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed);
    }
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn node(seed: u8, is_validator: bool) -> Node {
    Node {
        key: SecretKey::from_seed(&[seed; 32]),
        ledger: Arc::default(),
        work: Arc::new(Notify::new()),
        handle: None,
        is_validator,
        genesis_hash: genesis_hash(),
        address: format!("/ip4/127.0.0.1/tcp/{}", free_port()),
        home: tempfile::tempdir().unwrap(),
    }
}

impl Network {
    /// Validators of these powers; none is started.
    pub(crate) fn new(powers: &[u64], params: ConsensusParams) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_ansi(false)
            .with_test_writer()
            .try_init();
        let nodes: Vec<_> = (1..)
            .zip(powers)
            .map(|(seed, _)| node(seed, true))
            .collect();
        let entries = nodes
            .iter()
            .zip(powers)
            .map(|(node, power)| (node.id(), VotingPower(*power)));
        let validators = ValidatorSet::new(entries.collect()).unwrap();
        Self {
            nodes,
            params,
            validators,
            allow_observers: true,
        }
    }

    /// Listens over QUIC instead of TCP.
    pub(crate) fn over_quic(mut self) -> Self {
        for node in &mut self.nodes {
            node.address = node.address.replace("/tcp/", "/udp/") + "/quic-v1";
        }
        self
    }

    /// Adds a node without a seat; returns its index.
    pub(crate) fn add_observer(&mut self) -> usize {
        self.nodes.push(node(200 + self.nodes.len() as u8, false));
        self.nodes.len() - 1
    }

    pub(crate) fn config(&self, index: usize) -> Config {
        let node = &self.nodes[index];
        Config {
            moniker: format!("node-{index}"),
            chain_id: CHAIN_ID.into(),
            genesis_hash: node.genesis_hash,
            key: node.key.clone(),
            home: node.home.path().to_owned(),
            listen: node.address.clone(),
            peers: self
                .nodes
                .iter()
                .filter(|node| node.is_validator)
                .map(|node| (node.key.public_key(), node.address.clone()))
                .collect(),
            params: self.params.clone(),
            max_block_bytes: 1 << 20,
            is_validator: node.is_validator,
            allow_observers: self.allow_observers,
        }
    }

    pub(crate) fn app(&self, index: usize) -> App {
        let node = &self.nodes[index];
        App {
            ledger: node.ledger.clone(),
            validators: self.validators.clone(),
            own: node.id(),
        }
    }

    pub(crate) async fn start(&mut self, index: usize) {
        let handle = start(
            self.config(index),
            self.app(index),
            self.nodes[index].work.clone(),
        )
        .await;
        self.nodes[index].handle = Some(handle.unwrap());
    }

    pub(crate) async fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.start(index).await;
        }
    }

    pub(crate) async fn stop_all(&mut self) {
        for node in &mut self.nodes {
            node.stop().await;
        }
    }

    pub(crate) fn tip(&self, index: usize) -> u64 {
        self.nodes[index].ledger().tip()
    }

    /// Waits until these nodes have at least that height.
    pub(crate) async fn reach(
        &self,
        indices: impl IntoIterator<Item = usize> + Clone,
        height: u64,
    ) {
        let description = format!("height {height}");
        self.wait_for(&description, || {
            indices
                .clone()
                .into_iter()
                .all(|index| self.tip(index) >= height)
        })
        .await;
    }

    /// Waits for a condition, with what went on in the message when it does not come.
    pub(crate) async fn wait_for(&self, what: &str, condition: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() >= end {
                let states: Vec<_> = self
                    .nodes
                    .iter()
                    .map(|node| {
                        let status = node
                            .handle
                            .as_ref()
                            .map(|handle| handle.status().borrow().clone());
                        format!("tip {} {status:?}", node.ledger().tip())
                    })
                    .collect();
                panic!("waited in vain for {what}:\n{}", states.join("\n"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Checks that all nodes have the same blocks as far as they have any.
    pub(crate) fn assert_agreement(&self) {
        let longest = (0..self.nodes.len())
            .map(|index| self.tip(index))
            .max()
            .unwrap_or(0);
        for height in 1..=longest {
            let hashes: BTreeSet<_> = self
                .nodes
                .iter()
                .filter_map(|node| node.ledger().hash(height))
                .collect();
            assert_eq!(hashes.len(), 1, "disagreement at height {height}");
        }
    }
}
