//! Private rounds over whole networks: encrypted, opened by group, replayed, and the secrets gone. Validators and
//! contributors that are silent, lie, or vanish.

use std::path::{Path, PathBuf};

use cifer_chain::{
    ContributorId, PayloadEncoding, PrivateRound, RoundId, RoundTerms, SignedUpdate, Stage,
    StateKey, Transaction, ValidatorId, ValidatorSet,
    private::{KeyShareSum, contributor_set, dealing_hash, payload::quantiser, seat},
};
use cifer_client::{Client, ModelSelector, ModelTarget, PhaseView, ProofKey};
use cifer_dataplane::{BlobStore, Handle, KnownPeer, Topic};
use cifer_homocryption::ring::{ContributorKey, deal_cheating, encrypt};
use cifer_tests::{Network, NotYet, TASK, json_lines, run, update, verify_home};
use rand::{SeedableRng as _, rngs::StdRng};
use tempfile::TempDir;

const CONTRIBUTORS: usize = 6;
/// Coordinates of the default model.
const VALUES: usize = 650;
/// How far a group's mean may be from that of its members: they round to 127 levels up to the default clip.
const LEVEL: f32 = 0.25 / 127.0;

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// No secret of a share key and no scratch file is left below a folder.
#[track_caller]
fn nothing_is_left(folder: &Path) {
    for file in files(folder) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.ends_with(".share-key"), "{}", file.display());
        assert!(!name.starts_with("group-"), "{}", file.display());
    }
}

/// The final accuracy of three rounds of a private devnet in which nobody attacks and everybody takes part.
async fn devnet_accuracy(more: &[&str]) -> f64 {
    let mut arguments = vec!["devnet", "--private", "--output", "json"];
    arguments.extend(["--contributors", "6", "--byzantine", "0", "--rounds", "3"]);
    arguments.extend(more);
    let answer = run(&arguments).await;
    let complaint = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(answer.status.success(), "cifer {arguments:?}: {complaint}");
    let mut rounds = json_lines(&answer.stdout);
    let summary = rounds.pop().expect("a summary");
    assert_eq!(rounds.len(), 3);
    for round in &rounds {
        assert_eq!(round["accepted"], 6, "{round}");
        assert_eq!(round["aborted"], false, "{round}");
    }
    assert_eq!(summary["roots_agree"], true);
    summary["final_accuracy"].as_f64().unwrap()
}

#[tokio::test]
async fn a_private_devnet_learns_and_replays() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("network");
    let accuracy = devnet_accuracy(&["--keep", &keep.display().to_string()]).await;
    assert!(accuracy > 0.8, "{accuracy}");

    // Replayed from genesis, and every group whose payloads are here opened again from what is public.
    let report = verify_home(&keep.join("validator-1")).await;
    assert_eq!(report["rounds_finalised"], 3, "{report}");
    let opened = report["private_rounds_opened"].as_u64();
    assert!(opened >= Some(1), "{report}");
    nothing_is_left(&keep);
}

#[tokio::test]
async fn noise_is_added() {
    // With so much of it nothing can be learned: an update that slipped by without would teach.
    let (little, much) = ("0.001", "20");
    assert!(devnet_accuracy(&["--noise", little]).await > 0.8);
    assert!(devnet_accuracy(&["--noise", much]).await < 0.4);
}

/// Four validators, an observer, six contributors in two groups of three, by median; their updates are in files.
struct Faulty {
    network: Network,
    updates: TempDir,
}

impl Faulty {
    async fn start() -> Self {
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
            std::fs::write(update_file(&updates, contributor), bytes).unwrap();
        }
        network.start().await;
        Self { network, updates }
    }

    /// Waits until a round has groups.
    async fn groups(&mut self, round: u64) -> PrivateRound {
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
    async fn record(&self, round: u64) -> PrivateRound {
        let key = StateKey::PrivateRound(TASK, RoundId(round)).to_bytes();
        let proof = self.network.client(&[0]).proof(&ProofKey::Raw(key)).await;
        let value = proof.expect("a proof").value.expect("a record");
        borsh::from_slice(&value).expect("a private round")
    }

    /// Starts a contributor that sends its file once and vanishes.
    fn send(&mut self, contributor: usize) {
        let file = update_file(&self.updates, contributor);
        let file = file.display().to_string();
        self.network
            .contribute(contributor, &["--update-file", &file, "--rounds", "1"]);
    }

    async fn send_and_vanish(&mut self, contributors: impl IntoIterator<Item = usize>) {
        let contributors: Vec<usize> = contributors.into_iter().collect();
        for contributor in &contributors {
            self.send(*contributor);
        }
        for contributor in contributors {
            self.network.contributor_ended(contributor).await;
        }
    }

    fn id(&self, contributor: usize) -> ContributorId {
        ContributorId(self.network.contributor_key(contributor).public_key())
    }

    fn terms(&self, private: &PrivateRound) -> RoundTerms {
        let genesis = self.network.genesis();
        let validators = ValidatorSet::from_genesis(genesis).unwrap();
        let (chain_id, task) = (&genesis.chain_id, &genesis.tasks[0]);
        RoundTerms::new(chain_id, task, private.round, &validators, private)
            .unwrap()
            .expect("groups are formed")
    }

    fn seat(&self, validator: usize) -> usize {
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
    async fn ended_right(&mut self, private: &PrivateRound, absent: &[usize]) {
        let view = self.network.round_ended(0, private.round.0).await;
        assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
        assert_eq!(view.updates.len(), CONTRIBUTORS - absent.len());
        let Stage::Open { groups, .. } = &private.stage else {
            panic!("as it was when it was open")
        };
        let means = groups.iter().map(|group| {
            let sent = (0..CONTRIBUTORS).filter(|c| !absent.contains(c));
            let values: Vec<f32> = sent
                .filter(|c| group.contains(&self.id(*c)))
                .map(value)
                .collect();
            values.iter().sum::<f32>() / values.len() as f32
        });
        // The median of two is their mean.
        let expected = means.sum::<f32>() / groups.len() as f32;
        let after = self.model(private.round).await;
        let before = match private.round.0.checked_sub(1) {
            Some(last) => self.model(RoundId(last)).await,
            None => self.initial_model(),
        };
        for (after, before) in after.iter().zip(before) {
            let step = after - before;
            assert!(
                (step - expected).abs() <= LEVEL,
                "{step} for {expected} in round {}",
                private.round
            );
        }
    }

    fn initial_model(&self) -> Vec<f32> {
        let bytes = std::fs::read(self.network.dir().join("task-0.bin")).expect("the model");
        let numbers = bytes.as_chunks::<4>().0.iter();
        numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    /// Sends an update whose share for one validator is bad, and signed all the same.
    async fn cheat(&self, private: &PrivateRound, contributor: usize, victim: usize) {
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

    /// Joins the data plane with the key of a validator whose process is dead.
    async fn impostor(&mut self, validator: usize) -> (Handle, TempDir) {
        let genesis = self.network.genesis();
        let seed = self.network.validator_key(validator).to_seed();
        let hash = *genesis.hash().as_bytes();
        let mut config = cifer_dataplane::Config::new(genesis.chain_id.clone(), hash, *seed);
        config.known_peers = (0..4)
            .filter(|other| *other != validator)
            .map(|other| KnownPeer {
                public_key: *genesis.validators[other].public_key.as_bytes(),
                addresses: genesis.validators[other]
                    .data_addresses
                    .iter()
                    .map(|address| address.parse().expect("an address"))
                    .collect(),
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path(), 1 << 20).unwrap();
        let (plane, mut events) = cifer_dataplane::spawn(config, store).await.unwrap();
        tokio::spawn(async move { while events.recv().await.is_some() {} });
        self.network
            .until("connections of the impostor", async || {
                let peers = plane.connected_peers().len();
                (peers >= 2)
                    .then_some(())
                    .ok_or_else(|| NotYet::because(peers))
            })
            .await;
        (plane, dir)
    }

    /// Publishes sums of zeros for every group of the closed round, with a validator's key.
    async fn lie(&mut self, validator: usize) {
        let (plane, _dir) = self.impostor(validator).await;
        let client = self.network.client(&[0]);
        let private = self
            .network
            .until("a closed round", async || {
                let private = current(&client).await?;
                match private.stage {
                    Stage::Closed { .. } => Ok(private),
                    stage => Err(NotYet::because(stage)),
                }
            })
            .await;
        let terms = self.terms(&private);
        let (secret, chain_id) = (
            self.network.validator_key(validator),
            self.network.genesis().chain_id.clone(),
        );
        for (index, group) in (0..).zip(private.stage.groups()) {
            let mut shares = b"CFSS\x01\x00".to_vec();
            shares.extend((self.seat(validator) as u32).to_le_bytes());
            shares.extend(terms.group(index).unwrap().digest());
            shares.extend(contributor_set(&group.cohort).unwrap().digest());
            shares.resize(cifer_chain::private::KEY_SHARE_SUM_BYTES, 0);
            let place = (TASK, private.round, index);
            let lie = KeyShareSum::sign(place, group.set, shares, &chain_id, &secret);
            let bytes = borsh::to_vec(&Transaction::KeyShareSum(lie)).unwrap();
            plane.publish(Topic::Tx, bytes).await.expect("gossip");
        }
        // Until they are taken: gossip from a node that leaves at once may be lost.
        self.network
            .until("the lies in blocks", async || {
                let now = current(&client).await?;
                let sealed = matches!(now.stage, Stage::Sealed { .. });
                (sealed || now.round > private.round)
                    .then_some(())
                    .ok_or_else(|| NotYet::because(now.stage))
            })
            .await;
        plane.shutdown().await;
    }

    fn share_key(&self, validator: usize, round: u64) -> PathBuf {
        let home = &self.network.node(validator).home;
        let network = self.network.genesis().hash();
        home.join(format!("share-keys/{network}/0-{round}.share-key"))
    }
}

/// The private half of the task's current round, proven by the state.
async fn current(client: &Client) -> Result<PrivateRound, NotYet> {
    let key = ProofKey::Raw(StateKey::Private(TASK).to_bytes());
    let proof = client.proof(&key).await?;
    assert!(proof.verified);
    Ok(borsh::from_slice(&proof.value.expect("a private task")).expect("its private half"))
}

/// What a contributor's update says in every coordinate: a level of the grid that updates are rounded to, so that an update that was
/// opened alone would have exactly these 4 bytes. No mean of two or three of them is one of them.
fn value(contributor: usize) -> f32 {
    const LEVELS: [f64; CONTRIBUTORS] = [15.0, 29.0, 51.0, 65.0, 86.0, 103.0];
    (LEVELS[contributor] * 0.25 / 127.0) as f32
}

fn update_file(updates: &TempDir, contributor: usize) -> PathBuf {
    updates.path().join(format!("update-{contributor}.bin"))
}

fn contains(text: &[u8], pattern: &[u8]) -> bool {
    text.windows(pattern.len()).any(|window| window == pattern)
}

#[tokio::test]
async fn faults_of_contributors_and_validators_are_borne_and_nobody_holds_an_update() {
    let mut faulty = Faulty::start().await;

    // Round 0: a contributor deals a bad share to validator 1, which proves it. The others vanish after their update.
    let first = faulty.groups(0).await;
    let cheat = 5;
    faulty.cheat(&first, cheat, 1).await;
    let client = faulty.network.client(&[0]);
    let rejection = faulty
        .network
        .until("the proof of the bad share", async || {
            let view = client.round(TASK, Some(RoundId(0))).await?;
            let mut rejections = view.rejections.iter();
            let found = rejections.next().cloned();
            found.ok_or_else(|| NotYet::because(view.updates))
        })
        .await;
    assert_eq!(rejection.contributor, faulty.id(cheat));
    assert_eq!(rejection.reason, "bad-share");
    faulty.send_and_vanish(0..cheat).await;
    faulty.ended_right(&first, &[cheat]).await;

    // Round 1: validator 3 is killed when its share key is in, and somebody with its key lies about its sums.
    let second = faulty.groups(1).await;
    assert_eq!(second.keys.len(), 4);
    let secret = std::fs::read(faulty.share_key(0, 1)).expect("the secret of an open round");
    assert!(faulty.share_key(3, 1).exists());
    faulty.network.kill_node(3).await;
    faulty.send_and_vanish(0..CONTRIBUTORS).await;
    faulty.lie(3).await;
    faulty.ended_right(&second, &[]).await;
    let liar = ValidatorId(faulty.network.genesis().validators[3].public_key);
    for group in faulty.record(1).await.stage.groups() {
        assert!(
            group.sums.contains_key(&liar),
            "the lie is on the ledger: {group:?}"
        );
    }
    let log = std::fs::read_to_string(faulty.network.dir().join("validator-0.log")).unwrap();
    let named = format!("wrong=[{}]", faulty.seat(3));
    assert!(log.contains(&named), "no {named} in the log");

    // Round 2: it is silent, whether or not its share key is in.
    let third = faulty.groups(2).await;
    faulty.send_and_vanish(0..CONTRIBUTORS).await;
    faulty.ended_right(&third, &[]).await;

    // It comes back with the secrets of rounds that are over, and removes them.
    let tip = faulty.network.tip(0).await;
    faulty.network.start_node(3);
    faulty.network.block_hash(3, tip.height).await;
    faulty.network.agree(0).await;
    let dir = faulty.network.dir().to_owned();
    faulty
        .network
        .until("the removal of old secrets", async || {
            let kept: Vec<_> = files(&dir)
                .into_iter()
                .filter(|file| file.extension().is_some_and(|ending| ending == "share-key"))
                .collect();
            kept.is_empty()
                .then_some(())
                .ok_or_else(|| NotYet::because(kept))
        })
        .await;

    nobody_holds_an_update(&mut faulty, &secret).await;
    for node in [0, 3] {
        let report = faulty.network.verify(node).await;
        assert_eq!(report["rounds_finalised"], 3, "{report}");
        // Validator 3 was away while payloads were sent.
        let opened = report["private_rounds_opened"].as_u64();
        assert!(node == 3 || opened >= Some(1), "{report}");
    }
}

/// Looks at every byte of every home folder, log and file of the network.
async fn nobody_holds_an_update(faulty: &mut Faulty, secret: &[u8]) {
    let client = faulty.network.client(&[0]);
    let view = client.round(TASK, Some(RoundId(2)));
    let updates = view.await.unwrap().updates;
    let payloads: Vec<String> = updates
        .iter()
        .map(|update| update.payload_hash.to_string())
        .collect();
    // The observer is node 4: the gateway of contributor 4, and the next one of contributor 3, whose own was dead.
    let passed: Vec<bool> = updates
        .iter()
        .map(|update| [3, 4].map(|c| faulty.id(c)).contains(&update.contributor))
        .collect();
    assert_eq!(payloads.len(), CONTRIBUTORS);
    faulty.network.stop().await;
    nothing_is_left(faulty.network.dir());
    let patterns: Vec<Vec<u8>> = (0..CONTRIBUTORS)
        .map(|contributor| update::payload([value(contributor); 4]).to_vec())
        .collect();
    for (contributor, pattern) in patterns.iter().enumerate() {
        let own = std::fs::read(update_file(&faulty.updates, contributor)).unwrap();
        assert!(contains(&own, pattern), "the search finds nothing at all");
    }
    for file in files(faulty.network.dir()) {
        let text = std::fs::read(&file).unwrap();
        for pattern in &patterns {
            assert!(!contains(&text, pattern), "an update in {}", file.display());
        }
        assert!(!contains(&text, secret), "a secret in {}", file.display());
    }
    // Validators hold the ciphertexts of the last round; an observer those that it was the gateway of.
    let names = |node: usize| -> Vec<String> {
        let blobs = files(&faulty.network.node(node).home.join("blobs"));
        let names = blobs.iter().filter_map(|file| file.file_name()?.to_str());
        names.map(str::to_owned).collect()
    };
    let (validator, observer) = (names(0), names(4));
    assert!(payloads.iter().all(|payload| validator.contains(payload)));
    for (payload, passed) in payloads.iter().zip(passed) {
        assert_eq!(observer.contains(payload), passed, "{payload}");
    }
}
