//! The loop that serves the engine until it is told to stop or something fails.

use std::time::{Duration, Instant};

use arc_malachitebft_app_channel::{AppMsg, EngineHandle};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    adapter::Adapter,
    api::{Application, Fatal, Phase},
    context::Cifer,
    error::Error,
    handlers,
    network::RawPeer,
};

/// How long the engine's actors may take to stop before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// After its channel closed, how long an engine may take to be gone. One that is not is held on purpose.
const GONE_TIMEOUT: Duration = Duration::from_secs(2);
/// The write-ahead log's thread releases its file shortly after its actor stopped.
const WAL_RELEASE: Duration = Duration::from_millis(50);

/// What the loop listens to.
pub(crate) struct Sources {
    pub(crate) messages: mpsc::Receiver<AppMsg<Cifer>>,
    pub(crate) engine: EngineHandle,
    pub(crate) peers: watch::Receiver<Vec<RawPeer>>,
    pub(crate) work: Arc<Notify>,
    pub(crate) stop: oneshot::Receiver<()>,
}

enum End {
    Stop,
    Fatal(Fatal),
    EngineClosed,
}

/// Serves the engine to its end.
pub(crate) async fn run<A: Application>(
    mut adapter: Adapter<A>,
    mut sources: Sources,
) -> Result<(), Error> {
    let end = serve(&mut adapter, &mut sources).await;
    adapter.abandon("stopping");
    sources.messages.close();
    match end {
        End::Stop => {
            stop(sources).await;
            adapter.show(Phase::Halted, None);
            info!("consensus stopped");
            Ok(())
        }
        End::Fatal(fatal) => {
            error!(%fatal, "consensus halts");
            adapter.report(fatal.to_string());
            stop(sources).await;
            adapter.show(Phase::Halted, None);
            Err(fatal.into())
        }
        End::EngineClosed => {
            adapter.show(Phase::Halted, None);
            closed(&mut adapter, sources).await
        }
    }
}

async fn serve<A: Application>(adapter: &mut Adapter<A>, sources: &mut Sources) -> End {
    let mut has_peers = true;
    loop {
        let next = match adapter.tick(Instant::now()).await {
            Ok(next) => next,
            Err(fatal) => return End::Fatal(fatal),
        };
        let result = tokio::select! {
            biased;
            _ = &mut sources.stop => return End::Stop,
            message = sources.messages.recv() => match message {
                Some(message) => handlers::dispatch(adapter, message).await,
                None => return End::EngineClosed,
            },
            changed = sources.peers.changed(), if has_peers => {
                has_peers = changed.is_ok();
                let peers = sources.peers.borrow_and_update().clone();
                adapter.peers_changed(&peers, Instant::now())
            }
            // A notification while a height is being decided is not needed: its end asks again.
            () = sources.work.notified(), if adapter.waiting.is_some() => Ok(()),
            () = sleep_until(next) => Ok(()),
        };
        if let Err(fatal) = result {
            return End::Fatal(fatal);
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Stops the engine's actors, the network and the log among them, then their supervisor.
async fn stop(mut sources: Sources) {
    // Dropping what is queued makes the actors that wait for an answer give up.
    while sources.messages.try_recv().is_ok() {}
    drop(sources.messages);
    let engine = sources.engine;
    let reason = || Some("shutdown".to_owned());
    engine
        .actor
        .stop_children_and_wait(reason(), Some(STOP_TIMEOUT))
        .await;
    engine.actor.stop(reason());
    if tokio::time::timeout(STOP_TIMEOUT, engine.handle)
        .await
        .is_err()
    {
        warn!("the engine did not stop in time");
    }
    tokio::time::sleep(WAL_RELEASE).await;
}

/// The engine ended by itself. After a failure of its write-ahead log it stops its actors and stays, so that
/// nothing restarts it: a message it signed may be missing from the log.
async fn closed<A: Application>(adapter: &mut Adapter<A>, sources: Sources) -> Result<(), Error> {
    let Sources {
        engine,
        stop: stop_signal,
        ..
    } = sources;
    let EngineHandle { actor, handle } = engine;
    if tokio::time::timeout(GONE_TIMEOUT, handle).await.is_ok() {
        let reason = "one of its actors failed; see the log";
        adapter.report(reason.to_owned());
        return Err(Error::Stopped(reason.to_owned()));
    }
    error!("the write-ahead log failed: consensus is halted for inspection, do not just restart");
    adapter.report("the write-ahead log failed; see the log, and do not just restart".to_owned());
    adapter
        .status
        .send_modify(|status| status.safety_failure = true);
    // Wait to be shut down by a person; a dropped handle counts as one.
    let _ = stop_signal.await;
    actor.stop(None);
    Ok(())
}
