//! The swarm: connections, gossip, requests, and who may take part.
//!
//! Admission happens while a connection is made, before the swarm knows of it: after Noise (or
//! QUIC's TLS) has proved the peer's key, both sides exchange a `Hello` on the first stream of
//! the connection: protocol version, chain id, genesis hash, role, addresses. Both judge it and
//! tell each other their verdict. Only then do gossip, requests and transfers exist on it. So
//! nothing is ever accepted from a peer of another genesis, or from an unknown one where observers
//! are not wanted.
//!
//! There is no identify protocol: what it would tell is in the `Hello`. There is no ping protocol
//! either: a request of its own kind shows that a silent peer lives.

mod behaviour;
pub(crate) mod codec;
mod dialer;
pub(crate) mod events;
mod gate;
mod handshake;
pub(crate) mod peers;
mod spawn;
pub(crate) mod swarm;
mod transport;

pub use handshake::Refusal;
pub(crate) use spawn::Shared;
pub use spawn::spawn;
pub use transport::transport;

use libp2p::StreamProtocol;

/// First hex digits of the genesis hash in protocol and topic names: enough to tell networks
/// apart at a glance; the handshake compares all of it.
const GENESIS_PREFIX_DIGITS: usize = 16;

fn genesis_prefix(genesis_hash: &[u8; 32]) -> String {
    let hex = blake3::Hash::from_bytes(*genesis_hash).to_hex();
    hex[..GENESIS_PREFIX_DIGITS].to_string()
}

/// `/cifer/<genesis>/<what>`.
pub(crate) fn protocol_name(genesis_hash: &[u8; 32], what: &str) -> StreamProtocol {
    let name = format!("/cifer/{}/{what}", genesis_prefix(genesis_hash));
    StreamProtocol::try_from_owned(name).unwrap_or_else(|_| StreamProtocol::new("/cifer/invalid"))
}
