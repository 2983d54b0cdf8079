//! One validator: federated learning on one trusted node, with the same binary and the same API.

use cifer_client::{ModelSelector, ModelTarget, PhaseView};
use cifer_tests::{Network, TASK};

#[tokio::test]
async fn one_validator_trains() {
    let mut network = Network::generate(&[
        "--validators",
        "1",
        "--contributors",
        "4",
        "--max-rounds",
        "2",
    ])
    .await;
    network.start().await;
    for index in 0..4 {
        network.contribute(index, &[]);
    }
    for round in 0..2 {
        let view = network.round_ended(0, round).await;
        assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
        assert_eq!(view.updates.len(), 4, "{view:?}");
        assert_eq!(view.signers.len(), 1, "{view:?}");
    }
    for index in 0..4 {
        let lines = network.contributor_ended(index).await;
        let updates: Vec<_> = lines
            .iter()
            .filter(|line| line["event"] == "update")
            .collect();
        assert_eq!(updates.len(), 2, "{lines:?}");
        for update in updates {
            assert_eq!(update["outcome"], "certified", "{update}");
        }
    }
    let client = network.client(&[0]);
    let model = client
        .fetch_model(TASK, ModelSelector::Newest, ModelTarget::Memory)
        .await;
    let model = model.expect("the model of the last round");
    assert_eq!(model.round().map(|round| round.0), Some(1));
    let changed = model
        .parameters()
        .expect("parameters in memory")
        .iter()
        .any(|x| *x != 0.0);
    assert!(changed, "the model is all zero");
    let tip = network.tip(0).await;
    network.stop().await;
    network.verify_all(tip).await;
}
