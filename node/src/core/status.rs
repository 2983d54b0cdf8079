//! What a node says of itself.

use super::{Divergence, Node, lock};

/// What the node says of itself.
#[derive(Debug, Clone)]
pub struct NodeStatus {
    /// Consensus engine, once it runs.
    pub consensus: Option<cifer_consensus::Status>,
    /// Data plane peers.
    pub peers: usize,
    /// Waiting transactions.
    pub mempool_txs: usize,
    /// Bytes of waiting transactions.
    pub mempool_bytes: u64,
    /// Bytes of payloads and models on disk.
    pub blob_bytes: u64,
    /// Resident memory of the process.
    pub rss_bytes: u64,
    /// Our result of a round differed from the certified one.
    pub divergence: Option<Divergence>,
    /// A block could not be applied or stored; the engine stands still.
    pub halted: bool,
}

impl NodeStatus {
    /// Where the consensus engine stands.
    #[must_use]
    pub fn phase(&self) -> cifer_consensus::Phase {
        self.consensus
            .as_ref()
            .map_or(cifer_consensus::Phase::Starting, |status| status.phase)
    }

    /// Whether the engine stands still because it could not keep its safety records.
    #[must_use]
    pub fn safety_failure(&self) -> bool {
        self.consensus
            .as_ref()
            .is_some_and(|status| status.safety_failure)
    }
}

impl Node {
    /// What the node says of itself.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let (mempool_txs, mempool_bytes) = {
            let pool = lock(&self.0.mempool);
            (pool.len(), pool.held_bytes())
        };
        let consensus = lock(&self.0.consensus)
            .as_ref()
            .map(|status| status.borrow().clone());
        NodeStatus {
            consensus,
            peers: self.plane().connected_peers().len(),
            mempool_txs,
            mempool_bytes,
            blob_bytes: self.blobs().used_bytes(),
            rss_bytes: resident_bytes(),
            divergence: self.0.flags.divergence(),
            halted: self.0.flags.is_halted(),
        }
    }
}

/// Resident memory from `/proc`; 0 where there is none.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        })
        .map_or(0, |kib| kib * 1_024)
}
