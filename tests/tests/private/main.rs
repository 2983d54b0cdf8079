//! Private rounds over whole networks: encrypted, opened by group, replayed, and the secrets gone. Validators and
//! contributors that are silent, lie, or vanish.

mod fixture;
mod restarts;
mod retry;

use std::path::{Path, PathBuf};

use cifer_chain::{
    RoundId, Stage, Transaction, ValidatorId,
    private::{KeyShareSum, contributor_set},
};
use cifer_dataplane::{BlobStore, Handle, KnownPeer, Topic};
use cifer_tests::{NotYet, TASK, json_lines, run, update, verify_home};
use fixture::{CONTRIBUTORS, PrivateNetwork, current, value};
use tempfile::TempDir;

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

fn contains(text: &[u8], pattern: &[u8]) -> bool {
    text.windows(pattern.len()).any(|window| window == pattern)
}

/// Joins the data plane with the key of a validator whose process is dead.
async fn impostor(faulty: &mut PrivateNetwork, validator: usize) -> (Handle, TempDir) {
    let genesis = faulty.network.genesis();
    let seed = faulty.network.validator_key(validator).to_seed();
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
    faulty
        .network
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
async fn lie(faulty: &mut PrivateNetwork, validator: usize) {
    let (plane, _dir) = impostor(faulty, validator).await;
    let client = faulty.network.client(&[0]);
    let private = faulty
        .network
        .until("a closed round", async || {
            let private = current(&client).await?;
            match private.stage {
                Stage::Closed { .. } => Ok(private),
                stage => Err(NotYet::because(stage)),
            }
        })
        .await;
    let terms = faulty.terms(&private);
    let (secret, chain_id) = (
        faulty.network.validator_key(validator),
        faulty.network.genesis().chain_id.clone(),
    );
    for (index, group) in (0..).zip(private.stage.groups()) {
        let mut shares = b"CFSS\x01\x00".to_vec();
        shares.extend((faulty.seat(validator) as u32).to_le_bytes());
        shares.extend(terms.group(index).unwrap().digest());
        shares.extend(contributor_set(&group.cohort).unwrap().digest());
        shares.resize(cifer_chain::private::KEY_SHARE_SUM_BYTES, 0);
        let place = (TASK, private.round, index);
        let lie = KeyShareSum::sign(place, group.set, shares, &chain_id, &secret);
        let bytes = borsh::to_vec(&Transaction::KeyShareSum(lie)).unwrap();
        plane.publish(Topic::Tx, bytes).await.expect("gossip");
    }
    // Until they are taken: gossip from a node that leaves at once may be lost.
    faulty
        .network
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

#[tokio::test]
async fn faults_of_contributors_and_validators_are_borne_and_nobody_holds_an_update() {
    let mut faulty = PrivateNetwork::start().await;

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
    lie(&mut faulty, 3).await;
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
async fn nobody_holds_an_update(faulty: &mut PrivateNetwork, secret: &[u8]) {
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
        let own = std::fs::read(faulty.update_file(contributor)).unwrap();
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
