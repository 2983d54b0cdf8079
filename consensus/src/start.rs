//! Starting an engine, and the handle to it.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_malachitebft_app_channel::{
    AppMsg, Channels, ConsensusContext, EngineBuilder, EngineHandle, NetworkContext,
    NetworkIdentity, RequestContext, Signer as _, SyncContext, WalContext,
    app::types::{Keypair, codec::Codec as _},
};
use cifer_genesis::{PublicKey, ValidatorId};
use tokio::{
    sync::{Notify, oneshot, watch},
    task::JoinHandle,
};

use crate::{
    adapter::{Adapter, Settings},
    api::{Application, Config, Phase, Status},
    codec::BorshCodec,
    context::{Cifer, EngineAddress},
    error::Error,
    handlers,
    last_signed::LastSigned,
    network::{EngineConfig, watch_peers},
    run::{Sources, run},
    signing::{CiferSigner, CiferVerifier, SharedSigner},
    verified::Verified,
};

/// File name of the write-ahead log under the consensus home.
const WAL_FILE: &str = "consensus.wal";
/// A socket is bound in microseconds or not at all.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests to the engine that wait: the peers' list, one at a time.
pub(crate) const REQUESTS: usize = 8;

/// A running engine. Dropping it stops the engine without waiting for it.
#[derive(Debug)]
pub struct Handle {
    status: watch::Receiver<Status>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
    ended: bool,
}

impl Handle {
    /// What the engine is doing, now and as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the engine ends. Does not end after a failure of the write-ahead log: see
    /// [`Status::safety_failure`]. May be cancelled and called again.
    ///
    /// # Errors
    /// Whatever ended it, the first time.
    pub async fn wait(&mut self) -> Result<(), Error> {
        if self.ended {
            return Ok(());
        }
        let result = (&mut self.task).await;
        self.ended = true;
        result.unwrap_or_else(|error| Err(Error::Stopped(error.to_string())))
    }

    /// Stops the engine and waits until its files and sockets are released.
    ///
    /// # Errors
    /// A failure that came first.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        if let Some(stop) = self.stop.take() {
            // Fails only when the engine has ended already.
            let _ = stop.send(());
        }
        self.wait().await
    }
}

/// Starts an engine on `app` and returns when it listens. Notify `work` (with `notify_one`) whenever
/// [`Application::has_work`] may have become true.
///
/// # Errors
/// See [`Error`]; nothing is left running.
pub async fn start<A: Application>(
    config: Config,
    app: A,
    work: Arc<Notify>,
) -> Result<Handle, Error> {
    start_erased(config, Box::new(app), work).await
}

/// Neither generic nor async: the engine is compiled here once, and not again in every crate that
/// starts one.
#[inline(never)]
fn start_erased(
    config: Config,
    app: Box<dyn Application>,
    work: Arc<Notify>,
) -> Pin<Box<dyn Future<Output = Result<Handle, Error>> + Send>> {
    Box::pin(start_engine(config, app, work))
}

async fn start_engine(
    config: Config,
    app: Box<dyn Application>,
    work: Arc<Notify>,
) -> Result<Handle, Error> {
    check_role(&config, &app)?;
    let materials = prepare(&config).await?;
    let signer = materials.signer.clone();
    let built = EngineBuilder::new(Cifer, materials.engine)
        .with_default_wal(wal_context(&config))
        .with_default_network(NetworkContext::new(materials.identity, BorshCodec))
        .with_default_sync(SyncContext::new(BorshCodec))
        .with_default_consensus(materials.consensus)
        .with_default_request(RequestContext::new(REQUESTS))
        .build()
        .await
        .map_err(|error| Error::Engine(format!("{error:#}")))?;
    launch(config, app, work, signer, built).await
}

/// What an engine is built from.
pub(crate) struct Materials {
    pub(crate) engine: EngineConfig,
    pub(crate) identity: NetworkIdentity,
    pub(crate) consensus: ConsensusContext<Cifer>,
    pub(crate) signer: Option<Arc<CiferSigner>>,
}

/// Checks a configuration and opens what it names.
pub(crate) async fn prepare(config: &Config) -> Result<Materials, Error> {
    let engine = EngineConfig::new(config)?;
    let key = config.key.public_key();
    let verified = Arc::new(Verified::default());
    let signer = open_signer(config, key, &verified)?;
    Ok(Materials {
        engine,
        identity: identity(config, key, signer.as_ref()).await?,
        consensus: consensus_context(config, key, signer.as_ref(), verified),
        signer,
    })
}

pub(crate) fn wal_context(config: &Config) -> WalContext<BorshCodec> {
    WalContext::new(config.home.join(WAL_FILE), BorshCodec)
}

/// Serves a built engine, once it listens.
pub(crate) async fn launch(
    config: Config,
    app: Box<dyn Application>,
    work: Arc<Notify>,
    signer: Option<Arc<CiferSigner>>,
    (mut channels, engine): (Channels<Cifer>, EngineHandle),
) -> Result<Handle, Error> {
    let (status, status_receiver) = watch::channel(initial_status(&app));
    let (starting, starting_receiver) = watch::channel(true);
    let (peers, peers_receiver) = watch::channel(Vec::new());
    let (stop, stop_receiver) = oneshot::channel();
    let settings = Settings {
        chain_id: config.chain_id.as_str().into(),
        own: ValidatorId(config.key.public_key()),
        params: config.params.clone(),
        max_block_bytes: config.max_block_bytes,
        signer,
    };
    let mut adapter = Adapter::new(
        app,
        settings,
        channels.network,
        status,
        starting,
        Instant::now(),
    );
    // The first message says that the engine listens. It says nothing at all when it cannot.
    let first = tokio::time::timeout(LISTEN_TIMEOUT, channels.consensus.recv()).await;
    let begun = match first {
        Ok(Some(first)) => begin(&mut adapter, first).await,
        _ => Err(Error::Listen {
            address: config.listen,
        }),
    };
    if let Err(error) = begun {
        adapter.abandon("not started");
        drop(channels.consensus);
        engine
            .actor
            .stop_children_and_wait(None, Some(LISTEN_TIMEOUT))
            .await;
        engine.actor.stop(None);
        return Err(error);
    }
    tokio::spawn(watch_peers(channels.net_requests, peers, starting_receiver));
    let sources = Sources {
        messages: channels.consensus,
        engine,
        peers: peers_receiver,
        work,
        stop: stop_receiver,
    };
    let task = tokio::spawn(run(adapter, sources));
    Ok(Handle {
        status: status_receiver,
        stop: Some(stop),
        task,
        ended: false,
    })
}

async fn begin<A: Application>(
    adapter: &mut Adapter<A>,
    first: AppMsg<Cifer>,
) -> Result<(), Error> {
    handlers::dispatch(adapter, first).await?;
    // A lone validator has its quorum without peers.
    adapter.peers_changed(&[], Instant::now())?;
    Ok(())
}

fn initial_status<A: Application>(app: &A) -> Status {
    let tip = app.tip();
    Status {
        tip,
        height: tip.next().unwrap_or(tip),
        round: None,
        proposer: None,
        phase: Phase::Starting,
        peers: Vec::new(),
        signatures_refused: 0,
        last_error: None,
        safety_failure: false,
    }
}

/// A node that does not vote must not have a seat: the engine would ask it to sign.
fn check_role<A: Application>(config: &Config, app: &A) -> Result<(), Error> {
    let key = config.key.public_key();
    let invalid = |field, reason: String| Err(Error::Config { field, reason });
    let Some(next) = app.tip().next() else {
        return invalid("tip", "the chain is at the last height".into());
    };
    let Some(validators) = app.validators(next) else {
        return invalid("validators", format!("none known for height {next}"));
    };
    let has_seat = validators.power_of(&ValidatorId(key)).is_some();
    if has_seat && !config.is_validator {
        return invalid("is_validator", format!("false, but key {key} has a seat"));
    }
    Ok(())
}

fn open_signer(
    config: &Config,
    key: PublicKey,
    verified: &Arc<Verified>,
) -> Result<Option<Arc<CiferSigner>>, Error> {
    if !config.is_validator {
        return Ok(None);
    }
    let record = LastSigned::open(&config.home, config.genesis_hash, key)?;
    let signer = CiferSigner::new(
        config.key.clone(),
        &config.chain_id,
        record,
        verified.clone(),
    );
    Ok(Some(Arc::new(signer)))
}

/// The network identity is the consensus key, so that a peer id names a validator; validators also prove it
/// in the way the engine knows.
async fn identity(
    config: &Config,
    key: PublicKey,
    signer: Option<&Arc<CiferSigner>>,
) -> Result<NetworkIdentity, Error> {
    let engine_error = |error: String| Error::Engine(error);
    let keypair = Keypair::ed25519_from_bytes(*config.key.to_seed())
        .map_err(|error| engine_error(error.to_string()))?;
    let moniker = config.moniker.clone();
    let Some(signer) = signer else {
        return Ok(NetworkIdentity::new(moniker, keypair, None));
    };
    let peer_id = keypair.public().to_peer_id().to_bytes();
    let proof = SharedSigner(signer.clone())
        .sign_validator_proof(key.as_bytes().to_vec(), peer_id)
        .await
        .map_err(|error| engine_error(error.to_string()))?;
    let proof = BorshCodec
        .encode(&proof)
        .map_err(|error| engine_error(error.to_string()))?;
    Ok(NetworkIdentity::new_validator(
        moniker,
        keypair,
        key.to_string(),
        proof,
    ))
}

fn consensus_context(
    config: &Config,
    key: PublicKey,
    signer: Option<&Arc<CiferSigner>>,
    verified: Arc<Verified>,
) -> ConsensusContext<Cifer> {
    let address = EngineAddress(ValidatorId(key));
    let verifier = Box::new(CiferVerifier::new(&config.chain_id, verified));
    match signer {
        Some(signer) => ConsensusContext::new_validator(
            address,
            verifier,
            Box::new(SharedSigner(signer.clone())),
        ),
        None => ConsensusContext::new_full_node(address, verifier),
    }
}
