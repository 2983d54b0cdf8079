//! Transactions.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    ContributorId, Hash32, SecretKey, Signature, SignatureError, TxHash, crypto::signing_bytes,
};

use crate::{
    aggregate::AggregateCertificate,
    evidence::Evidence,
    private::{KeyShareSum, ShareFraud, ShareKey},
    update::{CertifiedRejection, CertifiedUpdate},
};

/// Domain of transaction hashes.
pub const TX_DOMAIN: &str = "cifer/chain/tx/v1";
/// Domain of a registration's signature.
pub const REGISTRATION_DOMAIN: &str = "cifer/chain/registration/v1";

/// A contributor's request to be let in, where registration is open.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Registration {
    /// The key that will sign updates.
    pub contributor: ContributorId,
    /// For people; same characters as in genesis, at most 48 bytes.
    pub name: String,
    /// Signature of that key over `(chain id, contributor, name)`.
    pub signature: Signature,
}

impl Registration {
    /// Signs a registration.
    #[must_use]
    pub fn sign(name: String, chain_id: &str, key: &SecretKey) -> Self {
        let contributor = ContributorId(key.public_key());
        let signature = key.sign(REGISTRATION_DOMAIN, chain_id, &(contributor, &name));
        Self {
            contributor,
            name,
            signature,
        }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let payload = (self.contributor, &self.name);
        self.contributor
            .key()
            .verify(REGISTRATION_DOMAIN, chain_id, &payload, &self.signature)
    }
}

/// What a block is made of.
// Evidence is twice as large as the rest; even a full block of registrations wastes under 4 MB.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Transaction {
    /// A contributor joins.
    Register(Registration),
    /// An update with its availability certificate.
    Update(CertifiedUpdate),
    /// An update that the validators rejected.
    Rejection(CertifiedRejection),
    /// A round's certified result.
    Aggregate(AggregateCertificate),
    /// Proof of equivocation.
    Evidence(Evidence),
    /// A validator's key for the shares of a private round.
    ShareKey(ShareKey),
    /// A validator's sum of the shares of a private round's group.
    KeyShareSum(KeyShareSum),
    /// Proof that a contributor dealt a bad share.
    ShareFraud(ShareFraud),
}

impl Transaction {
    /// Hash of the whole transaction, signatures included.
    #[must_use]
    pub fn hash(&self, chain_id: &str) -> TxHash {
        TxHash(Hash32::derive(
            TX_DOMAIN,
            &signing_bytes(TX_DOMAIN, chain_id, self),
        ))
    }
}
