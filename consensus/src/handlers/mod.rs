//! One handler a message of the engine. Each is a thin `handle` that always replies, around a
//! function that can be tested.

mod consensus_ready;
mod decided;
mod extend_vote;
mod finalized;
mod get_decided_values;
mod get_history_min_height;
mod get_value;
mod process_synced_value;
mod received_proposal_part;
mod restream_proposal;
mod started_round;
mod verify_vote_extensions;

use arc_malachitebft_app_channel::AppMsg;

use crate::{
    adapter::Adapter,
    api::{Application, Fatal},
    context::Cifer,
    reply::Reply,
};

/// Handles a message.
///
/// # Errors
/// Failures of our own that must end the engine. The reply in question is abandoned then.
pub(crate) async fn dispatch<A: Application>(
    adapter: &mut Adapter<A>,
    message: AppMsg<Cifer>,
) -> Result<(), Fatal> {
    match message {
        AppMsg::ConsensusReady { reply } => {
            consensus_ready::handle(adapter, Reply::new(reply, "ConsensusReady"));
            Ok(())
        }
        AppMsg::StartedRound {
            height,
            round,
            proposer,
            role,
            reply_value,
        } => {
            let reply = Reply::new(reply_value, "StartedRound");
            started_round::handle(adapter, height, round, proposer, role, reply)
        }
        AppMsg::GetValue {
            height,
            round,
            timeout: _,
            reply,
        } => get_value::handle(adapter, height, round, Reply::new(reply, "GetValue")).await,
        AppMsg::ExtendVote { reply, .. } => {
            extend_vote::handle(Reply::new(reply, "ExtendVote"));
            Ok(())
        }
        AppMsg::VerifyVoteExtensions {
            extensions, reply, ..
        } => {
            verify_vote_extensions::handle(&extensions, Reply::new(reply, "VerifyVoteExtensions"));
            Ok(())
        }
        AppMsg::RestreamProposal {
            height,
            round,
            valid_round,
            address,
            value_id,
        } => {
            restream_proposal::handle(adapter, height, round, valid_round, address, value_id).await
        }
        AppMsg::GetHistoryMinHeight { reply } => {
            get_history_min_height::handle(adapter, Reply::new(reply, "GetHistoryMinHeight"));
            Ok(())
        }
        AppMsg::ReceivedProposalPart {
            from,
            published_by,
            part,
            reply,
        } => {
            let reply = Reply::new(reply, "ReceivedProposalPart");
            received_proposal_part::handle(adapter, from, published_by, part, reply)
        }
        AppMsg::Decided {
            certificate,
            extensions: _,
            reply,
        } => decided::handle(adapter, certificate, Reply::new(reply, "Decided")),
        AppMsg::Finalized {
            certificate,
            extensions: _,
            evidence,
            reply,
        } => {
            let reply = Reply::new(reply, "Finalized");
            finalized::handle(adapter, &certificate, &evidence, reply);
            Ok(())
        }
        AppMsg::GetDecidedValues { range, reply } => {
            get_decided_values::handle(adapter, range, Reply::new(reply, "GetDecidedValues"))
        }
        AppMsg::ProcessSyncedValue {
            height,
            round,
            proposer,
            value_bytes,
            reply,
        } => {
            let reply = Reply::new(reply, "ProcessSyncedValue");
            process_synced_value::handle(adapter, height, round, proposer, &value_bytes, reply)
        }
    }
}

/// Answers with a result, or gives up the reply to a fatal error.
fn conclude<T>(reply: Reply<T>, result: Result<T, Fatal>) -> Result<(), Fatal> {
    match result {
        Ok(value) => {
            reply.send(value);
            Ok(())
        }
        Err(fatal) => {
            reply.abandon("halting");
            Err(fatal)
        }
    }
}

#[cfg(test)]
mod tests;
