//! How a transaction of this node or of a peer comes into the mempool, and from there to the others.

use std::time::{Duration, Instant};

use cifer_chain::{Evidence, Transaction, TxError, TxHash};
use cifer_dataplane::Topic;
use tracing::debug;

use super::{Node, application, gateway, lock, mempool::MempoolError, wire};

/// Transactions sent again at once; each may be `max_tx_bytes` (64 KiB by default).
const RESENT_AT_ONCE: usize = 64;

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitTxError {
    /// The committed state refuses it.
    #[error(transparent)]
    Invalid(#[from] TxError),
    /// The mempool has it, or has no room.
    #[error(transparent)]
    Mempool(#[from] MempoolError),
}

/// What is known of a transaction's signatures when it is offered to the mempool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// Nothing: all of them are verified.
    Unknown,
    /// This node made the transaction from signatures that it verified one by one, and counted their power.
    Verified,
}

impl Node {
    /// Checks a transaction and takes it into the mempool, without gossip.
    pub(crate) fn take_tx(
        &self,
        tx: Transaction,
        signatures: Signatures,
    ) -> Result<(TxHash, Vec<u8>), SubmitTxError> {
        let hash = tx.hash(self.chain_id());
        let bytes = wire::encode(&tx);
        {
            let pool = lock(&self.0.mempool);
            if pool.knows(&hash) {
                return Err(MempoolError::Known(hash).into());
            }
            pool.room_for(bytes.len() as u64)?;
        }
        let known = signatures == Signatures::Verified;
        cifer_chain::check_tx_with(&self.state(), &tx, &|_| known)?;
        lock(&self.0.mempool).insert(hash, tx, bytes.clone())?;
        self.0.work.notify_one();
        let work = self.work();
        self.spawn(async move {
            tokio::time::sleep(application::GATHER).await;
            work.notify_one();
        });
        Ok((hash, bytes))
    }

    /// Checks a transaction, takes it into the mempool and spreads it.
    ///
    /// # Errors
    /// See [`SubmitTxError`].
    pub fn submit_tx(&self, tx: Transaction) -> Result<TxHash, SubmitTxError> {
        self.submit(tx, Signatures::Unknown)
    }

    /// [`Self::submit_tx`] for what this node has put together itself.
    pub(crate) fn submit(
        &self,
        tx: Transaction,
        signatures: Signatures,
    ) -> Result<TxHash, SubmitTxError> {
        let (hash, bytes) = self.take_tx(tx, signatures)?;
        let node = self.clone();
        self.spawn(async move {
            if let Err(error) = node.plane().publish(Topic::Tx, bytes).await {
                debug!(%hash, %error, "transaction not gossiped; it is sent again later");
            }
        });
        Ok(hash)
    }

    /// Submits proof of equivocation; known or stale proof is dropped.
    pub(crate) fn report(&self, evidence: Vec<Evidence>) {
        for evidence in evidence {
            tracing::warn!(culprit = ?evidence.culprit(), "equivocation proven");
            if let Err(error) = self.submit_tx(Transaction::Evidence(evidence)) {
                debug!(%error, "evidence not submitted");
            }
        }
    }

    /// Sends transactions that have waited too long straight to the validators: gossip does not
    /// repeat itself, and a validator that was away has not heard it.
    pub(crate) fn resend_waiting(&self, older_than: Duration) {
        let now = Instant::now();
        let waiting: Vec<Transaction> = lock(&self.0.mempool)
            .iter()
            .filter(|(_, pending)| now.duration_since(pending.since) >= older_than)
            .take(RESENT_AT_ONCE)
            .map(|(_, pending)| pending.tx.clone())
            .collect();
        for tx in waiting {
            let request = wire::encode(&wire::Request::Transaction(Box::new(tx)));
            for (_, peer) in self.connected_validators() {
                let (plane, request) = (self.plane().clone(), request.clone());
                self.spawn(async move {
                    let _ = gateway::ask(&plane, peer, request.into()).await;
                });
            }
        }
    }
}
