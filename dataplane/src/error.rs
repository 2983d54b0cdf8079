//! Errors of the swarm. Those of the store and of transfers are next to them.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

/// The data plane could not start. All of these are ours to mend.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// A key in the configuration is not an ed25519 key.
    #[error("known peer {index}: {source}")]
    KnownPeer {
        /// Position in `known_peers`.
        index: usize,
        /// What is wrong with the key.
        source: crate::InvalidKey,
    },
    /// The secret cannot be used.
    #[error("secret key: {0}")]
    SecretKey(String),
    /// The chain id is too long to fit into the handshake.
    #[error("chain id has {length} bytes, limit {limit}")]
    ChainId {
        /// Its length in bytes.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: Multiaddr,
        /// What the transport said.
        reason: String,
    },
    /// A listener did not come up in time.
    #[error("no listen address within {0:?}")]
    ListenTimeout(Duration),
    /// The transport or a protocol could not be set up.
    #[error("transport: {0}")]
    Transport(String),
}

/// A message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Our message is too large.
    #[error("gossip message has {size_bytes} bytes, limit {limit_bytes}")]
    TooLarge {
        /// Size of the message.
        size_bytes: usize,
        /// [`crate::limits::MAX_GOSSIP_BYTES`].
        limit_bytes: usize,
    },
    /// Nobody is connected who listens to the topic; try again later.
    #[error("no connected peer listens to this topic")]
    NoPeers,
    /// The queues towards all peers are full; try again later.
    #[error("the queues towards all peers are full")]
    QueuesFull,
    /// The message could not be signed or encoded.
    #[error("gossip: {0}")]
    Internal(String),
    /// The data plane has been shut down.
    #[error("the data plane is shut down")]
    Shutdown,
}

/// A request got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Our request is too large.
    #[error("request has {size_bytes} bytes, limit {limit_bytes}")]
    TooLarge {
        /// Size of the request.
        size_bytes: usize,
        /// [`crate::limits::MAX_REQUEST_BYTES`].
        limit_bytes: usize,
    },
    /// We have too many requests without an answer, to this peer or to all; try again later.
    #[error("{limit} requests are already waiting for an answer")]
    TooMany {
        /// The bound that was hit.
        limit: usize,
    },
    /// There is no connection to the peer.
    #[error("not connected to {0}")]
    NotConnected(PeerId),
    /// The peer is there but has no capacity; try again later.
    #[error("{0} is busy")]
    Busy(PeerId),
    /// The peer took the request and did not answer it.
    #[error("{0} did not serve the request")]
    Unserved(PeerId),
    /// No answer in time.
    #[error("no answer from {0} in time")]
    Timeout(PeerId),
    /// The connection broke, or the peer does not speak the protocol, or broke its rules.
    #[error("request to {peer} failed: {reason}")]
    Failed {
        /// The peer.
        peer: PeerId,
        /// What happened.
        reason: String,
    },
    /// The data plane has been shut down.
    #[error("the data plane is shut down")]
    Shutdown,
}
