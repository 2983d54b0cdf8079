//! The home folder of one node: where everything lies, and the lock that keeps a second process (and
//! with it a second signature for the same height) out.
//!
//! ```text
//! config.toml       settings                 LOCK         held by the running process
//! genesis.toml      the network              data/        ledger (RocksDB)
//! node.key          identity, mode 0600      blobs/       payloads and models
//! contributor.key   identity, mode 0600      consensus/   engine WAL, last-signed record
//! models/task-<id>.bin                       initial models, where they are at hand
//! share-keys/<genesis hash>/                             secrets of private rounds, until each is sealed
//! ```

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cifer_genesis::TaskId;

/// Most bytes of another process's note in `LOCK` that an error repeats.
const MAX_HOLDER_BYTES: u64 = 256;

/// Why a home folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither `--home` nor `CIFER_HOME` nor `HOME` says where it is.
    #[error("no home folder: --home, CIFER_HOME and HOME are all unset")]
    Unknown,
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `create`, `lock` and the like.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder was never initialised.
    #[error("{} is not a home folder: it has no config.toml", path.display())]
    NotInitialised {
        /// The folder.
        path: PathBuf,
    },
    /// `init` found something of an earlier one.
    #[error("home {} holds {found} already; nothing was changed", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// The file that is there.
        found: String,
    },
    /// Another process uses the folder.
    #[error("home {} is in use by {holder}", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Process id and command, as that process noted them.
        holder: String,
    },
}

impl HomeError {
    /// What the user can do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Unknown => "name a folder with --home DIR".to_owned(),
            Self::Io { path, .. } => {
                format!("check the owner and permissions of {}", path.display())
            }
            Self::NotInitialised { path } => {
                format!("make it with `cifer init --home {}`", path.display())
            }
            Self::NotEmpty { .. } => {
                "use that home as it is, or choose another folder with --home DIR".to_owned()
            }
            Self::Locked { .. } => {
                "stop that process first, or choose another folder with --home DIR; \
                 two processes with one key would be a double signer"
                    .to_owned()
            }
        }
    }
}

/// Where a node keeps everything. Making one touches nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home folder at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The given folder, else `~/.cifer`.
    ///
    /// # Errors
    /// [`HomeError::Unknown`] where `HOME` is not set either.
    pub fn or_default(root: Option<PathBuf>) -> Result<Self, HomeError> {
        let default = || {
            let user_home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
            Some(Path::new(&user_home).join(".cifer"))
        };
        root.or_else(default)
            .map(Self::new)
            .ok_or(HomeError::Unknown)
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config.toml`.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// `genesis.toml`.
    #[must_use]
    pub fn genesis_path(&self) -> PathBuf {
        self.root.join("genesis.toml")
    }

    /// `node.key`: identity of a validator or observer.
    #[must_use]
    pub fn node_key_path(&self) -> PathBuf {
        self.root.join("node.key")
    }

    /// `contributor.key`: identity of a contributor.
    #[must_use]
    pub fn contributor_key_path(&self) -> PathBuf {
        self.root.join("contributor.key")
    }

    /// `data/`: the ledger.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// `blobs/`: payloads and models.
    #[must_use]
    pub fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// `consensus/`: the engine's log and the last-signed record.
    #[must_use]
    pub fn consensus_dir(&self) -> PathBuf {
        self.root.join("consensus")
    }

    /// `share-keys/`: secrets of private rounds, mode 0600, until each round is sealed.
    #[must_use]
    pub fn share_keys_dir(&self) -> PathBuf {
        self.root.join("share-keys")
    }

    /// `models/task-<id>.bin`: the bytes of a task's initial model. The file is optional.
    #[must_use]
    pub fn initial_model_path(&self, task: TaskId) -> PathBuf {
        self.root.join("models").join(format!("task-{task}.bin"))
    }

    /// Checks that `init` (or `testnet generate`) was here.
    ///
    /// # Errors
    /// [`HomeError::NotInitialised`].
    pub fn require_initialised(&self) -> Result<(), HomeError> {
        if self.config_path().is_file() {
            return Ok(());
        }
        Err(HomeError::NotInitialised {
            path: self.root.clone(),
        })
    }

    /// Creates the folder, private to its owner, and `models/` in it. Existing folders stay as they
    /// are.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn create_dirs(&self) -> Result<(), HomeError> {
        let models = self.root.join("models");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&models)
            .map_err(|source| HomeError::Io {
                action: "create",
                path: models.clone(),
                source,
            })
    }

    /// Takes the folder for this process until the returned lock is dropped or the process ends.
    ///
    /// # Errors
    /// [`HomeError::Locked`] naming the holder; [`HomeError::Io`].
    pub fn lock(&self) -> Result<HomeLock, HomeError> {
        let path = self.root.join("LOCK");
        let failed = |source| HomeError::Io {
            action: "lock",
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(HomeError::Locked {
                    path: self.root.clone(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let command: Vec<String> = std::env::args_os()
            .take(3)
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        file.set_len(0).map_err(failed)?;
        writeln!(
            file,
            "process {} ({})",
            std::process::id(),
            command.join(" ")
        )
        .map_err(failed)?;
        Ok(HomeLock { _file: file })
    }
}

/// What the holder of a lock wrote about itself. It may be writing right now, so anything goes.
fn holder(file: &mut File) -> String {
    let mut note = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(MAX_HOLDER_BYTES).read_to_end(&mut note));
    let note = String::from_utf8_lossy(&note);
    let note: String = note.trim().chars().filter(|c| !c.is_control()).collect();
    if read.is_err() || note.is_empty() {
        "another process".to_owned()
    } else {
        note
    }
}

/// Holds a home folder; see [`Home::lock`].
#[derive(Debug)]
pub struct HomeLock {
    _file: File,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_locked_once_and_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let lock = home.lock().unwrap();
        let error = home.lock().unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        drop(lock);
        home.lock().unwrap();
    }

    #[test]
    fn new_folders_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("a").join("b"));
        home.create_dirs().unwrap();
        home.create_dirs().unwrap();
        let mode = std::fs::metadata(home.root()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn a_folder_without_config_is_no_home() {
        let dir = tempfile::tempdir().unwrap();
        let error = Home::new(dir.path()).require_initialised().unwrap_err();
        assert!(
            error.next().contains("cifer init --home"),
            "{}",
            error.next()
        );
    }
}
