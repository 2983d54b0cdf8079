//! What a ciphertext or a dealing belongs to. Its digest goes into every key derivation, proof and header, so that nothing
//! can be moved to another network, task, round, group or contributor.

use blake3::Hasher;

use super::committee::Committee;
use super::error::RingError;

/// Longest chain id, bytes.
const MAX_CHAIN_ID: usize = 256;

/// A group of a round, and the seed of its mask.
///
/// The seed has to come from a value that no contributor could choose, such as a block hash, and must never serve two groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupContext {
    chain_id: String,
    task: u64,
    round: u64,
    group: u32,
    mask_seed: [u8; 32],
}

impl GroupContext {
    /// # Errors
    /// [`RingError::OutOfRange`] for a chain id that is empty or longer than 256 bytes.
    pub fn new(
        chain_id: impl Into<String>,
        task: u64,
        round: u64,
        group: u32,
        mask_seed: [u8; 32],
    ) -> Result<Self, RingError> {
        let chain_id = chain_id.into();
        if chain_id.is_empty() || chain_id.len() > MAX_CHAIN_ID {
            let length = chain_id.len() as u64;
            return Err(RingError::range(
                "length of the chain id",
                length,
                format!("1 to {MAX_CHAIN_ID}"),
            ));
        }
        Ok(Self {
            chain_id,
            task,
            round,
            group,
            mask_seed,
        })
    }

    /// Hash of all fields.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Hasher::new_derive_key("cifer/homocryption/group/v1");
        hasher.update(&(self.chain_id.len() as u64).to_le_bytes());
        hasher.update(self.chain_id.as_bytes());
        hasher.update(&self.task.to_le_bytes());
        hasher.update(&self.round.to_le_bytes());
        hasher.update(&self.group.to_le_bytes());
        hasher.update(&self.mask_seed);
        *hasher.finalize().as_bytes()
    }
}

/// What one dealing is bound to: the group, the contributor and the committee.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// The validators that the key is shared among.
    pub committee: &'a Committee,
    /// [`GroupContext::digest`].
    pub group: [u8; 32],
    /// The contributor's public identity.
    pub contributor: [u8; 32],
}

impl<'a> Terms<'a> {
    /// Terms of `contributor` in `group`.
    #[must_use]
    pub fn new(group: &GroupContext, contributor: [u8; 32], committee: &'a Committee) -> Self {
        Self {
            committee,
            group: group.digest(),
            contributor,
        }
    }

    /// A hasher that has taken in these terms, for the purpose that `domain` names.
    pub(super) fn hasher(&self, domain: &'static str) -> Hasher {
        let mut hasher = Hasher::new_derive_key(domain);
        hasher.update(&self.group);
        hasher.update(&self.contributor);
        hasher.update(self.committee.digest());
        hasher
    }
}
