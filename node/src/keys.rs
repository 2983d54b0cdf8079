//! Key files: one ed25519 seed as 64 hex digits and a newline, readable by its owner alone.
//!
//! Invariants: a key file is written whole or not at all and never over an existing file; a file
//! that group or others may touch is refused before its content is read; seeds are wiped from
//! memory.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cifer_genesis::SecretKey;
use zeroize::Zeroizing;

use crate::files::{Access, parent, write_new};

/// Hex digits of a seed.
const SEED_DIGITS: usize = 64;

/// Most bytes read from a key file: the seed and some white space.
const MAX_KEY_FILE_BYTES: usize = SEED_DIGITS + 16;

/// Why a key file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system refused.
    #[error("cannot {action} key file {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a file already; keys are never overwritten.
    #[error("key file {} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Group or others may read or write the file.
    #[error("key file {} has mode {mode:04o}: others than its owner may use it", path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a seed. The content is a secret and stays out of the message.
    #[error("key file {} does not hold exactly {SEED_DIGITS} hex digits", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
}

impl KeyError {
    /// What the user can do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Io {
                action: "read",
                path,
                ..
            } => format!(
                "make a key with `cifer keys gen --output {0}`, or name another file",
                path.display()
            ),
            Self::Io { path, .. } => {
                format!("check that {} can be written", parent(path).display())
            }
            Self::Exists { path } => {
                format!(
                    "use it, or move it away yourself first: mv {0} {0}.old",
                    path.display()
                )
            }
            Self::Loose { path, .. } => format!("run: chmod 600 {}", path.display()),
            Self::Format { .. } => {
                "restore the file from a backup, or make a new key with `cifer keys gen`".to_owned()
            }
        }
    }
}

/// Makes a key from the system's randomness and writes it to `path`.
///
/// # Errors
/// See [`KeyError`]; an existing file is never touched.
pub fn generate_key_file(path: &Path) -> Result<SecretKey, KeyError> {
    let key = SecretKey::generate();
    write_key_file(path, &key)?;
    Ok(key)
}

/// Writes the key's seed to a new file of mode 0600.
///
/// # Errors
/// See [`KeyError`]; an existing file is never touched.
pub fn write_key_file(path: &Path, key: &SecretKey) -> Result<(), KeyError> {
    let mut text = Zeroizing::new([b'\n'; SEED_DIGITS + 1]);
    // The length is right by construction.
    let _ = hex::encode_to_slice(*key.to_seed(), &mut text[..SEED_DIGITS]);
    write_new(path, &*text, Access::Owner).map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists {
            path: path.to_owned(),
        },
        _ => KeyError::Io {
            action: "write",
            path: path.to_owned(),
            source,
        },
    })
}

/// Reads a key from a file that only its owner may use.
///
/// # Errors
/// See [`KeyError`].
pub fn read_key_file(path: &Path) -> Result<SecretKey, KeyError> {
    let failed = |source| KeyError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Loose {
            path: path.to_owned(),
            mode,
        });
    }
    let mut buffer = Zeroizing::new([0_u8; MAX_KEY_FILE_BYTES]);
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]).map_err(failed)? {
            0 => break,
            read => length += read,
        }
    }
    let digits = buffer[..length].trim_ascii();
    let mut seed = Zeroizing::new([0_u8; SEED_DIGITS / 2]);
    // A full buffer means that there may be more than fits, which is no key file either.
    if length == buffer.len() || hex::decode_to_slice(digits, &mut *seed).is_err() {
        return Err(KeyError::Format {
            path: path.to_owned(),
        });
    }
    Ok(SecretKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_survives_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let key = generate_key_file(&path).unwrap();
        assert_eq!(read_key_file(&path).unwrap().public_key(), key.public_key());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(std::fs::read(&path).unwrap().len(), SEED_DIGITS + 1);
    }

    #[test]
    fn the_format_is_the_seed_in_hex() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        write_key_file(&path, &SecretKey::from_seed(&[0xa5; 32])).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "a5".repeat(32) + "\n"
        );
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let key = generate_key_file(&path).unwrap();
        assert!(matches!(
            generate_key_file(&path),
            Err(KeyError::Exists { .. })
        ));
        assert_eq!(read_key_file(&path).unwrap().public_key(), key.public_key());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "temporary file left"
        );
    }

    #[test]
    fn every_looser_mode_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        generate_key_file(&path).unwrap();
        for bit in 0..6 {
            set_mode(&path, 0o600 | 1 << bit);
            let error = read_key_file(&path).unwrap_err();
            assert!(
                matches!(error, KeyError::Loose { .. }),
                "bit {bit}: {error}"
            );
            assert!(error.next().contains("chmod 600"));
        }
        set_mode(&path, 0o400);
        read_key_file(&path).unwrap();
    }

    #[test]
    fn anything_but_a_seed_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let long = "a".repeat(10_000);
        for content in [
            "",
            "secret",
            &"a".repeat(63),
            &"a".repeat(65),
            &"g".repeat(64),
            &long,
        ] {
            std::fs::write(&path, content).unwrap();
            set_mode(&path, 0o600);
            let error = read_key_file(&path).unwrap_err();
            assert!(
                matches!(error, KeyError::Format { .. }),
                "{content:?}: {error}"
            );
            assert!(!error.to_string().contains("secret"));
        }
    }
}
