//! Subscriptions: past blocks from the store, then live ones, without a gap between the two.

use std::{collections::BTreeSet, sync::Arc};

use cifer_chain::{
    BlockHash, Event, Header, Height, ModelRoot, RoundId, State, Store, TaskId, TimestampMs,
};
use cifer_proto::v1::{self, subscribe_response};
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{convert, query::Streamed, status};
use crate::core::{Committed, Node};

/// Events on the way to one subscriber: small messages of about 150 bytes.
const BUFFERED: usize = 256;

/// One subscriber.
struct Subscriber {
    node: Node,
    tasks: BTreeSet<TaskId>,
    out: mpsc::Sender<Result<v1::SubscribeResponse, Status>>,
}

/// The subscriber has gone.
struct Gone;

/// Starts a subscription.
pub(crate) fn subscribe(
    node: &Node,
    request: v1::SubscribeRequest,
    stop: CancellationToken,
) -> Result<Streamed<v1::SubscribeResponse>, Status> {
    if request.tasks.len() > cifer_proto::MAX_SUBSCRIBED_TASKS {
        let limit = cifer_proto::MAX_SUBSCRIBED_TASKS;
        let problem = format!("{} tasks, the limit is {limit}", request.tasks.len());
        return Err(status::bad_field("tasks", problem));
    }
    let (out, receiver) = mpsc::channel(BUFFERED);
    let subscriber = Subscriber {
        node: node.clone(),
        tasks: request.tasks.into_iter().map(TaskId).collect(),
        out,
    };
    // Subscribed before the tip is read, so that no block falls between past and live.
    let live = node.subscribe();
    let tip = node.state().height;
    let from = request
        .from_height
        .map_or(Height(tip.0.saturating_add(1)), Height);
    node.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = subscriber.run(from, tip, live) => {}
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

impl Subscriber {
    async fn run(
        self,
        from: Height,
        tip: Height,
        mut live: broadcast::Receiver<Arc<Committed>>,
    ) -> Result<(), Gone> {
        let mut next = from.0.max(1);
        while next <= tip.0 {
            self.past(Height(next)).await?;
            next += 1;
        }
        loop {
            match live.recv().await {
                Ok(block) if block.header.height.0 < next => {}
                Ok(block) => {
                    // A gap would mean lost blocks; the store has them.
                    while next < block.header.height.0 {
                        self.past(Height(next)).await?;
                        next += 1;
                    }
                    let (header, count) = (&block.header, block.tx_count);
                    let changes = block
                        .changes
                        .get_or_init(|| round_changes(&self.node, &block.events));
                    self.block(header, block.hash, count, changes).await?;
                    next += 1;
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let text = format!("too far behind; subscribe again from height {next}");
                    let _ = self
                        .out
                        .send(Err(status::refusal(
                            Code::ResourceExhausted,
                            "LAGGED",
                            text,
                        )))
                        .await;
                    return Err(Gone);
                }
                Err(broadcast::error::RecvError::Closed) => return Err(Gone),
            }
        }
    }

    async fn past(&self, height: Height) -> Result<(), Gone> {
        let store = self.node.store();
        let read = store
            .block(height)
            .and_then(|block| Ok((block, store.events(height)?)));
        match read {
            Ok((Some(block), events)) => {
                let count = block.transactions.len();
                let changes = round_changes(&self.node, &events.unwrap_or_default());
                self.block(&block.header, block.hash(), count, &changes)
                    .await
            }
            Ok((None, _)) => Ok(()),
            Err(error) => {
                let _ = self.out.send(Err(status::store(error))).await;
                Err(Gone)
            }
        }
    }

    async fn block(
        &self,
        header: &Header,
        hash: BlockHash,
        tx_count: usize,
        changes: &[v1::RoundChanged],
    ) -> Result<(), Gone> {
        let committed = v1::BlockCommitted {
            hash: hash.as_bytes().to_vec(),
            state_root: header.state_root.as_bytes().to_vec(),
            tx_count: u32::try_from(tx_count).unwrap_or(u32::MAX),
        };
        self.send(header, subscribe_response::Event::BlockCommitted(committed))
            .await?;
        for changed in changes {
            if self.tasks.is_empty() || self.tasks.contains(&TaskId(changed.task)) {
                let event = subscribe_response::Event::RoundChanged(changed.clone());
                self.send(header, event).await?;
            }
        }
        Ok(())
    }

    async fn send(&self, header: &Header, event: subscribe_response::Event) -> Result<(), Gone> {
        let message = v1::SubscribeResponse {
            height: header.height.0,
            time_ms: header.time_ms.0,
            event: Some(event),
        };
        self.out.send(Ok(message)).await.map_err(|_| Gone)
    }
}

/// What these events tell subscribers, in order.
fn round_changes(node: &Node, events: &[Event]) -> Vec<v1::RoundChanged> {
    let state = node.state();
    let changes = events.iter();
    changes
        .filter_map(|event| round_changed(node, &state, event))
        .collect()
}

fn round_changed(node: &Node, state: &State, event: &Event) -> Option<v1::RoundChanged> {
    let (task, round, transition, model, deadline) = match event {
        Event::RoundOpened {
            task,
            round,
            base,
            deadline_ms,
        } => (
            *task,
            *round,
            v1::RoundTransition::Opened,
            Some(*base),
            Some(*deadline_ms),
        ),
        Event::RoundExtended {
            task,
            round,
            deadline_ms,
            ..
        } => (
            *task,
            *round,
            v1::RoundTransition::Extended,
            None,
            Some(*deadline_ms),
        ),
        Event::RoundClosed { task, round, .. } => {
            (*task, *round, v1::RoundTransition::Closed, None, None)
        }
        Event::RoundFinalised {
            task, round, model, ..
        } => (
            *task,
            *round,
            v1::RoundTransition::Finalised,
            Some(*model),
            None,
        ),
        Event::RoundAborted { task, round, .. } => {
            (*task, *round, v1::RoundTransition::Aborted, None, None)
        }
        _ => return None,
    };
    let place = (task, round);
    Some(describe(node, state, place, transition, model, deadline))
}

fn describe(
    node: &Node,
    state: &State,
    (task, round): (TaskId, RoundId),
    transition: v1::RoundTransition,
    model: Option<ModelRoot>,
    deadline: Option<TimestampMs>,
) -> v1::RoundChanged {
    let record = node.store().round(task, round).ok().flatten();
    let current = state.tasks.get(&task);
    let summary = match &record {
        Some(record) => Some(convert::round_record(record)),
        None => current
            .filter(|t| t.round == round)
            .and_then(convert::current_round),
    };
    let model = model
        .or_else(|| record.as_ref().map(cifer_chain::RoundRecord::model))
        .or_else(|| current.map(|task| task.model));
    let (accepted, rejected) = match transition {
        v1::RoundTransition::Opened => (0, 0),
        _ => summary
            .as_ref()
            .map_or((0, 0), |summary| (summary.accepted, summary.rejected)),
    };
    v1::RoundChanged {
        task: task.0,
        round: round.0,
        transition: transition.into(),
        model_root: model
            .map(|model| model.as_bytes().to_vec())
            .unwrap_or_default(),
        accepted,
        rejected,
        deadline_ms: deadline.map_or_else(
            || summary.map_or(0, |s| s.deadline_ms),
            |deadline| deadline.0,
        ),
    }
}
