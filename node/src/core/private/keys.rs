//! The secret halves of our share keys: one file a round, mode 0600, until the round is sealed.
//!
//! Invariants: a secret is on disk before its public half leaves the node, and the same one is found
//! again after a restart (another key for the same round would be refused by the ledger, and its
//! shares lost); once a round needs no more shares its file is overwritten and removed, so that
//! what is taken from this machine later opens nothing.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Mutex,
};

use cifer_chain::{RoundId, TaskId};
use cifer_homocryption::ring::RecipientSecret;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;
/// Ending of the files, which nothing else in the folder has.
const ENDING: &str = "share-key";

/// The folder with the secrets.
#[derive(Debug)]
pub(crate) struct ShareKeys {
    dir: PathBuf,
    /// Held from looking for a secret to having it on disk: two at a time would make two secrets and keep one.
    creating: Mutex<()>,
}

impl ShareKeys {
    /// Secrets of the network with this genesis hash, in a folder of its own below `dir`, which is made when it is needed. A home
    /// may come to serve another network, whose rounds have the same numbers: a secret of one must never serve the other.
    pub(crate) fn new(dir: &Path, genesis: &str) -> Self {
        Self {
            dir: dir.join(genesis),
            creating: Mutex::default(),
        }
    }

    fn path(&self, task: TaskId, round: RoundId) -> PathBuf {
        self.dir.join(format!("{task}-{round}.{ENDING}"))
    }

    /// The secret of a round, if there is one.
    pub(crate) fn load(&self, task: TaskId, round: RoundId) -> io::Result<Option<RecipientSecret>> {
        let path = self.path(task, round);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        file.read_exact(&mut bytes[..])?;
        RecipientSecret::from_bytes(&bytes)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The secret of a round; a fresh one the first time, synced to disk before this returns.
    pub(crate) fn load_or_create(
        &self,
        task: TaskId,
        round: RoundId,
    ) -> io::Result<RecipientSecret> {
        let _creating = crate::core::lock(&self.creating);
        if let Some(secret) = self.load(task, round)? {
            return Ok(secret);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)?;
        let secret = RecipientSecret::generate(&mut OsRng);
        let (path, partial) = (self.path(task, round), self.dir.join("partial"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(&secret.to_bytes()[..])?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(secret)
    }

    /// Removes the secrets of every round for which `needed` is false.
    pub(crate) fn remove_unless(
        &self,
        needed: impl Fn(TaskId, RoundId) -> bool,
    ) -> io::Result<usize> {
        let listed = match fs::read_dir(&self.dir) {
            Ok(listed) => listed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let (mut removed, mut failed) = (0, None);
        for entry in listed {
            let path = entry?.path();
            if let Some((task, round)) = place(&path)
                && !needed(task, round)
            {
                // One that cannot be removed keeps no other one.
                match wipe(&path) {
                    Ok(()) => removed += 1,
                    Err(error) => failed = Some(error),
                }
            }
        }
        if removed > 0 {
            File::open(&self.dir)?.sync_all()?;
        }
        failed.map_or(Ok(removed), Err)
    }
}

/// Task and round of a secret's file.
fn place(path: &Path) -> Option<(TaskId, RoundId)> {
    if path.extension()? != ENDING {
        return None;
    }
    let (task, round) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((TaskId(task.parse().ok()?), RoundId(round.parse().ok()?)))
}

/// Overwrites before removing: file systems that write in place then hold nothing of it. What cannot be overwritten is removed
/// all the same.
fn wipe(path: &Path) -> io::Result<()> {
    let overwritten = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(&[0; SECRET_BYTES])?;
            file.sync_all()
        });
    match fs::remove_file(path) {
        // Two may be at it at once.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => overwritten,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_stays_the_same_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ShareKeys::new(&dir.path().join("share-keys"), "a");
        let (task, round) = (TaskId(1), RoundId(7));
        assert!(keys.load(task, round).unwrap().is_none());
        let first = keys.load_or_create(task, round).unwrap();
        let again = keys.load_or_create(task, round).unwrap();
        assert_eq!(first.to_bytes(), again.to_bytes());
        let other = keys.load_or_create(task, RoundId(8)).unwrap();
        assert_ne!(first.to_bytes(), other.to_bytes());
        let mode = fs::metadata(keys.path(task, round))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            keys.remove_unless(|_, round| round == RoundId(8)).unwrap(),
            1
        );
        assert!(keys.load(task, round).unwrap().is_none());
        assert!(keys.load(task, RoundId(8)).unwrap().is_some());
    }

    #[test]
    fn whoever_asks_first_and_second_at_once_gets_one_secret() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ShareKeys::new(dir.path(), "a");
        let secrets: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let ask = || {
                *keys
                    .load_or_create(TaskId(0), RoundId(0))
                    .unwrap()
                    .to_bytes()
            };
            let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|job| job.join().unwrap()).collect()
        });
        let kept = keys.load(TaskId(0), RoundId(0)).unwrap().unwrap();
        assert!(
            secrets.iter().all(|secret| *secret == *kept.to_bytes()),
            "a secret was handed out that is not on disk"
        );
    }

    #[test]
    fn damaged_and_foreign_files_are_not_keys() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ShareKeys::new(dir.path(), "a");
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(keys.path(TaskId(1), RoundId(0)), [0; SECRET_BYTES]).unwrap();
        assert!(
            keys.load(TaskId(1), RoundId(0)).is_err(),
            "zero is no secret"
        );
        fs::write(keys.path(TaskId(1), RoundId(1)), [1; 5]).unwrap();
        assert!(keys.load(TaskId(1), RoundId(1)).is_err());
        let foreign = dir.path().join("a/1-2.key");
        fs::write(&foreign, b"something else").unwrap();
        keys.remove_unless(|_, _| false).unwrap();
        assert!(foreign.exists());
    }

    #[test]
    fn one_that_cannot_be_removed_keeps_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let keys = ShareKeys::new(dir.path(), "a");
        for round in 0..20 {
            keys.load_or_create(TaskId(0), RoundId(round)).unwrap();
        }
        let stuck = keys.path(TaskId(0), RoundId(7));
        fs::remove_file(&stuck).unwrap();
        fs::create_dir(&stuck).unwrap();
        assert!(keys.remove_unless(|_, _| false).is_err());
        let left: Vec<_> = fs::read_dir(&keys.dir).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn another_network_gets_another_secret() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|genesis| {
            let keys = ShareKeys::new(dir.path(), genesis);
            *keys
                .load_or_create(TaskId(0), RoundId(3))
                .unwrap()
                .to_bytes()
        });
        assert_ne!(one, other);
    }
}
