//! Random sequences of transactions, run on a store with the laws checked on the way. The tests of the
//! durable store run the same.

use cifer_chain::{
    Builder, Evidence, Registration, RejectReason, StateKey, Store, TimestampMs, Transaction,
    VERIFY_ALL, Vote, VoteKind, apply, check_tx,
    decode::encode,
    decode_tx,
    testing::{Network, TASK, current, key, model_after},
};
use proptest::prelude::*;

/// Something that somebody may send: sometimes valid, often not.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    Update {
        contributor: usize,
        stale: bool,
        samples: u64,
    },
    Reject {
        contributor: usize,
    },
    Aggregate {
        quorum: usize,
    },
    Register {
        index: usize,
    },
    Equivocate {
        validator: usize,
        height: u64,
    },
    Flip {
        contributor: usize,
        bit: usize,
    },
    NextBlock {
        after_ms: u64,
    },
}

pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (0..5_usize, prop::bool::weighted(0.1), 0..3_u64)
            .prop_map(|(contributor, stale, samples)| Action::Update { contributor, stale, samples }),
        2 => (0..4_usize).prop_map(|contributor| Action::Reject { contributor }),
        3 => (2..5_usize).prop_map(|quorum| Action::Aggregate { quorum }),
        1 => (4..7_usize).prop_map(|index| Action::Register { index }),
        1 => (0..4_usize, 0..4_u64)
            .prop_map(|(validator, height)| Action::Equivocate { validator, height }),
        1 => (0..4_usize, 0..5_000_usize)
            .prop_map(|(contributor, bit)| Action::Flip { contributor, bit }),
        5 => (1..15_000_u64).prop_map(|after_ms| Action::NextBlock { after_ms }),
    ]
}

pub(crate) fn equivocation(network: &Network, validator: usize, height: u64) -> Transaction {
    let key = &network.validators[validator];
    let vote = |block: Option<u8>| {
        let vote = Vote {
            kind: VoteKind::Prevote,
            height: cifer_chain::Height(height),
            round: 0,
            block: block.map(|b| cifer_chain::BlockHash::from_bytes([b; 32])),
            validator: network.validator(validator),
        };
        let signature = key.sign_bytes(&vote.signing_bytes(network.chain_id()));
        (vote, signature)
    };
    Transaction::Evidence(Evidence::ConflictingVotes {
        first: vote(None),
        second: vote(Some(1)),
    })
}

fn transaction(network: &Network, store: &dyn Store, action: &Action) -> Option<Transaction> {
    let state = store.state();
    let task = current(&state);
    Some(match *action {
        Action::Update {
            contributor,
            stale,
            samples,
        } => {
            let mut update = network.update(&state, contributor);
            update.samples = samples;
            if stale {
                update.round.0 = update.round.0.wrapping_sub(1);
            }
            network.certify(network.sign(update, contributor))
        }
        Action::Reject { contributor } => {
            let signed = network.sign(network.update(&state, contributor), contributor);
            network.reject(signed, RejectReason::NotFinite)
        }
        Action::Aggregate { quorum } => {
            task.statement(model_after(task.round))?;
            let mut tx = network.aggregate_tx(&state, model_after(task.round));
            if let Transaction::Aggregate(certificate) = &mut tx {
                certificate.signatures.truncate(quorum);
            }
            tx
        }
        Action::Register { index } => {
            let name = format!("late-{index}");
            Transaction::Register(Registration::sign(name, network.chain_id(), &key(2, index)))
        }
        Action::Equivocate { validator, height } => equivocation(network, validator, height),
        Action::Flip { contributor, bit } => {
            let mut bytes = encode(&network.update_tx(&state, contributor));
            let bits = bytes.len() * 8;
            bytes[bit % bits / 8] ^= 1 << (bit % 8);
            decode_tx(&bytes, 1 << 16).ok()?
        }
        Action::NextBlock { .. } => return None,
    })
}

/// Runs a sequence of actions on a store, block by block, and checks the laws on the way.
pub(crate) fn run(network: &Network, store: &dyn Store, actions: &[Action]) {
    let mut waiting = Vec::new();
    for action in actions {
        if let Some(tx) = transaction(network, store, action) {
            waiting.push(tx);
        }
        let Action::NextBlock { after_ms } = action else {
            continue;
        };
        let state = store.state();
        let time_ms = TimestampMs(state.time_ms.0 + after_ms);
        let mut all = Builder::new(&state, time_ms, network.validator(0), VERIFY_ALL).unwrap();
        let mut valid = Vec::new();
        for tx in waiting.drain(..) {
            let alone = check_tx(&state, &tx);
            if all.push(tx.clone()).is_ok() {
                valid.push(tx);
            } else if valid.is_empty() {
                alone.unwrap_err();
            }
        }
        // The refused ones left no trace: without them the same block comes out.
        let mut only = Builder::new(&state, time_ms, network.validator(0), VERIFY_ALL).unwrap();
        for tx in valid {
            only.push(tx).unwrap();
        }
        let executed = store.propose(all.finish()).unwrap();
        let twin = store.propose(only.finish()).unwrap();
        assert_eq!(executed.block, twin.block);
        assert_eq!(executed.transition, twin.transition);
        // What the proposer builds is what the others compute.
        assert_eq!(apply(&state, &executed.block).unwrap(), executed.transition);
        let checked = store.execute(executed.block.clone(), VERIFY_ALL).unwrap();
        assert_eq!(checked.tree.root, executed.tree.root);
        let task = current(&executed.transition.state);
        if let cifer_chain::Phase::Open(open) = &task.phase {
            assert!(open.turns_used() <= task.task.rounds.max_updates);
            assert!(
                open.updates
                    .keys()
                    .all(|id| !open.rejected.contains_key(id))
            );
        }
        let certificate = network.commit_certificate(&executed.block);
        store.commit(&executed, &certificate).unwrap();
        // The state is nothing but its entries.
        for key in [StateKey::Meta, StateKey::Task(TASK), StateKey::Validators] {
            let (height, proof) = store.prove(key).unwrap();
            proof.verify(executed.tree.root).unwrap();
            assert_eq!(height, executed.block.header.height);
            assert_eq!(proof.value, executed.transition.state.entry(&key));
        }
    }
}

pub(crate) fn network(open: bool) -> Network {
    // The fifth key is registered only if registration is open and it registers.
    let mut network = Network::new(4, 4).with(|genesis| {
        genesis.contributors.open_registration = open;
        genesis.tasks[0].rounds.max_rounds = 6;
    });
    network.contributors.push(key(2, 4));
    network
}
