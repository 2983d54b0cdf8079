//! Every bound that validation holds a document to, with its reason.
//!
//! Invariant: each integer that passes is below 2^63, because TOML integers are signed.

use std::ops::RangeInclusive;

/// The one version of the format.
pub const VERSION: u32 = 1;

/// Longest document, as TOML text and as canonical bytes. 16 MiB hold 65,536 contributors (at most
/// 170 bytes of text each, 11 MiB) and leave room for the tensors of large models.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Longest name and chain id, in bytes.
pub const MAX_NAME_BYTES: usize = 48;

/// Largest validator set: a certificate of this many signatures (96 bytes each) is 48 KiB.
pub const MAX_VALIDATORS: usize = 512;

/// Largest total voting power: a multiple of it by 3 still fits in 64 bits, signed.
pub const MAX_TOTAL_POWER: u64 = (i64::MAX / 8) as u64;

/// Data-plane addresses of one validator.
pub const DATA_ADDRESSES: RangeInclusive<usize> = 1..=8;

/// Longest multiaddress, in bytes: a DNS name has at most 253.
pub const MAX_ADDRESS_BYTES: usize = 320;

/// Contributors that a document may list: 65,536 of at most 84 bytes are 5.3 MiB of state.
pub const MAX_LISTED_CONTRIBUTORS: usize = 65_536;

/// Contributors of a network with open registration: a million of about 100 bytes are 100 MB of state.
pub const MAX_CONTRIBUTORS: RangeInclusive<u64> = 1..=1_000_000;

/// Tasks of a network.
pub const MAX_TASKS: usize = 256;

/// Tensors of a model: 65,536 of at most 300 bytes are 20 MiB, so the document's length binds first.
pub const MAX_TENSORS: usize = 65_536;

/// Dimensions of a tensor.
pub const MAX_RANK: usize = 16;

/// Longest name of a tensor, in bytes.
pub const MAX_TENSOR_NAME_BYTES: usize = 128;

/// Updates that a round may take: what the aggregation rules have buffers for. A round's record of
/// about 300 bytes for each is 300 KB.
pub const MAX_UPDATES: u64 = 1_024;

/// Pre-aggregators before a rule: each may be a pass over all updates.
pub const MAX_PRE_AGGREGATORS: usize = 8;

/// Steps of an iterative rule: each is a pass over all updates.
pub const RULE_STEPS: RangeInclusive<u64> = 1..=64;

/// Radii and distances in parts per million: exact as f64.
pub const RADIUS_PPM: RangeInclusive<u64> = 1..=1 << 53;

/// Block time of genesis: until the end of the year 9999.
pub const TIME_MS: RangeInclusive<u64> = 0..=253_402_300_799_999;

/// Deadline of a round: 1 ms to 366 days.
pub const DEADLINE_MS: RangeInclusive<u64> = 1..=31_622_400_000;

/// Deadlines beyond the first.
pub const MAX_EXTENSIONS: RangeInclusive<u64> = 0..=1_000;

/// Rounds of a task; 0 is for ever.
pub const MAX_ROUNDS: RangeInclusive<u64> = 0..=1 << 53;

/// Timeouts of consensus: below 10 ms no network answers, above an hour a crashed proposer stops the chain.
pub const TIMEOUT_MS: RangeInclusive<u64> = 10..=3_600_000;

/// Idle heartbeat.
pub const HEARTBEAT_MS: RangeInclusive<u64> = 100..=3_600_000;

/// Largest encoded block: at least what a certificate of all seats needs, at most a quarter of the
/// engine's 4 MiB message.
pub const BLOCK_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 20;

/// Bytes of a transaction that carries a certificate, beside 96 for each signature: an update is 201
/// bytes, a result 140, each with a tag and a length; rounded up.
pub const TX_OVERHEAD_BYTES: u64 = 512;

/// Bytes of one signature with its signer's key.
pub const SIGNATURE_BYTES: u64 = 96;

/// Transactions in a mempool: a million of about 100 bytes of bookkeeping are 100 MB.
pub const MEMPOOL_TXS: RangeInclusive<u64> = 1..=1_000_000;

/// Most bytes of transactions in a mempool: all of it is resident.
pub const MAX_MEMPOOL_BYTES: u64 = 1 << 30;

/// Largest payload: from one number to 64 GiB, the data plane's largest blob.
pub const PAYLOAD_BYTES: RangeInclusive<u64> = 4..=1 << 36;

/// Largest transaction: it has to fit into one gossip message of the data plane.
pub const MAX_TX_BYTES: u64 = 255 << 10;

/// Server step in parts per million: 100,000,000 is 100.0.
pub const SERVER_LR_PPM: RangeInclusive<u64> = 1..=100_000_000;

/// Magnitude of a coordinate: every integer up to 2^53 is exact in double precision.
pub const MAX_ABS_UPDATE: RangeInclusive<u64> = 1..=1 << 53;

/// Weight of a contributor: with `MAX_UPDATES` of them the sum stays below 2^54, exact in 64 bits.
pub const WEIGHT_CAP: RangeInclusive<u64> = 1..=1 << 40;

/// Contributors of a group of a private round. Fewer than two hide nothing; a group of 64 with all
/// leftovers has at most 127 members, which is 7 bits of a slot.
pub const GROUP_SIZE: RangeInclusive<u64> = 2..=64;

/// Bits of a quantised coordinate in a private round.
pub const VALUE_BITS: RangeInclusive<u64> = 4..=16;

/// L2 norm that updates are clipped to, in parts per million: up to 10^9.
pub const CLIP_NORM_PPM: RangeInclusive<u64> = 1..=1_000_000_000_000_000;

/// Noise over the clip norm, in parts per million: up to 100.
pub const NOISE_PPM: RangeInclusive<u64> = 1..=100_000_000;

/// Members of a group whose noise is counted.
pub const HONEST_MEMBERS: RangeInclusive<u64> = 1..=64;

/// Negative powers of ten that a delta may be.
pub const DELTA_EXPONENT: RangeInclusive<u64> = 1..=15;

/// Waits inside a private round: 1 ms to an hour.
pub const PRIVATE_WAIT_MS: RangeInclusive<u64> = 1..=3_600_000;

/// Fewest validators of a network with private rounds: with `n >= 3t + 1` and `t = 0` one validator
/// alone could open a contributor's key.
pub const MIN_PRIVATE_VALIDATORS: u64 = 4;

/// Most of them: an update carries an encrypted share of 8.3 KB for each, 1 MiB.
pub const MAX_PRIVATE_VALIDATORS: u64 = 128;

/// Bytes that a private round's largest transaction (the proof that a share is bad) has beside
/// [`PRIVATE_TX_BYTES_PER_VALIDATOR`] for each validator.
pub const PRIVATE_TX_BYTES: u64 = 24 << 10;

/// See [`PRIVATE_TX_BYTES`].
pub const PRIVATE_TX_BYTES_PER_VALIDATOR: u64 = 64;
