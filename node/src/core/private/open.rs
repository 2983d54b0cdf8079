//! Opening the groups of a sealed private round: from public bytes alone (the ledger's transactions and the stored
//! payloads) to one file with the mean of each group, which the rule then reads like updates in the clear.
//!
//! Everybody gets the same: which groups open, and every bit of their means, follow from the sealed round. Only
//! I/O differs from machine to machine, and it is an error, never a missing group.

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    io::{BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use cifer_chain::{
    BlobHash, Block, ContributorId, Group, GroupIndex, Height, RoundTerms, Store, Transaction,
    TxHash, Update,
};
use cifer_homocryption::ring::{RingError, ShareSum, Streamed, open_mean};
use tracing::{info, warn};

/// Why groups cannot be opened here and now; another try may succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The ledger's store.
    #[error("ledger: {0}")]
    Store(#[from] cifer_chain::StoreError),
    /// Something that the ledger names is not in its store.
    #[error("transaction {0} of a sum is not in the ledger's store")]
    NoSum(TxHash),
    /// A payload is not here.
    #[error("payload {0} is not in the blob store")]
    NoPayload(BlobHash),
    /// Files.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What.
        error: std::io::Error,
    },
    /// Terms that the ledger would not have.
    #[error("terms of the round: {0}")]
    Terms(RingError),
}

/// Where the inputs are and the means go.
pub(crate) struct Sources<'a> {
    /// The ledger, which has the sums.
    pub(crate) store: &'a dyn Fn(&TxHash) -> Result<Transaction, OpenError>,
    /// Finds a payload's file.
    pub(crate) payload: &'a dyn Fn(BlobHash) -> Option<PathBuf>,
    /// Names the file for a group's mean.
    pub(crate) scratch: &'a dyn Fn(GroupIndex) -> PathBuf,
}

/// Transactions that the ledger has, by hash. The sums of a round lie in a few blocks, each of which is read once.
pub(crate) struct Transactions<'a, S: Store + ?Sized> {
    store: &'a S,
    blocks: RefCell<BTreeMap<Height, Block>>,
}

impl<'a, S: Store + ?Sized> Transactions<'a, S> {
    pub(crate) fn of(store: &'a S) -> Self {
        Self {
            store,
            blocks: RefCell::default(),
        }
    }

    pub(crate) fn get(&self, hash: &TxHash) -> Result<Transaction, OpenError> {
        let missing = || OpenError::NoSum(*hash);
        let place = self.store.tx_location(hash)?.ok_or_else(missing)?;
        let mut blocks = self.blocks.borrow_mut();
        let block = match blocks.entry(place.height) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                entry.insert(self.store.block(place.height)?.ok_or_else(missing)?)
            }
        };
        let index = usize::try_from(place.index).unwrap_or(usize::MAX);
        block.transactions.get(index).cloned().ok_or_else(missing)
    }
}

/// Files with group means, in the order of the groups; removed when dropped.
#[derive(Debug, Default)]
pub(crate) struct Means(Vec<PathBuf>);

impl Means {
    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

impl Drop for Means {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens every live group. A group whose sums do not decode, or whose bodies are garbage, is left out.
pub(crate) fn open_groups(
    terms: &RoundTerms,
    groups: &[Group],
    updates: &[Update],
    sources: &Sources<'_>,
) -> Result<Means, OpenError> {
    let mut means = Means::default();
    for (index, group) in (0..).zip(groups) {
        if !group.is_live() {
            continue;
        }
        let path = (sources.scratch)(index);
        // Named before it is written, so that it is removed whatever happens.
        means.0.push(path.clone());
        match open_group(terms, (index, group), updates, sources, &path)? {
            Ok(wrong) if wrong.is_empty() => {}
            Ok(wrong) => warn!(
                group = index,
                ?wrong,
                "validators in these seats sent wrong sums"
            ),
            Err(error) => {
                info!(group = index, %error, "group not opened");
                means.0.pop();
                let _ = fs::remove_file(&path);
            }
        }
    }
    Ok(means)
}

/// The inner error is everybody's: the group does not open. The outer one is ours.
fn open_group(
    terms: &RoundTerms,
    (index, group): (GroupIndex, &Group),
    updates: &[Update],
    sources: &Sources<'_>,
    path: &Path,
) -> Result<Result<Vec<usize>, RingError>, OpenError> {
    let mut sums = Vec::with_capacity(group.sums.len());
    for tx in group.sums.values() {
        let Transaction::KeyShareSum(sum) = (sources.store)(tx)? else {
            return Err(OpenError::NoSum(*tx));
        };
        // `apply` has decoded it before.
        sums.push(ShareSum::from_bytes(&sum.shares).map_err(OpenError::Terms)?);
    }
    let opening = match terms.open(index, group, &sums) {
        Ok(opening) => opening,
        Err(error) => return Ok(Err(error)),
    };
    let body_at = terms.payload().map_err(OpenError::Terms)?.body_at();
    let bodies = group
        .cohort
        .iter()
        .map(|member| body(member, updates, body_at, sources))
        .collect::<Result<Vec<_>, _>>()?;
    let at = |error| OpenError::Io {
        path: path.to_owned(),
        error,
    };
    let context = terms.group(index).map_err(OpenError::Terms)?;
    let mut sink = BufWriter::new(File::create(path).map_err(at)?);
    let opened = Streamed::new(bodies).and_then(|mut bodies| {
        open_mean(
            &context,
            &opening.key,
            terms.scale(),
            &mut bodies,
            &mut sink,
        )
    });
    match opened {
        Ok(_) => {
            sink.flush().map_err(at)?;
            Ok(Ok(opening.wrong))
        }
        Err(RingError::Io(error)) => Err(at(error)),
        Err(error) => Ok(Err(error)),
    }
}

/// A member's body, at its beginning.
fn body(
    member: &ContributorId,
    updates: &[Update],
    body_at: u64,
    sources: &Sources<'_>,
) -> Result<File, OpenError> {
    let update = updates.iter().find(|update| update.contributor == *member);
    let hash = update.map_or_else(BlobHash::default, |update| update.payload);
    let path = (sources.payload)(hash).ok_or(OpenError::NoPayload(hash))?;
    let open = || {
        let mut file = File::open(&path)?;
        file.seek(SeekFrom::Start(body_at))?;
        Ok(file)
    };
    open().map_err(|error| OpenError::Io {
        path: path.clone(),
        error,
    })
}
