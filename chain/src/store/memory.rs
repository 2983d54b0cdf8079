//! The store in memory: for tests, for replay, and for nodes that need no history.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use cifer_genesis::{BlockHash, Genesis, GenesisHash, Height, TxHash};
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey},
};

use super::{Durability, MAX_UNDECIDED, Store, StoreError, TxLocation, UndecidedKey, check_next};
use crate::{
    block::Block,
    event::Event,
    execute::Executed,
    key::StateKey,
    state::State,
    tree::{MemoryTree, StateTree, TreeReader},
    validators::ValidatorSet,
    vote::CommitCertificate,
};

/// See the module's text.
#[derive(Debug)]
pub struct MemoryStore(RwLock<Inner>);

#[derive(Debug)]
struct Inner {
    state: Arc<State>,
    tree: MemoryTree,
    values: BTreeMap<StateKey, Vec<u8>>,
    blocks: Vec<(Block, CommitCertificate, Vec<Event>)>,
    heights: BTreeMap<BlockHash, Height>,
    txs: BTreeMap<TxHash, TxLocation>,
    validators: BTreeMap<Height, ValidatorSet>,
    undecided: BTreeMap<UndecidedKey, Vec<u8>>,
}

impl MemoryStore {
    /// A store with nothing but genesis.
    ///
    /// # Errors
    /// [`StoreError::State`] for a genesis document that its own validation would refuse.
    pub fn new(genesis: &Genesis) -> Result<Self, StoreError> {
        let (state, writes) = State::genesis(genesis)?;
        let mut tree = MemoryTree::default();
        let update = StateTree::new(&tree).compute(&writes, Height(0))?;
        tree.store(update);
        Ok(Self(RwLock::new(Inner {
            validators: BTreeMap::from([(Height(1), state.validators.clone())]),
            state: Arc::new(state),
            tree,
            values: writes,
            blocks: Vec::new(),
            heights: BTreeMap::new(),
            txs: BTreeMap::new(),
            undecided: BTreeMap::new(),
        })))
    }

    // A panic while the lock is held cannot leave a commit half done: all that can fail comes first.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry<T>(
        &self,
        height: Height,
        get: impl FnOnce(&(Block, CommitCertificate, Vec<Event>)) -> T,
    ) -> Option<T> {
        let index = usize::try_from(height.0.checked_sub(1)?).ok()?;
        self.read().blocks.get(index).map(get)
    }
}

impl Store for MemoryStore {
    fn genesis_hash(&self) -> GenesisHash {
        self.read().state.genesis_hash
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.read().state)
    }

    fn block(&self, height: Height) -> Result<Option<Block>, StoreError> {
        Ok(self.entry(height, |(block, ..)| block.clone()))
    }

    fn height_of(&self, hash: &BlockHash) -> Result<Option<Height>, StoreError> {
        Ok(self.read().heights.get(hash).copied())
    }

    fn certificate(&self, height: Height) -> Result<Option<CommitCertificate>, StoreError> {
        Ok(self.entry(height, |(_, certificate, _)| certificate.clone()))
    }

    fn events(&self, height: Height) -> Result<Option<Vec<Event>>, StoreError> {
        Ok(self.entry(height, |(.., events)| events.clone()))
    }

    fn tx_location(&self, hash: &TxHash) -> Result<Option<TxLocation>, StoreError> {
        Ok(self.read().txs.get(hash).copied())
    }

    fn validators(&self, height: Height) -> Result<Option<ValidatorSet>, StoreError> {
        let inner = self.read();
        if height.0 == 0 || height.0 > inner.state.height.0.saturating_add(1) {
            return Ok(None);
        }
        Ok(inner
            .validators
            .range(..=height)
            .next_back()
            .map(|(_, set)| set.clone()))
    }

    fn value(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().values.get(key).cloned())
    }

    fn commit(
        &self,
        executed: &Executed,
        certificate: &CommitCertificate,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        check_next(&inner.state, executed, certificate)?;
        let (height, transition) = (executed.block.header.height, &executed.transition);
        inner.tree.store(executed.tree.clone());
        inner.values.extend(transition.writes.clone());
        for (index, tx) in (0..).zip(&executed.block.transactions) {
            let hash = tx.hash(&transition.state.chain_id);
            inner.txs.insert(hash, TxLocation { height, index });
        }
        inner.heights.insert(executed.hash, height);
        if transition.state.validators != inner.state.validators {
            let next = Height(height.0.saturating_add(1));
            inner
                .validators
                .insert(next, transition.state.validators.clone());
        }
        let events = transition.events.clone();
        inner
            .blocks
            .push((executed.block.clone(), certificate.clone(), events));
        inner.state = Arc::new(transition.state.clone());
        Ok(())
    }

    fn put_undecided(
        &self,
        key: &UndecidedKey,
        bytes: &[u8],
        _durability: Durability,
    ) -> Result<(), StoreError> {
        let mut inner = self.write();
        let kept = of_height(&inner.undecided, key.height).count();
        if kept >= MAX_UNDECIDED && !inner.undecided.contains_key(key) {
            return Err(StoreError::TooManyUndecided { height: key.height });
        }
        inner.undecided.insert(*key, bytes.to_vec());
        Ok(())
    }

    fn undecided(&self, key: &UndecidedKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().undecided.get(key).cloned())
    }

    fn undecided_at(&self, height: Height) -> Result<Vec<(UndecidedKey, Vec<u8>)>, StoreError> {
        let inner = self.read();
        Ok(of_height(&inner.undecided, height)
            .map(|(key, v)| (*key, v.clone()))
            .collect())
    }

    fn delete_undecided(&self, up_to: Height) -> Result<(), StoreError> {
        self.write().undecided.retain(|key, _| key.height > up_to);
        Ok(())
    }
}

fn of_height(
    undecided: &BTreeMap<UndecidedKey, Vec<u8>>,
    height: Height,
) -> impl Iterator<Item = (&UndecidedKey, &Vec<u8>)> {
    let first = UndecidedKey {
        height,
        round: 0,
        block: BlockHash::default(),
    };
    undecided
        .range(first..)
        .take_while(move |(key, _)| key.height == height)
}

impl TreeReader for MemoryStore {
    fn get_node_option(&self, node_key: &NodeKey) -> anyhow::Result<Option<Node>> {
        self.read().tree.get_node_option(node_key)
    }
    fn get_value_option(
        &self,
        max_version: Version,
        key_hash: KeyHash,
    ) -> anyhow::Result<Option<OwnedValue>> {
        self.read().tree.get_value_option(max_version, key_hash)
    }
    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        self.read().tree.get_rightmost_leaf()
    }
}
