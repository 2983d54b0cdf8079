//! Questions about the ledger, each answered by the first gateway that can, and verified where the
//! answer comes with a proof.

mod read;

use cifer_chain::{
    BlockHash, ContributorId, GenesisHash, Height, PhaseRecord, RoundId, StateKey, TaskId,
    TaskRecord, Transaction, TxHash, ValidatorId,
};
use cifer_genesis::Genesis;
use cifer_proto::{MAX_GENESIS_RESPONSE_BYTES, MAX_PAGE_SIZE, v1};

use self::read::{read_block, read_proof, read_round, read_validators};
pub use crate::view::{
    BlockView, ContributorView, ManifestView, PhaseView, ProofView, RejectionView,
    RoundSummaryView, RoundView, RuleView, StatusView, TaskView, TensorView, TxSummaryView, TxView,
    UpdateView, ValidatorView, ValidatorsView,
};
use crate::{
    client::Client,
    error::{ClientError, Fault},
    follow::OpenRound,
    gateway::Gateway,
    verify::{self, expect},
    view,
};

/// Passes over all gateways in search of the proof that a task is finished; some may lag a little.
const MAX_FINISH_PASSES: u32 = 4;

/// Which block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSelector {
    /// The newest.
    Latest,
    /// By height, from 1.
    Height(Height),
    /// By hash.
    Hash(BlockHash),
}

/// Which entry of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofKey {
    /// A contributor.
    Contributor(ContributorId),
    /// Faults of a validator.
    Validator(ValidatorId),
    /// A task.
    Task(TaskId),
    /// A finished round.
    Round(TaskId, RoundId),
    /// The ledger's own key bytes.
    Raw(Vec<u8>),
}

/// Asks gateway after gateway, once each, and takes the first answer that holds.
macro_rules! ask {
    ($client:expr, |$gateway:ident| $attempt:expr) => {{
        let mut attempts = $client.gateways().attempts();
        loop {
            let $gateway = $client.gateway(&mut attempts).await?;
            match $attempt.await {
                Ok(answer) => break Ok(answer),
                Err(error) => attempts.failed(&$gateway, error)?,
            }
        }
    }};
}

impl Client {
    /// What the first gateway that answers says of itself.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<StatusView, ClientError> {
        ask!(self, |gateway| self.status_at(&gateway))
    }

    /// What each gateway says of itself, in the order of their addresses; asked at the same time.
    pub async fn statuses(&self) -> Vec<(String, Result<StatusView, ClientError>)> {
        let asked = self.gateways().all().iter().map(|gateway| async move {
            (gateway.address().to_owned(), self.status_at(gateway).await)
        });
        futures::future::join_all(asked).await
    }

    /// What the gateway of this address says of itself.
    ///
    /// # Errors
    /// [`ClientError`]; of settings if no gateway has this address.
    pub async fn status_of(&self, address: &str) -> Result<StatusView, ClientError> {
        let wanted = address.strip_suffix('/').unwrap_or(address);
        let found = self
            .gateways()
            .all()
            .iter()
            .find(|gateway| gateway.address() == wanted);
        let gateway = found.ok_or_else(|| {
            ClientError::config(
                "gateway address",
                address,
                "is not one of this client's gateways",
            )
        })?;
        self.status_at(gateway).await
    }

    async fn status_at(&self, gateway: &Gateway) -> Result<StatusView, ClientError> {
        let answer = gateway
            .answer(gateway.query().get_status(v1::GetStatusRequest {}))
            .await?;
        let status =
            view::status(gateway.address(), answer).map_err(|fault| gateway.fault(fault))?;
        if let Some(network) = self.network()
            && status.genesis_hash != network.hash()
        {
            let (ours, theirs) = (network.hash(), status.genesis_hash);
            return Err(gateway.fault(Fault::Genesis { ours, theirs }));
        }
        Ok(status)
    }

    /// The genesis document as a gateway has it, and its hash. Only a start: whoever trusts it must
    /// have compared the hash with one from elsewhere.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn genesis(&self) -> Result<(Genesis, GenesisHash), ClientError> {
        ask!(self, |gateway| async {
            let request = v1::GetGenesisRequest {
                include_toml: false,
            };
            let mut query = gateway
                .query()
                .max_decoding_message_size(MAX_GENESIS_RESPONSE_BYTES);
            let answer = gateway.answer(query.get_genesis(request)).await?;
            let check = || {
                let genesis: Genesis = verify::decode("genesis document", &answer.borsh)?;
                let hash = genesis.hash();
                let said = GenesisHash(verify::hash32("genesis hash", &answer.genesis_hash)?);
                expect("genesis hash", said, hash)?;
                Ok((genesis, hash))
            };
            check().map_err(|fault| gateway.fault(fault))
        })
    }

    /// A block. Header, transactions and commit certificate are verified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn block(&self, selector: BlockSelector) -> Result<BlockView, ClientError> {
        ask!(self, |gateway| self.block_at(&gateway, selector))
    }

    async fn block_at(
        &self,
        gateway: &Gateway,
        selector: BlockSelector,
    ) -> Result<BlockView, ClientError> {
        use v1::get_block_request::Block as Which;
        let block = match selector {
            BlockSelector::Latest => None,
            BlockSelector::Height(height) => Some(Which::Height(height.0)),
            BlockSelector::Hash(hash) => Some(Which::Hash(hash.as_bytes().to_vec())),
        };
        let request = v1::GetBlockRequest { block };
        let answer = gateway.answer(gateway.query().get_block(request)).await?;
        read_block(self.network(), gateway.address(), selector, &answer)
            .map_err(|fault| gateway.fault(fault))
    }

    /// A committed transaction. That it is in its block, and the block final, is verified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tx(&self, hash: TxHash) -> Result<TxView, ClientError> {
        ask!(self, |gateway| self.tx_at(&gateway, hash))
    }

    async fn tx_at(&self, gateway: &Gateway, hash: TxHash) -> Result<TxView, ClientError> {
        let request = v1::GetTransactionRequest {
            hash: hash.as_bytes().to_vec(),
        };
        let answer = gateway
            .answer(gateway.query().get_transaction(request))
            .await?;
        let selector = BlockSelector::Height(Height(answer.height));
        let block = self.block_at(gateway, selector).await?;
        let read = || {
            let transaction: Transaction = verify::decode("transaction", &answer.borsh)?;
            let summary = view::tx_summary(&block.chain_id, &transaction);
            expect("transaction hash", summary.hash, hash)?;
            let place = usize::try_from(answer.index).unwrap_or(usize::MAX);
            if block.transactions.get(place).map(|tx| tx.hash) != Some(hash) {
                let expected = format!("one that the block at {} has", block.height);
                return Err(Fault::mismatch("transaction", hash, expected));
            }
            Ok(TxView {
                gateway: gateway.address().to_owned(),
                verified: block.verified,
                height: block.height,
                index: answer.index,
                summary,
                content: format!("{transaction:?}"),
                transaction,
            })
        };
        read().map_err(|fault| gateway.fault(fault))
    }

    /// A round, the current one by default. The certificate of a finalised one is verified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn round(
        &self,
        task: TaskId,
        round: Option<RoundId>,
    ) -> Result<RoundView, ClientError> {
        ask!(self, |gateway| async {
            let request = v1::GetRoundRequest {
                task: task.0,
                round: round.map(|r| r.0),
            };
            let answer = gateway.answer(gateway.query().get_round(request)).await?;
            read_round(self.network(), gateway.address(), task, round, &answer)
                .map_err(|fault| gateway.fault(fault))
        })
    }

    /// The newest rounds of a task, newest first, at most `limit`. The gateway's word.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn rounds(
        &self,
        task: TaskId,
        limit: usize,
    ) -> Result<Vec<RoundSummaryView>, ClientError> {
        ask!(self, |gateway| self.rounds_at(&gateway, task, limit))
    }

    async fn rounds_at(
        &self,
        gateway: &Gateway,
        task: TaskId,
        limit: usize,
    ) -> Result<Vec<RoundSummaryView>, ClientError> {
        let mut rounds = Vec::new();
        let mut page_token = String::new();
        while rounds.len() < limit {
            let missing = u32::try_from(limit - rounds.len()).unwrap_or(u32::MAX);
            let page_size = missing.min(MAX_PAGE_SIZE);
            let request = v1::ListRoundsRequest {
                task: task.0,
                page_size,
                page_token,
            };
            let page = gateway.answer(gateway.query().list_rounds(request)).await?;
            let length = page.rounds.len();
            if length > page_size as usize {
                let (got, limit) = (length as u64, u64::from(page_size));
                return Err(gateway.fault(Fault::Limit {
                    what: "page of rounds",
                    got,
                    limit,
                }));
            }
            for round in &page.rounds {
                rounds.push(view::round_summary(round).map_err(|fault| gateway.fault(fault))?);
            }
            page_token = page.next_page_token;
            // An empty page with a token would make this side ask for ever.
            if page_token.is_empty() || length == 0 {
                break;
            }
        }
        Ok(rounds)
    }

    /// The validators. Keys and powers are verified against genesis.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn validators(&self) -> Result<ValidatorsView, ClientError> {
        ask!(self, |gateway| async {
            let request = v1::ListValidatorsRequest {};
            let answer = gateway
                .answer(gateway.query().list_validators(request))
                .await?;
            read_validators(self.network(), gateway.address(), &answer)
                .map_err(|fault| gateway.fault(fault))
        })
    }

    /// A contributor. The gateway's word; [`Client::proof`] proves its entry.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn contributor(&self, id: ContributorId) -> Result<ContributorView, ClientError> {
        ask!(self, |gateway| async {
            let contributor = id.key().as_bytes().to_vec();
            let request = v1::GetContributorRequest { contributor };
            let answer = gateway
                .answer(gateway.query().get_contributor(request))
                .await?;
            view::contributor_view(gateway.address(), &answer)
                .and_then(|view| expect("contributor", view.contributor, id).map(|()| view))
                .map_err(|fault| gateway.fault(fault))
        })
    }

    /// The tasks. The gateway's word.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tasks(&self) -> Result<Vec<TaskView>, ClientError> {
        ask!(self, |gateway| async {
            let answer = gateway
                .answer(gateway.query().list_tasks(v1::ListTasksRequest {}))
                .await?;
            let tasks: Result<_, Fault> = answer.tasks.iter().map(view::task).collect();
            tasks.map_err(|fault| gateway.fault(fault))
        })
    }

    /// What a task's model is made of. The gateway's word; genesis has the same.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn manifest(&self, task: TaskId) -> Result<ManifestView, ClientError> {
        ask!(self, |gateway| async {
            let request = v1::GetModelManifestRequest { task: task.0 };
            let answer = gateway
                .answer(gateway.query().get_model_manifest(request))
                .await?;
            view::manifest(gateway.address(), &answer)
                .and_then(|view| expect("task", view.task.task, task).map(|()| view))
                .map_err(|fault| gateway.fault(fault))
        })
    }

    /// An entry of the state, or its absence, at the gateway's newest block. Proof and certificate are
    /// verified.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn proof(&self, key: &ProofKey) -> Result<ProofView, ClientError> {
        ask!(self, |gateway| self.proof_at(&gateway, key))
    }

    async fn proof_at(&self, gateway: &Gateway, key: &ProofKey) -> Result<ProofView, ClientError> {
        let request = v1::GetStateProofRequest {
            key: Some(key.to_request()),
        };
        let answer = gateway
            .answer(gateway.query().get_state_proof(request))
            .await?;
        read_proof(self.network(), gateway.address(), key, answer)
            .map_err(|fault| gateway.fault(fault))
    }

    /// Proves by the state that `round` is going on and starts from its base: needed where rounds
    /// before it were aborted, which no certificate tells.
    pub(crate) async fn prove_round_open(
        &self,
        gateway: &Gateway,
        round: &OpenRound,
    ) -> Result<(), ClientError> {
        let (height, record) = self.prove_task(gateway, round.task).await?;
        if (record.round, record.model) == (round.round, round.base) {
            return Ok(());
        }
        // No fault of this gateway: who named the round may be ahead of it, behind it, or a liar.
        Err(gateway.failed(format!(
            "round {} from {} is not the one at height {height}: that is {} from {}",
            round.round, round.base, record.round, record.model
        )))
    }

    /// Proves by the state that all rounds of a task are done.
    pub(crate) async fn prove_finished(&self, task: TaskId) -> Result<(), ClientError> {
        let mut attempts = self.gateways().attempts().at_most_passes(MAX_FINISH_PASSES);
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            let error = match self.prove_task(&gateway, task).await {
                Ok((_, record)) if record.phase == PhaseRecord::Complete => return Ok(()),
                Ok((height, record)) => {
                    gateway.failed(format!("round {} goes on at height {height}", record.round))
                }
                Err(error) => error,
            };
            attempts.failed_for_now(&gateway, error)?;
        }
    }

    async fn prove_task(
        &self,
        gateway: &Gateway,
        task: TaskId,
    ) -> Result<(Height, TaskRecord), ClientError> {
        let proof = self.proof_at(gateway, &ProofKey::Task(task)).await?;
        let missing = || Fault::malformed("state of the task", "is proven absent");
        let value = proof.value.as_deref().ok_or_else(missing);
        let record = value.and_then(|value| verify::decode("state of the task", value));
        record
            .map(|record| (proof.height, record))
            .map_err(|fault| gateway.fault(fault))
    }
}

impl ProofKey {
    fn to_request(&self) -> v1::get_state_proof_request::Key {
        use v1::get_state_proof_request::Key;
        match self {
            Self::Contributor(id) => Key::Contributor(id.key().as_bytes().to_vec()),
            Self::Validator(id) => Key::Validator(id.key().as_bytes().to_vec()),
            Self::Task(task) => Key::Task(task.0),
            Self::Round(task, round) => Key::Round(v1::RoundKey {
                task: task.0,
                round: round.0,
            }),
            Self::Raw(bytes) => Key::Raw(bytes.clone()),
        }
    }

    fn state_key_bytes(&self) -> Vec<u8> {
        match self {
            Self::Contributor(id) => StateKey::Contributor(*id).to_bytes(),
            Self::Validator(id) => StateKey::ValidatorFaults(*id).to_bytes(),
            Self::Task(task) => StateKey::Task(*task).to_bytes(),
            Self::Round(task, round) => StateKey::Round(*task, *round).to_bytes(),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}
