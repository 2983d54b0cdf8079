//! The height is over; the reply starts the next one and is withheld until there is something to
//! decide (see [`crate::pace`]). The engine waits in a task of its own, and goes on serving.

use arc_malachitebft_app_channel::app::{
    engine::host::Next,
    types::{
        MisbehaviorEvidence,
        core::{CommitCertificate, SignedVote},
    },
};
use cifer_chain::{evidence::Evidence, vote::Vote};
use cifer_genesis::Signature;
use tracing::warn;

use crate::{
    adapter::{Adapter, HeightReply},
    api::{Application, Phase},
    context::Cifer,
    reply::Reply,
};

pub(super) fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    certificate: &CommitCertificate<Cifer>,
    evidence: &MisbehaviorEvidence<Cifer>,
    reply: Reply<Next<Cifer>>,
) {
    let height = certificate.height;
    for (proposer, proposals) in evidence.proposals.iter() {
        warn!(%height, %proposer, pairs = proposals.len(), "proposer signed two proposals");
    }
    let votes: Vec<_> = evidence
        .votes
        .iter()
        .flat_map(|(_, pairs)| pairs)
        .filter_map(|(first, second)| conflicting_votes(first, second))
        .collect();
    if !votes.is_empty() {
        warn!(%height, count = votes.len(), "validators voted twice");
        adapter.app.evidence(votes);
    }
    adapter.waiting = Some(HeightReply::Finalized(reply));
    let proposer = adapter.next_proposer();
    adapter.show(Phase::Idle, proposer);
}

/// The ledger's form, smaller vote first; `None` when the pair proves nothing.
fn conflicting_votes(first: &SignedVote<Cifer>, second: &SignedVote<Cifer>) -> Option<Evidence> {
    let signed = |vote: &SignedVote<Cifer>| -> Option<(Vote, Signature)> {
        Some((vote.message.to_chain()?, vote.signature.0))
    };
    let (mut first, mut second) = (signed(first)?, signed(second)?);
    if second.0 < first.0 {
        std::mem::swap(&mut first, &mut second);
    }
    let position = |vote: &Vote| (vote.kind, vote.height, vote.round, vote.validator);
    (position(&first.0) == position(&second.0) && first.0.block != second.0.block)
        .then_some(Evidence::ConflictingVotes { first, second })
}

#[cfg(test)]
mod tests {
    use arc_malachitebft_app_channel::app::types::core::SignedMessage;
    use cifer_chain::vote::VoteKind;
    use cifer_genesis::{BlockHash, Height, SecretKey, ValidatorId};

    use super::*;
    use crate::context::{EngineSignature, EngineVote};

    fn vote(block: Option<[u8; 32]>, round: u32) -> SignedVote<Cifer> {
        let key = SecretKey::from_seed(&[1; 32]);
        let vote = Vote {
            kind: VoteKind::Precommit,
            height: Height(3),
            round,
            block: block.map(BlockHash::from_bytes),
            validator: ValidatorId(key.public_key()),
        };
        let signature = key.sign_bytes(&vote.signing_bytes("test"));
        SignedMessage::new(EngineVote::from_chain(&vote), EngineSignature(signature))
    }

    #[test]
    fn a_pair_has_one_form_whatever_its_order() {
        let (a, b) = (vote(None, 0), vote(Some([1; 32]), 0));
        let evidence = conflicting_votes(&a, &b).unwrap();
        assert_eq!(conflicting_votes(&b, &a).unwrap(), evidence);
        let Evidence::ConflictingVotes { first, second } = evidence else {
            panic!("votes")
        };
        assert!(first.0 < second.0);
        for (vote, signature) in [first, second] {
            let key = vote.validator;
            key.key()
                .verify_bytes(&vote.signing_bytes("test"), &signature)
                .unwrap();
        }
    }

    #[test]
    fn what_proves_nothing_is_no_evidence() {
        assert_eq!(conflicting_votes(&vote(None, 0), &vote(None, 0)), None);
        assert_eq!(
            conflicting_votes(&vote(None, 0), &vote(Some([1; 32]), 1)),
            None
        );
    }
}
