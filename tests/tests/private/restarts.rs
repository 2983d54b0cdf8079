//! A validator that is killed in the middle of a private round, and what it still does for the round when it is back.

use cifer_chain::{PrivateRound, RoundId, Stage, ValidatorId, private::Fate};
use cifer_client::PhaseView;
use cifer_tests::NotYet;

use crate::fixture::{CONTRIBUTORS, PrivateNetwork, current};

/// The validator that is killed.
const VICTIM: usize = 2;

struct Restarts(PrivateNetwork);

impl Restarts {
    fn victim(&self) -> ValidatorId {
        ValidatorId(self.0.network.genesis().validators[VICTIM].public_key)
    }

    /// Waits for the groups of a round for which the victim has given a share key.
    async fn groups(&mut self, round: u64) -> PrivateRound {
        let private = self.0.groups(round).await;
        assert_eq!(private.keys.len(), 4);
        private
    }

    /// Waits until the round is closed and has the sums of the three others.
    async fn closed_without_it(&mut self, round: u64) {
        let client = self.0.network.client(&[0]);
        self.0
            .network
            .until("three sums of every group", async || {
                let private = current(&client).await?;
                assert_eq!(private.round, RoundId(round));
                let Stage::Closed { groups, .. } = &private.stage else {
                    return Err(NotYet::because(private.stage));
                };
                let all = groups.iter().all(|group| group.sums.len() == 3);
                all.then_some(()).ok_or_else(|| NotYet::because(groups))
            })
            .await;
    }

    /// Its sum of every group is on the ledger, beside those of all others.
    async fn gave_its_sums(&self, round: u64) {
        let victim = self.victim();
        for group in self.0.record(round).await.stage.groups() {
            assert_eq!(group.sums.len(), 4, "{group:?}");
            assert!(group.sums.contains_key(&victim), "{group:?}");
        }
    }
}

#[tokio::test]
async fn a_killed_validator_that_is_back_gives_its_sums_and_accuses() {
    // A round waits for it as long as it takes: a sum that is missing would not be missed.
    let private = PrivateNetwork::start_with(|genesis| {
        let terms = genesis.tasks[0].privacy.as_mut().expect("a private task");
        (terms.key_wait_ms, terms.sum_wait_ms) = (600_000, 600_000);
    })
    .await;
    let mut restarts = Restarts(private);

    // Round 0: it is killed and back while the round is open, with the secret that it had.
    let open = restarts.groups(0).await;
    let secret = std::fs::read(restarts.0.share_key(VICTIM, 0)).expect("a secret");
    restarts.0.send_and_vanish(0..2).await;
    restarts.0.network.kill_node(VICTIM).await;
    restarts.0.network.start_node(VICTIM);
    restarts.0.network.connected().await;
    let kept = std::fs::read(restarts.0.share_key(VICTIM, 0)).expect("the secret");
    assert_eq!(kept, secret);
    restarts.0.send_and_vanish(2..CONTRIBUTORS).await;
    restarts.0.ended_right(&open, &[]).await;
    restarts.gave_its_sums(0).await;

    // Round 1: the updates come and the round closes while it is away.
    let open = restarts.groups(1).await;
    restarts.0.network.kill_node(VICTIM).await;
    restarts.0.send_and_vanish(0..CONTRIBUTORS).await;
    restarts.closed_without_it(1).await;
    restarts.0.network.start_node(VICTIM);
    restarts.0.ended_right(&open, &[]).await;
    restarts.gave_its_sums(1).await;

    // Round 2: the others certify an update whose share for it is bad. It finds that out after the close.
    let open = restarts.groups(2).await;
    restarts.0.network.kill_node(VICTIM).await;
    let cheat = 5;
    let spoiled = open.group_of(&restarts.0.id(cheat)).expect("a group") as usize;
    restarts.0.cheat(&open, cheat, VICTIM).await;
    restarts.0.send_and_vanish(0..cheat).await;
    restarts.closed_without_it(2).await;
    restarts.0.network.start_node(VICTIM);
    let view = restarts.0.network.round_ended(0, 2).await;
    assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
    let record = restarts.0.record(2).await;
    for (index, group) in record.stage.groups().iter().enumerate() {
        let exposed: Vec<_> = group.exposed.keys().copied().collect();
        if index == spoiled {
            assert_eq!(group.fate, Fate::BadShare, "{group:?}");
            assert_eq!(exposed, [restarts.0.id(cheat)]);
        } else {
            assert_eq!((group.fate, exposed), (Fate::Opened, Vec::new()));
            assert!(group.sums.contains_key(&restarts.victim()), "{group:?}");
        }
    }
    // The model is moved by the other group alone.
    let expected = restarts.0.means(&open, &[])[1 - spoiled];
    restarts.0.moved_by(RoundId(2), expected).await;

    let tip = restarts.0.network.agree(0).await;
    restarts.0.network.stop().await;
    restarts.0.network.verify_all(tip).await;
}
