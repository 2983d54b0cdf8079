//! How long large updates take: from SubmitUpdate to the receipts of more than two thirds, and a whole round.
//!
//! `cargo run -p cifer-tests --example large_round [--private] [MB [CONTRIBUTORS [RUNS]]]` (default: 40 10 3), after
//! `cargo build --workspace`. Four validators and the contributors, each a process of its own. One
//! JSON object a line. With `--private` updates are encrypted, in groups of three, and MB is their size in the clear.
//!
//! Every run is a network of its own with one round, and every contributor has other bytes: a payload
//! that a validator holds already is not sent again, and would measure nothing. The time of a round begins
//! with the start of the contributors' processes, so it is a little too long.

use std::{
    io::{BufWriter, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use cifer_chain::RoundId;
use cifer_client::PhaseView;
use cifer_tests::{Network, NotYet, TASK};
use serde_json::json;

const VALIDATORS: usize = 4;

#[tokio::main]
async fn main() {
    let (flags, numbers): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|argument| argument == "--private");
    let private = !flags.is_empty();
    let mut numbers = numbers.into_iter().map(|argument| {
        let number = argument.parse::<u64>();
        number.unwrap_or_else(|error| panic!("{argument:?} is no number: {error}"))
    });
    let size_mb = numbers.next().unwrap_or(40);
    let contributors = numbers.next().unwrap_or(10);
    let runs = numbers.next().unwrap_or(3);
    // Alone there is nobody to hide among.
    let alone = (!private).then_some(1);
    for contributors in alone.into_iter().chain([contributors]) {
        let mut measured = Measured::default();
        for _ in 0..runs {
            let network = generate(contributors, private).await;
            measured.run(network, size_mb * 250_000, contributors).await;
        }
        let line = json!({
            "event": "large-round",
            "size_mb": size_mb,
            "contributors": contributors,
            "private": private,
            "submit_ms_p50": median(&mut measured.submit_ms),
            "round_ms_p50": median(&mut measured.round_ms),
            "peak_rss_mb": measured.peak_rss_mb,
        });
        println!("{line}");
    }
}

#[derive(Default)]
struct Measured {
    submit_ms: Vec<f64>,
    round_ms: Vec<f64>,
    peak_rss_mb: u64,
}

impl Measured {
    async fn run(&mut self, mut network: Network, parameters: u64, contributors: u64) {
        network.replace_model(parameters);
        let paths: Vec<_> = (0..contributors)
            .map(|index| network.dir().join(format!("update-{index}.bin")))
            .collect();
        for (path, contributor) in paths.iter().zip(1..) {
            write_update(path, parameters, contributor);
        }
        network.start().await;
        let start_ms = now_ms();
        for (index, path) in paths.iter().enumerate() {
            network.contribute(index, &["--update-file", &path.display().to_string()]);
        }
        let ended_ms = round_ended(&mut network).await;
        self.round_ms.push(ended_ms.saturating_sub(start_ms) as f64);
        for index in 0..paths.len() {
            let lines = network.contributor_ended(index).await;
            let updates = lines.iter().filter(|line| line["event"] == "update");
            let times = updates.filter_map(|update| update["submit_ms"].as_f64());
            self.submit_ms.extend(times);
        }
        for node in 0..VALIDATORS {
            let process = network.node(node).process.as_ref();
            let peak = process.map_or(0, cifer_tests::Process::peak_rss_bytes);
            self.peak_rss_mb = self.peak_rss_mb.max(peak / 1_000_000);
        }
        network.stop().await;
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

async fn generate(contributors: u64, private: bool) -> Network {
    let contributors = contributors.to_string();
    let mut arguments = vec![
        "--contributors",
        &contributors,
        "--min-updates",
        &contributors,
    ];
    arguments.extend(["--max-rounds", "1", "--deadline-ms", "3600000"]);
    if private {
        arguments.extend(["--private", "--clip", "1", "--rule", "trimmed-mean"]);
    } else {
        arguments.extend(["--rule", "fedavg"]);
    }
    Network::generate(&arguments).await
}

fn write_update(path: &Path, parameters: u64, contributor: u64) {
    let mut file = BufWriter::new(std::fs::File::create(path).expect("a file"));
    for i in 0..parameters {
        let value = (i * contributor % 1_009) as f32 / 1_009.0;
        file.write_all(&value.to_le_bytes()).expect("room on disk");
    }
    file.flush().expect("room on disk");
}

/// Block time at which the round ended.
async fn round_ended(network: &mut Network) -> u64 {
    let client = network.client(&[0]);
    network
        .until("the end of the round", async || {
            let view = client.round(TASK, Some(RoundId(0))).await?;
            match (view.summary.phase, view.summary.ended_time_ms) {
                (PhaseView::Finalised, Some(ended)) => Ok(ended.0),
                _ => Err(NotYet::because(view.summary)),
            }
        })
        .await
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
