//! The running node: committed state, mempool, payloads and peers, and what moves between them.
//!
//! - [`ledger`]: the store and the newest state; the only place where a block becomes durable.
//! - [`application`]: what the consensus engine asks of us.
//! - [`gossip`], [`early`], [`submit`], [`judge`], [`gateway`]: the way of transactions and updates.
//! - [`rounds`], [`aggregate`], [`votes`], [`retention`]: what happens when a round closes.
//! - [`private`]: share keys, sums of shares and opened groups of private rounds.
//!
//! Invariants: locks are held for map operations only, never across an await or I/O; consensus
//! handlers never wait for payloads, aggregation or the network.

mod aggregate;
pub(crate) mod application;
mod early;
mod gateway;
pub(crate) mod gossip;
mod judge;
pub(crate) mod ledger;
mod mempool;
pub(crate) mod metrics;
pub(crate) mod private;
mod retention;
pub(crate) mod rounds;
mod seen;
mod source;
mod status;
mod submit;
mod votes;
mod wire;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use cifer_chain::{
    BlobHash, Block, BlockHash, ContributorId, Event, GroupIndex, Hash32, Header, ModelRoot,
    RoundId, SecretKey, State, TaskId, Transaction, TxHash, ValidatorId, VerdictVote,
};
use cifer_dataplane::{BlobStore, Handle, PeerId};
use cifer_genesis::{Genesis, GenesisHash};
use cifer_proto::v1::RoundChanged;
use cifer_store::RocksStore;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use gateway::{SubmitError, SubmitOutcome};
pub use mempool::MempoolError;
pub use metrics::Divergence;
pub use private::{ReopenError, Reopened, reopen_private_rounds};
pub use status::NodeStatus;
pub(crate) use submit::Signatures;
pub use submit::SubmitTxError;

use crate::config::Role;

/// Committed blocks that a slow subscriber may be behind before it loses some: 1,024 headers with
/// their events, a few hundred bytes to a few hundred kilobytes each.
const COMMITTED_BACKLOG: usize = 1_024;

/// A block that was just committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its header.
    pub header: Header,
    /// Its hash.
    pub hash: BlockHash,
    /// How many transactions it carries.
    pub tx_count: usize,
    /// What it did.
    pub events: Vec<Event>,
    /// What subscribers are told of that; made by the first of them, since it takes a look into the store.
    pub(crate) changes: OnceLock<Vec<RoundChanged>>,
}

/// Which round and contributor an update belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateStanding {
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: RoundId,
    /// Contributor.
    pub contributor: ContributorId,
}

/// How much of the past is kept on disk besides the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Rounds whose payloads are kept.
    pub keep_rounds: u64,
    /// Models that are kept.
    pub keep_models: u64,
}

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) genesis: Genesis,
    pub(crate) key: SecretKey,
    pub(crate) ledger: ledger::Ledger,
    pub(crate) plane: Handle,
    pub(crate) blobs: BlobStore,
    /// Where means of private groups are written.
    pub(crate) scratch: PathBuf,
    pub(crate) share_keys: private::ShareKeys,
    pub(crate) retention: Retention,
    pub(crate) stop: CancellationToken,
}

struct Inner {
    parts: Parts,
    genesis_hash: GenesisHash,
    validator: Option<ValidatorId>,
    mempool: Mutex<mempool::Mempool>,
    work: Arc<Notify>,
    committed: broadcast::Sender<Arc<Committed>>,
    consensus: Mutex<Option<watch::Receiver<cifer_consensus::Status>>>,
    collectors: Mutex<HashMap<Hash32, mpsc::Sender<VerdictVote>>>,
    judge: judge::Judge,
    votes: Mutex<votes::VotePool>,
    computed: Mutex<Option<BlobHash>>,
    seen: Mutex<seen::Seen>,
    accusations: Mutex<private::Accusations>,
    early: Mutex<early::Early>,
    metrics: metrics::Metrics,
    flags: metrics::Flags,
    tasks: TaskTracker,
}

/// Locks; a panic of another holder does not make the data unusable, because every critical section
/// leaves the maps consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data plane's name of a blob.
pub(crate) fn blob(hash: BlobHash) -> cifer_dataplane::BlobHash {
    cifer_dataplane::BlobHash::from(*hash.as_bytes())
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = &parts.genesis.limits;
        let id = ValidatorId(parts.key.public_key());
        let seated = parts.ledger.state().validators.power_of(&id).is_some();
        Self(Arc::new(Inner {
            genesis_hash: parts.ledger.state().genesis_hash,
            validator: seated.then_some(id),
            mempool: Mutex::new(mempool::Mempool::new(
                limits.max_mempool_txs,
                limits.max_mempool_bytes,
            )),
            work: Arc::new(Notify::new()),
            committed: broadcast::Sender::new(COMMITTED_BACKLOG),
            consensus: Mutex::new(None),
            collectors: Mutex::default(),
            judge: judge::Judge::default(),
            votes: Mutex::default(),
            computed: Mutex::default(),
            seen: Mutex::default(),
            accusations: Mutex::default(),
            early: Mutex::default(),
            metrics: metrics::Metrics::new(),
            flags: metrics::Flags::default(),
            tasks: TaskTracker::new(),
            parts,
        }))
    }

    /// The genesis document.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.0.parts.genesis
    }

    /// Its hash.
    #[must_use]
    pub fn genesis_hash(&self) -> GenesisHash {
        self.0.genesis_hash
    }

    /// The network's name.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.0.parts.genesis.chain_id
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.parts.name
    }

    /// The node's role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.parts.role
    }

    /// Our seat, if we have one.
    #[must_use]
    pub fn validator(&self) -> Option<ValidatorId> {
        self.0.validator
    }

    /// The chain's store.
    #[must_use]
    pub fn store(&self) -> &RocksStore {
        self.0.parts.ledger.store()
    }

    /// The newest committed state.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.0.parts.ledger.state()
    }

    /// Payloads and models.
    #[must_use]
    pub fn blobs(&self) -> &BlobStore {
        &self.0.parts.blobs
    }

    /// The data plane.
    #[must_use]
    pub fn plane(&self) -> &Handle {
        &self.0.parts.plane
    }

    /// Blocks as they are committed. A subscriber that is too slow loses some and is told so.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.0.committed.subscribe()
    }

    pub(crate) fn secret_key(&self) -> &SecretKey {
        &self.0.parts.key
    }

    pub(crate) fn judge(&self) -> &judge::Judge {
        &self.0.judge
    }

    /// The node's public key: its network identity.
    #[must_use]
    pub fn public_key(&self) -> cifer_chain::PublicKey {
        self.secret_key().public_key()
    }

    /// Where an update belongs, if this node has seen it.
    #[must_use]
    pub fn update_standing(&self, id: Hash32) -> Option<UpdateStanding> {
        lock(&self.0.seen).get(&id).copied()
    }

    /// Whether an update of this contributor is on its way into a block: signed and seen here, whether or not all of its payload has come.
    #[must_use]
    pub fn is_pending(&self, task: TaskId, round: RoundId, contributor: ContributorId) -> bool {
        self.judge().has(task, round, contributor)
    }

    /// Models of a task that are kept.
    #[must_use]
    pub fn keep_models(&self) -> u64 {
        self.0.parts.retention.keep_models
    }

    /// Called when something may have changed that consensus waits for.
    pub(crate) fn nudge(&self) {
        self.0.work.notify_one();
    }

    pub(crate) fn retention(&self) -> Retention {
        self.0.parts.retention
    }

    pub(crate) fn work(&self) -> Arc<Notify> {
        Arc::clone(&self.0.work)
    }

    pub(crate) fn metrics(&self) -> &metrics::Metrics {
        &self.0.metrics
    }

    pub(crate) fn flags(&self) -> &metrics::Flags {
        &self.0.flags
    }

    pub(crate) fn watch_consensus(&self, status: watch::Receiver<cifer_consensus::Status>) {
        *lock(&self.0.consensus) = Some(status);
    }

    /// Who proposes now, or next, as far as the engine has said.
    pub(crate) fn next_proposer(&self) -> Option<ValidatorId> {
        let consensus = lock(&self.0.consensus);
        consensus.as_ref()?.borrow().proposer
    }

    /// Starts a task that ends with the node.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.parts.stop.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Starts blocking work that the node waits for when it stops.
    pub(crate) fn spawn_blocking(&self, work: impl FnOnce() + Send + 'static) {
        self.0.tasks.spawn_blocking(work);
    }

    /// Waits for the tasks, after `stop` was cancelled.
    pub(crate) async fn drain(&self, patience: Duration) {
        self.0.tasks.close();
        let _ = tokio::time::timeout(patience, self.0.tasks.wait()).await;
    }

    /// Peers with a seat that are connected.
    pub(crate) fn connected_validators(&self) -> Vec<(ValidatorId, PeerId)> {
        let state = self.state();
        let own = self.secret_key().public_key();
        self.plane()
            .connected_peers()
            .into_iter()
            .filter_map(|peer| {
                let key = cifer_chain::PublicKey::from_bytes(peer.public_key).ok()?;
                let id = ValidatorId(key);
                (key != own && state.validators.power_of(&id).is_some()).then_some((id, peer.peer))
            })
            .collect()
    }

    /// Peers that may hold a blob: validators first.
    pub(crate) fn holders(&self) -> Vec<PeerId> {
        let mut holders: Vec<PeerId> = self
            .connected_validators()
            .into_iter()
            .map(|(_, peer)| peer)
            .collect();
        for peer in self.plane().connected_peers() {
            if !holders.contains(&peer.peer) {
                holders.push(peer.peer);
            }
        }
        holders
    }

    /// Length of a model that the state refers to.
    pub(crate) fn model_bytes_of(&self, model: ModelRoot) -> Option<u64> {
        let state = self.state();
        let task = state.tasks.values().find(|task| task.model == model)?;
        Some(task.task.payload_bytes())
    }

    /// Where the mean of a private round's group is written, for as long as the rule reads it.
    pub(crate) fn group_path(&self, task: TaskId, round: RoundId, group: GroupIndex) -> PathBuf {
        let name = format!("group-{task}-{round}-{group}.tmp");
        self.0.parts.scratch.join(name)
    }

    pub(crate) fn set_computed(&self, model: BlobHash) {
        *lock(&self.0.computed) = Some(model);
    }

    /// Whether a blob belongs to something that is not on the ledger yet.
    pub(crate) fn is_in_flight(&self, hash: BlobHash) -> bool {
        *lock(&self.0.computed) == Some(hash) || self.judge().payloads().contains(&hash)
    }

    pub(crate) fn mempool_has_certificate(&self, task: TaskId, round: RoundId) -> bool {
        lock(&self.0.mempool).iter().any(|(_, pending)| {
            matches!(&pending.tx, Transaction::Aggregate(certificate)
                if certificate.statement.task == task && certificate.statement.round == round)
        })
    }

    /// Waits until the task is in this round or past it, at most `patience`.
    pub(crate) async fn reach_round(&self, task: TaskId, round: RoundId, patience: Duration) {
        let reached = || {
            self.state().tasks.get(&task).is_none_or(|task| {
                task.round > round || task.round == round && !task.gathers_keys()
            })
        };
        let mut committed = self.subscribe();
        let _ = tokio::time::timeout(patience, async {
            while !reached() {
                if matches!(
                    committed.recv().await,
                    Err(broadcast::error::RecvError::Closed)
                ) {
                    return;
                }
            }
        })
        .await;
    }

    /// Remembers where an update belongs.
    pub(crate) fn note_seen(&self, signed: &cifer_chain::SignedUpdate) {
        let cifer_chain::Update {
            task,
            round,
            contributor,
            ..
        } = signed.update;
        let standing = UpdateStanding {
            task,
            round,
            contributor,
        };
        lock(&self.0.seen).insert(signed.id(self.chain_id()), standing);
    }

    /// Called by the ledger's owner after a block became durable.
    pub(crate) fn announce(&self, block: &Block, events: Vec<Event>) {
        let hashes: Vec<TxHash> = block
            .transactions
            .iter()
            .map(|tx| tx.hash(self.chain_id()))
            .collect();
        let state = self.state();
        {
            let mut pool = lock(&self.0.mempool);
            pool.committed(&hashes);
            // Signatures of waiting transactions were verified when they came in.
            pool.retain(|tx| cifer_chain::check_tx_with(&state, tx, &|_| true).is_ok());
            self.0.metrics.mempool_txs.set(pool.len() as i64);
            self.0.metrics.mempool_bytes.set(pool.held_bytes() as i64);
        }
        for tx in &block.transactions {
            match tx {
                Transaction::Update(certified) => self.note_seen(&certified.signed),
                Transaction::Rejection(certified) => self.note_seen(&certified.signed),
                _ => {}
            }
        }
        self.0.metrics.height.set(block.header.height.0 as i64);
        self.0.metrics.blocks.inc();
        self.0.metrics.transactions.inc_by(hashes.len() as u64);
        let committed = Committed {
            header: block.header.clone(),
            hash: block.hash(),
            tx_count: hashes.len(),
            events,
            changes: OnceLock::new(),
        };
        // Nobody listening is fine.
        let _ = self.0.committed.send(Arc::new(committed));
    }
}
