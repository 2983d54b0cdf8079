//! Who may take part: judges handshakes, and remembers what admitted peers said of themselves.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use libp2p::PeerId;
use tokio::sync::mpsc;

use super::handshake::{Hello, MAGIC, Refusal, VERSION};
use crate::{
    Config, identity,
    limits::{FAULT_COOLDOWN, HANDSHAKE_TIMEOUT, MAX_ADDRESSES, MAX_REMEMBERED_FAULTS},
};

/// An admitted peer that has not become a connection after this time never will.
const ADMISSION_TIMEOUT: Duration = HANDSHAKE_TIMEOUT.saturating_mul(3);

/// A handshake failed; for the swarm to log and tell.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) peer: PeerId,
    pub(super) refusal: Refusal,
    pub(super) by_peer: bool,
}

pub(super) struct Gate {
    state: Mutex<State>,
    reports: mpsc::Sender<Report>,
}

struct State {
    hello: Hello,
    allow_observers: bool,
    max_observers: usize,
    known: HashMap<PeerId, [u8; 32]>,
    admitted: HashMap<PeerId, Admitted>,
    banned: HashMap<PeerId, Instant>,
}

struct Admitted {
    hello: Hello,
    since: Instant,
    connected: bool,
}

impl Gate {
    pub(super) fn new(
        config: &Config,
        known: HashMap<PeerId, [u8; 32]>,
        session: u64,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let hello = Hello {
            magic: MAGIC,
            version: VERSION,
            genesis_hash: config.genesis_hash,
            chain_id: config.chain_id.clone(),
            role: config.role,
            session,
            addresses: Vec::new(),
        };
        let state = State {
            hello,
            allow_observers: config.allow_observers,
            max_observers: config.max_observers,
            known,
            admitted: HashMap::new(),
            banned: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            reports,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hello(&self) -> Hello {
        self.state().hello.clone()
    }

    pub(super) fn set_addresses(&self, addresses: impl Iterator<Item = String>) {
        self.state().hello.addresses = addresses.take(MAX_ADDRESSES).collect();
    }

    pub(super) fn set_known(&self, known: HashMap<PeerId, [u8; 32]>) {
        self.state().known = known;
    }

    pub(super) fn is_known(&self, peer: &PeerId) -> bool {
        self.state().known.contains_key(peer)
    }

    /// Judges a peer whose key the transport has proved.
    pub(super) fn admit(&self, peer: PeerId, hello: Hello) -> Result<(), Refusal> {
        let mut state = self.state();
        state.judge(&peer, &hello)?;
        let connected = state
            .admitted
            .get(&peer)
            .is_some_and(|admitted| admitted.connected);
        state.admitted.insert(
            peer,
            Admitted {
                hello,
                since: Instant::now(),
                connected,
            },
        );
        Ok(())
    }

    /// The hello of a peer that is now connected.
    pub(super) fn connected(&self, peer: &PeerId) -> Option<Hello> {
        let mut state = self.state();
        let admitted = state.admitted.get_mut(peer)?;
        admitted.connected = true;
        Some(admitted.hello.clone())
    }

    /// The last connection to the peer is gone.
    pub(super) fn disconnected(&self, peer: &PeerId) {
        self.state().admitted.remove(peer);
    }

    /// The peer was admitted by us and the connection failed all the same.
    pub(super) fn release(&self, peer: &PeerId) {
        let mut state = self.state();
        if state
            .admitted
            .get(peer)
            .is_some_and(|admitted| !admitted.connected)
        {
            state.admitted.remove(peer);
        }
    }

    /// Forgets admissions that came to nothing and bans that are over.
    pub(super) fn prune(&self) {
        let mut state = self.state();
        state.admitted.retain(|_, admitted| {
            admitted.connected || admitted.since.elapsed() < ADMISSION_TIMEOUT
        });
        state
            .banned
            .retain(|_, since| since.elapsed() < FAULT_COOLDOWN);
    }

    pub(super) fn ban(&self, peer: PeerId) {
        let mut state = self.state();
        if state.banned.len() < MAX_REMEMBERED_FAULTS {
            state.banned.insert(peer, Instant::now());
        }
    }

    pub(super) fn report(
        &self,
        peer: PeerId,
        ours: &Result<(), Refusal>,
        theirs: &Result<(), Refusal>,
    ) {
        let (refusal, by_peer) = match (ours, theirs) {
            (Err(refusal), _) => (refusal.clone(), false),
            (Ok(()), Err(refusal)) => (refusal.clone(), true),
            (Ok(()), Ok(())) => return,
        };
        if let Err(error) = self.reports.try_send(Report {
            peer,
            refusal,
            by_peer,
        }) {
            tracing::debug!(%peer, %error, "handshake report dropped");
        }
    }
}

impl State {
    fn judge(&self, peer: &PeerId, hello: &Hello) -> Result<(), Refusal> {
        let (ours, theirs) = (self.hello.genesis_hash, hello.genesis_hash);
        if ours != theirs {
            return Err(Refusal::Genesis { ours, theirs });
        }
        if self.hello.chain_id != hello.chain_id {
            return Err(Refusal::ChainId);
        }
        if self.known.contains_key(peer) {
            return Ok(());
        }
        if !self.allow_observers || identity::public_key(peer).is_none() {
            return Err(Refusal::Unknown);
        }
        if self
            .banned
            .get(peer)
            .is_some_and(|since| since.elapsed() < FAULT_COOLDOWN)
        {
            return Err(Refusal::Banned);
        }
        let others = |admitted: &PeerId| admitted != peer && !self.known.contains_key(admitted);
        if self
            .admitted
            .keys()
            .filter(|admitted| others(admitted))
            .count()
            >= self.max_observers
        {
            let limit = u32::try_from(self.max_observers).unwrap_or(u32::MAX);
            return Err(Refusal::Full { limit });
        }
        Ok(())
    }
}
