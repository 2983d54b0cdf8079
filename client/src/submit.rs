//! Sending updates, and what becomes of them.
//!
//! A gateway can delay an update, never alter it; its "certified" and "rejected" count only with the
//! validators' signatures. A plain refusal is unsigned, so every other gateway is asked before it is
//! passed on. Sending the same update through several gateways is harmless.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use cifer_chain::{
    Availability, BlobHash, ContributorId, Hash32, Height, ModelRoot, Registration, RejectReason,
    RoundId, SecretKey, SignedUpdate, TaskId, TimestampMs, TxHash,
};
use cifer_proto::{
    MAX_CHUNK_BYTES,
    v1::{self, submit_update_request::Part, submit_update_response::Verdict},
};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::io::AsyncReadExt;

use crate::{
    client::Client,
    error::{ClientError, Fault, Refusal},
    follow::OpenRound,
    gateway::Gateway,
    query::PhaseView,
    verify,
};

/// From this length on, hashing is worth the cost of waking other threads.
const PARALLEL_BYTES: usize = 1 << 20;

/// The bytes of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// In memory.
    Memory(Bytes),
    /// In a file that nobody changes meanwhile.
    File(PathBuf),
}

impl Payload {
    /// BLAKE3 hash and length. Reads a whole file; call it where blocking is allowed.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn digest(&self) -> Result<(BlobHash, u64), ClientError> {
        let mut hasher = blake3::Hasher::new();
        match self {
            Self::Memory(bytes) if bytes.len() >= PARALLEL_BYTES => hasher.update_rayon(bytes),
            Self::Memory(bytes) => hasher.update(bytes),
            Self::File(path) => hasher
                .update_mmap_rayon(path)
                .map_err(|e| ClientError::io(path, e))?,
        };
        Ok((
            BlobHash::from_bytes(*hasher.finalize().as_bytes()),
            hasher.count(),
        ))
    }
}

/// What came of sending an update. Signatures have been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// Validators of more than two thirds of the power hold the payload; it will be in a block.
    Certified {
        /// Id of the update.
        update_id: Hash32,
        /// The transaction that carries it (the gateway's word until it is in a block).
        tx: TxHash,
        /// Their receipts.
        receipts: Availability,
        /// Through whom.
        gateway: String,
    },
    /// Validators refuse the payload; the contributor's turn is used up.
    Rejected {
        /// Id of the update.
        update_id: Hash32,
        /// What they found.
        reason: RejectReason,
        /// Whether they are more than two thirds of the power; else more than one third.
        certified: bool,
        /// The transaction that records it, if any.
        tx: Option<TxHash>,
        /// Through whom.
        gateway: String,
    },
    /// No gateway took it; this is what the last one said.
    Refused {
        /// Id of the update.
        update_id: Hash32,
        /// What was said.
        refusal: Refusal,
        /// By whom.
        gateway: String,
    },
}

/// Where a contributor stands in a round, as a gateway says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No key was given.
    Unknown,
    /// The key is not registered.
    Unregistered,
    /// An update is welcome.
    MaySubmit,
    /// An update is on its way into a block.
    Pending,
    /// An update is counted.
    Accepted,
    /// The update was rejected.
    Rejected,
    /// It proved faulty and may not submit.
    Excluded,
}

/// The current round of a task, as a gateway says. `open.base` is proven when it is downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CurrentRound {
    /// The round.
    pub open: OpenRound,
    /// Where it stands.
    pub phase: PhaseView,
    /// Updates counted.
    pub accepted: u64,
    /// Updates rejected.
    pub rejected: u64,
    /// Where the contributor that asks stands.
    pub standing: Standing,
    /// Whether no more rounds will open.
    pub finished: bool,
    /// Height of the gateway's newest block.
    pub height: Height,
    /// Time of that block.
    pub block_time_ms: TimestampMs,
    /// Who says so.
    pub gateway: String,
}

/// What became of an update, as a gateway says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutcomeView {
    /// Id of the update.
    pub update_id: Hash32,
    /// `pending`, `committed`, `aggregated`, `rejected` or `expired`.
    pub state: &'static str,
    /// Its task.
    pub task: TaskId,
    /// Its round.
    pub round: RoundId,
    /// Its transaction.
    pub tx: Option<TxHash>,
    /// Height of the block that has it.
    pub height: Option<Height>,
    /// Why it was rejected.
    pub reason: Option<&'static str>,
    /// The model that its round ended with.
    pub model_root: Option<ModelRoot>,
    /// Who says so.
    pub gateway: String,
}

impl Client {
    /// The current round of a task and, for a contributor, its standing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn current_round(
        &self,
        task: TaskId,
        contributor: Option<ContributorId>,
    ) -> Result<CurrentRound, ClientError> {
        let mut attempts = self.gateways().attempts();
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            match self.current_round_at(&gateway, task, contributor).await {
                Ok(current) => return Ok(current),
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }

    pub(crate) async fn current_round_at(
        &self,
        gateway: &Gateway,
        task: TaskId,
        contributor: Option<ContributorId>,
    ) -> Result<CurrentRound, ClientError> {
        let key = contributor
            .map(|id| id.key().as_bytes().to_vec())
            .unwrap_or_default();
        let request = v1::GetCurrentRoundRequest {
            task: task.0,
            contributor: key,
        };
        let answer = gateway
            .answer(gateway.contribute().get_current_round(request))
            .await?;
        self.read_current_round(gateway, task, &answer)
            .map_err(|fault| gateway.fault(fault))
    }

    fn read_current_round(
        &self,
        gateway: &Gateway,
        task: TaskId,
        answer: &v1::GetCurrentRoundResponse,
    ) -> Result<CurrentRound, Fault> {
        let missing = || Fault::malformed("current round", "is missing");
        let round = answer.round.as_ref().ok_or_else(missing)?;
        verify::expect("task of the round", round.task, task.0)?;
        if let Some(network) = self.network() {
            if answer.chain_id != network.chain_id() {
                return Err(Fault::mismatch(
                    "chain id",
                    &answer.chain_id,
                    network.chain_id(),
                ));
            }
            network.check_round(task, RoundId(round.round), answer.finished)?;
        }
        Ok(CurrentRound {
            open: OpenRound {
                task,
                round: RoundId(round.round),
                base: verify::model_root("base root", &round.base_root)?,
                deadline_ms: TimestampMs(round.deadline_ms),
            },
            phase: PhaseView::from(round.phase()),
            accepted: round.accepted,
            rejected: round.rejected,
            standing: Standing::from(answer.standing()),
            finished: answer.finished,
            height: Height(answer.height),
            block_time_ms: TimestampMs(answer.block_time_ms),
            gateway: gateway.address().to_owned(),
        })
    }

    /// Sends an update and verifies what the validators are said to have signed.
    ///
    /// # Errors
    /// [`ClientError`]; refusals by all gateways are [`Submission::Refused`] instead.
    pub async fn submit(
        &self,
        signed: &SignedUpdate,
        payload: &Payload,
    ) -> Result<Submission, ClientError> {
        let update_id = signed.id(self.trusted()?.chain_id());
        let mut attempts = self.gateways().attempts();
        loop {
            let result = match self.gateway(&mut attempts).await {
                Err(error) => Err(error),
                Ok(gateway) => match self.submit_at(&gateway, signed, payload).await {
                    Ok(submission) => return Ok(submission),
                    Err(error) => attempts.failed(&gateway, error),
                },
            };
            match result {
                Ok(()) => {}
                Err(ClientError::Refused { gateway, refusal }) => {
                    return Ok(Submission::Refused {
                        update_id,
                        refusal,
                        gateway,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn submit_at(
        &self,
        gateway: &Gateway,
        signed: &SignedUpdate,
        payload: &Payload,
    ) -> Result<Submission, ClientError> {
        let header = v1::UpdateHeader {
            signed_update_borsh: borsh::to_vec(signed)
                .map_err(|_| ClientError::Internal("encoding of an update"))?,
            commitment: None,
        };
        let upload = Arc::new(Upload::default());
        let bytes = Source::open(payload).await?;
        let requests = requests(header, bytes, Arc::clone(&upload));
        let total = signed.update.payload_bytes;
        let answer = self.await_verdict(gateway, requests, &upload, total).await;
        if let Some(error) = upload.take_error() {
            return Err(error);
        }
        self.read_verdict(gateway, signed, &answer?)
            .map_err(|fault| gateway.fault(fault))
    }

    /// Waits as long as the upload makes progress, then for the verdict.
    async fn await_verdict(
        &self,
        gateway: &Gateway,
        requests: Requests,
        upload: &Upload,
        total: u64,
    ) -> Result<v1::SubmitUpdateResponse, ClientError> {
        let options = self.gateways().options();
        let mut client = gateway.contribute();
        let mut answer = std::pin::pin!(client.submit_update(requests));
        let mut seen = 0;
        loop {
            let limit = if seen >= total {
                options.verdict_timeout
            } else {
                options.idle_timeout
            };
            match tokio::time::timeout(limit, &mut answer).await {
                Ok(result) => {
                    return result
                        .map(tonic::Response::into_inner)
                        .map_err(|status| gateway.status(&status));
                }
                Err(_) => {
                    let sent = upload.sent.load(Ordering::Relaxed);
                    if sent == seen {
                        let what = if sent >= total {
                            "verdict"
                        } else {
                            "upload progress"
                        };
                        return Err(gateway.failed(format!("no {what} within {limit:?}")));
                    }
                    seen = sent;
                }
            }
        }
    }

    fn read_verdict(
        &self,
        gateway: &Gateway,
        signed: &SignedUpdate,
        answer: &v1::SubmitUpdateResponse,
    ) -> Result<Submission, Fault> {
        let missing = || Fault::malformed("verdict", "is missing");
        let network = self.network().ok_or_else(missing)?;
        let update_id = signed.id(network.chain_id());
        verify::expect(
            "update id",
            verify::hash32("update id", &answer.update_id)?,
            update_id,
        )?;
        let gateway = gateway.address().to_owned();
        match answer.verdict.as_ref().ok_or_else(missing)? {
            Verdict::Certified(certified) => {
                let tx = TxHash(verify::hash32("transaction hash", &certified.tx_hash)?);
                let receipts = verify::signatures("availability receipt", &certified.receipts)?;
                network.check_receipts(signed, &receipts)?;
                Ok(Submission::Certified {
                    update_id,
                    tx,
                    receipts,
                    gateway,
                })
            }
            Verdict::Rejected(rejected) => {
                let reason = verify::reject_reason(rejected.reason())?;
                let votes = verify::signatures("signed rejection", &rejected.rejections)?;
                let certified = network.check_rejections(signed, reason, &votes)?;
                let tx = verify::optional_tx("transaction hash", &rejected.tx_hash)?;
                Ok(Submission::Rejected {
                    update_id,
                    reason,
                    certified,
                    tx,
                    gateway,
                })
            }
        }
    }

    /// Registers a contributor, where genesis leaves registration open.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn register(&self, key: &SecretKey, name: &str) -> Result<TxHash, ClientError> {
        let registration = Registration::sign(name.to_owned(), self.trusted()?.chain_id(), key);
        let registration_borsh = borsh::to_vec(&registration)
            .map_err(|_| ClientError::Internal("encoding of a registration"))?;
        let mut attempts = self.gateways().attempts();
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            let request = v1::RegisterRequest {
                registration_borsh: registration_borsh.clone(),
            };
            let result = match gateway.answer(gateway.contribute().register(request)).await {
                Ok(answer) => verify::hash32("transaction hash", &answer.tx_hash)
                    .map(TxHash)
                    .map_err(|fault| gateway.fault(fault)),
                Err(error) => Err(error),
            };
            match result {
                Ok(tx) => return Ok(tx),
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }

    /// What became of an update.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn outcome(&self, update_id: Hash32) -> Result<OutcomeView, ClientError> {
        let mut attempts = self.gateways().attempts();
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            let request = v1::GetUpdateOutcomeRequest {
                update_id: update_id.0.to_vec(),
            };
            let result = match gateway
                .answer(gateway.contribute().get_update_outcome(request))
                .await
            {
                Ok(answer) => read_outcome(&gateway, update_id, answer.outcome.as_ref())
                    .map_err(|fault| gateway.fault(fault)),
                Err(error) => Err(error),
            };
            match result {
                Ok(outcome) => return Ok(outcome),
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }
}

fn read_outcome(
    gateway: &Gateway,
    update_id: Hash32,
    outcome: Option<&v1::UpdateOutcome>,
) -> Result<OutcomeView, Fault> {
    let outcome = outcome.ok_or_else(|| Fault::malformed("outcome", "is missing"))?;
    verify::expect(
        "update id",
        verify::hash32("update id", &outcome.update_id)?,
        update_id,
    )?;
    let state = match outcome.state() {
        v1::UpdateState::Unspecified => {
            return Err(Fault::malformed("update state", "is unspecified"));
        }
        v1::UpdateState::Pending => "pending",
        v1::UpdateState::Committed => "committed",
        v1::UpdateState::Aggregated => "aggregated",
        v1::UpdateState::Rejected => "rejected",
        v1::UpdateState::Expired => "expired",
    };
    Ok(OutcomeView {
        update_id,
        state,
        task: TaskId(outcome.task),
        round: RoundId(outcome.round),
        tx: verify::optional_tx("transaction hash", &outcome.tx_hash)?,
        height: outcome.height.map(Height),
        reason: verify::reject_reason(outcome.reason())
            .ok()
            .map(verify::reject_reason_name),
        model_root: verify::optional_hash("model root", &outcome.model_root)?.map(ModelRoot),
        gateway: gateway.address().to_owned(),
    })
}

/// How far an upload is; shared with the stream that the transport reads.
#[derive(Debug, Default)]
struct Upload {
    sent: AtomicU64,
    error: Mutex<Option<ClientError>>,
}

impl Upload {
    fn took(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn fail(&self, error: ClientError) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take_error(&self) -> Option<ClientError> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// A stream of its own type: as an alias, the `'static` in it keeps rustc from seeing that the futures
/// around it are `Send`.
struct Requests(futures::stream::BoxStream<'static, v1::SubmitUpdateRequest>);

impl Stream for Requests {
    type Item = v1::SubmitUpdateRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

/// A payload about to be read.
enum Source {
    Memory(Bytes),
    File(tokio::fs::File, PathBuf),
}

impl Source {
    async fn open(payload: &Payload) -> Result<Self, ClientError> {
        match payload {
            Payload::Memory(bytes) => Ok(Self::Memory(bytes.clone())),
            Payload::File(path) => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|error| ClientError::io(path, error))?;
                Ok(Self::File(file, path.clone()))
            }
        }
    }

    /// The next chunk; empty at the end.
    async fn next(&mut self) -> Result<Bytes, ClientError> {
        match self {
            Self::Memory(rest) => Ok(rest.split_to(rest.len().min(MAX_CHUNK_BYTES))),
            Self::File(file, path) => {
                let mut chunk = Vec::with_capacity(MAX_CHUNK_BYTES);
                let mut limited = file.take(MAX_CHUNK_BYTES as u64);
                let read = limited.read_to_end(&mut chunk).await;
                read.map_err(|error| ClientError::io(&*path, error))?;
                Ok(chunk.into())
            }
        }
    }
}

/// The header and the payload in chunks, read as the transport asks for them. A file that fails ends
/// the stream and leaves its error in `upload`.
fn requests(header: v1::UpdateHeader, source: Source, upload: Arc<Upload>) -> Requests {
    let header = v1::SubmitUpdateRequest {
        part: Some(Part::Header(header)),
    };
    let chunks = stream::unfold((source, upload), |(mut source, upload)| async move {
        match source.next().await {
            Ok(chunk) if chunk.is_empty() => None,
            Ok(chunk) => {
                upload.took(chunk.len());
                Some((request(chunk), (source, upload)))
            }
            Err(error) => {
                upload.fail(error);
                None
            }
        }
    });
    Requests(stream::iter([header]).chain(chunks).boxed())
}

const fn request(chunk: Bytes) -> v1::SubmitUpdateRequest {
    v1::SubmitUpdateRequest {
        part: Some(Part::Chunk(chunk)),
    }
}

impl From<v1::ContributorStanding> for Standing {
    fn from(standing: v1::ContributorStanding) -> Self {
        match standing {
            v1::ContributorStanding::Unspecified => Self::Unknown,
            v1::ContributorStanding::Unregistered => Self::Unregistered,
            v1::ContributorStanding::MaySubmit => Self::MaySubmit,
            v1::ContributorStanding::Pending => Self::Pending,
            v1::ContributorStanding::Accepted => Self::Accepted,
            v1::ContributorStanding::Rejected => Self::Rejected,
            v1::ContributorStanding::Excluded => Self::Excluded,
        }
    }
}
