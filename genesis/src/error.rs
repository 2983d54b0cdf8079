//! Why a document was refused.

use std::{io, path::PathBuf};

use crate::problem::Problems;

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// It parses, but does not describe a network that can work.
    #[error("the genesis document is invalid ({count} problem(s)):\n{0}", count = .0.count())]
    Invalid(Problems),
    /// The text is not TOML, or not a genesis document.
    #[error("line {line}, column {column}: {message}")]
    Toml {
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
    /// Too long to be looked at.
    #[error("the genesis document has more than {limit} bytes")]
    TooLong {
        /// Most bytes allowed.
        limit: usize,
    },
    /// The bytes are not the canonical encoding of a document.
    #[error("not canonical genesis bytes: {0}")]
    Encoding(#[source] io::Error),
    /// The document has a value that TOML cannot express; a valid document has none.
    #[error("the genesis document cannot be written as TOML: {0}")]
    NotToml(#[from] toml::ser::Error),
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl GenesisError {
    /// What is wrong with a document that parses; `None` for other errors.
    #[must_use]
    pub const fn problems(&self) -> Option<&Problems> {
        match self {
            Self::Invalid(problems) => Some(problems),
            _ => None,
        }
    }
}
