//! Follows the chain through the public API and turns finished rounds into rows. Models are
//! downloaded and verified like anybody would, and scored on data that no contributor has.

use std::time::{Duration, Instant};

use cifer_chain::RoundId;
use cifer_client::{ChainEventKind, ModelSelector, ModelTarget, RoundTransitionView};
use cifer_training::FederatedTask;

use crate::{
    DevnetError, DevnetOptions, STARTUP, TASK,
    processes::Network,
    report::{Printer, Row},
};

/// How often nodes are asked whether they are up, while the network starts.
const STARTUP_POLL: Duration = Duration::from_millis(100);
/// How often it is looked whether all processes live.
const LIVENESS: Duration = Duration::from_millis(500);

/// What was seen.
pub(crate) struct Watched {
    pub(crate) rows: Vec<Row>,
    /// Block times in milliseconds, in order.
    pub(crate) block_times_ms: Vec<u64>,
}

/// Runs the network until its task is complete.
pub(crate) async fn rounds(
    options: &DevnetOptions,
    network: &mut Network,
    task: &FederatedTask,
    printer: &mut Printer,
) -> Result<Watched, DevnetError> {
    wait_until_up(network).await?;
    let mut events = network.client.events(None, &[TASK]);
    network.start_contributors(options)?;
    let mut watched = Watched {
        rows: Vec::new(),
        block_times_ms: Vec::new(),
    };
    let mut last = Instant::now();
    let mut liveness = tokio::time::interval(LIVENESS);
    while (watched.rows.len() as u64) < options.rounds {
        let event = tokio::select! {
            _ = liveness.tick() => {
                network.check()?;
                continue;
            }
            event = events.next() => event?,
        };
        match event.kind {
            ChainEventKind::Block { .. } => watched.block_times_ms.push(event.time_ms.0),
            ChainEventKind::Round {
                round,
                transition,
                model_root,
                accepted,
                rejected,
                ..
            } => {
                let aborted = transition == RoundTransitionView::Aborted;
                if !aborted && transition != RoundTransitionView::Finalised {
                    continue;
                }
                let wall_ms = millis(last.elapsed());
                last = Instant::now();
                let accuracy = score(network, task, round, aborted).await?;
                let row = Row {
                    round: round.0,
                    height: event.height.0,
                    model_root: model_root.to_string(),
                    accuracy,
                    accepted: usize::try_from(accepted).unwrap_or(usize::MAX),
                    rejected: usize::try_from(rejected).unwrap_or(usize::MAX),
                    aborted,
                    wall_ms,
                    train_ms: network.times.of(round.0),
                };
                printer.row(&row);
                watched.rows.push(row);
            }
        }
    }
    Ok(watched)
}

/// Waits for every node to answer.
async fn wait_until_up(network: &mut Network) -> Result<(), DevnetError> {
    let deadline = Instant::now() + STARTUP;
    let urls: Vec<String> = network
        .layout
        .nodes
        .iter()
        .map(|(_, url)| url.clone())
        .collect();
    for url in urls {
        loop {
            network.check()?;
            match network.client.status_of(&url).await {
                Ok(_) => break,
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => tokio::time::sleep(STARTUP_POLL).await,
            }
        }
    }
    Ok(())
}

/// Accuracy of the model that a round ended with.
async fn score(
    network: &Network,
    task: &FederatedTask,
    round: RoundId,
    aborted: bool,
) -> Result<f64, DevnetError> {
    let selector = if aborted {
        ModelSelector::Newest
    } else {
        ModelSelector::Round(round)
    };
    let model = network
        .client
        .fetch_model(TASK, selector, ModelTarget::Memory)
        .await?;
    Ok(task.evaluate(&model.parameters()?)?.accuracy)
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
