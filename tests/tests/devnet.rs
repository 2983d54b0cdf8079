//! `cifer devnet`: a whole network with one command, learning or failing to, and nothing left behind.

use std::time::{Duration, Instant};

use cifer_tests::{LOOK_AGAIN, PATIENCE, Process, json_lines, run};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Runs a devnet and gives its rounds and its summary.
async fn devnet(arguments: &[&str]) -> (Vec<Value>, Value) {
    let mut all = vec!["devnet", "--output", "json"];
    all.extend(arguments);
    let answer = run(&all).await;
    let complaint = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(
        answer.status.success(),
        "cifer {all:?} ended with {}: {complaint}",
        answer.status
    );
    let mut lines = json_lines(&answer.stdout);
    let summary = lines.pop().expect("a summary");
    assert_eq!(summary["event"], "summary", "the last line");
    for (index, round) in lines.iter().enumerate() {
        assert_eq!(round["event"], "round", "{round}");
        assert_eq!(round["round"], index, "{round}");
        assert_eq!(round["aborted"], false, "{round}");
    }
    (lines, summary)
}

fn number(object: &Value, field: &str) -> f64 {
    object[field]
        .as_f64()
        .unwrap_or_else(|| panic!("{field} of {object}"))
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} of {object}"))
}

#[tokio::test]
async fn four_nodes_end_with_the_same_model() {
    let (rounds, summary) = devnet(&["--rounds", "3"]).await;
    assert_eq!(rounds.len(), 3);
    for pair in rounds.windows(2) {
        assert!(
            number(&pair[1], "height") > number(&pair[0], "height"),
            "{pair:?}"
        );
        assert_ne!(pair[0]["model_root"], pair[1]["model_root"]);
    }
    for round in &rounds {
        assert_eq!(round["accepted"], 10, "{round}");
        assert_eq!(round["rejected"], 0, "{round}");
        assert!(number(round, "wall_ms") > 0.0);
        assert!((0.0..=1.0).contains(&number(round, "accuracy")), "{round}");
    }
    assert_eq!(summary["roots_agree"], true);
    assert_eq!(summary["rounds"], 3);
    assert_eq!(
        number(&summary, "final_accuracy"),
        number(&rounds[2], "accuracy")
    );
    for field in [
        "block_interval_ms_p50",
        "block_interval_ms_p95",
        "round_overhead_ms_p50",
    ] {
        assert!(number(&summary, field) >= 0.0, "{field}");
    }
    let nodes = summary["nodes"].as_array().expect("the nodes");
    assert_eq!(nodes.len(), 4);
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(node["name"], format!("validator-{index}"));
        assert_eq!(node["model_root"], rounds[2]["model_root"], "{node}");
        for field in ["height", "block_hash", "state_root"] {
            assert_eq!(node[field], nodes[0][field], "{field} of {node}");
        }
        for field in ["block_hash", "state_root", "model_root"] {
            assert_eq!(text(node, field).len(), 64, "{field} of {node}");
        }
        assert!(number(node, "rss_mb") > 0.0, "{node}");
    }
}

#[tokio::test]
async fn updates_that_are_not_numbers_are_rejected() {
    let (rounds, summary) = devnet(&["--rounds", "3", "--attack", "nan"]).await;
    assert_eq!(rounds.len(), 3);
    for round in &rounds {
        assert_eq!(round["accepted"], 7, "{round}");
        assert_eq!(round["rejected"], 3, "{round}");
    }
    assert_eq!(summary["roots_agree"], true);
    assert!(number(&summary, "final_accuracy") > 0.85, "{summary}");
}

#[tokio::test]
async fn three_attackers_break_a_mean_and_not_multi_krum() {
    let attack = ["--rounds", "4", "--byzantine", "3", "--attack", "sign-flip"];
    let (_, robust) = devnet(&[&attack[..], &["--rule", "multi-krum"]].concat()).await;
    let (_, mean) = devnet(&[&attack[..], &["--rule", "fedavg"]].concat()).await;
    assert!(number(&robust, "final_accuracy") > 0.85, "{robust}");
    assert!(number(&mean, "final_accuracy") < 0.5, "{mean}");
    // What is said about plain FedAvg beside the robust rule is what it really does.
    assert!(number(&robust, "fedavg_accuracy") < 0.5, "{robust}");
}

/// Every node runs the stages on its own, and draws the buckets from what is on the ledger.
#[tokio::test]
async fn nodes_agree_on_a_pipeline_with_buckets() {
    let rule = "clip:radius=5,bucketing:s=2,nnm,trimmed-mean";
    let (rounds, summary) = devnet(&["--rounds", "3", "--byzantine", "1", "--rule", rule]).await;
    assert_eq!(rounds.len(), 3);
    assert!(rounds.iter().all(|round| round["accepted"] == 10));
    assert_eq!(summary["roots_agree"], true);
    assert!(number(&summary, "final_accuracy") > 0.85, "{summary}");
}

/// Processes whose command line names this folder.
fn processes_of(folder: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("the processes").flatten();
    processes
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

/// However a devnet ends, its nodes and contributors end with it.
#[cfg(target_os = "linux")]
async fn nothing_is_left_after(signal: Signal) {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("network");
    let keep = keep.to_str().unwrap();
    let arguments = [
        "devnet", "--output", "json", "--rounds", "1000", "--keep", keep,
    ];
    let mut process = Process::spawn(dir.path(), "devnet", &arguments);
    let start = Instant::now();
    let log = |suffix: &str| {
        std::fs::read_to_string(dir.path().join(format!("devnet.{suffix}"))).unwrap_or_default()
    };
    while !log("out").contains("\"round\"") {
        assert!(start.elapsed() < PATIENCE, "no round: {}", log("log"));
        assert!(process.ended().is_none(), "ended early: {}", log("log"));
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    assert!(processes_of(keep).len() > 4, "nodes and contributors");
    process.signal(signal);
    process.wait().await;
    let start = Instant::now();
    loop {
        let left = processes_of(keep);
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "still there: {left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_is_left_after_an_interrupt() {
    nothing_is_left_after(Signal::SIGINT).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_is_left_after_a_kill() {
    nothing_is_left_after(Signal::SIGKILL).await;
}
