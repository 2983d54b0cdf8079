//! Private keys on disk: created with mode 0600, and refused when others may read them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;
use crate::keys::PrivateKey;

/// Largest file that is read: a framed private key is 324 bytes.
const MAX_FILE: u64 = 4096;

impl PrivateKey {
    /// Writes the key to a new file of mode 0600. An existing file is never overwritten.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], also when the file exists.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        file.write_all(&self.to_secret_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io)
    }

    /// Reads a key that only its owner may read.
    ///
    /// # Errors
    ///
    /// [`Error::Permissions`] when group or others have any right on the file, [`Error::Io`], and the
    /// errors of [`PrivateKey::from_secret_bytes`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new().read(true).open(path).map_err(io)?;
        // Of the open file, so that it cannot be exchanged in between.
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::Permissions {
                path: path.to_owned(),
                mode,
            });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io)?;
        Self::from_secret_bytes(&bytes)
    }
}
