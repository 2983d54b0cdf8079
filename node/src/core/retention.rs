//! Which blobs are kept: the models of the last rounds, the payloads of the open and last rounds.
//! Everything else is removed after a round ends, so that the disk does not grow with the chain.

use std::collections::BTreeSet;

use cifer_chain::{BlobHash, Phase, RoundId, Store};
use tracing::{debug, warn};

use super::Node;

/// Removes what nobody will ask for any more.
pub(crate) fn sweep(node: &Node) {
    let node = node.clone();
    node.clone().spawn_blocking(move || {
        // Listed before the live set is made: what is stored from now on is not looked at.
        let stored = node.blobs().list();
        match live(&node) {
            Ok(live) => remove_others(&node, stored, &live),
            Err(error) => warn!(%error, "blobs not swept"),
        }
    });
}

/// Blobs that the state, recent rounds or updates in flight refer to.
fn live(node: &Node) -> Result<BTreeSet<BlobHash>, cifer_chain::StoreError> {
    let state = node.state();
    let retention = node.retention();
    let mut live: BTreeSet<BlobHash> = node.judge().payloads();
    for (id, task) in &state.tasks {
        live.insert(task.model.into());
        live.insert(task.task.initial_model.into());
        match &task.phase {
            Phase::Open(open) => {
                live.extend(open.updates.values().map(|turn| turn.update.payload));
            }
            Phase::Closed(closed) => {
                live.extend(closed.updates.iter().map(|turn| turn.update.payload));
            }
            Phase::Complete => {}
        }
        // The record of the current round exists once the task is complete.
        for age in 0..=retention.keep_models.max(retention.keep_rounds) {
            let Some(round) = task.round.0.checked_sub(age) else {
                break;
            };
            let Some(record) = node.store().round(*id, RoundId(round))? else {
                continue;
            };
            if age <= retention.keep_models {
                live.insert(record.model().into());
                live.insert(record.base.into());
            }
            if age <= retention.keep_rounds {
                live.extend(record.accepted.iter().map(|turn| turn.update.payload));
            }
        }
    }
    Ok(live)
}

fn remove_others(
    node: &Node,
    stored: Vec<(cifer_dataplane::BlobHash, u64)>,
    live: &BTreeSet<BlobHash>,
) {
    for (blob, _) in stored {
        let hash = BlobHash::from_bytes(*blob.as_bytes());
        if !live.contains(&hash) && !node.is_in_flight(hash) {
            match node.blobs().remove(&blob) {
                Ok(_) => debug!(%hash, "blob removed"),
                Err(error) => warn!(%hash, %error, "blob not removed"),
            }
        }
    }
}
