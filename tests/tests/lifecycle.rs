//! Starting, stopping and starting again.

use cifer_tests::{Network, run};

async fn one_node() -> Network {
    let mut network = Network::generate(&[
        "--validators",
        "1",
        "--contributors",
        "1",
        "--rule",
        "fedavg",
    ])
    .await;
    network.start().await;
    network
}

#[tokio::test]
async fn sigterm_ends_with_zero_and_the_home_starts_again() {
    let mut network = one_node().await;
    let before = network.tip(0).await;
    for _ in 0..2 {
        network.stop_node(0).await;
        network.start_node(0);
        let hash = network
            .block_hash(0, before.height.max(cifer_chain::Height(1)))
            .await;
        if before.height.0 > 0 {
            assert_eq!(hash, before.hash);
        }
    }
    // A graceful end leaves a ledger that holds.
    let tip = network.tip(0).await;
    network.stop().await;
    network.verify_all(tip).await;
}

#[tokio::test]
async fn a_node_ends_with_whoever_started_it() {
    let mut network = one_node().await;
    network.stop_node(0).await;
    // Without `--exit-with-stdin` it would run for ever.
    let home = network.node(0).home.display().to_string();
    let answer = run(&["start", "--exit-with-stdin", "--home", &home]).await;
    assert!(answer.status.success(), "{answer:?}");
}

#[tokio::test]
async fn a_home_in_use_is_refused() {
    let network = one_node().await;
    let home = network.node(0).home.display().to_string();
    for command in [&["start"][..], &["verify"]] {
        let answer = run(&[command, &["--home", &home]].concat()).await;
        assert_eq!(answer.status.code(), Some(1), "{answer:?}");
        let complaint = String::from_utf8_lossy(&answer.stderr);
        assert!(complaint.contains("in use by"), "{complaint}");
        assert!(complaint.contains("next: "), "{complaint}");
    }
    // Who holds it is not disturbed.
    let status = network
        .client(&[0])
        .status()
        .await
        .expect("the running node");
    assert!(status.healthy, "{status:?}");
}
