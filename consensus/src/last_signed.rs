//! The record of what this validator signed last, durable before a signature leaves.
//!
//! The engine's write-ahead log already keeps a node from voting twice after a crash. This record is
//! the second line: it also holds when the log is lost or damaged, when the folder is restored from an
//! old copy of the log, and it locks the folder against a second process.
//!
//! Invariant: for each `(height, round, step)` at most one value is ever granted, and positions are
//! granted in increasing order; what was granted may be asked for again.
//!
//! File format: two fixed slots a page apart, written in turn. A slot is the borsh encoding of
//! `Slot`, padded, then its BLAKE3 checksum. A torn write damages the slot whose signature had not
//! left yet, and the other one is still right.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use borsh::{BorshDeserialize, BorshSerialize};
use cifer_genesis::{GenesisHash, Hash32, Height, PublicKey};

use crate::error::LastSignedError;

/// File name under the consensus home.
const FILE_NAME: &str = "last-signed";
/// Domain of the checksum and of value digests.
const DOMAIN: &str = "cifer/consensus/last-signed/v1";
/// Bytes of a slot before its checksum; an encoded slot takes at most 196.
const SLOT_BYTES: usize = 224;
/// Bytes of a slot on disk.
const STORED_BYTES: usize = SLOT_BYTES + 32;
/// A page apart, so that one torn write cannot reach both.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// Steps of a round in the order they are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The proposer's proposal.
    Proposal = 0,
    /// First vote.
    Prevote = 1,
    /// Second vote.
    Precommit = 2,
}

/// What was signed in the newest round that anything was signed in.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Slot {
    genesis: GenesisHash,
    key: PublicKey,
    /// Counts writes; the slot with the larger one is the newer.
    sequence: u64,
    height: Height,
    round: u32,
    /// Digest of the value, by step.
    steps: [Option<Hash32>; 3],
}

/// A signature was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "refused to sign a {step:?} at height {height} round {round}: signed before at height \
     {last_height} round {last_round}"
)]
pub(crate) struct Conflict {
    step: Step,
    height: Height,
    round: u32,
    last_height: Height,
    last_round: u32,
}

/// Whether a position may be signed.
#[derive(Debug)]
pub(crate) enum Grant {
    /// Sign: the record is durable.
    Granted,
    /// Do not sign.
    Refused(Conflict),
}

/// The open record; holds the file's lock.
#[derive(Debug)]
pub(crate) struct LastSigned {
    file: File,
    path: PathBuf,
    slot: Slot,
}

impl LastSigned {
    /// Opens the record under `home`, or makes one that has signed nothing.
    pub(crate) fn open(
        home: &Path,
        genesis: GenesisHash,
        key: PublicKey,
    ) -> Result<Self, LastSignedError> {
        let path = home.join(FILE_NAME);
        let io_error = |error| LastSignedError::Io {
            path: path.clone(),
            error,
        };
        let fresh = Slot {
            genesis,
            key,
            sequence: 0,
            height: Height(0),
            round: 0,
            steps: [None; 3],
        };
        if !path.try_exists().map_err(io_error)? {
            create(home, &path, &fresh).map_err(io_error)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LastSignedError::Locked { path }),
            Err(TryLockError::Error(error)) => return Err(io_error(error)),
        }
        let slot = SLOT_OFFSETS
            .iter()
            .filter_map(|offset| read_slot(&file, *offset))
            .max_by_key(|slot| slot.sequence)
            .ok_or_else(|| LastSignedError::Damaged { path: path.clone() })?;
        if slot.key != key {
            return Err(LastSignedError::OtherKey {
                path,
                found: slot.key,
                expected: key,
            });
        }
        if slot.genesis != genesis {
            return Err(LastSignedError::OtherNetwork {
                path,
                found: slot.genesis,
                expected: genesis,
            });
        }
        Ok(Self { file, path, slot })
    }

    /// Asks to sign `value` at a position; on [`Grant::Granted`] the answer is on disk.
    pub(crate) fn request<T: BorshSerialize>(
        &mut self,
        height: Height,
        round: u32,
        step: Step,
        value: &T,
    ) -> Result<Grant, LastSignedError> {
        let digest = Hash32::derive(
            DOMAIN,
            &cifer_genesis::crypto::signing_bytes(DOMAIN, "", &(step as u8, value)),
        );
        let last = (self.slot.height, self.slot.round);
        let conflict = Conflict {
            step,
            height,
            round,
            last_height: self.slot.height,
            last_round: self.slot.round,
        };
        let steps = match (height, round).cmp(&last) {
            std::cmp::Ordering::Less => return Ok(Grant::Refused(conflict)),
            std::cmp::Ordering::Greater => [None; 3],
            std::cmp::Ordering::Equal => self.slot.steps,
        };
        match steps[step as usize] {
            Some(signed) if signed == digest => return Ok(Grant::Granted),
            Some(_) => return Ok(Grant::Refused(conflict)),
            None => {}
        }
        if steps[step as usize..].iter().any(Option::is_some) {
            return Ok(Grant::Refused(conflict));
        }
        let mut slot = self.slot.clone();
        slot.sequence = slot.sequence.saturating_add(1);
        (slot.height, slot.round, slot.steps) = (height, round, steps);
        slot.steps[step as usize] = Some(digest);
        self.write(slot)?;
        Ok(Grant::Granted)
    }

    fn write(&mut self, slot: Slot) -> Result<(), LastSignedError> {
        let offset = SLOT_OFFSETS[usize::from(slot.sequence % 2 == 1)];
        encode_slot(&slot)
            .and_then(|bytes| self.file.write_all_at(&bytes, offset))
            // The file's size and blocks do not change, so this is one flush of one page.
            .and_then(|()| self.file.sync_data())
            .map_err(|error| LastSignedError::Io {
                path: self.path.clone(),
                error,
            })?;
        self.slot = slot;
        Ok(())
    }
}

fn encode_slot(slot: &Slot) -> io::Result<Vec<u8>> {
    let mut bytes = borsh::to_vec(slot)?;
    if bytes.len() > SLOT_BYTES {
        return Err(io::Error::other("a slot outgrew its space"));
    }
    bytes.resize(SLOT_BYTES, 0);
    let checksum = Hash32::derive(DOMAIN, &bytes);
    bytes.extend_from_slice(&checksum.0);
    Ok(bytes)
}

/// `None` for anything but an intact slot.
fn read_slot(file: &File, offset: u64) -> Option<Slot> {
    let mut bytes = [0; STORED_BYTES];
    file.read_exact_at(&mut bytes, offset).ok()?;
    let (body, checksum) = bytes.split_at(SLOT_BYTES);
    if Hash32::derive(DOMAIN, body).0 != *checksum {
        return None;
    }
    Slot::deserialize(&mut &*body).ok()
}

/// Makes both slots in a file beside, then renames: there is never a half-made record.
fn create(home: &Path, path: &Path, slot: &Slot) -> io::Result<()> {
    std::fs::create_dir_all(home)?;
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    let bytes = encode_slot(slot)?;
    file.write_all(&bytes)?;
    file.write_all_at(&bytes, SLOT_OFFSETS[1])?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    File::open(home)?.sync_all()
}

#[cfg(test)]
mod tests {
    use cifer_genesis::SecretKey;
    use proptest::prelude::*;

    use super::*;

    const GENESIS: GenesisHash = GenesisHash::from_bytes([9; 32]);

    fn key() -> PublicKey {
        SecretKey::from_seed(&[1; 32]).public_key()
    }

    fn open(home: &Path) -> LastSigned {
        LastSigned::open(home, GENESIS, key()).unwrap()
    }

    fn granted(record: &mut LastSigned, height: u64, round: u32, step: Step, value: u64) -> bool {
        matches!(
            record.request(Height(height), round, step, &value).unwrap(),
            Grant::Granted
        )
    }

    #[test]
    fn conflicting_votes_are_refused_and_identical_ones_repeat() {
        let home = tempfile::tempdir().unwrap();
        let mut record = open(home.path());
        assert!(granted(&mut record, 5, 0, Step::Prevote, 1));
        assert!(granted(&mut record, 5, 0, Step::Prevote, 1));
        assert!(!granted(&mut record, 5, 0, Step::Prevote, 2));
        assert!(granted(&mut record, 5, 0, Step::Precommit, 1));
        assert!(
            granted(&mut record, 5, 0, Step::Prevote, 1),
            "recorded steps repeat"
        );
        assert!(
            !granted(&mut record, 5, 0, Step::Proposal, 1),
            "steps do not go back"
        );
        assert!(granted(&mut record, 5, 1, Step::Proposal, 3));
        assert!(
            !granted(&mut record, 5, 0, Step::Precommit, 1),
            "rounds do not go back"
        );
        assert!(granted(&mut record, 6, 0, Step::Prevote, 4));
        assert!(
            !granted(&mut record, 5, 7, Step::Prevote, 4),
            "heights do not go back"
        );
    }

    #[test]
    fn survives_reopening() {
        let home = tempfile::tempdir().unwrap();
        assert!(granted(&mut open(home.path()), 5, 2, Step::Precommit, 1));
        let mut record = open(home.path());
        assert!(!granted(&mut record, 5, 2, Step::Precommit, 2));
        assert!(granted(&mut record, 5, 2, Step::Precommit, 1));
    }

    #[test]
    fn a_torn_slot_falls_back_and_two_are_refused() {
        let home = tempfile::tempdir().unwrap();
        {
            let mut record = open(home.path());
            assert!(granted(&mut record, 5, 0, Step::Prevote, 1)); // sequence 1, second slot
            assert!(granted(&mut record, 6, 0, Step::Prevote, 1)); // sequence 2, first slot
        }
        let path = home.path().join(FILE_NAME);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 7], SLOT_OFFSETS[0] + 40).unwrap();
        {
            let mut record = open(home.path());
            assert!(
                !granted(&mut record, 5, 0, Step::Prevote, 2),
                "the older slot holds"
            );
        }
        file.write_all_at(&[0xff; 7], SLOT_OFFSETS[1] + 40).unwrap();
        let error = LastSigned::open(home.path(), GENESIS, key()).unwrap_err();
        assert!(matches!(error, LastSignedError::Damaged { .. }), "{error}");
        file.set_len(10).unwrap();
        let error = LastSigned::open(home.path(), GENESIS, key()).unwrap_err();
        assert!(matches!(error, LastSignedError::Damaged { .. }), "{error}");
    }

    #[test]
    fn another_process_key_or_network_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let held = open(home.path());
        let error = LastSigned::open(home.path(), GENESIS, key()).unwrap_err();
        assert!(matches!(error, LastSignedError::Locked { .. }), "{error}");
        drop(held);
        let other = SecretKey::from_seed(&[2; 32]).public_key();
        let error = LastSigned::open(home.path(), GENESIS, other).unwrap_err();
        assert!(matches!(error, LastSignedError::OtherKey { .. }), "{error}");
        let genesis = GenesisHash::from_bytes([8; 32]);
        let error = LastSigned::open(home.path(), genesis, key()).unwrap_err();
        assert!(
            matches!(error, LastSignedError::OtherNetwork { .. }),
            "{error}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn never_two_values_for_one_position(
            requests in proptest::collection::vec((0..3_u64, 0..3_u32, 0..3_usize, 0..3_u64), 1..60),
        ) {
            let home = tempfile::tempdir().unwrap();
            let mut record = open(home.path());
            let mut signed = std::collections::BTreeMap::new();
            for (height, round, step, value) in requests {
                let step = [Step::Proposal, Step::Prevote, Step::Precommit][step];
                if granted(&mut record, height, round, step, value) {
                    let earlier = *signed.entry((height, round, step)).or_insert(value);
                    prop_assert_eq!(earlier, value);
                }
            }
        }
    }
}
