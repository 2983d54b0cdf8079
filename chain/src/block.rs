//! Blocks. A header commits to its parent, its transactions, the validator set and the state
//! *after* the block, so that one certificate proves the newest state.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    BlockHash, Hash32, Height, StateRoot, TimestampMs, TxHash, ValidatorId, crypto::signing_bytes,
};

use crate::tx::Transaction;

/// Domain of block hashes.
pub const HEADER_DOMAIN: &str = "cifer/chain/header/v1";
/// Domain of the transactions' root.
pub const TX_ROOT_DOMAIN: &str = "cifer/chain/tx-root/v1";

/// What is voted on.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Header {
    /// The network.
    pub chain_id: String,
    /// Parent's height plus one.
    pub height: Height,
    /// Proposer's clock, strictly later than the parent's time.
    pub time_ms: TimestampMs,
    /// Hash of the parent header; of the genesis document for the first block.
    pub parent: BlockHash,
    /// Who built the block.
    pub proposer: ValidatorId,
    /// See [`Block::compute_tx_root`].
    pub tx_root: Hash32,
    /// Hash of the validator set that votes on this block.
    pub validators: Hash32,
    /// State after this block.
    pub state_root: StateRoot,
}

impl Header {
    /// The block's hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        BlockHash(Hash32::derive(
            HEADER_DOMAIN,
            &signing_bytes(HEADER_DOMAIN, &self.chain_id, self),
        ))
    }
}

/// A header and its transactions.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// In order of application.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The block's hash.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// Hash of the list of transaction hashes.
    #[must_use]
    pub fn compute_tx_root(chain_id: &str, transactions: &[Transaction]) -> Hash32 {
        let hashes: Vec<_> = transactions.iter().map(|tx| tx.hash(chain_id)).collect();
        Self::tx_root_of(chain_id, &hashes)
    }

    /// [`Self::compute_tx_root`] of transactions whose hashes are known.
    #[must_use]
    pub fn tx_root_of(chain_id: &str, hashes: &[TxHash]) -> Hash32 {
        Hash32::derive(
            TX_ROOT_DOMAIN,
            &signing_bytes(TX_ROOT_DOMAIN, chain_id, hashes),
        )
    }
}
