//! The durable store of the ledger, on RocksDB. A crate of its own, because RocksDB's C++ is half of a
//! cold build and only the node waits for it: light clients, consensus and the ledger do without.
//!
//! Invariants: those of [`cifer_chain::Store`]; `tests/stores.rs` holds it and the store in memory to
//! the same behaviour.

mod columns;
mod rocks;

pub use rocks::RocksStore;
