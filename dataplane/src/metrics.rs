//! Counters of the data plane: plain atomics, read by whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Live counters; all only grow, except the gauges named so.
        #[derive(Debug, Default)]
        pub struct Metrics { $($(#[$doc])* pub(crate) $name: AtomicU64,)* }

        /// The counters at one moment.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct MetricsSnapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Metrics {
            /// Reads all counters. They are read one by one, so they may be a few events apart.
            pub fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl MetricsSnapshot {
            /// Name and value of every counter, in a fixed order.
            pub fn entries(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Gauge: peers connected.
    peers,
    /// Connections refused at the handshake, by either side.
    handshakes_refused,
    /// Handshakes that showed another genesis.
    genesis_mismatches,
    /// Encoded blob bytes received.
    blob_bytes_in,
    /// Encoded blob bytes sent.
    blob_bytes_out,
    /// Fetches that completed.
    fetches_completed,
    /// Fetches that gave up.
    fetches_failed,
    /// Holders that served bytes which do not match the hash.
    blob_faults,
    /// Requests for a blob that were answered "busy".
    serves_refused,
    /// Blobs of our own that no longer matched their hash and were removed.
    local_corruptions,
    /// Gossip messages handed to the application.
    gossip_received,
    /// Gossip messages dropped because the application was behind.
    gossip_dropped,
    /// Gossip messages that the application rejected.
    gossip_rejected,
    /// Gossip messages published by us.
    gossip_published,
    /// Requests handed to the application.
    requests_received,
    /// Requests answered "busy".
    requests_refused,
    /// Events dropped because the application was behind.
    events_dropped,
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

pub(crate) fn increment(counter: &AtomicU64) {
    add(counter, 1);
}
