//! What one transaction does to the state.
//!
//! Order matters: checks against the state come first (they are cheap), signatures next (they
//! dominate), and only then does anything change, so that a refused transaction leaves no trace.

use std::collections::BTreeSet;

use cifer_genesis::{ContributorId, Height, TaskId, TxHash};

use crate::{
    aggregate::AggregateCertificate,
    error::{EvidenceError, TxError},
    event::Event,
    evidence::{Culprit, Evidence, check_conflict, offence},
    key::{EvidenceRecord, Offence, OffenceSite, StateKey},
    private::PrivateError,
    round::{
        AcceptedUpdate, Finished, Moment, OpenRound, Phase, RejectedUpdate, TaskState, Turn,
        expected_payload_bytes,
    },
    state::{Contributor, MAX_FAULTS, State, Writes, encode},
    tx::{Registration, Transaction},
    update::{RejectReason, Update, Verdict, verify_verdicts},
    validators::ValidatorSet,
};

/// Longest name of a contributor, as in genesis.
const MAX_NAME_BYTES: usize = 48;

/// A state in the middle of a block.
#[derive(Debug, Clone)]
pub(crate) struct Working {
    pub(crate) state: State,
    /// The block being made.
    pub(crate) now: Moment,
    /// Entries written once, with their value.
    pub(crate) records: Writes,
    /// Entries whose value is taken from the state at the end of the block.
    pub(crate) dirty: BTreeSet<StateKey>,
    pub(crate) events: Vec<Event>,
}

/// Every signature and certificate of a transaction and nothing else: no state but the validator set is looked at.
fn verify_signatures(
    chain_id: &str,
    validators: &ValidatorSet,
    tx: &Transaction,
) -> Result<(), TxError> {
    match tx {
        Transaction::Register(registration) => registration.verify(chain_id)?,
        Transaction::Update(certified) => {
            let signed = &certified.signed;
            signed.verify(chain_id)?;
            let signatures = &certified.availability;
            verify_verdicts(signed, Verdict::Available, signatures, chain_id, validators)?;
        }
        Transaction::Rejection(certified) => {
            let signed = &certified.signed;
            signed.verify(chain_id)?;
            let verdict = Verdict::Rejected(certified.reason);
            verify_verdicts(signed, verdict, &certified.signatures, chain_id, validators)?;
        }
        Transaction::Aggregate(certificate) => certificate.verify(chain_id, validators)?,
        Transaction::ShareKey(key) => key.verify(chain_id)?,
        Transaction::KeyShareSum(sum) => sum.verify(chain_id)?,
        // Has a proof, see `View::verify`.
        Transaction::ShareFraud(_) => {}
        Transaction::Evidence(Evidence::ConflictingVotes { first, second }) => {
            for (vote, signature) in [first, second] {
                vote.validator
                    .key()
                    .verify_bytes(&vote.signing_bytes(chain_id), signature)?;
            }
        }
        Transaction::Evidence(Evidence::ConflictingAggregates { first, second }) => {
            first.verify(chain_id)?;
            second.verify(chain_id)?;
        }
        Transaction::Evidence(Evidence::ConflictingUpdates { first, second }) => {
            first.verify(chain_id)?;
            second.verify(chain_id)?;
        }
    }
    Ok(())
}

/// What a transaction is checked against.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) state: &'a State,
    /// Height of the block being made.
    pub(crate) height: Height,
}

impl Working {
    /// Applies one transaction, or refuses it and changes nothing.
    pub(crate) fn transact(
        &mut self,
        tx: &Transaction,
        hash: TxHash,
        signatures_known: bool,
    ) -> Result<(), TxError> {
        let view = View {
            state: &self.state,
            height: self.now.height,
        };
        view.check(tx)?;
        if !signatures_known {
            view.verify(tx)?;
        }
        let height = self.now.height;
        match tx {
            Transaction::Register(registration) => self.register(registration),
            Transaction::Update(certified) => {
                let update = certified.signed.update.clone();
                self.take_turn(Turn::Accepted(AcceptedUpdate {
                    update,
                    tx: hash,
                    height,
                }));
            }
            Transaction::Rejection(certified) => {
                let (update, reason) = (certified.signed.update.clone(), certified.reason);
                let turn = RejectedUpdate {
                    update,
                    reason,
                    tx: hash,
                    height,
                };
                self.take_turn(Turn::Rejected(turn));
            }
            Transaction::Aggregate(certificate) => self.finalise(certificate, hash),
            Transaction::Evidence(evidence) => self.record_fault(offence(evidence), hash),
            Transaction::ShareKey(key) => self.publish_key(key),
            Transaction::KeyShareSum(sum) => self.add_sum(sum, hash),
            Transaction::ShareFraud(fraud) => self.expose(fraud, hash),
        }
        Ok(())
    }

    fn register(&mut self, registration: &Registration) {
        let contributor = registration.contributor;
        let entry = Contributor {
            name: registration.name.clone(),
            registered_at: self.now.height,
            accepted: 0,
            rejected: 0,
            faults: 0,
        };
        self.state.contributors.insert(contributor, entry);
        self.dirty.insert(StateKey::Contributor(contributor));
        self.events
            .push(Event::ContributorRegistered { contributor });
    }

    /// Uses a contributor's turn; [`View::check_turn`] has been passed.
    fn take_turn(&mut self, turn: Turn) {
        let update = match &turn {
            Turn::Accepted(turn) => &turn.update,
            Turn::Rejected(turn) => &turn.update,
        };
        let (id, round, contributor) = (update.task, update.round, update.contributor);
        if let Some(value) = encode(&turn) {
            self.records
                .insert(StateKey::Update(id, round, contributor), value);
        }
        let Some(task) = self.state.tasks.get_mut(&id) else {
            return;
        };
        let Phase::Open(open) = &mut task.phase else {
            return;
        };
        let Some(sender) = self.state.contributors.get_mut(&contributor) else {
            return;
        };
        let event = match turn {
            Turn::Accepted(turn) => {
                sender.accepted = sender.accepted.saturating_add(1);
                let tx = turn.tx;
                open.updates.insert(contributor, turn);
                Event::UpdateAccepted {
                    task: id,
                    round,
                    contributor,
                    tx,
                }
            }
            Turn::Rejected(turn) => {
                sender.rejected = sender.rejected.saturating_add(1);
                let (tx, reason) = (turn.tx, turn.reason);
                open.rejected.insert(contributor, turn);
                Event::UpdateRejected {
                    task: id,
                    round,
                    contributor,
                    reason,
                    tx,
                }
            }
        };
        self.dirty
            .extend([StateKey::Contributor(contributor), StateKey::Task(id)]);
        self.events.push(event);
    }

    /// Ends a closed round; [`View::check_aggregate`] has been passed.
    fn finalise(&mut self, certificate: &AggregateCertificate, tx: TxHash) {
        let id = certificate.statement.task;
        let Some(task) = self.state.tasks.get_mut(&id) else {
            return;
        };
        let Some(record) = task.finalise(self.now, certificate.clone()) else {
            return;
        };
        let (round, model) = (record.0.round, record.0.model());
        self.events.push(Event::RoundFinalised {
            task: id,
            round,
            model,
            tx,
        });
        self.finish_round(&record);
    }

    /// Keeps a finished round and announces what comes next.
    pub(crate) fn finish_round(&mut self, (record, private): &Finished) {
        let (id, round) = (record.task, record.round);
        if let Some(value) = encode(record) {
            self.records.insert(StateKey::Round(id, round), value);
        }
        if let Some(value) = private.as_ref().and_then(encode) {
            self.records
                .insert(StateKey::PrivateRound(id, round), value);
        }
        self.dirty
            .extend([StateKey::Task(id), StateKey::Private(id)]);
        let Some(task) = self.state.tasks.get(&id) else {
            return;
        };
        self.events.push(match &task.phase {
            Phase::Open(open) => Event::RoundOpened {
                task: id,
                round: task.round,
                base: task.model,
                deadline_ms: open.deadline_ms,
            },
            Phase::Closed(_) | Phase::Complete => Event::TaskCompleted {
                task: id,
                model: task.model,
            },
        });
    }

    /// Puts an offence on record; [`View::check_evidence`] has been passed.
    fn record_fault(&mut self, offence: Offence, tx: TxHash) {
        if let Some(value) = encode(&EvidenceRecord {
            tx,
            height: self.now.height,
        }) {
            self.records.insert(StateKey::Evidence(offence), value);
        }
        self.state.offences.insert(offence);
        let culprit = offence.culprit;
        match culprit {
            Culprit::Validator(id) => {
                let faults = self.state.validator_faults.entry(id).or_insert(0);
                *faults = faults.saturating_add(1);
                self.dirty.insert(StateKey::ValidatorFaults(id));
            }
            Culprit::Contributor(id) => {
                if let Some(contributor) = self.state.contributors.get_mut(&id) {
                    contributor.faults = contributor.faults.saturating_add(1);
                    self.dirty.insert(StateKey::Contributor(id));
                }
            }
        }
        let faults = self.state.faults_of(&culprit);
        self.events.push(Event::FaultRecorded {
            culprit,
            faults,
            tx,
        });
    }
}

impl<'a> View<'a> {
    /// Signatures, certificates and proofs: what costs, and never changes for the same bytes.
    pub(crate) fn verify(&self, tx: &Transaction) -> Result<(), TxError> {
        match tx {
            Transaction::ShareFraud(fraud) => self.verify_share_fraud(fraud),
            _ => verify_signatures(&self.state.chain_id, &self.state.validators, tx),
        }
    }

    /// Everything but the signatures and proofs.
    pub(crate) fn check(&self, tx: &Transaction) -> Result<(), TxError> {
        match tx {
            Transaction::Register(registration) => self.check_registration(registration),
            Transaction::Update(certified) => self.check_update(&certified.signed.update),
            // A rejected update may well be of the wrong length: that is what it is rejected for.
            Transaction::Rejection(certified) => {
                if certified.reason == RejectReason::BadShare {
                    return Err(PrivateError::NeedsProof.into());
                }
                self.check_turn(&certified.signed.update).map(|_| ())
            }
            Transaction::Aggregate(certificate) => self.check_aggregate(certificate),
            Transaction::Evidence(evidence) => self.check_evidence(evidence),
            Transaction::ShareKey(key) => self.check_share_key(key),
            Transaction::KeyShareSum(sum) => self.check_key_share_sum(sum),
            Transaction::ShareFraud(fraud) => self.check_share_fraud(fraud),
        }
    }

    pub(crate) fn check_update(&self, update: &Update) -> Result<(), TxError> {
        let task = self.check_turn(update)?;
        self.check_payload(update, task)
    }

    fn check_payload(&self, update: &Update, task: &TaskState) -> Result<(), TxError> {
        let (bytes, limit) = (update.payload_bytes, self.state.limits.max_payload_bytes);
        if bytes > limit {
            return Err(TxError::PayloadTooLarge { bytes, limit });
        }
        if task.private().is_some() {
            self.check_private_payload(task, update)?;
        } else {
            let expected = expected_payload_bytes(&task.task, update.encoding).unwrap_or(u64::MAX);
            if bytes != expected {
                return Err(TxError::WrongPayloadLength {
                    task: task.task.id,
                    bytes,
                    expected,
                });
            }
        }
        if update.samples == 0 {
            Err(TxError::NoSamples)
        } else {
            Ok(())
        }
    }

    fn check_registration(&self, registration: &Registration) -> Result<(), TxError> {
        let (id, name) = (registration.contributor, &registration.name);
        let limit = self.state.limits.max_contributors;
        if !self.state.open_registration {
            return Err(TxError::RegistrationClosed);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(TxError::BadName(
                name.chars().take(MAX_NAME_BYTES + 1).collect(),
            ));
        }
        if self.state.contributors.contains_key(&id) {
            return Err(TxError::AlreadyRegistered(id));
        }
        if self.state.contributors.len() as u64 >= limit {
            return Err(TxError::TooManyContributors { limit });
        }
        Ok(())
    }

    /// Whether this contributor may use its turn of this round with this update.
    fn check_turn(&self, update: &Update) -> Result<&'a TaskState, TxError> {
        let (task, round, contributor) = (update.task, update.round, update.contributor);
        let state = self.task(task)?;
        if round != state.round {
            return Err(TxError::WrongRound {
                task,
                got: round,
                current: state.round,
            });
        }
        if !self.state.contributors.contains_key(&contributor) {
            return Err(TxError::NotRegistered(contributor));
        }
        let open = match &state.phase {
            Phase::Open(open) => open,
            Phase::Closed(_) => return Err(TxError::RoundClosed { task, round }),
            Phase::Complete => return Err(TxError::TaskComplete(task)),
        };
        if update.base != state.model {
            let (got, expected) = (update.base, state.model);
            return Err(TxError::WrongBase {
                task,
                round,
                got,
                expected,
            });
        }
        self.check_encoding(state, update)?;
        if has_turn(open, &contributor) {
            return Err(TxError::TurnUsed {
                task,
                round,
                contributor,
            });
        }
        let max_updates = state.task.rounds.max_updates;
        if open.turns_used() >= max_updates {
            return Err(TxError::RoundFull {
                task,
                round,
                max_updates,
            });
        }
        Ok(state)
    }

    pub(crate) fn task(&self, task: TaskId) -> Result<&'a TaskState, TxError> {
        self.state
            .tasks
            .get(&task)
            .ok_or(TxError::UnknownTask(task))
    }

    fn check_aggregate(&self, certificate: &AggregateCertificate) -> Result<(), TxError> {
        let got = &certificate.statement;
        let (task, round) = (got.task, got.round);
        let state = self.task(task)?;
        if state.phase == Phase::Complete {
            return Err(TxError::TaskComplete(task));
        }
        if round != state.round {
            return Err(TxError::WrongRound {
                task,
                got: round,
                current: state.round,
            });
        }
        let expected = state
            .statement(got.model)
            .ok_or(TxError::RoundOpen { task, round })?;
        if got.base != expected.base {
            let (got, expected) = (got.base, expected.base);
            return Err(TxError::WrongBase {
                task,
                round,
                got,
                expected,
            });
        }
        for (field, got, expected) in [
            ("rule", got.rule, expected.rule),
            ("update_set", got.update_set, expected.update_set),
        ] {
            if got != expected {
                return Err(TxError::WrongStatement {
                    task,
                    field,
                    got,
                    expected,
                });
            }
        }
        Ok(())
    }

    fn check_evidence(&self, evidence: &Evidence) -> Result<(), TxError> {
        check_conflict(evidence, &self.state.chain_id)?;
        let offence = offence(evidence);
        let known_culprit = match offence.culprit {
            Culprit::Validator(id) => self.state.validators.power_of(&id).is_some(),
            Culprit::Contributor(id) => self.state.contributors.contains_key(&id),
        };
        if !known_culprit {
            return Err(EvidenceError::UnknownCulprit(offence.culprit).into());
        }
        // The block being made is voted on too, so its height counts as happening.
        let happened = match offence.site {
            OffenceSite::Votes(height) => height > Height(0) && height <= self.height,
            OffenceSite::Aggregates(task, round) | OffenceSite::Updates(task, round) => {
                round <= self.task(task)?.round
            }
        };
        if !happened {
            return Err(EvidenceError::Future(offence.site).into());
        }
        if self.state.offences.contains(&offence) {
            return Err(EvidenceError::Known(offence.site).into());
        }
        if self.state.faults_of(&offence.culprit) >= MAX_FAULTS {
            return Err(EvidenceError::RecordFull { limit: MAX_FAULTS }.into());
        }
        Ok(())
    }
}

fn has_turn(open: &OpenRound, contributor: &ContributorId) -> bool {
    open.updates.contains_key(contributor) || open.rejected.contains_key(contributor)
}
