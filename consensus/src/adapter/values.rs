//! What the adapter does with proposed blocks: signing, keeping, finding and judging them.

use arc_malachitebft_app_channel::app::types::{
    ProposedValue,
    core::{Context as _, Round, Validity},
};
use cifer_chain::block::Block;
use cifer_genesis::{BlockHash, Height};
use tracing::warn;

use super::Adapter;
use crate::{
    api::{Application, Fatal, Origin, Verdict},
    context::{Cifer, EngineAddress, EngineHeight, EngineProposal, EngineValue},
    proposal::{Init, PARTS_DOMAIN, Part, UndecidedValue, split},
};

impl<A: Application> Adapter<A> {
    /// Signs the head of our own proposal; `None` when the last-signed record forbids it.
    pub(crate) fn sign_init(
        &self,
        proposal: &EngineProposal,
        payload: &[u8],
    ) -> Result<Option<Init>, Fatal> {
        let Some(signer) = &self.settings.signer else {
            return Ok(None);
        };
        let mut init = Init::new(proposal, payload)
            .ok_or_else(|| Fatal::new("own block is larger than 4 GiB"))?;
        let signed = signer
            .sign_parts(proposal, PARTS_DOMAIN, &init.signed_payload())
            .map_err(Fatal::new)?;
        Ok(signed.map(|signature| {
            init.signature = signature;
            init
        }))
    }

    /// A proposal of ours for this round.
    pub(crate) fn own_proposal(
        &self,
        height: Height,
        round: u32,
        block: BlockHash,
        pol_round: Round,
    ) -> EngineProposal {
        Cifer.new_proposal(
            EngineHeight(height),
            Round::new(round),
            EngineValue(block),
            pol_round,
            EngineAddress(self.settings.own),
        )
    }

    /// Keeps a value: durably where a restart would need it, then in memory. `false` when there
    /// are too many.
    pub(crate) fn keep(&mut self, hash: BlockHash, value: UndecidedValue) -> Result<bool, Fatal> {
        if !self.undecided.insert(hash, value.clone()) {
            return Ok(false);
        }
        self.store(hash, &value)?;
        Ok(true)
    }

    /// Keeps a value that has a certificate.
    pub(crate) fn keep_certified(
        &mut self,
        hash: BlockHash,
        value: &UndecidedValue,
    ) -> Result<(), Fatal> {
        self.undecided.insert_certified(hash, value.clone());
        self.store(hash, value)
    }

    // Only validators have a write-ahead log that may refer to the value after a restart.
    fn store(&mut self, hash: BlockHash, value: &UndecidedValue) -> Result<(), Fatal> {
        if self.settings.signer.is_none() {
            return Ok(());
        }
        let bytes = borsh::to_vec(value).map_err(Fatal::new)?;
        self.app
            .store_undecided(value.block.header.height, value.round, hash, bytes)
    }

    /// Brings what the application stored for a round before a restart back into memory, once.
    pub(crate) fn recall(&mut self, height: Height, round: u32) {
        if !self.recalled.insert((height, round)) {
            return;
        }
        for bytes in self.app.undecided(height, round) {
            match borsh::from_slice::<UndecidedValue>(&bytes) {
                Ok(value) if value.block.header.height == height && value.round == round => {
                    self.undecided.insert(value.block.hash(), value);
                }
                Ok(_) => warn!(%height, round, "stored proposal is of another round"),
                Err(error) => warn!(%height, round, %error, "stored proposal is damaged"),
            }
        }
    }

    /// Forgets everything that a decided height makes useless.
    pub(crate) fn forget_through(&mut self, height: Height) {
        self.undecided.forget_through(height);
        self.streams.forget_through(height);
        self.recalled.retain(|(entry, _)| *entry > height);
    }

    /// Splits a kept proposal for the network.
    pub(crate) fn parts(init: &Init, block: &Block) -> Result<Vec<Part>, Fatal> {
        Ok(split(init, &borsh::to_vec(block).map_err(Fatal::new)?))
    }

    /// The block that was decided, wherever it is. It may have been pushed out of memory.
    pub(crate) fn decided_block(
        &self,
        height: Height,
        round: u32,
        hash: BlockHash,
    ) -> Option<Block> {
        if let Some(value) = self.undecided.find(height, hash) {
            return Some(value.block.clone());
        }
        self.app
            .undecided(height, round)
            .iter()
            .filter_map(|bytes| borsh::from_slice::<UndecidedValue>(bytes).ok())
            .map(|value| value.block)
            .find(|block| block.hash() == hash)
    }

    /// Asks the application about a kept value of the next height.
    pub(crate) fn judge(
        &mut self,
        hash: BlockHash,
        value: &UndecidedValue,
        origin: Origin,
    ) -> ProposedValue<Cifer> {
        let validity = match self.app.validate(&value.block, origin) {
            Verdict::Valid => Validity::Valid,
            Verdict::Invalid(reason) => {
                let height = value.block.header.height;
                warn!(%height, block = %hash, proposer = %value.proposer, reason, ?origin, "invalid block");
                if origin == Origin::Synced {
                    self.report(format!(
                        "block {hash} of height {height} is certified, and invalid to this node: {reason}"
                    ));
                }
                Validity::Invalid
            }
        };
        value.proposed(hash, validity)
    }
}
