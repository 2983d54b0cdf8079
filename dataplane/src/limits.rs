//! Every bound of the data plane, with its arithmetic.

use std::time::Duration;

/// Bytes of a verified group: the unit of checking and of resuming. A group costs 64 bytes of
/// tree (1/256 of the data), and a corrupt peer wastes at most this much.
pub const GROUP_BYTES: u64 = 16 * 1024;

/// Largest blob that is handled at all. Guards arithmetic on lengths claimed by peers; the
/// operator's limits are the genesis' payload limit and the store's quota.
pub const MAX_BLOB_BYTES: u64 = 64 << 30;

/// Bytes handed at once between the network task and the thread that hashes and does disk I/O.
pub(crate) const PIPE_CHUNK_BYTES: usize = 128 * 1024;

/// Chunks in flight in one such pipe: 4 x 128 KiB = 512 KiB for a transfer.
pub(crate) const PIPE_CHUNKS: usize = 4;

/// Blobs served at a time, all peers together: 32 x (512 KiB pipe + 128 KiB buffers) = 20 MiB,
/// and at most 32 of tokio's blocking threads.
pub const MAX_SERVES: usize = 32;

/// Blobs served at a time to one peer.
pub const MAX_SERVES_PER_PEER: usize = 8;

/// Blobs fetched at a time; more wait their turn. 16 x (512 KiB pipe + stream window).
pub const MAX_ACTIVE_FETCHES: usize = 16;

/// Distinct blobs that may be fetched or wait to be.
pub const MAX_FETCHES: usize = 4096;

/// Holders kept for one fetch: 1024 x 80 bytes.
pub(crate) const MAX_HOLDERS: usize = 1024;

/// A transfer has to move this much in each stall timeout, or it counts as stalled; a peer that
/// dribbles single bytes is not alive.
pub(crate) const MIN_PROGRESS_BYTES: usize = 64 * 1024;

/// Largest gossip message. Gossip carries transactions and votes, not payloads.
pub const MAX_GOSSIP_BYTES: usize = 256 * 1024;

/// Room for gossipsub's protobuf around a message: its topic.
pub(crate) const GOSSIP_OVERHEAD_BYTES: usize = 4096;

/// Gossip messages queued towards one peer: at most 256 x 256 KiB = 64 MiB, in practice a few KiB
/// each.
pub(crate) const GOSSIP_QUEUE: usize = 256;

/// Largest request and largest response.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// Requests in progress on one connection, both ways: 64 x 1 MiB, if a peer fills them all. Two
/// honest peers use at most twice [`MAX_REQUESTS_PER_PEER`] of them.
pub(crate) const MAX_REQUEST_STREAMS: usize = 64;

/// Requests of ours to one peer without an answer.
pub const MAX_REQUESTS_PER_PEER: usize = 24;

/// Requests of ours without an answer, over all peers.
pub(crate) const MAX_PENDING_REQUESTS: usize = 1024;

/// Entries in the event queue towards the application.
pub const EVENT_QUEUE: usize = 1024;

/// Bytes of gossip and requests that the application has not finished with. Above it gossip is
/// dropped and requests are answered "busy".
pub const MAX_UNHANDLED_BYTES: usize = 64 << 20;

/// Commands queued towards the swarm; senders wait.
pub(crate) const COMMAND_QUEUE: usize = 256;

/// Verdicts and replies queued towards the swarm. At most one for each unhandled event, so it is
/// larger than [`EVENT_QUEUE`]; a small struct each.
pub(crate) const REPLY_QUEUE: usize = 4 * EVENT_QUEUE;

/// Handshake reports queued towards the swarm; more are only logged.
pub(crate) const REPORT_QUEUE: usize = 64;

/// Bytes of a handshake frame: chain id, and 16 addresses of 100 bytes.
pub(crate) const MAX_HELLO_BYTES: usize = 4096;

/// Addresses of one peer that are kept, announced or dialled.
pub const MAX_ADDRESSES: usize = 16;

/// Time for encryption, multiplexing and handshake together.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Inbound connections that have not finished the handshake.
pub(crate) const MAX_PENDING_INCOMING: u32 = 64;

/// Connections to one peer. Two are normal (both sides dialled), two more survive a restart of
/// the peer until the dead ones are noticed.
pub(crate) const MAX_CONNECTIONS_PER_PEER: u32 = 4;

/// Observers connected at a time, unless the configuration says otherwise.
pub const DEFAULT_MAX_OBSERVERS: usize = 32;

/// A peer that is silent is asked whether it lives.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest and longest wait between two dials of a peer.
pub(crate) const REDIAL_MIN: Duration = Duration::from_millis(250);
/// See [`REDIAL_MIN`].
pub(crate) const REDIAL_MAX: Duration = Duration::from_secs(10);

/// Rejected gossip messages after which an observer is banned.
pub(crate) const MAX_OBSERVER_FAULTS: u32 = 32;

/// How long a ban, or the avoidance of a holder that served bad bytes, lasts.
pub(crate) const FAULT_COOLDOWN: Duration = Duration::from_secs(300);

/// Peers remembered as banned or faulty: 1024 x 100 bytes.
pub(crate) const MAX_REMEMBERED_FAULTS: usize = 1024;
