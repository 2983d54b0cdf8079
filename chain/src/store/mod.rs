//! Where committed blocks live. One trait and an in-memory store; the durable one is the crate
//! `cifer-store`, whose tests hold both to the same behaviour.
//!
//! Invariants: a commit is atomic and durable when it returns; the tip's state, tree, block and
//! certificate belong together; heights have no gaps. A store belongs to one genesis.

mod memory;

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{BlockHash, ContributorId, GenesisHash, Height, RoundId, TaskId, TxHash};

pub use memory::MemoryStore;

use crate::{
    apply::{Draft, Verified},
    block::Block,
    event::Event,
    execute::{self, ExecuteError, Executed},
    key::StateKey,
    round::{RoundRecord, Turn},
    state::{State, StateError},
    tree::{StateProof, StateTree, TreeError, TreeReader},
    tx::Transaction,
    validators::ValidatorSet,
    vote::CommitCertificate,
};

/// Version of the stored layout.
pub const SCHEMA_VERSION: u32 = 1;

/// Rounds handed out at once: at 1,000 updates of 250 bytes each, 16 MB.
pub const MAX_ROUNDS_PAGE: usize = 64;

/// Undecided proposals kept of one height: with blocks of 1 MiB, 64 MiB on disk.
pub const MAX_UNDECIDED: usize = 64;

/// What went wrong with the store: our own fault, or the operator's.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says so.
    #[error("database: {0}")]
    Database(String),
    /// Stored data that this program cannot have written.
    #[error("damaged store: {what}: {problem}; restore it from a backup or sync it again")]
    Corrupt {
        /// Which entry.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Written by a program with another layout.
    #[error("the store has schema version {stored}, this program needs {SCHEMA_VERSION}")]
    SchemaVersion {
        /// What is stored.
        stored: u32,
    },
    /// The store of another network.
    #[error("the store is of genesis {stored}, the genesis document is {given}")]
    WrongGenesis {
        /// Genesis of the store.
        stored: GenesisHash,
        /// Genesis that was given.
        given: GenesisHash,
    },
    /// A commit that does not continue the chain.
    #[error("cannot commit {field} {got}, expected {expected}")]
    NotNext {
        /// `height`, `parent`, `certificate height` or `certificate block`.
        field: &'static str,
        /// What was given.
        got: String,
        /// What would continue the chain.
        expected: String,
    },
    /// Too many undecided proposals of one height.
    #[error("height {height} has {MAX_UNDECIDED} undecided proposals; no more are kept")]
    TooManyUndecided {
        /// The height.
        height: Height,
    },
    /// The state does not come together.
    #[error(transparent)]
    State(#[from] StateError),
    /// The tree does not come together.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Where a transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TxLocation {
    /// The block.
    pub height: Height,
    /// Position in the block.
    pub index: u32,
}

/// Whether a write has to survive the loss of power, or only of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Synced to the device before the call returns.
    Synced,
    /// In the operating system's hands: survives `kill -9`.
    Buffered,
}

/// Committed blocks and what they led to. Cheap to share: every method takes `&self`.
pub trait Store: TreeReader + Send + Sync {
    /// The network.
    fn genesis_hash(&self) -> GenesisHash;

    /// The state after the newest block.
    fn state(&self) -> Arc<State>;

    /// A committed block.
    ///
    /// # Errors
    /// [`StoreError`], as everywhere below.
    fn block(&self, height: Height) -> Result<Option<Block>, StoreError>;

    /// Height of the committed block with this hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn height_of(&self, hash: &BlockHash) -> Result<Option<Height>, StoreError>;

    /// The proof that a block is final.
    ///
    /// # Errors
    /// [`StoreError`].
    fn certificate(&self, height: Height) -> Result<Option<CommitCertificate>, StoreError>;

    /// What a block did, for subscribers that come late.
    ///
    /// # Errors
    /// [`StoreError`].
    fn events(&self, height: Height) -> Result<Option<Vec<Event>>, StoreError>;

    /// Where a committed transaction stands.
    ///
    /// # Errors
    /// [`StoreError`].
    fn tx_location(&self, hash: &TxHash) -> Result<Option<TxLocation>, StoreError>;

    /// The set that votes on the block of a height, up to the one after the tip.
    ///
    /// # Errors
    /// [`StoreError`].
    fn validators(&self, height: Height) -> Result<Option<ValidatorSet>, StoreError>;

    /// The newest value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn value(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StoreError>;

    /// Commits the next block: block, certificate, indexes, state and tree in one synced write.
    /// The certificate is compared with the block; its signatures are the caller's to check.
    ///
    /// # Errors
    /// [`StoreError::NotNext`] when it does not continue the chain; nothing is written then.
    fn commit(&self, block: &Executed, certificate: &CommitCertificate) -> Result<(), StoreError>;

    /// Keeps bytes of a proposal that is not decided yet. The same key again overwrites.
    ///
    /// # Errors
    /// [`StoreError::TooManyUndecided`] above [`MAX_UNDECIDED`] of one height.
    fn put_undecided(
        &self,
        key: &UndecidedKey,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), StoreError>;

    /// The bytes of an undecided proposal.
    ///
    /// # Errors
    /// [`StoreError`].
    fn undecided(&self, key: &UndecidedKey) -> Result<Option<Vec<u8>>, StoreError>;

    /// All undecided proposals of a height, by round and block hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn undecided_at(&self, height: Height) -> Result<Vec<(UndecidedKey, Vec<u8>)>, StoreError>;

    /// Forgets undecided proposals of this height and below.
    ///
    /// # Errors
    /// [`StoreError`].
    fn delete_undecided(&self, up_to: Height) -> Result<(), StoreError>;

    /// Height of the newest block; 0 when there is only genesis.
    fn tip(&self) -> Height {
        self.state().height
    }

    /// A committed block by its hash.
    ///
    /// # Errors
    /// [`StoreError`].
    fn block_by_hash(&self, hash: &BlockHash) -> Result<Option<Block>, StoreError> {
        self.height_of(hash)?
            .map_or(Ok(None), |height| self.block(height))
    }

    /// A committed transaction and where it stands.
    ///
    /// # Errors
    /// [`StoreError`].
    fn tx(&self, hash: &TxHash) -> Result<Option<(TxLocation, Transaction)>, StoreError> {
        let Some(location) = self.tx_location(hash)? else {
            return Ok(None);
        };
        let block = self.block(location.height)?;
        let tx = block.and_then(|mut block| {
            let index = usize::try_from(location.index).ok()?;
            (index < block.transactions.len()).then(|| block.transactions.swap_remove(index))
        });
        let tx = tx.ok_or_else(|| StoreError::Corrupt {
            what: format!("transaction {hash}"),
            problem: format!(
                "not at index {} of block {}",
                location.index, location.height
            ),
        })?;
        Ok(Some((location, tx)))
    }

    /// The record of a finished round.
    ///
    /// # Errors
    /// [`StoreError`].
    fn round(&self, task: TaskId, round: RoundId) -> Result<Option<RoundRecord>, StoreError> {
        decode_value(self, &StateKey::Round(task, round))
    }

    /// Finished rounds of a task from `from` on, at most `limit` and [`MAX_ROUNDS_PAGE`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn rounds(
        &self,
        task: TaskId,
        from: RoundId,
        limit: usize,
    ) -> Result<Vec<RoundRecord>, StoreError> {
        let mut page = Vec::new();
        let mut next = Some(from);
        while let Some(round) = next.filter(|_| page.len() < limit.min(MAX_ROUNDS_PAGE)) {
            let Some(record) = self.round(task, round)? else {
                break;
            };
            page.push(record);
            next = round.next();
        }
        Ok(page)
    }

    /// How a contributor used its turn in a round, finished or not.
    ///
    /// # Errors
    /// [`StoreError`].
    fn turn(
        &self,
        task: TaskId,
        round: RoundId,
        contributor: ContributorId,
    ) -> Result<Option<Turn>, StoreError> {
        decode_value(self, &StateKey::Update(task, round, contributor))
    }

    /// Proves a key's value, or its absence, under the state root of the newest block.
    ///
    /// # Errors
    /// [`StoreError`].
    fn prove(&self, key: StateKey) -> Result<(Height, StateProof), StoreError> {
        let height = self.tip();
        Ok((height, self.prove_at(key, height)?))
    }

    /// Proves a key's value, or its absence, under the state root of a recent height (see
    /// [`crate::tree::PROOF_HISTORY`]).
    ///
    /// # Errors
    /// [`StoreError::Tree`] when that height is not reached or no longer kept.
    fn prove_at(&self, key: StateKey, height: Height) -> Result<StateProof, StoreError> {
        Ok(StateTree::new(self).prove(key, height)?)
    }

    /// Executes the next block on the tip; see [`execute::execute`].
    ///
    /// # Errors
    /// [`ExecuteError`].
    fn execute(&self, block: Block, verified: Verified<'_>) -> Result<Executed, ExecuteError> {
        execute::execute(self, &self.state(), block, verified)
    }

    /// Completes a draft that was built on the tip; see [`execute::propose`].
    ///
    /// # Errors
    /// [`TreeError`].
    fn propose(&self, draft: Draft) -> Result<Executed, TreeError> {
        execute::propose(self, draft)
    }
}

/// Which undecided proposal: one of a height, a consensus round and a block.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct UndecidedKey {
    /// Height.
    pub height: Height,
    /// Consensus round.
    pub round: u32,
    /// The proposed block.
    pub block: BlockHash,
}

fn decode_value<S: Store + ?Sized, T: BorshDeserialize>(
    store: &S,
    key: &StateKey,
) -> Result<Option<T>, StoreError> {
    let value = store.value(key)?;
    value
        .map(|bytes| decode(|| format!("state entry {key:?}"), &bytes))
        .transpose()
}

/// Decodes something that a store has written.
///
/// # Errors
/// [`StoreError::Corrupt`].
pub fn decode<T: BorshDeserialize>(
    what: impl FnOnce() -> String,
    bytes: &[u8],
) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|error: std::io::Error| StoreError::Corrupt {
        what: what(),
        problem: error.to_string(),
    })
}

/// Whether a commit continues the chain that ends in `state`.
///
/// # Errors
/// [`StoreError::NotNext`].
pub fn check_next(
    state: &State,
    executed: &Executed,
    certificate: &CommitCertificate,
) -> Result<(), StoreError> {
    let header = &executed.block.header;
    let height = state.height.0.saturating_add(1);
    let pairs = [
        ("height", header.height.to_string(), height.to_string()),
        (
            "parent",
            header.parent.to_string(),
            state.last_block.to_string(),
        ),
        (
            "certificate height",
            certificate.height.to_string(),
            height.to_string(),
        ),
        (
            "certificate block",
            certificate.block.to_string(),
            executed.hash.to_string(),
        ),
    ];
    match pairs.into_iter().find(|(_, got, expected)| got != expected) {
        Some((field, got, expected)) => Err(StoreError::NotNext {
            field,
            got,
            expected,
        }),
        None => Ok(()),
    }
}
