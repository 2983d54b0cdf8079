//! Chain types as messages. One way only: what comes in is decoded from canonical bytes.

use cifer_chain::{
    AbortReason, AcceptedUpdate, AggregateCertificate, CommitCertificate, Header, Outcome,
    PayloadEncoding, Phase, RejectReason, RejectedUpdate, RoundId, RoundRecord, Signature, TaskId,
    TaskState, Transaction, TxHash, Update, ValidatorId,
};
use cifer_genesis::document::{RuleSpec, Task};
use cifer_proto::v1;
use tonic::Status;

use super::status::bad_field;

/// The 32 bytes of a request field.
pub(crate) fn bytes32(field: &str, bytes: &[u8]) -> Result<[u8; 32], Status> {
    bytes
        .try_into()
        .map_err(|_| bad_field(field, format!("{} bytes, expected 32", bytes.len())))
}

/// A public key of a request field.
pub(crate) fn public_key(field: &str, bytes: &[u8]) -> Result<cifer_chain::PublicKey, Status> {
    cifer_chain::PublicKey::from_bytes(bytes32(field, bytes)?)
        .map_err(|error| bad_field(field, error))
}

pub(crate) fn signatures(list: &[(ValidatorId, Signature)]) -> Vec<v1::ValidatorSignature> {
    list.iter()
        .map(|(validator, signature)| v1::ValidatorSignature {
            validator: validator.key().as_bytes().to_vec(),
            signature: signature.0.to_vec(),
        })
        .collect()
}

pub(crate) fn commit_certificate(certificate: &CommitCertificate) -> v1::Certificate {
    v1::Certificate {
        borsh: cifer_chain::decode::encode(certificate),
        signatures: signatures(&certificate.signatures),
    }
}

pub(crate) fn aggregate_certificate(certificate: &AggregateCertificate) -> v1::Certificate {
    v1::Certificate {
        borsh: cifer_chain::decode::encode(certificate),
        signatures: signatures(&certificate.signatures),
    }
}

pub(crate) fn header(header: &Header) -> v1::BlockHeader {
    v1::BlockHeader {
        chain_id: header.chain_id.clone(),
        height: header.height.0,
        time_ms: header.time_ms.0,
        parent: header.parent.as_bytes().to_vec(),
        proposer: header.proposer.key().as_bytes().to_vec(),
        tx_root: header.tx_root.0.to_vec(),
        validators_hash: header.validators.0.to_vec(),
        state_root: header.state_root.as_bytes().to_vec(),
    }
}

pub(crate) fn transaction_summary(tx: &Transaction, hash: TxHash) -> v1::TransactionSummary {
    let mut summary = v1::TransactionSummary {
        hash: hash.as_bytes().to_vec(),
        kind: v1::TransactionKind::Unspecified.into(),
        size_bytes: cifer_chain::decode::encode(tx).len() as u64,
        task: None,
        round: None,
        subject: Vec::new(),
    };
    let mut about = |kind: v1::TransactionKind, site: Option<(TaskId, RoundId)>, subject: &[u8]| {
        summary.kind = kind.into();
        summary.task = site.map(|(task, _)| task.0);
        summary.round = site.map(|(_, round)| round.0);
        summary.subject = subject.to_vec();
    };
    match tx {
        Transaction::Register(registration) => about(
            v1::TransactionKind::Register,
            None,
            registration.contributor.key().as_bytes(),
        ),
        Transaction::Update(certified) => {
            let update = &certified.signed.update;
            about(
                v1::TransactionKind::Update,
                Some((update.task, update.round)),
                update.contributor.key().as_bytes(),
            );
        }
        Transaction::Rejection(certified) => {
            let update = &certified.signed.update;
            about(
                v1::TransactionKind::Rejection,
                Some((update.task, update.round)),
                update.contributor.key().as_bytes(),
            );
        }
        Transaction::Aggregate(certificate) => about(
            v1::TransactionKind::Aggregate,
            Some((certificate.statement.task, certificate.statement.round)),
            &[],
        ),
        Transaction::Evidence(evidence) => {
            let subject = match evidence.culprit() {
                cifer_chain::evidence::Culprit::Validator(id) => *id.key().as_bytes(),
                cifer_chain::evidence::Culprit::Contributor(id) => *id.key().as_bytes(),
            };
            about(v1::TransactionKind::Evidence, None, &subject);
        }
        Transaction::ShareKey(key) => about(
            v1::TransactionKind::ShareKey,
            Some((key.task, key.round)),
            key.validator.key().as_bytes(),
        ),
        Transaction::KeyShareSum(sum) => about(
            v1::TransactionKind::KeyShareSum,
            Some((sum.task, sum.round)),
            sum.validator.key().as_bytes(),
        ),
        Transaction::ShareFraud(fraud) => about(
            v1::TransactionKind::ShareFraud,
            Some((fraud.task, fraud.round)),
            fraud.contributor.key().as_bytes(),
        ),
    }
    summary
}

pub(crate) fn reject_reason(reason: RejectReason) -> v1::RejectReason {
    match reason {
        RejectReason::WrongLength => v1::RejectReason::WrongLength,
        RejectReason::NotFinite => v1::RejectReason::NotFinite,
        RejectReason::OutOfRange => v1::RejectReason::OutOfRange,
        RejectReason::BadDealing => v1::RejectReason::BadDealing,
        RejectReason::BadShare => v1::RejectReason::BadShare,
    }
}

const fn payload_encoding(encoding: PayloadEncoding) -> v1::PayloadEncoding {
    match encoding {
        PayloadEncoding::DeltaF32 => v1::PayloadEncoding::DeltaF32,
        PayloadEncoding::GroupedSum { .. } => v1::PayloadEncoding::GroupedSum,
    }
}

pub(crate) fn commitment(update: &Update) -> v1::UpdateCommitment {
    v1::UpdateCommitment {
        task: update.task.0,
        round: update.round.0,
        base_root: update.base.as_bytes().to_vec(),
        payload_hash: update.payload.as_bytes().to_vec(),
        payload_bytes: update.payload_bytes,
        encoding: payload_encoding(update.encoding).into(),
        samples: update.samples,
        metrics: Some(v1::TrainingMetrics {
            loss_ppm: update.metrics.loss_ppm,
            accuracy_ppm: update.metrics.accuracy_ppm,
        }),
        contributor: update.contributor.key().as_bytes().to_vec(),
    }
}

/// The id of an update needs no signature, so the ledger's record is enough.
pub(crate) fn update_id(chain_id: &str, update: &Update) -> cifer_chain::Hash32 {
    cifer_chain::SignedUpdate {
        update: update.clone(),
        signature: Signature([0; 64]),
    }
    .id(chain_id)
}

pub(crate) fn accepted(chain_id: &str, turn: &AcceptedUpdate) -> v1::AcceptedUpdate {
    v1::AcceptedUpdate {
        update_id: update_id(chain_id, &turn.update).0.to_vec(),
        commitment: Some(commitment(&turn.update)),
        height: turn.height.0,
        tx_hash: turn.tx.as_bytes().to_vec(),
    }
}

pub(crate) fn rejected(chain_id: &str, turn: &RejectedUpdate) -> v1::RejectedUpdate {
    v1::RejectedUpdate {
        update_id: update_id(chain_id, &turn.update).0.to_vec(),
        contributor: turn.update.contributor.key().as_bytes().to_vec(),
        reason: reject_reason(turn.reason).into(),
        height: turn.height.0,
        tx_hash: turn.tx.as_bytes().to_vec(),
    }
}

/// The round that is going on. A complete task has none, so its last record stands for it.
pub(crate) fn current_round(task: &TaskState) -> Option<v1::RoundSummary> {
    let mut summary = v1::RoundSummary {
        task: task.task.id.0,
        round: task.round.0,
        base_root: task.model.as_bytes().to_vec(),
        ..Default::default()
    };
    match &task.phase {
        Phase::Open(open) => {
            summary.phase = v1::RoundPhase::Open.into();
            summary.accepted = open.updates.len() as u64;
            summary.rejected = open.rejected.len() as u64;
            summary.opened_height = open.opened.height.0;
            summary.opened_time_ms = open.opened.time_ms.0;
            summary.deadline_ms = open.deadline_ms.0;
            summary.extensions = open.extensions;
        }
        Phase::Closed(closed) => {
            summary.phase = v1::RoundPhase::Closed.into();
            summary.accepted = closed.updates.len() as u64;
            summary.rejected = closed.rejected.len() as u64;
            summary.opened_height = closed.opened.height.0;
            summary.opened_time_ms = closed.opened.time_ms.0;
            summary.extensions = closed.extensions;
            summary.closed_height = Some(closed.closed.height.0);
            summary.closed_time_ms = Some(closed.closed.time_ms.0);
        }
        Phase::Complete => return None,
    }
    Some(summary)
}

pub(crate) fn round_record(record: &RoundRecord) -> v1::RoundSummary {
    let phase = match &record.outcome {
        Outcome::Finalised(_) => v1::RoundPhase::Finalised,
        Outcome::Aborted(
            AbortReason::Deadline | AbortReason::TurnsUsed | AbortReason::TooFewGroups,
        ) => v1::RoundPhase::Aborted,
    };
    v1::RoundSummary {
        task: record.task.0,
        round: record.round.0,
        phase: phase.into(),
        base_root: record.base.as_bytes().to_vec(),
        model_root: record.model().as_bytes().to_vec(),
        accepted: record.accepted.len() as u64,
        rejected: record.rejected.len() as u64,
        opened_height: record.opened.height.0,
        opened_time_ms: record.opened.time_ms.0,
        deadline_ms: 0,
        extensions: record.extensions,
        closed_height: record.closed.map(|moment| moment.height.0),
        closed_time_ms: record.closed.map(|moment| moment.time_ms.0),
        ended_height: Some(record.ended.height.0),
        ended_time_ms: Some(record.ended.time_ms.0),
    }
}

fn rule(spec: &RuleSpec) -> v1::Rule {
    let (m, weight_cap) = match *spec.last() {
        RuleSpec::Fedavg { weight_cap } => (None, Some(weight_cap)),
        RuleSpec::MultiKrum { m, .. } => (Some(m), None),
        _ => (None, None),
    };
    let f = match spec.last() {
        RuleSpec::Fedavg { .. } => None,
        rule => rule.tolerated(),
    };
    v1::Rule {
        name: spec.name().to_owned(),
        f,
        m,
        weight_cap,
        text: spec.to_string(),
    }
}

pub(crate) fn task_summary(task: &TaskState) -> v1::TaskSummary {
    let phase = match &task.phase {
        Phase::Open(_) => v1::RoundPhase::Open,
        Phase::Closed(_) => v1::RoundPhase::Closed,
        Phase::Complete => v1::RoundPhase::Finalised,
    };
    v1::TaskSummary {
        task: task.task.id.0,
        name: task.task.name.clone(),
        rule: Some(rule(&task.task.rule)),
        current_round: task.round.0,
        phase: phase.into(),
        model_root: task.model.as_bytes().to_vec(),
        model_bytes: model_bytes(&task.task),
        finished: task.phase == Phase::Complete,
    }
}

/// Length of the task's model; genesis validation has made sure that it fits.
pub(crate) fn model_bytes(task: &Task) -> u64 {
    cifer_chain::expected_payload_bytes(task, cifer_chain::PayloadEncoding::DeltaF32)
        .unwrap_or_default()
}

pub(crate) fn manifest(task: &TaskState) -> v1::GetModelManifestResponse {
    let definition = &task.task;
    let policy = &definition.rounds;
    v1::GetModelManifestResponse {
        task: Some(task_summary(task)),
        tensors: definition
            .tensors
            .iter()
            .map(|tensor| v1::Tensor {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                dtype: "f32".to_owned(),
            })
            .collect(),
        policy: Some(v1::RoundPolicy {
            min_updates: policy.min_updates,
            max_updates: policy.max_updates,
            deadline_ms: policy.deadline_ms,
            max_extensions: policy.max_extensions,
            max_rounds: policy.max_rounds,
        }),
        server_lr_ppm: definition.server_lr_ppm,
        max_abs_update: definition.max_abs_update,
        initial_root: definition.initial_model.as_bytes().to_vec(),
    }
}
