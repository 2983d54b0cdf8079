//! Bytes from a peer, client or file into blocks and transactions.
//!
//! Invariants: nothing longer than the limit is looked at; nothing may follow the value; a value has
//! one encoding, so bytes and hash name each other. The decoder allocates no more than a small
//! multiple of the input's length (borsh grows its lists as elements arrive).

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{block::Block, tx::Transaction};

/// Why bytes were refused: their sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too long to be looked at.
    #[error("{what} of {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// `block` or `transaction`.
        what: &'static str,
        /// Length of the input.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// Not an encoding.
    #[error("malformed {what} of {bytes} bytes: {problem}")]
    Malformed {
        /// `block` or `transaction`.
        what: &'static str,
        /// Length of the input.
        bytes: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// Another encoding of the same value exists.
    #[error("{what} of {bytes} bytes is not in its canonical encoding")]
    NotCanonical {
        /// `block` or `transaction`.
        what: &'static str,
        /// Length of the input.
        bytes: u64,
    },
}

/// Decodes a block of at most `limit` bytes (`limits.max_block_bytes`).
///
/// # Errors
/// [`DecodeError`].
pub fn decode_block(bytes: &[u8], limit: u64) -> Result<Block, DecodeError> {
    decode("block", bytes, limit)
}

/// Decodes a transaction of at most `limit` bytes (`limits.max_tx_bytes`).
///
/// # Errors
/// [`DecodeError`].
pub fn decode_tx(bytes: &[u8], limit: u64) -> Result<Transaction, DecodeError> {
    decode("transaction", bytes, limit)
}

/// Encodes a value of ours; the inverse of the decoders.
#[must_use]
pub fn encode<T: BorshSerialize>(value: &T) -> Vec<u8> {
    // Writing into a Vec cannot fail, and our types have no failing encoders.
    borsh::to_vec(value).unwrap_or_default()
}

fn decode<T: BorshDeserialize + BorshSerialize>(
    what: &'static str,
    input: &[u8],
    limit: u64,
) -> Result<T, DecodeError> {
    let bytes = input.len() as u64;
    if bytes > limit {
        return Err(DecodeError::TooLong { what, bytes, limit });
    }
    let value: T = borsh::from_slice(input).map_err(|error| DecodeError::Malformed {
        what,
        bytes,
        problem: error.to_string(),
    })?;
    if encode(&value) != input {
        return Err(DecodeError::NotCanonical { what, bytes });
    }
    Ok(value)
}
