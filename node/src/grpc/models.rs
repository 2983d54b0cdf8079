//! Model downloads: a header with the certificate, then the bytes from disk, a chunk at a time.

use cifer_chain::{AggregateCertificate, ModelRoot, Outcome, RoundId, Store, TaskId, TaskState};
use cifer_dataplane::{StoreError, store::BlobReader};
use cifer_proto::v1::{self, download_model_request, download_model_response};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{convert, query::Streamed, rounds, status};
use crate::core::Node;

/// Chunks read ahead of a slow client: 1 MiB a download.
const READ_AHEAD: usize = 4;
/// How far back a root is looked for: as many models as a node may keep by default, and some.
const SEARCHED_ROUNDS: u64 = 64;

/// A model and what proves it.
struct Found {
    root: ModelRoot,
    round: Option<RoundId>,
    certificate: Option<AggregateCertificate>,
}

/// Starts a download.
pub(crate) async fn download(
    node: &Node,
    request: v1::DownloadModelRequest,
) -> Result<Streamed<v1::DownloadModelResponse>, Status> {
    let task_id = TaskId(request.task);
    let state = node.state();
    let task = state
        .tasks
        .get(&task_id)
        .ok_or_else(|| rounds::unknown_task(task_id))?;
    let found = find(node, task, request.model)?;
    let length_bytes = convert::model_bytes(&task.task);
    if request.offset > length_bytes {
        let problem = format!(
            "{} is beyond the model's {length_bytes} bytes",
            request.offset
        );
        return Err(status::bad_field("offset", problem));
    }
    // Opened before the answer, so that a sweep in between takes nothing away from this download.
    let mut chunk = Chunk::first(node, found.root, request.offset, length_bytes).await?;

    let header = v1::ModelHeader {
        root: found.root.as_bytes().to_vec(),
        length_bytes,
        offset: request.offset,
        round: found.round.map(|round| round.0),
        aggregate_certificate: found
            .certificate
            .as_ref()
            .map(convert::aggregate_certificate),
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(READ_AHEAD);
    node.spawn(async move {
        let mut part = download_model_response::Part::Header(header);
        loop {
            let message = v1::DownloadModelResponse { part: Some(part) };
            if sender.send(Ok(message)).await.is_err() || chunk.bytes.is_empty() {
                return;
            }
            part = download_model_response::Part::Chunk(std::mem::take(&mut chunk.bytes).into());
            chunk = match chunk.next().await {
                Ok(next) => next,
                Err(status) => {
                    let _ = sender.send(Err(status)).await;
                    return;
                }
            };
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// A part of a model, and where the next one begins. Each is one visit to a blocking thread, the first one
/// too: most models of a devnet are a single chunk, and eleven clients ask for each.
struct Chunk {
    model: BlobReader,
    bytes: Vec<u8>,
    at: u64,
    end: u64,
}

impl Chunk {
    async fn first(node: &Node, root: ModelRoot, at: u64, end: u64) -> Result<Self, Status> {
        let blobs = node.blobs().clone();
        let open = move || match blobs.open_read(&crate::core::blob(root.into())) {
            Err(StoreError::NotFound(_)) => {
                let text = format!("model {root} is not on this node (pruned, or not fetched yet)");
                Err(status::refusal(Code::Unavailable, "MODEL_NOT_HELD", text))
            }
            opened => opened.map_err(read_failed),
        };
        Self::read(open, at, end).await
    }

    /// The chunk after this one; empty after the last.
    async fn next(self) -> Result<Self, Status> {
        let Self { model, at, end, .. } = self;
        if at < end {
            return Self::read(move || Ok(model), at, end).await;
        }
        let bytes = Vec::new();
        Ok(Self {
            model,
            bytes,
            at,
            end,
        })
    }

    async fn read(
        open: impl FnOnce() -> Result<BlobReader, Status> + Send + 'static,
        at: u64,
        end: u64,
    ) -> Result<Self, Status> {
        let read = tokio::task::spawn_blocking(move || {
            let model = open()?;
            let len = (end - at).min(cifer_proto::MAX_CHUNK_BYTES as u64);
            let mut bytes = vec![0; len as usize];
            model.read_exact_at(&mut bytes, at).map_err(read_failed)?;
            let at = at + len;
            Ok(Self {
                model,
                bytes,
                at,
                end,
            })
        });
        read.await.unwrap_or_else(|panic| Err(read_failed(panic)))
    }
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn read_failed(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "model cannot be read");
    Status::internal(format!("the model cannot be read: {error}"))
}

/// Which model is meant, and the certificate that proves it.
fn find(
    node: &Node,
    task: &TaskState,
    selector: Option<download_model_request::Model>,
) -> Result<Found, Status> {
    match selector {
        Some(download_model_request::Model::Round(round)) => {
            let round = RoundId(round);
            let record = node
                .store()
                .round(task.task.id, round)
                .map_err(status::store)?;
            // A peer may be a block ahead of us: for the round that is going on, another gateway, or
            // this one a little later, may know.
            let record = record.ok_or_else(|| {
                let text = format!("round {round} has not ended on this node");
                if round == task.round {
                    status::refusal(Code::Unavailable, "ROUND_NOT_ENDED", text)
                } else {
                    status::not_found(text)
                }
            })?;
            by_root(node, task, record.model())
        }
        Some(download_model_request::Model::Root(root)) => by_root(
            node,
            task,
            ModelRoot::from_bytes(convert::bytes32("root", &root)?),
        ),
        None => by_root(node, task, task.model),
    }
}

/// Looks for the newest finalised round with this model. An aborted round keeps its base.
fn by_root(node: &Node, task: &TaskState, root: ModelRoot) -> Result<Found, Status> {
    let newest = task.round.0;
    // The record of the current round exists once the task is complete.
    for age in 0..=SEARCHED_ROUNDS.max(node.keep_models()) {
        let Some(round) = newest.checked_sub(age).map(RoundId) else {
            break;
        };
        let Some(record) = node
            .store()
            .round(task.task.id, round)
            .map_err(status::store)?
        else {
            continue;
        };
        if record.model() == root
            && let Outcome::Finalised(certificate) = record.outcome
        {
            return Ok(Found {
                root,
                round: Some(round),
                certificate: Some(certificate),
            });
        }
    }
    if root == task.task.initial_model {
        return Ok(Found {
            root,
            round: None,
            certificate: None,
        });
    }
    Err(status::not_found(format!(
        "no recent round of task {} has model {root}",
        task.task.id
    )))
}
