//! When to dial whom. Known peers are dialled for ever, with a pause that doubles.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand::Rng;

use crate::limits::{MAX_ADDRESSES, REDIAL_MAX, REDIAL_MIN};

/// Of two peers that start together, the one with the larger id lets the other dial first, so
/// that mostly one connection comes about.
const COURTESY: Duration = Duration::from_millis(300);

/// A dial that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dial {
    /// A known peer, at any of these addresses.
    Peer(PeerId, Vec<Multiaddr>),
    /// Whoever answers here.
    Anyone(Multiaddr),
}

pub(super) struct Dialer {
    local: PeerId,
    targets: HashMap<PeerId, Target>,
    bootstrap: Vec<Multiaddr>,
    bootstrap_pace: Pace,
}

struct Target {
    configured: Vec<Multiaddr>,
    /// Told by the peer itself or by another known peer; used after the configured ones.
    learnt: Vec<Multiaddr>,
    connected: bool,
    pace: Pace,
}

struct Pace {
    next: Instant,
    pause: Duration,
}

impl Pace {
    fn starting_at(next: Instant) -> Self {
        Self {
            next,
            pause: REDIAL_MIN,
        }
    }

    /// Whether it is time; if so, sets the next time. The pause varies by a quarter, so that
    /// nodes that were cut off together do not come back in step.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now + self.pause.mul_f64(rand::thread_rng().gen_range(0.75..1.25));
        self.pause = (self.pause * 2).min(REDIAL_MAX);
        true
    }
}

impl Dialer {
    pub(super) fn new(local: PeerId, bootstrap: Vec<Multiaddr>, now: Instant) -> Self {
        Self {
            local,
            targets: HashMap::new(),
            bootstrap,
            bootstrap_pace: Pace::starting_at(now),
        }
    }

    /// Replaces the known peers; what is known of those that stay is kept.
    pub(super) fn set_known(
        &mut self,
        known: impl Iterator<Item = (PeerId, Vec<Multiaddr>)>,
        now: Instant,
    ) {
        let mut old = std::mem::take(&mut self.targets);
        for (peer, mut configured) in known {
            if peer == self.local {
                continue;
            }
            configured.truncate(MAX_ADDRESSES);
            let start = if self.local > peer {
                now + COURTESY
            } else {
                now
            };
            let target = match old.remove(&peer) {
                Some(target) => Target {
                    configured,
                    ..target
                },
                None => Target {
                    configured,
                    learnt: Vec::new(),
                    connected: false,
                    pace: Pace::starting_at(start),
                },
            };
            self.targets.insert(peer, target);
        }
    }

    pub(super) fn due(&mut self, now: Instant, anyone_connected: bool) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (peer, target) in &mut self.targets {
            let has_address = !(target.configured.is_empty() && target.learnt.is_empty());
            if !target.connected && has_address && target.pace.is_due(now) {
                let addresses = target
                    .configured
                    .iter()
                    .chain(&target.learnt)
                    .cloned()
                    .collect();
                dials.push(Dial::Peer(*peer, addresses));
            }
        }
        if !anyone_connected && !self.bootstrap.is_empty() && self.bootstrap_pace.is_due(now) {
            dials.extend(self.bootstrap.iter().cloned().map(Dial::Anyone));
        }
        dials
    }

    pub(super) fn connected(&mut self, peer: &PeerId, now: Instant) {
        self.bootstrap_pace = Pace::starting_at(now + REDIAL_MIN);
        if let Some(target) = self.targets.get_mut(peer) {
            target.connected = true;
        }
    }

    pub(super) fn disconnected(&mut self, peer: &PeerId, now: Instant) {
        if let Some(target) = self.targets.get_mut(peer) {
            target.connected = false;
            target.pace = Pace::starting_at(now);
        }
    }

    /// The peer does not want us, and will not in a second either.
    pub(super) fn refused(&mut self, peer: &PeerId, now: Instant) {
        let pace = Pace {
            next: now + REDIAL_MAX,
            pause: REDIAL_MAX,
        };
        match self.targets.get_mut(peer) {
            Some(target) => target.pace = pace,
            None => self.bootstrap_pace = pace,
        }
    }

    /// Takes note of addresses of a known peer that somebody told us. A wrong one only costs a
    /// dial: whoever answers has to prove the peer's key.
    pub(super) fn learn(&mut self, peer: &PeerId, addresses: &[String]) {
        let Some(target) = self.targets.get_mut(peer) else {
            return;
        };
        let addresses: Vec<_> = parse_addresses(addresses)
            .into_iter()
            .filter(|address| !target.configured.contains(address))
            .collect();
        if !addresses.is_empty() {
            target.learnt = addresses;
        }
    }

    /// Whether some known peer has no address at all.
    pub(super) fn lacks_addresses(&self) -> bool {
        self.targets.values().any(|target| {
            !target.connected && target.configured.is_empty() && target.learnt.is_empty()
        })
    }

    /// Known peers and their addresses, those learnt first: they are what the peer says now.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&PeerId, Vec<String>)> {
        self.targets.iter().map(|(peer, target)| {
            let all = target.learnt.iter().chain(&target.configured);
            (
                peer,
                all.take(MAX_ADDRESSES).map(ToString::to_string).collect(),
            )
        })
    }
}

/// Addresses that can be dialled, out of what a peer said.
pub(super) fn parse_addresses(addresses: &[String]) -> Vec<Multiaddr> {
    let is_dialable = |address: &Multiaddr| match address.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_unspecified(),
        Some(Protocol::Ip6(ip)) => !ip.is_unspecified(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    };
    let parsed = addresses
        .iter()
        .take(MAX_ADDRESSES)
        .filter_map(|text| text.parse().ok());
    parsed.filter(is_dialable).collect()
}

/// Replaces a host name by what it resolves to now. Names are looked up at each dial, as hosts
/// move; the transport itself only takes numbers.
pub(super) async fn resolve(dial: Dial) -> Vec<Dial> {
    match dial {
        Dial::Anyone(address) => resolve_address(address)
            .await
            .into_iter()
            .map(Dial::Anyone)
            .collect(),
        Dial::Peer(peer, addresses) => {
            let mut resolved = Vec::new();
            for address in addresses {
                resolved.extend(resolve_address(address).await);
            }
            resolved.truncate(2 * MAX_ADDRESSES);
            vec![Dial::Peer(peer, resolved)]
        }
    }
}

async fn resolve_address(address: Multiaddr) -> Vec<Multiaddr> {
    let mut parts = address.iter();
    let (host, want_v4, want_v6) = match parts.next() {
        Some(Protocol::Dns(host)) => (host, true, true),
        Some(Protocol::Dns4(host)) => (host, true, false),
        Some(Protocol::Dns6(host)) => (host, false, true),
        _ => return vec![address],
    };
    let rest: Multiaddr = parts.collect();
    let found = match tokio::net::lookup_host((host.as_ref(), 0)).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%host, %error, "cannot resolve");
            return Vec::new();
        }
    };
    found
        .map(|socket| socket.ip())
        .filter(|ip| (ip.is_ipv4() && want_v4) || (ip.is_ipv6() && want_v6))
        .take(MAX_ADDRESSES)
        .map(|ip| {
            let mut resolved = Multiaddr::from(ip);
            rest.iter().for_each(|part| resolved.push(part));
            resolved
        })
        .collect()
}

/// Whether all addresses are on loopback; if so, those of TCP come first. Loopback loses nothing and
/// reorders nothing, and what QUIC does about that costs a third of the bandwidth (README, "Measured").
pub(super) fn tcp_first_on_loopback(addresses: &mut [Multiaddr]) -> bool {
    let local = |address: &Multiaddr| match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    };
    let is_local = addresses.iter().all(local);
    if is_local {
        let is_tcp = |address: &Multiaddr| {
            let mut parts = address.iter();
            parts.any(|part| matches!(part, Protocol::Tcp(_)))
        };
        addresses.sort_by_key(|address| !is_tcp(address));
    }
    is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn redials_with_growing_pauses_until_connected() {
        let (local, peer) = (PeerId::random(), PeerId::random());
        let start = Instant::now();
        let mut dialer = Dialer::new(local, Vec::new(), start);
        dialer.set_known(
            [(peer, vec![address(1)]), (local, vec![address(2)])].into_iter(),
            start,
        );

        let mut now = start;
        let mut dials = Vec::new();
        while now < start + Duration::from_secs(60) {
            for dial in dialer.due(now, false) {
                assert_eq!(dial, Dial::Peer(peer, vec![address(1)]));
                dials.push(now);
            }
            now += Duration::from_millis(10);
        }
        assert!((7..=14).contains(&dials.len()), "{}", dials.len());

        dialer.connected(&peer, now);
        assert!(dialer.due(now + REDIAL_MAX * 2, true).is_empty());
        dialer.disconnected(&peer, now);
        assert_eq!(dialer.due(now, false).len(), 1);
    }

    #[test]
    fn learns_addresses_of_known_peers_only() {
        let (local, peer, stranger) = (PeerId::random(), PeerId::random(), PeerId::random());
        let now = Instant::now();
        let mut dialer = Dialer::new(local, Vec::new(), now);
        dialer.set_known([(peer, Vec::new())].into_iter(), now);
        assert!(dialer.lacks_addresses());
        let told = ["/ip4/0.0.0.0/tcp/1", "nonsense", "/ip4/127.0.0.1/tcp/3"].map(String::from);
        dialer.learn(&peer, &told);
        dialer.learn(&stranger, &told);
        assert!(!dialer.lacks_addresses());
        let dials = dialer.due(now + COURTESY, true);
        assert_eq!(dials, [Dial::Peer(peer, vec![address(3)])]);
    }

    #[test]
    fn bootstrap_is_dialled_only_when_alone() {
        let now = Instant::now();
        let mut dialer = Dialer::new(PeerId::random(), vec![address(5)], now);
        assert!(dialer.due(now, true).is_empty());
        assert_eq!(dialer.due(now, false), [Dial::Anyone(address(5))]);
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let address: Multiaddr = "/dns4/localhost/udp/9/quic-v1".parse().unwrap();
        let resolved = resolve(Dial::Anyone(address)).await;
        let expected: Multiaddr = "/ip4/127.0.0.1/udp/9/quic-v1".parse().unwrap();
        assert_eq!(resolved, [Dial::Anyone(expected)]);
    }

    #[test]
    fn tcp_is_first_on_loopback_only() {
        let parse = |text: &str| text.parse::<Multiaddr>().unwrap();
        let (quic, tcp) = ("/ip4/127.0.0.1/udp/9/quic-v1", "/ip4/127.0.0.1/tcp/9");
        let mut addresses = [quic, tcp].map(parse);
        assert!(tcp_first_on_loopback(&mut addresses));
        assert_eq!(addresses, [tcp, quic].map(parse));
        let mut mixed = [quic, "/ip4/10.0.0.1/tcp/9"].map(parse);
        let before = mixed.clone();
        assert!(!tcp_first_on_loopback(&mut mixed));
        assert_eq!(mixed, before);
    }
}
