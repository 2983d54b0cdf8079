//! The data plane: everything that travels between nodes besides consensus messages.
//!
//! It moves opaque bytes and knows nothing of transactions, rounds or tensors:
//!
//! - [`BlobStore`]: content-addressed files on disk, named by their BLAKE3 hash, with a quota;
//! - verified transfer ([`Handle::fetch`]): a blob is pulled from any holder in 16 KiB groups,
//!   each checked against the hash as it arrives, so that a bad byte is caught where it is, the
//!   peer that sent it is named, and what was verified before it is kept;
//! - a libp2p swarm ([`spawn`]): Noise over TCP, or QUIC; gossip with explicit validation;
//!   opaque request/response.
//!
//! Invariants:
//!
//! - A connection does not exist for the layers above before the [handshake](net) has shown that
//!   the peer is on the same genesis and may be here.
//! - Memory is constant in the size of a blob, and every queue has a bound: see [`limits`].
//! - Whatever a peer sends is refused with an error that says who is at fault.

mod config;
mod error;
mod event;
mod handle;
mod hash;
mod identity;
pub mod limits;
mod metrics;
pub mod net;
pub mod store;
pub mod transfer;

pub use config::{Config, KnownPeer, Role};
pub use error::{PublishError, RequestError, SpawnError};
pub use event::{Event, GossipMessage, InboundRequest, Replier, Topic, Validation};
pub use handle::{Handle, PeerInfo};
pub use hash::{BlobHash, ParseHashError};
pub use identity::{InvalidKey, peer_id, public_key};
pub use metrics::{Metrics, MetricsSnapshot};
pub use net::{Refusal, spawn};
pub use store::{BlobStore, IngestError, StoreError, StoreOptions};
pub use transfer::{FaultKind, FetchError, FetchReport, HolderFailure, PeerFault};

pub use libp2p::{Multiaddr, PeerId};
