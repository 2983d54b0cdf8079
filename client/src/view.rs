//! Answers of gateways as plain data: for people, for JSON (hashes in hex), for programs.
//!
//! `verified` says whether the answer was checked against genesis and signatures; the rest is the
//! gateway's word. Field meanings are those of the `.proto` files.

use cifer_chain::{
    BlockHash, ContributorId, GenesisHash, Hash32, Height, ModelRoot, RoundId, StateRoot, TaskId,
    TimestampMs, TxHash, ValidatorId, VotingPower,
};
use cifer_proto::v1;
use serde::{Serialize, Serializer};

use crate::{
    error::{Fault, cut},
    verify::{
        contributor, hash32, model_root, optional_hash, optional_tx, public_key, reject_reason,
        reject_reason_name, validator,
    },
};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct StatusView {
    pub gateway: String,
    pub node_name: String,
    /// `validator`, `observer` or `contributor`.
    pub role: &'static str,
    pub node_key: Hash32,
    pub version: String,
    pub chain_id: String,
    pub genesis_hash: GenesisHash,
    pub height: Height,
    pub block_hash: BlockHash,
    pub block_time_ms: TimestampMs,
    pub state_root: StateRoot,
    pub earliest_height: Height,
    pub syncing: bool,
    pub healthy: bool,
    pub problems: Vec<String>,
    pub safety_failure: bool,
    pub peers: u32,
    pub mempool_txs: u64,
    pub mempool_bytes: u64,
    pub rss_bytes: u64,
    pub uptime_ms: u64,
}

/// A block with what it carries, in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct BlockView {
    pub gateway: String,
    /// Header, transactions and commit certificate were checked.
    pub verified: bool,
    pub hash: BlockHash,
    pub chain_id: String,
    pub height: Height,
    pub time_ms: TimestampMs,
    pub parent: BlockHash,
    pub proposer: ValidatorId,
    pub tx_root: Hash32,
    pub validators_hash: Hash32,
    pub state_root: StateRoot,
    pub consensus_round: u32,
    /// Who signed the commit certificate.
    pub signers: Vec<ValidatorId>,
    pub transactions: Vec<TxSummaryView>,
    /// The decoded block.
    #[serde(skip)]
    pub block: cifer_chain::Block,
}

/// A transaction in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TxSummaryView {
    pub hash: TxHash,
    /// `register`, `update`, `rejection`, `aggregate` or `evidence`.
    pub kind: &'static str,
    pub size_bytes: u64,
    pub task: Option<TaskId>,
    pub round: Option<RoundId>,
    /// Contributor or validator it is about.
    pub subject: Option<String>,
}

/// A committed transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TxView {
    pub gateway: String,
    /// It is in this block, and the block is final.
    pub verified: bool,
    pub height: Height,
    pub index: u32,
    #[serde(flatten)]
    pub summary: TxSummaryView,
    /// The whole transaction for people.
    pub content: String,
    /// The decoded transaction.
    #[serde(skip)]
    pub transaction: cifer_chain::Transaction,
}

/// Where a round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseView {
    /// Not said.
    Unknown,
    /// Updates are taken.
    Open,
    /// Validators aggregate.
    Closed,
    /// Ended with a certified model.
    Finalised,
    /// Ended with the model it started from.
    Aborted,
}

/// A round in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RoundSummaryView {
    pub task: TaskId,
    pub round: RoundId,
    pub phase: PhaseView,
    pub base_root: ModelRoot,
    pub model_root: Option<ModelRoot>,
    pub accepted: u64,
    pub rejected: u64,
    pub opened_height: Height,
    pub opened_time_ms: TimestampMs,
    pub deadline_ms: TimestampMs,
    pub extensions: u32,
    pub closed_height: Option<Height>,
    pub closed_time_ms: Option<TimestampMs>,
    pub ended_height: Option<Height>,
    pub ended_time_ms: Option<TimestampMs>,
}

/// A round with its updates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RoundView {
    pub gateway: String,
    /// The result was checked: the certificate stands and names this round and model.
    pub verified: bool,
    #[serde(flatten)]
    pub summary: RoundSummaryView,
    pub updates: Vec<UpdateView>,
    pub rejections: Vec<RejectionView>,
    pub update_set_root: Option<Hash32>,
    pub rule_hash: Option<Hash32>,
    /// Who signed the aggregate certificate.
    pub signers: Vec<ValidatorId>,
}

/// An update that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct UpdateView {
    pub update_id: Hash32,
    pub contributor: ContributorId,
    pub payload_hash: Hash32,
    pub payload_bytes: u64,
    pub samples: u64,
    pub loss_ppm: u64,
    pub accuracy_ppm: u32,
    pub height: Height,
    pub tx: TxHash,
}

/// An update that was rejected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RejectionView {
    pub update_id: Hash32,
    pub contributor: ContributorId,
    pub reason: &'static str,
    pub height: Height,
    pub tx: TxHash,
}

/// The validator set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ValidatorsView {
    pub gateway: String,
    /// Keys and powers are those of genesis.
    pub verified: bool,
    pub height: Height,
    pub total_power: VotingPower,
    pub validators_hash: Hash32,
    pub validators: Vec<ValidatorView>,
}

/// A validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ValidatorView {
    pub id: ValidatorId,
    pub name: String,
    pub power: VotingPower,
    pub consensus_address: String,
    pub data_addresses: Vec<String>,
    pub faults: u64,
    pub connected: bool,
}

/// A contributor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ContributorView {
    pub gateway: String,
    pub contributor: ContributorId,
    pub name: String,
    pub registered_height: Height,
    pub accepted: u64,
    pub rejected: u64,
    pub faults: u64,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TaskView {
    pub task: TaskId,
    pub name: String,
    pub rule: RuleView,
    pub current_round: RoundId,
    pub phase: PhaseView,
    pub model_root: ModelRoot,
    pub model_bytes: u64,
    pub finished: bool,
}

/// An aggregation rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RuleView {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub m: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_cap: Option<u64>,
    /// Pre-aggregators, rule and parameters in one line; empty from nodes that do not say it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl std::fmt::Display for RuleView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self.text.is_empty() {
            true => &self.name,
            false => &self.text,
        })
    }
}

/// What a model is made of and how it is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ManifestView {
    pub gateway: String,
    #[serde(flatten)]
    pub task: TaskView,
    pub tensors: Vec<TensorView>,
    pub min_updates: u64,
    pub max_updates: u64,
    pub deadline_ms: u64,
    pub max_extensions: u32,
    pub max_rounds: u64,
    pub server_lr_ppm: u64,
    pub max_abs_update: u64,
    pub initial_root: ModelRoot,
}

/// A tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct TensorView {
    pub name: String,
    pub shape: Vec<u64>,
    pub dtype: String,
}

/// A state entry, or its absence, with its proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ProofView {
    pub gateway: String,
    /// Proof and commit certificate were checked.
    pub verified: bool,
    pub height: Height,
    pub block_hash: BlockHash,
    pub state_root: StateRoot,
    /// The ledger's key.
    #[serde(serialize_with = "as_hex")]
    pub key: Vec<u8>,
    /// The value's canonical bytes; absent when the proof shows that there is none.
    #[serde(serialize_with = "as_optional_hex")]
    pub value: Option<Vec<u8>>,
    #[serde(serialize_with = "as_hex")]
    pub proof: Vec<u8>,
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

fn as_optional_hex<S: Serializer>(
    bytes: &Option<Vec<u8>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    bytes.as_deref().map(hex).serialize(serializer)
}

impl From<v1::RoundPhase> for PhaseView {
    fn from(phase: v1::RoundPhase) -> Self {
        match phase {
            v1::RoundPhase::Unspecified => Self::Unknown,
            v1::RoundPhase::Open => Self::Open,
            v1::RoundPhase::Closed => Self::Closed,
            v1::RoundPhase::Finalised => Self::Finalised,
            v1::RoundPhase::Aborted => Self::Aborted,
        }
    }
}

pub(crate) fn status(gateway: &str, answer: v1::GetStatusResponse) -> Result<StatusView, Fault> {
    let role = match answer.role() {
        v1::NodeRole::Validator => "validator",
        v1::NodeRole::Observer => "observer",
        v1::NodeRole::Contributor => "contributor",
        v1::NodeRole::Unspecified => "unknown",
    };
    Ok(StatusView {
        gateway: gateway.to_owned(),
        role,
        node_name: cut(&answer.node_name),
        node_key: hash32("node key", &answer.node_key)?,
        version: cut(&answer.version),
        chain_id: cut(&answer.chain_id),
        genesis_hash: GenesisHash(hash32("genesis hash", &answer.genesis_hash)?),
        height: Height(answer.height),
        block_hash: BlockHash(hash32("block hash", &answer.block_hash)?),
        block_time_ms: TimestampMs(answer.block_time_ms),
        state_root: StateRoot(hash32("state root", &answer.state_root)?),
        earliest_height: Height(answer.earliest_height),
        syncing: answer.syncing,
        healthy: answer.healthy,
        problems: answer
            .problems
            .iter()
            .take(32)
            .map(|problem| cut(problem))
            .collect(),
        safety_failure: answer.safety_failure,
        peers: answer.peers,
        mempool_txs: answer.mempool_txs,
        mempool_bytes: answer.mempool_bytes,
        rss_bytes: answer.rss_bytes,
        uptime_ms: answer.uptime_ms,
    })
}

/// Made from the decoded transaction, not from what the gateway says about it.
pub(crate) fn tx_summary(chain_id: &str, transaction: &cifer_chain::Transaction) -> TxSummaryView {
    use cifer_chain::{Culprit, Transaction as T};
    let (kind, at, subject) = match transaction {
        T::Register(registration) => ("register", None, Some(registration.contributor.to_string())),
        T::Update(certified) => {
            let update = &certified.signed.update;
            let at = Some((update.task, update.round));
            ("update", at, Some(update.contributor.to_string()))
        }
        T::Rejection(rejection) => {
            let update = &rejection.signed.update;
            let at = Some((update.task, update.round));
            ("rejection", at, Some(update.contributor.to_string()))
        }
        T::Aggregate(certificate) => (
            "aggregate",
            Some((certificate.statement.task, certificate.statement.round)),
            None,
        ),
        T::Evidence(evidence) => {
            let culprit = match evidence.culprit() {
                Culprit::Validator(id) => id.to_string(),
                Culprit::Contributor(id) => id.to_string(),
            };
            ("evidence", None, Some(culprit))
        }
        T::ShareKey(key) => (
            "share-key",
            Some((key.task, key.round)),
            Some(key.validator.to_string()),
        ),
        T::KeyShareSum(sum) => (
            "key-share-sum",
            Some((sum.task, sum.round)),
            Some(sum.validator.to_string()),
        ),
        T::ShareFraud(fraud) => (
            "share-fraud",
            Some((fraud.task, fraud.round)),
            Some(fraud.contributor.to_string()),
        ),
    };
    TxSummaryView {
        hash: transaction.hash(chain_id),
        kind,
        size_bytes: borsh::object_length(transaction).map_or(0, |length| length as u64),
        task: at.map(|(task, _)| task),
        round: at.map(|(_, round)| round),
        subject,
    }
}

pub(crate) fn round_summary(round: &v1::RoundSummary) -> Result<RoundSummaryView, Fault> {
    Ok(RoundSummaryView {
        task: TaskId(round.task),
        round: RoundId(round.round),
        phase: PhaseView::from(round.phase()),
        base_root: model_root("base root", &round.base_root)?,
        model_root: optional_hash("model root", &round.model_root)?.map(ModelRoot),
        accepted: round.accepted,
        rejected: round.rejected,
        opened_height: Height(round.opened_height),
        opened_time_ms: TimestampMs(round.opened_time_ms),
        deadline_ms: TimestampMs(round.deadline_ms),
        extensions: round.extensions,
        closed_height: round.closed_height.map(Height),
        closed_time_ms: round.closed_time_ms.map(TimestampMs),
        ended_height: round.ended_height.map(Height),
        ended_time_ms: round.ended_time_ms.map(TimestampMs),
    })
}

pub(crate) fn update(update: &v1::AcceptedUpdate) -> Result<UpdateView, Fault> {
    let missing = || Fault::malformed("commitment", "is missing");
    let commitment = update.commitment.as_ref().ok_or_else(missing)?;
    let metrics = commitment.metrics.unwrap_or_default();
    Ok(UpdateView {
        update_id: hash32("update id", &update.update_id)?,
        contributor: contributor("contributor", &commitment.contributor)?,
        payload_hash: hash32("payload hash", &commitment.payload_hash)?,
        payload_bytes: commitment.payload_bytes,
        samples: commitment.samples,
        loss_ppm: metrics.loss_ppm,
        accuracy_ppm: metrics.accuracy_ppm,
        height: Height(update.height),
        tx: TxHash(hash32("transaction hash", &update.tx_hash)?),
    })
}

pub(crate) fn rejection(update: &v1::RejectedUpdate) -> Result<RejectionView, Fault> {
    Ok(RejectionView {
        update_id: hash32("update id", &update.update_id)?,
        contributor: contributor("contributor", &update.contributor)?,
        reason: reject_reason_name(reject_reason(update.reason())?),
        height: Height(update.height),
        tx: optional_tx("transaction hash", &update.tx_hash)?.unwrap_or_default(),
    })
}

pub(crate) fn validator_view(item: &v1::Validator) -> Result<ValidatorView, Fault> {
    Ok(ValidatorView {
        id: validator("validator id", &item.id)?,
        name: cut(&item.name),
        power: VotingPower(item.power),
        consensus_address: cut(&item.consensus_address),
        data_addresses: item
            .data_addresses
            .iter()
            .take(16)
            .map(|a| cut(a))
            .collect(),
        faults: item.faults,
        connected: item.connected,
    })
}

pub(crate) fn contributor_view(
    gateway: &str,
    answer: &v1::GetContributorResponse,
) -> Result<ContributorView, Fault> {
    Ok(ContributorView {
        gateway: gateway.to_owned(),
        contributor: ContributorId(public_key("contributor", &answer.contributor)?),
        name: cut(&answer.name),
        registered_height: Height(answer.registered_height),
        accepted: answer.accepted,
        rejected: answer.rejected,
        faults: answer.faults,
    })
}

pub(crate) fn task(task: &v1::TaskSummary) -> Result<TaskView, Fault> {
    let rule = task.rule.clone().unwrap_or_default();
    Ok(TaskView {
        task: TaskId(task.task),
        name: cut(&task.name),
        rule: RuleView {
            name: cut(&rule.name),
            f: rule.f,
            m: rule.m,
            weight_cap: rule.weight_cap,
            text: cut(&rule.text),
        },
        current_round: RoundId(task.current_round),
        phase: PhaseView::from(task.phase()),
        model_root: model_root("model root", &task.model_root)?,
        model_bytes: task.model_bytes,
        finished: task.finished,
    })
}

pub(crate) fn manifest(
    gateway: &str,
    answer: &v1::GetModelManifestResponse,
) -> Result<ManifestView, Fault> {
    let missing = |what| Fault::malformed(what, "is missing");
    let policy = answer.policy.ok_or_else(|| missing("round policy"))?;
    let tensor = |tensor: &v1::Tensor| TensorView {
        name: cut(&tensor.name),
        shape: tensor.shape.clone(),
        dtype: cut(&tensor.dtype),
    };
    Ok(ManifestView {
        gateway: gateway.to_owned(),
        task: task(answer.task.as_ref().ok_or_else(|| missing("task"))?)?,
        tensors: answer.tensors.iter().map(tensor).collect(),
        min_updates: policy.min_updates,
        max_updates: policy.max_updates,
        deadline_ms: policy.deadline_ms,
        max_extensions: policy.max_extensions,
        max_rounds: policy.max_rounds,
        server_lr_ppm: answer.server_lr_ppm,
        max_abs_update: answer.max_abs_update,
        initial_root: model_root("initial root", &answer.initial_root)?,
    })
}
