//! Who is connected: written by the swarm, read by everybody.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use libp2p::PeerId;

use crate::PeerInfo;

/// Answer to an address request: keys of known peers and where they can be dialled.
pub(crate) type Addresses = Vec<([u8; 32], Vec<String>)>;

#[derive(Debug, Clone, Default)]
pub(crate) struct PeerTable {
    peers: Arc<RwLock<BTreeMap<PeerId, PeerInfo>>>,
}

impl PeerTable {
    pub(crate) fn insert(&self, info: PeerInfo) {
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(info.peer, info);
    }

    pub(crate) fn remove(&self, peer: &PeerId) {
        self.peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(peer);
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub(crate) fn list(&self) -> Vec<PeerInfo> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}
