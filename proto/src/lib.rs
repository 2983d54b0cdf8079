//! The gRPC interface: what is generated from `cifer/v1/*.proto`, the descriptor set for reflection,
//! and the bounds on messages that servers and clients share.
//!
//! Invariants: no chain type is known here (the node converts); protobuf is never hashed or signed.

/// Package `cifer.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("cifer.v1");
}

/// Encoded `FileDescriptorSet` of the package, comments included.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/cifer_descriptor.bin"));

/// Largest chunk of a payload or model stream, in bytes. A stream that is read one message at a time
/// holds one chunk on each side of the HTTP/2 window: 64 uploads hold at most 32 MiB.
pub const MAX_CHUNK_BYTES: usize = 256 << 10;

/// Largest message that a server decodes, in bytes: a chunk, or a signed update or registration
/// (under 1 KiB), with room for the envelope.
pub const MAX_REQUEST_BYTES: usize = MAX_CHUNK_BYTES + (64 << 10);

/// Largest message that a client decodes, in bytes. The largest ones: `GetBlock` (1 MiB of block,
/// as much again of summaries, 2 x 48 KiB of certificate) and `GetRound` with 10,000 updates of
/// at most 300 bytes.
pub const MAX_RESPONSE_BYTES: usize = 8 << 20;

/// Largest answer to `GetGenesis`, in bytes: the canonical bytes and the TOML of a document, each at
/// most 16 MiB, with room for the envelope. Clients raise their limit for this call only.
pub const MAX_GENESIS_RESPONSE_BYTES: usize = (32 << 20) + (64 << 10);

/// Rounds on a page of `ListRounds` when the request names no size.
pub const DEFAULT_PAGE_SIZE: u32 = 20;

/// Most rounds on a page of `ListRounds`: about 200 bytes each, 20 KiB a page.
pub const MAX_PAGE_SIZE: u32 = 100;

/// Most tasks in the filter of a subscription.
pub const MAX_SUBSCRIBED_TASKS: usize = 64;

/// Most bytes of a raw key in `GetStateProof`.
pub const MAX_RAW_KEY_BYTES: usize = 256;
