//! Vote extensions are disabled, so this is never asked; it is answered anyway.

use crate::reply::Reply;

pub(super) fn handle(reply: Reply<Option<()>>) {
    reply.send(None);
}
