//! Verified transfer of blobs between peers.
//!
//! A requester opens a stream of protocol [`protocol`] and sends a [`wire::BlobRequest`]: hash,
//! length, and a range of 16 KiB groups. The holder answers with a [`wire::ResponseHeader`] and
//! the range in Bao encoding: tree nodes and groups in pre-order, so that each can be checked
//! against the root hash as it arrives.
//!
//! Invariants:
//!
//! - Nothing is kept that was not checked. A byte that is wrong is noticed in its group, the
//!   holder is named in a [`PeerFault`] with the offset, and the fetch goes on from there with the
//!   next holder.
//! - A holder checks what it reads from its disk before it sends it: an honest node with a rotten
//!   disk notices, drops the blob and is not taken for a liar.
//! - "The peer lied", "the peer is away or slow" and "our disk failed" are different errors, and
//!   only the first counts against the peer.

mod decode;
mod error;
mod fetch;
mod pipe;
mod pull;
mod serve;
pub mod wire;

pub use error::{FaultKind, FetchError, FetchReport, HolderFailure, PeerFault};
pub(crate) use fetch::{FetchLimits, Fetcher};
pub(crate) use serve::Server;

use libp2p::StreamProtocol;

/// The stream protocol for blobs on the network with this genesis.
pub fn protocol(genesis_hash: &[u8; 32]) -> StreamProtocol {
    crate::net::protocol_name(genesis_hash, "blob/1")
}
