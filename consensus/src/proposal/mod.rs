//! How a proposed block travels and where it is kept until it is decided or forgotten.
//!
//! A block is cut into chunks; each chunk carries the proposer's signed [`Init`], so every message can be
//! judged by itself. A small block is one message. Parts are accepted from validators only (gossip
//! authenticates the publisher, and a peer id names its key), and hold memory only once the proposer's
//! signature has been verified.

mod part;
mod streams;
mod undecided;

pub(crate) use part::{CHUNK_BYTES, Chunk, Init, PARTS_DOMAIN, Part, WAKE_DOMAIN, Wake, split};
pub(crate) use streams::{Added, Refusal, Streams};
pub(crate) use undecided::{Undecided, UndecidedValue};

/// How far above the next height proposals are kept: enough to follow while a commit is under way.
pub(crate) const MAX_HEIGHTS_AHEAD: u64 = 2;

/// Rounds ahead of the current one from which the engine takes messages; beyond, so do we.
pub(crate) const MAX_ROUNDS_AHEAD: u32 = 10;
