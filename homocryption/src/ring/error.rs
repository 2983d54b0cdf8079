//! Errors of private sums. [`RingError::Exposed`]-like verdicts are values, not errors: an error is a refusal.

use std::io;

/// Why something was refused, with the value and the limit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// A number is outside of what the scheme allows.
    #[error("{field} is {value}, allowed is {allowed}")]
    OutOfRange {
        /// What the number is.
        field: &'static str,
        /// What was given.
        value: u64,
        /// The bound, in words.
        allowed: String,
    },
    /// The sum would not decrypt right with certainty: values and noise need more room than a coefficient has.
    #[error(
        "noise budget exceeded: {contributors} contributors with values up to {value_max} do not fit one coefficient"
    )]
    NoiseBudget {
        /// Cohort of the layout.
        contributors: u32,
        /// Largest value of one contributor.
        value_max: u32,
    },
    /// Adding would put more bodies into a sum than its layout has room for.
    #[error("noise budget spent: {summed} bodies in a sum with room for {contributors}")]
    TooManyBodies {
        /// Bodies that would be in the sum.
        summed: u64,
        /// Cohort of the layout.
        contributors: u32,
    },
    /// Two things that have to agree do not.
    #[error("{field} of {left} does not match {right}")]
    Mismatch {
        /// What differs.
        field: &'static str,
        /// The one side.
        left: String,
        /// The other side.
        right: String,
    },
    /// Bytes that are not the canonical encoding of what they should be.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was decoded.
        what: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A sum that no set of honest bodies adds up to: some contributor's body is garbage.
    #[error("spoiled group: value {index} of the sum is out of range")]
    Spoiled {
        /// Index of the first impossible value.
        index: u64,
    },
    /// A value that cannot be encoded.
    #[error("value {index} is not finite")]
    NotFinite {
        /// Its index.
        index: u64,
    },
    /// An integer above the layout's largest value.
    #[error("value {index} is {value}, above {max}")]
    ValueTooLarge {
        /// Its index.
        index: u64,
        /// The value.
        value: u64,
        /// The layout's largest value.
        max: u32,
    },
    /// The source ended early, or did not end where it should.
    #[error("the source holds {found} values, {expected} were announced")]
    Length {
        /// Values that were announced.
        expected: u64,
        /// Values that came.
        found: u64,
    },
    /// A signature, proof or authenticated ciphertext does not verify.
    #[error("{0} does not verify")]
    Unverified(&'static str),
    /// An accusation against a dealing that is in order.
    #[error("the accused share is in order")]
    Unfounded,
    /// Too many shares are missing or wrong.
    #[error(
        "{points} summed shares with {wrong} or more wrong do not determine the sum, threshold {threshold}"
    )]
    NotDecodable {
        /// Shares that were given.
        points: usize,
        /// How many were found wrong before giving up.
        wrong: usize,
        /// Degree of the sharing.
        threshold: u32,
    },
    /// The decoded sum of keys is larger than that many keys can add up to.
    #[error(
        "coefficient {index} of the key sum is {value}, above {limit}: some contributor shared a bad key"
    )]
    KeyTooLarge {
        /// Index of the coefficient.
        index: usize,
        /// The coefficient.
        value: i64,
        /// The bound.
        limit: i64,
    },
    /// Reading a source or writing a result failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl RingError {
    pub(super) fn range(
        field: &'static str,
        value: impl Into<u64>,
        allowed: impl Into<String>,
    ) -> Self {
        Self::OutOfRange {
            field,
            value: value.into(),
            allowed: allowed.into(),
        }
    }

    pub(super) const fn malformed(what: &'static str, reason: &'static str) -> Self {
        Self::Malformed { what, reason }
    }
}
