//! How long large updates take: from the first byte at a gateway to the receipts, and a whole round of ten.
//!
//! `cargo run -p cifer-tests --example large_round [MB [CONTRIBUTORS [ROUNDS]]]` (default: 40 10 3), after
//! `cargo build --workspace`. Four validators and the contributors, each a process of its own. One
//! JSON object a line.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use cifer_chain::RoundId;
use cifer_client::PhaseView;
use cifer_tests::{Network, NotYet, TASK};
use serde_json::{Value, json};

const VALIDATORS: usize = 4;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|argument| {
        let number = argument.parse::<u64>();
        number.unwrap_or_else(|error| panic!("{argument:?} is no number: {error}"))
    });
    let size_mb = numbers.next().unwrap_or(40);
    let contributors = numbers.next().unwrap_or(10);
    let rounds = numbers.next().unwrap_or(3);
    println!("{}", measure("receipts", size_mb, 1, rounds).await);
    println!("{}", measure("round", size_mb, contributors, rounds).await);
}

/// Runs the rounds, and says how long the contributors and the rounds took.
async fn measure(event: &str, size_mb: u64, contributors: u64, rounds: u64) -> Value {
    let parameters = size_mb * 250_000;
    let mut network = generate(contributors, rounds).await;
    network.replace_model(parameters);
    let path = network.dir().join("update.bin");
    write_update(&path, parameters);
    network.start().await;
    let path = path.display().to_string();
    for index in 0..contributors as usize {
        network.contribute(index, &["--update-file", &path]);
    }
    let ended_ms = rounds_ended(&mut network, rounds).await;
    let mut submit_ms = Vec::new();
    for index in 0..contributors as usize {
        let lines = network.contributor_ended(index).await;
        let updates = lines.iter().filter(|line| line["event"] == "update");
        submit_ms.extend(updates.filter_map(|update| update["submit_ms"].as_f64()));
    }
    let peak_rss_mb: Vec<u64> = (0..VALIDATORS)
        .map(|node| peak_rss_mb(&network, node))
        .collect();
    network.stop().await;
    // The first round has the start of the processes in it.
    let mut round_ms: Vec<f64> = ended_ms
        .windows(2)
        .map(|pair| pair[1].abs_diff(pair[0]) as f64)
        .collect();
    json!({
        "event": event,
        "size_mb": size_mb,
        "contributors": contributors,
        "submit_ms_p50": median(&mut submit_ms),
        "round_ms_p50": median(&mut round_ms),
        "peak_rss_mb": peak_rss_mb,
    })
}

async fn generate(contributors: u64, rounds: u64) -> Network {
    let (contributors, rounds) = (contributors.to_string(), rounds.to_string());
    Network::generate(&[
        "--contributors",
        &contributors,
        "--rule",
        "fedavg",
        "--min-updates",
        &contributors,
        "--max-rounds",
        &rounds,
        "--deadline-ms",
        "3600000",
    ])
    .await
}

fn write_update(path: &Path, parameters: u64) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a file"));
    for i in 0..parameters {
        let value = (i % 1_000) as f32 / 1_000.0;
        file.write_all(&value.to_le_bytes()).expect("room on disk");
    }
    file.flush().expect("room on disk");
}

/// Block time at which each round ended.
async fn rounds_ended(network: &mut Network, rounds: u64) -> Vec<u64> {
    let client = network.client(&[0]);
    let mut ended_ms = Vec::new();
    for round in 0..rounds {
        let what = format!("the end of round {round}");
        let ended = network
            .until(&what, async || {
                let view = client.round(TASK, Some(RoundId(round))).await?;
                match (view.summary.phase, view.summary.ended_time_ms) {
                    (PhaseView::Finalised, Some(ended)) => Ok(ended.0),
                    _ => Err(NotYet::because(view.summary)),
                }
            })
            .await;
        ended_ms.push(ended);
    }
    ended_ms
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The most that a validator ever had resident, by the kernel's account.
fn peak_rss_mb(network: &Network, node: usize) -> u64 {
    let process = network.node(node).process.as_ref();
    let Some(id) = process.and_then(cifer_tests::Process::id) else {
        return 0;
    };
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| {
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    kib.unwrap_or_default() / 1_000
}
