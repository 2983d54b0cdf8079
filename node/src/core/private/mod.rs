//! A validator's part in private rounds: share keys, the sums of its shares, accusations.
//!
//! Invariants: the secret of a share key is on disk before the key is published, and gone when the round is sealed
//! or over; a sum is made of shares that passed the check, over exactly the set that the ledger has fixed, and only
//! while the ledger takes it; decrypted shares are never on disk and are wiped when they have served.

mod keys;
pub(crate) mod open;
mod reopen;

use std::{collections::BTreeMap, fs::File, io, time::Duration};

use cifer_chain::{
    ContributorId, GroupIndex, KeyShareSum, Phase, PrivateRound, RoundId, RoundTerms, ShareFraud,
    ShareKey, Stage, State, TaskId, TaskState, Transaction, Update, ValidatorId,
    private::{
        contributor_set,
        payload::{Finding, OwnShare, Recipient, inspect, take_share},
        seat,
    },
};
use cifer_homocryption::ring::{RecipientSecret, RingError, ShareSum};
use rand::rngs::OsRng;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub(crate) use keys::ShareKeys;
pub use reopen::{ReopenError, Reopened, reopen_private_rounds};

use super::{Node, aggregate, mempool::MempoolError};

/// How often work that failed, or whose transaction was lost, is tried again. Not in the good path.
const RETRY: Duration = Duration::from_secs(2);

/// Accusations that wait for the accused update to be in a block: one a contributor and open round.
pub(crate) type Accusations = BTreeMap<(TaskId, RoundId, ContributorId), ShareFraud>;

/// Follows the chain until `stop`.
pub(crate) async fn run(node: Node, stop: CancellationToken) {
    let Some(validator) = node.validator() else {
        return;
    };
    let mut committed = node.subscribe();
    let mut worker = Worker {
        node,
        validator,
        job: None,
    };
    let mut retry = tokio::time::interval(RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = committed.recv() => match event {
                // The state says what there is to do, whatever notice of it we have lost.
                Ok(_) | Err(RecvError::Lagged(_)) => worker.advance(),
                Err(RecvError::Closed) => break,
            },
            _ = retry.tick() => worker.advance(),
        }
    }
    if let Some(job) = worker.job {
        job.abort();
    }
}

struct Worker {
    node: Node,
    validator: ValidatorId,
    /// The round whose shares are being summed.
    job: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the work that the state asks for.
    fn advance(&mut self) {
        let state = self.node.state();
        if state.tasks.values().all(|task| task.private().is_none()) {
            return;
        }
        for (id, task) in &state.tasks {
            if let Some(private) = task.private() {
                self.publish_key(*id, task);
                self.accuse(*id, task);
                self.sum(*id, task, private);
            }
        }
        self.forget(&state);
    }

    fn publish_key(&self, id: TaskId, task: &TaskState) {
        let Ok((round, known)) = task.keys_due() else {
            return;
        };
        if known.contains_key(&self.validator) {
            return;
        }
        let node = self.node.clone();
        self.node.spawn_blocking(move || {
            let secret = match node.share_keys().load_or_create(id, round) {
                Ok(secret) => secret,
                Err(error) => {
                    warn!(task = %id, %round, %error, "no share key: the disk failed");
                    return;
                }
            };
            let key = secret.public().to_bytes();
            let tx = ShareKey::sign(id, round, key, node.chain_id(), node.secret_key());
            submit(&node, Transaction::ShareKey(tx));
        });
    }

    /// Hands in what was found while judging, once the accused update is in a block.
    fn accuse(&self, id: TaskId, task: &TaskState) {
        let Phase::Open(open) = &task.phase else {
            return;
        };
        let mut accusations = super::lock(&self.node.0.accusations);
        accusations.retain(|(t, round, _), _| *t != id || *round >= task.round);
        for ((t, round, contributor), fraud) in accusations.iter() {
            if (*t, *round) == (id, task.round) && open.updates.contains_key(contributor) {
                submit(&self.node, Transaction::ShareFraud(fraud.clone()));
            }
        }
    }

    fn sum(&mut self, id: TaskId, task: &TaskState, private: &PrivateRound) {
        if self.job.as_ref().is_some_and(JoinHandle::is_finished) {
            self.job = None;
        }
        let waits = !missing_sums(private, &self.validator).is_empty();
        if self.job.is_none() && waits {
            let (node, round) = (self.node.clone(), task.round);
            self.job = Some(tokio::spawn(sum_round(node, self.validator, id, round)));
        }
    }

    /// Removes the secrets that have served.
    fn forget(&self, state: &State) {
        let needed: BTreeMap<TaskId, (RoundId, bool)> = state
            .tasks
            .iter()
            .filter(|(_, task)| task.phase != Phase::Complete)
            .filter_map(|(id, task)| {
                let sealed = matches!(task.private()?.stage, Stage::Sealed { .. });
                Some((*id, (task.round, sealed)))
            })
            .collect();
        let node = self.node.clone();
        self.node.spawn_blocking(move || {
            let removed = node.share_keys().remove_unless(|task, round| {
                let current = needed.get(&task);
                current.is_some_and(|(now, sealed)| round > *now || (round == *now && !sealed))
            });
            match removed {
                Ok(0) => {}
                Ok(removed) => debug!(removed, "share keys of sealed rounds removed"),
                Err(error) => warn!(%error, "share keys not removed; they are tried again"),
            }
        });
    }
}

/// Live groups whose sum by this validator is not in a block yet. None without a share key of ours.
fn missing_sums(private: &PrivateRound, validator: &ValidatorId) -> Vec<GroupIndex> {
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

/// Submits; what is known or has become stale meanwhile needs no more attention.
fn submit(node: &Node, tx: Transaction) {
    match node.submit_tx(tx) {
        Ok(_) | Err(super::SubmitTxError::Mempool(MempoolError::Known(_))) => {}
        Err(error) => debug!(%error, "transaction of a private round not submitted"),
    }
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

/// Makes and publishes our sums of a closed round, group by group.
async fn sum_round(node: Node, validator: ValidatorId, task: TaskId, round: RoundId) {
    let state = node.state();
    let groups = match state.tasks.get(&task).and_then(TaskState::private) {
        Some(private) if private.round == round => missing_sums(private, &validator),
        _ => return,
    };
    for group in groups {
        match sum_group(&node, &validator, &state, (task, round, group)).await {
            Ok(()) => debug!(%task, %round, group, "our sum of key shares is published"),
            Err(error) => warn!(%task, %round, group, %error, "no sum of key shares yet"),
        }
    }
}

async fn sum_group(
    node: &Node,
    validator: &ValidatorId,
    state: &State,
    (task, round, index): (TaskId, RoundId, GroupIndex),
) -> Result<(), SumError> {
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
    let worker = node.clone();
    let summed = tokio::task::spawn_blocking(move || {
        let secret = secret(&worker, task, round, own.key)
            .map_err(|error| SumError::NoSecret(error.to_string()))?;
        sum_shares(&worker, &terms, &updates, own.seat, &secret)
    });
    match summed
        .await
        .map_err(|error| SumError::Worker(error.to_string()))??
    {
        Summed::Sum(shares) => {
            let place = (task, round, index);
            let key = node.secret_key();
            let sum = KeyShareSum::sign(place, set, shares, node.chain_id(), key);
            submit(node, Transaction::KeyShareSum(sum));
        }
        Summed::Fraud(fraud) => {
            info!(%task, %round, contributor = %fraud.contributor, "a bad share is exposed");
            submit(node, Transaction::ShareFraud(*fraud));
        }
    }
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
        let path = node.blobs().path(&super::blob(update.payload));
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

/// The cryptographic terms of a task's current round, once its groups are formed.
pub(crate) fn terms(state: &State, task: &TaskState) -> Option<RoundTerms> {
    let (chain_id, validators) = (&state.chain_id, &state.validators);
    RoundTerms::new(
        chain_id,
        &task.task,
        task.round,
        validators,
        task.private()?,
    )
    .ok()
    .flatten()
}

/// Our share key of the current round, as the ledger has it.
#[derive(Clone, Copy)]
struct OwnKey {
    seat: usize,
    key: [u8; 32],
}

fn own_key(state: &State, task: &TaskState, validator: &ValidatorId) -> Option<OwnKey> {
    Some(OwnKey {
        seat: seat(&state.validators, validator)?,
        key: *task.private()?.keys.get(validator)?,
    })
}

/// The secret of the key that the ledger has; that of any other is of no use.
fn secret(
    node: &Node,
    task: TaskId,
    round: RoundId,
    published: [u8; 32],
) -> io::Result<RecipientSecret> {
    let lost = |text: &str| io::Error::new(io::ErrorKind::NotFound, text.to_owned());
    let secret = node.share_keys().load(task, round)?;
    let secret = secret.ok_or_else(|| lost("its file is not there"))?;
    if secret.public().to_bytes() == published {
        Ok(secret)
    } else {
        Err(lost("its file holds another one"))
    }
}

/// Judges the payload of an encrypted update, which is in our store. Runs on a blocking thread.
pub(crate) fn judge(
    node: &Node,
    state: &State,
    update: &Update,
    path: &std::path::Path,
) -> io::Result<Option<Finding>> {
    let current = state.tasks.get(&update.task);
    let Some(task) = current.filter(|task| task.round == update.round) else {
        return Ok(None);
    };
    let Some(terms) = terms(state, task) else {
        return Ok(None);
    };
    // Without the secret the form can be judged all the same; we will have no sum to give.
    let own = node.validator().and_then(|validator| {
        let own = own_key(state, task, &validator)?;
        match secret(node, update.task, update.round, own.key) {
            Ok(secret) => Some((own.seat, secret)),
            Err(error) => {
                warn!(%error, "the secret of our share key is lost");
                None
            }
        }
    });
    let own = own.as_ref().map(|(seat, secret)| Recipient {
        seat: *seat,
        secret,
    });
    let payload = File::open(path)?;
    inspect(&terms, update, own, payload, &mut OsRng).map(Some)
}

impl Node {
    pub(crate) fn share_keys(&self) -> &ShareKeys {
        &self.0.parts.share_keys
    }

    /// Keeps an accusation until the accused update is in a block.
    pub(crate) fn keep_accusation(&self, fraud: ShareFraud) {
        let key = (fraud.task, fraud.round, fraud.contributor);
        super::lock(&self.0.accusations).insert(key, fraud);
    }
}
