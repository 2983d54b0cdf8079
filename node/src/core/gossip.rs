//! Events of the data plane: transactions and votes from gossip, requests of peers.
//!
//! Invariants: nothing is forwarded before it is checked; a request is always answered; work that
//! can take long runs in a task of its own, bounded by the data plane's limit on open requests.

use bytes::Bytes;
use cifer_chain::{AggregateVote, Transaction, TxError};
use cifer_dataplane::{Event, GossipMessage, InboundRequest, PeerId, Topic};
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
                Ok(_) | Err(RecvError::Lagged(_)) => {
                    let early = super::lock(&node.0.early).take();
                    if !early.is_empty() {
                        let again = node.clone();
                        node.spawn_blocking(move || try_again(&again, &early));
                    }
                }
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
        Topic::Tx => match on_tx(node, from, bytes) {
            Judgement::Taken => validation.accept(),
            Judgement::OfNoUse => validation.ignore(),
            Judgement::Malformed => validation.reject(),
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

/// What became of a gossiped transaction.
#[derive(Debug, PartialEq, Eq)]
enum Judgement {
    Taken,
    /// For now; its sender is not to blame.
    OfNoUse,
    Malformed,
}

fn on_tx(node: &Node, from: PeerId, bytes: Bytes) -> Judgement {
    let tx = match cifer_chain::decode_tx(&bytes, node.genesis().limits.max_tx_bytes) {
        Ok(tx) => tx,
        Err(error) => {
            warn!(%from, %error, "malformed transaction");
            return Judgement::Malformed;
        }
    };
    match node.take_tx(tx, Signatures::Unknown) {
        Ok(_) => return Judgement::Taken,
        Err(SubmitTxError::Mempool(MempoolError::Known(_))) => {}
        // No block will make these right.
        Err(SubmitTxError::Invalid(
            error @ (TxError::Signature(_) | TxError::Certificate(_) | TxError::TooLarge { .. }),
        )) => debug!(%from, %error, "gossiped transaction not taken"),
        // A transaction that our state refuses may be right for a peer that is a block ahead of us.
        Err(SubmitTxError::Invalid(error)) => {
            let kept = super::lock(&node.0.early).keep(from, bytes);
            debug!(%from, %error, kept, "gossiped transaction not taken yet");
        }
        Err(error) => debug!(%from, %error, "gossiped transaction not taken"),
    }
    Judgement::OfNoUse
}

/// Tries again what came before the block that it follows. Up to a mebibyte of signatures for each peer: not in the event loop.
fn try_again(node: &Node, early: &[Bytes]) {
    for bytes in early {
        // It was decoded before, so it is again.
        let Ok(tx) = cifer_chain::decode_tx(bytes, node.genesis().limits.max_tx_bytes) else {
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

#[cfg(test)]
mod tests {
    use cifer_chain::{MemoryStore, Store as _, testing::Network};
    use cifer_dataplane::BlobStore;

    use super::*;
    use crate::{
        config::Role,
        core::{Parts, Retention, ledger::Ledger, private::ShareKeys},
    };

    /// A validator of the network that is connected with nobody.
    async fn alone(network: &Network, home: &std::path::Path) -> Node {
        let (genesis, key) = (network.genesis.clone(), network.validators[0].clone());
        let hash = *genesis.hash().as_bytes();
        let config = cifer_dataplane::Config::new(genesis.chain_id.clone(), hash, *key.to_seed());
        let blobs = BlobStore::open(home.join("blobs"), 1 << 20).unwrap();
        let (plane, _events) = cifer_dataplane::spawn(config, blobs.clone()).await.unwrap();
        Node::new(Parts {
            name: "alone".to_owned(),
            role: Role::Validator,
            ledger: Ledger::open(&home.join("data"), &genesis).unwrap(),
            share_keys: ShareKeys::new(home, &genesis.hash().to_string()),
            genesis,
            key,
            plane,
            blobs,
            scratch: home.to_owned(),
            retention: Retention {
                keep_rounds: 1,
                keep_models: 1,
            },
            stop: CancellationToken::new(),
        })
    }

    fn early(node: &Node) -> Vec<Bytes> {
        crate::core::lock(&node.0.early).take()
    }

    #[tokio::test]
    async fn what_comes_a_block_early_is_taken_after_the_block() {
        let (network, home) = (Network::new(4, 4), tempfile::tempdir().unwrap());
        let node = alone(&network, home.path()).await;
        let ahead = MemoryStore::new(&network.genesis).unwrap();
        network.run_round(&ahead);
        let update = Bytes::from(wire::encode(&network.update_tx(&ahead.state(), 0)));

        let from = PeerId::random();
        assert_eq!(on_tx(&node, from, update.clone()), Judgement::OfNoUse);
        try_again(&node, &early(&node));
        assert_eq!(node.status().mempool_txs, 0, "it was not right yet");

        assert_eq!(on_tx(&node, from, update.clone()), Judgement::OfNoUse);
        network.run_round(node.store());
        try_again(&node, &early(&node));
        assert_eq!(node.status().mempool_txs, 1);
        assert_eq!(on_tx(&node, from, update), Judgement::OfNoUse, "known");
        assert_eq!(
            on_tx(&node, from, Bytes::from_static(b"?")),
            Judgement::Malformed
        );
    }

    #[tokio::test]
    async fn what_is_forged_is_not_kept() {
        let (network, home) = (Network::new(4, 4), tempfile::tempdir().unwrap());
        let node = alone(&network, home.path()).await;
        let Transaction::Update(mut update) = network.update_tx(&node.state(), 0) else {
            panic!("an update")
        };
        update.signed.signature = network.contributors[1].sign_bytes(b"another");
        let forged = Bytes::from(wire::encode(&Transaction::Update(update)));
        let from = PeerId::random();
        assert_eq!(on_tx(&node, from, forged), Judgement::OfNoUse);
        assert!(early(&node).is_empty());
    }
}
