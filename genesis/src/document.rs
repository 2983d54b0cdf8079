//! The genesis document itself. Numbers that the ledger computes with are integers (parts per
//! million where a person would write a fraction), so that no float is ever hashed.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    crypto::PublicKey,
    noise::Noise,
    primitives::{ModelRoot, TaskId, TimestampMs, VotingPower},
    privacy::Privacy,
};

/// Everything the nodes of one network agree on before the first block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Version of this document's format; 1.
    pub version: u32,
    /// Name of the network, in every signature: 1 to 48 of `a-z 0-9 -`.
    pub chain_id: String,
    /// Block time of genesis.
    pub time_ms: TimestampMs,
    /// Pace of the chain.
    #[serde(default)]
    pub consensus: ConsensusParams,
    /// Bounds that every node enforces alike.
    #[serde(default)]
    pub limits: Limits,
    /// Who may take part without a seat: `false` refuses peers that are not validators.
    #[serde(default = "yes")]
    pub allow_observers: bool,
    /// Who may send updates.
    pub contributors: Contributors,
    /// Byzantine validators that the network must withstand. When given, validation holds the
    /// validator set to it: `n >= 3f + 1`, and the `f` most powerful below a third of the power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byzantine_validators: Option<u64>,
    /// The validators, at least one.
    pub validators: Vec<Validator>,
    /// The tasks, at least one.
    pub tasks: Vec<Task>,
}

const fn yes() -> bool {
    true
}

/// Pace of the chain, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsensusParams {
    /// Shortest time between two blocks; 0 makes a block whenever there is work.
    pub min_block_interval_ms: u64,
    /// Longest time without a block: an empty one is made after it.
    pub idle_heartbeat_ms: u64,
    /// How far a live proposal's time may be ahead of a validator's clock.
    pub max_clock_drift_ms: u64,
    /// First timeouts of a consensus round; each grows by half of itself a round.
    pub timeout_propose_ms: u64,
    /// See `timeout_propose_ms`.
    pub timeout_prevote_ms: u64,
    /// See `timeout_propose_ms`.
    pub timeout_precommit_ms: u64,
}

impl Default for ConsensusParams {
    fn default() -> Self {
        Self {
            min_block_interval_ms: 0,
            idle_heartbeat_ms: 5_000,
            max_clock_drift_ms: 10_000,
            timeout_propose_ms: 2_000,
            timeout_prevote_ms: 1_000,
            timeout_precommit_ms: 1_000,
        }
    }
}

/// Bounds that every node enforces alike.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest update payload.
    pub max_payload_bytes: u64,
    /// Largest encoded block; at most 1 MiB, well under the engine's 4 MiB message.
    pub max_block_bytes: u64,
    /// Largest encoded transaction.
    pub max_tx_bytes: u64,
    /// Transactions a node holds before they are in a block.
    pub max_mempool_txs: u64,
    /// Bytes of those transactions.
    pub max_mempool_bytes: u64,
    /// Registered contributors, when registration is open.
    pub max_contributors: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload_bytes: 1 << 30,
            max_block_bytes: 1 << 20,
            max_tx_bytes: 64 << 10,
            max_mempool_txs: 10_000,
            max_mempool_bytes: 32 << 20,
            max_contributors: 10_000,
        }
    }
}

/// Who may send updates.
#[derive(
    Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Contributors {
    /// Whether anybody may register by a transaction.
    #[serde(default)]
    pub open_registration: bool,
    /// Registered from the start.
    #[serde(default)]
    pub allowed: Vec<NamedKey>,
}

/// A key with a name for people.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedKey {
    /// For people; 1 to 48 of `a-z A-Z 0-9 . _ -`, the first a letter or a digit.
    pub name: String,
    /// The ed25519 key.
    pub public_key: PublicKey,
}

/// A seat in the validator set.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// For people; 1 to 48 of `a-z A-Z 0-9 . _ -`, the first a letter or a digit.
    pub name: String,
    /// Consensus key, also the network identity.
    pub public_key: PublicKey,
    /// Voting power, at least 1.
    pub power: VotingPower,
    /// Where the consensus engine listens: a libp2p multiaddress (`/ip4/…/tcp/…` or `/dns4/…`).
    pub consensus_address: String,
    /// Where the data plane listens: libp2p multiaddresses, first the preferred one.
    pub data_addresses: Vec<String>,
}

/// A model, a rule and a round policy. Its canonical bytes are written in [`crate::privacy`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Key of everything the task owns.
    pub id: TaskId,
    /// For people; 1 to 48 of `a-z A-Z 0-9 . _ -`, the first a letter or a digit.
    pub name: String,
    /// Root of the model that round 0 starts from.
    pub initial_model: ModelRoot,
    /// How updates become one.
    pub rule: RuleSpec,
    /// Whether nobody sees a single update, and on which terms; absent is in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privacy: Option<Privacy>,
    /// Noise that contributors of a private task add to their updates; absent is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// Server step: `model + server_lr * aggregate`, in parts per million; 1,000,000 is 1.0.
    #[serde(default = "one_million")]
    pub server_lr_ppm: u64,
    /// Refused at validation when `|x|` of any coordinate exceeds this.
    #[serde(default = "default_max_abs")]
    pub max_abs_update: u64,
    /// When rounds close.
    pub rounds: RoundPolicy,
    /// Shapes of the model, in payload order.
    pub tensors: Vec<Tensor>,
}

pub(crate) const fn one_million() -> u64 {
    1_000_000
}

pub(crate) const fn default_max_abs() -> u64 {
    1_000_000
}

/// An aggregation rule and its parameters, maybe with pre-aggregators before it. The numeric meaning is
/// in the aggregation crate; fractions are in parts per million. New variants go to the end, so that
/// what is encoded keeps its bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(try_from = "crate::rule::RuleFields", into = "crate::rule::RuleFields")]
pub enum RuleSpec {
    /// Weighted mean; weights are reported samples, at most `weight_cap` each.
    Fedavg {
        /// Largest weight of one contributor.
        weight_cap: u64,
    },
    /// Coordinate-wise median.
    Median,
    /// Coordinate-wise mean without the `f` smallest and `f` largest.
    TrimmedMean {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// The update closest to its neighbours.
    Krum {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Mean of the `m` updates with the best Krum scores.
    MultiKrum {
        /// Byzantine contributors tolerated.
        f: u64,
        /// Updates averaged.
        m: u64,
    },
    /// Coordinate-wise mean of the values closest to the median.
    Meamed {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Repeated Krum, then the mean around the median.
    Bulyan {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Smoothed geometric median.
    GeometricMedian {
        /// Distance below which an update's weight grows no more.
        nu_ppm: u64,
        /// Steps, each a pass over all updates.
        steps: u64,
    },
    /// Centered clipping from zero.
    CenteredClipping {
        /// Longest pull of one update in one step.
        radius_ppm: u64,
        /// Steps, each a pass over all updates.
        steps: u64,
    },
    /// Mean of the tightest set of updates.
    Mda {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Covariance-bound agnostic filter.
    Caf {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Mean of the set with the smallest largest eigenvalue.
    Smea {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Mean of the updates clipped to a norm.
    NormClippedMean {
        /// Largest norm.
        radius_ppm: u64,
    },
    /// Majority of the signs of every coordinate.
    SignMajority,
    /// Pre-aggregators and the rule behind them; see [`RuleSpec::pipeline`].
    Pipeline(PipelineSpec),
}

/// Pre-aggregators, at least one, and a rule that is no pipeline itself.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct PipelineSpec {
    pub(crate) pre: Vec<PreSpec>,
    pub(crate) rule: Box<RuleSpec>,
}

/// What is done with the updates before the rule sees them.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(try_from = "crate::rule::PreFields", into = "crate::rule::PreFields")]
pub enum PreSpec {
    /// Static clipping.
    Clip {
        /// Largest norm.
        radius_ppm: u64,
    },
    /// Adaptive robust clipping.
    Arc {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Nearest-neighbour mixing.
    Nnm {
        /// Byzantine contributors tolerated.
        f: u64,
    },
    /// Means of random buckets; the ledger draws them.
    Bucketing {
        /// Updates in a bucket.
        s: u64,
    },
}

/// When a round closes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundPolicy {
    /// Fewest updates that may be aggregated.
    pub min_updates: u64,
    /// The round closes at once when accepted and certified-rejected updates together reach this.
    pub max_updates: u64,
    /// Block time after which the round closes with at least `min_updates`.
    pub deadline_ms: u64,
    /// How many more deadlines are granted before a round without quorum aborts to the same model.
    #[serde(default = "default_extensions")]
    pub max_extensions: u32,
    /// Rounds to run; 0 is for ever.
    #[serde(default)]
    pub max_rounds: u64,
}

const fn default_extensions() -> u32 {
    2
}

/// One tensor of the manifest.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensor {
    /// Name, unique in the task; 1 to 128 bytes.
    pub name: String,
    /// Dimensions; empty is a scalar.
    pub shape: Vec<u64>,
    /// Element type.
    pub dtype: Dtype,
}

/// Element type of a tensor.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// IEEE-754 single precision, little endian.
    F32,
}
