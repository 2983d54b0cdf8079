//! What the cryptography of a private round follows from: the one place where the ledger's terms, keys and
//! groups become those of `homocryption`. Everybody derives the same from the same state.

use std::ops::Deref;

use cifer_genesis::{
    ContributorId, Hash32, RoundId, TaskId, ValidatorId,
    document::Task,
    privacy::{Privacy, share_threshold},
};
use cifer_homocryption::ring::{
    Committee, CommitteeSize, ContributorSet, GroupContext, Layout, Opening, RecipientKey,
    RingError, Scale, ShareSum, Terms, open,
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

/// What lengths, masks and groups of a round follow from, once its groups are formed. Cheap: no key is decoded.
#[derive(Debug, Clone)]
pub struct RoundFrame {
    chain_id: String,
    task: TaskId,
    round: RoundId,
    seed: Hash32,
    size: CommitteeSize,
    scale: Scale,
    layout: Layout,
    values: u64,
}

/// The cryptographic terms of a round whose groups are formed: its frame, and whom keys are shared among.
#[derive(Debug, Clone)]
pub struct RoundTerms {
    frame: RoundFrame,
    committee: Committee,
}

impl Deref for RoundTerms {
    type Target = RoundFrame;

    fn deref(&self) -> &RoundFrame {
        &self.frame
    }
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

impl RoundFrame {
    /// The frame of a round of `task`, of which `private` is the private half. `None` before its groups are formed,
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
        let count = validators.entries().len();
        Ok(Some(Self {
            chain_id: chain_id.to_owned(),
            task: task.id,
            round,
            seed,
            size: CommitteeSize {
                validators: count,
                threshold: threshold(count),
            },
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

    /// Where things are in a payload.
    ///
    /// # Errors
    /// [`RingError`] for a model without coordinates, or of more than the ring has room for.
    pub fn payload(&self) -> Result<PayloadLayout, RingError> {
        Ok(PayloadLayout {
            header: self.size.header_bytes() as u64,
            share: self.size.share_bytes() as u64,
            shares: self.size.validators as u64,
            body: self.layout.body_bytes(self.values)?,
        })
    }

    /// Bytes of the dealing's public half and of the proof in an accusation.
    #[must_use]
    pub const fn fraud_bytes(&self) -> (usize, usize) {
        (self.size.header_bytes(), self.size.fraud_bytes())
    }
}

impl RoundTerms {
    /// The terms of a round of `task`, of which `private` is the private half. `None` before its groups are formed,
    /// and of a task in the clear.
    ///
    /// # Errors
    /// As [`RoundFrame::new`].
    pub fn new(
        chain_id: &str,
        task: &Task,
        round: RoundId,
        validators: &ValidatorSet,
        private: &PrivateRound,
    ) -> Result<Option<Self>, RingError> {
        let Some(frame) = RoundFrame::new(chain_id, task, round, validators, private)? else {
            return Ok(None);
        };
        let committee = committee(frame.seed, validators, private)?;
        Ok(Some(Self { frame, committee }))
    }

    /// Whom the keys are shared among: all validators in the order of the set. For one without a share key stands a
    /// point of which nobody knows the secret, so that indices and lengths are the same in every round.
    #[must_use]
    pub const fn committee(&self) -> &Committee {
        &self.committee
    }

    /// What a contributor's dealing is bound to.
    ///
    /// # Errors
    /// As [`RoundFrame::group`].
    pub fn dealing(
        &self,
        group: GroupIndex,
        contributor: ContributorId,
    ) -> Result<Terms<'_>, RingError> {
        let group = self.group(group)?;
        Ok(Terms::new(&group, identity(contributor), &self.committee))
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

fn threshold(validators: usize) -> u32 {
    u32::try_from(share_threshold(validators as u64)).unwrap_or(u32::MAX)
}

fn committee(
    seed: Hash32,
    validators: &ValidatorSet,
    private: &PrivateRound,
) -> Result<Committee, RingError> {
    let recipients = validators.entries().iter().map(|(id, _)| {
        let published = private.keys.get(id).copied();
        RecipientKey::from_bytes(published.unwrap_or_else(|| absent(seed, id)))
    });
    let threshold = threshold(validators.entries().len());
    Committee::new(recipients.collect::<Result<_, _>>()?, threshold)
}

/// A point whose discrete logarithm nobody knows, by hashing to the group. The round's seed is younger than its share keys,
/// so nobody could publish this point as a key of its own and have the committee hold it twice.
fn absent(seed: Hash32, validator: &ValidatorId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(ABSENT_KEY_DOMAIN);
    hasher.update(&seed.0);
    hasher.update(validator.key().as_bytes());
    let mut uniform = [0; 64];
    hasher.finalize_xof().fill(&mut uniform);
    RistrettoPoint::from_uniform_bytes(&uniform)
        .compress()
        .to_bytes()
}
