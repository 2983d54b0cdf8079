//! Following rounds and events over gateways that stop, lag or lie.

mod common;

use std::sync::Arc;

use cifer_chain::{Height, RoundId, Store};
use cifer_client::{ChainEvent, ChainEventKind, Followed, RoundTransitionView};
use common::{Ledger, Lie, Setup, TASK, impatient, model_bytes};

const FLOATS: usize = 16;

fn open(followed: Followed) -> RoundId {
    match followed {
        Followed::Open(round) => round.round,
        Followed::Finished => panic!("finished"),
    }
}

/// Three rounds and no more.
fn three_rounds() -> Ledger {
    let tensors = vec![cifer_genesis::document::Tensor::f32("w", &[FLOATS as u64])];
    Ledger::with(3, model_bytes(0, FLOATS), tensors, |genesis| {
        genesis.tasks[0].rounds.max_rounds = 3;
    })
}

async fn follows_to_the_end(lies: &[Lie]) -> Setup {
    let setup = Setup::new(three_rounds(), lies).await;
    let client = setup.client();
    let mut follower = client.follow(TASK, None);
    let mut last = None;
    for round in 0..3 {
        let followed = follower.next_open(last).await.unwrap();
        assert_eq!(open(followed), RoundId(round));
        let ledger = Arc::clone(&setup.ledger);
        let label = round as u32 + 1;
        let ending = tokio::spawn(async move { ledger.finish_round(model_bytes(label, FLOATS)) });
        follower.ended(RoundId(round)).await.unwrap();
        ending.await.unwrap();
        last = Some(RoundId(round));
    }
    assert_eq!(follower.next_open(last).await.unwrap(), Followed::Finished);
    setup
}

#[tokio::test]
async fn rounds_are_followed_to_the_end() {
    follows_to_the_end(&[Lie::None]).await;
}

#[tokio::test]
async fn a_gateway_whose_events_break_off_is_replaced() {
    follows_to_the_end(&[Lie::DeadEvents, Lie::Down, Lie::None]).await;
}

#[tokio::test]
async fn finished_is_believed_only_with_proof() {
    let setup = Setup::new(three_rounds(), &[Lie::Finished, Lie::None]).await;
    setup.ledger.finish_round(model_bytes(1, FLOATS));
    setup.ledger.finish_round(model_bytes(2, FLOATS));
    // In the last round "finished" is plausible, but the state says that it goes on.
    let client = setup.client_with(impatient());
    let mut follower = client.follow(TASK, None);
    assert_eq!(open(follower.next_open(None).await.unwrap()), RoundId(2));
}

#[tokio::test]
async fn a_task_without_end_is_never_finished() {
    let setup = Setup::new(Ledger::new(3, FLOATS), &[Lie::Finished, Lie::None]).await;
    let client = setup.client();
    let mut follower = client.follow(TASK, None);
    assert_eq!(open(follower.next_open(None).await.unwrap()), RoundId(0));
    assert_eq!(client.gateways().faults().len(), 1);
}

#[tokio::test]
async fn an_aborted_round_leads_to_the_next() {
    let setup = Setup::new(three_rounds(), &[Lie::None]).await;
    let client = setup.client();
    let mut follower = client.follow(TASK, None);
    assert_eq!(open(follower.next_open(None).await.unwrap()), RoundId(0));
    setup.ledger.abort_round();
    follower.closed(RoundId(0)).await.unwrap();
    assert_eq!(
        open(follower.next_open(Some(RoundId(0))).await.unwrap()),
        RoundId(1)
    );
}

/// All events from height 1 on, whichever gateway they come from: each once and in order.
#[tokio::test]
async fn events_resume_without_gaps_and_repetitions() {
    let setup = Setup::new(
        three_rounds(),
        &[Lie::DeadEvents, Lie::DeadEvents, Lie::None],
    )
    .await;
    for label in 1..4 {
        setup.ledger.finish_round(model_bytes(label, FLOATS));
    }
    let tip = setup.ledger.store.tip();
    let client = setup.client();
    let mut events = client.events(Some(Height(1)), &[TASK]);
    let mut seen: Vec<ChainEvent> = Vec::new();
    let last = |seen: &[ChainEvent]| {
        let finalised = |event: &&ChainEvent| {
            let transition = RoundTransitionView::Finalised;
            matches!(&event.kind, ChainEventKind::Round { transition: t, .. } if *t == transition)
        };
        seen.iter().filter(finalised).count() == 3
    };
    while !last(&seen) {
        seen.push(events.next().await.unwrap());
    }
    let blocks: Vec<u64> = seen
        .iter()
        .filter(|event| matches!(event.kind, ChainEventKind::Block { .. }))
        .map(|event| event.height.0)
        .collect();
    assert_eq!(blocks, (1..=tip.0).collect::<Vec<_>>());
    let opened: Vec<RoundId> = seen
        .iter()
        .filter_map(|event| match event.kind {
            ChainEventKind::Round {
                round,
                transition: RoundTransitionView::Opened,
                ..
            } => Some(round),
            _ => None,
        })
        .collect();
    assert!(
        opened.windows(2).all(|pair| pair[0] < pair[1]),
        "{opened:?}"
    );
}
