//! Updates far larger than a message: they pass through a network whose validators hold them on
//! disk and never in memory.

use std::{
    io::{BufWriter, Write},
    path::Path,
};

use cifer_chain::RoundId;
use cifer_client::{Client, ModelBytes, ModelSelector, ModelTarget, PhaseView};
use cifer_tests::{Network, NotYet, TASK};

/// Most resident memory of a validator, in bytes.
const MAX_RSS_BYTES: u64 = 300_000_000;
/// Rounds; in the second one there is a model to keep beside the updates.
const ROUNDS: u64 = 2;
/// The parameters of an update repeat after so many.
const PERIOD: u64 = 1_000;

/// Parameter `i` of contributor `k`: small integers, so that sums are exact.
fn parameter(i: u64, k: usize) -> f32 {
    (i % PERIOD) as f32 + k as f32
}

fn write_update(path: &Path, parameters: u64, contributor: usize) {
    let mut file = BufWriter::new(std::fs::File::create(path).unwrap());
    for i in 0..parameters {
        file.write_all(&parameter(i, contributor).to_le_bytes())
            .unwrap();
    }
    file.flush().unwrap();
}

/// Keeps the largest resident memory that each validator has said.
async fn watch(clients: &[Client], largest: &mut [u64]) {
    for (client, largest) in clients.iter().zip(largest) {
        if let Ok(status) = client.status().await {
            *largest = status.rss_bytes.max(*largest);
        }
    }
}

async fn large_update(parameters: u64) {
    let rounds = ROUNDS.to_string();
    let mut network = Network::generate(&[
        "--contributors",
        "2",
        "--rule",
        "fedavg",
        "--min-updates",
        "2",
        "--max-rounds",
        &rounds,
        "--deadline-ms",
        "3600000",
    ])
    .await;
    network.replace_model(parameters);
    let files = [0, 1].map(|index| network.dir().join(format!("update-{index}.bin")));
    for (index, path) in files.iter().enumerate() {
        write_update(path, parameters, index);
    }
    network.start().await;
    for (index, path) in files.iter().enumerate() {
        network.contribute(index, &["--update-file", path.to_str().unwrap()]);
    }
    let clients: Vec<Client> = (0..4).map(|node| network.client(&[node])).collect();
    let mut largest = vec![0; 4];
    for round in 0..ROUNDS {
        let what = format!("the end of round {round}");
        let ended = network
            .until(&what, async || {
                watch(&clients, &mut largest).await;
                let view = clients[0].round(TASK, Some(RoundId(round))).await?;
                let ended = view.summary.phase == PhaseView::Finalised;
                ended.then_some(view).ok_or_else(|| NotYet::because("open"))
            })
            .await;
        assert_eq!(ended.updates.len(), 2, "{ended:?}");
    }
    network.agree(0).await;
    let path = network.dir().join("model.bin");
    for node in [0, 3] {
        let target = ModelTarget::File(path.clone());
        let model = network
            .until("the model", async || {
                watch(&clients, &mut largest).await;
                let last = ModelSelector::Round(RoundId(ROUNDS - 1));
                Ok(clients[node]
                    .fetch_model(TASK, last, target.clone())
                    .await?)
            })
            .await;
        assert_eq!(model.length_bytes, parameters * 4);
        assert_eq!(model.bytes, ModelBytes::File(path.clone()));
    }
    check_model(&path, parameters);
    #[cfg(target_os = "linux")]
    for (node, largest) in largest.iter_mut().enumerate() {
        assert!(*largest > 0, "validator-{node} says that it holds nothing");
        let process = network.node(node).process.as_ref();
        let peak = process.map(cifer_tests::Process::peak_rss_bytes);
        *largest = peak.expect("a running node").max(*largest);
    }
    eprintln!("largest resident memory of each validator, in bytes: {largest:?}");
    for (node, rss) in largest.into_iter().enumerate() {
        assert!(
            (1..MAX_RSS_BYTES).contains(&rss),
            "validator-{node} held {rss} bytes"
        );
    }
    network.stop().await;
}

/// The model is the mean of both updates, once for each round.
fn check_model(path: &Path, parameters: u64) {
    let bytes = std::fs::read(path).unwrap();
    let (values, rest) = bytes.as_chunks::<4>();
    assert_eq!((values.len() as u64, rest.len()), (parameters, 0));
    for (i, value) in (0..).zip(values) {
        let mean = (parameter(i, 0) + parameter(i, 1)) / 2.0;
        assert_eq!(
            f32::from_le_bytes(*value),
            mean * ROUNDS as f32,
            "parameter {i}"
        );
    }
}

#[tokio::test]
async fn forty_megabytes_pass_through_small_validators() {
    large_update(10_000_000).await;
}

/// `cargo nextest run -p cifer-tests --run-ignored only`: minutes, and 6 GB of disk.
#[ignore = "400 MB updates take minutes"]
#[tokio::test]
async fn four_hundred_megabytes_pass_through_small_validators() {
    large_update(100_000_000).await;
}
