//! The durable store, on RocksDB. One synced `WriteBatch` a block, so that after `kill -9` or a
//! loss of power a block is there with everything that belongs to it, or not at all.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use cifer_chain::{
    Block, CommitCertificate, Durability, Event, Executed, State, StateKey, StateTree, Store,
    StoreError, TaskRecord, TxLocation, UndecidedKey, ValidatorSet, Writes,
    decode::encode,
    store::{MAX_UNDECIDED, SCHEMA_VERSION, check_next, decode},
    tree::{PROOF_HISTORY, Stale, TreeReader, TreeUpdate, stale_of},
};
use cifer_genesis::{BlockHash, Genesis, GenesisHash, Height, StateRoot, TxHash};
use jmt::{
    KeyHash, OwnedValue, Version,
    storage::{LeafNode, Node, NodeKey},
};
use rocksdb::WriteBatch;

use crate::columns::{
    BLOCKS, CERTIFICATES, Columns, EVENTS, HEIGHTS, META, NODES, STALE, STATE, TXS, UNDECIDED,
    VALIDATORS, VALUES,
};

const SCHEMA_KEY: &[u8] = b"schema";
const GENESIS_KEY: &[u8] = b"genesis";
const TIP_KEY: &[u8] = b"tip";

/// See the module's text.
pub struct RocksStore {
    db: Columns,
    genesis_hash: GenesisHash,
    /// State after the newest block.
    state: RwLock<Arc<State>>,
    /// Held by writers, so that a commit or a count sees no other.
    writer: Mutex<()>,
}

impl std::fmt::Debug for RocksStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksStore")
            .field("path", &self.db.path())
            .finish_non_exhaustive()
    }
}

impl RocksStore {
    /// Opens the store of a network, or makes one that holds nothing but genesis.
    ///
    /// # Errors
    /// [`StoreError::WrongGenesis`], [`StoreError::SchemaVersion`], [`StoreError::Corrupt`],
    /// [`StoreError::Database`] (among it: another process has it open).
    pub fn open(path: &Path, genesis: &Genesis) -> Result<Self, StoreError> {
        let (mut state, writes) = State::genesis(genesis)?;
        let store = Self {
            db: Columns::open(path)?,
            genesis_hash: state.genesis_hash,
            state: RwLock::new(Arc::new(state.clone())),
            writer: Mutex::new(()),
        };
        match store.db.get::<u32>(META, SCHEMA_KEY)? {
            None => store.initialise(&state, &writes)?,
            Some(SCHEMA_VERSION) => state = store.load(genesis)?,
            Some(stored) => return Err(StoreError::SchemaVersion { stored }),
        }
        *store.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        Ok(store)
    }

    fn initialise(&self, state: &State, writes: &Writes) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let update = StateTree::new(self).compute(writes, Height(0))?;
        self.put_state(&mut batch, writes, &update)?;
        batch.put_cf(
            self.db.column(VALIDATORS)?,
            be(Height(1)),
            encode(&state.validators),
        );
        let meta = self.db.column(META)?;
        batch.put_cf(meta, SCHEMA_KEY, encode(&SCHEMA_VERSION));
        batch.put_cf(meta, GENESIS_KEY, encode(&state.genesis_hash));
        batch.put_cf(meta, TIP_KEY, encode(&(state.height, state.last_block)));
        self.db.write(batch, Durability::Synced)
    }

    fn load(&self, genesis: &Genesis) -> Result<State, StoreError> {
        let stored: GenesisHash = self.db.require(META, GENESIS_KEY)?;
        if stored != self.genesis_hash {
            return Err(StoreError::WrongGenesis {
                stored,
                given: self.genesis_hash,
            });
        }
        let (height, hash): (Height, BlockHash) = self.db.require(META, TIP_KEY)?;
        let mut entries = Vec::new();
        let mut rounds = Vec::new();
        self.db.scan(STATE, &[], &mut |key, value| {
            let key: StateKey = decode(|| "state key".to_owned(), key)?;
            if let StateKey::Task(task) = key {
                let record: TaskRecord = decode(|| format!("{key:?}"), value)?;
                rounds.push((task, record.round));
            }
            // Everything after the tasks is history, but for what is picked below.
            let history = matches!(key, StateKey::Update(..));
            if !history {
                entries.push((key, value.to_vec()));
            }
            Ok(!history)
        })?;
        let mut prefixes: Vec<_> = rounds
            .into_iter()
            .map(|(task, round)| encode(&(UPDATE_TAG, task, round)))
            .collect();
        prefixes.push(vec![EVIDENCE_TAG]);
        prefixes.push(vec![PRIVATE_TAG]);
        for prefix in prefixes {
            self.db.scan(STATE, &prefix, &mut |key, value| {
                entries.push((decode(|| "state key".to_owned(), key)?, value.to_vec()));
                Ok(true)
            })?;
        }
        let state = State::load(genesis, hash, entries)?;
        self.check_tip(&state, height, hash)?;
        Ok(state)
    }

    /// The newest block, its certificate, the state and the tree have to belong together.
    fn check_tip(&self, state: &State, height: Height, hash: BlockHash) -> Result<(), StoreError> {
        let damaged = |what: &str, problem: String| StoreError::Corrupt {
            what: format!("{what} of height {height}"),
            problem,
        };
        if state.height != height {
            return Err(damaged(
                "state",
                format!("it is of height {}", state.height),
            ));
        }
        if height == Height(0) {
            return Ok(());
        }
        let block: Block = self.db.require(BLOCKS, &be(height))?;
        if block.hash() != hash {
            return Err(damaged(
                "block",
                format!("hash {}, the tip is {hash}", block.hash()),
            ));
        }
        let certificate: CommitCertificate = self.db.require(CERTIFICATES, &be(height))?;
        if certificate.block != hash {
            return Err(damaged(
                "certificate",
                format!("it is of block {}", certificate.block),
            ));
        }
        let root: StateRoot = StateTree::new(self).root(height)?;
        if block.header.state_root != root {
            let problem = format!("root {root}, the header has {}", block.header.state_root);
            return Err(damaged("state tree", problem));
        }
        Ok(())
    }

    fn put_state(
        &self,
        batch: &mut WriteBatch,
        writes: &Writes,
        update: &TreeUpdate,
    ) -> Result<(), StoreError> {
        let (state, nodes) = (self.db.column(STATE)?, self.db.column(NODES)?);
        let (values, stale) = (self.db.column(VALUES)?, self.db.column(STALE)?);
        for (key, value) in writes {
            batch.put_cf(state, key.to_bytes(), value);
        }
        for (key, node) in update.batch.node_batch.nodes() {
            batch.put_cf(nodes, encode(key), encode(node));
        }
        for ((version, key), value) in update.batch.node_batch.values() {
            if let Some(value) = value {
                batch.put_cf(values, value_key(*key, *version), value);
            }
        }
        let obsolete = stale_of(update, |key, version| match version.checked_sub(1) {
            Some(older) => Ok(self.newest_value(key, older)?.map(|(version, _)| version)),
            None => Ok::<_, StoreError>(None),
        })?;
        batch.put_cf(stale, be(update.height), encode(&obsolete));
        let Some(oldest) = update.height.0.checked_sub(PROOF_HISTORY) else {
            return Ok(());
        };
        let oldest = be(Height(oldest));
        for entry in self
            .db
            .get::<Vec<Stale>>(STALE, &oldest)?
            .unwrap_or_default()
        {
            match entry {
                Stale::Node(key) => batch.delete_cf(nodes, encode(&key)),
                Stale::Value(key, version) => batch.delete_cf(values, value_key(key, version)),
            }
        }
        batch.delete_cf(stale, oldest);
        Ok(())
    }

    fn newest_value(
        &self,
        key: KeyHash,
        max_version: Version,
    ) -> Result<Option<(Version, OwnedValue)>, StoreError> {
        let found = self
            .db
            .last_at_most(VALUES, &key.0, &value_key(key, max_version))?;
        let Some((stored, value)) = found else {
            return Ok(None);
        };
        let version = stored.get(32..).and_then(|bytes| bytes.try_into().ok());
        let version = version
            .map(Version::from_be_bytes)
            .ok_or_else(|| StoreError::Corrupt {
                what: format!("{VALUES}/{}", hex::encode(&stored)),
                problem: "the key has no version".to_owned(),
            })?;
        Ok(Some((version, value.into_vec())))
    }
}

/// First byte of [`StateKey::Update`], [`StateKey::Evidence`] and [`StateKey::Private`]; a test holds
/// them to it.
const UPDATE_TAG: u8 = 5;
const EVIDENCE_TAG: u8 = 7;
const PRIVATE_TAG: u8 = 8;

fn be(height: Height) -> [u8; 8] {
    height.0.to_be_bytes()
}

fn value_key(key: KeyHash, version: Version) -> Vec<u8> {
    [key.0.as_slice(), version.to_be_bytes().as_slice()].concat()
}

fn undecided_key(key: &UndecidedKey) -> Vec<u8> {
    let (height, round) = (be(key.height), key.round.to_be_bytes());
    [
        height.as_slice(),
        round.as_slice(),
        key.block.as_bytes().as_slice(),
    ]
    .concat()
}

fn parse_undecided_key(bytes: &[u8]) -> Result<UndecidedKey, StoreError> {
    let parse = || {
        let height = Height(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?));
        let round = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        let block = BlockHash::from_bytes(bytes.get(12..)?.try_into().ok()?);
        Some(UndecidedKey {
            height,
            round,
            block,
        })
    };
    parse().ok_or_else(|| StoreError::Corrupt {
        what: format!("{UNDECIDED}/{}", hex::encode(bytes)),
        problem: "the key is not height, round and hash".to_owned(),
    })
}

impl Store for RocksStore {
    fn genesis_hash(&self) -> GenesisHash {
        self.genesis_hash
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn block(&self, height: Height) -> Result<Option<Block>, StoreError> {
        self.db.get(BLOCKS, &be(height))
    }

    fn height_of(&self, hash: &BlockHash) -> Result<Option<Height>, StoreError> {
        self.db.get(HEIGHTS, hash.as_bytes())
    }

    fn certificate(&self, height: Height) -> Result<Option<CommitCertificate>, StoreError> {
        self.db.get(CERTIFICATES, &be(height))
    }

    fn events(&self, height: Height) -> Result<Option<Vec<Event>>, StoreError> {
        self.db.get(EVENTS, &be(height))
    }

    fn tx_location(&self, hash: &TxHash) -> Result<Option<TxLocation>, StoreError> {
        self.db.get(TXS, hash.as_bytes())
    }

    fn validators(&self, height: Height) -> Result<Option<ValidatorSet>, StoreError> {
        if height.0 == 0 || height.0 > self.tip().0.saturating_add(1) {
            return Ok(None);
        }
        let found = self.db.last_at_most(VALIDATORS, &[], &be(height))?;
        found
            .map(|(_, set)| decode(|| format!("{VALIDATORS}/{height}"), &set))
            .transpose()
    }

    fn value(&self, key: &StateKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .db
            .get_bytes(STATE, &key.to_bytes())?
            .map(|value| value.to_vec()))
    }

    fn commit(
        &self,
        executed: &Executed,
        certificate: &CommitCertificate,
    ) -> Result<(), StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, after) = (self.state(), &executed.transition.state);
        check_next(&before, executed, certificate)?;
        let height = executed.block.header.height;
        let mut batch = WriteBatch::default();
        self.put_state(&mut batch, &executed.transition.writes, &executed.tree)?;
        batch.put_cf(self.db.column(BLOCKS)?, be(height), encode(&executed.block));
        batch.put_cf(
            self.db.column(CERTIFICATES)?,
            be(height),
            encode(certificate),
        );
        batch.put_cf(
            self.db.column(EVENTS)?,
            be(height),
            encode(&executed.transition.events),
        );
        batch.put_cf(
            self.db.column(HEIGHTS)?,
            executed.hash.as_bytes(),
            encode(&height),
        );
        for (index, tx) in (0_u32..).zip(&executed.block.transactions) {
            let location = encode(&TxLocation { height, index });
            batch.put_cf(
                self.db.column(TXS)?,
                tx.hash(&after.chain_id).as_bytes(),
                location,
            );
        }
        if after.validators != before.validators {
            let next = Height(height.0.saturating_add(1));
            batch.put_cf(
                self.db.column(VALIDATORS)?,
                be(next),
                encode(&after.validators),
            );
        }
        batch.put_cf(
            self.db.column(META)?,
            TIP_KEY,
            encode(&(height, executed.hash)),
        );
        self.db.write(batch, Durability::Synced)?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after.clone());
        Ok(())
    }

    fn put_undecided(
        &self,
        key: &UndecidedKey,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut kept, mut known, own) = (0, false, undecided_key(key));
        self.db.scan(UNDECIDED, &be(key.height), &mut |stored, _| {
            kept += 1;
            known |= stored == own;
            Ok(true)
        })?;
        if kept >= MAX_UNDECIDED && !known {
            return Err(StoreError::TooManyUndecided { height: key.height });
        }
        let mut batch = WriteBatch::default();
        batch.put_cf(self.db.column(UNDECIDED)?, own, bytes);
        self.db.write(batch, durability)
    }

    fn undecided(&self, key: &UndecidedKey) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .db
            .get_bytes(UNDECIDED, &undecided_key(key))?
            .map(|value| value.to_vec()))
    }

    fn undecided_at(&self, height: Height) -> Result<Vec<(UndecidedKey, Vec<u8>)>, StoreError> {
        let mut found = Vec::new();
        self.db.scan(UNDECIDED, &be(height), &mut |key, value| {
            found.push((parse_undecided_key(key)?, value.to_vec()));
            Ok(true)
        })?;
        Ok(found)
    }

    fn delete_undecided(&self, up_to: Height) -> Result<(), StoreError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = WriteBatch::default();
        let column = self.db.column(UNDECIDED)?;
        self.db.scan(UNDECIDED, &[], &mut |key, _| {
            let old = parse_undecided_key(key)?.height <= up_to;
            if old {
                batch.delete_cf(column, key);
            }
            Ok(old)
        })?;
        if batch.is_empty() {
            Ok(())
        } else {
            self.db.write(batch, Durability::Buffered)
        }
    }
}

impl TreeReader for RocksStore {
    fn get_node_option(&self, node_key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(self.db.get(NODES, &encode(node_key))?)
    }
    fn get_value_option(
        &self,
        max_version: Version,
        key_hash: KeyHash,
    ) -> anyhow::Result<Option<OwnedValue>> {
        Ok(self
            .newest_value(key_hash, max_version)?
            .map(|(_, value)| value))
    }
    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        anyhow::bail!("only restoring a tree needs its rightmost leaf")
    }
}
