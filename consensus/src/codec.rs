//! Bytes on the wire and in the write-ahead log: borsh, with a bound for every kind of message.
//!
//! Engine types are mirrored by plain structs of this module; a decoded message is built only from
//! checked parts (keys are points, rounds are defined, lists are within a validator set's size).

mod wire;

pub(crate) use wire::to_engine_certificate;

use arc_malachitebft_app_channel::app::{
    consensus::LivenessMsg,
    streaming::StreamMessage,
    types::{
        ProposedValue, SignedConsensusMsg,
        codec::{Codec, HasEncodedLen},
        core::{PolkaCertificate, ValidatorProof},
        sync::{Request, Response, Status},
    },
};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use cifer_chain::validators::MAX_VALIDATORS;

use crate::{
    api::MAX_BLOCK_BYTES,
    context::Cifer,
    proposal::{CHUNK_BYTES, Part},
};

/// A vote takes at most 146 bytes, a proposal 186.
pub(crate) const MAX_VOTE_BYTES: usize = 512;
/// A certificate of two votes a seat (130 bytes each) and its head.
pub(crate) const MAX_LIVENESS_BYTES: usize = 2 * MAX_VALIDATORS * 136 + 256;
/// A chunk, its 240-byte head and the stream's frame.
pub(crate) const MAX_PART_BYTES: usize = CHUNK_BYTES + 1024;
/// The sync protocol's small messages: a status or a request.
const MAX_SMALL_BYTES: usize = 256;
/// The engine's own limit of a sync response.
const MAX_RESPONSE_BYTES: usize = 10 << 20;
/// A stored proposal: a value takes 120 bytes.
const MAX_VALUE_BYTES: usize = 512;

// A block and its certificate (96 bytes a seat) always fit a response.
const _: () = assert!(MAX_BLOCK_BYTES as usize + 96 * MAX_VALIDATORS + 1024 < MAX_RESPONSE_BYTES);

/// Why a message was not encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodecError {
    /// Larger than its kind may be.
    #[error("{kind}: {bytes} bytes exceed the limit of {limit}")]
    TooLarge {
        /// Kind of message.
        kind: &'static str,
        /// Its size.
        bytes: usize,
        /// The kind's limit.
        limit: usize,
    },
    /// Not an encoding of this kind.
    #[error("{kind}: {error}")]
    Malformed {
        /// Kind of message.
        kind: &'static str,
        /// What borsh said.
        error: std::io::Error,
    },
    /// Well-formed, but not something that can be meant.
    #[error("{0}")]
    Invalid(&'static str),
}

/// The engine's codec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BorshCodec;

fn encode<W: BorshSerialize>(
    kind: &'static str,
    limit: usize,
    message: &W,
) -> Result<Bytes, CodecError> {
    let bytes = borsh::to_vec(message).map_err(|error| CodecError::Malformed { kind, error })?;
    if bytes.len() > limit {
        return Err(CodecError::TooLarge {
            kind,
            bytes: bytes.len(),
            limit,
        });
    }
    Ok(bytes.into())
}

fn decode<W: BorshDeserialize>(
    kind: &'static str,
    limit: usize,
    bytes: &[u8],
) -> Result<W, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge {
            kind,
            bytes: bytes.len(),
            limit,
        });
    }
    W::try_from_slice(bytes).map_err(|error| CodecError::Malformed { kind, error })
}

macro_rules! codecs {
    ($($message:ty => $wire:ty, $kind:literal, $limit:expr;)*) => {$(
        impl Codec<$message> for BorshCodec {
            type Error = CodecError;

            fn decode(&self, bytes: Bytes) -> Result<$message, CodecError> {
                decode::<$wire>($kind, $limit, &bytes)?.try_into()
            }

            fn encode(&self, message: &$message) -> Result<Bytes, CodecError> {
                encode($kind, $limit, &<$wire>::try_from(message)?)
            }
        }
    )*};
}

codecs! {
    SignedConsensusMsg<Cifer> => wire::Consensus, "consensus message", MAX_VOTE_BYTES;
    LivenessMsg<Cifer> => wire::Liveness, "liveness message", MAX_LIVENESS_BYTES;
    PolkaCertificate<Cifer> => wire::Polka, "polka certificate", MAX_LIVENESS_BYTES;
    ProposedValue<Cifer> => wire::Value, "proposed value", MAX_VALUE_BYTES;
    StreamMessage<Part> => wire::Stream, "proposal part", MAX_PART_BYTES;
    ValidatorProof<Cifer> => wire::Proof, "validator proof", MAX_SMALL_BYTES;
    Status<Cifer> => wire::SyncStatus, "sync status", MAX_SMALL_BYTES;
    Request<Cifer> => wire::SyncRequest, "sync request", MAX_SMALL_BYTES;
    Response<Cifer> => wire::SyncResponse, "sync response", MAX_RESPONSE_BYTES;
}

impl Codec<Part> for BorshCodec {
    type Error = CodecError;

    fn decode(&self, bytes: Bytes) -> Result<Part, CodecError> {
        decode("proposal part", MAX_PART_BYTES, &bytes)
    }

    fn encode(&self, part: &Part) -> Result<Bytes, CodecError> {
        encode("proposal part", MAX_PART_BYTES, part)
    }
}

impl HasEncodedLen<Response<Cifer>> for BorshCodec {
    // Asked about single values and whole batches to find what fits, so the size is not bounded here.
    fn encoded_len(&self, response: &Response<Cifer>) -> Result<usize, CodecError> {
        borsh::object_length(&wire::SyncResponse::try_from(response)?).map_err(|error| {
            CodecError::Malformed {
                kind: "sync response",
                error,
            }
        })
    }
}

#[cfg(test)]
mod tests;
