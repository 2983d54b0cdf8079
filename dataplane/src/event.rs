//! What the data plane tells the application, and the handles through which it answers.

use std::fmt;

use bytes::Bytes;
use libp2p::{
    PeerId,
    gossipsub::{MessageAcceptance, MessageId},
    request_response::ResponseChannel,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::{BlobHash, PeerFault, PeerInfo, Refusal, net::codec::WireResponse};

/// A gossip topic. Its name on the wire contains the genesis hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Transactions.
    Tx,
    /// Votes outside consensus: receipts, aggregate signatures.
    Vote,
}

impl Topic {
    pub(crate) const ALL: [Self; 2] = [Self::Tx, Self::Vote];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Vote => "vote",
        }
    }
}

/// Something happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer finished the handshake; first connection to it.
    PeerConnected(PeerInfo),
    /// The last connection to a peer closed.
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
        /// Its ed25519 key.
        public_key: [u8; 32],
    },
    /// A peer of another genesis was refused. Both sides report it.
    GenesisMismatch {
        /// The peer.
        peer: PeerId,
        /// The hash of our genesis.
        ours: [u8; 32],
        /// The hash of theirs.
        theirs: [u8; 32],
    },
    /// A peer that we dialled refused us, or we refused it, for another reason.
    PeerRefused {
        /// The peer.
        peer: PeerId,
        /// Why.
        refusal: Refusal,
        /// True if it was the peer who refused.
        by_peer: bool,
    },
    /// A gossip message that waits for a verdict.
    Gossip(GossipMessage),
    /// A request that waits for an answer.
    Request(InboundRequest),
    /// A holder served bytes that do not match the hash.
    BlobFault(PeerFault),
    /// A blob in our own store no longer matches its hash; it has been removed.
    LocalCorruption {
        /// The blob.
        hash: BlobHash,
    },
}

/// A gossip message. It is not forwarded before [`Validation::accept`].
#[derive(Debug)]
pub struct GossipMessage {
    /// The topic.
    pub topic: Topic,
    /// The bytes, at most [`crate::limits::MAX_GOSSIP_BYTES`].
    pub bytes: Bytes,
    /// The peer that handed it to us. Who wrote it is for the bytes themselves to prove.
    pub from: PeerId,
    /// The verdict.
    pub validation: Validation,
}

/// A request from a peer.
#[derive(Debug)]
pub struct InboundRequest {
    /// The peer.
    pub peer: PeerId,
    /// Its ed25519 key.
    pub public_key: [u8; 32],
    /// The request, at most [`crate::limits::MAX_REQUEST_BYTES`].
    pub bytes: Bytes,
    /// The way back.
    pub reply: Replier,
}

/// Answers of the application on their way to the swarm.
pub(crate) enum Reply {
    Verdict {
        id: MessageId,
        from: PeerId,
        acceptance: MessageAcceptance,
    },
    Response {
        channel: ResponseChannel<WireResponse>,
        response: WireResponse,
    },
}

/// The verdict on a gossip message. Dropping it ignores the message.
///
/// It has to be given within ten gossip heartbeats (7 s); later, the message is no longer held
/// and not forwarded.
#[must_use = "a message without a verdict is not forwarded"]
pub struct Validation {
    pub(crate) id: Option<MessageId>,
    pub(crate) from: PeerId,
    pub(crate) replies: mpsc::Sender<Reply>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Validation {
    /// The message is valid: forward it.
    pub fn accept(mut self) {
        self.give(MessageAcceptance::Accept);
    }

    /// The message is invalid and its sender should have known: do not forward, count it.
    pub fn reject(mut self) {
        self.give(MessageAcceptance::Reject);
    }

    /// The message is of no use to us but not wrong (old, duplicate): do not forward.
    pub fn ignore(mut self) {
        self.give(MessageAcceptance::Ignore);
    }

    fn give(&mut self, acceptance: MessageAcceptance) {
        if let Some(id) = self.id.take() {
            // The queue is larger than the number of events that can be unhandled; if it is full
            // all the same, the message merely expires in gossipsub's cache.
            let _ = self.replies.try_send(Reply::Verdict {
                id,
                from: self.from,
                acceptance,
            });
        }
    }
}

impl Drop for Validation {
    fn drop(&mut self) {
        self.give(MessageAcceptance::Ignore);
    }
}

impl fmt::Debug for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validation")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// The way back to whoever made a request. Dropping it answers "not served" at once, so that the
/// requester does not wait for its timeout.
#[must_use = "a dropped replier answers with an error"]
pub struct Replier {
    pub(crate) channel: Option<ResponseChannel<WireResponse>>,
    pub(crate) replies: mpsc::Sender<Reply>,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Replier {
    /// Answers. A response above [`crate::limits::MAX_REQUEST_BYTES`] is our own mistake: it is
    /// logged, and the requester gets "not served".
    pub fn send(mut self, response: impl Into<Bytes>) {
        let response = response.into();
        let limit_bytes = crate::limits::MAX_REQUEST_BYTES;
        if response.len() > limit_bytes {
            tracing::error!(
                size_bytes = response.len(),
                limit_bytes,
                "response too large"
            );
            return;
        }
        self.give(WireResponse::Ok(response));
    }

    /// Answers "busy": the requester may try again later.
    pub fn busy(mut self) {
        self.give(WireResponse::Busy);
    }

    fn give(&mut self, response: WireResponse) {
        if let Some(channel) = self.channel.take() {
            // If the queue is full the channel is dropped here, which closes the stream: the
            // requester sees an error rather than silence.
            let _ = self.replies.try_send(Reply::Response { channel, response });
        }
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        self.give(WireResponse::Unserved);
    }
}

impl fmt::Debug for Replier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replier")
    }
}
