//! A network with private rounds, and contributors whose updates are known.

use std::path::{Path, PathBuf};

use cifer_chain::{
    ContributorId, PayloadEncoding, PrivateRound, RoundId, RoundTerms, SignedUpdate, Stage,
    StateKey, ValidatorId, ValidatorSet,
    private::{dealing_hash, payload::quantiser, seat},
};
use cifer_client::{Client, ModelSelector, ModelTarget, PhaseView, ProofKey};
use cifer_genesis::Genesis;
use cifer_homocryption::ring::{ContributorKey, deal_cheating, encrypt};
use cifer_tests::{Network, NotYet, TASK, update};
use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

/// Contributors of the network.
pub(crate) const CONTRIBUTORS: usize = 6;
/// Coordinates of the default model.
const VALUES: usize = 650;
/// How far a group's mean may be from that of its members: they round to 127 levels up to the default clip.
const LEVEL: f32 = 0.25 / 127.0;

/// Four validators, an observer, six contributors in two groups of three, by median; their updates are in files.
#[derive(Debug)]
pub(crate) struct PrivateNetwork {
    /// The network.
    pub(crate) network: Network,
    updates: TempDir,
}

impl PrivateNetwork {
    /// Generates and starts it.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with other terms.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Genesis)) -> Self {
        let contributors = CONTRIBUTORS.to_string();
        let mut network = Network::generate(&[
            "--private",
            "--validators",
            "4",
            "--observers",
            "1",
            "--contributors",
            &contributors,
            "--rule",
            "median",
            "--max-rounds",
            "3",
            "--deadline-ms",
            "3600000",
        ])
        .await;
        let updates = tempfile::tempdir().unwrap();
        for contributor in 0..CONTRIBUTORS {
            let bytes = update::payload([value(contributor); VALUES]);
            std::fs::write(update_file(updates.path(), contributor), bytes).unwrap();
        }
        network.change_genesis(change);
        network.start().await;
        Self { network, updates }
    }

    /// Waits until a round has groups.
    pub(crate) async fn groups(&mut self, round: u64) -> PrivateRound {
        let client = self.network.client(&[0]);
        self.network
            .until(&format!("groups of round {round}"), async || {
                let private = current(&client).await?;
                let formed = matches!(private.stage, Stage::Open { .. });
                match private.round == RoundId(round) && formed {
                    true => Ok(private),
                    false => Err(NotYet::because((private.round, private.stage))),
                }
            })
            .await
    }

    /// What is kept of a finished round.
    pub(crate) async fn record(&self, round: u64) -> PrivateRound {
        let key = StateKey::PrivateRound(TASK, RoundId(round)).to_bytes();
        let proof = self.network.client(&[0]).proof(&ProofKey::Raw(key)).await;
        let value = proof.expect("a proof").value.expect("a record");
        borsh::from_slice(&value).expect("a private round")
    }

    /// Starts a contributor that sends its file once and vanishes.
    fn send(&mut self, contributor: usize) {
        let file = self.update_file(contributor);
        let file = file.display().to_string();
        self.network
            .contribute(contributor, &["--update-file", &file, "--rounds", "1"]);
    }

    /// Contributors send their files once and vanish.
    pub(crate) async fn send_and_vanish(&mut self, contributors: impl IntoIterator<Item = usize>) {
        let contributors: Vec<usize> = contributors.into_iter().collect();
        for contributor in &contributors {
            self.send(*contributor);
        }
        for contributor in contributors {
            self.network.contributor_ended(contributor).await;
        }
    }

    /// What a contributor sends, in the clear.
    pub(crate) fn update_file(&self, contributor: usize) -> PathBuf {
        update_file(self.updates.path(), contributor)
    }

    /// The id of a contributor.
    pub(crate) fn id(&self, contributor: usize) -> ContributorId {
        ContributorId(self.network.contributor_key(contributor).public_key())
    }

    /// The terms of a round whose groups are formed.
    pub(crate) fn terms(&self, private: &PrivateRound) -> RoundTerms {
        let genesis = self.network.genesis();
        let validators = ValidatorSet::from_genesis(genesis).unwrap();
        let (chain_id, task) = (&genesis.chain_id, &genesis.tasks[0]);
        RoundTerms::new(chain_id, task, private.round, &validators, private)
            .unwrap()
            .expect("groups are formed")
    }

    /// The seat of a validator in the committee.
    pub(crate) fn seat(&self, validator: usize) -> usize {
        let genesis = self.network.genesis();
        let id = ValidatorId(genesis.validators[validator].public_key);
        seat(&ValidatorSet::from_genesis(genesis).unwrap(), &id).expect("a validator")
    }

    async fn model(&self, round: RoundId) -> Vec<f32> {
        let client = self.network.client(&[0]);
        let model = client.fetch_model(TASK, ModelSelector::Round(round), ModelTarget::Memory);
        model.await.expect("a model").parameters().expect("numbers")
    }

    /// The round ended with a model that is the median of the means of its groups, but for `absent`.
    pub(crate) async fn ended_right(&mut self, private: &PrivateRound, absent: &[usize]) {
        let view = self.network.round_ended(0, private.round.0).await;
        assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
        assert_eq!(view.updates.len(), CONTRIBUTORS - absent.len());
        let means = self.means(private, absent);
        // The median of two is their mean.
        let expected = means.iter().sum::<f32>() / means.len() as f32;
        self.moved_by(private.round, expected).await;
    }

    /// The mean of each group of an open round, but for `absent`.
    pub(crate) fn means(&self, private: &PrivateRound, absent: &[usize]) -> Vec<f32> {
        let Stage::Open { groups, .. } = &private.stage else {
            panic!("as it was when it was open")
        };
        let mean = |group: &Vec<ContributorId>| {
            let sent = (0..CONTRIBUTORS).filter(|c| !absent.contains(c));
            let values: Vec<f32> = sent
                .filter(|c| group.contains(&self.id(*c)))
                .map(value)
                .collect();
            values.iter().sum::<f32>() / values.len() as f32
        };
        groups.iter().map(mean).collect()
    }

    /// The model of a round is that of the round before plus `expected` in every coordinate.
    pub(crate) async fn moved_by(&self, round: RoundId, expected: f32) {
        let after = self.model(round).await;
        let before = match round.0.checked_sub(1) {
            Some(last) => self.model(RoundId(last)).await,
            None => self.initial_model(),
        };
        for (after, before) in after.iter().zip(before) {
            let step = after - before;
            assert!(
                (step - expected).abs() <= LEVEL,
                "{step} for {expected} in round {round}",
            );
        }
    }

    fn initial_model(&self) -> Vec<f32> {
        let bytes = std::fs::read(self.network.dir().join("task-0.bin")).expect("the model");
        let numbers = bytes.as_chunks::<4>().0.iter();
        numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Sends an update whose share for one validator is bad, and signed all the same.
    pub(crate) async fn cheat(&self, private: &PrivateRound, contributor: usize, victim: usize) {
        let mut rng = StdRng::seed_from_u64(7);
        let (terms, id) = (self.terms(private), self.id(contributor));
        let group = private.group_of(&id).expect("in a group");
        let key = ContributorKey::generate(&terms.group(group).unwrap(), &mut rng);
        let dealing = terms.dealing(group, id).unwrap();
        let dealing = deal_cheating(&key, &dealing, self.seat(victim), &mut rng).unwrap();
        let header = dealing.header.to_bytes();
        let mut payload = [header.clone(), dealing.shares.concat()].concat();
        let encoder = quantiser(&terms, &mut rng).unwrap();
        let plain = update::payload([value(contributor); VALUES]);
        let (layout, values) = (terms.layout(), terms.values());
        encrypt(
            key,
            layout,
            &encoder,
            values,
            &plain[..],
            &mut payload,
            &mut rng,
        )
        .unwrap();
        let open = self.network.client(&[0]).current_round(TASK, None).await;
        let secret = self.network.contributor_key(contributor);
        let mut commitment = update::commit(&open.unwrap().open, &secret, &payload);
        commitment.encoding = PayloadEncoding::GroupedSum {
            group,
            mask_seed: terms.mask_seed(group),
            dealing: dealing_hash(&header),
        };
        let chain_id = &self.network.genesis().chain_id;
        let signed = SignedUpdate::sign(commitment, chain_id, &secret);
        let messages = tokio_stream::iter(update::upload(&signed, &payload));
        let answer = update::send(&self.network.node(0).grpc, messages).await;
        answer.expect("certified by the others");
    }

    /// The file with the secret of a validator's share key.
    pub(crate) fn share_key(&self, validator: usize, round: u64) -> PathBuf {
        let home = &self.network.node(validator).home;
        let network = self.network.genesis().hash();
        home.join(format!("share-keys/{network}/0-{round}.share-key"))
    }
}

/// The private half of the task's current round, proven by the state.
pub(crate) async fn current(client: &Client) -> Result<PrivateRound, NotYet> {
    let key = ProofKey::Raw(StateKey::Private(TASK).to_bytes());
    let proof = client.proof(&key).await?;
    assert!(proof.verified);
    Ok(borsh::from_slice(&proof.value.expect("a private task")).expect("its private half"))
}

/// What a contributor's update says in every coordinate: a level of the grid that updates are rounded to, so that an update that was
/// opened alone would have exactly these 4 bytes. No mean of two or three of them is one of them.
pub(crate) fn value(contributor: usize) -> f32 {
    const LEVELS: [f64; CONTRIBUTORS] = [15.0, 29.0, 51.0, 65.0, 86.0, 103.0];
    (LEVELS[contributor] * 0.25 / 127.0) as f32
}

fn update_file(updates: &Path, contributor: usize) -> PathBuf {
    updates.join(format!("update-{contributor}.bin"))
}
