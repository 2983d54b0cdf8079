//! A contributor's update: the signed commitment, and what validators say about its payload.
//!
//! The bytes of a payload never enter a block. A validator that has checked them signs a verdict;
//! more than two thirds of the power on "available" is an availability certificate, on "rejected"
//! a certified rejection, which uses up the contributor's turn for the round.

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{
    BlobHash, ContributorId, Hash32, ModelRoot, RoundId, SecretKey, Signature, SignatureError,
    TaskId, ValidatorId, crypto::signing_bytes,
};

use crate::{
    private::GroupIndex,
    validators::{CertificateError, ValidatorSet},
};

/// Domain of a contributor's signature.
pub const UPDATE_DOMAIN: &str = "cifer/chain/update/v1";
/// Domain of a validator's verdict.
pub const VERDICT_DOMAIN: &str = "cifer/chain/verdict/v1";

/// How a payload's bytes encode numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PayloadEncoding {
    /// `local model - base model`, every tensor in manifest order, row-major f32 little endian.
    DeltaF32,
    /// Encrypted under the mask of the contributor's group, with the shares of the key: only the sum
    /// of the group's updates can be opened.
    GroupedSum {
        /// The contributor's group in this round.
        group: GroupIndex,
        /// Seed of the mask: the group's.
        mask_seed: Hash32,
        /// Hash of the dealing's public half, which binds each encrypted share.
        dealing: Hash32,
    },
}

impl PayloadEncoding {
    /// The encoding as people write it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DeltaF32 => "delta-f32",
            Self::GroupedSum { .. } => "grouped-sum",
        }
    }
}

/// What the contributor says of its own training, in parts per million; signed, not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Metrics {
    /// Mean training loss times 1,000,000 (saturating).
    pub loss_ppm: u64,
    /// Training accuracy in parts per million.
    pub accuracy_ppm: u32,
}

/// The commitment.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Update {
    /// Task trained.
    pub task: TaskId,
    /// Round trained.
    pub round: RoundId,
    /// Model it started from.
    pub base: ModelRoot,
    /// BLAKE3 of the payload.
    pub payload: BlobHash,
    /// Length of the payload.
    pub payload_bytes: u64,
    /// Encoding of the payload.
    pub encoding: PayloadEncoding,
    /// Samples trained on; the weight of the update, capped by genesis.
    pub samples: u64,
    /// Reported metrics.
    pub metrics: Metrics,
    /// Who trained.
    pub contributor: ContributorId,
}

/// A commitment with its contributor's signature over `(chain id, update)`.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedUpdate {
    /// The commitment.
    pub update: Update,
    /// The contributor's signature.
    pub signature: Signature,
}

impl SignedUpdate {
    /// Signs with the contributor's key; `update.contributor` must be that key.
    #[must_use]
    pub fn sign(update: Update, chain_id: &str, key: &SecretKey) -> Self {
        let signature = key.sign(UPDATE_DOMAIN, chain_id, &update);
        Self { update, signature }
    }

    /// Checks the contributor's signature.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let key = self.update.contributor.key();
        key.verify(UPDATE_DOMAIN, chain_id, &self.update, &self.signature)
    }

    /// Hash of the signed commitment: what verdicts are about.
    #[must_use]
    pub fn id(&self, chain_id: &str) -> Hash32 {
        Hash32::derive(
            UPDATE_DOMAIN,
            &signing_bytes(UPDATE_DOMAIN, chain_id, &self.update),
        )
    }
}

/// Why a validator refuses a payload. Only what every honest validator finds alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum RejectReason {
    /// The payload's length is not what the manifest says.
    WrongLength,
    /// A coordinate is NaN or infinite.
    NotFinite,
    /// A coordinate's magnitude exceeds the task's `max_abs_update`.
    OutOfRange,
    /// The dealing or the body of an encrypted update is not well formed.
    BadDealing,
    /// A share was dealt that is none; said by a [`crate::private::ShareFraud`], never by a verdict.
    BadShare,
}

/// What a validator says of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Verdict {
    /// Stored, of the committed hash and length, well-formed; it will be served.
    Available,
    /// Not acceptable.
    Rejected(RejectReason),
}

/// One validator's signed verdict: an availability receipt or a signed rejection.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VerdictVote {
    /// [`SignedUpdate::id`].
    pub update: Hash32,
    /// What is said.
    pub verdict: Verdict,
    /// Who says it.
    pub validator: ValidatorId,
    /// Signature over `(chain id, update, verdict)`.
    pub signature: Signature,
}

/// The bytes that verdicts on `update` sign.
#[must_use]
pub fn verdict_signing_bytes(chain_id: &str, update: Hash32, verdict: Verdict) -> Vec<u8> {
    signing_bytes(VERDICT_DOMAIN, chain_id, &(update, verdict))
}

impl VerdictVote {
    /// Signs a verdict with the validator's key.
    #[must_use]
    pub fn sign(update: Hash32, verdict: Verdict, chain_id: &str, key: &SecretKey) -> Self {
        let signature = key.sign_bytes(&verdict_signing_bytes(chain_id, update, verdict));
        Self {
            update,
            verdict,
            validator: ValidatorId(key.public_key()),
            signature,
        }
    }

    /// Checks the signature; whether the signer has a seat is for the caller.
    ///
    /// # Errors
    /// [`SignatureError::BadSignature`].
    pub fn verify(&self, chain_id: &str) -> Result<(), SignatureError> {
        let message = verdict_signing_bytes(chain_id, self.update, self.verdict);
        self.validator.key().verify_bytes(&message, &self.signature)
    }
}

/// Signatures of different validators on one verdict.
pub type Availability = Vec<(ValidatorId, Signature)>;

/// A commitment with its availability certificate: what a block carries.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertifiedUpdate {
    /// The commitment.
    pub signed: SignedUpdate,
    /// More than two thirds of the power, on [`Verdict::Available`].
    pub availability: Availability,
}

/// A commitment that more than two thirds of the power rejected, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CertifiedRejection {
    /// The commitment.
    pub signed: SignedUpdate,
    /// The reason they agree on.
    pub reason: RejectReason,
    /// More than two thirds of the power, on `Verdict::Rejected(reason)`.
    pub signatures: Availability,
}

/// Checks that more than two thirds of the power gave this verdict on this update.
///
/// # Errors
/// See [`CertificateError`].
pub fn verify_verdicts(
    signed: &SignedUpdate,
    verdict: Verdict,
    signatures: &Availability,
    chain_id: &str,
    validators: &ValidatorSet,
) -> Result<(), CertificateError> {
    let message = verdict_signing_bytes(chain_id, signed.id(chain_id), verdict);
    validators.verify_quorum(signatures, &message)
}
