//! `cifer start` for validators and observers: opens the home, wires the rooms, runs until told to
//! stop, and takes everything down in the order that loses nothing.

use std::{sync::Arc, time::Duration};

use cifer_chain::PublicKey;
use cifer_dataplane::{BlobStore, KnownPeer, Multiaddr};
use cifer_genesis::Genesis;
use eyre::{Context, Report, bail, eyre};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::{NodeConfig, Role},
    core::{
        Node, Parts, Retention,
        application::{NodeApplication, now_ms},
        gossip,
        ledger::Ledger,
        private::{self, ShareKeys},
        rounds,
    },
    error::{Exit, Failure},
    grpc,
    home::Home,
    http, keys,
};

/// Time for open requests and background work when the node stops.
const DRAIN: Duration = Duration::from_secs(5);
/// How often waiting transactions are looked through for ones to send again, and their age.
const RESEND: Duration = Duration::from_secs(2);

/// Runs a validator or an observer until `stop`.
///
/// # Errors
/// When something cannot be opened or bound, and when consensus halts.
pub async fn run(home: Home, config: NodeConfig, stop: CancellationToken) -> Result<(), Report> {
    home.require_initialised()?;
    home.create_dirs()?;
    let _lock = home.lock()?;
    let genesis = load_genesis(&home)?;
    let key = keys::read_key_file(&home.node_key_path())?;
    let own = key.public_key();
    check_seat(&config, &genesis, own)?;

    let ledger =
        Ledger::open(&home.data_dir(), &genesis).wrap_err("the ledger cannot be opened")?;
    check_last_signed(&home, &config, ledger.state().height)?;
    let blobs = BlobStore::open(home.blobs_dir(), config.data.quota_bytes)
        .wrap_err("the blob store cannot be opened")?;
    adopt_initial_models(&home, &genesis, &blobs).await?;

    let plane_config = plane_config(&config, &genesis, &key, &ledger)?;
    let (plane, events) = cifer_dataplane::spawn(plane_config, blobs.clone()).await?;
    let background = CancellationToken::new();
    let node = Node::new(Parts {
        name: config.name.clone(),
        role: config.role,
        genesis: genesis.clone(),
        key: key.clone(),
        ledger,
        plane: plane.clone(),
        blobs,
        scratch: home.data_dir(),
        share_keys: ShareKeys::new(&home.share_keys_dir(), &genesis.hash().to_string()),
        retention: Retention {
            keep_rounds: config.data.keep_rounds,
            keep_models: config.data.keep_models,
        },
        stop: background.clone(),
    });

    let application = NodeApplication::new(node.clone());
    let mut consensus = cifer_consensus::start(
        engine_config(&home, &config, &genesis, key)?,
        application,
        node.work(),
    )
    .await
    .wrap_err("consensus cannot be started")?;
    node.watch_consensus(consensus.status());

    let workers = vec![
        tokio::spawn(gossip::run(node.clone(), events, background.clone())),
        tokio::spawn(rounds::run(node.clone(), background.clone())),
        tokio::spawn(private::run(node.clone(), background.clone())),
        tokio::spawn(watch_deadlines(node.clone(), background.clone())),
    ];
    let servers = serve(&config, &node, &background).await?;
    let height = node.state().height;
    info!(name = %config.name, role = %config.role, %height, grpc = %config.grpc.listen, "node started");

    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        ended = consensus.wait() => match ended {
            Ok(()) => Err(eyre!("consensus ended by itself")),
            Err(error) => Err(error.into()),
        },
    };
    info!("stopping");
    background.cancel();
    if let Err(error) = consensus.shutdown().await {
        warn!(%error, "consensus did not stop cleanly");
    }
    join(servers).await;
    node.drain(DRAIN).await;
    plane.shutdown().await;
    join(workers).await;
    info!("stopped");
    ended
}

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        if tokio::time::timeout(DRAIN, task).await.is_err() {
            warn!("a task did not end in time");
        }
    }
}

fn load_genesis(home: &Home) -> Result<Genesis, Report> {
    let path = home.genesis_path();
    let genesis = Genesis::load(&path).map_err(|error| {
        Failure::new(
            Exit::Refused,
            error,
            format!("check {} with `cifer genesis validate`", path.display()),
        )
    })?;
    Ok(genesis)
}

/// A validator needs a seat; an observer must not run with a validator's key, because the validator
/// itself may be running elsewhere.
fn check_seat(config: &NodeConfig, genesis: &Genesis, own: PublicKey) -> Result<(), Report> {
    let seated = genesis
        .validators
        .iter()
        .any(|validator| validator.public_key == own);
    match (config.role, seated) {
        (Role::Validator, false) => Err(Failure::new(
            Exit::Refused,
            format!("role is validator, but genesis has no seat for key {own}"),
            "put the right node.key into the home folder, or set role = \"observer\"",
        )
        .into()),
        (Role::Observer, true) => Err(Failure::new(
            Exit::Refused,
            format!("role is observer, but key {own} has a validator's seat"),
            "give the observer a key of its own with `cifer keys gen`",
        )
        .into()),
        (Role::Contributor, _) => bail!("a contributor is not a node; this is a bug"),
        _ => Ok(()),
    }
}

/// Says that the operator knows that the record of signatures is lost; used up when it is read.
const ACCEPT_LOST_RECORD: &str = "accept-lost-record";

/// A validator that has lost the record of what it signed could sign a height a second time. That
/// the ledger has blocks shows that there was a record.
fn check_last_signed(
    home: &Home,
    config: &NodeConfig,
    height: cifer_chain::Height,
) -> Result<(), Report> {
    let record = home.consensus_dir().join("last-signed");
    if config.role != Role::Validator || height.0 == 0 || record.exists() {
        return Ok(());
    }
    let accept = home.consensus_dir().join(ACCEPT_LOST_RECORD);
    if accept.exists() {
        std::fs::remove_file(&accept).wrap_err_with(|| accept.display().to_string())?;
        warn!(%height, "starting without a record of earlier signatures, as told");
        return Ok(());
    }
    Err(Failure::new(
        Exit::Refused,
        format!(
            "{} is missing, but the ledger is at height {height}",
            record.display()
        ),
        format!(
            "restore it from the home folder that signed last; only if this key has certainly not \
             signed beyond height {height}, create the empty file {}",
            accept.display()
        ),
    )
    .into())
}

/// Takes the initial models that lie in the home folder. Missing ones are fetched from peers.
async fn adopt_initial_models(
    home: &Home,
    genesis: &Genesis,
    blobs: &BlobStore,
) -> Result<(), Report> {
    for task in &genesis.tasks {
        let hash = crate::core::blob(task.initial_model.into());
        let path = home.initial_model_path(task.id);
        if blobs.contains(&hash) || !path.exists() {
            continue;
        }
        let file = tokio::fs::File::open(&path).await?;
        let len = file.metadata().await?.len();
        blobs.ingest(hash, len, file).await.map_err(|error| {
            Failure::new(
                Exit::Refused,
                format!(
                    "initial model {} of task {}: {error}",
                    path.display(),
                    task.id
                ),
                "the file must hold the model that genesis names; remove it to fetch it from peers",
            )
        })?;
    }
    Ok(())
}

fn plane_config(
    config: &NodeConfig,
    genesis: &Genesis,
    key: &cifer_chain::SecretKey,
    ledger: &Ledger,
) -> Result<cifer_dataplane::Config, Report> {
    let genesis_hash = *ledger.state().genesis_hash.as_bytes();
    let mut plane =
        cifer_dataplane::Config::new(genesis.chain_id.clone(), genesis_hash, *key.to_seed());
    plane.role = match config.role {
        Role::Validator => cifer_dataplane::Role::Validator,
        Role::Observer | Role::Contributor => cifer_dataplane::Role::Observer,
    };
    let parse = |address: &String| {
        address
            .parse::<Multiaddr>()
            .wrap_err_with(|| format!("address {address:?}"))
    };
    plane.listen = config
        .data
        .listen
        .iter()
        .map(parse)
        .collect::<Result<_, _>>()?;
    plane.allow_observers = genesis.allow_observers;
    plane.max_observers = config.data.max_peers;
    for validator in &genesis.validators {
        if validator.public_key != key.public_key() {
            plane.known_peers.push(KnownPeer {
                public_key: *validator.public_key.as_bytes(),
                addresses: validator
                    .data_addresses
                    .iter()
                    .map(parse)
                    .collect::<Result<_, _>>()?,
            });
        }
    }
    for peer in &config.data.peers {
        match peer.split_once('@') {
            Some((public_key, address)) => plane.known_peers.push(KnownPeer {
                public_key: *public_key.parse::<PublicKey>()?.as_bytes(),
                addresses: vec![address.parse()?],
            }),
            None => plane.bootstrap.push(peer.parse()?),
        }
    }
    Ok(plane)
}

fn engine_config(
    home: &Home,
    config: &NodeConfig,
    genesis: &Genesis,
    key: cifer_chain::SecretKey,
) -> Result<cifer_consensus::Config, Report> {
    let own = key.public_key();
    Ok(cifer_consensus::Config {
        moniker: config.name.clone(),
        chain_id: genesis.chain_id.clone(),
        genesis_hash: genesis.hash(),
        is_validator: genesis
            .validators
            .iter()
            .any(|validator| validator.public_key == own),
        key,
        home: home.consensus_dir(),
        listen: config.consensus.listen.clone(),
        peers: consensus_peers(config, genesis)?,
        params: genesis.consensus.clone(),
        max_block_bytes: genesis.limits.max_block_bytes,
        allow_observers: genesis.allow_observers,
    })
}

/// Where the validators' engines are: as genesis says, unless `consensus.peers` knows better.
fn consensus_peers(
    config: &NodeConfig,
    genesis: &Genesis,
) -> Result<Vec<(PublicKey, String)>, Report> {
    let mut peers: Vec<(PublicKey, String)> = genesis
        .validators
        .iter()
        .map(|validator| (validator.public_key, validator.consensus_address.clone()))
        .collect();
    for peer in &config.consensus.peers {
        let Some((key, address)) = peer.split_once('@') else {
            return Err(Failure::new(
                Exit::Refused,
                format!("consensus.peers: {peer:?} does not say whose address it is"),
                "write PUBLIC_KEY@MULTIADDRESS",
            )
            .into());
        };
        let key: PublicKey = key.parse()?;
        match peers.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = address.to_owned(),
            None => peers.push((key, address.to_owned())),
        }
    }
    Ok(peers)
}

/// Binds the API and the health endpoint; nothing is served before consensus runs.
async fn serve(
    config: &NodeConfig,
    node: &Node,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, Report> {
    let mut servers = Vec::new();
    let listener = bind(config.grpc.listen, "grpc.listen").await?;
    servers.push(grpc::spawn(listener, &config.grpc, node.clone(), stop.clone()).await?);
    if let Some(address) = config.http.listen {
        let listener = bind(address, "http.listen").await?;
        servers.push(tokio::spawn(http::serve(
            listener,
            node.clone(),
            stop.clone(),
        )));
    }
    Ok(servers)
}

async fn bind(address: std::net::SocketAddr, key: &str) -> Result<TcpListener, Report> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            Exit::Failure,
            format!("cannot listen on {address}: {error}"),
            format!("stop what uses the address, or choose another one with {key}"),
        )
        .into()
    })
}

/// Wakes consensus when a round's deadline passes, and sends again what waits too long.
async fn watch_deadlines(node: Node, stop: CancellationToken) {
    let mut committed = node.subscribe();
    let work = node.work();
    let mut resend = tokio::time::interval(RESEND);
    loop {
        let state = node.state();
        let due = state.next_deadline().map(|due| {
            Duration::from_millis(due.0.saturating_sub(now_ms().0)).max(Duration::from_millis(50))
        });
        tokio::select! {
            () = stop.cancelled() => return,
            _ = committed.recv() => {}
            () = async { match due {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            } } => Arc::as_ref(&work).notify_one(),
            _ = resend.tick() => node.resend_waiting(RESEND),
        }
    }
}
