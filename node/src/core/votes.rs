//! Aggregate votes of the open results, until more than two thirds of the power agree.
//!
//! Invariants: only votes of seats with verified signatures get in; one statement a validator and
//! round counts, a second one is evidence; bounded by tasks times validators times [`KEPT_ROUNDS`].

use std::collections::BTreeMap;

use cifer_chain::{
    AggregateCertificate, AggregateStatement, AggregateVote, Evidence, RoundId, TaskId,
    ValidatorId, ValidatorSet, VotingPower,
};

/// Rounds of a task whose votes are kept: the one being aggregated and the one after it, because a
/// peer may be a block ahead of us.
const KEPT_ROUNDS: u64 = 2;

/// What became of a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// New.
    Added,
    /// Known already.
    Known,
    /// The validator signed another result for the same round and update set.
    Equivocation(Box<Evidence>),
}

/// Votes by task, round and validator.
#[derive(Debug, Default)]
pub(crate) struct VotePool {
    votes: BTreeMap<(TaskId, RoundId), BTreeMap<ValidatorId, AggregateVote>>,
}

impl VotePool {
    /// Takes a vote whose signature and seat the caller has checked.
    pub(crate) fn add(&mut self, vote: AggregateVote) -> Outcome {
        let key = (vote.statement.task, vote.statement.round);
        let votes = self.votes.entry(key).or_default();
        match votes.get(&vote.validator) {
            None => {
                votes.insert(vote.validator, vote);
                Outcome::Added
            }
            Some(known) if known.statement == vote.statement => Outcome::Known,
            Some(known) => {
                let mut pair = [known.clone(), vote];
                pair.sort_by_key(|vote| vote.statement);
                let [first, second] = pair;
                let evidence = Evidence::ConflictingAggregates { first, second };
                Outcome::Equivocation(Box::new(evidence))
            }
        }
    }

    /// Votes for one round.
    pub(crate) fn of(&self, task: TaskId, round: RoundId) -> Vec<AggregateVote> {
        self.votes
            .get(&(task, round))
            .map(|v| v.values().cloned().collect())
            .unwrap_or_default()
    }

    /// The vote of one validator for one round.
    pub(crate) fn by(
        &self,
        task: TaskId,
        round: RoundId,
        validator: &ValidatorId,
    ) -> Option<&AggregateVote> {
        self.votes.get(&(task, round))?.get(validator)
    }

    /// A certificate, when more than two thirds of the power signed one statement.
    pub(crate) fn certificate(
        &self,
        task: TaskId,
        round: RoundId,
        validators: &ValidatorSet,
    ) -> Option<AggregateCertificate> {
        let mut groups: BTreeMap<AggregateStatement, Vec<&AggregateVote>> = BTreeMap::new();
        for vote in self.votes.get(&(task, round))?.values() {
            groups.entry(vote.statement).or_default().push(vote);
        }
        groups.into_iter().find_map(|(statement, votes)| {
            let power = votes
                .iter()
                .filter_map(|vote| validators.power_of(&vote.validator))
                .fold(0_u64, |sum, power| sum.saturating_add(power.0));
            VotingPower(power)
                .is_more_than_two_thirds_of(validators.total_power())
                .then(|| {
                    let signatures = votes.iter().map(|v| (v.validator, v.signature)).collect();
                    AggregateCertificate {
                        statement,
                        signatures,
                    }
                })
        })
    }

    /// Whether a vote for this round is worth keeping while the task is in `current`.
    pub(crate) fn is_relevant(round: RoundId, current: RoundId) -> bool {
        round >= current && round.0 - current.0 < KEPT_ROUNDS
    }

    /// Forgets rounds of a task before `current`.
    pub(crate) fn prune(&mut self, task: TaskId, current: RoundId) {
        self.votes
            .retain(|(t, round), _| *t != task || *round >= current);
    }
}
