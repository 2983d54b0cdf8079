//! The engine's vocabulary, wrapped around the ledger's types.
//!
//! The engine agrees on a block's hash: a value *is* the hash, and blocks travel beside it. So votes,
//! proposals and the write-ahead log stay small whatever a block holds.

mod message;
mod scheme;
mod validators;

use std::fmt;

use arc_malachitebft_app_channel::app::types::core as engine;
use cifer_genesis::{BlockHash, Height, ValidatorId};

pub(crate) use message::{EngineProposal, EngineVote};
pub(crate) use scheme::{Ed25519, EngineSignature};
pub(crate) use validators::{EngineValidator, EngineValidators};

/// Type-level name of this application of the engine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cifer;

/// Block height.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EngineHeight(pub(crate) Height);

impl fmt::Display for EngineHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl engine::Height for EngineHeight {
    const ZERO: Self = Self(Height(0));
    const INITIAL: Self = Self(Height(1));

    // Ranges from peers come through here, so the ends of the range saturate.
    fn increment_by(&self, n: u64) -> Self {
        Self(Height(self.0.0.saturating_add(n)))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.0.checked_sub(n).map(|height| Self(Height(height)))
    }

    fn as_u64(&self) -> u64 {
        self.0.0
    }
}

/// Who votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EngineAddress(pub(crate) ValidatorId);

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl engine::Address for EngineAddress {}

/// What is agreed on: the hash of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EngineValue(pub(crate) BlockHash);

impl engine::Value for EngineValue {
    type Id = BlockHash;

    fn id(&self) -> BlockHash {
        self.0
    }
}

impl engine::Context for Cifer {
    type Address = EngineAddress;
    type Height = EngineHeight;
    type ProposalPart = crate::proposal::Part;
    type Proposal = EngineProposal;
    type Validator = EngineValidator;
    type ValidatorSet = EngineValidators;
    type Timeouts = engine::LinearTimeouts;
    type Value = EngineValue;
    type Vote = EngineVote;
    // Vote extensions are disabled in every height's parameters.
    type Extension = ();
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        validators: &'a EngineValidators,
        height: EngineHeight,
        round: engine::Round,
    ) -> &'a EngineValidator {
        validators.proposer(height.0, round.as_u32().unwrap_or(0))
    }

    fn new_proposal(
        &self,
        height: EngineHeight,
        round: engine::Round,
        value: EngineValue,
        pol_round: engine::Round,
        address: EngineAddress,
    ) -> EngineProposal {
        EngineProposal {
            height,
            round,
            value,
            pol_round,
            address,
        }
    }

    fn new_prevote(
        &self,
        height: EngineHeight,
        round: engine::Round,
        value: engine::NilOrVal<BlockHash>,
        address: EngineAddress,
    ) -> EngineVote {
        EngineVote {
            kind: engine::VoteType::Prevote,
            height,
            round,
            value,
            address,
        }
    }

    fn new_precommit(
        &self,
        height: EngineHeight,
        round: engine::Round,
        value: engine::NilOrVal<BlockHash>,
        address: EngineAddress,
    ) -> EngineVote {
        EngineVote {
            kind: engine::VoteType::Precommit,
            height,
            round,
            value,
            address,
        }
    }
}
