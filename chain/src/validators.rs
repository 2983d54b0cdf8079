//! The validator set and the one way signatures of a quorum are checked.
//!
//! Invariants: entries are sorted by id, unique, of power at least 1; the total fits in 64 bits.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{Genesis, Hash32, Signature, ValidatorId, VotingPower};

/// Domain of the validator set's hash.
pub const VALIDATORS_DOMAIN: &str = "cifer/chain/validators/v1";

/// Largest validator set: a certificate of this many signatures (96 bytes each) is 48 KB.
pub const MAX_VALIDATORS: usize = 512;

/// Why a quorum certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Somebody without a seat signed.
    #[error("certificate signer {0} is not a validator")]
    UnknownSigner(ValidatorId),
    /// Somebody signed twice.
    #[error("certificate signer {0} appears twice")]
    DuplicateSigner(ValidatorId),
    /// A signature does not verify.
    #[error("certificate signature of {0} does not verify")]
    BadSignature(ValidatorId),
    /// Not more than two thirds of the power.
    #[error("certificate has power {signed} of {total}; more than two thirds is needed")]
    ShortOfPower {
        /// Power that signed.
        signed: VotingPower,
        /// Power of the whole set.
        total: VotingPower,
    },
}

/// The validators of a height with their power.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize)]
pub struct ValidatorSet {
    entries: Vec<(ValidatorId, VotingPower)>,
}

/// Why a validator set was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// No validator at all, or too many.
    #[error("{0} validators; 1 to {MAX_VALIDATORS} are allowed")]
    Count(usize),
    /// A key twice.
    #[error("validator {0} appears twice")]
    Duplicate(ValidatorId),
    /// A seat without power.
    #[error("validator {0} has zero power")]
    ZeroPower(ValidatorId),
    /// The sum of the powers does not fit.
    #[error("the total voting power overflows 64 bits")]
    PowerOverflow,
}

impl ValidatorSet {
    /// Sorts and checks the entries.
    ///
    /// # Errors
    /// See [`ValidatorSetError`].
    pub fn new(mut entries: Vec<(ValidatorId, VotingPower)>) -> Result<Self, ValidatorSetError> {
        if entries.is_empty() || entries.len() > MAX_VALIDATORS {
            return Err(ValidatorSetError::Count(entries.len()));
        }
        entries.sort_unstable();
        let mut total = 0_u64;
        for (index, (id, power)) in entries.iter().enumerate() {
            if index > 0 && entries[index - 1].0 == *id {
                return Err(ValidatorSetError::Duplicate(*id));
            }
            if power.0 == 0 {
                return Err(ValidatorSetError::ZeroPower(*id));
            }
            total = total
                .checked_add(power.0)
                .ok_or(ValidatorSetError::PowerOverflow)?;
        }
        Ok(Self { entries })
    }

    /// The set that a genesis document names.
    ///
    /// # Errors
    /// See [`ValidatorSetError`].
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, ValidatorSetError> {
        Self::new(
            genesis
                .validators
                .iter()
                .map(|v| (ValidatorId(v.public_key), v.power))
                .collect(),
        )
    }

    /// The entries, sorted by id.
    #[must_use]
    pub fn entries(&self) -> &[(ValidatorId, VotingPower)] {
        &self.entries
    }

    /// Power of one validator, if it has a seat.
    #[must_use]
    pub fn power_of(&self, id: &ValidatorId) -> Option<VotingPower> {
        let index = self
            .entries
            .binary_search_by(|(entry, _)| entry.cmp(id))
            .ok()?;
        Some(self.entries[index].1)
    }

    /// Power of the whole set.
    #[must_use]
    pub fn total_power(&self) -> VotingPower {
        VotingPower(self.entries.iter().map(|(_, power)| power.0).sum())
    }

    /// Hash that headers carry, so that a light client can be handed the set.
    #[must_use]
    pub fn hash(&self, chain_id: &str) -> Hash32 {
        Hash32::derive(
            VALIDATORS_DOMAIN,
            &cifer_genesis::crypto::signing_bytes(VALIDATORS_DOMAIN, chain_id, self),
        )
    }

    /// Checks that different validators with more than two thirds of the power signed. `message`
    /// gives the bytes that each is said to have signed. Power is counted before signatures are
    /// verified, so that a certificate that is short costs nothing.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub fn verify_quorum<'a>(
        &self,
        signatures: impl IntoIterator<Item = &'a (ValidatorId, Signature)> + Clone,
        message: &[u8],
    ) -> Result<(), CertificateError> {
        let mut seen = BTreeSet::new();
        let mut signed = 0_u64;
        for (signer, _) in signatures.clone() {
            let power = self
                .power_of(signer)
                .ok_or(CertificateError::UnknownSigner(*signer))?;
            if !seen.insert(*signer) {
                return Err(CertificateError::DuplicateSigner(*signer));
            }
            signed = signed.saturating_add(power.0);
        }
        let (signed, total) = (VotingPower(signed), self.total_power());
        if !signed.is_more_than_two_thirds_of(total) {
            return Err(CertificateError::ShortOfPower { signed, total });
        }
        for (signer, signature) in signatures {
            signer
                .key()
                .verify_bytes(message, signature)
                .map_err(|_| CertificateError::BadSignature(*signer))?;
        }
        Ok(())
    }
}

impl BorshDeserialize for ValidatorSet {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::new(Vec::deserialize_reader(reader)?)
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }
}
