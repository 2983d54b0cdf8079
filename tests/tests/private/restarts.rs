//! A validator that is killed in the middle of a private round, and what it still does for the round when it is back.

use cifer_chain::{PrivateRound, RoundId, Stage, ValidatorId, private::Fate};
use cifer_client::PhaseView;
use cifer_tests::NotYet;

use crate::fixture::{CONTRIBUTORS, PrivateNetwork, current};

/// The validator that is killed.
const VICTIM: usize = 2;

fn victim(private: &PrivateNetwork) -> ValidatorId {
    ValidatorId(private.network.genesis().validators[VICTIM].public_key)
}

/// Waits for the groups of a round for which all validators have given a share key.
async fn groups(private: &mut PrivateNetwork, round: u64) -> PrivateRound {
    let open = private.groups(round).await;
    assert_eq!(open.keys.len(), 4);
    open
}

/// Waits until the round is closed and has the sums of the three others.
async fn closed_without_it(private: &mut PrivateNetwork, round: u64) {
    let client = private.network.client(&[0]);
    private
        .network
        .until("three sums of every group", async || {
            let closed = current(&client).await?;
            assert_eq!(closed.round, RoundId(round));
            let Stage::Closed { groups, .. } = &closed.stage else {
                return Err(NotYet::because(closed.stage));
            };
            let all = groups.iter().all(|group| group.sums.len() == 3);
            all.then_some(()).ok_or_else(|| NotYet::because(groups))
        })
        .await;
}

/// The victim's sum of every group is on the ledger, beside those of all others.
async fn gave_its_sums(private: &PrivateNetwork, round: u64) {
    for group in private.record(round).await.stage.groups() {
        assert_eq!(group.sums.len(), 4, "{group:?}");
        assert!(group.sums.contains_key(&victim(private)), "{group:?}");
    }
}

#[tokio::test]
async fn a_killed_validator_that_is_back_gives_its_sums_and_accuses() {
    // A round waits for it as long as it takes: a sum that is missing would not be missed.
    let mut private = PrivateNetwork::start_with(|genesis| {
        let terms = genesis.tasks[0].privacy.as_mut().expect("a private task");
        (terms.key_wait_ms, terms.sum_wait_ms) = (600_000, 600_000);
    })
    .await;

    // Round 0: it is killed and back while the round is open, with the secret that it had.
    let open = groups(&mut private, 0).await;
    let secret = std::fs::read(private.share_key(VICTIM, 0)).expect("a secret");
    private.send_and_vanish(0..2).await;
    private.network.kill_node(VICTIM).await;
    private.network.start_node(VICTIM);
    private.network.connected().await;
    let kept = std::fs::read(private.share_key(VICTIM, 0)).expect("the secret");
    assert_eq!(kept, secret);
    private.send_and_vanish(2..CONTRIBUTORS).await;
    private.ended_right(&open, &[]).await;
    gave_its_sums(&private, 0).await;

    // Round 1: the updates come and the round closes while it is away.
    let open = groups(&mut private, 1).await;
    private.network.kill_node(VICTIM).await;
    private.send_and_vanish(0..CONTRIBUTORS).await;
    closed_without_it(&mut private, 1).await;
    private.network.start_node(VICTIM);
    private.ended_right(&open, &[]).await;
    gave_its_sums(&private, 1).await;

    // Round 2: the others certify an update whose share for it is bad. It finds that out after the close.
    let open = groups(&mut private, 2).await;
    private.network.kill_node(VICTIM).await;
    let cheat = 5;
    let spoiled = open.group_of(&private.id(cheat)).expect("a group") as usize;
    private.cheat(&open, cheat, VICTIM).await;
    private.send_and_vanish(0..cheat).await;
    closed_without_it(&mut private, 2).await;
    private.network.start_node(VICTIM);
    let view = private.network.round_ended(0, 2).await;
    assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
    let record = private.record(2).await;
    for (index, group) in record.stage.groups().iter().enumerate() {
        let exposed: Vec<_> = group.exposed.keys().copied().collect();
        if index == spoiled {
            assert_eq!(group.fate, Fate::BadShare, "{group:?}");
            assert_eq!(exposed, [private.id(cheat)]);
        } else {
            assert_eq!((group.fate, exposed), (Fate::Opened, Vec::new()));
            assert!(group.sums.contains_key(&victim(&private)), "{group:?}");
        }
    }
    // The model is moved by the other group alone.
    let expected = private.means(&open, &[])[1 - spoiled];
    private.moved_by(RoundId(2), expected).await;

    let tip = private.network.agree(0).await;
    private.network.stop().await;
    private.network.verify_all(tip).await;
}
