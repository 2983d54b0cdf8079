//! Nodes that are killed in the middle of a round: nothing committed is lost, everybody goes on.

use cifer_chain::TxHash;
use cifer_client::{PhaseView, RoundView};
use cifer_tests::{Network, Tip};

/// Rounds of the task.
const ROUNDS: u64 = 5;
/// The round that is interrupted.
const INTERRUPTED: u64 = 2;

/// A network in the middle of a round: four of its five contributors have sent their updates.
async fn in_mid_round() -> Network {
    let rounds = ROUNDS.to_string();
    let mut network = Network::generate(&[
        "--validators",
        "4",
        "--contributors",
        "5",
        "--rule",
        "fedavg",
        "--min-updates",
        "5",
        "--deadline-ms",
        "3600000",
        "--max-rounds",
        &rounds,
    ])
    .await;
    network.start().await;
    for index in 0..4 {
        network.contribute(index, &[]);
    }
    network.contribute(4, &["--rounds", &INTERRUPTED.to_string()]);
    network.contributor_ended(4).await;
    network.updates_accepted(0, INTERRUPTED, 4).await;
    network
}

/// The last contributor comes back, and all rounds end with a model.
async fn finish(network: &mut Network, node: usize) -> RoundView {
    network.contribute(4, &[]);
    let mut interrupted = None;
    for round in INTERRUPTED..ROUNDS {
        let view = network.round_ended(node, round).await;
        assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
        assert_eq!(view.updates.len(), 5, "{view:?}");
        interrupted.get_or_insert(view);
    }
    for index in 0..5 {
        let lines = network.contributor_ended(index).await;
        let last = lines.last().expect("a line");
        assert_eq!(last["event"], "finished", "{last}");
        assert_eq!(last["reason"], "complete", "{last}");
    }
    interrupted.expect("a round")
}

/// Kills one validator, and has the others go on without it.
async fn kill_one(victim: usize) {
    let mut network = in_mid_round().await;
    network.kill_node(victim).await;
    let other = (victim + 1) % 4;
    finish(&mut network, other).await;
    let without = network.tip(other).await;

    network.start_node(victim);
    let hash = network.block_hash(victim, without.height).await;
    assert_eq!(
        hash, without.hash,
        "block {} after the restart",
        without.height
    );
    // It has a seat again, and not only a copy: the rounds are in its ledger and its API.
    let round = network.round_ended(victim, ROUNDS - 1).await;
    assert!(round.verified);
    let tip = network.agree(other).await;
    network.stop().await;
    network.verify_all(tip).await;
}

#[tokio::test]
async fn three_of_four_go_on_and_the_fourth_catches_up() {
    kill_one(3).await;
}

#[tokio::test]
async fn the_first_validator_is_no_exception() {
    kill_one(0).await;
}

#[tokio::test]
async fn all_four_killed_go_on_with_the_same_chain() {
    let mut network = in_mid_round().await;
    let mut tips = Vec::new();
    for node in 0..4 {
        tips.push(network.tip(node).await);
    }
    let client = network.client(&[0]);
    let open = client
        .round(cifer_tests::TASK, None)
        .await
        .expect("the open round");
    let sent: Vec<TxHash> = open.updates.iter().map(|update| update.tx).collect();
    assert_eq!(sent.len(), 4);
    for node in 0..4 {
        network.kill_node(node).await;
    }

    for node in 0..4 {
        network.start_node(node);
    }
    for (node, Tip { height, hash }) in tips.into_iter().enumerate() {
        let now = network.tip(node).await;
        assert!(
            now.height >= height,
            "node {node} was at {height}, is at {}",
            now.height
        );
        assert_eq!(
            network.block_hash(node, height).await,
            hash,
            "block {height} of node {node}"
        );
    }
    network.connected().await;
    let interrupted = finish(&mut network, 0).await;
    for tx in sent {
        let kept = interrupted.updates.iter().any(|update| update.tx == tx);
        assert!(kept, "{tx} was committed and is lost: {interrupted:?}");
    }
    let tip = network.agree(0).await;
    network.stop().await;
    network.verify_all(tip).await;
}
