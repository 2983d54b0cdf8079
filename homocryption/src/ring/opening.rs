//! Opening a group: sums of shares from the validators, and the sum of keys from them.

use super::bytes::{Input, start};
use super::committee::{Committee, MAX_VALIDATORS};
use super::context::GroupContext;
use super::decode::decode;
use super::error::RingError;
use super::field::Fe;
use super::key::KeySum;
use super::params::{DEGREE, MAX_CONTRIBUTORS};
use super::receive::{Share, mismatch};

const MAGIC: [u8; 4] = *b"CFSS";

/// The fixed set of a group: contributors sorted by identity, none twice. The ledger finalises one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContributorSet {
    contributors: Vec<[u8; 32]>,
    digest: [u8; 32],
}

impl ContributorSet {
    /// # Errors
    /// [`RingError::OutOfRange`] for none or more than the largest cohort, [`RingError::Malformed`] for one that occurs twice.
    pub fn new(mut contributors: Vec<[u8; 32]>) -> Result<Self, RingError> {
        if contributors.is_empty() || contributors.len() > MAX_CONTRIBUTORS as usize {
            let count = contributors.len() as u64;
            return Err(RingError::range(
                "contributors",
                count,
                format!("1 to {MAX_CONTRIBUTORS}"),
            ));
        }
        contributors.sort_unstable();
        if contributors.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(RingError::malformed(
                "contributor set",
                "a contributor occurs twice",
            ));
        }
        let mut hasher = blake3::Hasher::new_derive_key("cifer/homocryption/set/v1");
        hasher.update(contributors.as_flattened());
        let digest = *hasher.finalize().as_bytes();
        Ok(Self {
            contributors,
            digest,
        })
    }

    /// Hash of the sorted identities.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The identities in order.
    #[must_use]
    pub fn contributors(&self) -> &[[u8; 32]] {
        &self.contributors
    }

    fn count(&self) -> u32 {
        self.contributors.len() as u32
    }
}

/// What one validator publishes about a group: the sum of its shares of the whole set, and of no other. 8 KB.
#[derive(Clone, PartialEq, Eq)]
pub struct ShareSum {
    group: [u8; 32],
    set: [u8; 32],
    index: usize,
    rows: Vec<Fe>,
}

impl std::fmt::Debug for ShareSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareSum")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl ShareSum {
    /// Bytes of the encoding.
    pub const BYTES: usize = 74 + DEGREE * 4;

    /// The sum over the shares of exactly `set`.
    ///
    /// # Errors
    /// [`RingError::Mismatch`] where the shares are not one of each member, of one group, committee and validator.
    pub fn of(set: &ContributorSet, shares: &[Share]) -> Result<Self, RingError> {
        let owners = ContributorSet::new(shares.iter().map(|share| share.contributor).collect())?;
        if owners != *set {
            return Err(mismatch("contributors", "the shares", "the set"));
        }
        let first = &shares[0];
        let mut rows = vec![Fe::ZERO; DEGREE];
        for share in shares {
            if (share.group, share.committee, share.index)
                != (first.group, first.committee, first.index)
            {
                return Err(mismatch(
                    "group, committee or validator",
                    "one share",
                    "another",
                ));
            }
            for (sum, value) in rows.iter_mut().zip(&share.rows[..]) {
                *sum = *sum + *value;
            }
        }
        Ok(Self {
            group: first.group,
            set: *set.digest(),
            index: first.index,
            rows,
        })
    }

    /// The validator.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// [`GroupContext::digest`] of the group.
    #[must_use]
    pub const fn group(&self) -> &[u8; 32] {
        &self.group
    }

    /// [`ContributorSet::digest`] of the set.
    #[must_use]
    pub const fn set(&self) -> &[u8; 32] {
        &self.set
    }

    /// Canonical bytes: magic, version, index (u32), group, set, 2048 elements (u32).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = start(MAGIC, Self::BYTES);
        out.extend_from_slice(&(self.index as u32).to_le_bytes());
        out.extend_from_slice(&self.group);
        out.extend_from_slice(&self.set);
        out.extend(
            self.rows
                .iter()
                .flat_map(|value| value.value().to_le_bytes()),
        );
        out
    }

    /// # Errors
    /// [`RingError::Malformed`], [`RingError::OutOfRange`] for an index that no committee has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RingError> {
        let mut input = Input::new("share sum", MAGIC, bytes)?;
        let index = input.u32()? as usize;
        if index >= MAX_VALIDATORS {
            return Err(RingError::range(
                "index of a validator",
                index as u64,
                format!("below {MAX_VALIDATORS}"),
            ));
        }
        let (group, set) = (input.array()?, input.array()?);
        let mut rows = vec![Fe::ZERO; DEGREE];
        for value in &mut rows {
            *value = Fe::from_canonical(input.u32()?)
                .ok_or(input.error("an element is not below the prime"))?;
        }
        input.finish()?;
        Ok(Self {
            group,
            set,
            index,
            rows,
        })
    }
}

/// The opened sum of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Opens the sum of the bodies of the set.
    pub key: KeySum,
    /// Validators whose sums were wrong, ascending. They, or a dealer that they did not expose, are at fault.
    pub wrong: Vec<usize>,
}

/// Recovers the sum of the keys of `set`: e wrong sums are corrected and named while at least `t + 1 + 2e` are given.
///
/// The outcome depends on which sums are given only in `wrong`, as long as no more than that are wrong.
///
/// # Errors
/// [`RingError::Mismatch`] for sums of another group or set or two of one validator, [`RingError::NotDecodable`], and
/// [`RingError::KeyTooLarge`] where a member shared something that is no key.
pub fn open(
    group: &GroupContext,
    committee: &Committee,
    set: &ContributorSet,
    sums: &[ShareSum],
) -> Result<Opening, RingError> {
    let mut sums: Vec<&ShareSum> = sums.iter().collect();
    sums.sort_unstable_by_key(|sum| sum.index);
    let digest = group.digest();
    for sum in &sums {
        committee.recipient(sum.index)?;
        if (&sum.group, &sum.set) != (&digest, set.digest()) {
            return Err(mismatch("group or set", "a share sum", "the opening"));
        }
    }
    if sums.windows(2).any(|pair| pair[0].index == pair[1].index) {
        return Err(mismatch("validator", "one share sum", "that of another"));
    }
    let points: Vec<Fe> = sums.iter().map(|sum| Fe::point(sum.index)).collect();
    let rows: Vec<&[Fe]> = sums.iter().map(|sum| sum.rows.as_slice()).collect();
    let (values, wrong) = decode(&points, &rows, committee.threshold())?;
    let mut coefficients = Box::new([0; DEGREE]);
    for (coefficient, value) in coefficients.iter_mut().zip(values) {
        *coefficient = value.to_signed();
    }
    let key = KeySum::checked(set.count(), coefficients)?;
    Ok(Opening {
        key,
        wrong: wrong.into_iter().map(|place| sums[place].index).collect(),
    })
}
