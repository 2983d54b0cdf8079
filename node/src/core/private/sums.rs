//! Our sums of key shares of a closed round.
//!
//! Invariants: a sum is made of shares that passed the check, over exactly the set that the ledger has fixed, and
//! made once: what is handed in again is the same transaction.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, Mutex},
};

use cifer_chain::{
    GroupIndex, KeyShareSum, Phase, PrivateRound, RoundId, RoundTerms, ShareFraud, Stage, State,
    TaskId, TaskState, Transaction, Update, ValidatorId,
    private::{
        contributor_set,
        payload::{OwnShare, Recipient, take_share},
    },
};
use cifer_homocryption::ring::{RecipientSecret, RingError, ShareSum};
use rand::rngs::OsRng;
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::{debug, info, warn};

use super::{own_key, secret, submit, terms};
use crate::core::{Node, aggregate};

/// Groups whose shares are decrypted at the same time.
const GROUPS_AT_A_TIME: usize = 2;

/// What was made of groups of rounds that are closed, to hand it in again until it is in a block.
pub(super) type Made = Arc<Mutex<BTreeMap<(TaskId, RoundId, GroupIndex), Transaction>>>;

/// Live groups whose sum by this validator is not in a block yet. None without a share key of ours.
pub(super) fn missing_sums(private: &PrivateRound, validator: &ValidatorId) -> Vec<GroupIndex> {
    let Stage::Closed { groups, .. } = &private.stage else {
        return Vec::new();
    };
    if !private.keys.contains_key(validator) {
        return Vec::new();
    }
    (0..)
        .zip(groups)
        .filter(|(_, group)| group.is_live() && !group.sums.contains_key(validator))
        .map(|(index, _)| index)
        .collect()
}

/// Why sums are not made now. All of these are tried again while the round is closed.
#[derive(Debug, thiserror::Error)]
enum SumError {
    #[error("the round is not closed any more")]
    NotClosed,
    #[error("the secret of our share key is lost: {0}")]
    NoSecret(String),
    #[error(transparent)]
    Blob(#[from] aggregate::ComputeError),
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error("payload {0} was removed meanwhile")]
    Removed(cifer_chain::BlobHash),
    #[error("worker: {0}")]
    Worker(String),
}

/// Makes and publishes our sums of a closed round. Groups do not wait for each other: a payload that somebody trickles
/// holds up its own group alone.
pub(super) async fn sum_round(
    node: Node,
    validator: ValidatorId,
    place: (TaskId, RoundId),
    made: Made,
) {
    let (task, round) = place;
    let state = node.state();
    let groups = match state.tasks.get(&task).and_then(TaskState::private) {
        Some(private) if private.round == round => missing_sums(private, &validator),
        _ => return,
    };
    let turns = Arc::new(Semaphore::new(GROUPS_AT_A_TIME));
    let mut jobs = JoinSet::new();
    for group in groups {
        let (node, state, made) = (node.clone(), Arc::clone(&state), made.clone());
        let turns = Arc::clone(&turns);
        jobs.spawn(async move {
            match sum_group(
                &node,
                &validator,
                &state,
                (task, round, group),
                &made,
                &turns,
            )
            .await
            {
                Ok(()) => debug!(%task, %round, group, "our sum of key shares is published"),
                Err(error) => warn!(%task, %round, group, %error, "no sum of key shares yet"),
            }
        });
    }
    while jobs.join_next().await.is_some() {}
}

async fn sum_group(
    node: &Node,
    validator: &ValidatorId,
    state: &State,
    place: (TaskId, RoundId, GroupIndex),
    made: &Made,
    turns: &Semaphore,
) -> Result<(), SumError> {
    let known = crate::core::lock(made).get(&place).cloned();
    if let Some(known) = known {
        submit(node, known);
        return Ok(());
    }
    let (task, round, index) = place;
    let current = state.tasks.get(&task).ok_or(SumError::NotClosed)?;
    let (terms, updates) = cohort(state, current, index).ok_or(SumError::NotClosed)?;
    for update in &updates {
        aggregate::need(node, update.payload, update.payload_bytes).await?;
    }
    let set = current
        .private()
        .and_then(|private| private.stage.groups().get(index as usize))
        .map(|group| group.set)
        .ok_or(SumError::NotClosed)?;
    let own = own_key(state, current, validator).ok_or(SumError::NotClosed)?;
    let _turn = turns.acquire().await;
    let worker = node.clone();
    let summed = tokio::task::spawn_blocking(move || {
        let secret = secret(&worker, task, round, own.key)
            .map_err(|error| SumError::NoSecret(error.to_string()))?;
        sum_shares(&worker, &terms, &updates, own.seat, &secret)
    });
    let summed = summed
        .await
        .map_err(|error| SumError::Worker(error.to_string()))??;
    let tx = match summed {
        Summed::Sum(shares) => {
            let key = node.secret_key();
            let sum = KeyShareSum::sign(place, set, shares, node.chain_id(), key);
            Transaction::KeyShareSum(sum)
        }
        Summed::Fraud(fraud) => {
            info!(%task, %round, contributor = %fraud.contributor, "a bad share is exposed");
            Transaction::ShareFraud(*fraud)
        }
    };
    crate::core::lock(made).insert(place, tx.clone());
    submit(node, tx);
    Ok(())
}

enum Summed {
    Sum(Vec<u8>),
    Fraud(Box<ShareFraud>),
}

/// Runs on a blocking thread.
fn sum_shares(
    node: &Node,
    terms: &RoundTerms,
    updates: &[Update],
    seat: usize,
    secret: &RecipientSecret,
) -> Result<Summed, SumError> {
    let mut shares = Vec::with_capacity(updates.len());
    for update in updates {
        let path = node.blobs().path(&crate::core::blob(update.payload));
        let path = path.ok_or(SumError::Removed(update.payload))?;
        let mut payload = File::open(path).map_err(RingError::from)?;
        let own = Recipient { seat, secret };
        match take_share(terms, update, own, &mut payload, &mut OsRng)? {
            OwnShare::Good(share) => shares.push(share),
            OwnShare::Bad(fraud) => return Ok(Summed::Fraud(fraud)),
        }
    }
    let contributors: Vec<_> = updates.iter().map(|update| update.contributor).collect();
    let set = contributor_set(&contributors)?;
    Ok(Summed::Sum(ShareSum::of(&set, &shares)?.to_bytes()))
}

/// The updates of a closed group's cohort, sorted by contributor, and the round's terms.
fn cohort(state: &State, task: &TaskState, index: GroupIndex) -> Option<(RoundTerms, Vec<Update>)> {
    let Phase::Closed(closed) = &task.phase else {
        return None;
    };
    let group = task.private()?.stage.groups().get(index as usize)?;
    let updates = closed.updates.iter().map(|turn| &turn.update);
    let updates = updates.filter(|u| group.cohort.binary_search(&u.contributor).is_ok());
    Some((terms(state, task)?, updates.cloned().collect()))
}
