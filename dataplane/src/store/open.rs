//! Opening a store: what is there, and what was left behind.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use super::{
    BlobStore, Index, Inner, StoreError, StoreOptions,
    layout::{self, Layout, is_outboard, outboard_of, remove_pair},
    pack::Pack,
    tree::{footprint_bytes, outboard_bytes},
};
use crate::{BlobHash, limits::MAX_BLOB_BYTES};

pub(super) fn open(dir: &Path, options: StoreOptions) -> Result<BlobStore, StoreError> {
    let (layout, mut index) = scan(dir).map_err(StoreError::io("open"))?;
    let (pack, found) =
        Pack::open(&layout.pack(), options.durable).map_err(StoreError::io("open small blobs"))?;
    let same_boot = note_boot(&layout).map_err(StoreError::io("note boot id"))?;
    for (hash, place) in found {
        index.add_packed(hash, place);
    }
    let store = BlobStore {
        inner: Arc::new(Inner {
            layout,
            options,
            pack,
            index: Mutex::new(index),
            next_temp: AtomicU64::new(0),
        }),
    };
    if !same_boot && !options.durable {
        scrub(&store)?;
    }
    Ok(store)
}

fn scan(dir: &Path) -> io::Result<(Layout, Index)> {
    let layout = Layout::create(dir)?;
    for path in files_in(&layout.temps())? {
        fs::remove_file(path)?;
    }
    let blobs = scan_blobs(&layout)?;
    let partials = scan_partials(&layout)?;
    let used_bytes = blobs
        .values()
        .chain(partials.keys().map(|(_, len)| len))
        .fold(0u64, |sum, len| sum.saturating_add(footprint_bytes(*len)));
    Ok((
        layout,
        Index {
            blobs,
            packed: BTreeMap::new(),
            partials,
            used_bytes,
        },
    ))
}

fn scan_blobs(layout: &Layout) -> io::Result<BTreeMap<BlobHash, u64>> {
    let mut blobs = BTreeMap::new();
    for shard in fs::read_dir(layout.blobs())? {
        let shard = shard?.path();
        if !shard.is_dir() {
            continue;
        }
        for path in files_in(&shard)? {
            if is_outboard(&path) {
                // The data comes after the outboard; without it the outboard is a leftover.
                if !path.with_extension("").exists() {
                    fs::remove_file(path)?;
                }
                continue;
            }
            let Some(hash) = layout::parse_blob(&path) else {
                tracing::warn!(path = %path.display(), "not a blob, left alone");
                continue;
            };
            let len = fs::metadata(&path)?.len();
            if has_outboard(&path, len) {
                blobs.insert(hash, len);
            } else {
                tracing::error!(%hash, len, "blob has lost its hash tree, removed");
                remove_pair(&path)?;
            }
        }
    }
    Ok(blobs)
}

fn scan_partials(layout: &Layout) -> io::Result<BTreeMap<(BlobHash, u64), bool>> {
    let mut partials = BTreeMap::new();
    for path in files_in(&layout.partials())? {
        if is_outboard(&path) && path.with_extension("").exists() {
            continue;
        }
        match layout::parse_partial(&path) {
            Some(key) if key.1 <= MAX_BLOB_BYTES => {
                partials.insert(key, false);
            }
            _ => fs::remove_file(path)?,
        }
    }
    Ok(partials)
}

fn has_outboard(data: &Path, len: u64) -> bool {
    let expected = outboard_bytes(len);
    expected == 0
        || fs::metadata(outboard_of(data)).is_ok_and(|metadata| metadata.len() == expected)
}

fn files_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect()
}

/// Whether the machine has been up since the store was last open; if we cannot know, no.
fn note_boot(layout: &Layout) -> io::Result<bool> {
    let path = layout.boot_id();
    let now = fs::read("/proc/sys/kernel/random/boot_id").ok();
    let same = now.is_some() && fs::read(&path).ok() == now;
    if !same {
        fs::write(path, now.unwrap_or_default())?;
    }
    Ok(same)
}

/// Drops every blob that was not flushed and does not match its hash.
fn scrub(store: &BlobStore) -> Result<(), StoreError> {
    for (hash, len) in store.list() {
        if !store.verify(&hash)? {
            tracing::error!(%hash, len, "blob did not survive a reboot, removed");
            store.remove(&hash)?;
        }
    }
    Ok(())
}
