//! Byzantine-fault-tolerant agreement on the ledger's blocks.
//!
//! The algorithm is Tendermint as implemented by Malachite (`arc-malachitebft-app-channel`, pinned);
//! this crate is the adapter between that engine and an [`Application`] (the ledger of a node). No
//! type of the engine leaves the crate.
//!
//! What the adapter answers for:
//! - **Values.** The engine agrees on block hashes; blocks travel beside it as signed, bounded
//!   proposal parts (`proposal`) and are stored durably before anybody hears of them.
//! - **Signatures.** Every vote and proposal passes the last-signed record (`last_signed`) before
//!   its signature exists, so that a restarted or copied node does not sign twice.
//! - **Pace.** The reply that starts the next height is withheld until there is something to
//!   decide (`pace`).
//! - **Hostile input.** Everything from a peer is decoded by `codec` within a bound and verified
//!   before it is stored.

// The tests' network is written against the public names.
#[cfg(test)]
extern crate self as cifer_consensus;

mod adapter;
mod api;
mod codec;
mod context;
#[cfg(test)]
mod equivocation;
mod error;
mod handlers;
mod last_signed;
mod network;
mod pace;
mod proposal;
mod reply;
mod run;
mod signing;
mod start;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
mod verified;

pub use api::{Application, Config, Fatal, MAX_BLOCK_BYTES, Origin, Peer, Phase, Status, Verdict};
pub use error::{Error, LastSignedError};
pub use start::{Handle, start};

/// Prometheus text of the engine's metrics. The registry is one per process; each engine's samples
/// carry its moniker.
#[must_use]
pub fn metrics() -> String {
    let mut text = String::new();
    arc_malachitebft_app_channel::app::metrics::export(&mut text);
    text
}
