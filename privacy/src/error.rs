//! What can be wrong with parameters and updates: the field, its value and the limit.

/// An error of this crate. All are the caller's, or of the document that the caller read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrivacyError {
    /// A parameter outside its range.
    #[error("{field} = {value} is out of range: {limit} must hold")]
    OutOfRange {
        /// The parameter.
        field: &'static str,
        /// As given.
        value: String,
        /// What must hold.
        limit: String,
    },
    /// An update of another model.
    #[error("the update has {got} coordinates, but {expected} are expected")]
    Length {
        /// Coordinates of the update.
        got: u64,
        /// Coordinates of the mechanism.
        expected: u64,
    },
    /// NaN or an infinity.
    #[error("coordinate {index} is {value}, but all must be finite")]
    NotFinite {
        /// Its place, from 0.
        index: usize,
        /// What it is.
        value: f32,
    },
    /// Chance refused an update's rounding again and again; see [`crate::Mechanism::perturb`].
    #[error("none of {attempts} roundings had a squared norm of at most {bound}")]
    Rounding {
        /// Attempts made.
        attempts: u32,
        /// Largest squared norm.
        bound: u64,
    },
    /// Cutting the noise weighs more than delta allows. With an epsilon of about 30 and more it always does.
    #[error(
        "no guarantee at delta = {delta:e}: with epsilon = {epsilon:.1} noise that is cut at {tail} costs \
         {cost:e} of delta, but at most delta / 2^20 = {limit:e} must be"
    )]
    Tail {
        /// What epsilon would be without the cut.
        epsilon: f64,
        /// The delta asked for.
        delta: f64,
        /// Largest magnitude of noise.
        tail: u32,
        /// What the cut adds to delta.
        cost: f64,
        /// What it may add.
        limit: f64,
    },
}

impl PrivacyError {
    pub(crate) fn range(
        field: &'static str,
        value: impl ToString,
        limit: impl Into<String>,
    ) -> Self {
        Self::OutOfRange {
            field,
            value: value.to_string(),
            limit: limit.into(),
        }
    }
}
