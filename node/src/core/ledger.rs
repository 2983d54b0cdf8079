//! The store behind the node: opens it, builds blocks from what waits, commits what was decided.
//! The only place where a block becomes durable.

use std::{path::Path, sync::Arc};

use cifer_chain::{
    Block, Builder, CommitCertificate, Event, ExecuteError, Executed, State, Store, StoreError,
    TimestampMs, Transaction, TxError, TxHash, ValidatorId,
};
use cifer_genesis::Genesis;
use cifer_store::RocksStore;

/// The chain's store.
pub(crate) struct Ledger(RocksStore);

impl Ledger {
    /// Opens or creates the store of this genesis.
    pub(crate) fn open(path: &Path, genesis: &Genesis) -> Result<Self, StoreError> {
        RocksStore::open(path, genesis).map(Self)
    }

    pub(crate) fn store(&self) -> &RocksStore {
        &self.0
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.0.state()
    }

    /// Builds a block from what is waiting. Transactions that the state refuses by now are left out.
    pub(crate) fn build(
        &self,
        time_ms: TimestampMs,
        proposer: ValidatorId,
        waiting: Vec<(TxHash, Transaction)>,
    ) -> Result<Executed, ExecuteError> {
        let state = self.state();
        // They come from the mempool, where their signatures were verified.
        let mut builder = Builder::new(&state, time_ms, proposer, &|_| true)?;
        for (hash, tx) in waiting {
            match builder.push(tx) {
                Ok(()) => {}
                Err(TxError::BlockFull { .. }) => break,
                Err(error) => tracing::debug!(%hash, %error, "transaction left out of the block"),
            }
        }
        Ok(self.0.propose(builder.finish())?)
    }

    /// Checks a proposed block against the newest state.
    pub(crate) fn execute(
        &self,
        block: &Block,
        verified: &(dyn Fn(&TxHash) -> bool + Sync),
    ) -> Result<Executed, ExecuteError> {
        self.0.execute(block.clone(), verified)
    }

    /// Makes an executed block durable: block, certificate, state in one synced batch.
    pub(crate) fn commit(
        &self,
        executed: &Executed,
        certificate: &CommitCertificate,
    ) -> Result<Vec<Event>, StoreError> {
        self.0.commit(executed, certificate)?;
        // Proposals of this height and below have served; losing this after a crash costs nothing.
        self.0.delete_undecided(executed.block.header.height)?;
        Ok(executed.transition.events.clone())
    }
}
