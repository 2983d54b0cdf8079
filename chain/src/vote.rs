//! Consensus votes as they are signed, and the commit certificate that proves a block final.
//! The engine's own vote type is translated to this one before signing.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{BlockHash, Height, Signature, ValidatorId, crypto::signing_bytes};

use crate::validators::{CertificateError, ValidatorSet};

/// Domain of votes.
pub const VOTE_DOMAIN: &str = "cifer/chain/vote/v1";

/// The step a vote belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum VoteKind {
    /// First voting step.
    Prevote,
    /// Second voting step; a quorum for one block makes it final.
    Precommit,
}

/// A vote for a block, or for none (`nil`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// Step.
    pub kind: VoteKind,
    /// Height voted on.
    pub height: Height,
    /// Consensus round, from 0.
    pub round: u32,
    /// The block, or nil.
    pub block: Option<BlockHash>,
    /// Who votes.
    pub validator: ValidatorId,
}

impl Vote {
    /// The bytes a validator signs. The signer is not in them (it is the key), so that all
    /// precommits for a block are one message.
    #[must_use]
    pub fn signing_bytes(&self, chain_id: &str) -> Vec<u8> {
        signing_bytes(
            VOTE_DOMAIN,
            chain_id,
            &(self.kind, self.height, self.round, self.block),
        )
    }
}

/// Precommits of more than two thirds of the power for one block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CommitCertificate {
    /// Height that was decided.
    pub height: Height,
    /// Consensus round in which it was decided.
    pub round: u32,
    /// The block.
    pub block: BlockHash,
    /// One signature a validator.
    pub signatures: Vec<(ValidatorId, Signature)>,
}

impl CommitCertificate {
    /// Checks the signatures against the validator set of that height.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(
        &self,
        chain_id: &str,
        validators: &ValidatorSet,
    ) -> Result<(), CertificateError> {
        let message = signing_bytes(
            VOTE_DOMAIN,
            chain_id,
            &(
                VoteKind::Precommit,
                self.height,
                self.round,
                Some(self.block),
            ),
        );
        validators.verify_quorum(&self.signatures, &message)
    }
}
