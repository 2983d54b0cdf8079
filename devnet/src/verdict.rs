//! The end of a run: all nodes are compared at one height.

use std::time::{Duration, Instant};

use cifer_chain::Height;
use cifer_client::{BlockSelector, Client, GatewayOptions, Gateways, Network as Trust};

use crate::{
    DevnetError, TASK,
    processes::Network,
    report::{NodeSummary, Summary},
    stats::percentile,
    watch::{Watched, millis},
};

/// Time for the slowest node to reach the height of the last round.
const CATCH_UP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// Asks every node for the same block and the last round's model, and compares.
pub(crate) async fn conclude(
    network: &Network,
    watched: Watched,
    fedavg_accuracy: f64,
    wall: Duration,
) -> Result<Summary, DevnetError> {
    let height = Height(watched.rows.last().map_or(0, |row| row.height));
    let mut nodes = Vec::new();
    for (name, url) in &network.layout.nodes {
        nodes.push(summarise(network, name, url, height).await?);
    }
    let same = |field: fn(&NodeSummary) -> &str| {
        nodes
            .windows(2)
            .all(|pair| field(&pair[0]) == field(&pair[1]))
    };
    let roots_agree = same(|n| &n.block_hash) && same(|n| &n.state_root) && same(|n| &n.model_root);
    let intervals: Vec<f64> = watched
        .block_times_ms
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]) as f64)
        .collect();
    // The first round includes the start of the contributors.
    let overheads: Vec<f64> = watched
        .rows
        .iter()
        .skip(1)
        .map(|row| (row.wall_ms - row.train_ms).max(0.0))
        .collect();
    Ok(Summary {
        final_accuracy: watched.rows.last().map_or(0.0, |row| row.accuracy),
        fedavg_accuracy,
        roots_agree,
        rounds: watched.rows.len() as u64,
        wall_ms: millis(wall),
        block_interval_ms_p50: percentile(&intervals, 50),
        block_interval_ms_p95: percentile(&intervals, 95),
        round_overhead_ms_p50: percentile(&overheads, 50),
        round_overhead_ms_p95: percentile(&overheads, 95),
        nodes,
    })
}

async fn summarise(
    network: &Network,
    name: &str,
    url: &str,
    height: Height,
) -> Result<NodeSummary, DevnetError> {
    let client = Client::new(
        Trust::new(network.layout.genesis.clone())?,
        Gateways::new(&[url.to_owned()], GatewayOptions::default())?,
    );
    let deadline = Instant::now() + CATCH_UP;
    let status = loop {
        let status = client.status().await?;
        if status.height >= height || Instant::now() >= deadline {
            break status;
        }
        tokio::time::sleep(POLL).await;
    };
    let block = client.block(BlockSelector::Height(height)).await?;
    let tasks = client.tasks().await?;
    let model_root = tasks
        .into_iter()
        .find(|task| task.task == TASK)
        .map(|task| task.model_root.to_string())
        .unwrap_or_default();
    Ok(NodeSummary {
        name: name.to_owned(),
        height: height.0,
        block_hash: block.hash.to_string(),
        state_root: block.state_root.to_string(),
        model_root,
        rss_mb: status.rss_bytes as f64 / 1e6,
    })
}
