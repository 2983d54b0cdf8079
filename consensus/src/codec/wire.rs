//! Mirrors of the engine's messages with one canonical encoding each. Field order is the format.

mod sync;

use arc_malachitebft_app_channel::app::{
    consensus::LivenessMsg,
    engine::util::streaming::StreamContent,
    streaming::{StreamId, StreamMessage},
    types::{
        ProposedValue, SignedConsensusMsg,
        core::{
            NilOrVal, PolkaCertificate, PolkaSignature, Round, RoundCertificate,
            RoundCertificateType, RoundSignature, SignedMessage, SignedProposal, SignedVote,
            ValidatorProof, Validity, VoteType,
        },
    },
};
use borsh::{BorshDeserialize, BorshSerialize};
use cifer_chain::{
    validators::MAX_VALIDATORS,
    vote::{Vote as ChainVote, VoteKind},
};
use cifer_genesis::{BlockHash, Height, Signature, ValidatorId};

pub(crate) use sync::to_engine_certificate;
pub(super) use sync::{SyncRequest, SyncResponse, SyncStatus};

use super::CodecError;
use crate::{
    context::{
        Cifer, EngineAddress, EngineHeight, EngineProposal, EngineSignature, EngineValue,
        EngineVote,
    },
    proposal::Part,
};

/// Stream ids are 16 random bytes of the publisher.
const MAX_STREAM_ID_BYTES: usize = 32;

fn defined(round: Round) -> Result<u32, CodecError> {
    round
        .as_u32()
        .ok_or(CodecError::Invalid("message without a round"))
}

fn seats<T>(signatures: &[T], votes_each: usize) -> Result<(), CodecError> {
    if signatures.len() > votes_each * MAX_VALIDATORS {
        return Err(CodecError::Invalid(
            "more signatures than a validator set has seats",
        ));
    }
    Ok(())
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Vote {
    vote: ChainVote,
    signature: Signature,
}

impl TryFrom<&SignedVote<Cifer>> for Vote {
    type Error = CodecError;
    fn try_from(signed: &SignedVote<Cifer>) -> Result<Self, CodecError> {
        let vote = signed
            .message
            .to_chain()
            .ok_or(CodecError::Invalid("vote without a round"))?;
        Ok(Self {
            vote,
            signature: signed.signature.0,
        })
    }
}

impl From<Vote> for SignedVote<Cifer> {
    fn from(wire: Vote) -> Self {
        SignedMessage::new(
            EngineVote::from_chain(&wire.vote),
            EngineSignature(wire.signature),
        )
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Proposal {
    height: Height,
    round: u32,
    block: BlockHash,
    pol_round: Option<u32>,
    proposer: ValidatorId,
    signature: Signature,
}

impl TryFrom<&SignedProposal<Cifer>> for Proposal {
    type Error = CodecError;
    fn try_from(signed: &SignedProposal<Cifer>) -> Result<Self, CodecError> {
        let proposal = &signed.message;
        Ok(Self {
            height: proposal.height.0,
            round: defined(proposal.round)?,
            block: proposal.value.0,
            pol_round: proposal.pol_round.as_u32(),
            proposer: proposal.address.0,
            signature: signed.signature.0,
        })
    }
}

impl From<Proposal> for SignedProposal<Cifer> {
    fn from(wire: Proposal) -> Self {
        let proposal = EngineProposal {
            height: EngineHeight(wire.height),
            round: Round::new(wire.round),
            value: EngineValue(wire.block),
            pol_round: wire.pol_round.into(),
            address: EngineAddress(wire.proposer),
        };
        SignedMessage::new(proposal, EngineSignature(wire.signature))
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) enum Consensus {
    Vote(Vote),
    Proposal(Proposal),
}

impl TryFrom<&SignedConsensusMsg<Cifer>> for Consensus {
    type Error = CodecError;
    fn try_from(message: &SignedConsensusMsg<Cifer>) -> Result<Self, CodecError> {
        Ok(match message {
            SignedConsensusMsg::Vote(vote) => Self::Vote(vote.try_into()?),
            SignedConsensusMsg::Proposal(proposal) => Self::Proposal(proposal.try_into()?),
        })
    }
}

impl TryFrom<Consensus> for SignedConsensusMsg<Cifer> {
    type Error = CodecError;
    fn try_from(wire: Consensus) -> Result<Self, CodecError> {
        Ok(match wire {
            Consensus::Vote(vote) => Self::Vote(vote.into()),
            Consensus::Proposal(proposal) => Self::Proposal(proposal.into()),
        })
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Polka {
    height: Height,
    round: u32,
    block: BlockHash,
    signatures: Vec<(ValidatorId, Signature)>,
}

impl TryFrom<&PolkaCertificate<Cifer>> for Polka {
    type Error = CodecError;
    fn try_from(certificate: &PolkaCertificate<Cifer>) -> Result<Self, CodecError> {
        Ok(Self {
            height: certificate.height.0,
            round: defined(certificate.round)?,
            block: certificate.value_id,
            signatures: certificate
                .polka_signatures
                .iter()
                .map(|entry| (entry.address.0, entry.signature.0))
                .collect(),
        })
    }
}

impl TryFrom<Polka> for PolkaCertificate<Cifer> {
    type Error = CodecError;
    fn try_from(wire: Polka) -> Result<Self, CodecError> {
        seats(&wire.signatures, 1)?;
        Ok(Self {
            height: EngineHeight(wire.height),
            round: Round::new(wire.round),
            value_id: wire.block,
            polka_signatures: wire
                .signatures
                .into_iter()
                .map(|(id, signature)| {
                    PolkaSignature::new(EngineAddress(id), EngineSignature(signature))
                })
                .collect(),
        })
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
enum RoundKind {
    Skip,
    Precommit,
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct RoundVotes {
    height: Height,
    round: u32,
    kind: RoundKind,
    signatures: Vec<(VoteKind, Option<BlockHash>, ValidatorId, Signature)>,
}

impl TryFrom<&RoundCertificate<Cifer>> for RoundVotes {
    type Error = CodecError;
    fn try_from(certificate: &RoundCertificate<Cifer>) -> Result<Self, CodecError> {
        let signatures = certificate.round_signatures.iter().map(|entry| {
            let kind = match entry.vote_type {
                VoteType::Prevote => VoteKind::Prevote,
                VoteType::Precommit => VoteKind::Precommit,
            };
            let block = match entry.value_id {
                NilOrVal::Nil => None,
                NilOrVal::Val(block) => Some(block),
            };
            (kind, block, entry.address.0, entry.signature.0)
        });
        Ok(Self {
            height: certificate.height.0,
            round: defined(certificate.round)?,
            kind: match certificate.cert_type {
                RoundCertificateType::Skip => RoundKind::Skip,
                RoundCertificateType::Precommit => RoundKind::Precommit,
            },
            signatures: signatures.collect(),
        })
    }
}

impl TryFrom<RoundVotes> for RoundCertificate<Cifer> {
    type Error = CodecError;
    fn try_from(wire: RoundVotes) -> Result<Self, CodecError> {
        seats(&wire.signatures, 2)?;
        let signatures = wire
            .signatures
            .into_iter()
            .map(|(kind, block, id, signature)| {
                RoundSignature::new(
                    match kind {
                        VoteKind::Prevote => VoteType::Prevote,
                        VoteKind::Precommit => VoteType::Precommit,
                    },
                    block.map_or(NilOrVal::Nil, NilOrVal::Val),
                    EngineAddress(id),
                    EngineSignature(signature),
                )
            });
        Ok(Self {
            height: EngineHeight(wire.height),
            round: Round::new(wire.round),
            cert_type: match wire.kind {
                RoundKind::Skip => RoundCertificateType::Skip,
                RoundKind::Precommit => RoundCertificateType::Precommit,
            },
            round_signatures: signatures.collect(),
        })
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) enum Liveness {
    Vote(Vote),
    Polka(Polka),
    Round(RoundVotes),
}

impl TryFrom<&LivenessMsg<Cifer>> for Liveness {
    type Error = CodecError;
    fn try_from(message: &LivenessMsg<Cifer>) -> Result<Self, CodecError> {
        Ok(match message {
            LivenessMsg::Vote(vote) => Self::Vote(vote.try_into()?),
            LivenessMsg::PolkaCertificate(certificate) => Self::Polka(certificate.try_into()?),
            LivenessMsg::SkipRoundCertificate(certificate) => Self::Round(certificate.try_into()?),
        })
    }
}

impl TryFrom<Liveness> for LivenessMsg<Cifer> {
    type Error = CodecError;
    fn try_from(wire: Liveness) -> Result<Self, CodecError> {
        Ok(match wire {
            Liveness::Vote(vote) => Self::Vote(vote.into()),
            Liveness::Polka(certificate) => Self::PolkaCertificate(certificate.try_into()?),
            Liveness::Round(certificate) => Self::SkipRoundCertificate(certificate.try_into()?),
        })
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Value {
    height: Height,
    round: u32,
    valid_round: Option<u32>,
    proposer: ValidatorId,
    block: BlockHash,
    is_valid: bool,
}

impl TryFrom<&ProposedValue<Cifer>> for Value {
    type Error = CodecError;
    fn try_from(value: &ProposedValue<Cifer>) -> Result<Self, CodecError> {
        Ok(Self {
            height: value.height.0,
            round: defined(value.round)?,
            valid_round: value.valid_round.as_u32(),
            proposer: value.proposer.0,
            block: value.value.0,
            is_valid: value.validity.to_bool(),
        })
    }
}

impl TryFrom<Value> for ProposedValue<Cifer> {
    type Error = CodecError;
    fn try_from(wire: Value) -> Result<Self, CodecError> {
        Ok(Self {
            height: EngineHeight(wire.height),
            round: Round::new(wire.round),
            valid_round: wire.valid_round.into(),
            proposer: EngineAddress(wire.proposer),
            value: EngineValue(wire.block),
            validity: Validity::from_bool(wire.is_valid),
        })
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Stream {
    id: Vec<u8>,
    sequence: u64,
    /// `None` ends a stream; we never send it, as a part says how many there are.
    part: Option<Part>,
}

impl TryFrom<&StreamMessage<Part>> for Stream {
    type Error = CodecError;
    fn try_from(message: &StreamMessage<Part>) -> Result<Self, CodecError> {
        Ok(Self {
            id: message.stream_id.to_bytes().to_vec(),
            sequence: message.sequence,
            part: message.content.as_data().cloned(),
        })
    }
}

impl TryFrom<Stream> for StreamMessage<Part> {
    type Error = CodecError;
    fn try_from(wire: Stream) -> Result<Self, CodecError> {
        if wire.id.len() > MAX_STREAM_ID_BYTES {
            return Err(CodecError::Invalid("stream id longer than 32 bytes"));
        }
        Ok(Self::new(
            StreamId::new(wire.id.into()),
            wire.sequence,
            wire.part.map_or(StreamContent::Fin, StreamContent::Data),
        ))
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(super) struct Proof {
    public_key: Vec<u8>,
    peer: Vec<u8>,
    signature: Signature,
}

impl TryFrom<&ValidatorProof<Cifer>> for Proof {
    type Error = CodecError;
    fn try_from(proof: &ValidatorProof<Cifer>) -> Result<Self, CodecError> {
        Ok(Self {
            public_key: proof.public_key.clone(),
            peer: proof.peer_id.clone(),
            signature: proof.signature.0,
        })
    }
}

impl TryFrom<Proof> for ValidatorProof<Cifer> {
    type Error = CodecError;
    fn try_from(wire: Proof) -> Result<Self, CodecError> {
        Ok(Self::new(
            wire.public_key,
            wire.peer,
            EngineSignature(wire.signature),
        ))
    }
}
