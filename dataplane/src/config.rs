//! Configuration of the data plane.

use std::{fmt, time::Duration};

use borsh::{BorshDeserialize, BorshSerialize};
use libp2p::Multiaddr;
use zeroize::Zeroizing;

use crate::limits;

/// What a node says it is. It is a claim: only keys in [`Config::known_peers`] are more than
/// observers to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Role {
    /// Takes part in consensus and holds blobs.
    Validator,
    /// Reads along.
    Observer,
}

/// A peer that is always admitted, and dialled for ever where an address is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    /// Its ed25519 key.
    pub public_key: [u8; 32],
    /// Where to dial it: `/ip4/…/tcp/…`, `/ip4/…/udp/…/quic-v1`, or with `/dns4/…`. May be empty:
    /// addresses are then learnt from other known peers.
    pub addresses: Vec<Multiaddr>,
}

/// Configuration of the data plane.
#[derive(Clone)]
pub struct Config {
    /// The chain's name; peers of another chain are refused.
    pub chain_id: String,
    /// Hash of the genesis document; peers with another one are refused.
    pub genesis_hash: [u8; 32],
    /// The node's ed25519 secret, from which its peer id follows.
    pub secret_key: Zeroizing<[u8; 32]>,
    /// What we say that we are.
    pub role: Role,
    /// Addresses to listen on; port 0 picks a free one. Default: none, the node only dials.
    pub listen: Vec<Multiaddr>,
    /// Addresses told to peers instead of the listen addresses (behind NAT). Default: none.
    pub announce: Vec<Multiaddr>,
    /// Peers that are always admitted. Default: none.
    pub known_peers: Vec<KnownPeer>,
    /// Addresses to dial when nobody is connected, whoever of the known peers answers. Default:
    /// none.
    pub bootstrap: Vec<Multiaddr>,
    /// Whether peers outside `known_peers` are admitted. Default: false.
    pub allow_observers: bool,
    /// How many of them at a time. Default: [`limits::DEFAULT_MAX_OBSERVERS`].
    pub max_observers: usize,
    /// Time for a request and its response. Default: 10 s.
    pub request_timeout: Duration,
    /// A blob transfer that moves less than 64 KiB in this time has stalled. Default: 10 s.
    pub stall_timeout: Duration,
    /// A fetch gives up when nothing new was verified for this long. Default: 30 s.
    pub fetch_patience: Duration,
}

impl Config {
    /// A validator's configuration with the defaults.
    pub fn new(chain_id: impl Into<String>, genesis_hash: [u8; 32], secret_key: [u8; 32]) -> Self {
        Self {
            chain_id: chain_id.into(),
            genesis_hash,
            secret_key: Zeroizing::new(secret_key),
            role: Role::Validator,
            listen: Vec::new(),
            announce: Vec::new(),
            known_peers: Vec::new(),
            bootstrap: Vec::new(),
            allow_observers: false,
            max_observers: limits::DEFAULT_MAX_OBSERVERS,
            request_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            fetch_patience: Duration::from_secs(30),
        }
    }

    /// Connections held at most: each known peer and observer may have
    /// [`limits::MAX_CONNECTIONS_PER_PEER`], so this is the number that the kernel has to bear.
    pub(crate) fn max_connections(&self) -> u32 {
        let peers = self
            .known_peers
            .len()
            .saturating_add(self.max_observers)
            .max(16);
        u32::try_from(peers)
            .unwrap_or(u32::MAX)
            .saturating_mul(limits::MAX_CONNECTIONS_PER_PEER)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("chain_id", &self.chain_id)
            .field(
                "genesis_hash",
                &blake3::Hash::from_bytes(self.genesis_hash).to_hex(),
            )
            .field("secret_key", &"…")
            .field("role", &self.role)
            .field("listen", &self.listen)
            .field("known_peers", &self.known_peers.len())
            .field("allow_observers", &self.allow_observers)
            .finish_non_exhaustive()
    }
}
