//! Messages of the proposal-parts topic, and cutting a block into them.

use arc_malachitebft_app_channel::app::types::core as engine;
use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    BlockHash, Hash32, Height, PublicKey, Signature, ValidatorId, crypto::SignatureError,
};

use crate::context::{Cifer, EngineAddress, EngineHeight, EngineProposal, EngineValue};

/// Domain of the proposer's signature over the parts of a proposal.
pub(crate) const PARTS_DOMAIN: &str = "cifer/consensus/proposal-parts/v1";
/// Domain of the hash of a proposal's bytes.
const PAYLOAD_DOMAIN: &str = "cifer/consensus/proposal-payload/v1";
/// Domain of announcements.
pub(crate) const WAKE_DOMAIN: &str = "cifer/consensus/wake/v1";

/// Bytes of a block in one message. Small enough that a relay forwards the first chunk while the next one
/// arrives, large enough that most blocks are one message.
pub(crate) const CHUNK_BYTES: usize = 128 << 10;

/// What a proposer says about its proposal; goes with every chunk.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Init {
    pub(crate) height: Height,
    pub(crate) round: u32,
    /// Round whose prevotes justify proposing the block again.
    pub(crate) pol_round: Option<u32>,
    pub(crate) proposer: ValidatorId,
    pub(crate) block: BlockHash,
    pub(crate) payload_hash: Hash32,
    pub(crate) payload_bytes: u32,
    pub(crate) signature: Signature,
}

impl Init {
    /// An unsigned head for these bytes; `None` when their length does not fit.
    pub(crate) fn new(proposal: &EngineProposal, payload: &[u8]) -> Option<Self> {
        Some(Self {
            height: proposal.height.0,
            round: proposal.round.as_u32()?,
            pol_round: proposal.pol_round.as_u32(),
            proposer: proposal.address.0,
            block: proposal.value.0,
            payload_hash: payload_hash(payload),
            payload_bytes: payload.len().try_into().ok()?,
            signature: Signature([0; 64]),
        })
    }

    /// The engine's proposal that these parts belong to.
    pub(crate) fn proposal(&self) -> EngineProposal {
        EngineProposal {
            height: EngineHeight(self.height),
            round: engine::Round::new(self.round),
            value: EngineValue(self.block),
            pol_round: self.pol_round.into(),
            address: EngineAddress(self.proposer),
        }
    }

    /// What is signed: everything but the signature and the signer.
    pub(crate) fn signed_payload(&self) -> impl BorshSerialize + use<> {
        (
            self.height,
            self.round,
            self.pol_round,
            self.block,
            self.payload_hash,
            self.payload_bytes,
        )
    }

    /// Checks the proposer's signature.
    pub(crate) fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let key: &PublicKey = self.proposer.key();
        key.verify(
            PARTS_DOMAIN,
            chain_id,
            &self.signed_payload(),
            &self.signature,
        )
    }

    /// How many chunks there are.
    pub(crate) fn chunk_count(&self) -> usize {
        (self.payload_bytes as usize).div_ceil(CHUNK_BYTES)
    }

    /// Length that the chunk of this index must have.
    pub(crate) fn chunk_bytes(&self, index: usize) -> usize {
        (self.payload_bytes as usize)
            .saturating_sub(index * CHUNK_BYTES)
            .min(CHUNK_BYTES)
    }

    /// Whether the assembled bytes are the announced ones.
    pub(crate) fn matches(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload_bytes as usize && payload_hash(payload) == self.payload_hash
    }

    /// Names this head among others.
    pub(crate) fn id(&self) -> Hash32 {
        Hash32::derive(
            PARTS_DOMAIN,
            &cifer_genesis::crypto::signing_bytes(PARTS_DOMAIN, "", self),
        )
    }
}

fn payload_hash(payload: &[u8]) -> Hash32 {
    Hash32::derive(PAYLOAD_DOMAIN, payload)
}

/// A piece of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Chunk {
    pub(crate) init: Init,
    pub(crate) index: u32,
    pub(crate) bytes: Vec<u8>,
}

/// A validator's word that it has begun a height, for peers that wait for something to decide.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Wake {
    pub(crate) height: Height,
    pub(crate) validator: ValidatorId,
    pub(crate) signature: Signature,
}

impl Wake {
    /// Checks the validator's signature.
    pub(crate) fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        self.validator
            .key()
            .verify(WAKE_DOMAIN, chain_id, &self.height, &self.signature)
    }
}

/// A message of the topic.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Part {
    /// A piece of a proposal.
    Chunk(Chunk),
    /// An announcement.
    Wake(Wake),
}

impl engine::ProposalPart<Cifer> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Self::Chunk(chunk) if chunk.index == 0)
    }

    fn is_last(&self) -> bool {
        matches!(self, Self::Chunk(chunk) if chunk.index as usize + 1 == chunk.init.chunk_count())
    }
}

/// Cuts the bytes that `init` announces.
pub(crate) fn split(init: &Init, payload: &[u8]) -> Vec<Part> {
    payload
        .chunks(CHUNK_BYTES)
        .zip(0..)
        .map(|(bytes, index)| {
            Part::Chunk(Chunk {
                init: init.clone(),
                index,
                bytes: bytes.to_vec(),
            })
        })
        .collect()
}
