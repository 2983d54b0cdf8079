//! Whole private rounds with all of their cryptography, on a ledger in memory: contributors encrypt and
//! deal, validators check, sum and publish, and anybody opens the groups from what is public.

use std::io::Cursor;

use cifer_chain::{
    MemoryStore, Phase, PrivateError, RejectReason, RoundId, RoundTerms, ShareFraud, Stage, State,
    Store, TimestampMs, Transaction, TxError, Update, check_tx,
    private::{
        KEY_SHARE_SUM_BYTES, contributor_set,
        payload::{Finding, OwnShare, Recipient, inspect, seal_update, take_share},
        seat,
        testing::{WAIT_MS, round_terms},
    },
    testing::{Network, current},
    verify_chain,
};
use cifer_homocryption::ring::{RecipientSecret, RingError, ShareSum, Streamed, open_mean};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Coordinates of the test task.
const VALUES: usize = 10;

struct Round {
    network: Network,
    store: MemoryStore,
    secrets: Vec<RecipientSecret>,
    /// Of each contributor, once it has sent.
    payloads: Vec<Vec<u8>>,
    rng: ChaCha20Rng,
}

impl Round {
    fn new(contributors: usize, group_size: u64, seed: u64) -> Self {
        let network = Network::private(4, contributors, group_size);
        let store = MemoryStore::new(&network.genesis).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secrets = (0..4)
            .map(|_| RecipientSecret::generate(&mut rng))
            .collect();
        let payloads = vec![Vec::new(); contributors];
        Self {
            network,
            store,
            secrets,
            payloads,
            rng,
        }
    }

    fn state(&self) -> std::sync::Arc<State> {
        self.store.state()
    }

    fn terms(&self) -> RoundTerms {
        round_terms(&self.network, &self.state())
    }

    fn publish_keys(&self, validators: &[usize]) {
        let round = current(&self.state()).round;
        let keys = validators.iter().map(|v| {
            self.network
                .sign_share_key(*v, round, self.secrets[*v].public().to_bytes())
        });
        self.network.commit(&self.store, keys);
    }

    fn wait(&self) {
        let time_ms = TimestampMs(self.state().time_ms.0 + WAIT_MS);
        self.network.commit_at(&self.store, time_ms, []);
    }

    /// Values of a contributor: all of them `0.1 * (index + 1)`, with alternating sign.
    fn values(index: usize) -> Vec<f32> {
        (0..VALUES)
            .map(|place| 0.1 * (index as f32 + 1.0) * if place % 2 == 0 { 1.0 } else { -1.0 })
            .collect()
    }

    fn encrypt(&mut self, contributor: usize) -> Update {
        let (state, terms) = (self.state(), self.terms());
        let mut update = self.network.private_update(&state, contributor);
        let private = current(&state).private().unwrap();
        let group = private.group_of(&update.contributor).unwrap();
        let values = Self::values(contributor);
        let plain: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let mut payload = Vec::new();
        let rng = &mut self.rng;
        let id = update.contributor;
        let encoding = seal_update(&terms, group, id, &plain[..], &mut payload, rng);
        update.encoding = encoding.unwrap();
        assert_eq!(payload.len() as u64, terms.payload().unwrap().total());
        update.payload = cifer_chain::BlobHash::from_bytes(*blake3::hash(&payload).as_bytes());
        self.payloads[contributor] = payload;
        update
    }

    fn send(&mut self, contributors: &[usize]) {
        let updates: Vec<_> = contributors
            .iter()
            .map(|c| (*c, self.encrypt(*c)))
            .collect();
        let certify = |(c, update)| self.network.certify(self.network.sign(update, c));
        self.network
            .commit(&self.store, updates.into_iter().map(certify));
    }

    fn seat(&self, validator: usize) -> usize {
        seat(&self.state().validators, &self.network.validator(validator)).unwrap()
    }

    /// Updates of a closed group's cohort with the indices of their contributors.
    fn cohort(&self, group: u32) -> Vec<(usize, Update)> {
        let state = self.state();
        let Phase::Closed(closed) = &current(&state).phase else {
            panic!("closed")
        };
        let stage = &current(&state).private().unwrap().stage;
        let cohort = &stage.groups()[group as usize].cohort;
        let index = |update: &Update| {
            (0..self.network.contributors.len())
                .find(|c| self.network.contributor(*c) == update.contributor)
                .unwrap()
        };
        let updates = closed.updates.iter().map(|turn| &turn.update);
        updates
            .filter(|update| cohort.contains(&update.contributor))
            .map(|update| (index(update), update.clone()))
            .collect()
    }

    /// An honest validator's sum for a group.
    fn sum(&mut self, validator: usize, group: u32) -> Transaction {
        let terms = self.terms();
        let own = Recipient {
            seat: self.seat(validator),
            secret: &self.secrets[validator],
        };
        let mut shares = Vec::new();
        for (index, update) in self.cohort(group) {
            let mut payload = Cursor::new(&self.payloads[index]);
            match take_share(&terms, &update, own, &mut payload, &mut self.rng).unwrap() {
                OwnShare::Good(share) => shares.push(share),
                OwnShare::Bad(_) => panic!("an honest dealer"),
            }
        }
        let state = self.state();
        let fixed = &current(&state).private().unwrap().stage.groups()[group as usize];
        let set = contributor_set(&fixed.cohort).unwrap();
        let bytes = ShareSum::of(&set, &shares).unwrap().to_bytes();
        assert_eq!(bytes.len(), KEY_SHARE_SUM_BYTES);
        self.network
            .sign_sum(&state, validator, group, fixed.set, bytes)
    }

    fn publish_sums(&mut self, validators: &[usize], groups: &[u32]) {
        let sums: Vec<_> = groups
            .iter()
            .flat_map(|group| validators.iter().map(|v| (*v, *group)))
            .map(|(validator, group)| self.sum(validator, group))
            .collect();
        self.network.commit(&self.store, sums);
    }

    /// What anybody can do: open a sealed group from blocks and payloads.
    fn open(&self, group: u32) -> Result<(Vec<f32>, Vec<usize>), RingError> {
        let (state, terms) = (self.state(), self.terms());
        let Stage::Sealed { groups, .. } = &current(&state).private().unwrap().stage else {
            panic!("sealed")
        };
        let fixed = &groups[group as usize];
        let sums: Vec<ShareSum> = fixed
            .sums
            .values()
            .map(|tx| {
                let place = self.store.tx_location(tx).unwrap().unwrap();
                let block = self.store.block(place.height).unwrap().unwrap();
                let Transaction::KeyShareSum(sum) = &block.transactions[place.index as usize]
                else {
                    panic!("a sum")
                };
                ShareSum::from_bytes(&sum.shares).unwrap()
            })
            .collect();
        let opening = terms.open(group, fixed, &sums)?;
        let body_at = terms.payload().unwrap().body_at() as usize;
        let bodies = self
            .cohort(group)
            .into_iter()
            .map(|(c, _)| &self.payloads[c][body_at..]);
        let mut bodies = Streamed::new(bodies.collect())?;
        let mut means = Vec::new();
        let context = terms.group(group)?;
        open_mean(
            &context,
            &opening.key,
            terms.scale(),
            &mut bodies,
            &mut means,
        )?;
        let means = means
            .as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes));
        Ok((means.collect(), opening.wrong))
    }

    /// The mean of a group is that of its members, to the coarseness of 8 bits up to 1.0.
    #[track_caller]
    fn check_mean(&self, group: u32) {
        let (means, _) = self.open(group).unwrap();
        let members = self.cohort(group);
        for (place, mean) in means.iter().enumerate() {
            let sum: f32 = members.iter().map(|(c, _)| Self::values(*c)[place]).sum();
            let expected = sum / members.len() as f32;
            assert!(
                (mean - expected).abs() <= 1.0 / 127.0,
                "{mean} for {expected}"
            );
        }
        assert_eq!(means.len(), VALUES);
    }

    #[track_caller]
    fn refused(&self, tx: &Transaction) -> PrivateError {
        match check_tx(&self.state(), tx) {
            Err(TxError::Private(error)) => error,
            other => panic!("expected a refusal by the rules of private rounds, got {other:?}"),
        }
    }
}

#[test]
fn the_mean_of_a_group_is_all_that_opens() {
    let mut round = Round::new(6, 3, 1);
    round.publish_keys(&[0, 1, 2, 3]);
    round.send(&[0, 1, 2, 3, 4, 5]);
    round.publish_sums(&[0, 1, 2, 3], &[0, 1]);
    assert!(round.network.is_sealed(&round.state()));
    round.check_mean(0);
    round.check_mean(1);
    verify_chain(&round.store, &round.network.genesis, |_| {}).unwrap();
}

#[test]
fn absent_contributors_and_a_validator_without_a_key_change_nothing_for_the_rest() {
    let mut round = Round::new(6, 3, 2);
    round.publish_keys(&[0, 1, 3]);
    round.wait();
    let present: Vec<usize> = {
        let state = round.state();
        let private = current(&state).private().unwrap();
        let of = |c: usize| private.group_of(&round.network.contributor(c)).unwrap();
        // One of group 0 vanishes after the groups are known.
        let gone = (0..6).find(|c| of(*c) == 0).unwrap();
        (0..6).filter(|c| *c != gone).collect()
    };
    round.send(&present);
    let deadline = round.network.genesis.tasks[0].rounds.deadline_ms;
    let time_ms = TimestampMs(round.state().time_ms.0 + deadline);
    round.network.commit_at(&round.store, time_ms, []);
    round.publish_sums(&[0, 1, 3], &[0, 1]);
    assert!(round.network.is_sealed(&round.state()));
    assert_eq!(round.cohort(0).len(), 2);
    round.check_mean(0);
    round.check_mean(1);
}

#[test]
fn a_validator_that_lies_is_outvoted_and_named() {
    let mut round = Round::new(6, 3, 3);
    round.publish_keys(&[0, 1, 2, 3]);
    round.send(&[0, 1, 2, 3, 4, 5]);
    round.publish_sums(&[0, 1, 3], &[0, 1]);
    // The right header, wrong numbers: only decoding can tell.
    for group in 0..2 {
        let Transaction::KeyShareSum(right) = round.sum(2, group) else {
            panic!("a sum")
        };
        let mut shares = right.shares;
        shares[78..82].copy_from_slice(&7_u32.to_le_bytes());
        let state = round.state();
        let lie = round.network.sign_sum(&state, 2, group, right.set, shares);
        round.network.commit(&round.store, [lie]);
    }
    assert!(round.network.is_sealed(&round.state()));
    round.check_mean(0);
    assert_eq!(round.open(1).unwrap().1, [round.seat(2)]);
}

#[test]
fn more_than_t_liars_open_nothing_rather_than_something_wrong() {
    let mut round = Round::new(6, 3, 4);
    round.publish_keys(&[0, 1, 2, 3]);
    round.send(&[0, 1, 2, 3, 4, 5]);
    round.publish_sums(&[0, 1], &[0]);
    round.publish_sums(&[0, 1, 2, 3], &[1]);
    for (validator, lie) in [(2, 7_u32), (3, 9)] {
        let Transaction::KeyShareSum(right) = round.sum(validator, 0) else {
            panic!("a sum")
        };
        let mut shares = right.shares;
        shares[78..82].copy_from_slice(&lie.to_le_bytes());
        let state = round.state();
        let lie = round
            .network
            .sign_sum(&state, validator, 0, right.set, shares);
        round.network.commit(&round.store, [lie]);
    }
    let opened = round.open(0);
    assert!(
        matches!(
            opened,
            Err(RingError::NotDecodable { .. } | RingError::KeyTooLarge { .. })
        ),
        "{opened:?}"
    );
    round.check_mean(1);
}

/// What t + 1 validators could do together, and t cannot: the threshold of the table in the docs.
#[test]
fn t_sums_do_not_decode_and_three_of_four_do() {
    let mut round = Round::new(6, 3, 5);
    round.publish_keys(&[0, 1, 2, 3]);
    round.send(&[0, 1, 2, 3, 4, 5]);
    round.publish_sums(&[0, 1, 2, 3], &[0, 1]);
    let (state, terms) = (round.state(), round.terms());
    let fixed = &current(&state).private().unwrap().stage.groups()[0];
    let sums: Vec<ShareSum> = (0..4)
        .map(|v| {
            let Transaction::KeyShareSum(sum) = round.sum(v, 0) else {
                panic!("a sum")
            };
            ShareSum::from_bytes(&sum.shares).unwrap()
        })
        .collect();
    let one = terms.open(0, fixed, &sums[..1]);
    assert!(
        matches!(one, Err(RingError::NotDecodable { .. })),
        "{one:?}"
    );
    let all = terms.open(0, fixed, &sums).unwrap();
    assert_eq!(terms.open(0, fixed, &sums[1..]).unwrap().key, all.key);
}

#[test]
fn malformed_payloads_are_found_alike_by_all() {
    let mut round = Round::new(6, 3, 6);
    round.publish_keys(&[0, 1, 2, 3]);
    let update = round.encrypt(0);
    let terms = round.terms();
    let layout = terms.payload().unwrap();
    let good = round.payloads[0].clone();
    for validator in 0..4 {
        let own = Recipient {
            seat: round.seat(validator),
            secret: &round.secrets[validator],
        };
        let mut find = |payload: &[u8]| {
            inspect(
                &terms,
                &update,
                Some(own),
                Cursor::new(payload),
                &mut round.rng,
            )
            .unwrap()
        };
        assert!(matches!(find(&good), Finding::Good));
        let places = [
            0,
            layout.header - 1,
            layout.header,
            layout.share_at(3) + 5,
            layout.body_at(),
            layout.body_at() + 40,
        ];
        for place in places {
            let mut bad = good.clone();
            bad[place as usize] ^= 1;
            assert!(matches!(find(&bad), Finding::Malformed(_)), "byte {place}");
        }
        // A coefficient that is not below the modulus.
        let mut bad = good.clone();
        let chunk = layout.body_at() as usize + 64;
        bad[chunk..].fill(0xff);
        assert!(matches!(find(&bad), Finding::Malformed(_)));
        assert!(matches!(
            find(&good[..good.len() - 1]),
            Finding::Malformed(_)
        ));
        let longer = [good.as_slice(), &[0]].concat();
        assert!(matches!(find(&longer), Finding::Malformed(_)));
    }
    // Of somebody else: the dealing is bound to its contributor.
    let foreign = Update {
        contributor: round.network.contributor(1),
        ..update
    };
    let found = inspect(&terms, &foreign, None, Cursor::new(&good), &mut round.rng).unwrap();
    assert!(matches!(found, Finding::Malformed(_)));
}

#[test]
fn an_accusation_of_an_honest_dealer_is_refused() {
    let mut round = Round::new(6, 3, 7);
    round.publish_keys(&[0, 1, 2, 3]);
    let update = round.encrypt(0);
    let tx = round.network.certify(round.network.sign(update.clone(), 0));
    round.network.commit(&round.store, [tx]);
    let header = round.terms().payload().unwrap().header as usize;
    let accusation = |contributor, header: &[u8], proof: Vec<u8>| {
        Transaction::ShareFraud(ShareFraud {
            task: update.task,
            round: RoundId(0),
            contributor,
            header: header.to_vec(),
            proof,
        })
    };
    let right = round.payloads[0][..header].to_vec();
    let nothing = accusation(update.contributor, &right, vec![0; 9_000]);
    assert!(matches!(
        round.refused(&nothing),
        PrivateError::Unfounded { .. }
    ));
    let other = accusation(update.contributor, &[1, 2, 3], Vec::new());
    assert!(matches!(
        round.refused(&other),
        PrivateError::WrongDealing { .. }
    ));
    let absent = accusation(round.network.contributor(1), &right, Vec::new());
    assert!(matches!(
        round.refused(&absent),
        PrivateError::NothingToAccuse(_)
    ));
    let verdict = round.network.certify(round.network.sign(update.clone(), 0));
    let Transaction::Update(certified) = verdict else {
        panic!("an update")
    };
    let rejection = round
        .network
        .reject(certified.signed, RejectReason::BadShare);
    assert!(check_tx(&round.state(), &rejection).is_err());
}
