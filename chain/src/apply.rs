//! The ledger's one transition: `apply(state, block)`. Pure: no clock, randomness, I/O or floats.
//!
//! A block is applied whole or refused whole. The same code builds proposals ([`Builder`]), so that
//! what a proposer thinks valid is what the others think valid.
//!
//! Signatures dominate the cost. `verified` says of which transactions (by hash) this node has
//! checked all signatures before, in its mempool say. Skipping those is sound because the hash covers
//! every byte of the transaction, signatures included, and their verification depends on nothing
//! but those bytes, the chain id and the validator set. A cache must therefore be emptied when the
//! validator set changes. The proof in a `ShareFraud` counts as a signature: it depends, further, on the share keys and
//! the seed of a round that it names, which never change once they are there. Checks against the state are never skipped.

use std::collections::BTreeSet;

use borsh::BorshSerialize;
use cifer_genesis::{
    BlockHash, Hash32, Height, StateRoot, TaskId, TimestampMs, TxHash, ValidatorId,
};

use crate::{
    block::{Block, Header},
    error::{ApplyError, TxError},
    event::Event,
    key::StateKey,
    private::{Place, Seal},
    round::{AbortReason, Moment, Phase, RoundStep, TaskState},
    state::{State, Writes},
    transact::{View, Working},
    tx::Transaction,
    update::Update,
};

/// Whether all signatures of the transaction with this hash have been verified before under the
/// current validator set; see the module's text for why that is enough.
pub type Verified<'a> = &'a (dyn Fn(&TxHash) -> bool + Sync);

/// For callers without a cache: verifies everything.
pub const VERIFY_ALL: Verified<'static> = &|_| false;

/// What a block did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state after it.
    pub state: State,
    /// Tree entries to write.
    pub writes: Writes,
    /// For subscribers, in order.
    pub events: Vec<Event>,
}

/// Applies a block, verifying every signature. The header's state root is for the caller to check
/// against the tree ([`crate::execute()`] does both).
///
/// # Errors
/// [`ApplyError`]: the block's proposer is at fault.
pub fn apply(state: &State, block: &Block) -> Result<Transition, ApplyError> {
    apply_with(state, block, VERIFY_ALL)
}

/// [`apply`], with a cache of verified transactions.
///
/// # Errors
/// [`ApplyError`].
pub fn apply_with(
    state: &State,
    block: &Block,
    verified: Verified<'_>,
) -> Result<Transition, ApplyError> {
    let header = &block.header;
    check_header(state, header)?;
    let (bytes, limit) = (encoded_bytes(block), state.limits.max_block_bytes);
    if bytes > limit {
        return Err(ApplyError::TooLarge { bytes, limit });
    }
    let mut builder = Builder::new(state, header.time_ms, header.proposer, verified)?;
    for (index, tx) in block.transactions.iter().enumerate() {
        let hash = tx.hash(&state.chain_id);
        builder.take(tx, hash).map_err(|error| ApplyError::Tx {
            index: index as u64,
            hash,
            error: Box::new(error),
        })?;
    }
    let expected = Block::tx_root_of(&state.chain_id, &builder.hashes);
    if header.tx_root != expected {
        return Err(ApplyError::TxRoot {
            got: header.tx_root,
            expected,
        });
    }
    Ok(end_block(builder.working, block.hash()))
}

fn check_header(state: &State, header: &Header) -> Result<(), ApplyError> {
    if header.chain_id != state.chain_id {
        let got = header.chain_id.chars().take(64).collect();
        return Err(ApplyError::ChainId {
            got,
            expected: state.chain_id.clone(),
        });
    }
    let expected = next_height(state)?;
    if header.height != expected {
        return Err(ApplyError::Height {
            got: header.height,
            expected,
        });
    }
    if header.parent != state.last_block {
        return Err(ApplyError::Parent {
            got: header.parent,
            expected: state.last_block,
        });
    }
    let expected = state.validators.hash(&state.chain_id);
    if header.validators != expected {
        return Err(ApplyError::Validators {
            got: header.validators,
            expected,
        });
    }
    Ok(())
}

fn next_height(state: &State) -> Result<Height, ApplyError> {
    state
        .height
        .next()
        .ok_or(ApplyError::EndOfHeights(state.height))
}

/// Checks one transaction against a state, for mempools. What passes here is valid in the next
/// block as long as nothing else changes first.
///
/// # Errors
/// [`TxError`].
pub fn check_tx(state: &State, tx: &Transaction) -> Result<(), TxError> {
    check_tx_with(state, tx, VERIFY_ALL)
}

/// Whether the state would take this update, before it has any certificate: what a validator asks
/// before it fetches a payload.
///
/// # Errors
/// [`TxError`].
pub fn check_update(state: &State, update: &Update) -> Result<(), TxError> {
    let height = state.height.next().unwrap_or(state.height);
    View { state, height }.check_update(update)
}

/// [`check_tx`], with a cache of verified transactions: for looking through a mempool again after
/// a block.
///
/// # Errors
/// [`TxError`].
pub fn check_tx_with(
    state: &State,
    tx: &Transaction,
    verified: Verified<'_>,
) -> Result<(), TxError> {
    check_size(state, tx)?;
    // At the very last height nothing is valid any more, but that is for `apply` to say.
    let height = state.height.next().unwrap_or(state.height);
    let view = View { state, height };
    view.check(tx)?;
    if verified(&tx.hash(&state.chain_id)) {
        return Ok(());
    }
    view.verify(tx)
}

fn check_size(state: &State, tx: &Transaction) -> Result<u64, TxError> {
    let (bytes, limit) = (encoded_bytes(tx), state.limits.max_tx_bytes);
    if bytes > limit {
        Err(TxError::TooLarge { bytes, limit })
    } else {
        Ok(bytes)
    }
}

/// Encoded length; our encoders do not fail, and a length that cannot be had is over any limit.
fn encoded_bytes<T: BorshSerialize>(value: &T) -> u64 {
    borsh::object_length(value).map_or(u64::MAX, |length| length as u64)
}

/// Collects transactions for a block on top of a state.
#[derive(Debug)]
pub struct Builder<'a> {
    working: Working,
    header: Header,
    verified: VerifiedRef<'a>,
    transactions: Vec<Transaction>,
    hashes: Vec<TxHash>,
    seen: BTreeSet<TxHash>,
    bytes: u64,
}

struct VerifiedRef<'a>(Verified<'a>);

impl std::fmt::Debug for VerifiedRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verified")
    }
}

/// A block whose state root is not known yet, and what it does; [`crate::propose()`] completes it.
#[derive(Debug, Clone)]
pub struct Draft {
    pub(crate) block: Block,
    pub(crate) transition: Transition,
}

impl Draft {
    /// The transactions that made it into the block.
    #[must_use]
    pub fn transactions(&self) -> &[Transaction] {
        &self.block.transactions
    }

    /// What the block does. The state's `last_block` is not set yet: it depends on the state root.
    #[must_use]
    pub const fn transition(&self) -> &Transition {
        &self.transition
    }

    /// The block with the state root filled in, and what it does.
    #[must_use]
    pub fn seal(mut self, state_root: StateRoot) -> (Block, Transition) {
        self.block.header.state_root = state_root;
        self.transition.state.last_block = self.block.hash();
        (self.block, self.transition)
    }
}

impl<'a> Builder<'a> {
    /// Starts an empty block of this time and proposer.
    ///
    /// # Errors
    /// [`ApplyError::Time`], [`ApplyError::Proposer`], [`ApplyError::EndOfHeights`].
    pub fn new(
        state: &State,
        time_ms: TimestampMs,
        proposer: ValidatorId,
        verified: Verified<'a>,
    ) -> Result<Self, ApplyError> {
        let height = next_height(state)?;
        if time_ms <= state.time_ms {
            return Err(ApplyError::Time {
                got: time_ms,
                parent: state.time_ms,
            });
        }
        if state.validators.power_of(&proposer).is_none() {
            return Err(ApplyError::Proposer(proposer));
        }
        let header = Header {
            chain_id: state.chain_id.clone(),
            height,
            time_ms,
            parent: state.last_block,
            proposer,
            tx_root: Hash32::default(),
            validators: state.validators.hash(&state.chain_id),
            state_root: StateRoot::default(),
        };
        // The list of transactions has a length prefix of 4 bytes.
        let bytes = encoded_bytes(&header).saturating_add(4);
        let working = Working::new(state, Moment { height, time_ms });
        let (transactions, hashes, seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        let verified = VerifiedRef(verified);
        Ok(Self {
            working,
            header,
            verified,
            transactions,
            hashes,
            seen,
            bytes,
        })
    }

    /// Adds a transaction, or says why not and stays as it was.
    ///
    /// # Errors
    /// [`TxError`]; [`TxError::BlockFull`] means that a smaller one may still fit.
    pub fn push(&mut self, tx: Transaction) -> Result<(), TxError> {
        let hash = tx.hash(&self.header.chain_id);
        self.take(&tx, hash)?;
        self.transactions.push(tx);
        Ok(())
    }

    /// [`Self::push`] without keeping the transaction itself.
    fn take(&mut self, tx: &Transaction, hash: TxHash) -> Result<(), TxError> {
        let bytes = self
            .bytes
            .saturating_add(check_size(&self.working.state, tx)?);
        let limit = self.working.state.limits.max_block_bytes;
        if bytes > limit {
            return Err(TxError::BlockFull { bytes, limit });
        }
        if self.seen.contains(&hash) {
            return Err(TxError::Duplicate(hash));
        }
        self.working.transact(tx, hash, (self.verified.0)(&hash))?;
        self.seen.insert(hash);
        self.hashes.push(hash);
        self.bytes = bytes;
        Ok(())
    }

    /// Encoded length of the block so far, in bytes.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a block is worth making now: it has transactions, or a deadline is due in it.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let due = self.working.state.next_deadline();
        !self.hashes.is_empty() || due.is_some_and(|due| due <= self.header.time_ms)
    }

    /// Ends the block.
    #[must_use]
    pub fn finish(self) -> Draft {
        let mut header = self.header;
        header.tx_root = Block::tx_root_of(&header.chain_id, &self.hashes);
        // Set by `Draft::seal`, when the state root is known.
        let transition = end_block(self.working, BlockHash::default());
        Draft {
            block: Block {
                header,
                transactions: self.transactions,
            },
            transition,
        }
    }
}

impl Working {
    pub(crate) fn new(state: &State, now: Moment) -> Self {
        let mut working = Self {
            state: state.clone(),
            now,
            records: Writes::new(),
            dirty: BTreeSet::from([StateKey::Meta]),
            events: Vec::new(),
        };
        if state.height == Height(0) {
            for (id, task) in &mut working.state.tasks {
                task.start_clock(now);
                working.dirty.insert(StateKey::Task(*id));
                working.events.extend(opened(task));
            }
        }
        working
    }
}

fn opened(task: &TaskState) -> Option<Event> {
    let Phase::Open(open) = &task.phase else {
        return None;
    };
    let (id, deadline_ms) = (task.task.id, open.deadline_ms);
    Some(Event::RoundOpened {
        task: id,
        round: task.round,
        base: task.model,
        deadline_ms,
    })
}

/// Time-driven transitions, then the entries to write.
fn end_block(mut working: Working, last_block: BlockHash) -> Transition {
    let ids: Vec<_> = working.state.tasks.keys().copied().collect();
    for id in ids {
        end_round(&mut working, id);
    }
    let Working {
        mut state,
        now,
        mut records,
        dirty,
        events,
    } = working;
    state.parent = state.last_block;
    (state.height, state.time_ms, state.last_block) = (now.height, now.time_ms, last_block);
    for key in dirty {
        if let Some(value) = state.entry(&key) {
            records.insert(key, value);
        }
    }
    Transition {
        state,
        writes: records,
        events,
    }
}

fn end_round(working: &mut Working, id: TaskId) {
    let registered = working.state.contributors.len() as u64;
    let turns = (!working.state.open_registration).then_some(registered);
    end_private(working, id);
    let Some(task) = working.state.tasks.get_mut(&id) else {
        return;
    };
    if task.gathers_keys() {
        return;
    }
    let round = task.round;
    match task.end_of_block(&working.state.chain_id, working.now, turns) {
        RoundStep::None => return,
        RoundStep::Extended {
            extensions,
            deadline_ms,
        } => {
            let event = Event::RoundExtended {
                task: id,
                round,
                extensions,
                deadline_ms,
            };
            working.events.push(event);
        }
        RoundStep::Closed {
            update_set,
            updates,
        } => {
            let event = Event::RoundClosed {
                task: id,
                round,
                update_set,
                updates,
            };
            working.events.push(event);
        }
        RoundStep::Aborted { reason, record } => {
            working.events.push(Event::RoundAborted {
                task: id,
                round,
                reason,
            });
            working.finish_round(&record);
        }
    }
    working
        .dirty
        .extend([StateKey::Task(id), StateKey::Private(id)]);
}

/// What is due in the private half of a round: keys to fix, groups, or the seal.
fn end_private(working: &mut Working, id: TaskId) {
    let state = &mut working.state;
    let Some(task_state) = state.tasks.get_mut(&id) else {
        return;
    };
    let place = Place {
        chain_id: &state.chain_id,
        now: working.now,
        parent: state.last_block,
        validators: &state.validators,
    };
    let round = task_state.round;
    if task_state.fix_keys(place) {
        working.dirty.insert(StateKey::Private(id));
    }
    let event = if let Some(formed) =
        task_state.form_groups(place, state.contributors.keys().copied())
    {
        formed
    } else {
        match task_state.seal(place) {
            Seal::Waits => return,
            Seal::Sealed { root, opened } => Event::RoundSealed {
                task: id,
                round,
                root,
                opened,
            },
            Seal::TooFewGroups => {
                let reason = AbortReason::TooFewGroups;
                let task = id;
                if let RoundStep::Aborted { record, .. } = task_state.abort(working.now, reason) {
                    let aborted = Event::RoundAborted {
                        task,
                        round,
                        reason,
                    };
                    working.events.push(aborted);
                    working.finish_round(&record);
                }
                working
                    .dirty
                    .extend([StateKey::Task(id), StateKey::Private(id)]);
                return;
            }
        }
    };
    working.events.push(event);
    working
        .dirty
        .extend([StateKey::Task(id), StateKey::Private(id)]);
}
