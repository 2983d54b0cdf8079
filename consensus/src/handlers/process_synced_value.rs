//! A block with a verified certificate, from a peer that has it. The peer is at fault only for bytes that
//! provably are not the certified block; anything else would have us shun honest peers or, worse,
//! call a final block invalid.

use arc_malachitebft_app_channel::app::{engine::host::SyncedValueOutcome, types::core::Round};
use cifer_genesis::Height;
use tracing::{debug, warn};

use super::{conclude, received_proposal_part::decode_block};
use crate::{
    adapter::Adapter,
    api::{Application, Fatal, Origin},
    context::{Cifer, EngineAddress, EngineHeight},
    proposal::UndecidedValue,
    reply::Reply,
};

pub(super) fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    height: EngineHeight,
    round: Round,
    proposer: EngineAddress,
    bytes: &[u8],
    reply: Reply<SyncedValueOutcome<Cifer>>,
) -> Result<(), Fatal> {
    let round = round.as_u32().unwrap_or(0);
    let result = process(adapter, height.0, round, proposer, bytes);
    conclude(reply, result)
}

fn process<A: Application>(
    adapter: &mut Adapter<A>,
    height: Height,
    round: u32,
    proposer: EngineAddress,
    bytes: &[u8],
) -> Result<SyncedValueOutcome<Cifer>, Fatal> {
    if height != adapter.next_height()? {
        debug!(%height, "synced value is not for the next height");
        return Ok(SyncedValueOutcome::LocalTransientError);
    }
    if bytes.len() as u64 > adapter.settings.max_block_bytes {
        warn!(%height, size_bytes = bytes.len(), "synced value exceeds the block limit");
        return Ok(SyncedValueOutcome::PeerFault);
    }
    let block = match decode_block(bytes, height, &adapter.settings.chain_id) {
        Ok(block) => block,
        Err(reason) => {
            warn!(%height, reason, "synced value is not the certified block");
            return Ok(SyncedValueOutcome::PeerFault);
        }
    };
    let hash = block.hash();
    let value = UndecidedValue {
        round,
        pol_round: None,
        proposer: proposer.0,
        init: None,
        block,
    };
    if adapter.undecided.get(height, round, hash).is_none() {
        adapter.keep_certified(hash, &value)?;
    }
    adapter.synced = Some(height);
    Ok(SyncedValueOutcome::Verdict(adapter.judge(
        hash,
        &value,
        Origin::Synced,
    )))
}
