//! Our turn to propose. The same block again for the same round; kept before anybody sees it.

use arc_malachitebft_app_channel::app::types::{LocallyProposedValue, core::Round};
use cifer_chain::block::Block;
use cifer_genesis::{BlockHash, Height};
use tracing::{debug, warn};

use super::conclude;
use crate::{
    adapter::Adapter,
    api::{Application, Fatal},
    context::{Cifer, EngineHeight, EngineValue},
    proposal::{Part, UndecidedValue},
    reply::Reply,
};

pub(super) async fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    height: EngineHeight,
    round: Round,
    reply: Reply<LocallyProposedValue<Cifer>>,
) -> Result<(), Fatal> {
    let number = round.as_u32().unwrap_or(0);
    let (hash, parts) = match propose(adapter, height.0, number) {
        Ok(proposal) => proposal,
        Err(fatal) => return conclude(reply, Err(fatal)),
    };
    reply.send(LocallyProposedValue::new(height, round, EngineValue(hash)));
    adapter.publish(parts).await;
    Ok(())
}

fn propose<A: Application>(
    adapter: &mut Adapter<A>,
    height: Height,
    round: u32,
) -> Result<(BlockHash, Vec<Part>), Fatal> {
    adapter.recall(height, round);
    let own = adapter.settings.own;
    let earlier = adapter
        .undecided
        .of_round(height, round)
        .find(|(_, value)| value.proposer == own)
        .map(|(hash, value)| (hash, value.clone()));
    if let Some((hash, value)) = earlier {
        debug!(%height, round, block = %hash, "proposing the same block again");
        let parts = match &value.init {
            Some(init) => Adapter::<A>::parts(init, &value.block)?,
            None => Vec::new(),
        };
        return Ok((hash, parts));
    }
    build(adapter, height, round)
}

fn build<A: Application>(
    adapter: &mut Adapter<A>,
    height: Height,
    round: u32,
) -> Result<(BlockHash, Vec<Part>), Fatal> {
    let block = adapter.app.build(height)?;
    let payload = borsh::to_vec(&block).map_err(Fatal::new)?;
    check_own(adapter, &block, payload.len(), height)?;
    let hash = block.hash();
    let proposal = adapter.own_proposal(height, round, hash, Round::Nil);
    let Some(init) = adapter.sign_init(&proposal, &payload)? else {
        // The engine will not get a signature either, and the round passes without a proposal.
        warn!(%height, round, block = %hash, "not proposing: signed another proposal before");
        return Ok((hash, Vec::new()));
    };
    let parts = crate::proposal::split(&init, &payload);
    let value = UndecidedValue {
        round,
        pol_round: None,
        proposer: adapter.settings.own,
        init: Some(init),
        block,
    };
    if !adapter.keep(hash, value)? {
        return Err(Fatal::new("no room for the own proposal"));
    }
    Ok((hash, parts))
}

/// The application's word about its own block is not enough: peers would refuse it.
fn check_own<A: Application>(
    adapter: &Adapter<A>,
    block: &Block,
    size_bytes: usize,
    height: Height,
) -> Result<(), Fatal> {
    let header = &block.header;
    let settings = &adapter.settings;
    let wrong = if header.height != height {
        Some(format!("height {} instead of {height}", header.height))
    } else if header.chain_id != *settings.chain_id {
        Some(format!("chain id {:?}", header.chain_id))
    } else if header.proposer != settings.own {
        Some(format!("proposer {} instead of this node", header.proposer))
    } else if size_bytes as u64 > settings.max_block_bytes {
        Some(format!(
            "{size_bytes} bytes; the limit is {}",
            settings.max_block_bytes
        ))
    } else {
        None
    };
    wrong.map_or(Ok(()), |wrong| {
        Err(Fatal::new(format!("built a block with {wrong}")))
    })
}
