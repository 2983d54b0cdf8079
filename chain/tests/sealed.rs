//! Whole private rounds with all of their cryptography, on a ledger in memory: contributors encrypt and
//! deal, validators check, sum and publish, and anybody opens the groups from what is public.

use std::io::Cursor;

use cifer_chain::{
    Event, Fate, MemoryStore, PayloadEncoding, Phase, PrivateError, RejectReason, RoundId,
    RoundTerms, ShareFraud, Stage, State, Store, TimestampMs, Transaction, TxError, Update,
    check_tx, check_tx_with,
    private::{
        KEY_SHARE_SUM_BYTES, contributor_set, dealing_hash,
        payload::{Finding, OwnShare, Recipient, inspect, quantiser, seal_update, take_share},
        seat,
        testing::{WAIT_MS, round_terms},
    },
    testing::{Network, current},
    verify_chain,
};
use cifer_homocryption::ring::{
    ContributorKey, RecipientSecret, RingError, ShareSum, Streamed, deal_cheating, encrypt,
    open_mean,
};
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
        self.network.draw(&self.store);
    }

    fn wait(&self) {
        let time_ms = TimestampMs(self.state().time_ms.0 + WAIT_MS);
        self.network.commit_at(&self.store, time_ms, []);
        self.network.draw(&self.store);
    }

    /// Values of a contributor: all of them `0.1 * (index + 1)`, with alternating sign.
    fn values(index: usize) -> Vec<f32> {
        (0..VALUES)
            .map(|place| 0.1 * (index as f32 + 1.0) * if place % 2 == 0 { 1.0 } else { -1.0 })
            .collect()
    }

    fn group_of(&self, contributor: usize) -> u32 {
        let state = self.state();
        let private = current(&state).private().unwrap();
        private
            .group_of(&self.network.contributor(contributor))
            .unwrap()
    }

    fn plain(contributor: usize) -> Vec<u8> {
        let values = Self::values(contributor);
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    fn encrypt(&mut self, contributor: usize) -> Update {
        let (terms, group) = (self.terms(), self.group_of(contributor));
        let (id, mut payload) = (self.network.contributor(contributor), Vec::new());
        let (rng, plain) = (&mut self.rng, Self::plain(contributor));
        let encoder = quantiser(&terms, rng).unwrap();
        let encoding = seal_update(&terms, group, id, &encoder, &plain[..], &mut payload, rng);
        self.commitment(contributor, payload, encoding.unwrap())
    }

    /// As an attacker encrypts: the share for one validator is bad, and signed all the same.
    fn cheat(&mut self, contributor: usize, victim: usize) -> Update {
        let (terms, group) = (self.terms(), self.group_of(contributor));
        let (id, seat) = (self.network.contributor(contributor), self.seat(victim));
        let (rng, plain) = (&mut self.rng, Self::plain(contributor));
        let key = ContributorKey::generate(&terms.group(group).unwrap(), rng);
        let dealing = terms.dealing(group, id).unwrap();
        let dealing = deal_cheating(&key, &dealing, seat, rng).unwrap();
        let header = dealing.header.to_bytes();
        let mut payload = [header.clone(), dealing.shares.concat()].concat();
        let (encoder, layout) = (quantiser(&terms, rng).unwrap(), terms.layout());
        let values = terms.values();
        encrypt(key, layout, &encoder, values, &plain[..], &mut payload, rng).unwrap();
        let encoding = PayloadEncoding::GroupedSum {
            group,
            mask_seed: terms.mask_seed(group),
            dealing: dealing_hash(&header),
        };
        self.commitment(contributor, payload, encoding)
    }

    fn commitment(
        &mut self,
        contributor: usize,
        payload: Vec<u8>,
        encoding: PayloadEncoding,
    ) -> Update {
        let bytes = self.terms().payload().unwrap().total();
        assert_eq!(payload.len() as u64, bytes);
        let update = Update {
            payload: cifer_chain::BlobHash::from_bytes(*blake3::hash(&payload).as_bytes()),
            encoding,
            ..self.network.private_update(&self.state(), contributor)
        };
        self.payloads[contributor] = payload;
        update
    }

    /// What a validator finds in the payload of an update.
    fn inspect(&mut self, validator: usize, contributor: usize, update: &Update) -> Finding {
        let own = Recipient {
            seat: self.seat(validator),
            secret: &self.secrets[validator],
        };
        let terms = self.terms();
        let payload = Cursor::new(&self.payloads[contributor]);
        inspect(&terms, update, Some(own), payload, &mut self.rng).unwrap()
    }

    /// Sends an update with a bad share for validator 2, which the other validators let in, and the victim's proof of it.
    fn send_cheating(&mut self, contributor: usize) -> ShareFraud {
        let update = self.cheat(contributor, 2);
        for validator in [0, 1, 3] {
            let found = self.inspect(validator, contributor, &update);
            assert!(matches!(found, Finding::Good), "{validator}: {found:?}");
        }
        let Finding::BadShare(fraud) = self.inspect(2, contributor, &update) else {
            panic!("validator 2 was dealt a bad share")
        };
        let tx = self.network.certify(self.network.sign(update, contributor));
        self.network.commit(&self.store, [tx]);
        *fraud
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
    let (header, proof) = round.terms().fraud_bytes();
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
    let nothing = accusation(update.contributor, &right, vec![0; proof]);
    assert!(matches!(
        round.refused(&nothing),
        PrivateError::Unfounded { .. }
    ));
    // Lengths are looked at before anything is hashed or decoded.
    for (header, proof) in [
        (&right[1..], proof),
        (&right[..], proof - 1),
        (&right[..], proof + 1),
        (&right[..], 0),
    ] {
        let short = accusation(update.contributor, header, vec![0; proof]);
        assert!(matches!(
            round.refused(&short),
            PrivateError::WrongFraudLength { .. }
        ));
    }
    let mut other = right.clone();
    other[header - 1] ^= 1;
    let other = accusation(update.contributor, &other, vec![0; proof]);
    assert!(matches!(
        round.refused(&other),
        PrivateError::WrongDealing { .. }
    ));
    let absent = accusation(round.network.contributor(1), &right, vec![0; proof]);
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

#[test]
fn a_bad_share_shown_while_the_round_is_open_turns_the_update_into_a_rejection() {
    let mut round = Round::new(9, 3, 8);
    round.publish_keys(&[0, 1, 2, 3]);
    let fraud = round.send_cheating(0);
    let cheat = fraud.contributor;
    let tx = Transaction::ShareFraud(fraud);
    let executed = round.network.commit(&round.store, [tx.clone()]);
    let events = executed.transition.events;
    let exposed =
        |e: &Event| matches!(e, Event::ShareExposed { contributor, .. } if *contributor == cheat);
    assert!(events.iter().any(exposed), "{events:?}");
    let state = round.state();
    let Phase::Open(open) = &current(&state).phase else {
        panic!("open")
    };
    assert!(open.updates.is_empty());
    assert_eq!(open.rejected[&cheat].reason, RejectReason::BadShare);
    let standing = &state.contributors[&cheat];
    assert_eq!((standing.accepted, standing.rejected), (0, 1));
    // Its turn is used: neither a second accusation nor a second update.
    assert!(matches!(
        round.refused(&tx),
        PrivateError::NothingToAccuse(_)
    ));
    let again = round.encrypt(0);
    let again = round.network.certify(round.network.sign(again, 0));
    assert!(matches!(
        check_tx(&state, &again),
        Err(TxError::TurnUsed { .. })
    ));

    // The others close the round, and its group is opened without it.
    round.send(&[1, 2, 3, 4, 5, 6, 7, 8]);
    round.publish_sums(&[0, 1, 2, 3], &[0, 1, 2]);
    assert!(round.network.is_sealed(&round.state()));
    for group in 0..3 {
        round.check_mean(group);
    }
    let members: Vec<usize> = (0..3)
        .flat_map(|group| round.cohort(group))
        .map(|(contributor, _)| contributor)
        .collect();
    assert_eq!(members.len(), 8);
    assert!(!members.contains(&0));
    verify_chain(&round.store, &round.network.genesis, |_| {}).unwrap();
}

#[test]
fn a_bad_share_shown_after_the_close_aborts_the_group_and_no_other() {
    let mut round = Round::new(9, 3, 9);
    round.publish_keys(&[0, 1, 2, 3]);
    let group = round.group_of(0);
    let fraud = round.send_cheating(0);
    round.send(&[1, 2, 3, 4, 5, 6, 7, 8]);
    // One validator has spoken already when the victim does.
    round.publish_sums(&[0], &[0, 1, 2]);
    let cheat = fraud.contributor;
    let tx = Transaction::ShareFraud(fraud);
    let executed = round.network.commit(&round.store, [tx.clone()]);
    let exposed =
        |e: &Event| matches!(e, Event::ShareExposed { contributor, .. } if *contributor == cheat);
    assert!(executed.transition.events.iter().any(exposed));
    let state = round.state();
    let stage = &current(&state).private().unwrap().stage;
    let aborted = &stage.groups()[group as usize];
    assert_eq!(aborted.fate, Fate::BadShare);
    assert!(aborted.exposed.contains_key(&cheat));
    assert!(matches!(
        round.refused(&tx),
        PrivateError::NothingToAccuse(_)
    ));
    let sum = round.sum(1, group);
    assert!(matches!(
        round.refused(&sum),
        PrivateError::NotOpened {
            fate: Fate::BadShare,
            ..
        }
    ));
    let others: Vec<u32> = (0..3).filter(|other| *other != group).collect();
    round.publish_sums(&[1, 2, 3], &others);
    let state = round.state();
    assert!(round.network.is_sealed(&state));
    let stage = &current(&state).private().unwrap().stage;
    assert_eq!((stage.live_groups(), stage.exposed()), (2, 1));
    for other in others {
        round.check_mean(other);
    }
    verify_chain(&round.store, &round.network.genesis, |_| {}).unwrap();
}

#[test]
fn a_proof_is_verified_once_and_serves_one_accused() {
    let mut round = Round::new(9, 3, 10);
    round.publish_keys(&[0, 1, 2, 3]);
    let first = round.send_cheating(0);
    let second = round.send_cheating(1);
    let right = Transaction::ShareFraud(first.clone());
    check_tx(&round.state(), &right).unwrap();
    // The proof of one dealing under the header of another, and a proof that was changed on the way.
    let crossed = ShareFraud {
        proof: second.proof,
        ..first.clone()
    };
    let mut altered = first.clone();
    let last = altered.proof.len() - 1;
    altered.proof[last] ^= 1;
    for bad in [crossed, altered] {
        let bad = Transaction::ShareFraud(bad);
        assert!(matches!(
            round.refused(&bad),
            PrivateError::Unfounded { .. }
        ));
        // A mempool that has verified the very bytes before does not verify them at every look: the proof does not matter then.
        check_tx_with(&round.state(), &bad, &|_| true).unwrap();
    }
    // What follows from the state is looked at every time.
    round.network.commit(&round.store, [right.clone()]);
    let again = check_tx_with(&round.state(), &right, &|_| true);
    assert!(
        matches!(
            again,
            Err(TxError::Private(PrivateError::NothingToAccuse(_)))
        ),
        "{again:?}"
    );
}
