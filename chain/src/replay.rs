//! The check of a whole store: every block from genesis, every signature, certificate, hash, index
//! and root, on a state and a tree of its own. Nothing that the store has computed is believed.

use cifer_genesis::{Genesis, GenesisHash, Height, StateRoot};

use crate::{
    apply::VERIFY_ALL,
    block::Block,
    event::Event,
    execute::{ExecuteError, Executed, execute},
    key::StateKey,
    round::Turn,
    state::{State, StateError},
    store::{Store, StoreError, TxLocation},
    tree::{MemoryTree, ProofError, StateTree, TreeError},
    update::RejectReason,
    validators::CertificateError,
};

/// What a store was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyReport {
    /// The network.
    pub genesis_hash: GenesisHash,
    /// Height of the newest block.
    pub height: Height,
    /// Transactions in all blocks.
    pub transactions: u64,
    /// Rounds that ended with a new model.
    pub rounds_finalised: u64,
    /// Rounds that ended without one.
    pub rounds_aborted: u64,
    /// State root after the newest block.
    pub state_root: StateRoot,
}

/// Where a store differs from what its blocks lead to.
#[derive(Debug, thiserror::Error)]
#[error("height {height}: {fault}")]
pub struct VerifyError {
    /// The height at which it was found.
    pub height: Height,
    /// What differs.
    #[source]
    pub fault: VerifyFault,
}

/// What differs.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFault {
    /// The store is of another network.
    #[error("the store is of genesis {stored}, the genesis document is {given}")]
    WrongGenesis {
        /// Genesis of the store.
        stored: GenesisHash,
        /// Genesis that was given.
        given: GenesisHash,
    },
    /// Something is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something is there, but not what it should be.
    #[error("{what} is {stored}, expected {expected}")]
    Differs {
        /// Of what.
        what: &'static str,
        /// In the store.
        stored: String,
        /// From replay.
        expected: String,
    },
    /// The block is not valid on its parent.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The commit certificate does not prove the block.
    #[error("commit certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The store's own tree does not lead to the header's root.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The genesis document makes no state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The tree that replay builds.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Replays a store from genesis. `on_height` is called after every verified height, for progress.
///
/// # Errors
/// [`VerifyError`]: the first height at which something differs, and what.
pub fn verify_chain<S: Store + ?Sized>(
    store: &S,
    genesis: &Genesis,
    mut on_height: impl FnMut(Height),
) -> Result<VerifyReport, VerifyError> {
    let at = |height: Height| move |fault: VerifyFault| VerifyError { height, fault };
    let mut replay = Replay::start(store, genesis).map_err(at(Height(0)))?;
    // The tip at the beginning: a store in use may grow meanwhile.
    let tip = store.state();
    while replay.state.height < tip.height {
        let height = Height(replay.state.height.0.saturating_add(1));
        replay.step(store, height).map_err(at(height))?;
        on_height(height);
    }
    replay.finish(store, &tip).map_err(at(tip.height))
}

struct Replay {
    state: State,
    tree: MemoryTree,
    report: VerifyReport,
}

fn same<T: PartialEq + std::fmt::Display>(
    what: &'static str,
    stored: &T,
    expected: &T,
) -> Result<(), VerifyFault> {
    if stored == expected {
        return Ok(());
    }
    let (stored, expected) = (stored.to_string(), expected.to_string());
    Err(VerifyFault::Differs {
        what,
        stored,
        expected,
    })
}

impl Replay {
    fn start<S: Store + ?Sized>(store: &S, genesis: &Genesis) -> Result<Self, VerifyFault> {
        let (state, writes) = State::genesis(genesis)?;
        let (stored, given) = (store.genesis_hash(), state.genesis_hash);
        if stored != given {
            return Err(VerifyFault::WrongGenesis { stored, given });
        }
        let mut tree = MemoryTree::default();
        let update = StateTree::new(&tree).compute(&writes, Height(0))?;
        let report = VerifyReport {
            genesis_hash: given,
            height: Height(0),
            transactions: 0,
            rounds_finalised: 0,
            rounds_aborted: 0,
            state_root: update.root,
        };
        tree.store(update);
        Ok(Self {
            state,
            tree,
            report,
        })
    }

    fn step<S: Store + ?Sized>(&mut self, store: &S, height: Height) -> Result<(), VerifyFault> {
        let block = store.block(height)?.ok_or(VerifyFault::Missing("block"))?;
        let hash = block.hash();
        let certificate = store
            .certificate(height)?
            .ok_or(VerifyFault::Missing("certificate"))?;
        same("height of the certificate", &certificate.height, &height)?;
        same("block of the certificate", &certificate.block, &hash)?;
        certificate.verify(&self.state.chain_id, &self.state.validators)?;
        let voters = store
            .validators(height)?
            .ok_or(VerifyFault::Missing("validator set"))?;
        let chain_id = &self.state.chain_id;
        same(
            "validator set",
            &voters.hash(chain_id),
            &self.state.validators.hash(chain_id),
        )?;
        let executed = execute(&self.tree, &self.state, block, VERIFY_ALL)?;
        check_indexes(store, &executed)?;
        self.count(&executed.transition.events, &executed.block);
        self.report.state_root = executed.tree.root;
        self.report.height = height;
        self.tree.store(executed.tree);
        self.state = executed.transition.state;
        Ok(())
    }

    fn count(&mut self, events: &[Event], block: &Block) {
        let count = |of: fn(&Event) -> bool| events.iter().filter(|e| of(e)).count() as u64;
        let report = &mut self.report;
        report.transactions += block.transactions.len() as u64;
        report.rounds_finalised += count(|e| matches!(e, Event::RoundFinalised { .. }));
        report.rounds_aborted += count(|e| matches!(e, Event::RoundAborted { .. }));
    }

    fn finish<S: Store + ?Sized>(
        self,
        store: &S,
        tip: &State,
    ) -> Result<VerifyReport, VerifyFault> {
        same("newest block", &tip.last_block, &self.state.last_block)?;
        if *tip != self.state {
            let stored = "another one".to_owned();
            let expected = "the one that the blocks lead to".to_owned();
            return Err(VerifyFault::Differs {
                what: "state",
                stored,
                expected,
            });
        }
        let mut keys = vec![StateKey::Meta, StateKey::Validators];
        keys.extend(
            self.state
                .contributors
                .keys()
                .copied()
                .map(StateKey::Contributor),
        );
        keys.extend(
            self.state
                .validator_faults
                .keys()
                .copied()
                .map(StateKey::ValidatorFaults),
        );
        keys.extend(self.state.tasks.keys().copied().map(StateKey::Task));
        let private = |(id, task): (&cifer_genesis::TaskId, &crate::TaskState)| {
            task.private().map(|_| StateKey::Private(*id))
        };
        keys.extend(self.state.tasks.iter().filter_map(private));
        for key in keys {
            let proof = store.prove_at(key, tip.height)?;
            proof.verify(self.report.state_root)?;
            if proof.value != self.state.entry(&key) {
                return Err(VerifyFault::Missing("a state entry"));
            }
        }
        Ok(self.report)
    }
}

/// What a commit writes beside block and state: events, indexes, and the records that never change
/// afterwards.
fn check_indexes<S: Store + ?Sized>(store: &S, executed: &Executed) -> Result<(), VerifyFault> {
    let height = executed.block.header.height;
    let indexed = store
        .height_of(&executed.hash)?
        .ok_or(VerifyFault::Missing("block index"))?;
    same("height of the block's hash", &indexed, &height)?;
    for (index, tx) in (0_u32..).zip(&executed.block.transactions) {
        let hash = tx.hash(&executed.block.header.chain_id);
        let found = store
            .tx_location(&hash)?
            .ok_or(VerifyFault::Missing("transaction index"))?;
        if found != (TxLocation { height, index }) {
            let stored = format!("{}/{}", found.height, found.index);
            let expected = format!("{height}/{index}");
            return Err(VerifyFault::Differs {
                what: "transaction index",
                stored,
                expected,
            });
        }
    }
    if store.events(height)?.as_ref() != Some(&executed.transition.events) {
        return Err(VerifyFault::Missing("the list of events"));
    }
    for (key, value) in &executed.transition.writes {
        let for_ever = matches!(
            key,
            StateKey::Update(..)
                | StateKey::Round(..)
                | StateKey::Evidence(_)
                | StateKey::PrivateRound(..)
        );
        let stored = store.value(key)?;
        let same = stored.as_ref() == Some(value);
        if for_ever && !same && !is_exposed_later(key, value, stored.as_deref()) {
            return Err(VerifyFault::Missing(
                "a record of a round, an update or evidence",
            ));
        }
    }
    Ok(())
}

/// Whether an accepted update became a rejection when its dealer was exposed: the one record that a
/// later block replaces.
fn is_exposed_later(key: &StateKey, written: &[u8], stored: Option<&[u8]>) -> bool {
    let turn = |bytes| borsh::from_slice::<Turn>(bytes).ok();
    match (key, turn(written), stored.and_then(turn)) {
        (StateKey::Update(..), Some(Turn::Accepted(was)), Some(Turn::Rejected(is))) => {
            is.reason == RejectReason::BadShare && is.update == was.update
        }
        _ => false,
    }
}
