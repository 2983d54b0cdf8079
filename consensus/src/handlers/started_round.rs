//! A round begins; the consensus actor waits. Returns the proposals we already have for it, whether they
//! came too early or before a restart.

use std::time::Instant;

use arc_malachitebft_app_channel::app::{
    consensus::Role,
    types::{ProposedValue, core::Round},
};
use cifer_genesis::Height;
use tracing::debug;

use crate::{
    adapter::Adapter,
    api::{Application, Fatal, Origin, Phase},
    context::{Cifer, EngineAddress, EngineHeight},
    reply::Reply,
};

pub(super) fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    height: EngineHeight,
    round: Round,
    proposer: EngineAddress,
    role: Role,
    reply: Reply<Vec<ProposedValue<Cifer>>>,
) -> Result<(), Fatal> {
    let round = round.as_u32().unwrap_or(0);
    adapter.position = Some((height.0, round));
    adapter.show(Phase::Running, Some(proposer.0));
    debug!(%height, round, %proposer, ?role, "round started");
    reply.send(known_proposals(adapter, height.0, round));
    adapter.plan_call(height.0, round, role == Role::Proposer, Instant::now());
    Ok(())
}

fn known_proposals<A: Application>(
    adapter: &mut Adapter<A>,
    height: Height,
    round: u32,
) -> Vec<ProposedValue<Cifer>> {
    adapter.recall(height, round);
    let values: Vec<_> = adapter
        .undecided
        .of_round(height, round)
        .map(|(hash, value)| (hash, value.clone()))
        .collect();
    values
        .iter()
        .map(|(hash, value)| adapter.judge(*hash, value, Origin::Live))
        .collect()
}
