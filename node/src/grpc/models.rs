//! Model downloads: a header with the certificate, then the bytes from disk, a chunk at a time.

use cifer_chain::{AggregateCertificate, ModelRoot, Outcome, RoundId, Store, TaskId, TaskState};
use cifer_proto::v1::{self, download_model_request, download_model_response};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
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
    let path = node
        .blobs()
        .path(&crate::core::blob(found.root.into()))
        .ok_or_else(|| {
            let text = format!(
                "model {} is not on this node (pruned, or not fetched yet)",
                found.root
            );
            status::refusal(Code::Unavailable, "MODEL_NOT_HELD", text)
        })?;
    let mut file = tokio::fs::File::open(path).await.map_err(read_failed)?;
    file.seek(std::io::SeekFrom::Start(request.offset))
        .await
        .map_err(read_failed)?;

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
        let part = download_model_response::Part::Header(header);
        let mut message = Ok(v1::DownloadModelResponse { part: Some(part) });
        loop {
            let ended = message.is_err();
            if sender.send(message).await.is_err() || ended {
                return;
            }
            let mut chunk = Vec::with_capacity(cifer_proto::MAX_CHUNK_BYTES);
            message = match (&mut file)
                .take(cifer_proto::MAX_CHUNK_BYTES as u64)
                .read_to_end(&mut chunk)
                .await
            {
                Ok(0) => return,
                Ok(_) => {
                    let part = download_model_response::Part::Chunk(chunk.into());
                    Ok(v1::DownloadModelResponse { part: Some(part) })
                }
                Err(error) => Err(read_failed(error)),
            };
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn read_failed(error: std::io::Error) -> Status {
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
