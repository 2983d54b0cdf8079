//! Connections as they come and go.

use std::{collections::HashMap, num::NonZeroU8, time::Instant};

use libp2p::{
    Multiaddr, PeerId,
    swarm::{ConnectionId, dial_opts::DialOpts, dial_opts::PeerCondition},
};

use super::{Connected, Node, Pending};
use crate::{
    Event, KnownPeer, PeerInfo, Refusal, identity,
    limits::{MAX_CONNECTIONS_PER_PEER, PING_INTERVAL},
    metrics,
    net::{
        codec::WireRequest,
        dialer::{Dial, parse_addresses, tcp_first_on_loopback},
        gate::Report,
        spawn::targets,
    },
};

impl Node {
    pub(super) fn dial(&mut self, dial: Dial) {
        // A port of its own for each dial: two nodes that dial each other at once from their
        // listen ports would make one TCP connection with two dialers.
        let opts = match dial {
            Dial::Peer(_, addresses) if addresses.is_empty() => return,
            Dial::Peer(peer, mut addresses) => {
                let opts = DialOpts::peer_id(peer)
                    .condition(PeerCondition::DisconnectedAndNotDialing)
                    .allocate_new_port();
                // Elsewhere they are tried at the same time and the first to answer is taken.
                let opts = if tcp_first_on_loopback(&mut addresses) {
                    opts.override_dial_concurrency_factor(NonZeroU8::MIN)
                } else {
                    opts
                };
                opts.addresses(addresses).build()
            }
            Dial::Anyone(address) => DialOpts::unknown_peer_id()
                .address(address)
                .allocate_new_port()
                .build(),
        };
        if let Err(error) = self.swarm.dial(opts) {
            tracing::trace!(%error, "not dialled");
        }
    }

    pub(super) fn on_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        address: &Multiaddr,
    ) {
        let (Some(hello), Some(public_key)) =
            (self.gate.connected(&peer), identity::public_key(&peer))
        else {
            tracing::error!(%peer, "connection without a handshake");
            self.swarm.close_connection(connection);
            return;
        };
        let now = Instant::now();
        let is_new = !self.connections.contains_key(&peer);
        let entry = self.connections.entry(peer).or_insert_with(|| Connected {
            ids: Vec::with_capacity(MAX_CONNECTIONS_PER_PEER as usize),
            last_ping: now,
            requests: 0,
        });
        // Connections to an earlier run of the peer are dead, whether we have noticed or not.
        let dead: Vec<_> = entry
            .ids
            .iter()
            .filter(|(_, run)| *run != hello.session)
            .map(|(id, _)| *id)
            .collect();
        entry.ids.push((connection, hello.session));
        dead.into_iter().for_each(|id| {
            self.swarm.close_connection(id);
        });
        let known = self.gate.is_known(&peer);
        if known {
            self.dialer.learn(&peer, &hello.addresses);
        }
        self.dialer.connected(&peer, now);
        let info = PeerInfo {
            peer,
            public_key,
            role: hello.role,
            known,
            address: address.clone(),
            addresses: parse_addresses(&hello.addresses),
        };
        self.shared.peers.insert(info.clone());
        if is_new {
            tracing::info!(%peer, %address, role = ?info.role, known, "peer connected");
            self.count_peers();
            self.shared.events.emit(Event::PeerConnected(info));
        }
        if known && self.dialer.lacks_addresses() {
            self.send(peer, WireRequest::Addresses, Pending::Addresses);
        }
    }

    pub(super) fn on_disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        let Some(entry) = self.connections.get_mut(&peer) else {
            return;
        };
        entry.ids.retain(|(id, _)| *id != connection);
        if !entry.ids.is_empty() {
            return;
        }
        self.connections.remove(&peer);
        self.gate.disconnected(&peer);
        self.shared.peers.remove(&peer);
        self.observer_faults.remove(&peer);
        self.dialer.disconnected(&peer, Instant::now());
        self.count_peers();
        tracing::info!(%peer, "peer disconnected");
        if let Some(public_key) = identity::public_key(&peer) {
            self.shared
                .events
                .emit(Event::PeerDisconnected { peer, public_key });
        }
    }

    fn count_peers(&self) {
        let count = self.shared.peers.len() as u64;
        self.shared
            .metrics
            .peers
            .store(count, std::sync::atomic::Ordering::Relaxed);
    }

    pub(super) fn on_report(&mut self, report: Report) {
        let Report {
            peer,
            refusal,
            by_peer,
        } = report;
        metrics::increment(&self.shared.metrics.handshakes_refused);
        self.dialer.refused(&peer, Instant::now());
        if let Refusal::Genesis { ours, theirs } = refusal {
            // "Ours" is the refusing side's; usually both sides refuse, and this is our own view.
            let (ours, theirs) = if by_peer {
                (theirs, ours)
            } else {
                (ours, theirs)
            };
            let hex = |hash| blake3::Hash::from_bytes(hash).to_hex();
            tracing::warn!(%peer, ours = %hex(ours), theirs = %hex(theirs),
                "peer of another genesis refused");
            metrics::increment(&self.shared.metrics.genesis_mismatches);
            self.shared
                .events
                .emit(Event::GenesisMismatch { peer, ours, theirs });
            return;
        }
        tracing::info!(%peer, %refusal, by_peer, "connection refused");
        self.shared.events.emit(Event::PeerRefused {
            peer,
            refusal,
            by_peer,
        });
    }

    pub(super) fn ping_silent(&mut self, now: Instant) {
        let due: Vec<_> = self
            .connections
            .iter_mut()
            .filter(|(_, entry)| now.duration_since(entry.last_ping) >= PING_INTERVAL)
            .map(|(peer, entry)| {
                entry.last_ping = now;
                *peer
            })
            .collect();
        for peer in due {
            self.send(peer, WireRequest::Ping, Pending::Ping);
        }
    }

    pub(super) fn set_known_peers(&mut self, known: &[KnownPeer], keys: HashMap<PeerId, [u8; 32]>) {
        self.gate.set_known(keys);
        let now = Instant::now();
        self.dialer.set_known(targets(known), now);
        let connected: Vec<_> = self.connections.keys().copied().collect();
        for peer in &connected {
            self.dialer.connected(peer, now);
        }
        for mut info in self.shared.peers.list() {
            info.known = self.gate.is_known(&info.peer);
            self.shared.peers.insert(info);
        }
    }
}
