//! Every refusal that concerns the ledger, and what accepted transactions do.

use cifer_chain::{
    AggregateCertificate, AggregateStatement, AggregateVote, ApplyError, Block, BlockHash, Builder,
    CertificateError, Culprit, Event, Evidence, EvidenceError, Hash32, Height, MemoryStore,
    ModelRoot, OffenceSite, Phase, Registration, RejectReason, RoundId, SecretKey, Signature,
    State, StateKey, StateRoot, Store, TaskId, TimestampMs, Transaction, Turn, TxError, TxHash,
    Update, VERIFY_ALL, ValidatorId, Vote, VoteKind, VotingPower, apply, apply_with, check_tx,
    state::MAX_FAULTS,
    testing::{BLOCK_INTERVAL_MS, GENESIS_TIME, Network, TASK, current, key, model_after},
};

fn network() -> (Network, MemoryStore) {
    let network = Network::new(4, 4);
    let store = MemoryStore::new(&network.genesis).unwrap();
    (network, store)
}

/// The transaction is refused by mempool, builder and apply alike, and leaves no trace.
#[track_caller]
fn refused(network: &Network, state: &State, tx: Transaction) -> TxError {
    let error = check_tx(state, &tx).unwrap_err();
    let time_ms = TimestampMs(state.time_ms.0 + BLOCK_INTERVAL_MS);
    let mut builder = Builder::new(state, time_ms, network.validator(0), VERIFY_ALL).unwrap();
    let empty = builder.size_bytes();
    assert_eq!(builder.push(tx.clone()).unwrap_err(), error);
    assert_eq!(builder.size_bytes(), empty);
    let draft = builder.finish();
    assert!(draft.transactions().is_empty());
    let (mut block, untouched) = draft.seal(StateRoot::default());
    assert_eq!(
        apply(state, &block).unwrap(),
        untouched,
        "a refused transaction left a trace"
    );
    block.transactions.push(tx);
    block.header.tx_root = Block::compute_tx_root(network.chain_id(), &block.transactions);
    match apply(state, &block).unwrap_err() {
        ApplyError::Tx {
            index: 0,
            error: inner,
            ..
        } => assert_eq!(*inner, error),
        other => panic!("refused for another reason: {other}"),
    }
    error
}

fn changed(network: &Network, state: &State, change: impl FnOnce(&mut Update)) -> Transaction {
    let mut update = network.update(state, 0);
    change(&mut update);
    network.certify(network.sign(update, 0))
}

#[test]
fn an_update_of_another_base_round_or_task_is_refused() {
    let (network, store) = network();
    store_after_round(&network, &store);
    let state = store.state();
    let (round, model) = (current(&state).round, current(&state).model);
    assert_eq!(round, RoundId(1));
    let other = ModelRoot::from_bytes([9; 32]);
    let tx = changed(&network, &state, |u| u.base = other);
    let expected = TxError::WrongBase {
        task: TASK,
        round,
        got: other,
        expected: model,
    };
    assert_eq!(refused(&network, &state, tx), expected);
    for got in [RoundId(0), RoundId(2), RoundId(u64::MAX)] {
        let tx = changed(&network, &state, |u| u.round = got);
        let expected = TxError::WrongRound {
            task: TASK,
            got,
            current: round,
        };
        assert_eq!(refused(&network, &state, tx), expected);
    }
    let tx = changed(&network, &state, |u| u.task = TaskId(77));
    assert_eq!(
        refused(&network, &state, tx),
        TxError::UnknownTask(TaskId(77))
    );
}

fn store_after_round(network: &Network, store: &MemoryStore) {
    network.run_round(store);
}

#[test]
fn an_update_of_no_samples_or_of_the_wrong_length_is_refused() {
    let (network, store) = network();
    let state = store.state();
    let tx = changed(&network, &state, |u| u.samples = 0);
    assert_eq!(refused(&network, &state, tx), TxError::NoSamples);
    for bytes in [0, 39, 41, 44] {
        let tx = changed(&network, &state, |u| u.payload_bytes = bytes);
        let expected = TxError::WrongPayloadLength {
            task: TASK,
            bytes,
            expected: 40,
        };
        assert_eq!(refused(&network, &state, tx), expected);
    }
    let limit = state.limits.max_payload_bytes;
    let tx = changed(&network, &state, |u| u.payload_bytes = limit + 1);
    assert_eq!(
        refused(&network, &state, tx),
        TxError::PayloadTooLarge {
            bytes: limit + 1,
            limit
        }
    );
}

#[test]
fn a_second_turn_in_a_round_is_refused_whatever_became_of_the_first() {
    let (network, store) = network();
    let state = store.state();
    let rejected = network.sign(network.update(&state, 1), 1);
    network.commit(
        &store,
        [
            network.update_tx(&state, 0),
            network.reject(rejected, RejectReason::NotFinite),
        ],
    );
    let state = store.state();
    for contributor in [0, 1] {
        let mut update = network.update(&state, contributor);
        update.samples += 1;
        let signed = network.sign(update, contributor);
        let id = network.contributor(contributor);
        let used = TxError::TurnUsed {
            task: TASK,
            round: RoundId(0),
            contributor: id,
        };
        assert_eq!(
            refused(&network, &state, network.certify(signed.clone())),
            used
        );
        let rejection = network.reject(signed, RejectReason::OutOfRange);
        assert_eq!(refused(&network, &state, rejection), used);
    }
}

#[test]
fn the_same_transaction_twice_in_a_block_is_refused() {
    let (network, store) = network();
    let state = store.state();
    let tx = network.update_tx(&state, 0);
    let mut block = network
        .propose_at(&store, later(&state), [tx.clone()])
        .block;
    block.transactions.push(tx.clone());
    block.header.tx_root = Block::compute_tx_root(network.chain_id(), &block.transactions);
    let hash = tx.hash(network.chain_id());
    let error = Box::new(TxError::Duplicate(hash));
    assert_eq!(
        apply(&state, &block),
        Err(ApplyError::Tx {
            index: 1,
            hash,
            error
        })
    );
}

fn later(state: &State) -> TimestampMs {
    TimestampMs(state.time_ms.0 + BLOCK_INTERVAL_MS)
}

#[test]
fn an_unregistered_contributor_is_refused() {
    let (mut network, store) = network();
    let state = store.state();
    network.contributors.push(key(2, 99));
    let tx = network.update_tx(&state, 4);
    let stranger = network.contributor(4);
    assert_eq!(
        refused(&network, &state, tx),
        TxError::NotRegistered(stranger)
    );
    let signed = network.sign(network.update(&state, 4), 4);
    let tx = network.reject(signed, RejectReason::NotFinite);
    assert_eq!(
        refused(&network, &state, tx),
        TxError::NotRegistered(stranger)
    );
}

#[test]
fn forged_signatures_are_refused() {
    let (network, store) = network();
    let state = store.state();
    // Signed by somebody else.
    let forged = network.sign(network.update(&state, 0), 1);
    assert!(matches!(
        refused(&network, &state, network.certify(forged.clone())),
        TxError::Signature(_)
    ));
    let rejection = network.reject(forged, RejectReason::NotFinite);
    assert!(matches!(
        refused(&network, &state, rejection),
        TxError::Signature(_)
    ));
    // Signed for another network.
    let foreign = Network::new(4, 4).with(|genesis| genesis.chain_id = "other-net".into());
    let tx = foreign.update_tx(&state, 0);
    assert!(matches!(
        refused(&network, &state, tx),
        TxError::Signature(_)
    ));
    // Changed after signing.
    let mut signed = network.sign(network.update(&state, 0), 0);
    signed.update.samples += 1;
    let tx = network.certify(signed);
    assert!(matches!(
        refused(&network, &state, tx),
        TxError::Signature(_)
    ));
}

/// Changes the certificate of a transaction that carries one.
fn signatures(tx: &mut Transaction) -> &mut Vec<(ValidatorId, Signature)> {
    match tx {
        Transaction::Update(certified) => &mut certified.availability,
        Transaction::Rejection(certified) => &mut certified.signatures,
        Transaction::Aggregate(certificate) => &mut certificate.signatures,
        _ => panic!("no certificate"),
    }
}

#[test]
fn certificates_short_of_power_or_with_a_wrong_signer_are_refused() {
    let (network, store) = network();
    let open = store.state();
    let rejected = network.sign(network.update(&open, 0), 0);
    let update = network.update_tx(&open, 0);
    let rejection = network.reject(rejected, RejectReason::WrongLength);
    network.commit(&store, (0..4).map(|i| network.update_tx(&open, i)));
    let closed = store.state();
    let aggregate = network.aggregate_tx(&closed, model_after(RoundId(0)));
    for (state, valid) in [(&open, update), (&open, rejection), (&closed, aggregate)] {
        check_tx(state, &valid).unwrap();

        let mut three_of_four = valid.clone();
        signatures(&mut three_of_four).pop();
        check_tx(state, &three_of_four).unwrap();

        let mut short = valid.clone();
        signatures(&mut short).truncate(2);
        let (signed, total) = (VotingPower(2), VotingPower(4));
        let expected = CertificateError::ShortOfPower { signed, total };
        assert_eq!(refused(&network, state, short), expected.into());

        let mut twice = valid.clone();
        let first = signatures(&mut twice)[0];
        signatures(&mut twice).truncate(2);
        signatures(&mut twice).push(first);
        let expected = CertificateError::DuplicateSigner(first.0);
        assert_eq!(refused(&network, state, twice), expected.into());

        let mut stranger = valid.clone();
        let outsider = ValidatorId(key(9, 0).public_key());
        signatures(&mut stranger)[3].0 = outsider;
        let expected = CertificateError::UnknownSigner(outsider);
        assert_eq!(refused(&network, state, stranger), expected.into());

        let mut forged = valid.clone();
        let (swap, victim) = (signatures(&mut forged)[0].1, signatures(&mut forged)[3].0);
        signatures(&mut forged)[3].1 = swap;
        let expected = CertificateError::BadSignature(victim);
        assert_eq!(refused(&network, state, forged), expected.into());
    }
}

#[test]
fn power_counts_and_not_heads() {
    let network = Network::new(4, 4).with(|genesis| genesis.validators[0].power = VotingPower(7));
    let store = MemoryStore::new(&network.genesis).unwrap();
    let state = store.state();
    let mut tx = network.update_tx(&state, 0);
    signatures(&mut tx).truncate(1);
    check_tx(&state, &tx).unwrap();
    let mut tx = network.update_tx(&state, 0);
    signatures(&mut tx).remove(0);
    let (signed, total) = (VotingPower(3), VotingPower(10));
    let expected = CertificateError::ShortOfPower { signed, total };
    assert_eq!(refused(&network, &state, tx), expected.into());
}

#[test]
fn a_verdict_is_not_a_verdict_on_something_else() {
    let (network, store) = network();
    let state = store.state();
    let signed = network.sign(network.update(&state, 0), 0);
    let Transaction::Rejection(mut certified) =
        network.reject(signed.clone(), RejectReason::NotFinite)
    else {
        panic!("a rejection")
    };
    certified.reason = RejectReason::OutOfRange;
    let tx = Transaction::Rejection(certified.clone());
    assert!(matches!(
        refused(&network, &state, tx),
        TxError::Certificate(_)
    ));
    let Transaction::Update(mut update) = network.certify(signed) else {
        panic!("an update")
    };
    update.availability = certified.signatures;
    let tx = Transaction::Update(update);
    assert!(matches!(
        refused(&network, &state, tx),
        TxError::Certificate(_)
    ));
}

#[test]
fn a_closed_round_takes_no_updates_and_an_open_one_no_result() {
    let (network, store) = network();
    let open = store.state();
    let task = current(&open);
    let statement = AggregateStatement {
        task: TASK,
        round: RoundId(0),
        rule: task.definition,
        update_set: Hash32::default(),
        base: task.model,
        model: model_after(RoundId(0)),
    };
    let signatures = network.quorum(&statement.signing_bytes(network.chain_id()));
    let early = Transaction::Aggregate(AggregateCertificate {
        statement,
        signatures,
    });
    let expected = TxError::RoundOpen {
        task: TASK,
        round: RoundId(0),
    };
    assert_eq!(refused(&network, &open, early), expected);

    let late = network.update_tx(&open, 3);
    let rejected = network.reject(
        network.sign(network.update(&open, 3), 3),
        RejectReason::NotFinite,
    );
    let first = (0..2).map(|i| network.update_tx(&open, i));
    let deadline = TimestampMs(GENESIS_TIME.0 + 100);
    network.commit_at(&store, deadline, first);
    network.commit_at(&store, TimestampMs(deadline.0 + 10_000), []);
    let closed = store.state();
    assert!(matches!(current(&closed).phase, Phase::Closed(_)));
    let expected = TxError::RoundClosed {
        task: TASK,
        round: RoundId(0),
    };
    assert_eq!(refused(&network, &closed, late), expected);
    assert_eq!(refused(&network, &closed, rejected), expected);
}

#[test]
fn a_result_of_another_rule_set_base_or_round_is_refused() {
    let (network, store) = network();
    let open = store.state();
    network.commit(&store, (0..4).map(|i| network.update_tx(&open, i)));
    let state = store.state();
    let task = current(&state);
    let right = task.statement(model_after(RoundId(0))).unwrap();
    let sign = |change: fn(&mut AggregateStatement)| {
        let mut statement = right;
        change(&mut statement);
        let signatures = network.quorum(&statement.signing_bytes(network.chain_id()));
        Transaction::Aggregate(AggregateCertificate {
            statement,
            signatures,
        })
    };
    let other = Hash32([3; 32]);
    let wrong = |field, expected| TxError::WrongStatement {
        task: TASK,
        field,
        got: other,
        expected,
    };
    assert_eq!(
        refused(&network, &state, sign(|s| s.rule = Hash32([3; 32]))),
        wrong("rule", right.rule)
    );
    assert_eq!(
        refused(&network, &state, sign(|s| s.update_set = Hash32([3; 32]))),
        wrong("update_set", right.update_set)
    );
    assert!(matches!(
        refused(
            &network,
            &state,
            sign(|s| s.base = ModelRoot(Hash32([3; 32])))
        ),
        TxError::WrongBase { .. }
    ));
    assert!(matches!(
        refused(&network, &state, sign(|s| s.round = RoundId(1))),
        TxError::WrongRound { .. }
    ));
    assert_eq!(
        refused(&network, &state, sign(|s| s.task = TaskId(5))),
        TxError::UnknownTask(TaskId(5))
    );
}

#[test]
fn a_certified_result_opens_the_next_round_from_the_new_model() {
    let (network, store) = network();
    let base = current(&store.state()).model;
    let model = network.run_round(&store);
    let state = store.state();
    assert_eq!(
        (current(&state).round, current(&state).model),
        (RoundId(1), model)
    );
    let record = store.round(TASK, RoundId(0)).unwrap().unwrap();
    assert_eq!((record.base, record.model()), (base, model));
    assert_eq!(record.accepted.len(), 4);
    assert!(
        record
            .accepted
            .is_sorted_by_key(|turn| turn.update.contributor)
    );
    assert_eq!(record.closed.unwrap().height, Height(1));
    assert_eq!(record.ended.height, Height(2));
    let turn = store
        .turn(TASK, RoundId(0), network.contributor(2))
        .unwrap();
    assert!(matches!(turn, Some(Turn::Accepted(turn)) if turn.height == Height(1)));
    let contributor = &state.contributors[&network.contributor(2)];
    assert_eq!((contributor.accepted, contributor.rejected), (1, 0));
    let events = store.events(Height(2)).unwrap().unwrap();
    assert!(matches!(
        events[..],
        [Event::RoundFinalised { model: m, .. }, Event::RoundOpened { round: RoundId(1), base: b, .. }]
            if m == model && b == model
    ));
}

#[test]
fn registration_is_for_open_networks_good_names_and_new_keys() {
    let register = |network: &Network, index: usize, name: &str| {
        let registration = Registration::sign(name.into(), network.chain_id(), &key(2, index));
        Transaction::Register(registration)
    };
    let (network, store) = network();
    let tx = register(&network, 50, "late");
    assert_eq!(
        refused(&network, &store.state(), tx),
        TxError::RegistrationClosed
    );

    let network = Network::new(4, 4).with(|genesis| {
        genesis.contributors.open_registration = true;
        genesis.limits.max_contributors = 5;
    });
    let store = MemoryStore::new(&network.genesis).unwrap();
    let state = store.state();
    for name in ["", "with space", "ü", &"x".repeat(49)] {
        let error = refused(&network, &state, register(&network, 50, name));
        assert!(matches!(error, TxError::BadName(_)), "{name:?}: {error}");
    }
    let taken = network.contributor(0);
    let tx = register(&network, 0, "again");
    assert_eq!(
        refused(&network, &state, tx),
        TxError::AlreadyRegistered(taken)
    );
    let Transaction::Register(mut forged) = register(&network, 50, "late") else {
        panic!()
    };
    forged.name = "other".into();
    let tx = Transaction::Register(forged);
    assert!(matches!(
        refused(&network, &state, tx),
        TxError::Signature(_)
    ));

    network.commit(&store, [register(&network, 50, "late")]);
    let state = store.state();
    let new = cifer_chain::ContributorId(key(2, 50).public_key());
    assert_eq!(state.contributors[&new].registered_at, Height(1));
    let tx = register(&network, 51, "later");
    assert_eq!(
        refused(&network, &state, tx),
        TxError::TooManyContributors { limit: 5 }
    );
}

#[test]
fn oversize_transactions_and_blocks_are_refused() {
    let network = Network::new(4, 4).with(|genesis| genesis.limits.max_tx_bytes = 400);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let state = store.state();
    let tx = network.update_tx(&state, 0);
    let bytes = borsh::object_length(&tx).unwrap() as u64;
    assert_eq!(
        refused(&network, &state, tx),
        TxError::TooLarge { bytes, limit: 400 }
    );

    let network = Network::new(4, 4).with(|genesis| genesis.limits.max_block_bytes = 1_500);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let state = store.state();
    let mut builder =
        Builder::new(&state, later(&state), network.validator(0), VERIFY_ALL).unwrap();
    let results: Vec<_> = (0..4)
        .map(|i| builder.push(network.update_tx(&state, i)))
        .collect();
    assert!(results[0].is_ok());
    let full = TxError::BlockFull {
        bytes: builder.size_bytes() + bytes,
        limit: 1_500,
    };
    assert_eq!(results[3], Err(full));
    let size = builder.size_bytes();
    let (mut block, _) = builder.finish().seal(StateRoot::default());
    assert_eq!(borsh::object_length(&block).unwrap() as u64, size);
    block.transactions = (0..4).map(|i| network.update_tx(&state, i)).collect();
    block.header.tx_root = Block::compute_tx_root(network.chain_id(), &block.transactions);
    assert!(matches!(
        apply(&state, &block),
        Err(ApplyError::TooLarge { limit: 1_500, .. })
    ));
}

#[test]
fn a_header_that_does_not_continue_the_chain_is_refused() {
    let (network, store) = network();
    network.commit(&store, []);
    let state = store.state();
    let tx = network.update_tx(&state, 0);
    let good = network.propose_at(&store, later(&state), [tx]).block;
    let with = |change: fn(&mut Block)| {
        let mut block = good.clone();
        change(&mut block);
        apply(&state, &block).unwrap_err()
    };
    assert!(matches!(
        with(|b| b.header.chain_id = "x".into()),
        ApplyError::ChainId { .. }
    ));
    assert!(matches!(
        with(|b| b.header.height = Height(1)),
        ApplyError::Height { .. }
    ));
    assert!(matches!(
        with(|b| b.header.height = Height(3)),
        ApplyError::Height { .. }
    ));
    let stale = |b: &mut Block| b.header.parent = BlockHash::default();
    assert!(matches!(with(stale), ApplyError::Parent { .. }));
    let same_time = |b: &mut Block| b.header.time_ms = TimestampMs(GENESIS_TIME.0 + 100);
    assert!(matches!(with(same_time), ApplyError::Time { .. }));
    let outsider = |b: &mut Block| b.header.proposer = ValidatorId(key(9, 9).public_key());
    assert!(matches!(with(outsider), ApplyError::Proposer(_)));
    let other_set = |b: &mut Block| b.header.validators = Hash32::default();
    assert!(matches!(with(other_set), ApplyError::Validators { .. }));
    assert!(matches!(
        with(|b| b.header.tx_root.0[0] ^= 1),
        ApplyError::TxRoot { .. }
    ));
    assert!(matches!(
        with(|b| b.transactions.clear()),
        ApplyError::TxRoot { .. }
    ));

    let mut wrong_root = good.clone();
    wrong_root.header.state_root = StateRoot::default();
    let error = store.execute(wrong_root, VERIFY_ALL).unwrap_err();
    assert!(error.to_string().contains("state root"), "{error}");
    store.execute(good, VERIFY_ALL).unwrap();
}

#[test]
fn known_signatures_are_not_checked_again_but_everything_else_is() {
    let (network, store) = network();
    let state = store.state();
    let mut tx = network.update_tx(&state, 0);
    signatures(&mut tx)[0].1.0[0] ^= 1;
    let hash = tx.hash(network.chain_id());
    let known = |known: &TxHash| *known == hash;
    let mut builder = Builder::new(&state, later(&state), network.validator(0), &known).unwrap();
    builder.push(tx.clone()).unwrap();
    assert!(matches!(builder.push(tx), Err(TxError::Duplicate(_))));
    let (block, _) = builder.finish().seal(StateRoot::default());
    apply(&state, &block).unwrap_err();
    apply_with(&state, &block, &|known| *known == hash).unwrap();
    apply_with(&state, &block, &|known| *known != hash).unwrap_err();
}

fn vote(key: &SecretKey, chain_id: &str, change: impl FnOnce(&mut Vote)) -> (Vote, Signature) {
    let mut vote = Vote {
        kind: VoteKind::Precommit,
        height: Height(1),
        round: 0,
        block: None,
        validator: ValidatorId(key.public_key()),
    };
    change(&mut vote);
    let signature = key.sign_bytes(&vote.signing_bytes(chain_id));
    (vote, signature)
}

fn votes(first: (Vote, Signature), second: (Vote, Signature)) -> Transaction {
    Transaction::Evidence(Evidence::ConflictingVotes { first, second })
}

#[test]
fn evidence_has_to_prove_something_new_about_somebody_known() {
    let (network, store) = network();
    let state = store.state();
    let (cheat, chain_id) = (&network.validators[2], network.chain_id());
    let some = |v: &mut Vote| v.block = Some(BlockHash::from_bytes([1; 32]));
    let nil = vote(cheat, chain_id, |_| {});
    let block = vote(cheat, chain_id, some);
    let refuse = |tx| match refused(&network, &state, tx) {
        TxError::Evidence(error) => error,
        other => panic!("{other}"),
    };

    assert_eq!(
        refuse(votes(block.clone(), nil.clone())),
        EvidenceError::Order
    );
    assert_eq!(
        refuse(votes(nil.clone(), nil.clone())),
        EvidenceError::NoConflict
    );
    type Change = (&'static str, fn(&mut Vote));
    let changes: [Change; 3] = [
        ("height", |v| v.height = Height(2)),
        ("round", |v| v.round = 1),
        ("kind", |v| v.kind = VoteKind::Prevote),
    ];
    for (field, change) in changes {
        let other = vote(cheat, chain_id, change);
        assert_eq!(
            refuse(votes(nil.clone(), other)),
            EvidenceError::NotComparable(field)
        );
    }
    let another = vote(&network.validators[1], chain_id, some);
    assert_eq!(
        refuse(votes(nil.clone(), another)),
        EvidenceError::NotComparable("validator")
    );
    let outsider = key(9, 0);
    let tx = votes(
        vote(&outsider, chain_id, |_| {}),
        vote(&outsider, chain_id, some),
    );
    let culprit = Culprit::Validator(ValidatorId(outsider.public_key()));
    assert_eq!(refuse(tx), EvidenceError::UnknownCulprit(culprit));
    let ahead = |v: &mut Vote| v.height = Height(2);
    let ahead_block = vote(cheat, chain_id, |v| {
        some(v);
        ahead(v);
    });
    let tx = votes(vote(cheat, chain_id, ahead), ahead_block);
    assert_eq!(
        refuse(tx),
        EvidenceError::Future(OffenceSite::Votes(Height(2)))
    );
    let mut forged = block.clone();
    forged.1.0[5] ^= 1;
    let error = refused(&network, &state, votes(nil.clone(), forged));
    assert!(matches!(error, TxError::Signature(_)));

    let tx = votes(nil, block);
    network.commit(&store, [tx.clone()]);
    let state = store.state();
    assert_eq!(state.validator_faults[&network.validator(2)], 1);
    let Transaction::Evidence(evidence) = &tx else {
        panic!()
    };
    let offence = cifer_chain::offence(evidence);
    assert!(store.value(&StateKey::Evidence(offence)).unwrap().is_some());
    let known = TxError::Evidence(EvidenceError::Known(OffenceSite::Votes(Height(1))));
    assert_eq!(refused(&network, &state, tx), known);
    // Another pair of the same height is the same offence.
    let other = vote(cheat, chain_id, |v| {
        v.block = Some(BlockHash::from_bytes([2; 32]))
    });
    let third = vote(cheat, chain_id, |v| {
        v.block = Some(BlockHash::from_bytes([3; 32]))
    });
    assert_eq!(refused(&network, &state, votes(other, third)), known);
}

#[test]
fn conflicting_results_and_updates_are_recorded() {
    let (network, store) = network();
    let state = store.state();
    let chain_id = network.chain_id();
    let mut pair = [network.update(&state, 1), network.update(&state, 1)];
    pair[1].samples += 1;
    let mut signed = pair.map(|update| network.sign(update, 1));
    signed.sort_by_key(|s| s.id(chain_id));
    let [first, second] = signed;
    let conflict = Evidence::ConflictingUpdates { first, second };
    let statement = |model| AggregateStatement {
        task: TASK,
        round: RoundId(0),
        rule: current(&state).definition,
        update_set: Hash32::default(),
        base: current(&state).model,
        model: ModelRoot::from_bytes([model; 32]),
    };
    let sign = |model| AggregateVote::sign(statement(model), chain_id, &network.validators[3]);
    let results = Evidence::ConflictingAggregates {
        first: sign(1),
        second: sign(2),
    };
    network.commit(&store, [conflict, results].map(Transaction::Evidence));
    let state = store.state();
    assert_eq!(state.contributors[&network.contributor(1)].faults, 1);
    assert_eq!(state.validator_faults[&network.validator(3)], 1);
    assert_eq!(state.offences.len(), 2);
    let mut future = [statement(1), statement(2)];
    future.iter_mut().for_each(|s| s.round = RoundId(1));
    let [first, second] = future.map(|s| AggregateVote::sign(s, chain_id, &network.validators[3]));
    let tx = Transaction::Evidence(Evidence::ConflictingAggregates { first, second });
    let site = OffenceSite::Aggregates(TASK, RoundId(1));
    assert_eq!(
        refused(&network, &state, tx),
        EvidenceError::Future(site).into()
    );
}

#[test]
fn the_record_of_one_cheat_is_bounded() {
    let (network, store) = network();
    let chain_id = network.chain_id();
    let evidence = |height: u64| {
        let at = |v: &mut Vote| v.height = Height(height);
        let nil = vote(&network.validators[0], chain_id, at);
        let block = vote(&network.validators[0], chain_id, |v| {
            at(v);
            v.block = Some(BlockHash::from_bytes([1; 32]));
        });
        votes(nil, block)
    };
    for height in 1..=u64::from(MAX_FAULTS) {
        network.commit(&store, [evidence(height)]);
    }
    let full = EvidenceError::RecordFull { limit: MAX_FAULTS };
    let tx = evidence(u64::from(MAX_FAULTS) + 1);
    assert_eq!(refused(&network, &store.state(), tx), full.into());
}
