//! Everything that can be refused, with what did not match.

use std::path::PathBuf;

use crate::keys::KeyId;

/// Why an operation was refused. No operation returns a wrong number instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two things of different key pairs.
    #[error("keys differ: {what} belongs to key {found}, not {expected}")]
    Key {
        /// What was refused.
        what: &'static str,
        /// The key asked for.
        expected: KeyId,
        /// The key it belongs to.
        found: KeyId,
    },
    /// Two vectors of different lengths.
    #[error("lengths differ: {left} and {right} values")]
    Length {
        /// Values of the first.
        left: usize,
        /// Values of the second.
        right: usize,
    },
    /// Two vectors of different encodings, or a decryption that asks for another encoding.
    #[error("scales differ: {left} and {right}")]
    Encoding {
        /// Encoding of the first, in words.
        left: String,
        /// Encoding of the second, in words.
        right: String,
    },
    /// One more scalar operation could make decryption or the next bootstrapping wrong.
    #[error(
        "noise budget spent, relinearize: the result would have {what} {used}, at most {limit} is right"
    )]
    Noise {
        /// The quantity that is spent.
        what: &'static str,
        /// What the result would use.
        used: u64,
        /// The budget.
        limit: u64,
    },
    /// One more vector operation could make decryption wrong; packed vectors have no relinearization.
    #[error(
        "noise budget spent: the sum would weigh {used} encryptions, at most {limit}; decrypt this sum and start another"
    )]
    VectorNoise {
        /// Encryptions of the refused result.
        used: u64,
        /// The budget.
        limit: u64,
    },
    /// More voters than a block can count.
    #[error("{used} voters, at most {limit}")]
    Voters {
        /// Voters of the refused sum.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The exact result is outside the range of its type. Nothing wraps.
    #[error("overflow: the result {place} does not fit {range}")]
    Overflow {
        /// Which result.
        place: String,
        /// The range of the type.
        range: &'static str,
    },
    /// A value that the encoding cannot hold.
    #[error("value {value} at index {index} is outside {limit}")]
    Value {
        /// Index of the value.
        index: usize,
        /// The value.
        value: String,
        /// What the encoding holds.
        limit: String,
    },
    /// A count outside its limits.
    #[error("{field} is {value}, allowed is {limit}")]
    Limit {
        /// What is counted.
        field: &'static str,
        /// The count.
        value: u64,
        /// The limit, in words.
        limit: String,
    },
    /// The ciphertext is not one of this key, or not what an honest sum of its stated weight can be.
    #[error("ciphertext is damaged or not made with this key: {0}")]
    Ciphertext(&'static str),
    /// Bytes that are not what they should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A secret file that others may read.
    #[error("{} has mode {mode:04o}; a private key must be 0600: chmod 600 it", path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Not a file of this crate.
    #[error("not a homocryption file: it does not start with CIFERHC")]
    Magic,
    /// A version that this build does not read.
    #[error("format version is {0}, this build reads {VERSION}", VERSION = crate::format::VERSION)]
    Version(u16),
    /// Another kind of content.
    #[error("expected {expected}, found {found}")]
    Kind {
        /// The kind asked for.
        expected: &'static str,
        /// The kind in the header.
        found: String,
    },
    /// Another parameter set.
    #[error("parameters differ: parameter set {0}, this build has {SET}", SET = crate::params::PARAMETER_SET)]
    Parameters(u8),
    /// Fewer bytes than the header says.
    #[error("truncated: {found} bytes, expected {expected}")]
    Truncated {
        /// Bytes there should be.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// More bytes than the header says.
    #[error("{0} bytes after the end")]
    Trailing(u64),
    /// A length over the limit of its kind, refused before anything is allocated for it.
    #[error("{field} is {value}, at most {limit}")]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// The digest does not match: the bytes were altered.
    #[error("altered: the digest does not match the content")]
    Digest,
    /// A field with a value that no honest writer produces.
    #[error("{field} is {value}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it should be.
        expected: String,
    },
    /// The evaluation key was not readable by tfhe, or not one of this parameter set.
    #[error("evaluation key refused: {0}")]
    Relin(String),
    /// The reader failed.
    #[error("read failed: {0}")]
    Read(String),
}
