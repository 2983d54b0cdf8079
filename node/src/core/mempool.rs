//! Transactions that are checked and not yet in a block.
//!
//! Invariants: bounded in count and bytes by genesis limits; arrival order is kept; a transaction is
//! in at most once; recently committed hashes are remembered, so that late gossip of them is dropped
//! without being checked again.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    time::Instant,
};

use cifer_chain::{Transaction, TxHash};

/// Hashes of committed transactions that are remembered: 4,096 of 32 bytes, about 0.3 MB with the
/// maps around them.
const RECENT: usize = 4_096;

/// Why a transaction was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MempoolError {
    /// Already waiting or already committed.
    #[error("transaction {0} is already known")]
    Known(TxHash),
    /// One more does not fit by count.
    #[error("mempool is full: {held} of {limit} transactions; try again after the next block")]
    FullCount {
        /// Transactions held.
        held: u64,
        /// `limits.max_mempool_txs`.
        limit: u64,
    },
    /// One more does not fit by size.
    #[error(
        "mempool is full: {held_bytes} bytes held, {tx_bytes} more exceed {limit_bytes}; try again after the next block"
    )]
    FullBytes {
        /// Bytes held.
        held_bytes: u64,
        /// Bytes of the refused transaction.
        tx_bytes: u64,
        /// `limits.max_mempool_bytes`.
        limit_bytes: u64,
    },
}

/// A waiting transaction.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// The transaction.
    pub(crate) tx: Transaction,
    /// Its encoding, for gossip.
    pub(crate) bytes: Vec<u8>,
    /// When it came; only used to decide when to send it again.
    pub(crate) since: Instant,
}

/// The pool. Not synchronised; the owner locks it.
#[derive(Debug)]
pub(crate) struct Mempool {
    order: BTreeMap<u64, TxHash>,
    entries: HashMap<TxHash, (u64, Pending)>,
    next: u64,
    held_bytes: u64,
    max_txs: u64,
    max_bytes: u64,
    recent: VecDeque<TxHash>,
    recent_set: HashSet<TxHash>,
}

impl Mempool {
    /// An empty pool with these bounds.
    pub(crate) fn new(max_txs: u64, max_bytes: u64) -> Self {
        Self {
            order: BTreeMap::new(),
            entries: HashMap::new(),
            next: 0,
            held_bytes: 0,
            max_txs,
            max_bytes,
            recent: VecDeque::new(),
            recent_set: HashSet::new(),
        }
    }

    /// Whether the hash is waiting or was committed recently.
    pub(crate) fn knows(&self, hash: &TxHash) -> bool {
        self.entries.contains_key(hash) || self.recent_set.contains(hash)
    }

    /// Whether the hash is waiting, which means that its signatures were verified.
    pub(crate) fn contains(&self, hash: &TxHash) -> bool {
        self.entries.contains_key(hash)
    }

    /// Takes a transaction that the caller has checked against the state.
    ///
    /// # Errors
    /// See [`MempoolError`].
    pub(crate) fn insert(
        &mut self,
        hash: TxHash,
        tx: Transaction,
        bytes: Vec<u8>,
    ) -> Result<(), MempoolError> {
        if self.knows(&hash) {
            return Err(MempoolError::Known(hash));
        }
        self.room_for(bytes.len() as u64)?;
        self.held_bytes += bytes.len() as u64;
        self.order.insert(self.next, hash);
        self.entries.insert(
            hash,
            (
                self.next,
                Pending {
                    tx,
                    bytes,
                    since: Instant::now(),
                },
            ),
        );
        self.next += 1;
        Ok(())
    }

    /// Whether `tx_bytes` more would fit; asked before the signatures are checked, so that a full
    /// pool costs an attacker more than it costs us.
    ///
    /// # Errors
    /// See [`MempoolError`].
    pub(crate) fn room_for(&self, tx_bytes: u64) -> Result<(), MempoolError> {
        let held = self.entries.len() as u64;
        if held >= self.max_txs {
            return Err(MempoolError::FullCount {
                held,
                limit: self.max_txs,
            });
        }
        if self.held_bytes.saturating_add(tx_bytes) > self.max_bytes {
            return Err(MempoolError::FullBytes {
                held_bytes: self.held_bytes,
                tx_bytes,
                limit_bytes: self.max_bytes,
            });
        }
        Ok(())
    }

    /// Forgets a transaction without remembering it as committed.
    pub(crate) fn remove(&mut self, hash: &TxHash) {
        if let Some((position, pending)) = self.entries.remove(hash) {
            self.order.remove(&position);
            self.held_bytes -= pending.bytes.len() as u64;
        }
    }

    /// Removes what a block carried and remembers it.
    pub(crate) fn committed<'a>(&mut self, hashes: impl IntoIterator<Item = &'a TxHash>) {
        for hash in hashes {
            self.remove(hash);
            if self.recent_set.insert(*hash) {
                self.recent.push_back(*hash);
            }
        }
        while self.recent.len() > RECENT {
            if let Some(old) = self.recent.pop_front() {
                self.recent_set.remove(&old);
            }
        }
    }

    /// Removes those that `keep` no longer accepts, after the state has moved.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Transaction) -> bool) {
        let stale: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, (_, pending))| !keep(&pending.tx))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in &stale {
            self.remove(hash);
        }
    }

    /// Waiting transactions, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TxHash, &Pending)> {
        self.order
            .values()
            .filter_map(|hash| Some((hash, &self.entries.get(hash)?.1)))
    }

    /// When the transaction that waits longest came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.iter().next().map(|(_, pending)| pending.since)
    }

    /// Number of waiting transactions.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes held.
    pub(crate) const fn held_bytes(&self) -> u64 {
        self.held_bytes
    }
}
