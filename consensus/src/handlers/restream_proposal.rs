//! A proposal has to be sent again: our own for a later round, or one that we locked on. The
//! first is signed anew, as the round is new; the second is passed on as its proposer signed it.

use arc_malachitebft_app_channel::app::types::core::Round;
use cifer_genesis::{BlockHash, Height};
use tracing::warn;

use crate::{
    adapter::Adapter,
    api::{Application, Fatal},
    context::{EngineAddress, EngineHeight},
    proposal::{Part, UndecidedValue},
};

pub(super) async fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    height: EngineHeight,
    round: Round,
    valid_round: Round,
    address: EngineAddress,
    block: BlockHash,
) -> Result<(), Fatal> {
    let number = round.as_u32().unwrap_or(0);
    let parts = if address.0 == adapter.settings.own {
        own_again(adapter, height.0, number, valid_round, block)?
    } else {
        as_signed(adapter, height.0, number, block)?
    };
    match parts {
        Some(parts) => adapter.publish(parts).await,
        None => warn!(%height, %round, %block, "no proposal to send again"),
    }
    Ok(())
}

fn as_signed<A: Application>(
    adapter: &mut Adapter<A>,
    height: Height,
    round: u32,
    block: BlockHash,
) -> Result<Option<Vec<Part>>, Fatal> {
    adapter.recall(height, round);
    let Some(value) = adapter.undecided.get(height, round, block) else {
        return Ok(None);
    };
    let Some(init) = &value.init else {
        return Ok(None);
    };
    Adapter::<A>::parts(init, &value.block).map(Some)
}

fn own_again<A: Application>(
    adapter: &mut Adapter<A>,
    height: Height,
    round: u32,
    valid_round: Round,
    block: BlockHash,
) -> Result<Option<Vec<Part>>, Fatal> {
    if let Some(parts) = as_signed(adapter, height, round, block)? {
        return Ok(Some(parts));
    }
    for earlier in (0..=round).rev() {
        adapter.recall(height, earlier);
    }
    let Some(known) = adapter
        .undecided
        .find(height, block)
        .map(|value| value.block.clone())
    else {
        return Ok(None);
    };
    let proposal = adapter.own_proposal(height, round, block, valid_round);
    let payload = borsh::to_vec(&known).map_err(Fatal::new)?;
    let Some(init) = adapter.sign_init(&proposal, &payload)? else {
        return Ok(None);
    };
    let parts = crate::proposal::split(&init, &payload);
    let value = UndecidedValue {
        round,
        pol_round: valid_round.as_u32(),
        proposer: adapter.settings.own,
        init: Some(init),
        block: known,
    };
    adapter.keep(block, value)?;
    Ok(Some(parts))
}
