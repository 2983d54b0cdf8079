//! Answers read and checked: what comes with a proof is verified, the rest is taken for the gateway's word.
//! Pure; the questions are in the parent module.

use cifer_chain::{
    Block, CommitCertificate, Header, Height, ModelRoot, RoundId, StateProof, TaskId,
};
use cifer_proto::v1;

use super::{BlockSelector, ProofKey};
use crate::{
    error::Fault,
    verify::{self, Network, expect},
    view::{self, BlockView, PhaseView, ProofView, RoundSummaryView, RoundView, ValidatorsView},
};

pub(super) fn read_block(
    network: Option<&Network>,
    gateway: &str,
    selector: BlockSelector,
    answer: &v1::GetBlockResponse,
) -> Result<BlockView, Fault> {
    let block: Block = verify::decode("block", &answer.borsh)?;
    let certificate = verify::commit_certificate(answer.commit_certificate.as_ref())?;
    let header = block.header.clone();
    if let Some(network) = network {
        network.check_header(header.clone(), &certificate)?;
        let tx_root = Block::compute_tx_root(&header.chain_id, &block.transactions);
        expect("transaction root", tx_root, header.tx_root)?;
    }
    let hash = block.hash();
    match selector {
        BlockSelector::Latest => {}
        BlockSelector::Height(height) => expect("height", header.height, height)?,
        BlockSelector::Hash(asked) => expect("block hash", hash, asked)?,
    }
    let transactions = block
        .transactions
        .iter()
        .map(|tx| view::tx_summary(&header.chain_id, tx))
        .collect();
    Ok(BlockView {
        gateway: gateway.to_owned(),
        verified: network.is_some(),
        hash,
        chain_id: header.chain_id,
        height: header.height,
        time_ms: header.time_ms,
        parent: header.parent,
        proposer: header.proposer,
        tx_root: header.tx_root,
        validators_hash: header.validators,
        state_root: header.state_root,
        consensus_round: certificate.round,
        signers: certificate
            .signatures
            .iter()
            .map(|(signer, _)| *signer)
            .collect(),
        transactions,
        block,
    })
}

pub(super) fn read_round(
    network: Option<&Network>,
    gateway: &str,
    task: TaskId,
    round: Option<RoundId>,
    answer: &v1::GetRoundResponse,
) -> Result<RoundView, Fault> {
    let missing = || Fault::malformed("round", "is missing");
    let summary = view::round_summary(answer.summary.as_ref().ok_or_else(missing)?)?;
    expect("task", summary.task, task)?;
    expect("round", summary.round, round.unwrap_or(summary.round))?;
    let certificate = verify::aggregate_certificate(answer.aggregate_certificate.as_ref())?;
    if summary.phase == PhaseView::Finalised && certificate.is_none() {
        return Err(Fault::malformed(
            "aggregate certificate",
            "is missing in a finalised round",
        ));
    }
    let mut verified = false;
    if let (Some(network), Some(certificate)) = (network, &certificate) {
        let definition = network.genesis().tasks.iter().find(|t| t.id == task);
        let definition = definition.ok_or_else(|| Fault::malformed("task", "is not in genesis"))?;
        network.check_aggregate(definition, certificate)?;
        let statement = &certificate.statement;
        expect("certified round", statement.round, summary.round)?;
        expect("certified base", statement.base, summary.base_root)?;
        expect("certified model", statement.model, model_of(&summary)?)?;
        verified = true;
    }
    let updates: Result<_, Fault> = answer.accepted.iter().map(view::update).collect();
    let rejections: Result<_, Fault> = answer.rejected.iter().map(view::rejection).collect();
    let signers = certificate
        .iter()
        .flat_map(|c| c.signatures.iter().map(|(id, _)| *id))
        .collect();
    Ok(RoundView {
        gateway: gateway.to_owned(),
        verified,
        summary,
        updates: updates?,
        rejections: rejections?,
        update_set_root: verify::optional_hash("update set root", &answer.update_set_root)?,
        rule_hash: verify::optional_hash("rule hash", &answer.rule_hash)?,
        signers,
    })
}

pub(super) fn model_of(summary: &RoundSummaryView) -> Result<ModelRoot, Fault> {
    summary
        .model_root
        .ok_or_else(|| Fault::malformed("model root", "is missing"))
}

pub(super) fn read_validators(
    network: Option<&Network>,
    gateway: &str,
    answer: &v1::ListValidatorsResponse,
) -> Result<ValidatorsView, Fault> {
    let validators: Result<Vec<_>, Fault> =
        answer.validators.iter().map(view::validator_view).collect();
    let validators = validators?;
    if let Some(network) = network {
        let ours = network.validators().entries().iter().copied();
        let theirs = validators.iter().map(|v| (v.id, v.power));
        if !ours.eq(theirs) {
            let got = format!(
                "{} validators of power {}",
                validators.len(),
                answer.total_power
            );
            return Err(Fault::mismatch("validator set", got, "the one of genesis"));
        }
    }
    Ok(ValidatorsView {
        gateway: gateway.to_owned(),
        verified: network.is_some(),
        height: Height(answer.height),
        total_power: cifer_chain::VotingPower(answer.total_power),
        validators_hash: verify::hash32("validator set hash", &answer.validators_hash)?,
        validators,
    })
}

pub(super) fn read_proof(
    network: Option<&Network>,
    gateway: &str,
    key: &ProofKey,
    answer: v1::GetStateProofResponse,
) -> Result<ProofView, Fault> {
    let header: Header = verify::decode("header", &answer.header_borsh)?;
    let certificate: CommitCertificate =
        verify::commit_certificate(answer.commit_certificate.as_ref())?;
    expect("height", header.height, Height(answer.height))?;
    if answer.key != key.state_key_bytes() {
        return Err(Fault::malformed("state key", "is not the one asked for"));
    }
    if let Some(network) = network {
        let verified = network.check_header(header.clone(), &certificate)?;
        let proof = StateProof {
            key: verify::decode("state key", &answer.key)?,
            value: answer.value.clone(),
            proof: answer.proof.clone(),
        };
        verified
            .verify_state(&proof)
            .map_err(|error| Fault::malformed("state proof", error))?;
    }
    Ok(ProofView {
        gateway: gateway.to_owned(),
        verified: network.is_some(),
        height: header.height,
        block_hash: header.hash(),
        state_root: header.state_root,
        key: answer.key,
        value: answer.value,
        proof: answer.proof,
    })
}
