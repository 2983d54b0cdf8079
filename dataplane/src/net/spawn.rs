//! Putting the parts together.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, Swarm, swarm};
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    behaviour::{Behaviour, Topics},
    dialer::Dialer,
    events::EventSink,
    gate::Gate,
    peers::PeerTable,
    swarm::Node,
    transport::{build, keypair, known_keys},
};
use crate::{
    BlobStore, Config, Event, Handle, SpawnError,
    handle::Parts,
    limits::{COMMAND_QUEUE, EVENT_QUEUE, REPLY_QUEUE, REPORT_QUEUE},
    metrics::Metrics,
    transfer::{self, FetchLimits, Fetcher, Server},
};

/// Room for the chain id in the handshake, beside everything else that is in it.
const MAX_CHAIN_ID_BYTES: usize = 128;
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// What all tasks of one data plane share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: EventSink,
    pub(crate) peers: PeerTable,
    pub(crate) tasks: TaskTracker,
    pub(crate) cancel: CancellationToken,
}

/// Starts the data plane; returns when all listen addresses are bound. It ends with
/// [`Handle::shutdown`], or when all handles are dropped.
///
/// Events have to be received: when the queue is full, gossip is dropped and requests are answered
/// "busy".
///
/// # Errors
/// See [`SpawnError`].
pub async fn spawn(
    config: Config,
    store: BlobStore,
) -> Result<(Handle, mpsc::Receiver<Event>), SpawnError> {
    spawn_boxed(config, store).await
}

type Spawned = Result<(Handle, mpsc::Receiver<Event>), SpawnError>;

/// Not async: the swarm is compiled here once, and not again in every crate that starts one.
#[inline(never)]
fn spawn_boxed(config: Config, store: BlobStore) -> Pin<Box<dyn Future<Output = Spawned> + Send>> {
    Box::pin(spawn_swarm(config, store))
}

async fn spawn_swarm(config: Config, store: BlobStore) -> Spawned {
    if config.chain_id.len() > MAX_CHAIN_ID_BYTES {
        let length = config.chain_id.len();
        return Err(SpawnError::ChainId {
            length,
            limit: MAX_CHAIN_ID_BYTES,
        });
    }
    let keypair = keypair(&config)?;
    let known = known_keys(&config)?;
    let (event_sender, event_receiver) = mpsc::channel(EVENT_QUEUE);
    let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let (reply_sender, replies) = mpsc::channel(REPLY_QUEUE);
    let (report_sender, reports) = mpsc::channel(REPORT_QUEUE);
    let (listen_sender, listen) = watch::channel(Vec::new());
    let metrics = Arc::new(Metrics::default());
    let shared = Shared {
        metrics: metrics.clone(),
        events: EventSink::new(event_sender, metrics),
        peers: PeerTable::default(),
        tasks: TaskTracker::new(),
        cancel: CancellationToken::new(),
    };

    let gate = Arc::new(Gate::new(&config, known, rand::random(), report_sender));
    gate.set_addresses(config.announce.iter().map(Multiaddr::to_string));
    let behaviour = Behaviour::new(&config)?;
    let mut control = behaviour.streams.new_control();
    let local = keypair.public().to_peer_id();
    let settings = swarm::Config::with_tokio_executor()
        // Connections between nodes are for keeps.
        .with_idle_connection_timeout(Duration::MAX);
    let swarm = Swarm::new(build(&keypair, gate.clone())?, behaviour, local, settings);

    let protocol = transfer::protocol(&config.genesis_hash);
    let incoming = control
        .accept(protocol.clone())
        .map_err(|error| SpawnError::Transport(error.to_string()))?;
    let limits = FetchLimits {
        stall_timeout: config.stall_timeout,
        patience: config.fetch_patience,
    };
    let fetcher = Fetcher::new(store.clone(), control, protocol, limits, &shared);
    let server = Server {
        store: store.clone(),
        stall_timeout: config.stall_timeout,
        metrics: shared.metrics.clone(),
        events: shared.events.clone(),
        load: Arc::default(),
    };

    let now = Instant::now();
    let mut dialer = Dialer::new(local, config.bootstrap.clone(), now);
    dialer.set_known(targets(&config.known_peers), now);
    let mut node = Node {
        swarm,
        gate,
        dialer,
        topics: Topics::new(&config.genesis_hash),
        shared: shared.clone(),
        commands,
        replies,
        reply_sender,
        reports,
        listen: listen_sender,
        announces: !config.announce.is_empty(),
        connections: HashMap::new(),
        pending: HashMap::new(),
        observer_faults: HashMap::new(),
    };
    node.listen(&config.listen, LISTEN_TIMEOUT).await?;
    shared
        .tasks
        .spawn(server.run(incoming, shared.tasks.clone(), shared.cancel.clone()));
    shared.tasks.spawn(node.run());
    let parts = Parts {
        local,
        commands: command_sender,
        fetcher,
        store,
        listen,
        shared,
    };
    Ok((Handle::new(parts), event_receiver))
}

/// Known peers as the dialer wants them; keys have been checked.
pub(super) fn targets(
    known: &[crate::KnownPeer],
) -> impl Iterator<Item = (libp2p::PeerId, Vec<Multiaddr>)> + '_ {
    known.iter().filter_map(|known| {
        let peer = crate::peer_id(&known.public_key).ok()?;
        Some((peer, known.addresses.clone()))
    })
}
