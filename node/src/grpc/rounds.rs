//! Rounds: the current one from the state, past ones from their records.

use cifer_chain::{Outcome, Phase, RoundId, RoundRecord, Store, TaskId};
use cifer_proto::v1;
use tonic::{Code, Status};

use super::{convert, status};
use crate::core::Node;

pub(crate) fn unknown_task(task: TaskId) -> Status {
    status::refusal(
        Code::NotFound,
        "UNKNOWN_TASK",
        format!("unknown task {task}"),
    )
}

/// One round; the current one, or the last of a complete task, when none is named.
pub(crate) fn get(
    node: &Node,
    task: TaskId,
    round: Option<RoundId>,
) -> Result<v1::GetRoundResponse, Status> {
    let state = node.state();
    let current = state.tasks.get(&task).ok_or_else(|| unknown_task(task))?;
    let round = round.unwrap_or(current.round);
    if round == current.round
        && let Some(summary) = convert::current_round(current)
    {
        return Ok(running(node, current, summary));
    }
    let record = node.store().round(task, round).map_err(status::store)?;
    let record = record
        .ok_or_else(|| status::not_found(format!("task {task} has had no round {round} yet")))?;
    Ok(ended(node, &record, current.definition))
}

fn running(
    node: &Node,
    task: &cifer_chain::TaskState,
    summary: v1::RoundSummary,
) -> v1::GetRoundResponse {
    let chain_id = node.chain_id();
    let (accepted, rejected, update_set) = match &task.phase {
        Phase::Open(open) => (
            open.updates
                .values()
                .map(|turn| convert::accepted(chain_id, turn))
                .collect(),
            open.rejected
                .values()
                .map(|turn| convert::rejected(chain_id, turn))
                .collect(),
            Vec::new(),
        ),
        Phase::Closed(closed) => (
            closed
                .updates
                .iter()
                .map(|turn| convert::accepted(chain_id, turn))
                .collect(),
            closed
                .rejected
                .iter()
                .map(|turn| convert::rejected(chain_id, turn))
                .collect(),
            closed.update_set.0.to_vec(),
        ),
        Phase::Complete => (Vec::new(), Vec::new(), Vec::new()),
    };
    v1::GetRoundResponse {
        summary: Some(summary),
        accepted,
        rejected,
        update_set_root: update_set,
        rule_hash: task.definition.0.to_vec(),
        aggregate_certificate: None,
    }
}

fn ended(
    node: &Node,
    record: &RoundRecord,
    definition: cifer_chain::Hash32,
) -> v1::GetRoundResponse {
    let chain_id = node.chain_id();
    let certificate = match &record.outcome {
        Outcome::Finalised(certificate) => Some(convert::aggregate_certificate(certificate)),
        Outcome::Aborted(_) => None,
    };
    v1::GetRoundResponse {
        summary: Some(convert::round_record(record)),
        accepted: record
            .accepted
            .iter()
            .map(|turn| convert::accepted(chain_id, turn))
            .collect(),
        rejected: record
            .rejected
            .iter()
            .map(|turn| convert::rejected(chain_id, turn))
            .collect(),
        update_set_root: record
            .update_set()
            .map(|root| root.0.to_vec())
            .unwrap_or_default(),
        rule_hash: definition.0.to_vec(),
        aggregate_certificate: certificate,
    }
}

/// A page, newest first. The token is the next round to show.
pub(crate) fn list(
    node: &Node,
    request: &v1::ListRoundsRequest,
) -> Result<v1::ListRoundsResponse, Status> {
    let task = TaskId(request.task);
    let state = node.state();
    let current = state.tasks.get(&task).ok_or_else(|| unknown_task(task))?;
    let size = match request.page_size {
        0 => cifer_proto::DEFAULT_PAGE_SIZE,
        size => size.min(cifer_proto::MAX_PAGE_SIZE),
    };
    let mut next = match request.page_token.as_str() {
        "" => Some(current.round.0),
        token => Some(
            token
                .parse::<u64>()
                .map_err(|_| status::bad_field("page_token", "not a token of this service"))?,
        ),
    };
    let mut page = Vec::new();
    while let Some(round) = next
        && page.len() < size as usize
    {
        // A complete task stays at its last round, of which there is a record.
        let running = (round == current.round.0)
            .then(|| convert::current_round(current))
            .flatten();
        if let Some(summary) = running {
            page.push(summary);
        } else if let Some(record) = node
            .store()
            .round(task, RoundId(round))
            .map_err(status::store)?
        {
            page.push(convert::round_record(&record));
        }
        next = round.checked_sub(1);
    }
    let next_page_token = next.map(|round| round.to_string()).unwrap_or_default();
    Ok(v1::ListRoundsResponse {
        rounds: page,
        next_page_token,
    })
}
