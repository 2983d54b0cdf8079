//! A whole network on one machine: the real binary in separate processes, real keys, real data.
//!
//! - [`options`]: what a run consists of, and the numbers that have to hold before it starts.
//! - [`processes`]: generates the network with the binary and runs its nodes and contributors.
//! - [`watch`]: follows the chain through the public API and turns finished rounds into [`Row`]s.
//! - [`reference`]: what plain FedAvg reaches on the same data under the same attack.
//! - [`verdict`]: whether all nodes ended with the same block, state and model.
//! - [`report`]: the table for people, JSON lines for programs.
//!
//! Invariants: nothing here takes a short cut into a node; what is shown was read over gRPC and
//! verified against genesis. Every process ends with the run, also when the run is killed.

pub mod options;
mod processes;
mod reference;
mod report;
mod stats;
mod verdict;
mod watch;

use std::time::{Duration, Instant};

use cifer_chain::TaskId;
use cifer_client::ClientError;
use tokio_util::sync::CancellationToken;

pub use options::{DevnetOptions, Output};
pub use report::{NodeSummary, Row, Summary};

/// The one task of a devnet.
const TASK: TaskId = TaskId(0);
/// Time for all nodes to answer after they were started.
const STARTUP: Duration = Duration::from_secs(60);

/// Why a devnet did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum DevnetError {
    /// The options contradict each other.
    #[error("{0}")]
    Options(String),
    /// The file system.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A process did not do its part.
    #[error("{name} {problem}; its log is {log}")]
    Process {
        /// Which.
        name: String,
        /// What happened.
        problem: String,
        /// Where to look.
        log: String,
    },
    /// The network could not be queried.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The data set or the trainers.
    #[error(transparent)]
    Training(#[from] cifer_training::TrainingError),
    /// An attack that cannot be made.
    #[error(transparent)]
    Attack(#[from] cifer_aggregation::AttackError),
    /// The reference run.
    #[error(transparent)]
    Aggregation(#[from] cifer_aggregation::AggregationError),
    /// Genesis as the binary generated it.
    #[error("genesis: {0}")]
    Genesis(String),
    /// Ctrl-C.
    #[error("stopped before the last round")]
    Cancelled,
}

/// Runs a devnet to its end and says how it ended. Prints as it goes.
///
/// # Errors
/// See [`DevnetError`].
pub async fn run(options: DevnetOptions, stop: CancellationToken) -> Result<Summary, DevnetError> {
    options.check()?;
    let started = Instant::now();
    let task = cifer_training::FederatedTask::new(options.task_spec())?;
    let mut printer = report::Printer::new(&options);
    let layout = processes::Layout::generate(&options).await?;
    printer.header(&layout);
    let mut network = processes::Network::start(&options, layout)?;

    let watched = tokio::select! {
        () = stop.cancelled() => Err(DevnetError::Cancelled),
        result = watch::rounds(&options, &mut network, &task, &mut printer) => result,
    };
    let reference_options = options.clone();
    let summary = match watched {
        Ok(rounds) => {
            let reference = tokio::task::spawn_blocking(move || {
                reference::fedavg_under_attack(&reference_options, &task)
            })
            .await
            .map_err(|error| DevnetError::Options(error.to_string()))??;
            verdict::conclude(&network, rounds, reference, started.elapsed()).await
        }
        Err(error) => Err(error),
    };
    network.stop().await;
    let summary = summary?;
    printer.summary(&summary);
    Ok(summary)
}
