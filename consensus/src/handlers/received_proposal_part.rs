//! A part of a proposal, or an announcement, from the network. Nothing here is trusted: a part holds
//! memory only after its publisher, its round, its proposer and the proposer's signature are
//! found right, in this order of cost.

use std::time::Instant;

use arc_malachitebft_app_channel::app::{
    engine::util::streaming::StreamContent,
    streaming::StreamMessage,
    types::{PeerId, ProposedValue, core::Validity},
};
use cifer_chain::block::Block;
use cifer_genesis::{Height, ValidatorId};
use tracing::debug;

use super::conclude;
use crate::{
    adapter::Adapter,
    api::{Application, Fatal, Origin},
    context::{Cifer, EngineAddress, EngineHeight, EngineValidators, EngineValue},
    network::peer_key,
    proposal::{
        Added, Chunk, Init, MAX_HEIGHTS_AHEAD, MAX_ROUNDS_AHEAD, Part, Refusal, UndecidedValue,
        Wake,
    },
    reply::Reply,
};

/// What a part led to: a value for the engine or not, or a fault of its sender.
type Outcome = Result<Option<ProposedValue<Cifer>>, Refusal>;

pub(super) fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    from: PeerId,
    published_by: Option<PeerId>,
    message: StreamMessage<Part>,
    reply: Reply<Option<ProposedValue<Cifer>>>,
) -> Result<(), Fatal> {
    let outcome = receive(adapter, from, published_by, message).map(|outcome| {
        outcome.unwrap_or_else(|refusal| {
            debug!(%from, %refusal, "proposal part refused");
            None
        })
    });
    conclude(reply, outcome)
}

fn receive<A: Application>(
    adapter: &mut Adapter<A>,
    from: PeerId,
    published_by: Option<PeerId>,
    message: StreamMessage<Part>,
) -> Result<Outcome, Fatal> {
    let StreamContent::Data(part) = message.content else {
        return Ok(Ok(None));
    };
    let next = adapter.next_height()?;
    let validators = adapter.known_validators(next)?;
    // Gossip authenticates the publisher; relays may be anybody.
    let publisher = published_by.unwrap_or(from);
    let Some(publisher) = peer_key(&publisher.to_bytes())
        .map(ValidatorId)
        .filter(|publisher| validators.contains(publisher))
    else {
        return Ok(Err(Refusal::Publisher(publisher.to_string())));
    };
    match part {
        Part::Wake(wake) => Ok(receive_wake(adapter, &wake, next, &validators)),
        Part::Chunk(chunk) => receive_chunk(adapter, publisher, chunk, next, &validators),
    }
}

fn receive_wake<A: Application>(
    adapter: &mut Adapter<A>,
    wake: &Wake,
    next: Height,
    validators: &EngineValidators,
) -> Outcome {
    if wake.height < next {
        return Ok(None);
    }
    if !validators.contains(&wake.validator) {
        return Err(Refusal::Publisher(wake.validator.to_string()));
    }
    wake.verify(&adapter.settings.chain_id)
        .map_err(|_| Refusal::Signature(wake.validator))?;
    adapter.pace.called();
    Ok(None)
}

fn receive_chunk<A: Application>(
    adapter: &mut Adapter<A>,
    publisher: ValidatorId,
    chunk: Chunk,
    next: Height,
    validators: &EngineValidators,
) -> Result<Outcome, Fatal> {
    let init = chunk.init.clone();
    if !in_window(adapter, &init, next) {
        let (height, round) = (init.height, init.round);
        return Ok(Err(Refusal::Window {
            height,
            round,
            next,
        }));
    }
    if adapter
        .undecided
        .get(init.height, init.round, init.block)
        .is_some()
    {
        return Ok(Ok(None));
    }
    // Heights beyond the next have the next one's validators, except after a change of the set; then
    // their proposals are refused here and sync catches up.
    let validators = adapter
        .validators(init.height)?
        .unwrap_or_else(|| validators.clone());
    let chain_id = adapter.settings.chain_id.clone();
    let added = adapter.streams.add(
        publisher,
        chunk,
        adapter.settings.max_block_bytes,
        Instant::now(),
        |init| verify(init, &validators, &chain_id),
    );
    let added = match added {
        Ok(added) => added,
        Err(refusal) => return Ok(Err(refusal)),
    };
    // The first chunk's head was verified, and a lone chunk is complete at once.
    if init.height == next && init.round == 0 {
        adapter.pace.proposed();
    } else {
        adapter.pace.called();
    }
    match added {
        Added::Opened | Added::Partial => Ok(Ok(None)),
        Added::Complete(payload) => complete(adapter, init, &payload, next),
    }
}

fn in_window<A>(adapter: &Adapter<A>, init: &Init, next: Height) -> bool {
    let round = match adapter.position {
        Some((height, round)) if height == init.height => round,
        _ => 0,
    };
    init.height >= next
        && init.height.0 - next.0 <= MAX_HEIGHTS_AHEAD
        && init.round <= round.saturating_add(MAX_ROUNDS_AHEAD)
        && init
            .pol_round
            .is_none_or(|pol_round| pol_round < init.round)
}

fn verify(init: &Init, validators: &EngineValidators, chain_id: &str) -> Result<(), Refusal> {
    use arc_malachitebft_app_channel::app::types::core::Validator as _;
    if validators.proposer(init.height, init.round).address().0 != init.proposer {
        return Err(Refusal::Proposer(init.proposer));
    }
    init.verify(chain_id)
        .map_err(|_| Refusal::Signature(init.proposer))
}

fn complete<A: Application>(
    adapter: &mut Adapter<A>,
    init: Init,
    payload: &[u8],
    next: Height,
) -> Result<Outcome, Fatal> {
    adapter.cancel_call();
    let block = match check_block(&init, payload, &adapter.settings.chain_id) {
        Ok(block) => block,
        Err(reason) => {
            // The proposer signed for this: tell the engine, so that it need not wait for another.
            let proposer = init.proposer;
            tracing::warn!(%proposer, reason, "proposal is not a block");
            return Ok(Ok((init.height == next).then(|| refused(&init))));
        }
    };
    let (hash, height) = (init.block, init.height);
    let value = UndecidedValue {
        round: init.round,
        pol_round: init.pol_round,
        proposer: init.proposer,
        init: Some(init),
        block,
    };
    if !adapter.keep(hash, value.clone())? {
        return Ok(Err(Refusal::TooMany(height)));
    }
    // Beyond the next height there is no state to judge it by yet; its round will ask for it.
    Ok(Ok(
        (height == next).then(|| adapter.judge(hash, &value, Origin::Live))
    ))
}

fn refused(init: &Init) -> ProposedValue<Cifer> {
    let proposal = init.proposal();
    ProposedValue {
        height: EngineHeight(init.height),
        round: proposal.round,
        valid_round: proposal.pol_round,
        proposer: EngineAddress(init.proposer),
        value: EngineValue(init.block),
        validity: Validity::Invalid,
    }
}

fn check_block(init: &Init, payload: &[u8], chain_id: &str) -> Result<Block, String> {
    let block = decode_block(payload, init.height, chain_id)?;
    if block.hash() != init.block {
        return Err(format!("hash {} instead of {}", block.hash(), init.block));
    }
    // A block that is proposed again keeps its first proposer.
    if init.pol_round.is_none() && block.header.proposer != init.proposer {
        return Err(format!("header names proposer {}", block.header.proposer));
    }
    Ok(block)
}

/// Checks everything about a block's bytes that needs no state. The transactions are not in the header's
/// hash but in the root it carries, so the root is checked here: otherwise a peer could serve a certified
/// header with other transactions, and have us call a certified block invalid.
pub(super) fn decode_block(
    payload: &[u8],
    height: Height,
    chain_id: &str,
) -> Result<Block, String> {
    let block: Block = borsh::from_slice(payload).map_err(|error| error.to_string())?;
    let header = &block.header;
    if header.height != height {
        return Err(format!(
            "header has height {} instead of {height}",
            header.height
        ));
    }
    if header.chain_id != chain_id {
        return Err("header is of another chain".into());
    }
    if Block::compute_tx_root(chain_id, &block.transactions) != header.tx_root {
        return Err("transactions do not match the header's root".into());
    }
    Ok(block)
}
