//! Off the consensus loop: aggregates closed rounds, signs and gathers results, keeps the models.
//!
//! Invariants: a result is signed only after the whole committed update set was read and verified by
//! hash; the model it names is in our store by then; a certified result that differs from ours is
//! never adopted silently.

use std::{collections::BTreeSet, time::Duration};

use cifer_chain::{
    AggregateStatement, AggregateVote, Event, ModelRoot, Phase, RoundId, TaskId, Transaction,
    ValidatorId, ValidatorSet,
};
use cifer_dataplane::Topic;
use tokio::{sync::broadcast::error::RecvError, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Node, Signatures, aggregate, votes::Outcome, wire};

/// How often missing votes are asked for and failed work is tried again. Not in the good path.
const RETRY: Duration = Duration::from_secs(2);
/// Each further validator waits this much longer before it, too, submits a certificate.
const SUBMIT_STAGGER: Duration = Duration::from_millis(150);

/// Follows the chain until `stop`.
pub(crate) async fn run(node: Node, stop: CancellationToken) {
    let mut committed = node.subscribe();
    let mut worker = Worker {
        node,
        job: None,
        done: BTreeSet::new(),
    };
    let mut retry = tokio::time::interval(RETRY);
    retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = committed.recv() => match event {
                Ok(block) => worker.on_block(&block.events),
                // We only lose notice of events; the state says what there is to do.
                Err(RecvError::Lagged(_)) => worker.advance(),
                Err(RecvError::Closed) => break,
            },
            _ = retry.tick() => worker.on_retry(),
        }
    }
    if let Some((_, job)) = worker.job {
        job.abort();
    }
}

struct Worker {
    node: Node,
    /// The round being aggregated. One at a time: it uses every core and bounded memory.
    job: Option<((TaskId, RoundId), JoinHandle<()>)>,
    /// Rounds for which we have signed a result.
    done: BTreeSet<(TaskId, RoundId)>,
}

impl Worker {
    fn on_block(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::RoundFinalised {
                    task, round, model, ..
                } => {
                    self.finalised(*task, *round, *model);
                }
                Event::RoundAborted { task, round, .. } => {
                    warn!(%task, %round, "round aborted; the model stays as it was");
                    self.forget(*task, RoundId(round.0.saturating_add(1)));
                }
                _ => {}
            }
        }
        self.advance();
    }

    /// Starts the work that the state asks for.
    fn advance(&mut self) {
        if self.job.as_ref().is_some_and(|(_, job)| job.is_finished()) {
            self.job = None;
        }
        if self.node.validator().is_none() || self.job.is_some() {
            return;
        }
        let state = self.node.state();
        for (id, task) in &state.tasks {
            let key = (*id, task.round);
            if task.is_ready() && !self.done.contains(&key) {
                let node = self.node.clone();
                self.job = Some((key, tokio::spawn(aggregate_round(node, key.0, key.1))));
                return;
            }
        }
    }

    fn on_retry(&mut self) {
        let state = self.node.state();
        for (id, task) in &state.tasks {
            if task.is_ready() {
                let (node, task, round) = (self.node.clone(), *id, task.round);
                if let Some(vote) = self.own_vote(task, round) {
                    self.done.insert((task, round));
                    node.try_certify(task, round);
                    self.node
                        .spawn(async move { ask_for_votes(node, vote).await });
                }
            }
            ensure_model(&self.node, task.model);
        }
        self.advance();
    }

    fn own_vote(&self, task: TaskId, round: RoundId) -> Option<AggregateVote> {
        let validator = self.node.validator()?;
        super::lock(&self.node.0.votes)
            .by(task, round, &validator)
            .cloned()
    }

    fn finalised(&mut self, task: TaskId, round: RoundId, model: ModelRoot) {
        if let Some(own) = self.own_vote(task, round)
            && own.statement.model != model
        {
            error!(
                %task, %round, ours = %own.statement.model, certified = %model,
                "our aggregate differs from the certified one: this machine computes wrongly, or \
                 more than two thirds of the power lie; the certified model is taken, ours is kept"
            );
            self.node
                .0
                .flags
                .diverged(task, round, own.statement.model, model);
        }
        ensure_model(&self.node, model);
        self.forget(task, RoundId(round.0.saturating_add(1)));
    }

    fn forget(&mut self, task: TaskId, current: RoundId) {
        self.done
            .retain(|(t, round)| *t != task || *round >= current);
        super::lock(&self.node.0.votes).prune(task, current);
        self.node.judge().prune(task, current);
        super::retention::sweep(&self.node);
    }
}

/// Fetches a model that we should hold and do not; in the background.
pub(crate) fn ensure_model(node: &Node, model: ModelRoot) {
    let blob = super::blob(model.into());
    if node.blobs().contains(&blob) {
        return;
    }
    let Some(len) = node.model_bytes_of(model) else {
        return;
    };
    let worker = node.clone();
    node.spawn(async move {
        let holders = worker.holders();
        match worker.plane().fetch(blob, len, holders).await {
            Ok(_) => info!(%model, "model fetched from a peer"),
            Err(error) => debug!(%model, %error, "model not fetched yet"),
        }
    });
}

/// Gets the update set, runs the rule, signs and spreads the result.
async fn aggregate_round(node: Node, task: TaskId, round: RoundId) {
    let started = std::time::Instant::now();
    let statement = match aggregate::compute(&node, task, round).await {
        Ok(statement) => statement,
        Err(error) => {
            warn!(%task, %round, %error, "round not aggregated yet; trying again");
            return;
        }
    };
    let elapsed_ms = started.elapsed().as_millis() as u64;
    info!(%task, %round, model = %statement.model, elapsed_ms, "round aggregated");
    node.0.metrics.aggregate_ms.observe(started.elapsed());
    let vote = AggregateVote::sign(statement, node.chain_id(), node.secret_key());
    let bytes = wire::encode(&vote);
    node.accept_vote(vote);
    if let Err(error) = node.plane().publish(Topic::Vote, bytes).await {
        debug!(%error, "aggregate vote not gossiped; peers will ask for it");
    }
}

/// Asks the validators whose votes we lack. Gossip does not repeat itself, so this is how a node
/// that was away catches up.
async fn ask_for_votes(node: Node, own: AggregateVote) {
    let AggregateStatement { task, round, .. } = own.statement;
    let request = wire::encode(&wire::Request::AggregateVotes { task, round });
    for (_, peer) in node.connected_validators() {
        let answer = super::gateway::ask(node.plane(), peer, request.clone().into()).await;
        if let Some(wire::Response::AggregateVotes(votes)) = answer {
            for vote in votes
                .into_iter()
                .take(cifer_chain::validators::MAX_VALIDATORS)
            {
                if node.check_vote(&vote) {
                    node.accept_vote(vote);
                }
            }
        }
    }
}

impl Node {
    /// Whether a vote is for a round that matters, of a seat, and truly signed.
    pub(crate) fn check_vote(&self, vote: &AggregateVote) -> bool {
        let state = self.state();
        let statement = &vote.statement;
        state
            .tasks
            .get(&statement.task)
            .is_some_and(|task| super::votes::VotePool::is_relevant(statement.round, task.round))
            && state.validators.power_of(&vote.validator).is_some()
            && vote.verify(self.chain_id()).is_ok()
    }

    /// Takes a checked vote and submits the certificate when it completes one.
    pub(crate) fn accept_vote(&self, vote: AggregateVote) {
        let (task, round) = (vote.statement.task, vote.statement.round);
        let outcome = super::lock(&self.0.votes).add(vote);
        match outcome {
            Outcome::Added => self.try_certify(task, round),
            Outcome::Known => {}
            Outcome::Equivocation(evidence) => self.report(vec![*evidence]),
        }
    }

    /// Submits a certificate if there is a quorum. Validators take turns, so that normally one of
    /// them does: the next proposer, which need not wait for it to travel. The others follow when it
    /// stays silent.
    pub(crate) fn try_certify(&self, task: TaskId, round: RoundId) {
        let state = self.state();
        let waiting = move |node: &Self| {
            node.state()
                .tasks
                .get(&task)
                .is_some_and(|task| task.round == round && matches!(task.phase, Phase::Closed(_)))
        };
        let validators = &state.validators;
        let Some(certificate) = super::lock(&self.0.votes).certificate(task, round, validators)
        else {
            return;
        };
        let Some(validator) = self.validator() else {
            return;
        };
        let turn = turn(validators, validator, self.next_proposer());
        let node = self.clone();
        let tx = Transaction::Aggregate(certificate);
        self.spawn(async move {
            tokio::time::sleep(SUBMIT_STAGGER * turn).await;
            if !node.mempool_has_certificate(task, round)
                && (turn == 0 || waiting(&node))
                && let Err(error) = node.submit(tx, Signatures::Verified)
            {
                debug!(%task, %round, %error, "aggregate certificate not submitted");
            }
        });
    }
}

/// How many validators submit before `own` does, counted from the next proposer (or the first seat).
fn turn(validators: &ValidatorSet, own: ValidatorId, proposer: Option<ValidatorId>) -> u32 {
    let entries = validators.entries();
    let seat = |validator| {
        let found = entries.iter().position(|(id, _)| *id == validator);
        found.unwrap_or_default()
    };
    let first = proposer.map_or(0, seat);
    let turn = (entries.len() + seat(own) - first) % entries.len();
    u32::try_from(turn).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use cifer_chain::{SecretKey, VotingPower};

    use super::*;

    #[test]
    fn the_next_proposer_is_first_and_everybody_has_a_turn() {
        let id = |seed| ValidatorId(SecretKey::from_seed(&[seed; 32]).public_key());
        let ids: Vec<_> = (1..=4).map(id).collect();
        let entries = ids.iter().map(|id| (*id, VotingPower(1))).collect();
        let validators = ValidatorSet::new(entries).unwrap();
        for proposer in &ids {
            assert_eq!(turn(&validators, *proposer, Some(*proposer)), 0);
            let mut turns: Vec<_> = ids
                .iter()
                .map(|own| turn(&validators, *own, Some(*proposer)))
                .collect();
            turns.sort_unstable();
            assert_eq!(turns, [0, 1, 2, 3]);
        }
    }
}
