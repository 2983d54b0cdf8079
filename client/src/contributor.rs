//! The contributor: follows a task, and in each round fetches the model, trains, and sends an update.
//!
//! Invariants: one update a round, signed only on a base that is proven; nothing that a gateway does
//! ends the loop while another one answers. It ends when the task is finished, after `rounds`
//! updates, when cancelled, or with an error that trying again would not cure.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use cifer_chain::{
    ContributorId, Hash32, ModelRoot, RoundId, SecretKey, SignedUpdate, StateKey, TaskId, Turn,
    TxHash, Update,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::{
    client::Client,
    draft::{Draft, Drafted, Source, UpdateSource, milliseconds},
    error::{ClientError, ErrorKind},
    follow::{Followed, OpenRound, RoundFollower},
    query::ProofKey,
    record::SignedRecord,
    submit::{Standing, Submission},
    verify::reject_reason_name,
};

/// How long an update on its way is still waited for when its round has ended without an answer.
const LATE_ANSWER: Duration = Duration::from_secs(5);
/// How often the standing is asked for after registering, and how long in between.
const REGISTRATION_CHECKS: u32 = 120;
const REGISTRATION_PAUSE: Duration = Duration::from_millis(500);

/// A contributor.
#[derive(Debug, Clone)]
pub struct ContributorConfig {
    /// Signs the updates.
    pub key: SecretKey,
    /// Name to register under, where registration is open.
    pub name: String,
    /// The task to contribute to.
    pub task: TaskId,
    /// Where updates come from.
    pub source: UpdateSource,
    /// Stop after so many rounds in which an update was sent.
    pub rounds: Option<u64>,
    /// File that remembers what was signed, so that a restart signs nothing twice.
    pub record: Option<PathBuf>,
}

/// How a contributor's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ContributorSummary {
    /// Rounds in which an update was sent.
    pub rounds: u64,
    /// Updates that the validators certified.
    pub certified: u64,
    /// Why it ended.
    pub reason: FinishReason,
}

/// Why a contributor stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FinishReason {
    /// No more rounds will open.
    Complete,
    /// As many rounds as asked for are done.
    Rounds,
    /// Cancelled.
    Cancelled,
}

/// What became of a sent update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateResult {
    /// Certified: it will be in a block.
    Certified,
    /// Rejected by the validators, with their signatures.
    Rejected,
    /// Refused by every gateway.
    Refused,
    /// Its round ended before there was an answer.
    Stale,
}

/// What a contributor reports, one JSON object each.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ContributorEvent {
    /// Ready to train.
    Started {
        /// Its key.
        contributor: ContributorId,
        /// The network.
        chain_id: String,
        /// The task.
        task: TaskId,
    },
    /// An update was sent.
    Update(UpdateReport),
    /// No update was sent in a round.
    Skipped {
        /// The round.
        round: RoundId,
        /// Why.
        reason: String,
    },
    /// Something failed and is tried again.
    Trouble {
        /// The round, if in one.
        round: Option<RoundId>,
        /// What failed.
        message: String,
    },
    /// The end.
    Finished(ContributorSummary),
}

/// A sent update.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UpdateReport {
    /// Its task.
    pub task: TaskId,
    /// Its round.
    pub round: RoundId,
    /// What became of it.
    #[serde(rename = "outcome")]
    pub result: UpdateResult,
    /// Why it was rejected or refused.
    pub reason: Option<String>,
    /// Its id.
    pub update_id: Hash32,
    /// The transaction that carries it.
    pub tx: Option<TxHash>,
    /// The model it started from.
    pub base_root: ModelRoot,
    /// Length of the payload.
    pub payload_bytes: u64,
    /// Samples trained on.
    pub samples: u64,
    /// Mean training loss over the last epoch, in nats; none without training.
    pub loss: Option<f64>,
    /// Training accuracy over the last epoch; none without training.
    pub accuracy: Option<f64>,
    /// Time from the news of the round to the verified model.
    pub download_ms: f64,
    /// Time of training (or of hashing a file).
    pub train_ms: f64,
    /// Time from the trained update to the verified verdict.
    pub submit_ms: f64,
    /// Through whom; none when there was no answer.
    pub gateway: Option<String>,
}

/// Contributes to a task until it is finished; see the module. Every event goes to `report`.
///
/// # Errors
/// [`ClientError`] when trying again is no use: settings, files, the contributor's own standing, or
/// no gateway left.
pub async fn contribute(
    client: Client,
    config: ContributorConfig,
    cancel: CancellationToken,
    mut report: impl FnMut(&ContributorEvent) + Send,
) -> Result<ContributorSummary, ClientError> {
    let mut tally = Tally::default();
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Ok(FinishReason::Cancelled),
        ended = run(client, config, &mut tally, &mut report) => ended,
    };
    let summary = ContributorSummary {
        rounds: tally.rounds,
        certified: tally.certified,
        reason: ended?,
    };
    report(&ContributorEvent::Finished(summary));
    Ok(summary)
}

#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    certified: u64,
}

type Report<'a> = &'a mut (dyn FnMut(&ContributorEvent) + Send);

async fn run(
    client: Client,
    config: ContributorConfig,
    tally: &mut Tally,
    report: Report<'_>,
) -> Result<FinishReason, ClientError> {
    let rounds = config.rounds.unwrap_or(u64::MAX);
    let task = client.trusted()?.task(config.task)?.clone();
    let source = Source::new(config.source, task).await?;
    let mut worker = Worker {
        client,
        task: config.task,
        id: ContributorId(config.key.public_key()),
        key: config.key,
        name: config.name,
        record: SignedRecord::load(config.record)?,
        sent: None,
        kept: None,
    };
    report(&ContributorEvent::Started {
        contributor: worker.id,
        chain_id: worker.client.trusted()?.chain_id().to_owned(),
        task: worker.task,
    });
    let mut follower = worker.client.follow(worker.task, Some(worker.id));
    let mut last = None;
    while tally.rounds < rounds {
        let round = match follower.next_open(last).await? {
            Followed::Finished => return Ok(FinishReason::Complete),
            Followed::Open(round) => round,
        };
        let first = last.is_none();
        match worker
            .attend(&round, source.clone(), &mut follower, first)
            .await
        {
            Ok(Done::Sent(sent)) => {
                tally.rounds += 1;
                tally.certified += u64::from(sent.result == UpdateResult::Certified);
                report(&ContributorEvent::Update(*sent));
                last = Some(round.round);
            }
            Ok(Done::Skipped(reason)) => {
                report(&ContributorEvent::Skipped {
                    round: round.round,
                    reason,
                });
                last = Some(round.round);
            }
            // All gateways failed, or nobody had the model that one of them named.
            Err(error @ ClientError::Exhausted { .. }) if error.kind() != ErrorKind::Config => {
                let (round, message) = (Some(round.round), error.to_string());
                report(&ContributorEvent::Trouble { round, message });
                follower.ask_elsewhere();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(FinishReason::Rounds)
}

enum Done {
    Sent(Box<UpdateReport>),
    Skipped(String),
}

struct Worker {
    client: Client,
    task: TaskId,
    key: SecretKey,
    id: ContributorId,
    name: String,
    record: SignedRecord,
    /// The newest round for which this process has sent an update.
    sent: Option<RoundId>,
    /// The encrypted update of a round until an answer to it is here: encrypting again would make another one, and only one
    /// may leave.
    kept: Option<(RoundId, Drafted)>,
}

impl Worker {
    /// One round; before the first one, a look at whether it is taken already, and whether we are let in at all.
    async fn attend(
        &mut self,
        round: &OpenRound,
        source: Source,
        follower: &mut RoundFollower,
        first: bool,
    ) -> Result<Done, ClientError> {
        if first
            && let Some(reason) = self
                .check_standing(round.round, follower.standing())
                .await?
        {
            return Ok(Done::Skipped(reason));
        }
        self.round(round, source, follower).await
    }

    async fn check_standing(
        &self,
        round: RoundId,
        standing: Standing,
    ) -> Result<Option<String>, ClientError> {
        let standing = match standing {
            Standing::Unknown => {
                let current = self.client.current_round(self.task, Some(self.id)).await?;
                current.standing
            }
            known => known,
        };
        match standing {
            Standing::Unknown | Standing::MaySubmit => Ok(None),
            // Our own, which a gateway has begun to take, or whose answer was lost: the same one is sent again.
            Standing::Pending if self.record.has(self.task, round) => Ok(None),
            Standing::Accepted if self.sent == Some(round) => Ok(None),
            Standing::Pending | Standing::Accepted => Ok(Some(
                "an update of this contributor is in already".to_owned(),
            )),
            Standing::Rejected => Ok(Some(
                "an update of this contributor was rejected already".to_owned(),
            )),
            Standing::Excluded => Err(ClientError::config(
                "contributor",
                self.id.to_string(),
                "signed two updates for one round and may not submit any more",
            )),
            Standing::Unregistered => self.register().await.map(|()| None),
        }
    }

    async fn register(&self) -> Result<(), ClientError> {
        if !self
            .client
            .trusted()?
            .genesis()
            .contributors
            .open_registration
        {
            return Err(ClientError::config(
                "contributor",
                self.id.to_string(),
                "is not registered and registration is closed; its key has to be in genesis",
            ));
        }
        self.client.register(&self.key, &self.name).await?;
        for _ in 0..REGISTRATION_CHECKS {
            let current = self.client.current_round(self.task, Some(self.id)).await?;
            if current.standing != Standing::Unregistered {
                return Ok(());
            }
            tokio::time::sleep(REGISTRATION_PAUSE).await;
        }
        let reason = "was sent for registration, but is in no block yet; try again";
        Err(ClientError::config(
            "contributor",
            self.id.to_string(),
            reason,
        ))
    }

    /// One round, from the news of it to the verdict.
    async fn round(
        &mut self,
        round: &OpenRound,
        source: Source,
        follower: &mut RoundFollower,
    ) -> Result<Done, ClientError> {
        let private = self.client.trusted()?.task(self.task)?.privacy.is_some();
        let kept = self.kept.as_ref();
        let drafted = match kept.filter(|(kept, _)| *kept == round.round) {
            Some((_, drafted)) => drafted.clone(),
            None if private && self.record.has(self.task, round.round) => {
                let reason = "an update was encrypted and signed for this round before a restart";
                return Ok(Done::Skipped(reason.to_owned()));
            }
            None => match source
                .update(&self.client, self.id, round, follower)
                .await?
            {
                Ok(drafted) => drafted,
                Err(reason) => return Ok(Done::Skipped(reason)),
            },
        };
        if private {
            self.kept = Some((round.round, drafted.clone()));
        }
        let done = self.send(round, drafted, follower).await?;
        self.kept = None;
        Ok(done)
    }

    /// Signs and submits.
    async fn send(
        &mut self,
        round: &OpenRound,
        drafted: Drafted,
        follower: &mut RoundFollower,
    ) -> Result<Done, ClientError> {
        let Drafted {
            draft,
            download_ms,
            train_ms,
        } = drafted;
        let started = Instant::now();
        let chain_id = self.client.trusted()?.chain_id();
        let signed = SignedUpdate::sign(self.commitment(round, &draft), chain_id, &self.key);
        let update_id = signed.id(chain_id);
        if !self.record.allows(self.task, round.round, update_id) {
            let reason = "another update was signed for this round before";
            return Ok(Done::Skipped(reason.to_owned()));
        }
        self.record.note(self.task, round.round, update_id)?;
        self.sent = Some(round.round);
        let submission = tokio::select! {
            submission = self.client.submit(&signed, &draft.payload) => Some(submission?),
            late = too_late(follower, round.round) => { late?; None }
        };
        let (mut result, mut reason, mut tx, gateway) = judge(submission)?;
        if result == UpdateResult::Refused
            && let Some(known) = self.accepted(&signed.update).await
        {
            (result, reason, tx) = (UpdateResult::Certified, None, Some(known));
        }
        Ok(Done::Sent(Box::new(UpdateReport {
            task: self.task,
            round: round.round,
            result,
            reason,
            update_id,
            tx,
            base_root: round.base,
            payload_bytes: draft.bytes,
            samples: draft.samples,
            loss: draft.loss,
            accuracy: draft.accuracy,
            download_ms,
            train_ms,
            submit_ms: milliseconds(started),
            gateway,
        })))
    }

    /// The transaction with this update, where the state proves that it is in: it was sent before, and the answer was lost.
    async fn accepted(&self, update: &Update) -> Option<TxHash> {
        let key = StateKey::Update(update.task, update.round, update.contributor);
        let proof = self.client.proof(&ProofKey::Raw(key.to_bytes())).await;
        let proof = proof.ok().filter(|proof| proof.verified)?;
        match borsh::from_slice(&proof.value?).ok()? {
            Turn::Accepted(accepted) if accepted.update == *update => Some(accepted.tx),
            _ => None,
        }
    }

    fn commitment(&self, round: &OpenRound, draft: &Draft) -> Update {
        Update {
            task: self.task,
            round: round.round,
            base: round.base,
            payload: draft.hash,
            payload_bytes: draft.bytes,
            encoding: draft.encoding,
            samples: draft.weight,
            metrics: draft.metrics,
            contributor: self.id,
        }
    }
}

/// Resolves when a round has ended and an answer would have come by now.
async fn too_late(follower: &mut RoundFollower, round: RoundId) -> Result<(), ClientError> {
    follower.ended(round).await?;
    tokio::time::sleep(LATE_ANSWER).await;
    Ok(())
}

type Judged = (UpdateResult, Option<String>, Option<TxHash>, Option<String>);

/// Puts an answer into words. A refusal of the contributor itself ends the loop.
fn judge(submission: Option<Submission>) -> Result<Judged, ClientError> {
    Ok(match submission {
        None => (
            UpdateResult::Stale,
            Some("the round ended".to_owned()),
            None,
            None,
        ),
        Some(Submission::Certified { tx, gateway, .. }) => {
            (UpdateResult::Certified, None, Some(tx), Some(gateway))
        }
        Some(Submission::Rejected {
            reason,
            tx,
            gateway,
            ..
        }) => {
            let reason = reject_reason_name(reason).to_owned();
            (UpdateResult::Rejected, Some(reason), tx, Some(gateway))
        }
        Some(Submission::Refused {
            refusal, gateway, ..
        }) => {
            if matches!(refusal.code, Code::PermissionDenied | Code::Unauthenticated) {
                return Err(ClientError::Refused { gateway, refusal });
            }
            (
                UpdateResult::Refused,
                Some(refusal.to_string()),
                None,
                Some(gateway),
            )
        }
    })
}
