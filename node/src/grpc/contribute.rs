//! `ContributeService`: uploads are streamed to disk, the answer waits for the validators.

use std::{io, pin::Pin, time::Duration};

use cifer_chain::{
    ContributorId, Hash32, Outcome, Phase, Registration, SignedUpdate, Store, TaskId, Transaction,
    Turn,
};
use cifer_proto::v1::{
    self, contribute_service_server, submit_update_request, submit_update_response,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::{io::StreamReader, sync::CancellationToken};
use tonic::{Request, Response, Status, Streaming};

use super::{convert, query::Streamed, rounds, status};
use crate::core::{Node, SubmitOutcome, UpdateStanding};

/// A client that sends nothing for this long during an upload is cut off.
const UPLOAD_STALL: Duration = Duration::from_secs(30);
/// Largest borsh bytes of a signed update or registration; both are under 400 bytes.
const MAX_SIGNED_BYTES: usize = 1_024;

/// The service.
pub(crate) struct Contribute {
    node: Node,
    /// Time for the first message of an upload.
    timeout: Duration,
    stop: CancellationToken,
}

impl Contribute {
    pub(crate) fn new(node: Node, timeout: Duration, stop: CancellationToken) -> Self {
        Self {
            node,
            timeout,
            stop,
        }
    }

    /// What became of an update, from the pending set, the state and the records.
    fn outcome(&self, id: Hash32) -> Result<v1::UpdateOutcome, Status> {
        let unknown = || status::not_found(format!("update {id} is not known to this node"));
        let standing = self.node.update_standing(id).ok_or_else(unknown)?;
        outcome_of(&self.node, id, standing)
    }
}

/// Decodes canonical bytes strictly and within a bound.
fn decode<T: borsh::BorshDeserialize>(field: &str, bytes: &[u8]) -> Result<T, Status> {
    if bytes.len() > MAX_SIGNED_BYTES {
        let problem = format!("{} bytes, the limit is {MAX_SIGNED_BYTES}", bytes.len());
        return Err(status::bad_field(field, problem));
    }
    borsh::from_slice(bytes).map_err(|error| status::bad_field(field, error))
}

async fn read_header(
    stream: &mut Streaming<v1::SubmitUpdateRequest>,
    timeout: Duration,
) -> Result<v1::UpdateHeader, Status> {
    let first = tokio::time::timeout(timeout, stream.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no header in time"))??;
    match first.and_then(|message| message.part) {
        Some(submit_update_request::Part::Header(header)) => Ok(header),
        _ => Err(status::bad_field(
            "part",
            "the first message must be the header",
        )),
    }
}

/// The payload as a byte stream. A chunk that is too long or not a chunk ends it with an error.
fn payload(stream: Streaming<v1::SubmitUpdateRequest>) -> impl tokio::io::AsyncRead + Unpin + Send {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let chunks = stream
        .timeout(UPLOAD_STALL)
        .map(move |message| match message {
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client sent nothing for {} s", UPLOAD_STALL.as_secs()),
            )),
            Ok(Err(error)) => Err(io::Error::other(error.message().to_owned())),
            Ok(Ok(message)) => match message.part {
                Some(submit_update_request::Part::Chunk(chunk))
                    if chunk.len() <= cifer_proto::MAX_CHUNK_BYTES =>
                {
                    Ok(chunk)
                }
                Some(submit_update_request::Part::Chunk(chunk)) => Err(invalid(format!(
                    "chunk of {} bytes, the limit is {}",
                    chunk.len(),
                    cifer_proto::MAX_CHUNK_BYTES
                ))),
                _ => Err(invalid(
                    "a second header; only chunks may follow the first".to_owned(),
                )),
            },
        });
    StreamReader::new(Box::pin(chunks) as Pin<Box<dyn tokio_stream::Stream<Item = _> + Send>>)
}

#[tonic::async_trait]
impl contribute_service_server::ContributeService for Contribute {
    type WatchUpdateStream = Streamed<v1::WatchUpdateResponse>;

    async fn get_current_round(
        &self,
        request: Request<v1::GetCurrentRoundRequest>,
    ) -> Result<Response<v1::GetCurrentRoundResponse>, Status> {
        let request = request.into_inner();
        let id = TaskId(request.task);
        let state = self.node.state();
        let task = state
            .tasks
            .get(&id)
            .ok_or_else(|| rounds::unknown_task(id))?;
        let standing = if request.contributor.is_empty() {
            v1::ContributorStanding::Unspecified
        } else {
            let key = convert::public_key("contributor", &request.contributor)?;
            standing(&self.node, task, ContributorId(key))
        };
        let finished = task.phase == Phase::Complete;
        let round = match convert::current_round(task) {
            Some(round) => Some(round),
            None => rounds::get(&self.node, id, None)?.summary,
        };
        Ok(Response::new(v1::GetCurrentRoundResponse {
            chain_id: self.node.chain_id().to_owned(),
            round,
            payload_bytes: convert::model_bytes(&task.task),
            max_abs_update: task.task.max_abs_update,
            standing: standing.into(),
            finished,
            height: state.height.0,
            block_time_ms: state.time_ms.0,
        }))
    }

    async fn submit_update(
        &self,
        request: Request<Streaming<v1::SubmitUpdateRequest>>,
    ) -> Result<Response<v1::SubmitUpdateResponse>, Status> {
        let mut stream = request.into_inner();
        let header = read_header(&mut stream, self.timeout).await?;
        let signed: SignedUpdate = decode("signed_update_borsh", &header.signed_update_borsh)?;
        if let Some(commitment) = &header.commitment
            && *commitment != convert::commitment(&signed.update)
        {
            return Err(status::bad_field(
                "commitment",
                "differs from signed_update_borsh",
            ));
        }
        let id = signed.id(self.node.chain_id());
        let outcome = tokio::select! {
            () = self.stop.cancelled() => return Err(Status::unavailable("the node is stopping")),
            outcome = self.node.submit_update(signed, payload(stream)) => outcome,
        };
        let verdict = match outcome.map_err(|error| status::submit_update(&error))? {
            SubmitOutcome::Certified { tx, receipts } => {
                submit_update_response::Verdict::Certified(v1::CertifiedUpdate {
                    tx_hash: tx.as_bytes().to_vec(),
                    receipts: convert::signatures(&receipts),
                })
            }
            SubmitOutcome::Rejected { reason, votes, tx } => {
                submit_update_response::Verdict::Rejected(v1::CertifiedRejection {
                    reason: convert::reject_reason(reason).into(),
                    rejections: convert::signatures(&votes),
                    tx_hash: tx.as_bytes().to_vec(),
                })
            }
        };
        Ok(Response::new(v1::SubmitUpdateResponse {
            update_id: id.0.to_vec(),
            verdict: Some(verdict),
        }))
    }

    async fn get_update_outcome(
        &self,
        request: Request<v1::GetUpdateOutcomeRequest>,
    ) -> Result<Response<v1::GetUpdateOutcomeResponse>, Status> {
        let id = Hash32(convert::bytes32(
            "update_id",
            &request.into_inner().update_id,
        )?);
        let outcome = Some(self.outcome(id)?);
        Ok(Response::new(v1::GetUpdateOutcomeResponse { outcome }))
    }

    async fn watch_update(
        &self,
        request: Request<v1::WatchUpdateRequest>,
    ) -> Result<Response<Self::WatchUpdateStream>, Status> {
        let id = Hash32(convert::bytes32(
            "update_id",
            &request.into_inner().update_id,
        )?);
        // Subscribed first, so that no change falls between the first answer and the wait.
        let mut committed = self.node.subscribe();
        let mut outcome = self.outcome(id)?;
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let node = self.node.clone();
        self.node.spawn(async move {
            loop {
                let last = is_final(&outcome);
                let message = v1::WatchUpdateResponse {
                    outcome: Some(outcome.clone()),
                };
                if sender.send(Ok(message)).await.is_err() || last {
                    return;
                }
                loop {
                    if committed.recv().await.is_err_and(|error| {
                        error == tokio::sync::broadcast::error::RecvError::Closed
                    }) {
                        return;
                    }
                    let Some(standing) = node.update_standing(id) else {
                        return;
                    };
                    let Ok(now) = outcome_of(&node, id, standing) else {
                        return;
                    };
                    if now != outcome {
                        outcome = now;
                        break;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let bytes = request.into_inner().registration_borsh;
        let registration: Registration = decode("registration_borsh", &bytes)?;
        let tx = self
            .node
            .submit_tx(Transaction::Register(registration))
            .map_err(|error| status::submit_tx(&error))?;
        Ok(Response::new(v1::RegisterResponse {
            tx_hash: tx.as_bytes().to_vec(),
        }))
    }
}

/// Where a contributor stands in the current round.
fn standing(
    node: &Node,
    task: &cifer_chain::TaskState,
    contributor: ContributorId,
) -> v1::ContributorStanding {
    if !node.state().contributors.contains_key(&contributor) {
        return v1::ContributorStanding::Unregistered;
    }
    match task.turn(&contributor) {
        Some(Turn::Accepted(_)) => v1::ContributorStanding::Accepted,
        Some(Turn::Rejected(_)) => v1::ContributorStanding::Rejected,
        None if node.is_pending(task.task.id, task.round, contributor) => {
            v1::ContributorStanding::Pending
        }
        None => v1::ContributorStanding::MaySubmit,
    }
}

fn is_final(outcome: &v1::UpdateOutcome) -> bool {
    matches!(
        outcome.state(),
        v1::UpdateState::Aggregated | v1::UpdateState::Rejected | v1::UpdateState::Expired
    )
}

/// An update's outcome, given which round and contributor it belongs to.
fn outcome_of(
    node: &Node,
    id: Hash32,
    standing: UpdateStanding,
) -> Result<v1::UpdateOutcome, Status> {
    let UpdateStanding {
        task,
        round,
        contributor,
    } = standing;
    let store = node.store();
    let mut outcome = v1::UpdateOutcome {
        update_id: id.0.to_vec(),
        state: v1::UpdateState::Pending.into(),
        task: task.0,
        round: round.0,
        ..Default::default()
    };
    let record = store.round(task, round).map_err(status::store)?;
    let turn = store
        .turn(task, round, contributor)
        .map_err(status::store)?;
    if let Some(record) = &record {
        outcome.model_root = record.model().as_bytes().to_vec();
    }
    match turn {
        Some(Turn::Accepted(turn)) if convert::update_id(node.chain_id(), &turn.update) == id => {
            outcome.tx_hash = turn.tx.as_bytes().to_vec();
            outcome.height = Some(turn.height.0);
            outcome.set_state(match record.map(|record| record.outcome) {
                None => v1::UpdateState::Committed,
                Some(Outcome::Finalised(_)) => v1::UpdateState::Aggregated,
                Some(Outcome::Aborted(_)) => v1::UpdateState::Expired,
            });
        }
        Some(Turn::Rejected(turn)) if convert::update_id(node.chain_id(), &turn.update) == id => {
            outcome.tx_hash = turn.tx.as_bytes().to_vec();
            outcome.height = Some(turn.height.0);
            outcome.set_state(v1::UpdateState::Rejected);
            outcome.set_reason(convert::reject_reason(turn.reason));
        }
        _ if record.is_some() => outcome.set_state(v1::UpdateState::Expired),
        _ => {}
    }
    Ok(outcome)
}
