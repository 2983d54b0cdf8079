//! The engine listens and asks where to start.
//!
//! The engine's connector waits for this reply before it forwards anything else, sync requests
//! included. So it is withheld only for the peers, for a few seconds at most, and not for work.

use arc_malachitebft_app_channel::app::types::core::HeightParams;

use crate::{
    adapter::{Adapter, HeightReply},
    api::{Application, Phase},
    context::{Cifer, EngineHeight},
    reply::Reply,
};

pub(super) fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    reply: Reply<(EngineHeight, HeightParams<Cifer>)>,
) {
    adapter.waiting = Some(HeightReply::Ready(reply));
    adapter.show(Phase::Starting, None);
}
