//! What validators publish for a private round.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{Hash32, RoundId, SecretKey, Signature, SignatureError, TaskId, ValidatorId};

use super::GroupIndex;

/// Domain of a share key's signature.
pub const SHARE_KEY_DOMAIN: &str = "cifer/chain/share-key/v1";
/// Domain of the signature of a sum of key shares.
pub const KEY_SHARE_SUM_DOMAIN: &str = "cifer/chain/key-share-sum/v1";

/// Length of a sum of key shares, whatever the model's size.
pub const KEY_SHARE_SUM_BYTES: usize = cifer_homocryption::ring::ShareSum::BYTES;

/// A compressed Ristretto point to which contributors encrypt the key shares of one validator.
pub type ShareKeyBytes = [u8; 32];

/// A validator's key for the shares of one round. Its secret half is deleted after the round, so that
/// nobody can open the shares of a finished round, whatever is taken from the validators later.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShareKey {
    /// Task.
    pub task: TaskId,
    /// The round that it is for.
    pub round: RoundId,
    /// Whose.
    pub validator: ValidatorId,
    /// The public half.
    pub key: ShareKeyBytes,
    /// The validator's signature over all of the above.
    pub signature: Signature,
}

impl ShareKey {
    /// Signs with the validator's key.
    #[must_use]
    pub fn sign(
        task: TaskId,
        round: RoundId,
        key: ShareKeyBytes,
        chain_id: &str,
        secret: &SecretKey,
    ) -> Self {
        let validator = ValidatorId(secret.public_key());
        let signature = secret.sign(SHARE_KEY_DOMAIN, chain_id, &(task, round, validator, key));
        Self {
            task,
            round,
            validator,
            key,
            signature,
        }
    }

    /// Checks the signature; whether the signer has a seat is for the caller.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let payload = (self.task, self.round, self.validator, self.key);
        let key = self.validator.key();
        key.verify(SHARE_KEY_DOMAIN, chain_id, &payload, &self.signature)
    }
}

/// One validator's sum of its shares of a cohort's keys. Its length does not depend on the model.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeyShareSum {
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: RoundId,
    /// Group.
    pub group: GroupIndex,
    /// The set of updates whose keys are summed; the group's only one.
    pub set: Hash32,
    /// Whose shares.
    pub validator: ValidatorId,
    /// The summed share in its canonical encoding.
    pub shares: Vec<u8>,
    /// The validator's signature over all of the above.
    pub signature: Signature,
}

impl KeyShareSum {
    /// Signs with the validator's key.
    #[must_use]
    pub fn sign(
        (task, round, group): (TaskId, RoundId, GroupIndex),
        set: Hash32,
        shares: Vec<u8>,
        chain_id: &str,
        secret: &SecretKey,
    ) -> Self {
        let mut sum = Self {
            task,
            round,
            group,
            set,
            validator: ValidatorId(secret.public_key()),
            shares,
            signature: Signature([0; 64]),
        };
        sum.signature = secret.sign(KEY_SHARE_SUM_DOMAIN, chain_id, &sum.payload());
        sum
    }

    /// Checks the signature; whether the signer has a seat is for the caller.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let key = self.validator.key();
        key.verify(
            KEY_SHARE_SUM_DOMAIN,
            chain_id,
            &self.payload(),
            &self.signature,
        )
    }

    fn payload(&self) -> impl BorshSerialize + use<> {
        let shares = Hash32::derive(KEY_SHARE_SUM_DOMAIN, &self.shares);
        let place = (self.task, self.round, self.group);
        (place, self.set, self.validator, shares)
    }
}
