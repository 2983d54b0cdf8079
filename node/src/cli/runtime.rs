//! Runs asynchronous work until it ends or somebody asks it to stop.

use std::future::Future;
use std::io::Read;
use std::time::Duration;

use eyre::WrapErr;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::note;
use cifer_node::error::Exit;

/// Time for threads that are still busy when the work is done.
const LINGER: Duration = Duration::from_secs(2);

/// Threads that asynchronous work runs on; blocking work has others.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Workers {
    /// The calling thread. For programs that wait most of the time: nothing is handed from thread to
    /// thread, and a devnet runs ten of them beside its nodes.
    One,
    /// One for each core.
    PerCore,
}

/// Runs short work that needs no signal handling: Ctrl-C just ends the process.
pub(crate) fn block_on<T>(work: impl Future<Output = eyre::Result<T>>) -> eyre::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .wrap_err("the asynchronous runtime cannot be started")?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(LINGER);
    result
}

/// Runs long work. SIGTERM, SIGINT and, if wanted, the end of standard input cancel the token, upon
/// which the work is expected to end cleanly; a second signal ends the process at once.
pub(crate) fn run_until_stopped<T, F>(
    exit_with_stdin: bool,
    workers: Workers,
    work: impl FnOnce(CancellationToken) -> F,
) -> eyre::Result<T>
where
    F: Future<Output = eyre::Result<T>>,
{
    let mut builder = match workers {
        Workers::One => tokio::runtime::Builder::new_current_thread(),
        Workers::PerCore => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .wrap_err("the asynchronous runtime cannot be started")?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(watch_signals(terminate, interrupt, stop.clone()));
        if exit_with_stdin {
            watch_stdin(stop.clone());
        }
        work(stop).await
    });
    runtime.shutdown_timeout(LINGER);
    result
}

async fn watch_signals(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken) {
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!(signal = name, "stopping; a second signal stops at once");
    stop.cancel();
    let name = next(&mut terminate, &mut interrupt).await;
    note(format_args!("{name} again: stopped without waiting"));
    std::process::exit(Exit::Failure as i32);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// A thread of its own, because a read from standard input cannot be cancelled: the runtime would
/// wait for it.
fn watch_stdin(stop: CancellationToken) {
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut buffer = [0; 256];
        while let Ok(1..) = stdin.read(&mut buffer) {}
        tracing::info!("standard input ended; stopping");
        stop.cancel();
    });
}
