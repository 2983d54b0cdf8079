//! Signatures for the engine. Every vote and proposal of ours passes the last-signed record first.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use arc_malachitebft_app_channel::{Signer, Verifier, app::types::core as engine};
use arc_malachitebft_signing::{Error as SigningError, VerificationResult};
use async_trait::async_trait;
use borsh::BorshSerialize;
use cifer_genesis::{Height, PublicKey, SecretKey, Signature};
use tracing::error;

use crate::{
    context::{Cifer, EngineProposal, EngineSignature, EngineVote},
    error::LastSignedError,
    last_signed::{Grant, LastSigned, Step},
    verified::Verified,
};

/// Verifies what others signed.
#[derive(Debug, Clone)]
pub(crate) struct CiferVerifier {
    chain_id: Arc<str>,
    verified: Arc<Verified>,
}

impl CiferVerifier {
    /// For one network.
    pub(crate) fn new(chain_id: &str, verified: Arc<Verified>) -> Self {
        Self {
            chain_id: chain_id.into(),
            verified,
        }
    }

    fn check(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> VerificationResult {
        VerificationResult::from_bool(self.verified.check(key, message, signature))
    }
}

#[async_trait]
impl Verifier<Cifer> for CiferVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &EngineVote,
        signature: &EngineSignature,
        public_key: &PublicKey,
    ) -> Result<VerificationResult, SigningError> {
        Ok(vote.to_chain().map_or(VerificationResult::Invalid, |vote| {
            self.check(
                public_key,
                &vote.signing_bytes(&self.chain_id),
                &signature.0,
            )
        }))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &EngineProposal,
        signature: &EngineSignature,
        public_key: &PublicKey,
    ) -> Result<VerificationResult, SigningError> {
        Ok(self.check(
            public_key,
            &proposal.signing_bytes(&self.chain_id),
            &signature.0,
        ))
    }

    // Vote extensions are disabled: no signature of one is right.
    async fn verify_signed_vote_extension(
        &self,
        _scope: &engine::VoteExtensionScope<Cifer>,
        _extension: &(),
        _signature: &EngineSignature,
        _public_key: &PublicKey,
    ) -> Result<VerificationResult, SigningError> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        proof: &engine::ValidatorProof<Cifer>,
    ) -> Result<VerificationResult, SigningError> {
        Ok(proof
            .decoded_public_key()
            .map_or(VerificationResult::Invalid, |key| {
                self.check(&key, &proof.preimage(), &proof.signature.0)
            }))
    }
}

/// Signs for this validator.
#[derive(Debug)]
pub(crate) struct CiferSigner {
    key: SecretKey,
    chain_id: Arc<str>,
    last_signed: Mutex<LastSigned>,
    refused: AtomicU64,
    verified: Arc<Verified>,
}

impl CiferSigner {
    /// Signs with `key` whatever `last_signed` grants.
    pub(crate) fn new(
        key: SecretKey,
        chain_id: &str,
        last_signed: LastSigned,
        verified: Arc<Verified>,
    ) -> Self {
        Self {
            verified,
            key,
            chain_id: chain_id.into(),
            last_signed: Mutex::new(last_signed),
            refused: AtomicU64::new(0),
        }
    }

    /// How many signatures were withheld.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Signs a payload that cannot conflict with another (announcements).
    pub(crate) fn sign<T: BorshSerialize>(&self, domain: &str, payload: &T) -> Signature {
        self.key.sign(domain, &self.chain_id, payload)
    }

    /// Signs the parts of a proposal, if the proposal itself may be signed. `None` when it may not.
    pub(crate) fn sign_parts<T: BorshSerialize>(
        &self,
        proposal: &EngineProposal,
        domain: &str,
        payload: &T,
    ) -> Result<Option<Signature>, LastSignedError> {
        Ok(self
            .may_propose(proposal)?
            .then(|| self.sign(domain, payload)))
    }

    /// Signs what the record has granted.
    fn sign_granted(&self, message: &[u8], granted: bool) -> EngineSignature {
        if !granted {
            return EngineSignature::WITHHELD;
        }
        let signature = self.key.sign_bytes(message);
        self.verified
            .made(&self.key.public_key(), message, &signature);
        EngineSignature(signature)
    }

    fn may_propose(&self, proposal: &EngineProposal) -> Result<bool, LastSignedError> {
        let round = proposal.round.as_u32().unwrap_or(0);
        let value = (proposal.value.0, proposal.pol_round.as_u32());
        self.request(proposal.height.0, round, Step::Proposal, &value)
    }

    // The write is a fraction of a millisecond on a local disk, less than handing it to another
    // thread and back would cost; nothing of the engine may go on before it anyway.
    fn request<T: BorshSerialize>(
        &self,
        height: Height,
        round: u32,
        step: Step,
        value: &T,
    ) -> Result<bool, LastSignedError> {
        let mut record = self
            .last_signed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match record.request(height, round, step, value)? {
            Grant::Granted => Ok(true),
            Grant::Refused(conflict) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                error!(%conflict, "signature withheld");
                Ok(false)
            }
        }
    }
}

/// Hands the signer to the engine while the adapter keeps it too.
#[derive(Debug, Clone)]
pub(crate) struct SharedSigner(pub(crate) Arc<CiferSigner>);

// A refusal must not be an error here: the engine stops on errors, and would do so again after each
// restart. A signature that verifies nowhere makes the engine abstain instead.
#[async_trait]
impl Signer<Cifer> for SharedSigner {
    async fn sign_vote(&self, vote: EngineVote) -> Result<engine::SignedVote<Cifer>, SigningError> {
        let chain_vote = vote.to_chain().ok_or_else(SigningError::new)?;
        let step = match vote.kind {
            engine::VoteType::Prevote => Step::Prevote,
            engine::VoteType::Precommit => Step::Precommit,
        };
        let granted = self
            .0
            .request(chain_vote.height, chain_vote.round, step, &chain_vote.block)
            .map_err(SigningError::from_source)?;
        let signature = self
            .0
            .sign_granted(&chain_vote.signing_bytes(&self.0.chain_id), granted);
        Ok(engine::SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(
        &self,
        proposal: EngineProposal,
    ) -> Result<engine::SignedProposal<Cifer>, SigningError> {
        let granted = self
            .0
            .may_propose(&proposal)
            .map_err(SigningError::from_source)?;
        let signature = self
            .0
            .sign_granted(&proposal.signing_bytes(&self.0.chain_id), granted);
        Ok(engine::SignedMessage::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        _scope: engine::VoteExtensionScope<Cifer>,
        _extension: (),
    ) -> Result<engine::SignedMessage<Cifer, ()>, SigningError> {
        Err(SigningError::from_source("vote extensions are disabled"))
    }

    // The engine fixes these bytes. They start with `PoV`, our own with the length of a domain, so
    // neither can be taken for the other.
    async fn sign_validator_proof(
        &self,
        public_key: Vec<u8>,
        peer_id: Vec<u8>,
    ) -> Result<engine::ValidatorProof<Cifer>, SigningError> {
        let bytes = engine::ValidatorProof::<Cifer>::signing_bytes(&public_key, &peer_id);
        let signature = EngineSignature(self.0.key.sign_bytes(&bytes));
        Ok(engine::ValidatorProof::new(public_key, peer_id, signature))
    }
}

#[cfg(test)]
mod tests {
    use arc_malachitebft_app_channel::app::types::core::{Context as _, NilOrVal, Round};
    use cifer_genesis::{BlockHash, GenesisHash, ValidatorId};

    use super::*;
    use crate::context::{EngineAddress, EngineHeight, EngineValue};

    fn signer(home: &std::path::Path) -> (SharedSigner, PublicKey) {
        let key = SecretKey::from_seed(&[3; 32]);
        let public = key.public_key();
        let record = LastSigned::open(home, GenesisHash::default(), public).unwrap();
        (
            SharedSigner(Arc::new(CiferSigner::new(
                key,
                "test",
                record,
                Arc::default(),
            ))),
            public,
        )
    }

    fn prevote(key: PublicKey, block: Option<[u8; 32]>) -> EngineVote {
        Cifer.new_prevote(
            EngineHeight(Height(4)),
            Round::new(1),
            block.map_or(NilOrVal::Nil, |bytes| {
                NilOrVal::Val(BlockHash::from_bytes(bytes))
            }),
            EngineAddress(ValidatorId(key)),
        )
    }

    #[tokio::test]
    async fn a_second_vote_gets_no_signature_that_verifies() {
        let home = tempfile::tempdir().unwrap();
        let (signer, key) = signer(home.path());
        let verifier = CiferVerifier::new("test", Arc::default());
        let first = signer.sign_vote(prevote(key, Some([1; 32]))).await.unwrap();
        let second = signer.sign_vote(prevote(key, None)).await.unwrap();
        let again = signer.sign_vote(prevote(key, Some([1; 32]))).await.unwrap();
        assert_eq!(first, again);
        for (signed, expected) in [(&first, true), (&second, false)] {
            let result = verifier
                .verify_signed_vote(&signed.message, &signed.signature, &key)
                .await
                .unwrap();
            assert_eq!(result.is_valid(), expected);
        }
        assert_eq!(signer.0.refused(), 1);
        let elsewhere = CiferVerifier::new("other", Arc::default())
            .verify_signed_vote(&first.message, &first.signature, &key)
            .await
            .unwrap();
        assert!(elsewhere.is_invalid(), "the chain id is signed");
    }

    #[tokio::test]
    async fn parts_and_proposal_share_one_permission() {
        let home = tempfile::tempdir().unwrap();
        let (signer, key) = signer(home.path());
        let proposal = |block| {
            Cifer.new_proposal(
                EngineHeight(Height(4)),
                Round::new(0),
                EngineValue(BlockHash::from_bytes(block)),
                Round::Nil,
                EngineAddress(ValidatorId(key)),
            )
        };
        assert!(
            signer
                .0
                .sign_parts(&proposal([1; 32]), "d", &1_u8)
                .unwrap()
                .is_some()
        );
        let signed = signer.sign_proposal(proposal([1; 32])).await.unwrap();
        assert_ne!(signed.signature, EngineSignature::WITHHELD);
        let other = signer.sign_proposal(proposal([2; 32])).await.unwrap();
        assert_eq!(other.signature, EngineSignature::WITHHELD);
        assert!(
            signer
                .0
                .sign_parts(&proposal([2; 32]), "d", &1_u8)
                .unwrap()
                .is_none()
        );
    }
}
