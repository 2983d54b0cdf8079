//! What the consensus engine asks of the node. Every method is quick: no payloads, no network.
//!
//! Invariants: a block that was executed for validation is not executed again to commit it; a synced
//! block is judged by the state alone, a live one also by our clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cifer_chain::{
    Block, BlockHash, CommitCertificate, Durability, Evidence, ExecuteError, Executed, Height,
    Phase, RoundId, State, Store, TaskId, TaskState, TimestampMs, Transaction, UndecidedKey,
    ValidatorSet,
};
use cifer_consensus::{Application, Fatal, Origin, Verdict};
use tracing::{debug, error, info};

use super::{Node, mempool::Mempool};

/// How long the first update of a round waits for the others before a block is made for it. Updates of
/// one round arrive within some tens of milliseconds, and a block costs as much: one block for all of
/// them ends the round earlier than two do. Nothing waits when nothing more can come.
pub(crate) const GATHER: Duration = Duration::from_millis(40);

/// Executed blocks of the height being decided that are kept: one a consensus round, and rounds
/// beyond the first few are rare. A block is at most 1 MiB.
const MAX_EXECUTED: usize = 8;

/// The node as an [`Application`].
pub(crate) struct NodeApplication {
    node: Node,
    executed: BTreeMap<BlockHash, Executed>,
}

impl NodeApplication {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            executed: BTreeMap::new(),
        }
    }

    fn remember(&mut self, executed: Executed) {
        if self.executed.len() >= MAX_EXECUTED {
            self.executed.pop_first();
        }
        self.executed.insert(executed.hash, executed);
    }

    /// The block, executed: from memory, or now.
    fn execute(&mut self, block: &Block) -> Result<Executed, ExecuteError> {
        if let Some(executed) = self.executed.get(&block.hash()) {
            return Ok(executed.clone());
        }
        let node = &self.node;
        node.0
            .parts
            .ledger
            .execute(block, &|hash| super::lock(&node.0.mempool).contains(hash))
    }

    fn halt(&self, what: &str, error: &dyn std::fmt::Display) -> Fatal {
        error!(%error, "{what}; the node halts");
        self.node.flags().halt();
        Fatal::new(format!("{what}: {error}"))
    }
}

/// Whether waiting longer could not make the block better: something is in the pool that comes alone, or as many turns,
/// share keys or sums as a round still takes.
fn is_complete(state: &State, pool: &Mempool) -> bool {
    let mut waiting: BTreeMap<TaskId, Waiting> = BTreeMap::new();
    for (_, pending) in pool.iter() {
        let task = match &pending.tx {
            Transaction::Update(certified) => certified.signed.update.task,
            Transaction::Rejection(certified) => certified.signed.update.task,
            Transaction::ShareKey(key) => key.task,
            Transaction::KeyShareSum(sum) => sum.task,
            _ => return true,
        };
        let waiting = waiting.entry(task).or_default();
        match &pending.tx {
            Transaction::ShareKey(key) => waiting.keys.push(key.round),
            Transaction::KeyShareSum(_) => waiting.sums += 1,
            _ => waiting.turns += 1,
        }
    }
    waiting.iter().any(|(id, waiting)| {
        let task = state.tasks.get(id);
        task.is_none_or(|task| waiting.completes(task, state.validators.entries().len()))
    })
}

/// What waits for one task.
#[derive(Default)]
struct Waiting {
    turns: u64,
    keys: Vec<RoundId>,
    sums: usize,
}

impl Waiting {
    fn completes(&self, task: &TaskState, validators: usize) -> bool {
        let turns = match &task.phase {
            Phase::Open(open) => {
                open.turns_used().saturating_add(self.turns) >= task.task.rounds.max_updates
            }
            _ => true,
        };
        (turns && self.turns > 0)
            || self.completes_keys(task, validators)
            || self.completes_sums(task)
    }

    /// Only of the round that waits for them: those of the next round go with whatever comes.
    fn completes_keys(&self, task: &TaskState, validators: usize) -> bool {
        let urgent = self.keys.iter().filter(|round| **round == task.round);
        let known = match task.keys_due() {
            Ok((round, known)) if round == task.round => known.len(),
            _ => return false,
        };
        let waiting = urgent.count();
        waiting > 0 && known.saturating_add(waiting) >= validators
    }

    fn completes_sums(&self, task: &TaskState) -> bool {
        let Some(private) = task.private() else {
            return false;
        };
        let live = private
            .stage
            .groups()
            .iter()
            .filter(|group| group.is_live());
        let missing: usize = live
            .map(|group| private.keys.len().saturating_sub(group.sums.len()))
            .sum();
        self.sums > 0 && self.sums >= missing
    }
}

/// Our clock. Only proposals and the drift check of live ones look at it.
pub(crate) fn now_ms() -> TimestampMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Application for NodeApplication {
    fn tip(&self) -> Height {
        self.node.state().height
    }

    fn history_min_height(&self) -> Height {
        Height(1)
    }

    fn validators(&self, height: Height) -> Option<ValidatorSet> {
        // Asked for several times a block, and then for the next one.
        let state = self.node.state();
        if state.height.next() == Some(height) {
            return Some(state.validators.clone());
        }
        match self.node.store().validators(height) {
            Ok(validators) => validators,
            Err(error) => {
                error!(%height, %error, "validator set cannot be read");
                None
            }
        }
    }

    fn has_work(&self) -> bool {
        let state = self.node.state();
        if state.next_deadline().is_some_and(|due| due <= now_ms()) {
            return true;
        }
        let pool = super::lock(&self.node.0.mempool);
        let Some(oldest) = pool.oldest() else {
            return false;
        };
        oldest.elapsed() >= GATHER || is_complete(&state, &pool)
    }

    fn build(&mut self, height: Height) -> Result<Block, Fatal> {
        let state = self.node.state();
        let time_ms = now_ms().max(TimestampMs(state.time_ms.0.saturating_add(1)));
        let Some(proposer) = self.node.validator() else {
            return Err(Fatal::new("asked for a proposal without a seat"));
        };
        let waiting = super::lock(&self.node.0.mempool)
            .iter()
            .map(|(hash, pending)| (*hash, pending.tx.clone()))
            .collect();
        let executed = self
            .node
            .0
            .parts
            .ledger
            .build(time_ms, proposer, waiting)
            .map_err(|error| self.halt("a block cannot be built", &error))?;
        debug!(%height, transactions = executed.block.transactions.len(), "block built");
        let block = executed.block.clone();
        self.remember(executed);
        Ok(block)
    }

    fn validate(&mut self, block: &Block, origin: Origin) -> Verdict {
        let header = &block.header;
        if origin == Origin::Live {
            let drift_ms = self.node.genesis().consensus.max_clock_drift_ms;
            let latest = now_ms().0.saturating_add(drift_ms);
            if header.time_ms.0 > latest {
                return Verdict::Invalid(format!(
                    "time_ms {} is more than {drift_ms} ms ahead of our clock",
                    header.time_ms
                ));
            }
        }
        match self.execute(block) {
            Ok(executed) => {
                self.remember(executed);
                Verdict::Valid
            }
            Err(ExecuteError::Invalid(error)) => Verdict::Invalid(error.to_string()),
            Err(ExecuteError::Tree(error)) => {
                // Our own disk. Not voting for the block is safe; committing it would halt.
                error!(%error, "block could not be checked");
                Verdict::Invalid(format!("this node failed: {error}"))
            }
        }
    }

    fn commit(&mut self, block: Block, certificate: CommitCertificate) -> Result<(), Fatal> {
        let started = Instant::now();
        let executed = self
            .execute(&block)
            .map_err(|error| self.halt("a decided block cannot be applied", &error))?;
        self.executed.clear();
        let events = self
            .node
            .0
            .parts
            .ledger
            .commit(&executed, &certificate)
            .map_err(|error| self.halt("a decided block cannot be stored", &error))?;
        self.node.metrics().commit_ms.observe(started.elapsed());
        info!(
            height = %block.header.height,
            transactions = block.transactions.len(),
            hash = %block.hash(),
            "block committed"
        );
        self.node.announce(&block, events);
        Ok(())
    }

    fn decided(&self, height: Height) -> Option<(Block, CommitCertificate)> {
        let store = self.node.store();
        match (store.block(height), store.certificate(height)) {
            (Ok(Some(block)), Ok(Some(certificate))) => Some((block, certificate)),
            (Err(error), _) | (_, Err(error)) => {
                error!(%height, %error, "a decided block cannot be read");
                None
            }
            _ => None,
        }
    }

    fn store_undecided(
        &mut self,
        height: Height,
        round: u32,
        block: BlockHash,
        bytes: Vec<u8>,
    ) -> Result<(), Fatal> {
        self.node
            .store()
            .put_undecided(
                &UndecidedKey {
                    height,
                    round,
                    block,
                },
                &bytes,
                Durability::Synced,
            )
            .map_err(|error| self.halt("a proposal cannot be stored", &error))
    }

    fn undecided(&self, height: Height, round: u32) -> Vec<Vec<u8>> {
        match self.node.store().undecided_at(height) {
            Ok(values) => values
                .into_iter()
                .filter(|(key, _)| key.round == round)
                .map(|(_, bytes)| bytes)
                .collect(),
            Err(error) => {
                error!(%height, round, %error, "stored proposals cannot be read");
                Vec::new()
            }
        }
    }

    fn evidence(&mut self, evidence: Vec<Evidence>) {
        self.node.report(evidence);
    }
}
