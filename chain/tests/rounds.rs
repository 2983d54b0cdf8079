//! The round machine: when a round closes, is extended, aborts, and how a task ends.

use cifer_chain::{
    AbortReason, Event, Height, MemoryStore, Outcome, Phase, RejectReason, RoundId, Store,
    TimestampMs, Transaction,
    testing::{GENESIS_TIME, Network, TASK, current},
};
use cifer_genesis::document::RuleSpec;

/// Policy of the test network: 2 to 4 updates, 10 s, 2 extensions.
const DEADLINE_MS: u64 = 10_000;

fn start(network: &Network) -> MemoryStore {
    MemoryStore::new(&network.genesis).unwrap()
}

fn at(ms: u64) -> TimestampMs {
    TimestampMs(GENESIS_TIME.0 + ms)
}

fn rejection(network: &Network, store: &MemoryStore, contributor: usize) -> Transaction {
    let update = network.update(&store.state(), contributor);
    network.reject(network.sign(update, contributor), RejectReason::OutOfRange)
}

fn is_open(store: &MemoryStore) -> bool {
    matches!(current(&store.state()).phase, Phase::Open(_))
}

fn is_closed(store: &MemoryStore) -> bool {
    matches!(current(&store.state()).phase, Phase::Closed(_))
}

#[test]
fn a_round_closes_with_its_last_turn() {
    let network = Network::new(4, 4);
    let store = start(&network);
    let state = store.state();
    network.commit(&store, (0..3).map(|i| network.update_tx(&state, i)));
    assert!(is_open(&store));
    let last = network.commit(&store, [network.update_tx(&state, 3)]);
    assert!(is_closed(&store));
    assert!(matches!(
        last.transition.events.last(),
        Some(Event::RoundClosed {
            updates: 4,
            round: RoundId(0),
            ..
        })
    ));
    assert_eq!(store.state().next_deadline(), None);
}

#[test]
fn rejections_use_up_turns_and_close_early() {
    let network = Network::new(4, 4);
    let store = start(&network);
    let state = store.state();
    let accepted = (0..2).map(|i| network.update_tx(&state, i));
    network.commit(&store, accepted.chain([rejection(&network, &store, 2)]));
    assert!(is_open(&store));
    network.commit(&store, [rejection(&network, &store, 3)]);
    let state = store.state();
    let Phase::Closed(closed) = &current(&state).phase else {
        panic!("not closed")
    };
    assert_eq!((closed.updates.len(), closed.rejected.len()), (2, 2));
    let contributor = &store.state().contributors[&network.contributor(3)];
    assert_eq!((contributor.accepted, contributor.rejected), (0, 1));
}

#[test]
fn a_round_whose_turns_are_used_up_without_enough_for_the_rule_aborts_at_once() {
    // The three rejected contributors are proven Byzantine, but that only spares Krum its f = 0:
    // it still needs 3 updates.
    let network = Network::new(4, 4).with(|genesis| {
        genesis.tasks[0].rule = RuleSpec::Krum { f: 0 };
        genesis.tasks[0].rounds.min_updates = 3;
    });
    let store = start(&network);
    let base = current(&store.state()).model;
    let update = network.update_tx(&store.state(), 0);
    let rejected: Vec<_> = (1..4).map(|i| rejection(&network, &store, i)).collect();
    let block = network.commit(&store, [update].into_iter().chain(rejected));
    let record = store.round(TASK, RoundId(0)).unwrap().unwrap();
    assert_eq!(record.outcome, Outcome::Aborted(AbortReason::TurnsUsed));
    assert_eq!((record.accepted.len(), record.rejected.len()), (1, 3));
    assert_eq!(
        (record.model(), record.closed, record.update_set()),
        (base, None, None)
    );
    let state = store.state();
    assert_eq!(
        (current(&state).round, current(&state).model),
        (RoundId(1), base)
    );
    let events = &block.transition.events;
    assert!(events.contains(&Event::RoundAborted {
        task: TASK,
        round: RoundId(0),
        reason: AbortReason::TurnsUsed
    }));
    // The turn of the aborted round is still on record.
    assert!(
        store
            .turn(TASK, RoundId(0), network.contributor(0))
            .unwrap()
            .is_some()
    );
}

#[test]
fn certified_rejections_count_towards_the_quorum_and_against_f() {
    // Multi-Krum with f = 3 of 10 needs 9 updates; with all three liars proven, 7 are plenty.
    let network = Network::new(4, 10).with(|genesis| {
        genesis.tasks[0].rule = RuleSpec::MultiKrum { f: 3, m: 7 };
        genesis.tasks[0].rounds.min_updates = 9;
    });
    let store = start(&network);
    let state = store.state();
    network.commit(&store, (0..7).map(|i| network.update_tx(&state, i)));
    assert_eq!(current(&store.state()).effective_rule(), None, "still open");
    let rejected: Vec<_> = (7..10).map(|i| rejection(&network, &store, i)).collect();
    network.commit(&store, rejected);
    assert!(is_closed(&store));
    let effective = current(&store.state()).effective_rule();
    assert_eq!(effective, Some(RuleSpec::MultiKrum { f: 0, m: 7 }));
}

#[test]
fn a_deadline_closes_extends_and_in_the_end_aborts() {
    let network = Network::new(4, 4);
    let store = start(&network);
    network.commit_at(&store, at(1_000), [network.update_tx(&store.state(), 0)]);
    let mut due = 1_000 + DEADLINE_MS;
    for extension in 1..=2 {
        assert_eq!(store.state().next_deadline(), Some(at(due)));
        network.commit_at(&store, at(due - 1), []);
        assert_eq!(store.state().next_deadline(), Some(at(due)), "not due yet");
        // A late block grants the full time from itself on.
        let block = network.commit_at(&store, at(due + 5), []);
        let Some(Event::RoundExtended {
            extensions,
            deadline_ms,
            ..
        }) = block.transition.events.first()
        else {
            panic!("not extended: {:?}", block.transition.events)
        };
        due += 5 + DEADLINE_MS;
        assert_eq!((*extensions, *deadline_ms), (extension, at(due)));
    }
    network.commit_at(&store, at(due), []);
    let record = store.round(TASK, RoundId(0)).unwrap().unwrap();
    assert_eq!(record.outcome, Outcome::Aborted(AbortReason::Deadline));
    assert_eq!(record.extensions, 2);
    assert_eq!(store.state().next_deadline(), Some(at(due + DEADLINE_MS)));
}

#[test]
fn a_deadline_with_enough_updates_closes_the_round() {
    let network = Network::new(4, 4);
    let store = start(&network);
    let state = store.state();
    network.commit_at(&store, at(1), (0..2).map(|i| network.update_tx(&state, i)));
    network.commit_at(&store, at(DEADLINE_MS), []);
    assert!(is_open(&store));
    // An update in the block of the deadline still counts.
    network.commit_at(&store, at(DEADLINE_MS + 1), [network.update_tx(&state, 2)]);
    let state = store.state();
    let Phase::Closed(closed) = &current(&state).phase else {
        panic!("not closed")
    };
    assert_eq!(closed.updates.len(), 3);
}

#[test]
fn an_update_in_an_extension_counts() {
    let network = Network::new(4, 4);
    let store = start(&network);
    network.commit_at(&store, at(1), [network.update_tx(&store.state(), 0)]);
    network.commit_at(&store, at(1 + DEADLINE_MS), []);
    network.commit_at(
        &store,
        at(2 + DEADLINE_MS),
        [network.update_tx(&store.state(), 1)],
    );
    assert!(is_open(&store));
    network.commit_at(&store, at(1 + 2 * DEADLINE_MS), []);
    assert!(is_closed(&store));
}

#[test]
fn a_closed_round_waits_for_its_certificate_for_ever() {
    let network = Network::new(4, 4);
    let store = start(&network);
    let state = store.state();
    network.commit(&store, (0..4).map(|i| network.update_tx(&state, i)));
    for hours in 1..4 {
        network.commit_at(&store, at(hours * 3_600_000), []);
    }
    assert!(is_closed(&store));
}

#[test]
fn the_clock_of_the_first_round_starts_with_the_first_block() {
    let network = Network::new(4, 4);
    let store = start(&network);
    let late = 86_400_000;
    let block = network.commit_at(&store, at(late), []);
    assert_eq!(store.state().next_deadline(), Some(at(late + DEADLINE_MS)));
    assert!(matches!(
        block.transition.events[..],
        [Event::RoundOpened {
            round: RoundId(0),
            ..
        }]
    ));
}

#[test]
fn with_open_registration_only_max_updates_closes_early() {
    let network = Network::new(4, 3).with(|genesis| {
        genesis.contributors.open_registration = true;
        genesis.tasks[0].rounds.max_updates = 5;
    });
    let store = start(&network);
    let state = store.state();
    network.commit(&store, (0..3).map(|i| network.update_tx(&state, i)));
    assert!(is_open(&store), "somebody may still register");
}

#[test]
fn fewer_contributors_than_max_updates_close_when_all_had_their_turn() {
    let network = Network::new(4, 3).with(|genesis| genesis.tasks[0].rounds.max_updates = 50);
    let store = start(&network);
    let state = store.state();
    network.commit(&store, (0..3).map(|i| network.update_tx(&state, i)));
    assert!(is_closed(&store));
}

#[test]
fn a_task_ends_after_its_rounds() {
    let network = Network::new(4, 4).with(|genesis| genesis.tasks[0].rounds.max_rounds = 2);
    let store = start(&network);
    network.run_round(&store);
    assert!(!store.state().is_complete());
    let stale = network.update_tx(&store.state(), 0);
    let model = network.run_round(&store);
    let state = store.state();
    assert!(state.is_complete());
    assert_eq!(
        (current(&state).round, current(&state).model),
        (RoundId(1), model)
    );
    assert_eq!(state.next_deadline(), None);
    assert_eq!(
        cifer_chain::check_tx(&state, &stale),
        Err(cifer_chain::TxError::TaskComplete(TASK))
    );
    let events = store.events(Height(4)).unwrap().unwrap();
    assert_eq!(
        events.last(),
        Some(&Event::TaskCompleted { task: TASK, model })
    );
    network.commit_at(&store, at(1 << 40), []);
    assert!(store.state().is_complete());
}

#[test]
fn tasks_run_side_by_side() {
    let second = cifer_chain::TaskId(2);
    let network = Network::new(4, 4).with(|genesis| {
        let mut task = cifer_chain::testing::task(second, 4);
        task.rounds.deadline_ms = 777;
        genesis.tasks.push(task);
    });
    let store = start(&network);
    network.run_round(&store);
    let state = store.state();
    assert_eq!(current(&state).round, RoundId(1));
    assert_eq!(state.tasks[&second].round, RoundId(0));
    assert_eq!(state.next_deadline(), Some(at(100 + 777)));
}
