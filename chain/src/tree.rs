//! The state tree: a Jellyfish Merkle tree (the `jmt` crate; Gao, Hu, Wu: "Jellyfish Merkle Tree",
//! 2021) over BLAKE3, whose root every header carries.
//!
//! The tree's key is the hash of [`StateKey::to_bytes`] under its own domain; values are kept in
//! full, so a proof can hand them out. The version of the tree is the height of the block.
//!
//! Invariants: a version is computed once, on top of the version before it; nothing is deleted from
//! the tree (what a newer version replaces becomes stale and is pruned after [`PROOF_HISTORY`]
//! heights). A missing or damaged node is our own fault and never the sender's.

use std::collections::BTreeMap;

use borsh::BorshDeserialize;
use cifer_genesis::{Genesis, Hash32, Height, StateRoot};
pub use jmt::storage::TreeReader;
use jmt::{
    JellyfishMerkleTree, KeyHash, OwnedValue, SimpleHasher, Version,
    proof::SparseMerkleProof,
    storage::{LeafNode, Node, NodeKey, TreeUpdateBatch},
};

use crate::{key::StateKey, state::Writes};

/// Domain of the tree's nodes and values.
pub const TREE_DOMAIN: &str = "cifer/chain/state-tree/v1";
/// Domain of the tree's keys.
pub const KEY_DOMAIN: &str = "cifer/chain/state-key/v1";

/// Heights, counted back from the newest, of which proofs can be made. A block replaces about
/// 10 KB of nodes, so this much history is 10 MB on disk.
pub const PROOF_HISTORY: u64 = 1_000;

/// Longest proof: 256 siblings of 65 bytes, a leaf of 65, a length of 4.
const MAX_PROOF_BYTES: usize = 256 * 65 + 65 + 4;

/// What went wrong in the tree's own storage.
#[derive(Debug, thiserror::Error)]
#[error("state tree at height {height}: {problem}")]
pub struct TreeError {
    /// Version of the tree.
    pub height: Height,
    /// What is wrong.
    pub problem: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the encoding of a proof.
    #[error("state proof of {bytes} bytes is malformed: {problem}")]
    Malformed {
        /// Its length.
        bytes: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// It does not lead from this key and value to this root.
    #[error("state proof of {key} does not lead to root {root}: {problem}")]
    Mismatch {
        /// The key.
        key: String,
        /// The root.
        root: StateRoot,
        /// Where it goes wrong.
        problem: String,
    },
}

/// BLAKE3 under the tree's domain.
#[derive(Debug, Clone)]
struct TreeHasher(blake3::Hasher);

impl SimpleHasher for TreeHasher {
    fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(TREE_DOMAIN))
    }
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finalize(self) -> [u8; 32] {
        *self.0.finalize().as_bytes()
    }
}

fn key_hash(key: &StateKey) -> KeyHash {
    KeyHash(Hash32::derive(KEY_DOMAIN, &key.to_bytes()).0)
}

/// A new version of the tree, not stored yet.
#[derive(Debug, Clone)]
pub struct TreeUpdate {
    /// Its root.
    pub root: StateRoot,
    /// Its height.
    pub height: Height,
    /// New nodes and values, and what they make stale.
    pub batch: TreeUpdateBatch,
}

/// A value of the state, or its absence, with the path to a state root.
#[derive(Debug, Clone, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub struct StateProof {
    /// The key.
    pub key: StateKey,
    /// Its value; `None` proves that there is none.
    pub value: Option<Vec<u8>>,
    /// The path.
    pub proof: Vec<u8>,
}

impl StateProof {
    /// Checks that this key has this value (or none) under a root.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, root: StateRoot) -> Result<(), ProofError> {
        let bytes = self.proof.len();
        let malformed = |problem: String| ProofError::Malformed { bytes, problem };
        if bytes > MAX_PROOF_BYTES {
            return Err(malformed(format!("the limit is {MAX_PROOF_BYTES}")));
        }
        let path = SparseMerkleProof::<TreeHasher>::try_from_slice(&self.proof)
            .map_err(|error| malformed(error.to_string()))?;
        let root_hash = jmt::RootHash(*root.as_bytes());
        path.verify(root_hash, key_hash(&self.key), self.value.as_ref())
            .map_err(|error| {
                let key = format!("{:?}", self.key);
                ProofError::Mismatch {
                    key,
                    root,
                    problem: error.to_string(),
                }
            })
    }

    /// The value, decoded; `None` when the proof is one of absence. Verify first.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] if the value is not of this type.
    pub fn decode<T: BorshDeserialize>(&self) -> Result<Option<T>, ProofError> {
        let decode = |value: &Vec<u8>| {
            let bytes = value.len();
            borsh::from_slice(value).map_err(|error: std::io::Error| ProofError::Malformed {
                bytes,
                problem: error.to_string(),
            })
        };
        self.value.as_ref().map(decode).transpose()
    }
}

/// The tree over a reader of its nodes.
#[derive(Debug)]
pub struct StateTree<'a, R: ?Sized>(Reader<'a, R>);

impl<'a, R: TreeReader + ?Sized> StateTree<'a, R> {
    /// The tree that a reader holds.
    #[must_use]
    pub const fn new(reader: &'a R) -> Self {
        Self(Reader(reader))
    }

    /// The version of `height`: the writes of that block on top of the version before it.
    ///
    /// # Errors
    /// [`TreeError`] when nodes are missing or damaged.
    pub fn compute(&self, writes: &Writes, height: Height) -> Result<TreeUpdate, TreeError> {
        // The crate takes a missing root for an empty tree, which would quietly start over.
        if let Some(parent) = height.0.checked_sub(1) {
            self.root(Height(parent))?;
        }
        let values = writes
            .iter()
            .map(|(key, value)| (key_hash(key), Some(value.clone())));
        let (root, batch) = self
            .tree()
            .put_value_set(values, height.0)
            .map_err(|error| tree_error(height, &error))?;
        Ok(TreeUpdate {
            root: StateRoot::from_bytes(root.0),
            height,
            batch,
        })
    }

    /// The root at a height.
    ///
    /// # Errors
    /// [`TreeError`] when that version is missing: not reached yet, or pruned.
    pub fn root(&self, height: Height) -> Result<StateRoot, TreeError> {
        let root = self.tree().get_root_hash(height.0);
        root.map(|root| StateRoot::from_bytes(root.0))
            .map_err(|error| tree_error(height, &error))
    }

    /// The value of a key at a height, or its absence, with the proof for it.
    ///
    /// # Errors
    /// [`TreeError`] when that version is missing or damaged.
    pub fn prove(&self, key: StateKey, height: Height) -> Result<StateProof, TreeError> {
        let (value, path) = self
            .tree()
            .get_with_proof(key_hash(&key), height.0)
            .map_err(|error| tree_error(height, &error))?;
        let proof = borsh::to_vec(&path).map_err(|error| TreeError {
            height,
            problem: error.to_string(),
        })?;
        Ok(StateProof { key, value, proof })
    }

    fn tree(&self) -> JellyfishMerkleTree<'_, Reader<'a, R>, TreeHasher> {
        JellyfishMerkleTree::new(&self.0)
    }
}

fn tree_error(height: Height, error: &anyhow::Error) -> TreeError {
    TreeError {
        height,
        problem: format!("{error:#}"),
    }
}

/// A sized handle, because the tree crate wants one.
#[derive(Debug)]
struct Reader<'a, R: ?Sized>(&'a R);

impl<R: TreeReader + ?Sized> TreeReader for Reader<'_, R> {
    fn get_node_option(&self, node_key: &NodeKey) -> anyhow::Result<Option<Node>> {
        self.0.get_node_option(node_key)
    }
    fn get_value_option(
        &self,
        max_version: Version,
        key_hash: KeyHash,
    ) -> anyhow::Result<Option<OwnedValue>> {
        self.0.get_value_option(max_version, key_hash)
    }
    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        self.0.get_rightmost_leaf()
    }
}

/// The tree's nodes in memory, for light work: tests, replay, the root of a genesis.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    nodes: BTreeMap<NodeKey, Node>,
    values: BTreeMap<(KeyHash, Version), OwnedValue>,
    stale: BTreeMap<Version, Vec<Stale>>,
}

/// What a version of the tree no longer needs.
#[derive(Debug, Clone, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub enum Stale {
    /// A node.
    Node(NodeKey),
    /// A value that was written at a version.
    Value(KeyHash, Version),
}

impl MemoryTree {
    /// Adds a version and prunes what is older than [`PROOF_HISTORY`].
    pub fn store(&mut self, update: TreeUpdate) {
        let Ok(stale) = stale_of(&update, |key, version| {
            let older = self.values.range((key, 0)..(key, version)).next_back();
            Ok::<_, std::convert::Infallible>(older.map(|((_, version), _)| *version))
        });
        self.stale.insert(update.height.0, stale);
        self.nodes.extend(update.batch.node_batch.nodes().clone());
        for ((version, key), value) in update.batch.node_batch.values() {
            if let Some(value) = value {
                self.values.insert((*key, *version), value.clone());
            }
        }
        let Some(oldest) = update.height.0.checked_sub(PROOF_HISTORY) else {
            return;
        };
        for stale in self.stale.remove(&oldest).unwrap_or_default() {
            match stale {
                Stale::Node(key) => drop(self.nodes.remove(&key)),
                Stale::Value(key, version) => drop(self.values.remove(&(key, version))),
            }
        }
    }
}

/// What an update makes stale; `older` finds the newest version of a value below a given one.
///
/// # Errors
/// Those of `older`.
pub fn stale_of<E>(
    update: &TreeUpdate,
    older: impl Fn(KeyHash, Version) -> Result<Option<Version>, E>,
) -> Result<Vec<Stale>, E> {
    let nodes = update.batch.stale_node_index_batch.iter();
    let mut stale: Vec<_> = nodes
        .map(|index| Stale::Node(index.node_key.clone()))
        .collect();
    for (version, key) in update.batch.node_batch.values().keys() {
        if let Some(older) = older(*key, *version)? {
            stale.push(Stale::Value(*key, older));
        }
    }
    Ok(stale)
}

impl TreeReader for MemoryTree {
    fn get_node_option(&self, node_key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.nodes.get(node_key).cloned())
    }
    fn get_value_option(
        &self,
        max_version: Version,
        key_hash: KeyHash,
    ) -> anyhow::Result<Option<OwnedValue>> {
        let mut older = self.values.range((key_hash, 0)..=(key_hash, max_version));
        Ok(older.next_back().map(|(_, value)| value.clone()))
    }
    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("only restoring a tree needs its rightmost leaf")
    }
}

/// The state root of a genesis document.
///
/// # Errors
/// The text of [`crate::StateError`] or [`TreeError`].
pub fn genesis_state_root(genesis: &Genesis) -> Result<StateRoot, String> {
    let (_, writes) = crate::State::genesis(genesis).map_err(|error| error.to_string())?;
    let tree = MemoryTree::default();
    let update = StateTree::new(&tree).compute(&writes, Height(0));
    update
        .map(|update| update.root)
        .map_err(|error| error.to_string())
}
