//! What the cryptography of a private round follows from: the one place where the ledger's terms, keys and
//! groups become those of `homocryption`. Everybody derives the same from the same state.

use cifer_genesis::{
    ContributorId, Hash32, RoundId, TaskId, ValidatorId,
    crypto::signing_bytes,
    document::Task,
    privacy::{Privacy, share_threshold},
};
use cifer_homocryption::ring::{
    Committee, ContributorSet, DealingHeader, GroupContext, Layout, Opening, RecipientKey,
    RingError, Scale, ShareSum, Terms, open, sealed_share_bytes,
};
use curve25519_dalek::ristretto::RistrettoPoint;

use super::{Group, GroupIndex, PrivateRound, mask_seed};
use crate::validators::ValidatorSet;

/// Domain of a dealing's hash.
pub const DEALING_DOMAIN: &str = "cifer/chain/dealing/v1";
/// Domain of the points that stand for validators without a share key.
pub const ABSENT_KEY_DOMAIN: &str = "cifer/chain/absent-share-key/v1";

/// Hash of a dealing's public half, as a commitment binds it.
#[must_use]
pub fn dealing_hash(header: &[u8]) -> Hash32 {
    Hash32::derive(DEALING_DOMAIN, header)
}

/// The cryptographic terms of a round whose groups are formed.
#[derive(Debug, Clone)]
pub struct RoundTerms {
    chain_id: String,
    task: TaskId,
    round: RoundId,
    seed: Hash32,
    committee: Committee,
    scale: Scale,
    layout: Layout,
    values: u64,
}

/// Where things are in the payload of a private update: the dealing's public half, the sealed shares in the
/// order of the validators, the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadLayout {
    /// Bytes of the dealing's public half.
    pub header: u64,
    /// Bytes of one sealed share.
    pub share: u64,
    /// Number of shares: validators.
    pub shares: u64,
    /// Bytes of the body.
    pub body: u64,
}

impl PayloadLayout {
    /// Offset of a validator's sealed share.
    #[must_use]
    pub const fn share_at(&self, index: u64) -> u64 {
        self.header + index * self.share
    }

    /// Offset of the body.
    #[must_use]
    pub const fn body_at(&self) -> u64 {
        self.share_at(self.shares)
    }

    /// Bytes of the whole payload.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.body_at() + self.body
    }
}

/// Fixed point of a private task: magnitudes up to `clip_ppm`, in `value_bits`.
///
/// # Errors
/// [`RingError`] for terms that genesis refuses.
pub fn scale(terms: &Privacy) -> Result<Scale, RingError> {
    // Exact in f64 below 2^53, divided and rounded once: the same bits everywhere.
    let clip = (terms.clip_ppm as f64 / 1_000_000.0) as f32;
    Scale::new(u32::try_from(terms.value_bits).unwrap_or(u32::MAX), clip)
}

impl RoundTerms {
    /// The terms of a round of `task`, of which `private` is the private half. `None` before its groups are formed,
    /// and of a task in the clear.
    ///
    /// # Errors
    /// [`RingError`] for a document or a state that validation and `apply` would have refused.
    pub fn new(
        chain_id: &str,
        task: &Task,
        round: RoundId,
        validators: &ValidatorSet,
        private: &PrivateRound,
    ) -> Result<Option<Self>, RingError> {
        let (Some(terms), Some(seed)) = (&task.privacy, private.stage.seed()) else {
            return Ok(None);
        };
        let scale = scale(terms)?;
        Ok(Some(Self {
            chain_id: chain_id.to_owned(),
            task: task.id,
            round,
            seed,
            committee: committee(chain_id, task.id, round, validators, private)?,
            layout: Layout::new(private.capacity, scale.value_max())?,
            scale,
            values: task.coordinates(),
        }))
    }

    /// Fixed point of the values.
    #[must_use]
    pub const fn scale(&self) -> &Scale {
        &self.scale
    }

    /// Packing of the values.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Coordinates of the model.
    #[must_use]
    pub const fn values(&self) -> u64 {
        self.values
    }

    /// Whom the keys are shared among: all validators in the order of the set. For one without a share key stands a
    /// point of which nobody knows the secret, so that indices and lengths are the same in every round.
    #[must_use]
    pub const fn committee(&self) -> &Committee {
        &self.committee
    }

    /// Seed of a group's mask.
    #[must_use]
    pub fn mask_seed(&self, group: GroupIndex) -> Hash32 {
        mask_seed(&self.chain_id, self.task, self.round, group, self.seed)
    }

    /// What a group's ciphertexts are bound to.
    ///
    /// # Errors
    /// [`RingError`] for a chain id that genesis refuses.
    pub fn group(&self, group: GroupIndex) -> Result<GroupContext, RingError> {
        let (task, seed) = (u64::from(self.task.0), self.mask_seed(group).0);
        GroupContext::new(self.chain_id.as_str(), task, self.round.0, group, seed)
    }

    /// What a contributor's dealing is bound to.
    ///
    /// # Errors
    /// As [`Self::group`].
    pub fn dealing(
        &self,
        group: GroupIndex,
        contributor: ContributorId,
    ) -> Result<Terms<'_>, RingError> {
        let group = self.group(group)?;
        Ok(Terms::new(&group, identity(contributor), &self.committee))
    }

    /// Where things are in a payload.
    ///
    /// # Errors
    /// [`RingError`] for a model without coordinates, or of more than the ring has room for.
    pub fn payload(&self) -> Result<PayloadLayout, RingError> {
        Ok(PayloadLayout {
            header: DealingHeader::bytes(&self.committee) as u64,
            share: sealed_share_bytes(&self.committee) as u64,
            shares: self.committee.recipients().len() as u64,
            body: self.layout.body_bytes(self.values)?,
        })
    }

    /// Opens the sum of a cohort's keys from the sums that the ledger holds, in any order.
    ///
    /// # Errors
    /// [`RingError::NotDecodable`] with too many wrong ones; [`RingError`] for sums that `apply` would have refused.
    pub fn open(
        &self,
        index: GroupIndex,
        group: &Group,
        sums: &[ShareSum],
    ) -> Result<Opening, RingError> {
        let set = contributor_set(&group.cohort)?;
        open(&self.group(index)?, &self.committee, &set, sums)
    }
}

/// The cohort as the ring names it.
///
/// # Errors
/// [`RingError`] for nobody.
pub fn contributor_set(cohort: &[ContributorId]) -> Result<ContributorSet, RingError> {
    ContributorSet::new(cohort.iter().copied().map(identity).collect())
}

/// A contributor as the ring names it.
#[must_use]
pub fn identity(contributor: ContributorId) -> [u8; 32] {
    *contributor.key().as_bytes()
}

/// Place of a validator in the committee.
#[must_use]
pub fn seat(validators: &ValidatorSet, validator: &ValidatorId) -> Option<usize> {
    let seats = validators.entries();
    seats.binary_search_by(|(id, _)| id.cmp(validator)).ok()
}

fn committee(
    chain_id: &str,
    task: TaskId,
    round: RoundId,
    validators: &ValidatorSet,
    private: &PrivateRound,
) -> Result<Committee, RingError> {
    let recipients = validators.entries().iter().map(|(id, _)| {
        let published = private.keys.get(id).copied();
        RecipientKey::from_bytes(published.unwrap_or_else(|| absent(chain_id, task, round, id)))
    });
    let threshold = share_threshold(validators.entries().len() as u64);
    let threshold = u32::try_from(threshold).unwrap_or(u32::MAX);
    Committee::new(recipients.collect::<Result<_, _>>()?, threshold)
}

/// A point whose discrete logarithm nobody knows, by hashing to the group.
fn absent(chain_id: &str, task: TaskId, round: RoundId, validator: &ValidatorId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(ABSENT_KEY_DOMAIN);
    hasher.update(&signing_bytes(
        ABSENT_KEY_DOMAIN,
        chain_id,
        &(task, round, validator),
    ));
    let mut uniform = [0; 64];
    hasher.finalize_xof().fill(&mut uniform);
    RistrettoPoint::from_uniform_bytes(&uniform)
        .compress()
        .to_bytes()
}
