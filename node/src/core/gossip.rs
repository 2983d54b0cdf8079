//! Events of the data plane: transactions and votes from gossip, requests of peers.
//!
//! Invariants: nothing is forwarded before it is checked; a request is always answered; work that
//! can take long runs in a task of its own, bounded by the data plane's limit on open requests.

use cifer_chain::{AggregateVote, Transaction};
use cifer_dataplane::{Event, GossipMessage, InboundRequest, Topic};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{MempoolError, Node, Signatures, SubmitTxError, judge, wire};

/// Handles events until `stop`, or until the data plane ends.
pub(crate) async fn run(node: Node, mut events: mpsc::Receiver<Event>, stop: CancellationToken) {
    let mut committed = node.subscribe();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = events.recv() => match event {
                Some(event) => handle(&node, event),
                None => return,
            },
            block = committed.recv() => match block {
                Ok(_) | Err(RecvError::Lagged(_)) => take_early(&node),
                Err(RecvError::Closed) => return,
            },
        }
    }
}

fn handle(node: &Node, event: Event) {
    match event {
        Event::Gossip(message) => on_gossip(node, message),
        Event::Request(request) => on_request(node, request),
        Event::PeerConnected(peer) => {
            info!(peer = %peer.peer, "data plane peer connected");
            node.nudge();
        }
        Event::PeerDisconnected { peer, .. } => info!(%peer, "data plane peer disconnected"),
        Event::GenesisMismatch { peer, ours, theirs } => {
            let (ours, theirs) = (hex::encode(ours), hex::encode(theirs));
            error!(%peer, ours, theirs, "peer has another genesis; refused");
            node.0.flags.genesis_mismatch();
        }
        Event::PeerRefused {
            peer,
            refusal,
            by_peer,
        } => {
            warn!(%peer, ?refusal, by_peer, "connection refused");
        }
        Event::BlobFault(fault) => warn!(?fault, "peer served bad bytes"),
        Event::LocalCorruption { hash } => {
            error!(%hash, "a stored payload no longer matches its hash and was removed; check the disk");
        }
        _ => {}
    }
}

fn on_gossip(node: &Node, message: GossipMessage) {
    let GossipMessage {
        topic,
        bytes,
        validation,
        from,
        ..
    } = message;
    match topic {
        Topic::Tx => match cifer_chain::decode_tx(&bytes, node.genesis().limits.max_tx_bytes) {
            Ok(tx) => match node.take_tx(tx, Signatures::Unknown) {
                Ok(_) => validation.accept(),
                Err(SubmitTxError::Mempool(MempoolError::Known(_))) => validation.ignore(),
                // A transaction that our state refuses may be right for a peer that is a block
                // ahead of us, so its sender is not blamed.
                Err(SubmitTxError::Invalid(error)) => {
                    let kept = super::lock(&node.0.early).keep(from, bytes);
                    debug!(%from, %error, kept, "gossiped transaction not taken yet");
                    validation.ignore();
                }
                Err(error) => {
                    debug!(%from, %error, "gossiped transaction not taken");
                    validation.ignore();
                }
            },
            Err(error) => {
                warn!(%from, %error, "malformed transaction");
                validation.reject();
            }
        },
        Topic::Vote => match borsh::from_slice::<AggregateVote>(&bytes) {
            Ok(vote) => {
                if node.check_vote(&vote) {
                    validation.accept();
                    node.accept_vote(vote);
                } else {
                    validation.ignore();
                }
            }
            Err(error) => {
                warn!(%from, %error, "malformed vote");
                validation.reject();
            }
        },
    }
}

/// Tries again what came before the block that it follows.
fn take_early(node: &Node) {
    let early = super::lock(&node.0.early).take();
    for bytes in early {
        // It was decoded before, so it is again.
        let Ok(tx) = cifer_chain::decode_tx(&bytes, node.genesis().limits.max_tx_bytes) else {
            continue;
        };
        if let Err(error) = node.take_tx(tx, Signatures::Unknown) {
            debug!(%error, "early transaction not taken");
        }
    }
}

fn on_request(node: &Node, request: InboundRequest) {
    let InboundRequest {
        peer, bytes, reply, ..
    } = request;
    let decoded = match borsh::from_slice::<wire::Request>(&bytes) {
        Ok(decoded) => decoded,
        Err(error) => {
            warn!(%peer, %error, "malformed request");
            reply.send(wire::encode(&wire::Response::refused(error)));
            return;
        }
    };
    match decoded {
        wire::Request::Offer { signed, inline } => {
            let node_of_task = node.clone();
            node.spawn(async move {
                let answer = judge::answer_offer(node_of_task, peer, signed, inline).await;
                reply.send(wire::encode(&answer));
            });
        }
        wire::Request::Verdict(vote) => {
            node.deliver_verdict(vote);
            reply.send(wire::encode(&wire::Response::Done));
        }
        wire::Request::AggregateVotes { task, round } => {
            let votes = super::lock(&node.0.votes).of(task, round);
            reply.send(wire::encode(&wire::Response::AggregateVotes(votes)));
        }
        wire::Request::Transaction(tx) => {
            let answer = on_transaction(node, *tx);
            reply.send(wire::encode(&answer));
        }
    }
}

fn on_transaction(node: &Node, tx: Transaction) -> wire::Response {
    match node.take_tx(tx, Signatures::Unknown) {
        Ok(_) | Err(SubmitTxError::Mempool(MempoolError::Known(_))) => wire::Response::Done,
        Err(error) => wire::Response::refused(error),
    }
}
