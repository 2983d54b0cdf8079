//! The ledger's state and how it maps to the entries of the state tree.
//!
//! Invariant: the state is a function of the genesis document, the tree's entries and the hash of
//! the newest block ([`State::load`] is the inverse of the entries that [`State::entry`] writes), so a
//! state root commits to everything that the next block is judged by.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    BlockHash, ContributorId, Genesis, GenesisHash, Height, TaskId, TimestampMs, ValidatorId,
    document::Limits,
};

use crate::{
    evidence::Culprit,
    key::{MetaRecord, Offence, PhaseRecord, StateKey, TaskRecord},
    private::PrivateRound,
    round::{ClosedRound, Moment, OpenRound, Phase, TaskState, Turn},
    validators::{ValidatorSet, ValidatorSetError},
};

/// Tree entries to write: keys with their new values. Nothing is ever deleted.
pub type Writes = BTreeMap<StateKey, Vec<u8>>;

/// Faults recorded against one key. A key with this many is known for what it is; the bound keeps
/// the offences in memory under 16 x (512 + 10,000) x 80 bytes = 13 MB, and one cheat's share of the
/// ledger small.
pub const MAX_FAULTS: u32 = 16;

/// A registered contributor.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Contributor {
    /// For people.
    pub name: String,
    /// Block that registered it; 0 for genesis.
    pub registered_at: Height,
    /// Updates accepted in all rounds of all tasks.
    pub accepted: u64,
    /// Updates rejected in all rounds of all tasks.
    pub rejected: u64,
    /// Equivocations proven, at most [`MAX_FAULTS`].
    pub faults: u32,
}

/// Everything that the next block is judged by.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct State {
    /// The network.
    pub chain_id: String,
    /// Its genesis.
    pub genesis_hash: GenesisHash,
    /// Height of the newest block; 0 before the first.
    pub height: Height,
    /// Time of the newest block; of genesis before the first.
    pub time_ms: TimestampMs,
    /// Hash of the newest block; the genesis hash before the first.
    pub last_block: BlockHash,
    /// Parent of the newest block; the genesis hash before the second.
    pub parent: BlockHash,
    /// Who votes on the next block.
    pub validators: ValidatorSet,
    /// Bounds, from genesis.
    pub limits: Limits,
    /// Whether anybody may register, from genesis.
    pub open_registration: bool,
    /// Who may send updates.
    pub contributors: BTreeMap<ContributorId, Contributor>,
    /// Equivocations proven against validators; no entry for zero.
    pub validator_faults: BTreeMap<ValidatorId, u32>,
    /// Offences that are on record.
    pub offences: BTreeSet<Offence>,
    /// Tasks with their current round.
    pub tasks: BTreeMap<TaskId, TaskState>,
}

/// Why no state can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The genesis validators are no validator set.
    #[error("genesis: {0}")]
    Validators(#[from] ValidatorSetError),
    /// Two tasks, or two contributors, with one id.
    #[error("genesis: {what} {id} appears twice")]
    Duplicate {
        /// `task` or `contributor`.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// Entries of a store that do not make a state: damage, or another program's work.
    #[error("state entry {key}: {problem}")]
    Entry {
        /// Which.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl State {
    /// The state before the first block, and its tree entries.
    ///
    /// # Errors
    /// [`StateError`] for a genesis document that its own validation would refuse.
    pub fn genesis(genesis: &Genesis) -> Result<(Self, Writes), StateError> {
        let genesis_hash = genesis.hash();
        let opened = Moment {
            height: Height(0),
            time_ms: genesis.time_ms,
        };
        let mut state = Self::skeleton(genesis, genesis_hash)?;
        for named in &genesis.contributors.allowed {
            let id = ContributorId(named.public_key);
            let contributor = Contributor {
                name: named.name.clone(),
                registered_at: Height(0),
                accepted: 0,
                rejected: 0,
                faults: 0,
            };
            if state.contributors.insert(id, contributor).is_some() {
                let (what, id) = ("contributor", id.to_string());
                return Err(StateError::Duplicate { what, id });
            }
        }
        for task in &genesis.tasks {
            let task_state = TaskState::new(&genesis.chain_id, task.clone(), opened);
            if state.tasks.insert(task.id, task_state).is_some() {
                return Err(StateError::Duplicate {
                    what: "task",
                    id: task.id.to_string(),
                });
            }
        }
        let mut keys = vec![StateKey::Meta, StateKey::Validators];
        keys.extend(
            state
                .contributors
                .keys()
                .copied()
                .map(StateKey::Contributor),
        );
        keys.extend(state.tasks.keys().copied().map(StateKey::Task));
        keys.extend(state.tasks.keys().copied().map(StateKey::Private));
        let writes = keys
            .iter()
            .filter_map(|key| Some((*key, state.entry(key)?)))
            .collect();
        Ok((state, writes))
    }

    fn skeleton(genesis: &Genesis, genesis_hash: GenesisHash) -> Result<Self, StateError> {
        Ok(Self {
            chain_id: genesis.chain_id.clone(),
            genesis_hash,
            height: Height(0),
            time_ms: genesis.time_ms,
            last_block: BlockHash(genesis_hash.0),
            parent: BlockHash(genesis_hash.0),
            validators: ValidatorSet::from_genesis(genesis)?,
            limits: genesis.limits.clone(),
            open_registration: genesis.contributors.open_registration,
            contributors: BTreeMap::new(),
            validator_faults: BTreeMap::new(),
            offences: BTreeSet::new(),
            tasks: BTreeMap::new(),
        })
    }

    /// Earliest block time at which a deadline is due: a node that proposes makes a block for it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<TimestampMs> {
        let deadline = |task: &TaskState| match &task.phase {
            Phase::Open(_) if task.gathers_keys() => task.private_deadline(&self.validators),
            Phase::Open(open) => Some(open.deadline_ms),
            Phase::Closed(_) => task.private_deadline(&self.validators),
            Phase::Complete => None,
        };
        self.tasks.values().filter_map(deadline).min()
    }

    /// Whether all rounds of all tasks are done.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.tasks
            .values()
            .all(|task| task.phase == Phase::Complete)
    }

    /// Faults proven against a key.
    #[must_use]
    pub fn faults_of(&self, culprit: &Culprit) -> u32 {
        match culprit {
            Culprit::Validator(id) => self.validator_faults.get(id).copied().unwrap_or(0),
            Culprit::Contributor(id) => self.contributors.get(id).map_or(0, |c| c.faults),
        }
    }

    /// The value of a key that lives in the state. `None` for absent entries and for the records
    /// that are written once ([`StateKey::Update`], [`StateKey::Round`], [`StateKey::Evidence`],
    /// [`StateKey::PrivateRound`]).
    #[must_use]
    pub fn entry(&self, key: &StateKey) -> Option<Vec<u8>> {
        match key {
            StateKey::Meta => encode(&MetaRecord {
                chain_id: self.chain_id.clone(),
                genesis: self.genesis_hash,
                height: self.height,
                time_ms: self.time_ms,
                parent: self.parent,
            }),
            StateKey::Validators => encode(&self.validators),
            StateKey::Contributor(id) => encode(self.contributors.get(id)?),
            StateKey::ValidatorFaults(id) => encode(self.validator_faults.get(id)?),
            StateKey::Task(id) => {
                let task = self.tasks.get(id)?;
                encode(&TaskRecord {
                    definition: task.definition,
                    model: task.model,
                    round: task.round,
                    phase: PhaseRecord::from(&task.phase),
                })
            }
            StateKey::Private(id) => encode(self.tasks.get(id)?.private.as_ref()?),
            StateKey::Update(..)
            | StateKey::Round(..)
            | StateKey::Evidence(_)
            | StateKey::PrivateRound(..) => None,
        }
    }

    /// Puts a state together from genesis, the hash of the newest block and tree entries. Entries of
    /// past rounds are skipped, so it does not matter whether they are handed in.
    ///
    /// # Errors
    /// [`StateError::Entry`] for entries that this genesis cannot have led to.
    pub fn load(
        genesis: &Genesis,
        last_block: BlockHash,
        entries: impl IntoIterator<Item = (StateKey, Vec<u8>)>,
    ) -> Result<Self, StateError> {
        let (mut state, _) = Self::genesis(genesis)?;
        state.contributors.clear();
        let (mut turns, mut records) = (Vec::new(), BTreeMap::new());
        let mut private = BTreeMap::new();
        let mut meta = None;
        for (key, value) in entries {
            match key {
                StateKey::Meta => meta = Some(decode::<MetaRecord>(&key, &value)?),
                StateKey::Validators => state.validators = decode(&key, &value)?,
                StateKey::Contributor(id) => {
                    state.contributors.insert(id, decode(&key, &value)?);
                }
                StateKey::ValidatorFaults(id) => {
                    state.validator_faults.insert(id, decode(&key, &value)?);
                }
                StateKey::Task(id) => {
                    records.insert(id, decode::<TaskRecord>(&key, &value)?);
                }
                StateKey::Update(..) => turns.push((key, value)),
                StateKey::Round(..) | StateKey::PrivateRound(..) => {}
                StateKey::Private(id) => drop(private.insert(id, decode(&key, &value)?)),
                StateKey::Evidence(offence) => {
                    state.offences.insert(offence);
                }
            }
        }
        let meta = meta.ok_or_else(|| bad(&StateKey::Meta, "missing"))?;
        if meta.genesis != state.genesis_hash || meta.chain_id != state.chain_id {
            let problem = format!("is of genesis {}, not {}", meta.genesis, state.genesis_hash);
            return Err(bad(&StateKey::Meta, &problem));
        }
        (state.height, state.time_ms) = (meta.height, meta.time_ms);
        (state.parent, state.last_block) = (meta.parent, last_block);
        state.load_tasks(&records, &turns)?;
        state.load_private(private)?;
        Ok(state)
    }

    fn load_private(
        &mut self,
        mut entries: BTreeMap<TaskId, PrivateRound>,
    ) -> Result<(), StateError> {
        for (id, task) in &mut self.tasks {
            let (entry, key) = (entries.remove(id), StateKey::Private(*id));
            if entry.is_some() != task.task.privacy.is_some() {
                return Err(bad(&key, "missing, or of a task in the clear"));
            }
            task.private = entry;
        }
        Ok(())
    }

    fn load_tasks(
        &mut self,
        records: &BTreeMap<TaskId, TaskRecord>,
        turns: &[(StateKey, Vec<u8>)],
    ) -> Result<(), StateError> {
        for (id, task) in &mut self.tasks {
            let key = StateKey::Task(*id);
            let record = records.get(id).ok_or_else(|| bad(&key, "missing"))?;
            if record.definition != task.definition {
                let problem = format!(
                    "definition {}, genesis has {}",
                    record.definition, task.definition
                );
                return Err(bad(&key, &problem));
            }
            (task.model, task.round) = (record.model, record.round);
            let (mut updates, mut rejected) = (BTreeMap::new(), BTreeMap::new());
            for (key, value) in turns {
                match key {
                    StateKey::Update(t, r, who) if t == id && *r == record.round => {
                        match decode::<Turn>(key, value)? {
                            Turn::Accepted(turn) => drop(updates.insert(*who, turn)),
                            Turn::Rejected(turn) => drop(rejected.insert(*who, turn)),
                        }
                    }
                    _ => {}
                }
            }
            task.phase = match record.phase {
                PhaseRecord::Open {
                    opened,
                    deadline_ms,
                    extensions,
                    accepted,
                    rejected: n,
                } => {
                    if (updates.len() as u64, rejected.len() as u64) != (accepted, n) {
                        return Err(bad(&key, "the turns of the open round are not all there"));
                    }
                    Phase::Open(OpenRound {
                        opened,
                        deadline_ms,
                        extensions,
                        updates,
                        rejected,
                    })
                }
                PhaseRecord::Closed {
                    opened,
                    closed,
                    extensions,
                    update_set,
                } => {
                    let updates = updates.into_values().collect();
                    let rejected = rejected.into_values().collect();
                    let round = ClosedRound::new(
                        &self.chain_id,
                        opened,
                        closed,
                        extensions,
                        updates,
                        rejected,
                    );
                    if round.update_set != update_set {
                        return Err(bad(&key, "the updates of the closed round do not match"));
                    }
                    Phase::Closed(round)
                }
                PhaseRecord::Complete => Phase::Complete,
            };
        }
        Ok(())
    }
}

impl TaskState {
    /// How a contributor used its turn in the current round, if it did.
    #[must_use]
    pub fn turn(&self, contributor: &ContributorId) -> Option<Turn> {
        match &self.phase {
            Phase::Open(open) => open
                .updates
                .get(contributor)
                .cloned()
                .map(Turn::Accepted)
                .or_else(|| open.rejected.get(contributor).cloned().map(Turn::Rejected)),
            Phase::Closed(closed) => closed
                .updates
                .iter()
                .find(|turn| turn.update.contributor == *contributor)
                .cloned()
                .map(Turn::Accepted)
                .or_else(|| {
                    let mut rejected = closed.rejected.iter();
                    let turn = rejected.find(|turn| turn.update.contributor == *contributor)?;
                    Some(Turn::Rejected(turn.clone()))
                }),
            Phase::Complete => None,
        }
    }
}

/// Encodes a value of our own. Writing into a Vec cannot fail.
pub(crate) fn encode<T: BorshSerialize>(value: &T) -> Option<Vec<u8>> {
    borsh::to_vec(value).ok()
}

fn decode<T: BorshDeserialize>(key: &StateKey, value: &[u8]) -> Result<T, StateError> {
    borsh::from_slice(value).map_err(|error| bad(key, &error.to_string()))
}

fn bad(key: &StateKey, problem: &str) -> StateError {
    StateError::Entry {
        key: format!("{key:?}"),
        problem: problem.to_owned(),
    }
}
