//! Where things are on disk.
//!
//! ```text
//! blobs/<first 2 hex digits>/<hash>         the data
//! blobs/<first 2 hex digits>/<hash>.obao    its outboard, if it has more than one group
//! partial/<hash>.<len>[.obao]               a download that goes on, maybe after a restart
//! tmp/<number>[.obao]                       written and not yet known to be right
//! boot-id                                   the machine's boot in which the store was last open
//! small.pack                                blobs of one group
//! ```
//!
//! A blob exists when its data file is in `blobs/`; it gets there by a rename, after its outboard.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::BlobHash;

const OUTBOARD: &str = "obao";

#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(super) fn create(root: &Path) -> io::Result<Self> {
        let layout = Self {
            root: root.to_path_buf(),
        };
        for dir in [layout.blobs(), layout.partials(), layout.temps()] {
            fs::create_dir_all(dir)?;
        }
        Ok(layout)
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(super) fn temps(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(super) fn boot_id(&self) -> PathBuf {
        self.root.join("boot-id")
    }

    pub(super) fn pack(&self) -> PathBuf {
        self.root.join("small.pack")
    }

    pub(super) fn blob(&self, hash: &BlobHash) -> PathBuf {
        let hex = hash.to_string();
        self.blobs().join(&hex[..2]).join(hex)
    }

    pub(super) fn partial(&self, hash: &BlobHash, len: u64) -> PathBuf {
        self.partials().join(format!("{hash}.{len}"))
    }
}

/// The outboard that belongs to a data file.
pub(super) fn outboard_of(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".");
    name.push(OUTBOARD);
    PathBuf::from(name)
}

pub(super) fn is_outboard(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == OUTBOARD)
}

/// `<hash>` of a data file's name.
pub(super) fn parse_blob(path: &Path) -> Option<BlobHash> {
    path.file_name()?.to_str()?.parse().ok()
}

/// `<hash>.<len>` of a partial file's name.
pub(super) fn parse_partial(path: &Path) -> Option<(BlobHash, u64)> {
    let (hash, len) = path.file_name()?.to_str()?.split_once('.')?;
    Some((hash.parse().ok()?, len.parse().ok()?))
}

/// Removes a data file and its outboard; either may be missing.
pub(super) fn remove_pair(data: &Path) -> io::Result<()> {
    for path in [data.to_path_buf(), outboard_of(data)] {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
