//! What can go wrong in the lab.

use std::path::PathBuf;

use cifer_aggregation::{AggregationError, AttackError, ParseRuleError};
use cifer_training::TrainingError;

/// Errors of this crate. A model that diverges and a pipeline that refuses its numbers are outcomes of a
/// cell, not errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Data, partition, model or a setting of the training.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// An attack could not be named or computed.
    #[error(transparent)]
    Attack(#[from] AttackError),
    /// Text that is no pipeline.
    #[error("pipeline {pipeline:?}: {source}")]
    Pipeline {
        /// The text.
        pipeline: String,
        /// What is wrong with it.
        source: ParseRuleError,
    },
    /// The rule failed for another reason than its numbers or a value that is not finite.
    #[error(transparent)]
    Aggregation(#[from] AggregationError),
    /// A setting is out of range.
    #[error("{name} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        found: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// Text that names nothing.
    #[error("unknown {what} {found:?}: expected {known}")]
    Unknown {
        /// What it should name.
        what: &'static str,
        /// The text.
        found: String,
        /// What is known.
        known: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of the results file is no finished cell.
    #[error("{} line {line}: {source}; move the file away to begin anew", path.display())]
    Results {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A cell has no JSON form.
    #[error("cannot write a cell as JSON: {0}")]
    Json(serde_json::Error),
    /// The threads could not be started.
    #[error("cannot start threads: {0}")]
    Threads(String),
}
