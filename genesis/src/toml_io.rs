//! The two forms of a document: TOML for people, canonical (borsh) bytes for the hash.
//!
//! Invariants: whatever is read here is bounded before it is parsed and valid when it is returned;
//! canonical bytes decode to one document, which encodes to the same bytes.

use std::{fs::File, io::Read as _, path::Path};

use borsh::BorshDeserialize;

use crate::{
    bounds::MAX_DOCUMENT_BYTES,
    document::Genesis,
    error::GenesisError,
    primitives::{GenesisHash, Hash32},
};

/// Domain of the document's hash.
pub const GENESIS_DOMAIN: &str = "cifer/genesis/document/v1";

impl Genesis {
    /// Reads and validates a document. Unknown fields are refused.
    ///
    /// # Errors
    /// [`GenesisError::TooLong`], [`GenesisError::Toml`] with line and column, and
    /// [`GenesisError::Invalid`] with all problems.
    pub fn from_toml(text: &str) -> Result<Self, GenesisError> {
        check_length(text.len())?;
        let genesis: Self = toml::from_str(text).map_err(|error| located_error(text, &error))?;
        genesis.validate()?;
        Ok(genesis)
    }

    /// Reads and validates a TOML file.
    ///
    /// # Errors
    /// [`GenesisError::Read`] and those of [`Genesis::from_toml`].
    pub fn load(path: &Path) -> Result<Self, GenesisError> {
        let failed = |source| GenesisError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let limit = MAX_DOCUMENT_BYTES as u64 + 1;
        File::open(path)
            .and_then(|file| file.take(limit).read_to_string(&mut text))
            .map_err(failed)?;
        Self::from_toml(&text)
    }

    /// The document for people.
    ///
    /// # Errors
    /// [`GenesisError::NotToml`] for what TOML cannot express, which no valid document has.
    pub fn to_toml(&self) -> Result<String, GenesisError> {
        Ok(toml::to_string(self)?)
    }

    /// The bytes that the hash is of.
    #[must_use]
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1024);
        // Writing into a Vec cannot fail, and our types have no failing encoders.
        let _ = borsh::BorshSerialize::serialize(self, &mut bytes);
        bytes
    }

    /// Decodes and validates canonical bytes; bytes after the document are refused.
    ///
    /// # Errors
    /// [`GenesisError::TooLong`], [`GenesisError::Encoding`] and [`GenesisError::Invalid`].
    pub fn from_canonical_bytes(bytes: &[u8]) -> Result<Self, GenesisError> {
        check_length(bytes.len())?;
        let genesis = Self::try_from_slice(bytes).map_err(GenesisError::Encoding)?;
        genesis.validate()?;
        Ok(genesis)
    }

    /// The hash that names the network.
    #[must_use]
    pub fn hash(&self) -> GenesisHash {
        GenesisHash(Hash32::derive(GENESIS_DOMAIN, &self.canonical_bytes()))
    }
}

const fn check_length(bytes: usize) -> Result<(), GenesisError> {
    if bytes > MAX_DOCUMENT_BYTES {
        return Err(GenesisError::TooLong {
            limit: MAX_DOCUMENT_BYTES,
        });
    }
    Ok(())
}

/// Turns the byte span of a parser's error into a line and a column.
fn located_error(text: &str, error: &toml::de::Error) -> GenesisError {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    GenesisError::Toml {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message: error.message().to_owned(),
    }
}
