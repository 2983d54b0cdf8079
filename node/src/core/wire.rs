//! What nodes ask each other over the data plane: offers of updates, verdicts on them, aggregate
//! votes, transactions. Borsh, bounded by the data plane's request limit, decoded strictly.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_chain::{AggregateVote, RoundId, SignedUpdate, TaskId, Transaction, VerdictVote};

/// Payloads up to this size travel inside the offer, which saves a round trip; larger ones are
/// fetched. Well under the data plane's 1 MiB request limit.
pub(crate) const MAX_INLINE_BYTES: usize = 256 << 10;

/// Text of a refusal that is passed on is cut to this.
const MAX_REFUSAL_CHARS: usize = 512;

/// A request to a peer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Request {
    /// "I hold this update's payload; please check it and sign a verdict."
    Offer {
        /// The commitment.
        signed: SignedUpdate,
        /// The payload itself when it is small.
        inline: Option<Vec<u8>>,
    },
    /// A verdict that took longer than the offer's answer.
    Verdict(VerdictVote),
    /// "Which aggregate vote did you sign for this round?"
    AggregateVotes {
        /// Task.
        task: TaskId,
        /// Round.
        round: RoundId,
    },
    /// A transaction that gossip may have missed.
    Transaction(Box<Transaction>),
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Response {
    /// The verdict on an offer.
    Verdict(VerdictVote),
    /// The payload is being fetched; the verdict follows as a request.
    Pending,
    /// Received.
    Done,
    /// Known aggregate votes.
    AggregateVotes(Vec<AggregateVote>),
    /// Not accepted, and why.
    Refused(String),
}

impl Response {
    /// A refusal with a bounded text.
    pub(crate) fn refused(reason: impl ToString) -> Self {
        Self::Refused(reason.to_string().chars().take(MAX_REFUSAL_CHARS).collect())
    }
}

/// Encodes; our types have no failing encoders.
pub(crate) fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    borsh::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_cut() {
        let Response::Refused(text) = Response::refused("x".repeat(10_000)) else {
            panic!("a refusal")
        };
        assert_eq!(text.len(), MAX_REFUSAL_CHARS);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&Response::Pending);
        assert!(borsh::from_slice::<Response>(&bytes).is_ok());
        bytes.push(0);
        assert!(borsh::from_slice::<Response>(&bytes).is_err());
    }
}
