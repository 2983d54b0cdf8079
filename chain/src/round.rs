//! The round state machine of one task: open, closed, finalised or aborted, and again.
//!
//! Pure: every transition is a function of committed transactions and of block time. Invariants: a
//! contributor has one turn a round (accepted *or* rejected, never both); turns used never exceed
//! `max_updates`; in a closed round at least `min_updates` turns were used and the rule can run on
//! the accepted updates ([`TaskState::effective_rule`]); the model changes only through an aggregate
//! certificate.
//!
//! A closed round waits for its certificate for as long as it takes: whether enough validators can
//! compute the aggregate is a question of their liveness, and giving up by a timer would throw
//! away work that more than two thirds of the power has already certified as available.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    ContributorId, Hash32, Height, ModelRoot, RoundId, TaskId, TimestampMs, TxHash,
    crypto::signing_bytes,
    document::{RuleSpec, Task},
};

use crate::{
    aggregate::{AggregateCertificate, AggregateStatement, update_set_root},
    private::{PrivateRound, Stage},
    update::{PayloadEncoding, RejectReason, Update},
};

/// Domain of a task definition's hash.
pub const TASK_DOMAIN: &str = "cifer/chain/task/v1";

/// Hash of a task's definition on a network: the `rule` of an [`AggregateStatement`].
#[must_use]
pub fn task_definition(chain_id: &str, task: &Task) -> Hash32 {
    Hash32::derive(TASK_DOMAIN, &signing_bytes(TASK_DOMAIN, chain_id, task))
}

/// Length of the one payload that an encoding allows for a task, in bytes; `None` when it
/// overflows, which genesis refuses, and for encrypted updates, whose dealing depends on the round.
#[must_use]
pub fn expected_payload_bytes(task: &Task, encoding: PayloadEncoding) -> Option<u64> {
    match encoding {
        PayloadEncoding::DeltaF32 => task.checked_payload_bytes(),
        PayloadEncoding::GroupedSum { .. } => None,
    }
}

/// When something happened, on the chain's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Moment {
    /// Height of the block.
    pub height: Height,
    /// Time of the block.
    pub time_ms: TimestampMs,
}

/// An update that is in its round's set.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AcceptedUpdate {
    /// The commitment.
    pub update: Update,
    /// The transaction that carried it.
    pub tx: TxHash,
    /// The block that carried the transaction.
    pub height: Height,
}

/// An update that the validators certified as unusable; its contributor's turn is used.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RejectedUpdate {
    /// The commitment.
    pub update: Update,
    /// Why it was rejected.
    pub reason: RejectReason,
    /// The transaction that carried the certificate.
    pub tx: TxHash,
    /// The block that carried the transaction.
    pub height: Height,
}

/// How a contributor used its turn: the value under [`crate::StateKey::Update`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Turn {
    /// Its update is in the set.
    Accepted(AcceptedUpdate),
    /// Its update was rejected.
    Rejected(RejectedUpdate),
}

/// A round that takes updates.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenRound {
    /// When it opened.
    pub opened: Moment,
    /// Block time from which it closes with a quorum, or is extended, or aborts.
    pub deadline_ms: TimestampMs,
    /// Deadlines granted beyond the first.
    pub extensions: u32,
    /// The set so far.
    pub updates: BTreeMap<ContributorId, AcceptedUpdate>,
    /// Turns used by rejected updates.
    pub rejected: BTreeMap<ContributorId, RejectedUpdate>,
}

/// A round whose set is fixed and which waits for its aggregate certificate.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClosedRound {
    /// When it opened.
    pub opened: Moment,
    /// When it closed.
    pub closed: Moment,
    /// Deadlines granted beyond the first.
    pub extensions: u32,
    /// The set, sorted by contributor: the order in which the rule sees it.
    pub updates: Vec<AcceptedUpdate>,
    /// Rejected updates, sorted by contributor.
    pub rejected: Vec<RejectedUpdate>,
    /// [`update_set_root`] of the set.
    pub update_set: Hash32,
}

/// Where a task's current round stands.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Phase {
    /// Takes updates.
    Open(OpenRound),
    /// Waits for its aggregate certificate.
    Closed(ClosedRound),
    /// All rounds are done; `round` is the last one.
    Complete,
}

/// Why a round ended without a new model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AbortReason {
    /// The last deadline passed without a quorum of turns, or with too few updates for the rule.
    Deadline,
    /// Every turn is used and too few updates were accepted for the rule: no more can come.
    TurnsUsed,
    /// Too few groups of a private round could be opened for the rule.
    TooFewGroups,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Outcome {
    /// The certificate's model is the new one.
    Finalised(AggregateCertificate),
    /// The model stays as it was.
    Aborted(AbortReason),
}

/// What is kept of a round for ever, under [`crate::StateKey::Round`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RoundRecord {
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: RoundId,
    /// The model the round started from.
    pub base: ModelRoot,
    /// How it ended.
    pub outcome: Outcome,
    /// The set, sorted by contributor.
    pub accepted: Vec<AcceptedUpdate>,
    /// Rejected updates, sorted by contributor.
    pub rejected: Vec<RejectedUpdate>,
    /// Deadlines granted beyond the first.
    pub extensions: u32,
    /// When it opened.
    pub opened: Moment,
    /// When its set was fixed; `None` for a round that was aborted while it was open.
    pub closed: Option<Moment>,
    /// When it was finalised or aborted.
    pub ended: Moment,
}

impl RoundRecord {
    /// The model that the next round starts from.
    #[must_use]
    pub const fn model(&self) -> ModelRoot {
        match &self.outcome {
            Outcome::Finalised(certificate) => certificate.statement.model,
            Outcome::Aborted(_) => self.base,
        }
    }

    /// Root of the aggregated set; `None` for an aborted round.
    #[must_use]
    pub const fn update_set(&self) -> Option<Hash32> {
        match &self.outcome {
            Outcome::Finalised(certificate) => Some(certificate.statement.update_set),
            Outcome::Aborted(_) => None,
        }
    }
}

/// A task and its current round.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TaskState {
    /// Hash of the definition; see [`task_definition`].
    pub definition: Hash32,
    /// The definition, from genesis.
    pub task: Task,
    /// The model that the current round starts from; the final one when complete.
    pub model: ModelRoot,
    /// Current round.
    pub round: RoundId,
    /// Where it stands.
    pub phase: Phase,
    /// The private half of the current round, of a private task.
    pub private: Option<PrivateRound>,
}

/// What a round leaves behind.
pub(crate) type Finished = (RoundRecord, Option<PrivateRound>);

/// What the end of a block did to a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RoundStep {
    /// Nothing was due.
    None,
    /// More time was granted.
    Extended {
        extensions: u32,
        deadline_ms: TimestampMs,
    },
    /// The set is fixed.
    Closed { update_set: Hash32, updates: u64 },
    /// The round is over without a new model.
    Aborted {
        reason: AbortReason,
        record: Box<Finished>,
    },
}

impl OpenRound {
    fn new(opened: Moment, policy_deadline_ms: u64) -> Self {
        Self {
            opened,
            deadline_ms: later(opened.time_ms, policy_deadline_ms),
            extensions: 0,
            updates: BTreeMap::new(),
            rejected: BTreeMap::new(),
        }
    }

    fn close(&self, chain_id: &str, now: Moment) -> ClosedRound {
        let updates = self.updates.values().cloned().collect();
        let rejected = self.rejected.values().cloned().collect();
        ClosedRound::new(
            chain_id,
            self.opened,
            now,
            self.extensions,
            updates,
            rejected,
        )
    }

    /// Turns used so far.
    #[must_use]
    pub fn turns_used(&self) -> u64 {
        self.updates.len() as u64 + self.rejected.len() as u64
    }
}

pub(crate) const fn later(time: TimestampMs, by_ms: u64) -> TimestampMs {
    TimestampMs(time.0.saturating_add(by_ms))
}

impl TaskState {
    /// Round 0 of a task, open.
    #[must_use]
    pub(crate) fn new(chain_id: &str, task: Task, opened: Moment) -> Self {
        Self {
            definition: task_definition(chain_id, &task),
            model: task.initial_model,
            round: RoundId(0),
            phase: Phase::Open(OpenRound::new(opened, task.rounds.deadline_ms)),
            private: task.privacy.as_ref().map(|_| PrivateRound::default()),
            task,
        }
    }

    /// The rule as it runs on the closed round, with what rejections have proven. Of a private round,
    /// as it runs when all groups that the ledger opens can be decoded.
    #[must_use]
    pub fn effective_rule(&self) -> Option<RuleSpec> {
        let Phase::Closed(closed) = &self.phase else {
            return None;
        };
        let inputs = match &self.private {
            Some(private) => private.stage.live_groups(),
            None => closed.updates.len() as u64,
        };
        self.rule_for(inputs)
    }

    /// [`Self::effective_rule`] on so many inputs.
    #[must_use]
    pub fn rule_for(&self, inputs: u64) -> Option<RuleSpec> {
        let Phase::Closed(closed) = &self.phase else {
            return None;
        };
        let exposed = self.private.as_ref().map_or(0, |p| p.stage.exposed());
        let rejected = (closed.rejected.len() as u64).saturating_add(exposed);
        self.task.rule.after_rejections(inputs, rejected)
    }

    /// Whether the closed round is ready to be aggregated: at once in the clear, a private one when
    /// it is sealed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.result_set().is_some()
    }

    /// What a result of the closed round is a result of.
    fn result_set(&self) -> Option<Hash32> {
        match (&self.phase, &self.private) {
            (Phase::Closed(closed), None) => Some(closed.update_set),
            (Phase::Closed(_), Some(private)) => match &private.stage {
                Stage::Sealed { root, .. } => Some(*root),
                _ => None,
            },
            _ => None,
        }
    }

    /// The statement that a result of the closed round has to make, but for the model. Its
    /// `update_set` is the root of the update set, of a private round that of the sealed round
    /// ([`crate::private::private_set_root`]), which hashes the update set, the opened groups and their sums.
    #[must_use]
    pub fn statement(&self, model: ModelRoot) -> Option<AggregateStatement> {
        let update_set = self.result_set()?;
        Some(AggregateStatement {
            task: self.task.id,
            round: self.round,
            rule: self.definition,
            update_set,
            base: self.model,
            model,
        })
    }

    /// Puts round 0 on the clock of the first block: genesis may be written long before the
    /// network starts, and nobody's deadline runs while there is no chain.
    pub(crate) fn start_clock(&mut self, now: Moment) {
        if let Phase::Open(open) = &mut self.phase {
            open.opened = now;
            open.deadline_ms = later(now.time_ms, self.task.rounds.deadline_ms);
        }
    }

    /// What is due at the end of a block. `contributors` is how many can ever take a turn in this
    /// round, when that is known (closed registration).
    pub(crate) fn end_of_block(
        &mut self,
        chain_id: &str,
        now: Moment,
        contributors: Option<u64>,
    ) -> RoundStep {
        let inputs = self.inputs();
        let Phase::Open(open) = &mut self.phase else {
            return RoundStep::None;
        };
        let policy = &self.task.rounds;
        let used = open.turns_used();
        let turns = contributors.map_or(policy.max_updates, |n| n.min(policy.max_updates));
        let exhausted = used > 0 && used >= turns;
        let (accepted, rejected) = (open.updates.len() as u64, open.rejected.len() as u64);
        // Certified rejections prove their contributors Byzantine, so they count towards the quorum
        // and against the rule's tolerance.
        let rule = self.task.rule.after_rejections(inputs, rejected);
        let enough = used >= policy.min_updates && accepted > 0 && rule.is_some();
        let overdue = now.time_ms >= open.deadline_ms;
        if (exhausted || overdue) && enough {
            let round = open.close(chain_id, now);
            let (update_set, updates) = (round.update_set, round.updates.len() as u64);
            self.phase = Phase::Closed(round);
            self.fix_sets(chain_id, now);
            RoundStep::Closed {
                update_set,
                updates,
            }
        } else if exhausted {
            self.abort(now, AbortReason::TurnsUsed)
        } else if !overdue {
            RoundStep::None
        } else if open.extensions < policy.max_extensions {
            open.extensions += 1;
            open.deadline_ms = later(now.time_ms, policy.deadline_ms);
            let (extensions, deadline_ms) = (open.extensions, open.deadline_ms);
            RoundStep::Extended {
                extensions,
                deadline_ms,
            }
        } else {
            self.abort(now, AbortReason::Deadline)
        }
    }

    pub(crate) fn abort(&mut self, now: Moment, reason: AbortReason) -> RoundStep {
        let (accepted, rejected, extensions, opened, closed) = match &self.phase {
            Phase::Open(open) => (
                open.updates.values().cloned().collect(),
                open.rejected.values().cloned().collect(),
                open.extensions,
                open.opened,
                None,
            ),
            Phase::Closed(closed) => (
                closed.updates.clone(),
                closed.rejected.clone(),
                closed.extensions,
                closed.opened,
                Some(closed.closed),
            ),
            Phase::Complete => return RoundStep::None,
        };
        let record = RoundRecord {
            task: self.task.id,
            round: self.round,
            base: self.model,
            outcome: Outcome::Aborted(reason),
            accepted,
            rejected,
            extensions,
            opened,
            closed,
            ended: now,
        };
        let private = self.finished_private();
        self.advance(now);
        RoundStep::Aborted {
            reason,
            record: Box::new((record, private)),
        }
    }

    /// Ends the closed round with a certificate that the caller has checked against
    /// [`TaskState::statement`]. `None` if the round is not closed.
    pub(crate) fn finalise(
        &mut self,
        now: Moment,
        certificate: AggregateCertificate,
    ) -> Option<Finished> {
        let Phase::Closed(closed) = &self.phase else {
            return None;
        };
        let model = certificate.statement.model;
        let record = RoundRecord {
            task: self.task.id,
            round: self.round,
            base: self.model,
            outcome: Outcome::Finalised(certificate),
            accepted: closed.updates.clone(),
            rejected: closed.rejected.clone(),
            extensions: closed.extensions,
            opened: closed.opened,
            closed: Some(closed.closed),
            ended: now,
        };
        let private = self.finished_private();
        self.model = model;
        self.advance(now);
        Some((record, private))
    }

    /// Opens the next round, or completes the task: `max_rounds` counts aborted rounds too, so
    /// that a task without contributors ends.
    fn advance(&mut self, now: Moment) {
        let (max_rounds, deadline_ms) = (self.task.rounds.max_rounds, self.task.rounds.deadline_ms);
        match self.round.next() {
            Some(next) if max_rounds == 0 || next.0 < max_rounds => {
                self.round = next;
                self.advance_private();
                self.phase = Phase::Open(OpenRound::new(now, deadline_ms));
            }
            _ => self.phase = Phase::Complete,
        }
    }
}

impl ClosedRound {
    /// `updates` and `rejected` are sorted by contributor.
    pub(crate) fn new(
        chain_id: &str,
        opened: Moment,
        closed: Moment,
        extensions: u32,
        updates: Vec<AcceptedUpdate>,
        rejected: Vec<RejectedUpdate>,
    ) -> Self {
        let commitments: Vec<_> = updates.iter().map(|u| u.update.clone()).collect();
        let refused: Vec<_> = rejected
            .iter()
            .map(|turn| turn.update.contributor)
            .collect();
        let update_set = update_set_root(chain_id, &commitments, &refused);
        Self {
            opened,
            closed,
            extensions,
            updates,
            rejected,
            update_set,
        }
    }
}
