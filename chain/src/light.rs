//! Trust from the genesis document alone: the verification half of the ledger, without a database,
//! a network or a clock.
//!
//! Whoever hands over a header, a model root or a state entry need not be trusted: more than two thirds
//! of the voting power in genesis has signed it, or it is refused. The validator set is the one in
//! genesis for as long as no transaction can change it.

use std::collections::BTreeMap;

use cifer_genesis::{BlockHash, Genesis, GenesisHash, Hash32, Height, ModelRoot, TaskId};

use crate::{
    aggregate::AggregateCertificate,
    block::Header,
    round::task_definition,
    tree::{ProofError, StateProof},
    validators::{CertificateError, ValidatorSet, ValidatorSetError},
    vote::CommitCertificate,
};

/// Why something is not to be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LightError {
    /// Of another network.
    #[error("header of chain {got:?}, this client follows {expected:?}")]
    ChainId {
        /// What the header says.
        got: String,
        /// The network of the genesis document.
        expected: String,
    },
    /// Voted on by another set than the one in genesis.
    #[error("header of validator set {got}, genesis has {expected}")]
    Validators {
        /// What the header says.
        got: Hash32,
        /// Hash of the set in genesis.
        expected: Hash32,
    },
    /// The certificate is for another height.
    #[error("certificate of height {got}, the header has {expected}")]
    Height {
        /// What the certificate says.
        got: Height,
        /// Height of the header.
        expected: Height,
    },
    /// The certificate is for another block.
    #[error("certificate of block {got}, the header is {expected}")]
    Block {
        /// What the certificate says.
        got: BlockHash,
        /// Hash of the header.
        expected: BlockHash,
    },
    /// No such task in genesis.
    #[error("unknown task {0}")]
    UnknownTask(TaskId),
    /// Aggregated by another rule, or with other parameters, than genesis says.
    #[error("task {task}: result by rule {got}, genesis has {expected}")]
    Rule {
        /// Task.
        task: TaskId,
        /// What the certificate says.
        got: Hash32,
        /// Definition in genesis.
        expected: Hash32,
    },
    /// The certificate itself is not right.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The proof does not lead to the header's state root.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// What a client knows from genesis.
#[derive(Debug, Clone)]
pub struct LightClient {
    chain_id: String,
    genesis_hash: GenesisHash,
    validators: ValidatorSet,
    validators_hash: Hash32,
    /// Definition and initial model.
    tasks: BTreeMap<TaskId, (Hash32, ModelRoot)>,
}

/// A header that more than two thirds of the power committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedHeader(Header);

impl VerifiedHeader {
    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.0
    }

    /// Checks a state entry, or its absence, after this block.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify_state(&self, proof: &StateProof) -> Result<(), ProofError> {
        proof.verify(self.0.state_root)
    }
}

impl LightClient {
    /// A client that trusts this document.
    ///
    /// # Errors
    /// [`ValidatorSetError`] for a document that its own validation would refuse.
    pub fn new(genesis: &Genesis) -> Result<Self, ValidatorSetError> {
        let validators = ValidatorSet::from_genesis(genesis)?;
        let task = |task: &cifer_genesis::document::Task| {
            (
                task.id,
                (task_definition(&genesis.chain_id, task), task.initial_model),
            )
        };
        Ok(Self {
            chain_id: genesis.chain_id.clone(),
            genesis_hash: genesis.hash(),
            validators_hash: validators.hash(&genesis.chain_id),
            validators,
            tasks: genesis.tasks.iter().map(task).collect(),
        })
    }

    /// The network's name, as in every signature.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// Hash of the document.
    #[must_use]
    pub const fn genesis_hash(&self) -> GenesisHash {
        self.genesis_hash
    }

    /// The validators that are trusted together.
    #[must_use]
    pub const fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// The model that round 0 of a task starts from; it needs no certificate.
    #[must_use]
    pub fn initial_model(&self, task: TaskId) -> Option<ModelRoot> {
        self.tasks.get(&task).map(|(_, model)| *model)
    }

    /// Checks that a header is committed.
    ///
    /// # Errors
    /// [`LightError`].
    pub fn verify_header(
        &self,
        header: Header,
        certificate: &CommitCertificate,
    ) -> Result<VerifiedHeader, LightError> {
        if header.chain_id != self.chain_id {
            let got = header.chain_id.chars().take(64).collect();
            return Err(LightError::ChainId {
                got,
                expected: self.chain_id.clone(),
            });
        }
        if header.validators != self.validators_hash {
            let (got, expected) = (header.validators, self.validators_hash);
            return Err(LightError::Validators { got, expected });
        }
        if certificate.height != header.height {
            let (got, expected) = (certificate.height, header.height);
            return Err(LightError::Height { got, expected });
        }
        let expected = header.hash();
        if certificate.block != expected {
            return Err(LightError::Block {
                got: certificate.block,
                expected,
            });
        }
        certificate.verify(&self.chain_id, &self.validators)?;
        Ok(VerifiedHeader(header))
    }

    /// Checks that a model is the certified result of its round, by the rule that genesis names.
    /// (That the certificate is also *committed* is proven by the round's state entry.)
    ///
    /// # Errors
    /// [`LightError`].
    pub fn verify_model(
        &self,
        certificate: &AggregateCertificate,
    ) -> Result<ModelRoot, LightError> {
        let statement = &certificate.statement;
        let task = statement.task;
        let (expected, _) = self.tasks.get(&task).ok_or(LightError::UnknownTask(task))?;
        if statement.rule != *expected {
            return Err(LightError::Rule {
                task,
                got: statement.rule,
                expected: *expected,
            });
        }
        certificate.verify(&self.chain_id, &self.validators)?;
        Ok(statement.model)
    }
}
