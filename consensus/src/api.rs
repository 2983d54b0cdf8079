//! What the node provides to consensus and what it sees of it.

use std::{fmt, path::PathBuf};

use cifer_chain::{
    block::Block, evidence::Evidence, validators::ValidatorSet, vote::CommitCertificate,
};
use cifer_genesis::{
    BlockHash, GenesisHash, Height, PublicKey, SecretKey, ValidatorId, document::ConsensusParams,
};

/// Largest encoded block this crate carries. It fits the engine's 4 MiB pub-sub message and, with its
/// certificate, its 10 MiB sync response; a larger block could be decided but never synced.
pub const MAX_BLOCK_BYTES: u64 = 2 << 20;

/// The ledger as consensus sees it.
///
/// All methods are called from one task, one after the other, on an async thread: they may write to
/// a local disk, and must not wait for a network or compute for long, because votes wait meanwhile.
pub trait Application: Send + 'static {
    /// Height of the last committed block; 0 at genesis.
    fn tip(&self) -> Height;

    /// Lowest height that [`Application::decided`] still has; 1 when nothing was pruned.
    fn history_min_height(&self) -> Height;

    /// Validators that vote on `height`; known for every height up to `tip + 1`.
    fn validators(&self, height: Height) -> Option<ValidatorSet>;

    /// Whether a block is worth making now.
    fn has_work(&self) -> bool;

    /// Builds the block to propose at `height == tip + 1`, an empty one when nothing else succeeds.
    ///
    /// # Errors
    /// [`Fatal`] halts the node.
    fn build(&mut self, height: Height) -> Result<Block, Fatal>;

    /// Judges a block for `tip + 1`. Size, encoding, chain id, height and transaction root have been
    /// checked. For [`Origin::Synced`] the verdict must be a pure function of block and state: the
    /// block carries a quorum's certificate, and calling it invalid stops this node.
    fn validate(&mut self, block: &Block, origin: Origin) -> Verdict;

    /// Makes a decided block and its effects durable before returning.
    ///
    /// # Errors
    /// [`Fatal`] halts the node; the block is offered again after a restart.
    fn commit(&mut self, block: Block, certificate: CommitCertificate) -> Result<(), Fatal>;

    /// A committed block with the certificate that proves it final.
    fn decided(&self, height: Height) -> Option<(Block, CommitCertificate)>;

    /// Keeps a proposed block, durably, under `(height, round, block)`; writing the same key again
    /// replaces it. The bytes are opaque, at most `max_block_bytes` and 1 KiB long, at most four a
    /// `(height, round)`. They may be dropped once `height` is committed.
    ///
    /// # Errors
    /// [`Fatal`] halts the node.
    fn store_undecided(
        &mut self,
        height: Height,
        round: u32,
        block: BlockHash,
        bytes: Vec<u8>,
    ) -> Result<(), Fatal>;

    /// Everything stored for that height and round.
    fn undecided(&self, height: Height, round: u32) -> Vec<Vec<u8>>;

    /// Proof of misbehaviour that consensus came across. May repeat itself.
    fn evidence(&mut self, evidence: Vec<Evidence>);
}

impl<T: Application + ?Sized> Application for Box<T> {
    fn tip(&self) -> Height {
        (**self).tip()
    }
    fn history_min_height(&self) -> Height {
        (**self).history_min_height()
    }
    fn validators(&self, height: Height) -> Option<ValidatorSet> {
        (**self).validators(height)
    }
    fn has_work(&self) -> bool {
        (**self).has_work()
    }
    fn build(&mut self, height: Height) -> Result<Block, Fatal> {
        (**self).build(height)
    }
    fn validate(&mut self, block: &Block, origin: Origin) -> Verdict {
        (**self).validate(block, origin)
    }
    fn commit(&mut self, block: Block, certificate: CommitCertificate) -> Result<(), Fatal> {
        (**self).commit(block, certificate)
    }
    fn decided(&self, height: Height) -> Option<(Block, CommitCertificate)> {
        (**self).decided(height)
    }
    fn store_undecided(
        &mut self,
        height: Height,
        round: u32,
        block: BlockHash,
        bytes: Vec<u8>,
    ) -> Result<(), Fatal> {
        (**self).store_undecided(height, round, block, bytes)
    }
    fn undecided(&self, height: Height, round: u32) -> Vec<Vec<u8>> {
        (**self).undecided(height, round)
    }
    fn evidence(&mut self, evidence: Vec<Evidence>) {
        (**self).evidence(evidence);
    }
}

/// How a block came to be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Proposed now; the clock may be consulted.
    Live,
    /// Certified by a quorum in the past.
    Synced,
}

/// Judgement of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// May be voted for.
    Valid,
    /// Must not be voted for, with the reason.
    Invalid(String),
}

/// A failure of our own that consensus must not survive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fatal(String);

impl Fatal {
    /// Wraps what went wrong.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// What an engine needs to start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name for peers and the label of this engine's metrics.
    pub moniker: String,
    /// Name of the network, in every signature.
    pub chain_id: String,
    /// Hash of the genesis document, in every protocol and topic name: nodes of different genesis
    /// documents have no protocol in common.
    pub genesis_hash: GenesisHash,
    /// Consensus key; also the network identity, so that a peer id names its validator.
    pub key: SecretKey,
    /// Folder of the write-ahead log and the last-signed record.
    pub home: PathBuf,
    /// Multiaddress to listen on: `/ip4/…/tcp/…` or `/ip4/…/udp/…/quic-v1`.
    pub listen: String,
    /// The validators' addresses, without `/p2p`. The own entry is skipped.
    pub peers: Vec<(PublicKey, String)>,
    /// Pace and timeouts.
    pub params: ConsensusParams,
    /// Largest encoded block, at most [`MAX_BLOCK_BYTES`].
    pub max_block_bytes: u64,
    /// Whether to vote and propose when the key has a seat.
    pub is_validator: bool,
    /// Whether peers that are not in `peers` may connect.
    pub allow_observers: bool,
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its libp2p peer id.
    pub id: String,
    /// Its seat, if it has one.
    pub validator: Option<ValidatorId>,
    /// Where it is connected from or to.
    pub address: String,
}

/// What the engine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a quorum of peers after the start.
    Starting,
    /// Nothing to decide.
    Idle,
    /// Deciding a block.
    Running,
    /// Stopped by a failure.
    Halted,
}

/// State of an engine, for people and health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Last committed height.
    pub tip: Height,
    /// Height that is decided now or next.
    pub height: Height,
    /// Consensus round, while running.
    pub round: Option<u32>,
    /// Proposer of that round; while idle, of the next height's first round.
    pub proposer: Option<ValidatorId>,
    /// What the engine is doing.
    pub phase: Phase,
    /// Who is connected.
    pub peers: Vec<Peer>,
    /// Signatures withheld because of the last-signed record. More than 0 means that a crash lost
    /// the write-ahead log, or that another node runs with this key.
    pub signatures_refused: u64,
    /// The last failure worth reporting.
    pub last_error: Option<String>,
    /// The write-ahead log failed. The engine has stopped for good and the process is kept alive on
    /// purpose: restarting without looking may sign twice.
    pub safety_failure: bool,
}
