//! Gossip and requests.

use bytes::Bytes;
use libp2p::{
    PeerId,
    gossipsub::{self, MessageAcceptance},
    request_response::{self, Message, OutboundFailure, ResponseChannel},
    swarm::ConnectionId,
};
use tokio::sync::oneshot;

use super::{Node, Pending};
use crate::{
    Event, GossipMessage, InboundRequest, PublishError, Replier, RequestError, Topic, Validation,
    event::Reply,
    identity,
    limits::{MAX_OBSERVER_FAULTS, MAX_PENDING_REQUESTS, MAX_REQUESTS_PER_PEER},
    metrics,
    net::{
        codec::{WireRequest, WireResponse},
        peers::Addresses,
    },
};

type RequestEvent = request_response::Event<WireRequest, WireResponse>;

impl Node {
    pub(super) fn publish(&mut self, topic: Topic, bytes: Bytes) -> Result<(), PublishError> {
        let topic = self.topics.ident(topic);
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            // Who has it already need not get it again.
            Ok(_) | Err(gossipsub::PublishError::Duplicate) => {
                metrics::increment(&self.shared.metrics.gossip_published);
                Ok(())
            }
            Err(gossipsub::PublishError::NoPeersSubscribedToTopic) => Err(PublishError::NoPeers),
            Err(gossipsub::PublishError::AllQueuesFull(_)) => Err(PublishError::QueuesFull),
            Err(error) => Err(PublishError::Internal(error.to_string())),
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        let gossipsub::Event::Message {
            propagation_source: from,
            message_id: id,
            message,
        } = event
        else {
            return;
        };
        let events = self.shared.events.clone();
        let (topic, place) = (
            self.topics.topic(&message.topic),
            events.reserve(message.data.len()),
        );
        let (Some(topic), Some((place, permit))) = (topic, place) else {
            metrics::increment(&self.shared.metrics.gossip_dropped);
            self.judge(&id, &from, MessageAcceptance::Ignore);
            return;
        };
        metrics::increment(&self.shared.metrics.gossip_received);
        let replies = self.reply_sender.clone();
        place.send(Event::Gossip(GossipMessage {
            topic,
            bytes: message.data.into(),
            from,
            validation: Validation {
                id: Some(id),
                from,
                replies,
                _permit: permit,
            },
        }));
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Response { channel, response } => {
                // The requester may have gone or lost patience.
                let _ = self
                    .swarm
                    .behaviour_mut()
                    .requests
                    .send_response(channel, response);
            }
            Reply::Verdict {
                id,
                from,
                acceptance,
            } => {
                if matches!(acceptance, MessageAcceptance::Reject) {
                    metrics::increment(&self.shared.metrics.gossip_rejected);
                    self.note_invalid_gossip(from);
                }
                self.judge(&id, &from, acceptance);
            }
        }
    }

    fn judge(&mut self, id: &gossipsub::MessageId, from: &PeerId, acceptance: MessageAcceptance) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        gossip.report_message_validation_result(id, from, acceptance);
    }

    /// Observers that keep sending what is invalid are sent away. Known peers are not: they are
    /// few, accountable, and the chain needs their connections.
    fn note_invalid_gossip(&mut self, from: PeerId) {
        if self.gate.is_known(&from) || !self.connections.contains_key(&from) {
            return;
        }
        let faults = self.observer_faults.entry(from).or_default();
        *faults += 1;
        if *faults >= MAX_OBSERVER_FAULTS {
            tracing::warn!(peer = %from, faults = *faults, "observer banned for invalid gossip");
            self.gate.ban(from);
            let _ = self.swarm.disconnect_peer_id(from);
        }
    }

    pub(super) fn request(
        &mut self,
        peer: PeerId,
        bytes: Bytes,
        done: oneshot::Sender<Result<Bytes, RequestError>>,
    ) {
        let refused = match self.connections.get(&peer) {
            None => Some(RequestError::NotConnected(peer)),
            Some(entry) if entry.requests >= MAX_REQUESTS_PER_PEER => Some(RequestError::TooMany {
                limit: MAX_REQUESTS_PER_PEER,
            }),
            Some(_) if self.pending.len() >= MAX_PENDING_REQUESTS => Some(RequestError::TooMany {
                limit: MAX_PENDING_REQUESTS,
            }),
            Some(_) => None,
        };
        if let Some(error) = refused {
            let _ = done.send(Err(error));
            return;
        }
        self.send(peer, WireRequest::App(bytes), Pending::App(done));
    }

    pub(super) fn send(&mut self, peer: PeerId, request: WireRequest, pending: Pending) {
        if let (Pending::App(_), Some(entry)) = (&pending, self.connections.get_mut(&peer)) {
            entry.requests += 1;
        }
        let id = self
            .swarm
            .behaviour_mut()
            .requests
            .send_request(&peer, request);
        self.pending.insert(id, pending);
    }

    pub(super) fn on_request_event(&mut self, event: RequestEvent) {
        match event {
            RequestEvent::Message { peer, message, .. } => match message {
                Message::Request {
                    request, channel, ..
                } => {
                    self.on_request(peer, request, channel);
                }
                Message::Response {
                    request_id,
                    response,
                } => {
                    let pending = self.pending.remove(&request_id);
                    self.on_response(peer, pending, response);
                }
            },
            RequestEvent::OutboundFailure {
                peer,
                connection_id,
                request_id,
                error,
            } => {
                let pending = self.pending.remove(&request_id);
                self.on_request_failed(peer, connection_id, pending, &error);
            }
            RequestEvent::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "request not answered");
            }
            RequestEvent::ResponseSent { .. } => {}
        }
    }

    fn on_request(
        &mut self,
        peer: PeerId,
        request: WireRequest,
        channel: ResponseChannel<WireResponse>,
    ) {
        let response = match request {
            WireRequest::Ping => WireResponse::Ok(Bytes::new()),
            WireRequest::Addresses => self.known_addresses(),
            WireRequest::App(bytes) => {
                let events = self.shared.events.clone();
                let place = events.reserve(bytes.len());
                if let (Some(public_key), Some((place, permit))) =
                    (identity::public_key(&peer), place)
                {
                    metrics::increment(&self.shared.metrics.requests_received);
                    let replies = self.reply_sender.clone();
                    let reply = Replier {
                        channel: Some(channel),
                        replies,
                        _permit: permit,
                    };
                    let request = InboundRequest {
                        peer,
                        public_key,
                        bytes,
                        reply,
                    };
                    place.send(Event::Request(request));
                    return;
                }
                metrics::increment(&self.shared.metrics.requests_refused);
                WireResponse::Busy
            }
        };
        let _ = self
            .swarm
            .behaviour_mut()
            .requests
            .send_response(channel, response);
    }

    fn known_addresses(&self) -> WireResponse {
        let addresses: Addresses = self
            .dialer
            .addresses()
            .filter_map(|(peer, addresses)| Some((identity::public_key(peer)?, addresses)))
            .collect();
        borsh::to_vec(&addresses).map_or(WireResponse::Unserved, |b| WireResponse::Ok(b.into()))
    }

    fn on_response(&mut self, peer: PeerId, pending: Option<Pending>, response: WireResponse) {
        match (pending, response) {
            (Some(Pending::App(done)), response) => {
                self.request_done(&peer);
                let _ = done.send(match response {
                    WireResponse::Ok(bytes) => Ok(bytes),
                    WireResponse::Busy => Err(RequestError::Busy(peer)),
                    WireResponse::Unserved => Err(RequestError::Unserved(peer)),
                });
            }
            (Some(Pending::Addresses), WireResponse::Ok(bytes)) => self.learn(peer, &bytes),
            _ => {}
        }
    }

    fn learn(&mut self, peer: PeerId, bytes: &[u8]) {
        match borsh::from_slice::<Addresses>(bytes) {
            Ok(told) => {
                for (key, addresses) in told {
                    if let Ok(known) = identity::peer_id(&key) {
                        self.dialer.learn(&known, &addresses);
                    }
                }
            }
            Err(error) => tracing::debug!(%peer, %error, "malformed address list"),
        }
    }

    fn request_done(&mut self, peer: &PeerId) {
        if let Some(entry) = self.connections.get_mut(peer) {
            entry.requests = entry.requests.saturating_sub(1);
        }
    }

    fn on_request_failed(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        pending: Option<Pending>,
        error: &OutboundFailure,
    ) {
        match pending {
            Some(Pending::App(done)) => {
                self.request_done(&peer);
                let _ = done.send(Err(match error {
                    OutboundFailure::Timeout => RequestError::Timeout(peer),
                    OutboundFailure::DialFailure => RequestError::NotConnected(peer),
                    error => RequestError::Failed {
                        peer,
                        reason: error.to_string(),
                    },
                }));
            }
            Some(Pending::Ping) if matches!(error, OutboundFailure::Timeout) => {
                tracing::info!(%peer, "no sign of life, connection closed");
                self.swarm.close_connection(connection);
            }
            _ => {}
        }
    }
}
