//! Small blobs share one file. A synced file for each costs two flushes and a new inode, and ten
//! contributors send forty small blobs a round; here one flush covers a blob and all that come at the same time.
//!
//! The file has two halves, written in turn. Before a half is used again, the owner moves what it still
//! wants of it into files. Records start on pages of their own, so that a torn write reaches none that was
//! promised. A record is believed when its bytes have its hash; whatever else is found can at worst bring back a
//! blob that was removed, and retention removes it again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::tree;
use crate::BlobHash;

/// Two of these are preallocated. One holds 256 blobs of up to a page: the payloads of some twenty rounds
/// of ten contributors.
const HALF_BYTES: u64 = 1 << 20;
const PAGE_BYTES: u64 = 4096;
/// Generation (`u64`) and length (`u32`), both little endian, and hash.
const HEADER_BYTES: u64 = 8 + 4 + 32;

/// Whether a blob of this length is kept in the pack: those of one group, at most 16 KiB each.
pub(super) fn is_small(len: u64) -> bool {
    tree::outboard_bytes(len) == 0
}

/// Where the bytes of a packed blob are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    len: u32,
}

impl Place {
    pub(super) fn len(self) -> u64 {
        self.len.into()
    }
}

/// Whose blobs they are.
pub(super) trait Owner {
    /// The blob is durable at this place. Says whether it is a new one.
    fn packed(&self, hash: BlobHash, place: Place) -> bool;

    /// The place is about to be overwritten: a blob that is still wanted, and still there, has to move.
    fn evict(&self, hash: BlobHash, place: Place) -> io::Result<()>;
}

/// The open file.
#[derive(Debug)]
pub(super) struct Pack {
    file: File,
    /// Whether a blob is flushed before it counts.
    durable: bool,
    /// Blobs that wait for the next write. Whoever writes next takes all of them along.
    queue: Mutex<Vec<Waiting>>,
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Waiting {
    hash: BlobHash,
    bytes: Vec<u8>,
    /// What the owner said of it, once it is durable.
    is_new: Arc<OnceLock<bool>>,
}

#[derive(Debug, Default)]
struct Writer {
    /// Of the half in use; the other half has a smaller one. The lowest bit says which half.
    generation: u64,
    /// Where in the half the next record goes.
    at: u64,
    /// What each half holds.
    records: [Vec<(BlobHash, Place)>; 2],
    /// A write or flush failed: what is on the disk is unknown, and nothing is promised any more.
    is_broken: bool,
}

impl Pack {
    /// Opens the file, or makes it, and lists what it holds; of two entries for a blob the later is the newer.
    pub(super) fn open(path: &Path, durable: bool) -> io::Result<(Self, Vec<(BlobHash, Place)>)> {
        if fs::metadata(path).map(|metadata| metadata.len()).ok() != Some(2 * HALF_BYTES) {
            create(path)?;
        }
        let mut file = File::options().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        (&mut file).take(2 * HALF_BYTES).read_to_end(&mut bytes)?;
        let mut writer = Writer::default();
        for (index, half) in bytes.chunks(HALF_BYTES as usize).enumerate() {
            let (generation, end, records) = read_half(half, index as u64 * HALF_BYTES);
            if generation >= writer.generation && generation % 2 == index as u64 {
                (writer.generation, writer.at) = (generation, end);
            }
            writer.records[index] = records;
        }
        let newer = (writer.generation % 2) as usize;
        let found = [&writer.records[1 - newer][..], &writer.records[newer][..]].concat();
        let pack = Self {
            file,
            durable,
            queue: Mutex::default(),
            writer: Mutex::new(writer),
        };
        Ok((pack, found))
    }

    /// Returns when the blob is on the disk, with what [`Owner::packed`] said of it. Blocks.
    pub(super) fn append(
        &self,
        hash: BlobHash,
        bytes: Vec<u8>,
        owner: &impl Owner,
    ) -> io::Result<bool> {
        let is_new = Arc::<OnceLock<bool>>::default();
        let waiting = Waiting {
            hash,
            bytes,
            is_new: Arc::clone(&is_new),
        };
        lock(&self.queue).push(waiting);
        let mut writer = lock(&self.writer);
        // Written meanwhile, by whoever held the lock before?
        if let Some(is_new) = is_new.get() {
            return Ok(*is_new);
        }
        if writer.is_broken {
            return Err(io::Error::other("an earlier write of small blobs failed"));
        }
        let waiting = std::mem::take(&mut *lock(&self.queue));
        writer.is_broken = true;
        self.write(&mut writer, waiting, owner)?;
        writer.is_broken = false;
        is_new
            .get()
            .copied()
            .ok_or_else(|| io::Error::other("the blob was not among those that waited"))
    }

    fn write(
        &self,
        writer: &mut Writer,
        waiting: Vec<Waiting>,
        owner: &impl Owner,
    ) -> io::Result<()> {
        let mut written = Vec::with_capacity(waiting.len());
        for Waiting {
            hash,
            bytes,
            is_new,
        } in waiting
        {
            let pages = pages(bytes.len() as u64);
            if writer.at + pages > HALF_BYTES {
                self.finish(&mut written, owner)?;
                writer.turn(owner)?;
            }
            let half = writer.generation % 2;
            let start = half * HALF_BYTES + writer.at;
            let record = encode(writer.generation, &hash, &bytes);
            self.file.write_all_at(&record, start)?;
            writer.at += pages;
            let place = Place {
                offset: start + HEADER_BYTES,
                len: bytes.len() as u32, // At most 16 KiB.
            };
            writer.records[half as usize].push((hash, place));
            written.push((hash, place, is_new));
        }
        self.finish(&mut written, owner)
    }

    /// Flushes what was written and hands it over.
    fn finish(
        &self,
        written: &mut Vec<(BlobHash, Place, Arc<OnceLock<bool>>)>,
        owner: &impl Owner,
    ) -> io::Result<()> {
        if self.durable {
            // The file's size and blocks do not change: these are a few pages and one flush.
            self.file.sync_data()?;
        }
        for (hash, place, is_new) in written.drain(..) {
            let _ = is_new.set(owner.packed(hash, place));
        }
        Ok(())
    }

    /// The bytes at a place. Only for places that cannot be evicted meanwhile.
    pub(super) fn read(&self, place: Place) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; place.len as usize];
        self.file.read_exact_at(&mut bytes, place.offset)?;
        Ok(bytes)
    }
}

impl Writer {
    /// Turns to the other half.
    fn turn(&mut self, owner: &impl Owner) -> io::Result<()> {
        self.generation = self.generation.saturating_add(1);
        self.at = 0;
        let records = std::mem::take(&mut self.records[(self.generation % 2) as usize]);
        records
            .into_iter()
            .try_for_each(|(hash, place)| owner.evict(hash, place))
    }
}

/// Room that a record takes.
fn pages(len: u64) -> u64 {
    (HEADER_BYTES + len).next_multiple_of(PAGE_BYTES)
}

fn encode(generation: u64, hash: &BlobHash, bytes: &[u8]) -> Vec<u8> {
    let len = (bytes.len() as u32).to_le_bytes();
    [&generation.to_le_bytes()[..], &len, hash.as_bytes(), bytes].concat()
}

/// The records of one generation from the start of a half on, that generation, and where they end in it.
/// The half begins at `base` in the file.
fn read_half(half: &[u8], base: u64) -> (u64, u64, Vec<(BlobHash, Place)>) {
    let (mut generation, mut at, mut records) = (0, 0, Vec::new());
    while let Some((number, hash, len)) = half.get(at as usize..).and_then(decode) {
        if !records.is_empty() && number != generation {
            break; // Left over from an earlier use of the half.
        }
        generation = number;
        let offset = base + at + HEADER_BYTES;
        records.push((hash, Place { offset, len }));
        at += pages(len.into());
    }
    (generation, at, records)
}

/// Generation, hash and length of an intact record; `None` for anything else.
fn decode(bytes: &[u8]) -> Option<(u64, BlobHash, u32)> {
    let (generation, rest) = bytes.split_first_chunk::<8>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (hash, rest) = rest.split_first_chunk::<32>()?;
    let (len, hash) = (u32::from_le_bytes(*len), BlobHash::from(*hash));
    let is_intact = is_small(len.into()) && BlobHash::of(rest.get(..len as usize)?) == hash;
    is_intact.then(|| (u64::from_le_bytes(*generation), hash, len))
}

/// Makes the file beside, then renames: there is never a half-made one.
fn create(path: &Path) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    // Written, not only reserved: the first write to a block changes the file's metadata.
    file.write_all(&vec![0; 2 * HALF_BYTES as usize])?;
    file.sync_all()?;
    fs::rename(new, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// Wants everything, and remembers what it was told.
    #[derive(Default)]
    struct Keeper {
        places: Mutex<HashMap<BlobHash, Place>>,
        evicted: Mutex<HashSet<BlobHash>>,
    }

    impl Owner for Keeper {
        fn packed(&self, hash: BlobHash, place: Place) -> bool {
            lock(&self.places).insert(hash, place).is_none()
        }

        fn evict(&self, hash: BlobHash, place: Place) -> io::Result<()> {
            assert_eq!(lock(&self.places).remove(&hash), Some(place));
            lock(&self.evicted).insert(hash);
            Ok(())
        }
    }

    fn blob(number: u64, len: usize) -> (BlobHash, Vec<u8>) {
        let bytes: Vec<u8> = number.to_le_bytes().into_iter().cycle().take(len).collect();
        (BlobHash::of(&bytes), bytes)
    }

    fn open(dir: &TempDir) -> (Pack, HashMap<BlobHash, Place>) {
        let (pack, found) = Pack::open(&dir.path().join("pack"), true).unwrap();
        (pack, found.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn every_blob_is_here_or_was_moved(
            lens in proptest::collection::vec(8..16_384_usize, 1..500),
            restarts in proptest::collection::hash_set(0..500_usize, 0..6),
        ) {
            let dir = TempDir::new().unwrap();
            let (mut pack, _) = open(&dir);
            let keeper = Keeper::default();
            let mut blobs = HashMap::new();
            for (number, len) in lens.into_iter().enumerate() {
                let (hash, bytes) = blob(number as u64, len);
                prop_assert!(pack.append(hash, bytes.clone(), &keeper).unwrap());
                blobs.insert(hash, bytes);
                if restarts.contains(&number) {
                    let found;
                    (pack, found) = open(&dir);
                    let places = lock(&keeper.places).clone();
                    prop_assert!(places.iter().all(|(hash, place)| found.get(hash) == Some(place)));
                }
            }
            let places = lock(&keeper.places).clone();
            for (hash, bytes) in blobs {
                match places.get(&hash) {
                    Some(place) => prop_assert_eq!(pack.read(*place).unwrap(), bytes),
                    None => prop_assert!(lock(&keeper.evicted).contains(&hash)),
                }
            }
        }
    }

    #[test]
    fn a_torn_record_takes_no_other_with_it() {
        let dir = TempDir::new().unwrap();
        let (pack, before) = open(&dir);
        assert!(before.is_empty());
        let blobs = [0, 1, 2].map(|number| blob(number, 5_000));
        for (hash, bytes) in &blobs {
            pack.append(*hash, bytes.clone(), &Keeper::default())
                .unwrap();
        }
        pack.file
            .write_all_at(&[0xff; 100], 5 * PAGE_BYTES)
            .unwrap();
        let kept: HashSet<_> = open(&dir).1.into_keys().collect();
        assert_eq!(kept, HashSet::from([blobs[0].0, blobs[1].0]));
    }

    #[test]
    fn all_that_come_at_once_are_kept() {
        let dir = TempDir::new().unwrap();
        let (pack, _) = open(&dir);
        let keeper = Keeper::default();
        let blobs: Vec<_> = (0..40).map(|number| blob(number, 2_600)).collect();
        std::thread::scope(|scope| {
            for (hash, bytes) in &blobs {
                scope.spawn(|| pack.append(*hash, bytes.clone(), &keeper).unwrap());
            }
        });
        let (pack, found) = open(&dir);
        for (hash, bytes) in blobs {
            assert_eq!(pack.read(found[&hash]).unwrap(), bytes);
        }
    }

    #[test]
    fn nothing_is_promised_after_a_failure() {
        let dir = TempDir::new().unwrap();
        let (pack, _) = open(&dir);
        let file = File::open(dir.path().join("pack")).unwrap();
        let pack = Pack { file, ..pack };
        let keeper = Keeper::default();
        for number in 0..2 {
            let (hash, bytes) = blob(number, 100);
            pack.append(hash, bytes, &keeper).unwrap_err();
        }
        assert!(lock(&keeper.places).is_empty());
    }
}
