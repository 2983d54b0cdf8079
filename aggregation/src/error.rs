//! Errors of the crate. [`AggregationError::contributor`] says whether an update is to blame;
//! everything else is ours (a disk, a caller's mistake).

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::optimizer::OptimizerName;
use crate::params::StageName;

/// The vector in which a bad value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The update with this index in the list given to the rule.
    Update(usize),
    /// A single vector that was checked on its own.
    Vector,
    /// The model that the server step starts from.
    Base,
    /// The state vector of the optimiser with this index, before or after the step.
    State(usize),
    /// The outcome of the server step.
    Result,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(index) => write!(f, "update {index}"),
            Self::Vector => f.write_str("vector"),
            Self::Base => f.write_str("base model"),
            Self::State(index) => write!(f, "state vector {index}"),
            Self::Result => f.write_str("result of the server step"),
        }
    }
}

/// What is wrong with an encoded vector.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Malformed {
    /// The scale of a block of int8 is negative, not finite, or so large that products overflow.
    Scale(f32),
    /// A byte of a block of int8 is -128.
    Byte,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scale(scale) => {
                write!(f, "its scale is {scale}, expected 0 to 2.679e36")
            }
            Self::Byte => f.write_str("its byte is -128, expected -127 to 127"),
        }
    }
}

/// Why an aggregation, or a check of its inputs, was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregationError {
    /// The rule gives no guarantee for these numbers.
    #[error("{stage} needs {inequality}: {instance}")]
    Infeasible {
        /// The rule or pre-aggregator that was asked for.
        stage: StageName,
        /// What must hold, in the rule's symbols.
        inequality: &'static str,
        /// The same with the numbers filled in.
        instance: String,
    },
    /// More updates than the buffers are laid out for.
    #[error("{count} updates exceed the limit of {limit}")]
    TooManyUpdates {
        /// Updates given.
        count: usize,
        /// Most that are accepted.
        limit: usize,
    },
    /// More pre-aggregators than a pipeline may have.
    #[error("{count} pre-aggregators exceed the limit of {limit}")]
    TooManyStages {
        /// Pre-aggregators given.
        count: usize,
        /// Most that are accepted.
        limit: usize,
    },
    /// The updates have length zero.
    #[error("the updates have no coordinates")]
    Empty,
    /// An update's length differs from that of the first update.
    #[error("update {contributor} has {len} coordinates, expected {expected}")]
    LengthMismatch {
        /// Index of the update.
        contributor: usize,
        /// Its length in coordinates.
        len: usize,
        /// Length of update 0.
        expected: usize,
    },
    /// A vector of the optimiser's state has another length than the updates.
    #[error("state vector {index} has {len} coordinates, the updates have {expected}")]
    StateLength {
        /// Index of the state vector.
        index: usize,
        /// Its length in coordinates.
        len: usize,
        /// Length of the updates.
        expected: usize,
    },
    /// An optimiser was given more or fewer state vectors than it has.
    #[error("{optimizer} has {expected} state vectors: {given} were given to {what}")]
    StateCount {
        /// The optimiser.
        optimizer: OptimizerName,
        /// How many it has.
        expected: usize,
        /// How many there were.
        given: usize,
        /// What they were for: `read` or `write`.
        what: &'static str,
    },
    /// The base model's length differs from that of the updates.
    #[error("base model has {len} coordinates, the updates have {expected}")]
    BaseLength {
        /// Length of the base model in coordinates.
        len: usize,
        /// Length of the updates.
        expected: usize,
    },
    /// A weighted mean of updates that all have weight zero.
    #[error("the total weight of {count} updates is zero")]
    ZeroWeight {
        /// Number of updates.
        count: usize,
    },
    /// The learning rate of the server step is NaN or infinite.
    #[error("learning rate {lr} is not finite")]
    LearningRate {
        /// The value given.
        lr: f32,
    },
    /// NaN or infinity.
    #[error("{origin} is not finite: coordinate {coordinate} is {value}")]
    NonFinite {
        /// Where it was found.
        origin: Origin,
        /// Position in the vector.
        coordinate: usize,
        /// The value.
        value: f32,
    },
    /// Bytes that are no encoded vector.
    #[error("{origin} is malformed at coordinate {coordinate}: {what}")]
    Malformed {
        /// Where it was found.
        origin: Origin,
        /// Position in the vector.
        coordinate: usize,
        /// What is wrong.
        what: Malformed,
    },
    /// A finite value above the accepted magnitude.
    #[error("coordinate {coordinate} is {value}, above the limit |x| <= {limit}")]
    OutOfRange {
        /// Position in the vector.
        coordinate: usize,
        /// The value.
        value: f32,
        /// Largest magnitude accepted.
        limit: f32,
    },
    /// A read beyond the end of a source: a caller's mistake.
    #[error("read of {count} coordinates at {offset} is beyond the end of a vector of {len}")]
    OutOfBounds {
        /// First coordinate asked for.
        offset: usize,
        /// Coordinates asked for.
        count: usize,
        /// Length of the vector.
        len: usize,
    },
    /// A file whose size cannot be a vector of the expected kind.
    #[error("{}: {size_bytes} bytes are not a vector of the expected encoding of at most {limit_bytes} bytes", path.display())]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// Most that is accepted.
        limit_bytes: u64,
    },
    /// Reading or writing a file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl AggregationError {
    /// Index of the update that is to blame, if one is.
    pub fn contributor(&self) -> Option<usize> {
        match self {
            Self::LengthMismatch { contributor, .. } => Some(*contributor),
            Self::NonFinite {
                origin: Origin::Update(index),
                ..
            }
            | Self::Malformed {
                origin: Origin::Update(index),
                ..
            } => Some(*index),
            _ => None,
        }
    }

    /// The same with the update in which a source found its bytes malformed.
    pub(crate) fn in_update(self, index: usize) -> Self {
        match self {
            Self::Malformed {
                coordinate, what, ..
            } => Self::Malformed {
                origin: Origin::Update(index),
                coordinate,
                what,
            },
            other => other,
        }
    }
}
