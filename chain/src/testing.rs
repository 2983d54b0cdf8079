//! A small network of keys that makes valid transactions, certificates and blocks, for tests here
//! and in the crates above (feature `testing`). Keys come from fixed seeds, so that every run makes
//! the same bytes. Panics where a test is wrong.

use cifer_genesis::{
    BlobHash, BlockHash, ContributorId, Genesis, Hash32, ModelRoot, RoundId, SecretKey, Signature,
    TaskId, TimestampMs, ValidatorId, VotingPower,
    document::{
        ConsensusParams, Contributors, Dtype, Limits, NamedKey, RoundPolicy, RuleSpec, Task,
        Tensor, Validator,
    },
};

use crate::{
    AggregateCertificate, Block, Builder, CertifiedRejection, CertifiedUpdate, CommitCertificate,
    Executed, Metrics, Moment, PayloadEncoding, RejectReason, SignedUpdate, State, Store,
    Transaction, Update, VERIFY_ALL, Verdict, Vote, VoteKind, round::TaskState,
    update::verdict_signing_bytes,
};

/// The task of [`Network::new`].
pub const TASK: TaskId = TaskId(1);
/// Block time of genesis.
pub const GENESIS_TIME: TimestampMs = TimestampMs(1_700_000_000_000);
/// Pace of [`Network::commit`].
pub const BLOCK_INTERVAL_MS: u64 = 100;

/// Keys and a genesis document of which they are the parties.
#[derive(Debug, Clone)]
pub struct Network {
    /// The document.
    pub genesis: Genesis,
    /// Keys of the validators, in the document's order.
    pub validators: Vec<SecretKey>,
    /// Keys of the contributors, in the document's order.
    pub contributors: Vec<SecretKey>,
}

/// A key of its own for every kind and index.
#[must_use]
pub fn key(kind: u8, index: usize) -> SecretKey {
    let mut seed = [kind; 32];
    seed[..8].copy_from_slice(&(index as u64).to_le_bytes());
    SecretKey::from_seed(&seed)
}

/// A task of 10 parameters by plain median, with one turn for each of `contributors`.
#[must_use]
pub fn task(id: TaskId, contributors: u64) -> Task {
    Task {
        id,
        name: format!("task-{id}"),
        initial_model: ModelRoot::from_bytes([7; 32]),
        rule: RuleSpec::Median,
        privacy: None,
        noise: None,
        server_lr_ppm: 1_000_000,
        max_abs_update: 1_000,
        rounds: RoundPolicy {
            min_updates: contributors.div_ceil(2),
            max_updates: contributors,
            deadline_ms: 10_000,
            max_extensions: 2,
            max_rounds: 0,
        },
        tensors: vec![
            Tensor {
                name: "w".into(),
                shape: vec![2, 4],
                dtype: Dtype::F32,
            },
            Tensor {
                name: "b".into(),
                shape: vec![2],
                dtype: Dtype::F32,
            },
        ],
    }
}

impl Network {
    /// A network of validators of power 1 with one task.
    #[must_use]
    pub fn new(validators: usize, contributors: usize) -> Self {
        let validators: Vec<_> = (0..validators).map(|index| key(1, index)).collect();
        let contributors: Vec<_> = (0..contributors).map(|index| key(2, index)).collect();
        let seat = |(index, key): (usize, &SecretKey)| Validator {
            name: format!("validator-{index}"),
            public_key: key.public_key(),
            power: VotingPower(1),
            consensus_address: format!("/ip4/127.0.0.1/tcp/{}", 27_000 + index),
            data_addresses: vec![format!("/ip4/127.0.0.1/tcp/{}", 28_000 + index)],
        };
        let named = |(index, key): (usize, &SecretKey)| NamedKey {
            name: format!("contributor-{index}"),
            public_key: key.public_key(),
        };
        let genesis = Genesis {
            version: 1,
            chain_id: "test-net".into(),
            time_ms: GENESIS_TIME,
            consensus: ConsensusParams::default(),
            limits: Limits::default(),
            allow_observers: true,
            contributors: Contributors {
                open_registration: false,
                allowed: contributors.iter().enumerate().map(named).collect(),
            },
            byzantine_validators: None,
            validators: validators.iter().enumerate().map(seat).collect(),
            tasks: vec![task(TASK, contributors.len() as u64)],
        };
        Self {
            genesis,
            validators,
            contributors,
        }
    }

    /// The same network with a changed document.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Genesis)) -> Self {
        change(&mut self.genesis);
        self
    }

    /// The chain id.
    #[must_use]
    pub fn chain_id(&self) -> &str {
        &self.genesis.chain_id
    }

    /// Id of a contributor.
    #[must_use]
    pub fn contributor(&self, index: usize) -> ContributorId {
        ContributorId(self.contributors[index].public_key())
    }

    /// Id of a validator.
    #[must_use]
    pub fn validator(&self, index: usize) -> ValidatorId {
        ValidatorId(self.validators[index].public_key())
    }

    /// A valid update of a contributor for the current round of [`TASK`].
    #[must_use]
    pub fn update(&self, state: &State, contributor: usize) -> Update {
        let task = current(state);
        let label = format!("payload of {contributor} for {}", task.round);
        Update {
            task: TASK,
            round: task.round,
            base: task.model,
            payload: BlobHash(Hash32::derive("cifer/chain/testing/v1", label.as_bytes())),
            payload_bytes: 40,
            encoding: PayloadEncoding::DeltaF32,
            samples: 100,
            metrics: Metrics {
                loss_ppm: 500_000,
                accuracy_ppm: 900_000,
            },
            contributor: self.contributor(contributor),
        }
    }

    /// An update signed by the contributor of this index.
    #[must_use]
    pub fn sign(&self, update: Update, contributor: usize) -> SignedUpdate {
        SignedUpdate::sign(update, self.chain_id(), &self.contributors[contributor])
    }

    /// The valid, certified update of a contributor for the current round.
    #[must_use]
    pub fn update_tx(&self, state: &State, contributor: usize) -> Transaction {
        self.certify(self.sign(self.update(state, contributor), contributor))
    }

    /// An update with an availability certificate of all validators.
    #[must_use]
    pub fn certify(&self, signed: SignedUpdate) -> Transaction {
        let message = verdict_signing_bytes(
            self.chain_id(),
            signed.id(self.chain_id()),
            Verdict::Available,
        );
        Transaction::Update(CertifiedUpdate {
            signed,
            availability: self.quorum(&message),
        })
    }

    /// An update that all validators reject.
    #[must_use]
    pub fn reject(&self, signed: SignedUpdate, reason: RejectReason) -> Transaction {
        let (id, verdict) = (signed.id(self.chain_id()), Verdict::Rejected(reason));
        let signatures = self.quorum(&verdict_signing_bytes(self.chain_id(), id, verdict));
        Transaction::Rejection(CertifiedRejection {
            signed,
            reason,
            signatures,
        })
    }

    /// The certified result of the closed round of [`TASK`].
    #[must_use]
    pub fn aggregate_tx(&self, state: &State, model: ModelRoot) -> Transaction {
        let statement = current(state)
            .statement(model)
            .expect("the round is closed");
        let signatures = self.quorum(&statement.signing_bytes(self.chain_id()));
        Transaction::Aggregate(AggregateCertificate {
            statement,
            signatures,
        })
    }

    /// Signatures of all validators.
    #[must_use]
    pub fn quorum(&self, message: &[u8]) -> Vec<(ValidatorId, Signature)> {
        let sign = |key: &SecretKey| (ValidatorId(key.public_key()), key.sign_bytes(message));
        self.validators.iter().map(sign).collect()
    }

    /// A commit certificate of all validators.
    #[must_use]
    pub fn commit_certificate(&self, block: &Block) -> CommitCertificate {
        let (height, hash) = (block.header.height, block.hash());
        let signatures = self.quorum(
            &self
                .precommit(height.0, hash)
                .signing_bytes(self.chain_id()),
        );
        CommitCertificate {
            height,
            round: 0,
            block: hash,
            signatures,
        }
    }

    fn precommit(&self, height: u64, block: BlockHash) -> Vote {
        let height = crate::Height(height);
        let (kind, validator) = (VoteKind::Precommit, self.validator(0));
        Vote {
            kind,
            height,
            round: 0,
            block: Some(block),
            validator,
        }
    }

    /// Proposes a block of these transactions at a block time; panics if one is refused.
    pub fn propose_at<S: Store + ?Sized>(
        &self,
        store: &S,
        time_ms: TimestampMs,
        transactions: impl IntoIterator<Item = Transaction>,
    ) -> Executed {
        let state = store.state();
        let mut builder = Builder::new(&state, time_ms, self.validator(0), VERIFY_ALL)
            .expect("time and proposer are right");
        for tx in transactions {
            builder.push(tx).expect("the transaction is valid");
        }
        store.propose(builder.finish()).expect("the tree is whole")
    }

    /// Commits a block of these transactions, [`BLOCK_INTERVAL_MS`] after the newest one.
    pub fn commit<S: Store + ?Sized>(
        &self,
        store: &S,
        transactions: impl IntoIterator<Item = Transaction>,
    ) -> Executed {
        let time_ms = TimestampMs(store.state().time_ms.0 + BLOCK_INTERVAL_MS);
        self.commit_at(store, time_ms, transactions)
    }

    /// [`Self::commit`] at a block time.
    pub fn commit_at<S: Store + ?Sized>(
        &self,
        store: &S,
        time_ms: TimestampMs,
        transactions: impl IntoIterator<Item = Transaction>,
    ) -> Executed {
        let executed = self.propose_at(store, time_ms, transactions);
        let certificate = self.commit_certificate(&executed.block);
        store
            .commit(&executed, &certificate)
            .expect("the block is the next one");
        executed
    }

    /// Runs a whole round: every contributor's update, then the aggregate. Returns the new model.
    pub fn run_round<S: Store + ?Sized>(&self, store: &S) -> ModelRoot {
        let state = store.state();
        self.commit(
            store,
            (0..self.contributors.len()).map(|i| self.update_tx(&state, i)),
        );
        let model = model_after(current(&state).round);
        self.commit(store, [self.aggregate_tx(&store.state(), model)]);
        model
    }
}

/// The task that a [`Network`] has.
#[must_use]
pub fn current(state: &State) -> &TaskState {
    state.tasks.get(&TASK).expect("the network has its task")
}

/// Some model for the end of a round.
#[must_use]
pub fn model_after(round: RoundId) -> ModelRoot {
    ModelRoot(Hash32::derive(
        "cifer/chain/testing/v1",
        &round.0.to_le_bytes(),
    ))
}

/// A moment so many milliseconds after genesis.
#[must_use]
pub fn moment(height: u64, after_genesis_ms: u64) -> Moment {
    let time_ms = TimestampMs(GENESIS_TIME.0 + after_genesis_ms);
    Moment {
        height: crate::Height(height),
        time_ms,
    }
}
