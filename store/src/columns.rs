//! The columns of the RocksDB store, and the few ways in which they are read and written.
//!
//! Columns, with big-endian numbers in keys so that they sort:
//!
//! | column         | key                              | value                          |
//! |----------------|----------------------------------|--------------------------------|
//! | `meta`         | `schema`, `genesis`, `tip`       | version, hash, (height, hash)  |
//! | `blocks`       | height                           | block                          |
//! | `certificates` | height                           | commit certificate             |
//! | `events`       | height                           | events                         |
//! | `heights`      | block hash                       | height                         |
//! | `txs`          | transaction hash                 | height, index                  |
//! | `validators`   | first height of a set            | validator set                  |
//! | `state`        | state key                        | newest value                   |
//! | `nodes`        | tree node key                    | tree node                      |
//! | `values`       | hash of state key, version       | value at that version          |
//! | `stale`        | height                           | tree entries it made obsolete  |
//! | `undecided`    | height, round, block hash        | proposal bytes                 |

use std::path::Path;

use borsh::BorshDeserialize;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, Direction,
    IteratorMode, Options, WriteBatch, WriteOptions,
};

use cifer_chain::{Durability, StoreError, store::decode};

pub(crate) const META: &str = "meta";
pub(crate) const BLOCKS: &str = "blocks";
pub(crate) const CERTIFICATES: &str = "certificates";
pub(crate) const EVENTS: &str = "events";
pub(crate) const HEIGHTS: &str = "heights";
pub(crate) const TXS: &str = "txs";
pub(crate) const VALIDATORS: &str = "validators";
pub(crate) const STATE: &str = "state";
pub(crate) const NODES: &str = "nodes";
pub(crate) const VALUES: &str = "values";
pub(crate) const STALE: &str = "stale";
pub(crate) const UNDECIDED: &str = "undecided";
const COLUMNS: [&str; 12] = [
    META,
    BLOCKS,
    CERTIFICATES,
    EVENTS,
    HEIGHTS,
    TXS,
    VALIDATORS,
    STATE,
    NODES,
    VALUES,
    STALE,
    UNDECIDED,
];

/// Unflushed writes of all columns together. With the cache below and up to 256 open files, the
/// database stays under 64 MB resident.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Blocks of files kept in memory.
const BLOCK_CACHE_BYTES: usize = 32 << 20;
/// Open files; each keeps its index in memory, some 50 KB.
const MAX_OPEN_FILES: i32 = 256;
/// Write-ahead log on disk before the oldest column is flushed.
const MAX_WAL_BYTES: u64 = 64 << 20;
/// RocksDB's own text logs: 4 files of 1 MiB.
const LOG_FILES: usize = 4;

/// Key and value.
pub(crate) type Entry = (Box<[u8]>, Box<[u8]>);
/// Sees entries in order, until it says `false`.
pub(crate) type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, StoreError>;

/// The open database.
pub(crate) struct Columns(DB);

fn database(error: rocksdb::Error) -> StoreError {
    StoreError::Database(error.into_string())
}

impl Columns {
    /// Opens the database, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let options = options();
        let columns = COLUMNS.map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        DB::open_cf_descriptors(&options, path, columns)
            .map(Self)
            .map_err(database)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn column(&self, name: &str) -> Result<&ColumnFamily, StoreError> {
        let missing = || StoreError::Database(format!("column {name} is not open"));
        self.0.cf_handle(name).ok_or_else(missing)
    }

    pub(crate) fn write(
        &self,
        batch: WriteBatch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        self.0.write_opt(batch, &options).map_err(database)
    }

    pub(crate) fn get<T: BorshDeserialize>(
        &self,
        column: &str,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let value = self.get_bytes(column, key)?;
        value
            .map(|bytes| decode(|| format!("{column}/{}", hex::encode(key)), &bytes))
            .transpose()
    }

    pub(crate) fn require<T: BorshDeserialize>(
        &self,
        column: &str,
        key: &[u8],
    ) -> Result<T, StoreError> {
        self.get(column, key)?.ok_or_else(|| StoreError::Corrupt {
            what: format!("{column}/{}", hex::encode(key)),
            problem: "missing".to_owned(),
        })
    }

    /// Hands the entries of a prefix to `each`, in order, until it says `false`.
    pub(crate) fn scan(
        &self,
        column: &str,
        prefix: &[u8],
        each: Visitor<'_>,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(prefix, Direction::Forward);
        for entry in self.0.iterator_cf(self.column(column)?, mode) {
            let (key, value) = entry.map_err(database)?;
            if !key.starts_with(prefix) || !each(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// The newest entry with this prefix whose key is at most `last`.
    pub(crate) fn last_at_most(
        &self,
        column: &str,
        prefix: &[u8],
        last: &[u8],
    ) -> Result<Option<Entry>, StoreError> {
        let mode = IteratorMode::From(last, Direction::Reverse);
        let entry = self
            .0
            .iterator_cf(self.column(column)?, mode)
            .next()
            .transpose()
            .map_err(database)?;
        Ok(entry.filter(|(key, _)| key.starts_with(prefix)))
    }

    /// The bytes under a key.
    pub(crate) fn get_bytes(
        &self,
        column: &str,
        key: &[u8],
    ) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        self.0
            .get_pinned_cf(self.column(column)?, key)
            .map_err(database)
    }
}

fn options() -> Options {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    options.set_block_based_table_factory(&table);
    options.set_db_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES / 4);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(MAX_OPEN_FILES);
    options.set_max_total_wal_size(MAX_WAL_BYTES);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_log_file_size(1 << 20);
    options
}
