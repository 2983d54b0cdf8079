//! What can go wrong: bytes of a data set, settings out of range, and training that diverges.

use std::path::PathBuf;

/// Errors of this crate. All but [`TrainingError::Diverged`] are the caller's or the data's fault.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A file of a data set could not be read.
    #[error("cannot read {}: {source}{hint}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
        /// What to do about it, empty or starting with a separator.
        hint: &'static str,
    },
    /// Bytes of a data set do not have the value that their format prescribes.
    #[error("{field} is {found}, expected {expected}")]
    Format {
        /// File and field.
        field: &'static str,
        /// The value found.
        found: u64,
        /// The value prescribed.
        expected: u64,
    },
    /// A number is outside its range.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// The field or setting.
        field: &'static str,
        /// The value found.
        found: String,
        /// The range.
        allowed: String,
    },
    /// A text names no data set, model or partition.
    #[error("unknown {what} `{found}`, known are {known}")]
    Unknown {
        /// What was to be named.
        what: &'static str,
        /// The text found.
        found: String,
        /// What would have been accepted.
        known: &'static str,
    },
    /// Training produced a value that is not finite: the learning rate is too high for this model.
    #[error("training diverged: parameter {index} is not finite after {steps} steps")]
    Diverged {
        /// The first such parameter.
        index: usize,
        /// Steps taken.
        steps: u64,
    },
}

impl TrainingError {
    pub(crate) fn out_of_range(
        field: &'static str,
        found: impl ToString,
        allowed: impl ToString,
    ) -> Self {
        Self::OutOfRange {
            field,
            found: found.to_string(),
            allowed: allowed.to_string(),
        }
    }
}

/// `Err(Format)` unless both are equal.
pub(crate) fn expect(field: &'static str, found: u64, expected: u64) -> Result<(), TrainingError> {
    if found == expected {
        Ok(())
    } else {
        Err(TrainingError::Format {
            field,
            found,
            expected,
        })
    }
}
