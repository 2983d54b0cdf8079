//! Why a file is not what it should be.

use std::path::PathBuf;

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something in its header.
    #[error("{}: {field} is {value}, expected {expected}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        field: String,
        /// What it says.
        value: String,
        /// What it may say.
        expected: String,
    },
}
