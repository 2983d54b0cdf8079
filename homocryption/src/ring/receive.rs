//! A validator takes its share of a dealing: it keeps a good one, and exposes a bad one.

use rand_core::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use super::committee::RecipientSecret;
use super::context::Terms;
use super::deal::{DealingHeader, sealed_share_bytes};
use super::error::RingError;
use super::field::Fe;
use super::fraud::FraudProof;
use super::params::DEGREE;
use super::seal;

/// One validator's share of one contributor's key. Wiped on drop, never printed; it has no encoding: after a restart it is
/// received again.
pub struct Share {
    pub(super) group: [u8; 32],
    pub(super) contributor: [u8; 32],
    pub(super) committee: [u8; 32],
    pub(super) index: usize,
    pub(super) rows: Zeroizing<Vec<Fe>>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// What came of a sealed share.
#[derive(Debug)]
pub enum Receipt {
    /// The share is one of the committed polynomials'. Vote for the dealing.
    Good(Share),
    /// The dealer cheated, and this proves it to everybody. It reveals nothing but the bad share.
    Bad(Box<FraudProof>),
}

/// Opens and checks the sealed share of validator `index`, whose secret key is given.
///
/// # Errors
/// The dealer's fault is no error. These are: [`RingError::Mismatch`] for a secret or sealed bytes that are not those of `index`
/// (fetch them again), and a header that does not verify on these terms.
pub fn receive(
    terms: &Terms<'_>,
    header: &DealingHeader,
    index: usize,
    secret: &RecipientSecret,
    sealed: &[u8],
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Receipt, RingError> {
    // Before anything is revealed: nobody who copied another dealer's point gets past this.
    header.verify(terms)?;
    let recipient = terms.committee.recipient(index)?;
    if recipient != secret.public() {
        return Err(mismatch("key", "the secret", "the validator's"));
    }
    check_sealed(terms, header, index, sealed)?;
    let shared = Zeroizing::new(secret.scalar * header.ephemeral);
    if let Some(rows) = judge(terms, header, index, &shared, sealed) {
        return Ok(Receipt::Good(Share {
            group: terms.group,
            contributor: terms.contributor,
            committee: *terms.committee.digest(),
            index,
            rows,
        }));
    }
    Ok(Receipt::Bad(Box::new(FraudProof::new(
        terms, header, index, secret, &shared, sealed, rng,
    ))))
}

pub(super) fn mismatch(field: &'static str, left: &str, right: &str) -> RingError {
    RingError::Mismatch {
        field,
        left: left.to_owned(),
        right: right.to_owned(),
    }
}

/// Whether these are the bytes that the header commits to. A dealer that commits to bytes of another length has
/// dealt nothing to this validator: the share counts as missing, and no proof is needed to leave the vote.
pub(super) fn check_sealed(
    terms: &Terms<'_>,
    header: &DealingHeader,
    index: usize,
    sealed: &[u8],
) -> Result<(), RingError> {
    let expected = sealed_share_bytes(terms.committee);
    if sealed.len() != expected {
        return Err(RingError::range(
            "length of a sealed share",
            sealed.len() as u64,
            format!("{expected}"),
        ));
    }
    if header.share_hash(index) != Some(blake3::hash(sealed).as_bytes()) {
        return Err(mismatch("hash", "the sealed share", "the header's"));
    }
    Ok(())
}

/// The key's rows, or None where the sealed share does not open, is not canonical, or fails a check: the dealer's fault.
pub(super) fn judge(
    terms: &Terms<'_>,
    header: &DealingHeader,
    index: usize,
    shared: &curve25519_dalek::ristretto::RistrettoPoint,
    sealed: &[u8],
) -> Option<Zeroizing<Vec<Fe>>> {
    let recipient = terms.committee.recipient(index).ok()?;
    let bytes = seal::unseal(terms, index, &header.ephemeral, recipient, shared, sealed)?;
    let mut rows = Zeroizing::new(Vec::with_capacity(terms.committee.rows()));
    for word in bytes.as_chunks::<4>().0 {
        rows.push(Fe::from_canonical(u32::from_le_bytes(*word))?);
    }
    header.accepts(terms, index, &rows).then(|| {
        // The masks have served; only the key's rows are summed.
        rows.truncate(DEGREE);
        rows
    })
}
