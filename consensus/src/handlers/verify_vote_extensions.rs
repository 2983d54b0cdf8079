//! Vote extensions are disabled: none is acceptable.

use arc_malachitebft_app_channel::app::consensus::{VoteExtensionError, VoteExtensionVerdicts};

use crate::{
    context::{Cifer, EngineAddress},
    reply::Reply,
};

pub(super) fn handle(
    extensions: &[(EngineAddress, ())],
    reply: Reply<VoteExtensionVerdicts<Cifer>>,
) {
    reply.send(
        extensions
            .iter()
            .map(|(address, ())| (*address, Err(VoteExtensionError::InvalidVoteExtension)))
            .collect(),
    );
}
