//! A validator's part in private rounds: share keys, the sums of its shares, accusations.
//!
//! Invariants: the secret of a share key is on disk before the key is published, and gone when the round is sealed
//! or over; sums are made only while the ledger takes them; decrypted shares are never on disk and are wiped when they
//! have served.

mod keys;
pub(crate) mod open;
mod reopen;
mod sums;

use std::{collections::BTreeMap, fs::File, io, sync::Arc, time::Duration};

use cifer_chain::{
    ContributorId, Phase, PrivateRound, RoundId, RoundTerms, ShareFraud, ShareKey, Stage, State,
    TaskId, TaskState, Transaction, Update, ValidatorId,
    private::{
        payload::{Finding, Recipient, inspect},
        seat,
    },
};
use cifer_homocryption::ring::RecipientSecret;
use rand::rngs::OsRng;
use tokio::{
    sync::broadcast::error::RecvError,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use sums::{Made, missing_sums, sum_round};

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
        fetching: None,
        made: Made::default(),
    };
    worker.node.remove_scratch();
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
    for job in worker
        .job
        .map(|(_, job)| job)
        .into_iter()
        .chain(worker.fetching)
    {
        job.abort();
    }
}

struct Worker {
    node: Node,
    validator: ValidatorId,
    /// The round whose shares are being summed.
    job: Option<((TaskId, RoundId), JoinHandle<()>)>,
    /// Payloads of an open round on their way to us.
    fetching: Option<JoinHandle<()>>,
    made: Made,
}

impl Worker {
    /// Starts the work that the state asks for.
    fn advance(&mut self) {
        let state = self.node.state();
        if state.tasks.values().all(|task| task.private().is_none()) {
            return;
        }
        self.end_stale(&state);
        for (id, task) in &state.tasks {
            if let Some(private) = task.private() {
                self.publish_key(*id, task);
                self.accuse(*id, task);
                self.fetch(task);
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
        let due: Vec<ShareFraud> = {
            let mut accusations = super::lock(&self.node.0.accusations);
            accusations.retain(|(t, round, _), _| *t != id || *round >= task.round);
            let due = accusations.values().filter(|fraud| {
                (fraud.task, fraud.round) == (id, task.round)
                    && open.updates.contains_key(&fraud.contributor)
            });
            due.cloned().collect()
        };
        for fraud in due {
            submit(&self.node, Transaction::ShareFraud(fraud));
        }
    }

    /// Fetches payloads that others certified without us while the round is still open: after its close there is little time.
    fn fetch(&mut self, task: &TaskState) {
        let Phase::Open(open) = &task.phase else {
            return;
        };
        if self.fetching.as_ref().is_some_and(|job| !job.is_finished()) {
            return;
        }
        let updates = open.updates.values().map(|turn| &turn.update);
        let missing: Vec<_> = updates
            .filter(|update| !self.node.blobs().contains(&super::blob(update.payload)))
            .map(|update| (update.payload, update.payload_bytes))
            .collect();
        if missing.is_empty() {
            return;
        }
        let node = self.node.clone();
        self.fetching = Some(tokio::spawn(async move {
            let mut jobs = JoinSet::new();
            for (payload, bytes) in missing {
                let node = node.clone();
                jobs.spawn(async move {
                    if let Err(error) = aggregate::need(&node, payload, bytes).await {
                        debug!(%payload, %error, "payload not fetched yet");
                    }
                });
            }
            while jobs.join_next().await.is_some() {}
        }));
    }

    /// Ends work for a round that is not closed any more.
    fn end_stale(&mut self, state: &State) {
        let closed = |(task, round): &(TaskId, RoundId)| {
            let private = state.tasks.get(task).and_then(TaskState::private);
            private.is_some_and(|private| {
                private.round == *round && matches!(private.stage, Stage::Closed { .. })
            })
        };
        super::lock(&self.made).retain(|(task, round, _), _| closed(&(*task, *round)));
        if let Some((place, job)) = &self.job {
            let stale = !closed(place);
            if stale {
                job.abort();
            }
            if stale || job.is_finished() {
                self.job = None;
            }
        }
    }

    fn sum(&mut self, id: TaskId, task: &TaskState, private: &PrivateRound) {
        if self.job.is_none() && !missing_sums(private, &self.validator).is_empty() {
            let (node, place) = (self.node.clone(), (id, task.round));
            let job = sum_round(node, self.validator, place, Arc::clone(&self.made));
            self.job = Some((place, tokio::spawn(job)));
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

/// Submits; what is known or has become stale meanwhile needs no more attention.
fn submit(node: &Node, tx: Transaction) {
    match node.submit_tx(tx) {
        Ok(_) | Err(super::SubmitTxError::Mempool(MempoolError::Known(_))) => {}
        Err(error) => debug!(%error, "transaction of a private round not submitted"),
    }
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

    /// Removes means of groups that a process that was killed has left.
    fn remove_scratch(&self) {
        let listed = std::fs::read_dir(&self.0.parts.scratch);
        for entry in listed.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("group-")
                && name.ends_with(".tmp")
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                warn!(path = %entry.path().display(), %error, "scratch file not removed");
            }
        }
    }

    /// Keeps an accusation until the accused update is in a block.
    pub(crate) fn keep_accusation(&self, fraud: ShareFraud) {
        let key = (fraud.task, fraud.round, fraud.contributor);
        // The first one stays: proofs are random, and each other one would be a transaction of its own.
        super::lock(&self.0.accusations).entry(key).or_insert(fraud);
    }
}
