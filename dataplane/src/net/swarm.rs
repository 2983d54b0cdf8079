//! The task that owns the libp2p swarm: waits for whatever comes first and deals with it. Nothing
//! here waits for anything else.

mod connections;
mod messages;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    request_response::OutboundRequestId,
    swarm::{ConnectionId, SwarmEvent},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    Shared,
    behaviour::{Behaviour, BehaviourEvent, Topics},
    dialer::{Dial, Dialer},
    gate::{Gate, Report},
};
use crate::{KnownPeer, PublishError, RequestError, SpawnError, Topic, event::Reply};

/// How often dials and pings are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Time to say goodbye.
const GOODBYE: Duration = Duration::from_millis(200);

/// What handles ask of the swarm.
pub(crate) enum Command {
    Publish {
        topic: Topic,
        bytes: Bytes,
        done: oneshot::Sender<Result<(), PublishError>>,
    },
    Request {
        peer: PeerId,
        bytes: Bytes,
        done: oneshot::Sender<Result<Bytes, RequestError>>,
    },
    SetKnownPeers {
        known: Vec<KnownPeer>,
        keys: HashMap<PeerId, [u8; 32]>,
    },
}

/// A request of ours without an answer.
pub(super) enum Pending {
    Ping,
    Addresses,
    App(oneshot::Sender<Result<Bytes, RequestError>>),
}

/// A connected peer.
pub(super) struct Connected {
    /// Connections with the run of the peer that each belongs to.
    ids: Vec<(ConnectionId, u64)>,
    last_ping: Instant,
    requests: usize,
}

pub(super) struct Node {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) gate: Arc<Gate>,
    pub(super) dialer: Dialer,
    pub(super) topics: Topics,
    pub(super) shared: Shared,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) replies: mpsc::Receiver<Reply>,
    pub(super) reply_sender: mpsc::Sender<Reply>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) listen: watch::Sender<Vec<Multiaddr>>,
    /// Whether the configuration says what to announce; else the listen addresses are.
    pub(super) announces: bool,
    pub(super) connections: HashMap<PeerId, Connected>,
    pub(super) pending: HashMap<OutboundRequestId, Pending>,
    pub(super) observer_faults: HashMap<PeerId, u32>,
}

impl Node {
    /// Binds `addresses` and waits until they are bound.
    pub(super) async fn listen(
        &mut self,
        addresses: &[Multiaddr],
        limit: Duration,
    ) -> Result<(), SpawnError> {
        let mut waiting = HashMap::new();
        for address in addresses {
            let failed = |reason: String| SpawnError::Listen {
                address: address.clone(),
                reason,
            };
            let id = self
                .swarm
                .listen_on(address.clone())
                .map_err(|error| failed(format!("{error:?}")))?;
            waiting.insert(id, address.clone());
        }
        let bound = async {
            while !waiting.is_empty() {
                let event = self.swarm.select_next_some().await;
                match &event {
                    SwarmEvent::NewListenAddr { listener_id, .. } => {
                        waiting.remove(listener_id);
                    }
                    SwarmEvent::ListenerClosed {
                        listener_id,
                        reason,
                        ..
                    } => {
                        if let Some(address) = waiting.remove(listener_id) {
                            let reason = format!("{reason:?}");
                            return Err(SpawnError::Listen { address, reason });
                        }
                    }
                    _ => {}
                }
                self.on_swarm_event(event);
            }
            Ok(())
        };
        timeout(limit, bound)
            .await
            .unwrap_or(Err(SpawnError::ListenTimeout(limit)))
    }

    pub(super) async fn run(mut self) {
        let cancel = self.shared.cancel.clone();
        let mut resolving: JoinSet<Vec<Dial>> = JoinSet::new();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                Some(reply) = self.replies.recv() => self.on_reply(reply),
                Some(report) = self.reports.recv() => self.on_report(report),
                Some(resolved) = resolving.join_next(), if !resolving.is_empty() => {
                    resolved.unwrap_or_default().into_iter().for_each(|dial| self.dial(dial));
                }
                _ = tick.tick() => self.on_tick(&mut resolving),
            }
        }
        cancel.cancel();
        self.say_goodbye().await;
    }

    /// Closes connections in an orderly way, so that peers need not wait for a timeout.
    async fn say_goodbye(&mut self) {
        for peer in self.connections.keys().copied().collect::<Vec<_>>() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while !self.connections.is_empty() {
                let event = self.swarm.select_next_some().await;
                self.on_swarm_event(event);
            }
        };
        let _ = timeout(GOODBYE, closed).await;
    }

    fn on_tick(&mut self, resolving: &mut JoinSet<Vec<Dial>>) {
        let now = Instant::now();
        for dial in self.dialer.due(now, !self.connections.is_empty()) {
            resolving.spawn(super::dialer::resolve(dial));
        }
        self.ping_silent(now);
        self.gate.prune();
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Publish { topic, bytes, done } => {
                // The caller may have gone; nobody else wants to know.
                let _ = done.send(self.publish(topic, bytes));
            }
            Command::Request { peer, bytes, done } => self.request(peer, bytes, done),
            Command::SetKnownPeers { known, keys } => self.set_known_peers(&known, keys),
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.on_request_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.on_connected(peer_id, connection_id, endpoint.get_remote_address());
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                self.on_disconnected(peer_id, connection_id);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "data plane listens");
                self.listen.send_modify(|addresses| addresses.push(address));
                self.announce();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.listen
                    .send_modify(|addresses| addresses.retain(|old| *old != address));
                self.announce();
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::error!(?addresses, ?reason, "data plane listener closed");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "data plane listener error");
            }
            SwarmEvent::IncomingConnectionError {
                error,
                send_back_addr,
                ..
            } => {
                tracing::debug!(%error, address = %send_back_addr, "inbound connection failed");
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => {
                tracing::debug!(peer = ?peer_id, %error, "dial failed");
            }
            _ => {}
        }
    }

    fn announce(&self) {
        if !self.announces {
            let addresses = self.listen.borrow().clone();
            self.gate
                .set_addresses(addresses.iter().map(Multiaddr::to_string));
        }
    }
}
