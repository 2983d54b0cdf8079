//! Proof that a contributor dealt a bad share: what it takes to be believed, and what it does.
//!
//! While the round is open the contributor's turn becomes a rejection; once the sets are fixed its group
//! is aborted, because the sum of its keys may be beyond decoding. Both count against the rule's `f`.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{ContributorId, RoundId, TaskId, TxHash};
use cifer_homocryption::ring::FraudProof;

use super::{Fate, GroupIndex, PrivateError, RoundFrame, RoundTerms, Stage, dealing_hash};
use crate::{
    error::TxError,
    event::Event,
    key::StateKey,
    round::{Phase, RejectedUpdate, TaskState, Turn},
    state::encode,
    transact::{View, Working},
    update::{PayloadEncoding, RejectReason, Update},
};

/// A validator's accusation. It needs no signature: only who holds the share key's secret can make the proof, and
/// whoever hands it in, it proves the same.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ShareFraud {
    /// Task.
    pub task: TaskId,
    /// Round.
    pub round: RoundId,
    /// Who is accused.
    pub contributor: ContributorId,
    /// The dealing's public half, whose hash the accused has signed.
    pub header: Vec<u8>,
    /// [`FraudProof`] in its canonical encoding.
    pub proof: Vec<u8>,
}

impl View<'_> {
    /// Everything but the proof, which [`Self::verify_share_fraud`] does.
    pub(crate) fn check_share_fraud(&self, fraud: &ShareFraud) -> Result<(), TxError> {
        self.accused_group(fraud).map(|_| ())
    }

    /// Verifies the proof. Like a signature it need not be verified twice: what it is verified against (share keys and seed of
    /// the round that the transaction names) is fixed from the block on that made it possible.
    pub(crate) fn verify_share_fraud(&self, fraud: &ShareFraud) -> Result<(), TxError> {
        let group = self.accused_group(fraud)?;
        let (state, private) = self.private_task(fraud.task)?;
        let contributor = fraud.contributor;
        let unfounded = |reason: String| PrivateError::Unfounded {
            contributor,
            reason,
        };
        let (chain_id, validators) = (&self.state.chain_id, &self.state.validators);
        let terms = RoundTerms::new(chain_id, &state.task, fraud.round, validators, private)
            .map_err(|error| PrivateError::Terms(error.to_string()))?
            .ok_or_else(|| unfounded("the round has no groups yet".to_owned()))?;
        let verify = || {
            let terms = terms.dealing(group, contributor)?;
            let proof = FraudProof::from_bytes(&fraud.proof, terms.committee)?;
            proof.verify_encoded(&terms, &fraud.header)
        };
        verify().map_err(|error| unfounded(error.to_string()).into())
    }

    /// The group of an accused who may be accused, of this dealing, by bytes of the right lengths.
    fn accused_group(&self, fraud: &ShareFraud) -> Result<GroupIndex, TxError> {
        let (task, round, contributor) = (fraud.task, fraud.round, fraud.contributor);
        let (state, private) = self.private_task(task)?;
        if round != state.round {
            return Err(TxError::WrongRound {
                task,
                got: round,
                current: state.round,
            });
        }
        let accepted = standing(state, contributor)?;
        let PayloadEncoding::GroupedSum { group, dealing, .. } = accepted.encoding else {
            return Err(PrivateError::NotPrivate(task).into());
        };
        let (chain_id, validators) = (&self.state.chain_id, &self.state.validators);
        let frame = RoundFrame::new(chain_id, &state.task, round, validators, private)
            .map_err(|error| PrivateError::Terms(error.to_string()))?;
        let (header, proof) = frame.map_or((0, 0), |frame| frame.fraud_bytes());
        for (part, bytes, expected) in [
            ("the dealing", fraud.header.len(), header),
            ("the proof", fraud.proof.len(), proof),
        ] {
            if bytes != expected {
                return Err(PrivateError::WrongFraudLength {
                    part,
                    bytes: bytes as u64,
                    expected: expected as u64,
                }
                .into());
            }
        }
        let got = dealing_hash(&fraud.header);
        if got != dealing {
            return Err(PrivateError::WrongDealing {
                contributor,
                got,
                expected: dealing,
            }
            .into());
        }
        Ok(group)
    }
}

/// The accepted update that an accusation is about. The accused has not been exposed before.
fn standing(state: &TaskState, contributor: ContributorId) -> Result<&Update, PrivateError> {
    let nothing = PrivateError::NothingToAccuse(contributor);
    match (&state.phase, state.private().map(|private| &private.stage)) {
        (Phase::Open(open), _) => open.updates.get(&contributor).map(|turn| &turn.update),
        (Phase::Closed(closed), Some(Stage::Closed { groups, .. })) => {
            let group = groups
                .iter()
                .find(|group| group.cohort.contains(&contributor));
            let open = group.is_some_and(|group| {
                matches!(group.fate, Fate::Opened | Fate::BadShare)
                    && !group.exposed.contains_key(&contributor)
            });
            let mut turns = closed.updates.iter();
            turns
                .find(|turn| open && turn.update.contributor == contributor)
                .map(|turn| &turn.update)
        }
        _ => None,
    }
    .ok_or(nothing)
}

impl Working {
    /// Draws the consequence; [`View::check_share_fraud`] has been passed.
    pub(crate) fn expose(&mut self, fraud: &ShareFraud, tx: TxHash) {
        let (task, round, contributor) = (fraud.task, fraud.round, fraud.contributor);
        let Some(state) = self.state.tasks.get_mut(&task) else {
            return;
        };
        match (
            &mut state.phase,
            state.private.as_mut().map(|p| &mut p.stage),
        ) {
            (Phase::Open(open), _) => {
                let Some(turn) = open.updates.remove(&contributor) else {
                    return;
                };
                let turn = RejectedUpdate {
                    update: turn.update,
                    reason: RejectReason::BadShare,
                    tx,
                    height: self.now.height,
                };
                open.rejected.insert(contributor, turn.clone());
                if let Some(sender) = self.state.contributors.get_mut(&contributor) {
                    sender.accepted = sender.accepted.saturating_sub(1);
                    sender.rejected = sender.rejected.saturating_add(1);
                }
                if let Some(value) = encode(&Turn::Rejected(turn)) {
                    let key = StateKey::Update(task, round, contributor);
                    self.records.insert(key, value);
                }
                self.dirty.insert(StateKey::Contributor(contributor));
            }
            (Phase::Closed(_), Some(Stage::Closed { groups, .. })) => {
                let mut groups = groups.iter_mut();
                if let Some(group) = groups.find(|group| group.cohort.contains(&contributor)) {
                    group.fate = Fate::BadShare;
                    group.exposed.insert(contributor, tx);
                }
            }
            _ => return,
        }
        self.dirty
            .extend([StateKey::Task(task), StateKey::Private(task)]);
        self.events.push(Event::ShareExposed {
            task,
            round,
            contributor,
            tx,
        });
    }
}
