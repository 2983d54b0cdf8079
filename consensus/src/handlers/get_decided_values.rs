//! A peer asks for blocks. The engine does not check the range; here it is cut to what we have, to
//! a number of blocks and to a size.

use std::ops::RangeInclusive;

use arc_malachitebft_app_channel::app::types::sync::RawDecidedValue;
use cifer_genesis::Height;

use super::conclude;
use crate::{
    adapter::Adapter,
    api::{Application, Fatal},
    codec::to_engine_certificate,
    context::{Cifer, EngineHeight},
    network::SYNC_BATCH,
    reply::Reply,
};

/// Bytes of blocks in one response; with certificates (48 KiB at most) of 32 blocks it stays below
/// the engine's 10 MiB.
const MAX_RESPONSE_BYTES: usize = 6 << 20;

pub(super) fn handle<A: Application>(
    adapter: &Adapter<A>,
    range: RangeInclusive<EngineHeight>,
    reply: Reply<Vec<RawDecidedValue<Cifer>>>,
) -> Result<(), Fatal> {
    conclude(reply, decided_values(&adapter.app, range))
}

fn decided_values<A: Application>(
    app: &A,
    range: RangeInclusive<EngineHeight>,
) -> Result<Vec<RawDecidedValue<Cifer>>, Fatal> {
    let first = range.start().0.max(app.history_min_height());
    let last = range.end().0.min(app.tip());
    let mut values = Vec::new();
    let mut size_bytes = 0_usize;
    for height in (first.0..=last.0).take(SYNC_BATCH) {
        // The response must be contiguous: stop at a gap.
        let Some((block, certificate)) = app.decided(Height(height)) else {
            break;
        };
        let bytes = borsh::to_vec(&block).map_err(Fatal::new)?;
        size_bytes = size_bytes.saturating_add(bytes.len());
        // The first block always goes: alone it fits, whatever its size.
        if size_bytes > MAX_RESPONSE_BYTES && !values.is_empty() {
            break;
        }
        values.push(RawDecidedValue::new(
            bytes.into(),
            to_engine_certificate(&certificate),
        ));
    }
    Ok(values)
}
