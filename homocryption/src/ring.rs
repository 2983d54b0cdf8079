//! Private sums: the cryptography of rounds in which nobody sees one contributor's update.
//!
//! Contributors of a group encrypt under their own fresh [`ContributorKey`] and one public mask; bodies add up,
//! and the sum opens under the sum of the keys. The keys are secret-shared among the validators with a dealing that
//! each validator can check alone ([`deal`], [`receive`]), a bad dealing is exposed by a [`FraudProof`], and the
//! validators publish only sums of shares ([`ShareSum`]), from which [`open`] recovers the sum of the keys.
//!
//! Order of use, one (round, group):
//!
//! 1. everybody: [`GroupContext`], [`Layout`], [`Committee`] from the ledger;
//! 2. contributor: [`ContributorKey::generate`], [`deal`], [`encrypt`] (which consumes the key);
//! 3. validator: [`receive`]; a [`Receipt::Bad`] is published, a [`Receipt::Good`] kept until the set is fixed;
//! 4. validator: [`ShareSum::of`] over exactly the fixed set, then the shares are dropped (and wiped);
//! 5. everybody: [`open`] the key sum, then [`open_mean`] over the bodies.
//!
//! Pure: no network, no ledger, no clock. Randomness is passed in and has to come from a cryptographic generator.
//! Nothing here stops a caller from opening two sets of one group: that is for the ledger's rules.
//! `homocryption/src/ring/README.md` has parameters, formats and measurements.

mod body;
mod bytes;
mod committee;
mod context;
mod deal;
mod decode;
mod encrypt;
mod error;
mod field;
mod fraud;
mod gauss;
mod key;
mod keystream;
mod layout;
mod mask;
mod opening;
pub mod params;
mod planes;
mod quantise;
mod receive;
mod seal;
mod total;
mod transform;

pub use body::{Bodies, BodyHeader, HEADER_BYTES, Mapped, Streamed};
pub use committee::{Committee, CommitteeSize, MAX_VALIDATORS, RecipientKey, RecipientSecret};
pub use context::{GroupContext, Terms};
#[cfg(feature = "testing")]
pub use deal::deal_cheating;
pub use deal::{Dealing, DealingHeader, deal, sealed_share_bytes};
pub use encrypt::encrypt;
pub use error::RingError;
pub use fraud::FraudProof;
pub use key::{ContributorKey, KeySum};
pub use layout::Layout;
pub use opening::{ContributorSet, Opening, ShareSum, open};
pub use quantise::{Encoder, Integers, Quantiser, Scale};
pub use receive::{Receipt, Share, receive};
pub use total::{open_mean, open_sum, sum_bodies};
