//! The result of a round as validators sign it. A certificate plus genesis is all that a light
//! client needs to trust a model.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    ContributorId, Hash32, ModelRoot, RoundId, SecretKey, Signature, SignatureError, TaskId,
    ValidatorId, crypto::signing_bytes,
};

use crate::{
    update::Update,
    validators::{CertificateError, ValidatorSet},
};

/// Domain of aggregate statements.
pub const AGGREGATE_DOMAIN: &str = "cifer/chain/aggregate/v1";
/// Domain of the update-set root.
pub const UPDATE_SET_DOMAIN: &str = "cifer/chain/update-set/v1";

/// What a validator computed for a closed round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct AggregateStatement {
    /// Task.
    pub task: TaskId,
    /// Round that was aggregated.
    pub round: RoundId,
    /// Hash of the task's definition (rule and parameters among it), from genesis.
    pub rule: Hash32,
    /// Root of the committed update set; see [`update_set_root`].
    pub update_set: Hash32,
    /// The model the round started from.
    pub base: ModelRoot,
    /// The model it ends with.
    pub model: ModelRoot,
}

impl AggregateStatement {
    /// The bytes that validators sign.
    #[must_use]
    pub fn signing_bytes(&self, chain_id: &str) -> Vec<u8> {
        signing_bytes(AGGREGATE_DOMAIN, chain_id, self)
    }
}

/// One validator's signature on its result.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AggregateVote {
    /// The result.
    pub statement: AggregateStatement,
    /// Who computed it.
    pub validator: ValidatorId,
    /// Signature over `(chain id, statement)`.
    pub signature: Signature,
}

impl AggregateVote {
    /// Signs a result.
    #[must_use]
    pub fn sign(statement: AggregateStatement, chain_id: &str, key: &SecretKey) -> Self {
        let signature = key.sign_bytes(&statement.signing_bytes(chain_id));
        Self {
            statement,
            validator: ValidatorId(key.public_key()),
            signature,
        }
    }

    /// Checks the signature; whether the signer has a seat is for the caller.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let message = self.statement.signing_bytes(chain_id);
        self.validator.key().verify_bytes(&message, &self.signature)
    }
}

/// More than two thirds of the power on one statement.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AggregateCertificate {
    /// The result.
    pub statement: AggregateStatement,
    /// One signature a validator.
    pub signatures: Vec<(ValidatorId, Signature)>,
}

impl AggregateCertificate {
    /// Checks the signatures against the validator set.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify(
        &self,
        chain_id: &str,
        validators: &ValidatorSet,
    ) -> Result<(), CertificateError> {
        validators.verify_quorum(&self.signatures, &self.statement.signing_bytes(chain_id))
    }
}

/// Root of a round's update set: the hash of the commitments sorted by contributor, and of the
/// contributors that were rejected. The order of the commitments is also the order in which the rule
/// sees the updates (ties go to the lower index); the rejected ones count against the rule's `f`.
#[must_use]
pub fn update_set_root(chain_id: &str, sorted: &[Update], rejected: &[ContributorId]) -> Hash32 {
    let payload = (sorted, rejected);
    Hash32::derive(
        UPDATE_SET_DOMAIN,
        &signing_bytes(UPDATE_SET_DOMAIN, chain_id, &payload),
    )
}
