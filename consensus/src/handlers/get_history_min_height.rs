//! From which height on peers can sync from us.

use crate::{adapter::Adapter, api::Application, context::EngineHeight, reply::Reply};

pub(super) fn handle<A: Application>(adapter: &Adapter<A>, reply: Reply<EngineHeight>) {
    reply.send(EngineHeight(adapter.app.history_min_height()));
}
