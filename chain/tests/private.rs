//! Private rounds: their stages, and an attacker who tries what they forbid.

use std::collections::BTreeMap;

use cifer_chain::{
    AbortReason, ContributorId, Event, Fate, Hash32, Height, MemoryStore, ModelRoot, Outcome,
    PayloadEncoding, Phase, PrivateError, PrivateRound, RoundId, Stage, State, StateKey, Store,
    TaskId, TimestampMs, Transaction, TxError, check_tx,
    decode::encode,
    private::{
        KEY_SHARE_SUM_BYTES, mask_seed, partition,
        testing::{WAIT_MS, share_key},
    },
    testing::{BLOCK_INTERVAL_MS, Network, TASK, current, model_after},
    verify_chain,
};
use cifer_genesis::{Privacy, document::RuleSpec};
use proptest::prelude::*;

/// Four validators; six contributors in two groups of three.
fn network() -> (Network, MemoryStore) {
    started(Network::private(4, 6, 3))
}

fn started(network: Network) -> (Network, MemoryStore) {
    network.genesis.validate().expect("a valid document");
    let store = MemoryStore::new(&network.genesis).unwrap();
    (network, store)
}

/// Groups are formed and all updates but those of `absent` are in. With nobody absent this closes the round.
fn with_updates(network: &Network, store: &MemoryStore, absent: &[usize]) {
    network.form_groups(store);
    let state = store.state();
    let present = (0..network.contributors.len()).filter(|index| !absent.contains(index));
    network.commit(store, present.map(|i| network.private_update_tx(&state, i)));
}

fn private(state: &State) -> &PrivateRound {
    current(state).private().expect("the task is private")
}

fn later(network: &Network, store: &MemoryStore, by_ms: u64) -> Vec<Event> {
    let time_ms = TimestampMs(store.state().time_ms.0 + by_ms);
    network.commit_at(store, time_ms, []).transition.events
}

#[track_caller]
fn refused(state: &State, tx: &Transaction) -> PrivateError {
    match check_tx(state, tx) {
        Err(TxError::Private(error)) => error,
        other => panic!("expected a refusal by the rules of private rounds, got {other:?}"),
    }
}

/// The group that holds a contributor, and its members as indices.
fn group_of(network: &Network, state: &State, contributor: usize) -> (u32, Vec<usize>) {
    let group = private(state).group_of(&network.contributor(contributor));
    let group = group.expect("in a group");
    let members = (0..network.contributors.len())
        .filter(|i| private(state).group_of(&network.contributor(*i)) == Some(group));
    (group, members.collect())
}

#[test]
fn a_whole_round_and_the_next_one() {
    let (network, store) = network();
    let mut entries: BTreeMap<StateKey, Vec<u8>> = State::genesis(&network.genesis).unwrap().1;
    let mut commit = |transactions: Vec<Transaction>| {
        let executed = network.commit(&store, transactions);
        entries.extend(executed.transition.writes.clone());
        let state = store.state();
        let loaded = State::load(&network.genesis, state.last_block, entries.clone()).unwrap();
        assert_eq!(loaded, *state, "the entries do not lead back to the state");
        executed.transition.events
    };
    for round in 0..3 {
        let state = store.state();
        if round == 0 {
            assert!(current(&state).private().unwrap().keys.is_empty());
            let keys = (0..4).map(|v| network.share_key_tx(&state, v)).collect();
            commit(keys);
            commit(vec![]);
            let events = commit(vec![]);
            let formed = |e: &Event| matches!(e, Event::GroupsFormed { groups: 2, .. });
            assert!(events.iter().any(formed), "{events:?}");
        }
        let state = store.state();
        assert_eq!(current(&state).round, RoundId(round));
        assert_eq!(private(&state).capacity, 3);
        commit(
            (0..6)
                .map(|i| network.private_update_tx(&state, i))
                .collect(),
        );
        let state = store.state();
        assert_eq!(private(&state).stage.live_groups(), 2);
        assert!(
            !current(&state).is_ready(),
            "nothing to aggregate before the seal"
        );
        assert!(
            current(&state)
                .statement(model_after(RoundId(round)))
                .is_none()
        );
        // The keys of the next round, while this one runs.
        commit((0..4).map(|v| network.share_key_tx(&state, v)).collect());
        let events = commit(network.sum_txs(&store.state(), &[0, 1, 2, 3]));
        let sealed = |e: &Event| matches!(e, Event::RoundSealed { opened: 2, .. });
        assert!(events.iter().any(sealed), "{events:?}");
        let state = store.state();
        let Stage::Sealed { root, .. } = private(&state).stage else {
            panic!("sealed");
        };
        let model = model_after(RoundId(round));
        assert_eq!(current(&state).statement(model).unwrap().update_set, root);
        let events = commit(vec![network.aggregate_tx(&state, model)]);
        let formed = |e: &Event| matches!(e, Event::GroupsFormed { groups: 2, .. });
        assert!(events.iter().any(formed), "the keys were there: {events:?}");
        let record = store
            .value(&StateKey::PrivateRound(TASK, RoundId(round)))
            .unwrap();
        let record: PrivateRound = borsh::from_slice(&record.expect("kept for ever")).unwrap();
        assert!(matches!(record.stage, Stage::Sealed { root: r, .. } if r == root));
        assert!(record.next_keys.is_empty());
    }
    let report = verify_chain(&store, &network.genesis, |_| {}).unwrap();
    assert_eq!(report.rounds_finalised, 3);
}

#[test]
fn groups_wait_for_share_keys_and_updates_for_groups() {
    let (network, store) = network();
    let state = store.state();
    let update = network.update_tx(&state, 0);
    assert!(matches!(
        refused(&state, &update),
        PrivateError::WrongEncoding { .. }
    ));
    network.commit(&store, (0..2).map(|v| network.share_key_tx(&state, v)));
    later(&network, &store, 10 * WAIT_MS);
    later(&network, &store, 10 * WAIT_MS);
    let state = store.state();
    assert_eq!(
        private(&state).stage,
        Stage::Keys,
        "two keys of four never do"
    );
    let Phase::Open(open) = &current(&state).phase else {
        panic!("open")
    };
    assert_eq!(
        open.extensions, 0,
        "no deadline runs before the groups are formed"
    );
    // The third is 2t + 1, and it is long past the wait.
    network.commit(&store, [network.share_key_tx(&state, 2)]);
    network.draw(&store);
    let state = store.state();
    let Phase::Open(open) = &current(&state).phase else {
        panic!("open")
    };
    assert_eq!(
        open.deadline_ms.0,
        state.time_ms.0 + network.genesis.tasks[0].rounds.deadline_ms
    );
    assert!(private(&state).group_of(&network.contributor(0)).is_some());
    // Too late for the fourth: contributors have dealt to three.
    let late = network.sign_share_key(3, RoundId(0), share_key(3, RoundId(0)));
    assert!(matches!(
        refused(&state, &late),
        PrivateError::KeyNotDue { .. }
    ));
}

#[test]
fn three_keys_do_after_the_wait_only() {
    let (network, store) = network();
    let state = store.state();
    network.commit(&store, (0..3).map(|v| network.share_key_tx(&state, v)));
    let state = store.state();
    assert_eq!(private(&state).stage, Stage::Keys);
    let Phase::Open(open) = &current(&state).phase else {
        panic!("open")
    };
    assert_eq!(
        state.next_deadline(),
        Some(TimestampMs(open.opened.time_ms.0 + WAIT_MS))
    );
    later(&network, &store, WAIT_MS);
    network.draw(&store);
    assert!(matches!(private(&store.state()).stage, Stage::Open { .. }));
}

#[test]
fn share_keys_serve_one_validator_and_one_round() {
    let (network, store) = network();
    let state = store.state();
    let own = |v, round| network.sign_share_key(v, RoundId(round), share_key(v, RoundId(round)));
    assert!(matches!(
        refused(&state, &own(0, 1)),
        PrivateError::KeyNotDue { .. }
    ));
    for bad in [[0; 32], [0xff; 32]] {
        let tx = network.sign_share_key(0, RoundId(0), bad);
        assert_eq!(refused(&state, &tx), PrivateError::BadKey(bad));
    }
    network.commit(&store, [own(0, 0)]);
    let state = store.state();
    let again = network.sign_share_key(0, RoundId(0), share_key(9, RoundId(9)));
    assert!(matches!(
        refused(&state, &again),
        PrivateError::KeyKnown { .. }
    ));
    let copied = network.sign_share_key(1, RoundId(0), share_key(0, RoundId(0)));
    assert!(matches!(
        refused(&state, &copied),
        PrivateError::KeyReused(_)
    ));
    network.commit(&store, [own(1, 0), own(2, 0), own(3, 0)]);
    let state = store.state();
    let reused = network.sign_share_key(0, RoundId(1), share_key(0, RoundId(0)));
    assert!(matches!(
        refused(&state, &reused),
        PrivateError::KeyReused(_)
    ));
    let Transaction::ShareKey(mut stranger) = own(0, 1) else {
        panic!("a share key")
    };
    stranger.validator = cifer_chain::ValidatorId(network.contributor(0).0);
    let stranger = Transaction::ShareKey(stranger);
    assert!(matches!(
        refused(&state, &stranger),
        PrivateError::NotAValidator(_)
    ));
    let Transaction::ShareKey(mut forged) = own(0, 1) else {
        panic!("a share key")
    };
    forged.key = share_key(7, RoundId(7));
    let forged = check_tx(&state, &Transaction::ShareKey(forged));
    assert!(matches!(forged, Err(TxError::Signature(_))), "{forged:?}");
}

#[test]
fn the_last_round_takes_no_keys_for_another() {
    let (network, store) =
        started(Network::private(4, 6, 3).with(|g| g.tasks[0].rounds.max_rounds = 1));
    network.form_groups(&store);
    let tx = network.sign_share_key(0, RoundId(1), share_key(0, RoundId(1)));
    assert!(matches!(
        refused(&store.state(), &tx),
        PrivateError::LastRound { .. }
    ));
}

#[test]
fn an_update_is_of_its_group_and_under_its_mask() {
    let (network, store) = network();
    network.form_groups(&store);
    let state = store.state();
    let (own, members) = group_of(&network, &state, 0);
    assert_eq!(members.len(), 3);
    let right = network.private_update(&state, 0);
    let PayloadEncoding::GroupedSum {
        mask_seed: seed,
        dealing,
        ..
    } = right.encoding
    else {
        panic!("encrypted");
    };
    let with = |encoding| {
        let update = cifer_chain::Update {
            encoding,
            ..right.clone()
        };
        refused(&state, &network.certify(network.sign(update, 0)))
    };
    let other = PayloadEncoding::GroupedSum {
        group: 1 - own,
        mask_seed: seed,
        dealing,
    };
    assert!(matches!(with(other), PrivateError::WrongGroup { .. }));
    let round_seed = private(&state).stage.seed().unwrap();
    let chain_id = network.chain_id();
    for reused in [
        mask_seed(chain_id, TASK, RoundId(0), 1 - own, round_seed),
        mask_seed(chain_id, TASK, RoundId(1), own, round_seed),
        mask_seed(chain_id, TaskId(2), RoundId(0), own, round_seed),
        mask_seed("another-net", TASK, RoundId(0), own, round_seed),
        Hash32([1; 32]),
    ] {
        let encoding = PayloadEncoding::GroupedSum {
            group: own,
            mask_seed: reused,
            dealing,
        };
        assert!(matches!(with(encoding), PrivateError::WrongMaskSeed { got, .. } if got == reused));
    }
    assert!(matches!(
        with(PayloadEncoding::DeltaF32),
        PrivateError::WrongEncoding { .. }
    ));
    let mut telling = right.clone();
    telling.samples = 100;
    let telling = network.certify(network.sign(telling, 0));
    assert!(matches!(
        refused(&state, &telling),
        PrivateError::TellTale {
            field: "samples",
            ..
        }
    ));
    // The same holds of a rejection: it uses up a turn.
    let mut wrong = right;
    wrong.encoding = other;
    let signed = network.sign(wrong, 0);
    let tx = network.reject(signed, cifer_chain::RejectReason::WrongLength);
    assert!(matches!(
        refused(&state, &tx),
        PrivateError::WrongGroup { .. }
    ));
}

#[test]
fn a_mask_seed_of_the_round_before_is_refused() {
    let (network, store) = network();
    with_updates(&network, &store, &[]);
    let first = network.update(&store.state(), 0);
    let old = current(&store.state())
        .private()
        .unwrap()
        .stage
        .seed()
        .unwrap();
    network.commit(&store, network.sum_txs(&store.state(), &[0, 1, 2, 3]));
    network.commit(
        &store,
        [network.aggregate_tx(&store.state(), ModelRoot::from_bytes([3; 32]))],
    );
    network.form_groups(&store);
    let state = store.state();
    let mut update = network.private_update(&state, 0);
    let PayloadEncoding::GroupedSum {
        group,
        mask_seed: fresh,
        dealing,
    } = update.encoding
    else {
        panic!("encrypted");
    };
    let stale = mask_seed(network.chain_id(), TASK, first.round, group, old);
    assert_ne!(stale, fresh);
    update.encoding = PayloadEncoding::GroupedSum {
        group,
        mask_seed: stale,
        dealing,
    };
    let tx = network.certify(network.sign(update, 0));
    assert!(matches!(
        refused(&state, &tx),
        PrivateError::WrongMaskSeed { .. }
    ));
}

#[test]
fn encrypted_updates_of_a_task_in_the_clear_are_refused() {
    let (network, store) = started(Network::new(4, 4));
    let state = store.state();
    let mut update = network.update(&state, 0);
    let (mask_seed, dealing) = (Hash32([1; 32]), Hash32([2; 32]));
    update.encoding = PayloadEncoding::GroupedSum {
        group: 0,
        mask_seed,
        dealing,
    };
    let tx = network.certify(network.sign(update, 0));
    assert!(matches!(
        refused(&state, &tx),
        PrivateError::WrongEncoding { .. }
    ));
    let key = network.sign_share_key(0, RoundId(0), share_key(0, RoundId(0)));
    assert_eq!(refused(&state, &key), PrivateError::NotPrivate(TASK));
    let sum = network.sign_sum(&state, 0, 0, Hash32([1; 32]), vec![0; KEY_SHARE_SUM_BYTES]);
    assert_eq!(refused(&state, &sum), PrivateError::NotPrivate(TASK));
}

/// What an attacker who holds a validator's key can try once the sets are fixed.
#[test]
fn one_set_of_a_group_is_opened_once() {
    let (network, store) = network();
    network.form_groups(&store);
    let state = store.state();
    let early = network.sign_sum(&state, 0, 0, Hash32([1; 32]), vec![7; KEY_SHARE_SUM_BYTES]);
    assert!(matches!(
        refused(&state, &early),
        PrivateError::NotClosed { .. }
    ));
    network.commit(&store, (0..6).map(|i| network.private_update_tx(&state, i)));
    let state = store.state();
    let groups = private(&state).stage.groups().to_vec();
    assert_ne!(groups[0].set, groups[1].set);
    let full = KEY_SHARE_SUM_BYTES;
    let sign = |v, group: u32, set, length| {
        let mut shares = network.shares(&state, v, group.min(1), &groups[0].cohort);
        shares.resize(length, 0);
        network.sign_sum(&state, v, group, set, shares)
    };

    // A subset of the cohort, say all but one: the difference to the whole sum would be that one.
    let seed = private(&state).stage.seed().unwrap();
    let mask = mask_seed(network.chain_id(), TASK, RoundId(0), 0, seed);
    let Phase::Closed(closed) = &current(&state).phase else {
        panic!("closed")
    };
    let in_cohort = |id: &ContributorId| groups[0].cohort.contains(id);
    let updates: Vec<_> = closed.updates.iter().map(|turn| &turn.update).collect();
    let cohort: Vec<_> = updates
        .into_iter()
        .filter(|u| in_cohort(&u.contributor))
        .collect();
    let root = |sorted: &[_]| {
        cifer_chain::private::set_root(network.chain_id(), (TASK, RoundId(0), 0), mask, sorted)
    };
    assert_eq!(root(&cohort), groups[0].set);
    let second = root(&cohort[1..]);
    assert!(matches!(
        refused(&state, &sign(0, 0, second, full)),
        PrivateError::WrongSet { got, expected, .. } if got == second && expected == groups[0].set
    ));
    // The other group's set under this group's number.
    let crossed = sign(0, 0, groups[1].set, full);
    assert!(matches!(
        refused(&state, &crossed),
        PrivateError::WrongSet { .. }
    ));
    for length in [0, full - 1, full + 1] {
        let short = sign(0, 0, groups[0].set, length);
        assert!(matches!(
            refused(&state, &short),
            PrivateError::WrongSumLength { .. }
        ));
    }
    // The right set outside, but inside the shares of another validator, group, or cohort.
    for shares in [
        network.shares(&state, 1, 0, &groups[0].cohort),
        network.shares(&state, 0, 1, &groups[0].cohort),
        network.shares(&state, 0, 0, &groups[1].cohort),
        vec![0; full],
    ] {
        let inside = network.sign_sum(&state, 0, 0, groups[0].set, shares);
        assert!(matches!(refused(&state, &inside), PrivateError::BadSum(_)));
    }
    let unknown = sign(0, 2, groups[0].set, full);
    assert!(matches!(
        refused(&state, &unknown),
        PrivateError::UnknownGroup { groups: 2, .. }
    ));

    network.commit(&store, [sign(0, 0, groups[0].set, full)]);
    let state = store.state();
    let again = network.sign_sum(&state, 0, 0, groups[0].set, vec![8; full]);
    assert!(matches!(
        refused(&state, &again),
        PrivateError::SumKnown { .. }
    ));
    // Somebody else's name on it.
    let Transaction::KeyShareSum(mut forged) = network.sum_tx(&state, 1, 0) else {
        panic!("a sum")
    };
    forged.shares[KEY_SHARE_SUM_BYTES - 4] ^= 1;
    let forged = check_tx(&state, &Transaction::KeyShareSum(forged));
    assert!(matches!(forged, Err(TxError::Signature(_))), "{forged:?}");

    let rest = network.sum_txs(&state, &[1, 2, 3]);
    network.commit(
        &store,
        rest.into_iter().chain([network.sum_tx(&state, 0, 1)]),
    );
    let state = store.state();
    assert!(network.is_sealed(&state));
    let late = network.sign_sum(&state, 0, 0, groups[0].set, vec![8; full]);
    assert!(matches!(
        refused(&state, &late),
        PrivateError::Sealed { .. }
    ));
    // And once the round is over, its sums are stale.
    network.commit(
        &store,
        [network.aggregate_tx(&state, ModelRoot::from_bytes([4; 32]))],
    );
    let stale = check_tx(&store.state(), &late);
    assert!(
        matches!(stale, Err(TxError::WrongRound { .. })),
        "{stale:?}"
    );
}

#[test]
fn a_cohort_under_the_minimum_is_never_opened() {
    let (network, store) = network();
    network.form_groups(&store);
    let (lonely, members) = group_of(&network, &store.state(), 0);
    let state = store.state();
    let present = (0..6).filter(|i| *i == 0 || !members.contains(i));
    network.commit(
        &store,
        present.map(|i| network.private_update_tx(&state, i)),
    );
    assert!(
        matches!(private(&store.state()).stage, Stage::Open { .. }),
        "turns are left"
    );
    later(
        &network,
        &store,
        network.genesis.tasks[0].rounds.deadline_ms,
    );
    let state = store.state();
    let group = &private(&state).stage.groups()[lonely as usize];
    assert_eq!((group.cohort.len(), group.fate), (1, Fate::CohortTooSmall));
    let sum = network.sign_sum(&state, 0, lonely, group.set, vec![0; KEY_SHARE_SUM_BYTES]);
    assert!(matches!(
        refused(&state, &sum),
        PrivateError::NotOpened {
            fate: Fate::CohortTooSmall,
            cohort: 1,
            ..
        }
    ));
    // The other group is opened and the round ends right.
    network.commit(&store, network.sum_txs(&state, &[0, 1, 2, 3]));
    assert!(network.is_sealed(&store.state()));
}

#[test]
fn a_round_without_groups_for_its_rule_is_aborted() {
    // Trimmed mean with f = 1 needs three group means; six contributors make exactly three pairs.
    let (network, store) = started(Network::private(4, 6, 2).with(|g| {
        g.tasks[0].rule = RuleSpec::TrimmedMean { f: 1 };
        g.tasks[0].rounds.max_extensions = 0;
    }));
    with_updates(&network, &store, &[0]);
    let events = later(
        &network,
        &store,
        network.genesis.tasks[0].rounds.deadline_ms,
    );
    let aborted = |e: &Event| {
        matches!(
            e,
            Event::RoundAborted {
                reason: AbortReason::Deadline,
                ..
            }
        )
    };
    assert!(events.iter().any(aborted), "{events:?}");
    assert_eq!(current(&store.state()).round, RoundId(1));
}

#[test]
fn silent_validators_cost_the_wait_and_more_than_t_the_group() {
    let (network, store) = network();
    with_updates(&network, &store, &[]);
    // All but one: t = 1 may be silent.
    network.commit(&store, network.sum_txs(&store.state(), &[0, 1, 2]));
    assert!(!network.is_sealed(&store.state()), "the fourth has time");
    assert!(store.state().next_deadline().is_some());
    later(&network, &store, WAIT_MS);
    let state = store.state();
    assert!(network.is_sealed(&state));
    assert_eq!(private(&state).stage.live_groups(), 2);

    // Two silent ones for one group: it is aborted, with the reason on the ledger; the other stands.
    let (network, store) = started(Network::private(4, 6, 3));
    with_updates(&network, &store, &[]);
    let state = store.state();
    let sums = (0..4).map(|v| network.sum_tx(&state, v, 0));
    let few = (0..2).map(|v| network.sum_tx(&state, v, 1));
    network.commit(&store, sums.chain(few));
    later(&network, &store, WAIT_MS);
    let state = store.state();
    let fates: Vec<_> = private(&state)
        .stage
        .groups()
        .iter()
        .map(|g| g.fate)
        .collect();
    assert_eq!(fates, [Fate::Opened, Fate::TooFewSums]);
    assert!(network.is_sealed(&state));
}

#[test]
fn a_round_without_sums_is_aborted_and_the_next_one_opens() {
    let (network, store) = network();
    with_updates(&network, &store, &[]);
    let base = current(&store.state()).model;
    let events = later(&network, &store, WAIT_MS);
    let aborted = |e: &Event| {
        matches!(
            e,
            Event::RoundAborted {
                reason: AbortReason::TooFewGroups,
                ..
            }
        )
    };
    assert!(events.iter().any(aborted), "{events:?}");
    let state = store.state();
    assert_eq!(
        (current(&state).round, current(&state).model),
        (RoundId(1), base)
    );
    let fresh = PrivateRound {
        round: RoundId(1),
        last_keys: (0..4)
            .map(|v| (network.validator(v), share_key(v, RoundId(0))))
            .collect(),
        ..PrivateRound::default()
    };
    assert_eq!(private(&state), &fresh);
    let record = store.round(TASK, RoundId(0)).unwrap().unwrap();
    assert_eq!(record.outcome, Outcome::Aborted(AbortReason::TooFewGroups));
    assert_eq!(record.accepted.len(), 6);
    verify_chain(&store, &network.genesis, |_| {}).unwrap();
}

#[test]
fn a_validator_without_a_share_key_has_nothing_to_sum() {
    let (network, store) = network();
    let state = store.state();
    network.commit(&store, (0..3).map(|v| network.share_key_tx(&state, v)));
    later(&network, &store, WAIT_MS);
    network.draw(&store);
    let state = store.state();
    network.commit(&store, (0..6).map(|i| network.private_update_tx(&state, i)));
    let state = store.state();
    let sum = network.sum_tx(&state, 3, 0);
    assert!(matches!(refused(&state, &sum), PrivateError::NoShareKey(_)));
    // The three that have one are all: no wait for the fourth.
    network.commit(&store, network.sum_txs(&state, &[0, 1, 2]));
    assert!(network.is_sealed(&store.state()));
}

#[test]
fn a_result_is_bound_to_the_opened_sums() {
    let (network, store) = network();
    with_updates(&network, &store, &[]);
    let state = store.state();
    network.commit(&store, network.sum_txs(&state, &[0, 1, 2, 3]));
    let state = store.state();
    let Phase::Closed(closed) = &current(&state).phase else {
        panic!("closed")
    };
    let Transaction::Aggregate(mut certificate) =
        network.aggregate_tx(&state, ModelRoot::from_bytes([9; 32]))
    else {
        panic!("a certificate");
    };
    // Signed by all, but on the update set alone: says nothing of what was opened.
    certificate.statement.update_set = closed.update_set;
    let message = certificate.statement.signing_bytes(network.chain_id());
    certificate.signatures = network.quorum(&message);
    let refused = check_tx(&state, &Transaction::Aggregate(certificate));
    assert!(
        matches!(
            refused,
            Err(TxError::WrongStatement {
                field: "update_set",
                ..
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn keys_of_the_private_entries_scan_together() {
    assert_eq!(encode(&StateKey::Private(TASK))[0], 8);
    assert_eq!(encode(&StateKey::PrivateRound(TASK, RoundId(0)))[0], 9);
}

#[test]
fn a_height_without_a_deadline_is_never_due() {
    let (network, store) = network();
    assert_eq!(
        store.state().next_deadline(),
        None,
        "only keys can move the round"
    );
    network.form_groups(&store);
    let due = store.state().next_deadline().unwrap();
    assert!(due.0 > store.state().time_ms.0 + BLOCK_INTERVAL_MS);
    assert_eq!(store.state().height, Height(3));
}

/// Who gives the last key knows the block before it, not the one that the draw hashes.
#[test]
fn the_draw_hashes_a_block_that_came_after_the_keys() {
    let (network, store) = network();
    let keys = |round| (0..4).map(move |v| (v, RoundId(round)));
    let sign = |(v, round)| network.sign_share_key(v, round, share_key(v, round));
    let drawn_from = |round, height| {
        let block = store.block(Height(height)).unwrap().unwrap().hash();
        cifer_chain::private::round_seed(network.chain_id(), TASK, RoundId(round), block)
    };
    network.commit(&store, keys(0).map(sign));
    assert_eq!(private(&store.state()).keys_fixed, Some(Height(1)));
    for _ in 0..2 {
        let state = store.state();
        assert_eq!(private(&state).stage, Stage::Keys, "{}", state.height);
        assert!(
            state.next_deadline().unwrap() <= state.time_ms,
            "nobody waits"
        );
        network.commit(&store, []);
    }
    let state = store.state();
    assert_eq!(private(&state).stage.seed(), Some(drawn_from(0, 2)));

    // Keys that come ahead, the last one of them in the very block that begins their round.
    network.commit(&store, (0..6).map(|i| network.private_update_tx(&state, i)));
    network.commit(&store, keys(1).take(3).map(sign));
    network.commit(&store, network.sum_txs(&store.state(), &[0, 1, 2, 3]));
    let result = network.aggregate_tx(&store.state(), model_after(RoundId(0)));
    network.commit(&store, [sign((3, RoundId(1))), result]);
    let state = store.state();
    assert_eq!(
        (current(&state).round, state.height),
        (RoundId(1), Height(7))
    );
    for _ in 0..2 {
        assert_eq!(private(&store.state()).stage, Stage::Keys);
        network.commit(&store, []);
    }
    let state = store.state();
    assert_eq!(private(&state).stage.seed(), Some(drawn_from(1, 8)));
}

/// Otherwise another validator could publish it as a key of its own, and the committee would hold it twice.
#[test]
fn the_point_of_an_absent_validator_follows_from_the_draw() {
    let (network, store) = network();
    let state = store.state();
    network.commit(&store, (0..3).map(|v| network.share_key_tx(&state, v)));
    later(&network, &store, WAIT_MS);
    network.draw(&store);
    let state = store.state();
    let task = current(&state);
    let keys_of = |private: &PrivateRound| {
        let (chain_id, validators) = (network.chain_id(), &state.validators);
        let terms =
            cifer_chain::RoundTerms::new(chain_id, &task.task, task.round, validators, private);
        let recipients = terms.unwrap().unwrap().committee().recipients().to_vec();
        recipients
            .iter()
            .map(|key| key.to_bytes())
            .collect::<Vec<_>>()
    };
    let mut other = private(&state).clone();
    let Stage::Open { seed, .. } = &mut other.stage else {
        panic!("open")
    };
    seed.0[0] ^= 1;
    let absent =
        cifer_chain::private::seat(&state.validators, &network.validator(3)).expect("a seat");
    let pairs = keys_of(private(&state)).into_iter().zip(keys_of(&other));
    for (seat, (one, other)) in pairs.enumerate() {
        assert_eq!(one != other, seat == absent, "seat {seat}");
    }
}

#[test]
fn a_share_key_of_any_earlier_round_is_refused() {
    let (network, store) = network();
    let old = share_key(0, RoundId(0));
    with_updates(&network, &store, &[]);
    // Validator 0 gives no key of the second round, which ends all the same.
    for round in 0..2 {
        let next = RoundId(round + 1);
        let keys = (1..4).map(|v| network.sign_share_key(v, next, share_key(v, next)));
        network.commit(&store, keys);
        let live = private(&store.state()).keys.len();
        let speakers: Vec<usize> = (4 - live..4).collect();
        network.commit(&store, network.sum_txs(&store.state(), &speakers));
        let result = network.aggregate_tx(&store.state(), model_after(RoundId(round)));
        network.commit(&store, [result]);
        later(&network, &store, WAIT_MS);
        network.draw(&store);
        let state = store.state();
        assert_eq!(current(&state).round, next);
        network.commit(&store, (0..6).map(|i| network.private_update_tx(&state, i)));
    }
    let state = store.state();
    let tx = network.sign_share_key(0, RoundId(3), old);
    assert_eq!(refused(&state, &tx), PrivateError::KeyReused(old));
    let copied = network.sign_share_key(2, RoundId(3), old);
    assert_eq!(refused(&state, &copied), PrivateError::KeyReused(old));
}

#[test]
fn an_aborted_round_costs_no_second_wait_for_keys() {
    let (network, store) = network();
    with_updates(&network, &store, &[]);
    let state = store.state();
    network.commit(&store, (0..4).map(|v| network.share_key_tx(&state, v)));
    // Nobody publishes a sum.
    later(&network, &store, WAIT_MS);
    let state = store.state();
    assert_eq!(
        (current(&state).round, &private(&state).stage),
        (RoundId(1), &Stage::Keys)
    );
    assert!(state.next_deadline().unwrap() <= state.time_ms);
    network.commit(&store, []);
    assert!(matches!(private(&store.state()).stage, Stage::Open { .. }));
}

/// What genesis validation reckons with is what a payload has.
#[test]
fn genesis_knows_the_length_of_a_private_payload() {
    for (validators, contributors, group_size) in [(4, 6, 3), (7, 9, 2), (4, 12, 12), (13, 5, 5)] {
        for value_bits in [4, 8, 11, 16] {
            for parameters in [1, 2_048, 4_097, 100_000] {
                let network = Network::private(validators, contributors, group_size).with(|g| {
                    let task = &mut g.tasks[0];
                    task.privacy.as_mut().unwrap().value_bits = value_bits;
                    task.tensors[0].shape = vec![parameters];
                    task.tensors.truncate(1);
                });
                let task = network.genesis.tasks[0].clone();
                let terms = task.privacy.clone().unwrap();
                let (network, store) = started(network);
                network.form_groups(&store);
                let frame = cifer_chain::private::testing::round_terms(&network, &store.state());
                let bytes =
                    terms.payload_bytes(validators as u64, contributors as u64, task.coordinates());
                assert_eq!(
                    bytes,
                    frame.payload().unwrap().total(),
                    "{validators} {group_size} {value_bits} {parameters}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn a_partition_puts_everybody_in_one_group(
        count in 0..200_u64, group_size in 2..12_u64, seed in any::<[u8; 32]>()
    ) {
        let terms = Privacy { group_size, ..Privacy::grouped_sum(1) };
        let everybody: Vec<ContributorId> = (0..count)
            .map(|index| ContributorId(cifer_chain::testing::key(2, index as usize).public_key()))
            .collect();
        let groups = partition(&terms, Hash32(seed), everybody.clone());
        prop_assert_eq!(groups.len() as u64, count / group_size);
        let mut shuffled = everybody.clone();
        shuffled.reverse();
        prop_assert_eq!(&groups, &partition(&terms, Hash32(seed), shuffled));
        if groups.is_empty() {
            return Ok(());
        }
        let sizes: Vec<u64> = groups.iter().map(|group| group.len() as u64).collect();
        let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        prop_assert!(*least >= group_size && most - least <= 1);
        prop_assert_eq!(*most, terms.largest_group(count));
        let mut all: Vec<_> = groups.into_iter().flatten().collect();
        let mut expected = everybody;
        all.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(all, expected);
    }
}

/// Six contributors make ten pairs of groups of three; a fair draw shows them all alike.
#[test]
fn the_draw_of_groups_is_fair() {
    let terms = Privacy::grouped_sum(1);
    let everybody: Vec<ContributorId> = (0..6)
        .map(|index| ContributorId(cifer_chain::testing::key(2, index).public_key()))
        .collect();
    let mut seen: BTreeMap<Vec<ContributorId>, u32> = BTreeMap::new();
    let draws = 4_000_u32;
    for index in 0..draws {
        let seed = Hash32::derive("cifer/chain/testing/v1", &index.to_le_bytes());
        let mut groups = partition(&terms, seed, everybody.clone());
        groups.sort();
        *seen.entry(groups.swap_remove(0)).or_default() += 1;
    }
    assert_eq!(seen.len(), 10);
    // Expected 400 each with a standard deviation of 19; five of them.
    let fair = draws / 10 - 95..=draws / 10 + 95;
    assert!(seen.values().all(|count| fair.contains(count)), "{seen:?}");
}
