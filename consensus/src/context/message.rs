//! Votes and proposals, and the bytes that are signed for them. A vote's bytes are the ledger's, so
//! that the engine's commit certificates are the ledger's too.

use arc_malachitebft_app_channel::app::types::core as engine;
use cifer_chain::vote::{Vote, VoteKind};
use cifer_genesis::{BlockHash, crypto::signing_bytes};

use super::{Cifer, EngineAddress, EngineHeight, EngineValue};

/// Domain of proposals.
pub(crate) const PROPOSAL_DOMAIN: &str = "cifer/consensus/proposal/v1";

/// A vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineVote {
    pub(crate) kind: engine::VoteType,
    pub(crate) height: EngineHeight,
    pub(crate) round: engine::Round,
    pub(crate) value: engine::NilOrVal<BlockHash>,
    pub(crate) address: EngineAddress,
}

impl EngineVote {
    /// The ledger's form; `None` for a vote without a round, which nobody casts.
    pub(crate) fn to_chain(&self) -> Option<Vote> {
        Some(Vote {
            kind: match self.kind {
                engine::VoteType::Prevote => VoteKind::Prevote,
                engine::VoteType::Precommit => VoteKind::Precommit,
            },
            height: self.height.0,
            round: self.round.as_u32()?,
            block: match self.value {
                engine::NilOrVal::Nil => None,
                engine::NilOrVal::Val(block) => Some(block),
            },
            validator: self.address.0,
        })
    }

    /// From the ledger's form.
    pub(crate) fn from_chain(vote: &Vote) -> Self {
        Self {
            kind: match vote.kind {
                VoteKind::Prevote => engine::VoteType::Prevote,
                VoteKind::Precommit => engine::VoteType::Precommit,
            },
            height: EngineHeight(vote.height),
            round: engine::Round::new(vote.round),
            value: vote
                .block
                .map_or(engine::NilOrVal::Nil, engine::NilOrVal::Val),
            address: EngineAddress(vote.validator),
        }
    }
}

impl engine::Vote<Cifer> for EngineVote {
    fn height(&self) -> EngineHeight {
        self.height
    }

    fn round(&self) -> engine::Round {
        self.round
    }

    fn value(&self) -> &engine::NilOrVal<BlockHash> {
        &self.value
    }

    fn take_value(self) -> engine::NilOrVal<BlockHash> {
        self.value
    }

    fn vote_type(&self) -> engine::VoteType {
        self.kind
    }

    fn validator_address(&self) -> &EngineAddress {
        &self.address
    }

    fn extension(&self) -> Option<&engine::SignedExtension<Cifer>> {
        None
    }

    fn take_extension(&mut self) -> Option<engine::SignedExtension<Cifer>> {
        None
    }

    // Extensions are disabled; one that turns up anyway is not carried.
    fn extend(self, _extension: engine::SignedExtension<Cifer>) -> Self {
        self
    }
}

/// A proposer's word that `value` is its proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineProposal {
    pub(crate) height: EngineHeight,
    pub(crate) round: engine::Round,
    pub(crate) value: EngineValue,
    pub(crate) pol_round: engine::Round,
    pub(crate) address: EngineAddress,
}

impl EngineProposal {
    /// The bytes a proposer signs.
    pub(crate) fn signing_bytes(&self, chain_id: &str) -> Vec<u8> {
        let payload = (
            self.height.0,
            self.round.as_u32(),
            self.value.0,
            self.pol_round.as_u32(),
        );
        signing_bytes(PROPOSAL_DOMAIN, chain_id, &payload)
    }
}

impl engine::Proposal<Cifer> for EngineProposal {
    fn height(&self) -> EngineHeight {
        self.height
    }

    fn round(&self) -> engine::Round {
        self.round
    }

    fn value(&self) -> &EngineValue {
        &self.value
    }

    fn take_value(self) -> EngineValue {
        self.value
    }

    fn pol_round(&self) -> engine::Round {
        self.pol_round
    }

    fn validator_address(&self) -> &EngineAddress {
        &self.address
    }
}
