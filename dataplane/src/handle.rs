//! The application's end of the data plane.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    BlobHash, BlobStore, FetchError, FetchReport, InvalidKey, KnownPeer, MetricsSnapshot,
    PublishError, RequestError, Role, Topic, identity,
    limits::{MAX_GOSSIP_BYTES, MAX_REQUEST_BYTES},
    net::{Shared, swarm::Command},
    transfer::Fetcher,
};

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// Its peer id.
    pub peer: PeerId,
    /// Its ed25519 key.
    pub public_key: [u8; 32],
    /// What it says that it is.
    pub role: Role,
    /// Whether it is one of the known peers; else it is an observer, whatever it says.
    pub known: bool,
    /// The other end of the latest connection.
    pub address: Multiaddr,
    /// Where it says that it can be dialled.
    pub addresses: Vec<Multiaddr>,
}

pub(crate) struct Parts {
    pub(crate) local: PeerId,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) fetcher: Fetcher,
    pub(crate) store: BlobStore,
    pub(crate) listen: watch::Receiver<Vec<Multiaddr>>,
    pub(crate) shared: Shared,
}

/// The application's end of a running data plane. Clones are cheap and share it; it ends when all
/// are dropped.
#[derive(Clone)]
pub struct Handle {
    parts: Arc<Parts>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("local", &self.parts.local)
            .finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// Our peer id.
    pub fn local_peer_id(&self) -> PeerId {
        self.parts.local
    }

    /// Addresses bound, with the ports that were picked.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.parts.listen.borrow().clone()
    }

    /// Who is connected, by peer id.
    pub fn connected_peers(&self) -> Vec<PeerInfo> {
        self.parts.shared.peers.list()
    }

    /// Whether `peer` is connected.
    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.parts.shared.peers.is_connected(peer)
    }

    /// The blob store that is served from and fetched into.
    pub fn store(&self) -> &BlobStore {
        &self.parts.store
    }

    /// The counters.
    pub fn metrics(&self) -> MetricsSnapshot {
        self.parts.shared.metrics.snapshot()
    }

    /// Sends a message to everybody who listens to `topic`. We do not get it ourselves. A message
    /// published within the last minute is not sent again.
    ///
    /// # Errors
    /// See [`PublishError`].
    pub async fn publish(&self, topic: Topic, bytes: impl Into<Bytes>) -> Result<(), PublishError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_GOSSIP_BYTES {
            return Err(PublishError::TooLarge {
                size_bytes: bytes.len(),
                limit_bytes: MAX_GOSSIP_BYTES,
            });
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Publish { topic, bytes, done };
        self.parts
            .commands
            .send(command)
            .await
            .map_err(|_| PublishError::Shutdown)?;
        answer.await.unwrap_or(Err(PublishError::Shutdown))
    }

    /// Asks a connected peer; its application answers through [`crate::Event::Request`].
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request(
        &self,
        peer: PeerId,
        bytes: impl Into<Bytes>,
    ) -> Result<Bytes, RequestError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(RequestError::TooLarge {
                size_bytes: bytes.len(),
                limit_bytes: MAX_REQUEST_BYTES,
            });
        }
        let (done, answer) = oneshot::channel();
        let command = Command::Request { peer, bytes, done };
        self.parts
            .commands
            .send(command)
            .await
            .map_err(|_| RequestError::Shutdown)?;
        answer.await.unwrap_or(Err(RequestError::Shutdown))
    }

    /// Sees to it that the blob with this `hash` and length in bytes is in the store, pulling it
    /// from `holders` in turn. Holders that are away are waited for as long as
    /// [`crate::Config::fetch_patience`] allows. Several calls for one blob share the work and
    /// their holders; the work goes on if a caller goes away.
    ///
    /// # Errors
    /// See [`FetchError`]. What was verified is kept for the next call.
    pub async fn fetch(
        &self,
        hash: BlobHash,
        len: u64,
        holders: Vec<PeerId>,
    ) -> Result<FetchReport, FetchError> {
        self.parts.fetcher.fetch(hash, len, holders).await
    }

    /// Replaces the known peers (the validator set changed). Connections stay; who is no longer
    /// known counts as an observer from the next handshake on.
    ///
    /// # Errors
    /// [`InvalidKey`], and nothing is changed.
    pub async fn set_known_peers(&self, known: Vec<KnownPeer>) -> Result<(), InvalidKey> {
        let keys = known
            .iter()
            .map(|known| Ok((identity::peer_id(&known.public_key)?, known.public_key)))
            .collect::<Result<_, InvalidKey>>()?;
        // After a shutdown there is nobody to tell.
        let _ = self
            .parts
            .commands
            .send(Command::SetKnownPeers { known, keys })
            .await;
        Ok(())
    }

    /// Closes all connections and stops all tasks; returns when they have ended. Fetches end with
    /// [`FetchError::Shutdown`] and keep what they have.
    pub async fn shutdown(&self) {
        self.parts.shared.cancel.cancel();
        self.parts.shared.tasks.close();
        self.parts.shared.tasks.wait().await;
    }
}
