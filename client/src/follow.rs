//! Following the chain: events as they come, over any gateway, resumed where the last one stopped.
//!
//! A follower learns of a new round by the event itself; it never sleeps while a gateway answers.
//! Events are hints: what a round starts from is proven when its model is fetched. A gateway that
//! says nothing for too long is left, and one that seems stuck is checked against another.

use std::time::{Duration, Instant};

use cifer_chain::{
    BlockHash, ContributorId, Height, ModelRoot, RoundId, StateRoot, TaskId, TimestampMs,
};
use cifer_proto::{
    MAX_SUBSCRIBED_TASKS,
    v1::{self, RoundTransition, subscribe_response::Event},
};
use serde::Serialize;
use tonic::Streaming;

use crate::{
    client::Client,
    error::{ClientError, Fault},
    gateway::{Attempts, Gateway},
    query::PhaseView,
    submit::{CurrentRound, Standing},
    verify,
};

/// After so long without news of a round, another gateway is asked.
const RECHECK_AFTER: Duration = Duration::from_secs(30);
/// Heartbeats that a gateway may miss before it is left.
const MISSED_HEARTBEATS: u32 = 3;

/// A round that takes updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OpenRound {
    /// Its task.
    pub task: TaskId,
    /// The round.
    pub round: RoundId,
    /// The model it starts from.
    pub base: ModelRoot,
    /// Block time after which it closes.
    pub deadline_ms: TimestampMs,
}

/// What a follower waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// A round is open.
    Open(OpenRound),
    /// No more rounds will open; the state proves it.
    Finished,
}

/// An event of the chain, as a gateway says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainEvent {
    /// Height of its block.
    pub height: Height,
    /// Time of its block.
    pub time_ms: TimestampMs,
    /// What happened.
    #[serde(flatten)]
    pub kind: ChainEventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ChainEventKind {
    /// A block was committed.
    Block {
        /// Its hash.
        hash: BlockHash,
        /// State after it.
        state_root: StateRoot,
        /// Transactions in it.
        tx_count: u32,
    },
    /// A round moved on.
    Round {
        /// Its task.
        task: TaskId,
        /// The round.
        round: RoundId,
        /// What happened to it.
        transition: RoundTransitionView,
        /// The newest model of the task after it.
        model_root: ModelRoot,
        /// Updates counted so far.
        accepted: u64,
        /// Updates rejected so far.
        rejected: u64,
        /// Block time after which it closes.
        deadline_ms: TimestampMs,
    },
}

/// What happened to a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundTransitionView {
    /// It takes updates now.
    Opened,
    /// It got more time.
    Extended,
    /// Its update set is fixed.
    Closed,
    /// It ended with a new model.
    Finalised,
    /// It ended with the model it started from.
    Aborted,
}

/// Events from a height on, without gaps and repetitions, whichever gateway they come from.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    tasks: Vec<TaskId>,
    from: Option<Height>,
    /// Events of the height `from` that the caller has had.
    seen: usize,
    skip: usize,
    feed: Option<Feed>,
    attempts: Option<Attempts>,
}

#[derive(Debug)]
struct Feed {
    gateway: Gateway,
    stream: Streaming<v1::SubscribeResponse>,
}

impl Client {
    /// Events from a height on (from the next block on if `None`), of these tasks or of all.
    #[must_use]
    pub fn events(&self, from: Option<Height>, tasks: &[TaskId]) -> EventStream {
        EventStream {
            client: self.clone(),
            tasks: tasks.iter().copied().take(MAX_SUBSCRIBED_TASKS).collect(),
            from,
            seen: 0,
            skip: 0,
            feed: None,
            attempts: None,
        }
    }

    /// Follows the rounds of a task; for a contributor, with its standing.
    #[must_use]
    pub fn follow(&self, task: TaskId, contributor: Option<ContributorId>) -> RoundFollower {
        RoundFollower {
            client: self.clone(),
            task,
            contributor,
            position: None,
            feed: None,
            attempts: None,
            news: Instant::now(),
        }
    }

    async fn subscribe(
        &self,
        gateway: &Gateway,
        from: Option<Height>,
        tasks: &[TaskId],
    ) -> Result<Feed, ClientError> {
        let request = v1::SubscribeRequest {
            from_height: from.map(|height| height.0),
            tasks: tasks.iter().map(|task| task.0).collect(),
        };
        let stream = gateway.answer(gateway.query().subscribe(request)).await?;
        Ok(Feed {
            gateway: gateway.clone(),
            stream,
        })
    }

    /// How long a healthy gateway can be silent.
    fn patience(&self) -> Duration {
        let heartbeat = self
            .network()
            .map_or(0, |n| n.genesis().consensus.idle_heartbeat_ms);
        let missed = Duration::from_millis(heartbeat).saturating_mul(MISSED_HEARTBEATS);
        self.gateways().options().idle_timeout.max(missed)
    }
}

impl Feed {
    async fn next(&mut self, patience: Duration) -> Result<ChainEvent, ClientError> {
        loop {
            let message = self
                .gateway
                .within(patience, "event", self.stream.message())
                .await?;
            let message = message.ok_or_else(|| self.gateway.failed("the event stream ended"))?;
            let event = read_event(&message).map_err(|fault| self.gateway.fault(fault))?;
            // Kinds of events that this version does not know are none of its business.
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }
}

impl EventStream {
    /// The next event. Goes from gateway to gateway as they fail.
    ///
    /// # Errors
    /// [`ClientError`]; after a pruned height that no gateway has, [`ClientError::Refused`].
    pub async fn next(&mut self) -> Result<ChainEvent, ClientError> {
        loop {
            let error = match &mut self.feed {
                None => {
                    self.connect().await?;
                    continue;
                }
                Some(feed) => match feed.next(self.client.patience()).await {
                    Ok(event) => match self.accept(event)? {
                        Some(event) => return Ok(event),
                        None => continue,
                    },
                    Err(error) => error,
                },
            };
            self.lost(error)?;
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let client = self.client.clone();
        let attempts = self
            .attempts
            .get_or_insert_with(|| client.gateways().attempts());
        loop {
            let gateway = client.gateway(attempts).await?;
            match client.subscribe(&gateway, self.from, &self.tasks).await {
                Ok(feed) => {
                    self.feed = Some(feed);
                    self.skip = self.seen;
                    return Ok(());
                }
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }

    fn lost(&mut self, error: ClientError) -> Result<(), ClientError> {
        let Some(feed) = self.feed.take() else {
            return Err(error);
        };
        let client = self.client.clone();
        let attempts = self
            .attempts
            .get_or_insert_with(|| client.gateways().attempts());
        attempts.failed(&feed.gateway, error)
    }

    /// Leaves out what the caller has had already; refuses what goes back in time.
    fn accept(&mut self, event: ChainEvent) -> Result<Option<ChainEvent>, ClientError> {
        if let Some(from) = self.from
            && event.height < from
        {
            let fault = Fault::mismatch("event height", event.height, format!("{from} or above"));
            let Some(feed) = &self.feed else {
                return Ok(None);
            };
            let error = feed.gateway.fault(fault);
            return self.lost(error).map(|()| None);
        }
        self.attempts = None;
        if self.from != Some(event.height) {
            (self.from, self.seen, self.skip) = (Some(event.height), 0, 0);
        }
        if self.skip > 0 {
            self.skip -= 1;
            return Ok(None);
        }
        self.seen += 1;
        Ok(Some(event))
    }
}

/// Follows the rounds of one task.
#[derive(Debug)]
pub struct RoundFollower {
    client: Client,
    task: TaskId,
    contributor: Option<ContributorId>,
    position: Option<Position>,
    feed: Option<Feed>,
    attempts: Option<Attempts>,
    /// When a round last moved, as far as this side knows.
    news: Instant,
}

/// Where the task stands.
#[derive(Debug, Clone)]
struct Position {
    open: OpenRound,
    phase: PhaseView,
    finished: bool,
    standing: Standing,
}

impl RoundFollower {
    /// The open round, if it is a later one than `after`; else waits for it.
    ///
    /// # Errors
    /// [`ClientError`]; of gateways only when none is left that answers.
    pub async fn next_open(&mut self, after: Option<RoundId>) -> Result<Followed, ClientError> {
        loop {
            if let Some(position) = &self.position {
                if position.phase == PhaseView::Open
                    && !position.finished
                    && after.is_none_or(|after| position.open.round > after)
                {
                    return Ok(Followed::Open(position.open));
                }
                if position.finished && self.finished_is_proven().await? {
                    return Ok(Followed::Finished);
                }
            }
            self.advance().await?;
        }
    }

    /// Resolves when `round` takes no updates any more.
    ///
    /// # Errors
    /// See [`Self::next_open`].
    pub async fn closed(&mut self, round: RoundId) -> Result<(), ClientError> {
        self.until(|position| {
            position.finished
                || position.open.round > round
                || (position.open.round == round && position.phase != PhaseView::Open)
        })
        .await
    }

    /// Resolves when `round` has ended, with a new model or without.
    ///
    /// # Errors
    /// See [`Self::next_open`].
    pub async fn ended(&mut self, round: RoundId) -> Result<(), ClientError> {
        self.until(|position| {
            let over = matches!(position.phase, PhaseView::Finalised | PhaseView::Aborted);
            position.finished
                || position.open.round > round
                || (position.open.round == round && over)
        })
        .await
    }

    /// Where the contributor stood when a gateway was last asked; unknown once a new round opened.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.position
            .as_ref()
            .map_or(Standing::Unknown, |position| position.standing)
    }

    /// Asks another gateway, because what this one said led nowhere.
    pub fn ask_elsewhere(&mut self) {
        self.feed = None;
        self.position = None;
        self.client.gateways().rotate();
    }

    async fn until(&mut self, holds: impl Fn(&Position) -> bool) -> Result<(), ClientError> {
        while !self.position.as_ref().is_some_and(&holds) {
            self.advance().await?;
        }
        Ok(())
    }

    /// One step: an event, or a gateway and what it says of the current round. May be dropped at any
    /// await and called again.
    async fn advance(&mut self) -> Result<(), ClientError> {
        let patience = self.client.patience();
        let Some(feed) = &mut self.feed else {
            return self.connect().await;
        };
        match feed.next(patience).await {
            Ok(event) => {
                self.attempts = None;
                if let Err(fault) = self.apply(&event) {
                    let error = self.feed.as_ref().map(|feed| feed.gateway.fault(fault));
                    return error.map_or(Ok(()), |error| self.lost(error));
                }
                if self.news.elapsed() > RECHECK_AFTER {
                    self.news = Instant::now();
                    self.client.gateways().rotate();
                    self.feed = None;
                }
                Ok(())
            }
            Err(error) => self.lost(error),
        }
    }

    /// Subscribes first and asks then, so that no event falls in between.
    async fn connect(&mut self) -> Result<(), ClientError> {
        let client = self.client.clone();
        let attempts = self
            .attempts
            .get_or_insert_with(|| client.gateways().attempts());
        loop {
            let gateway = client.gateway(attempts).await?;
            let asked = async {
                let feed = client.subscribe(&gateway, None, &[self.task]).await?;
                let current = client.current_round_at(&gateway, self.task, self.contributor);
                Ok((feed, current.await?))
            };
            match asked.await {
                Ok((feed, current)) => {
                    self.feed = Some(feed);
                    self.adopt(current);
                    return Ok(());
                }
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }

    fn lost(&mut self, error: ClientError) -> Result<(), ClientError> {
        let Some(feed) = self.feed.take() else {
            return Err(error);
        };
        let client = self.client.clone();
        let attempts = self
            .attempts
            .get_or_insert_with(|| client.gateways().attempts());
        attempts.failed(&feed.gateway, error)
    }

    /// Takes over what a gateway says, unless this side knows of a later round already.
    fn adopt(&mut self, current: CurrentRound) {
        if self
            .position
            .as_ref()
            .is_some_and(|known| known.open.round > current.open.round)
        {
            return;
        }
        let CurrentRound {
            open,
            phase,
            finished,
            standing,
            ..
        } = current;
        self.position = Some(Position {
            open,
            phase,
            finished,
            standing,
        });
    }

    fn apply(&mut self, event: &ChainEvent) -> Result<(), Fault> {
        let ChainEventKind::Round {
            task,
            round,
            transition,
            model_root,
            deadline_ms,
            ..
        } = &event.kind
        else {
            return Ok(());
        };
        let known = self.position.as_ref().map(|position| position.open.round);
        if *task != self.task || known.is_some_and(|known| *round < known) {
            return Ok(());
        }
        let ended = matches!(
            transition,
            RoundTransitionView::Finalised | RoundTransitionView::Aborted
        );
        let finished = ended && self.is_last(*round)?;
        self.news = Instant::now();
        let phase = match transition {
            RoundTransitionView::Opened | RoundTransitionView::Extended => PhaseView::Open,
            RoundTransitionView::Closed => PhaseView::Closed,
            RoundTransitionView::Finalised => PhaseView::Finalised,
            RoundTransitionView::Aborted => PhaseView::Aborted,
        };
        match &mut self.position {
            Some(position) if position.open.round == *round => {
                position.phase = later_phase(position.phase, phase);
                position.open.deadline_ms = *deadline_ms;
                position.finished |= finished;
            }
            _ => {
                let (task, round, deadline_ms) = (*task, *round, *deadline_ms);
                let open = OpenRound {
                    task,
                    round,
                    base: *model_root,
                    deadline_ms,
                };
                let standing = Standing::Unknown;
                self.position = Some(Position {
                    open,
                    phase,
                    finished,
                    standing,
                });
            }
        }
        Ok(())
    }

    /// Whether no round comes after this one, as genesis says.
    fn is_last(&self, round: RoundId) -> Result<bool, Fault> {
        let Some(network) = self.client.network() else {
            return Ok(false);
        };
        network.check_round(self.task, round, false)?;
        let mut tasks = network.genesis().tasks.iter();
        let max = tasks
            .find(|task| task.id == self.task)
            .map_or(0, |t| t.rounds.max_rounds);
        Ok(max != 0 && round.0.checked_add(1) == Some(max))
    }

    /// Whether the state proves what was said. If not, another gateway is asked for news.
    async fn finished_is_proven(&mut self) -> Result<bool, ClientError> {
        match self.client.prove_finished(self.task).await {
            Ok(()) => Ok(true),
            Err(error @ (ClientError::Exhausted { .. } | ClientError::Refused { .. })) => {
                tracing::warn!(task = %self.task, %error, "said to be finished, not proven");
                self.ask_elsewhere();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// A round never goes back; events that were on their way when a gateway was asked come late.
const fn later_phase(known: PhaseView, new: PhaseView) -> PhaseView {
    match (known, new) {
        (PhaseView::Finalised | PhaseView::Aborted, _) => known,
        (PhaseView::Closed, PhaseView::Open) => known,
        _ => new,
    }
}

fn read_event(message: &v1::SubscribeResponse) -> Result<Option<ChainEvent>, Fault> {
    let kind = match &message.event {
        Some(Event::BlockCommitted(block)) => ChainEventKind::Block {
            hash: BlockHash(verify::hash32("block hash", &block.hash)?),
            state_root: StateRoot(verify::hash32("state root", &block.state_root)?),
            tx_count: block.tx_count,
        },
        Some(Event::RoundChanged(round)) => {
            let transition = match round.transition() {
                RoundTransition::Unspecified => return Ok(None),
                RoundTransition::Opened => RoundTransitionView::Opened,
                RoundTransition::Extended => RoundTransitionView::Extended,
                RoundTransition::Closed => RoundTransitionView::Closed,
                RoundTransition::Finalised => RoundTransitionView::Finalised,
                RoundTransition::Aborted => RoundTransitionView::Aborted,
            };
            ChainEventKind::Round {
                task: TaskId(round.task),
                round: RoundId(round.round),
                transition,
                model_root: verify::model_root("model root", &round.model_root)?,
                accepted: round.accepted,
                rejected: round.rejected,
                deadline_ms: TimestampMs(round.deadline_ms),
            }
        }
        None => return Ok(None),
    };
    Ok(Some(ChainEvent {
        height: Height(message.height),
        time_ms: TimestampMs(message.time_ms),
        kind,
    }))
}
