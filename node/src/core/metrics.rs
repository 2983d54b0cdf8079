//! What the node counts, exported in OpenMetrics text next to the engine's own metrics.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use cifer_chain::{ModelRoot, RoundId, TaskId};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// A histogram of milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Millis(Histogram);

impl Millis {
    fn new() -> Self {
        // 1 ms to 65 s.
        Self(Histogram::new(exponential_buckets(1.0, 2.0, 17)))
    }

    pub(crate) fn observe(&self, elapsed: Duration) {
        self.0.observe(elapsed.as_secs_f64() * 1_000.0);
    }
}

/// The node's metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    pub(crate) height: Gauge,
    pub(crate) mempool_txs: Gauge,
    pub(crate) mempool_bytes: Gauge,
    pub(crate) peers: Gauge,
    pub(crate) blob_bytes: Gauge,
    pub(crate) diverged: Gauge,
    pub(crate) blocks: Counter,
    pub(crate) transactions: Counter,
    pub(crate) commit_ms: Millis,
    pub(crate) aggregate_ms: Millis,
    pub(crate) verdict_ms: Millis,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("cifer");
        let gauge = |registry: &mut Registry, name: &str, help: &str| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        let counter = |registry: &mut Registry, name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let millis = |registry: &mut Registry, name: &str, help: &str| {
            let millis = Millis::new();
            registry.register(name, help, millis.0.clone());
            millis
        };
        let r = &mut registry;
        Self {
            height: gauge(r, "height", "Height of the newest committed block"),
            mempool_txs: gauge(
                r,
                "mempool_transactions",
                "Transactions that wait for a block",
            ),
            mempool_bytes: gauge(r, "mempool_bytes", "Bytes of those transactions"),
            peers: gauge(r, "data_plane_peers", "Connected data plane peers"),
            blob_bytes: gauge(r, "blob_bytes", "Bytes of stored payloads and models"),
            diverged: gauge(
                r,
                "aggregate_diverged",
                "1 after our result differed from a certified one",
            ),
            blocks: counter(r, "blocks", "Blocks committed since start"),
            transactions: counter(r, "transactions", "Transactions committed since start"),
            commit_ms: millis(r, "commit_milliseconds", "Time to apply and store a block"),
            aggregate_ms: millis(r, "aggregate_milliseconds", "Time to aggregate a round"),
            verdict_ms: millis(
                r,
                "verdict_milliseconds",
                "Time from an update to its verdict quorum",
            ),
            registry: Mutex::new(registry),
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Formatting into a String cannot fail.
        let _ = encode(&mut text, &super::lock(&self.registry));
        text
    }
}

/// Conditions that an operator has to know of.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    diverged: Mutex<Option<Divergence>>,
    mismatches: AtomicU64,
    halted: AtomicBool,
}

/// Our result of a round and the certified one, where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Divergence {
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: RoundId,
    /// Model that this node computed.
    pub ours: ModelRoot,
    /// Model that more than two thirds of the power signed.
    pub certified: ModelRoot,
}

impl Flags {
    pub(crate) fn diverged(
        &self,
        task: TaskId,
        round: RoundId,
        ours: ModelRoot,
        certified: ModelRoot,
    ) {
        *super::lock(&self.diverged) = Some(Divergence {
            task,
            round,
            ours,
            certified,
        });
    }

    pub(crate) fn divergence(&self) -> Option<Divergence> {
        *super::lock(&self.diverged)
    }

    pub(crate) fn genesis_mismatch(&self) {
        self.mismatches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }
}
