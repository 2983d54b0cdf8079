//! The ledger of a test network, with its models and a bell for every new block.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use cifer_chain::{
    AggregateCertificate, Height, MemoryStore, ModelRoot, Phase, RejectReason, SignedUpdate, State,
    StateKey, StateProof, StateTree, Store, TimestampMs, Transaction, TxHash, testing,
};
use cifer_genesis::{Genesis, document::Tensor};
use tokio::sync::watch;

use super::{model_bytes, root_of};

pub(crate) struct Ledger {
    pub(crate) network: testing::Network,
    pub(crate) store: MemoryStore,
    inner: Mutex<Inner>,
    /// Held by whoever makes blocks: contributors submit at the same time.
    proposer: Mutex<()>,
    height: watch::Sender<Height>,
}

#[derive(Default)]
struct Inner {
    models: BTreeMap<ModelRoot, (Vec<u8>, Option<AggregateCertificate>)>,
    payloads: BTreeMap<cifer_chain::BlobHash, Vec<u8>>,
    /// Updates that have a transaction.
    submitted: BTreeMap<cifer_chain::Hash32, TxHash>,
}

impl Ledger {
    /// Four validators, so many contributors, and a model of so many floats.
    pub(crate) fn new(contributors: usize, floats: usize) -> Self {
        let initial = model_bytes(0, floats);
        let tensors = vec![Tensor::f32("w", &[floats as u64])];
        Self::with(contributors, initial, tensors, |_| {})
    }

    /// The same with a changed document.
    pub(crate) fn with(
        contributors: usize,
        initial: Vec<u8>,
        tensors: Vec<Tensor>,
        change: impl FnOnce(&mut Genesis),
    ) -> Self {
        let network = testing::Network::new(4, contributors).with(|genesis| {
            genesis.tasks[0].initial_model = root_of(&initial);
            genesis.tasks[0].tensors = tensors;
            genesis.tasks[0].max_abs_update = 1_000_000;
            change(genesis);
        });
        let store = MemoryStore::new(&network.genesis).unwrap();
        let inner = Inner {
            models: BTreeMap::from([(root_of(&initial), (initial, None))]),
            ..Inner::default()
        };
        let (height, _) = watch::channel(Height(0));
        let ledger = Self {
            network,
            store,
            inner: Mutex::new(inner),
            proposer: Mutex::new(()),
            height,
        };
        // A state proof needs a block to be of.
        ledger.commit([]);
        ledger
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn commit(&self, transactions: impl IntoIterator<Item = Transaction>) {
        let _proposer = self.proposer.lock().unwrap();
        self.append(transactions);
    }

    fn append(&self, transactions: impl IntoIterator<Item = Transaction>) {
        self.network.commit(&self.store, transactions);
        self.height.send_replace(self.store.tip());
    }

    pub(crate) fn heights(&self) -> watch::Receiver<Height> {
        self.height.subscribe()
    }

    /// Lets the open round run out of time until it aborts.
    pub(crate) fn abort_round(&self) {
        let _proposer = self.proposer.lock().unwrap();
        let before = testing::current(&self.store.state()).round;
        while testing::current(&self.store.state()).round == before {
            let time_ms = TimestampMs(self.store.state().time_ms.0 + 60_000);
            self.network.commit_at(&self.store, time_ms, []);
            self.height.send_replace(self.store.tip());
        }
    }

    /// Moves the open round to its end as time would: it aborts, or, with enough updates, closes and
    /// is aggregated.
    pub(crate) fn run_out_of_time(&self) {
        let _proposer = self.proposer.lock().unwrap();
        let before = testing::current(&self.store.state()).round;
        let goes_on = |state: &State| {
            let task = testing::current(state);
            task.round == before && task.phase != Phase::Complete
        };
        while goes_on(&self.store.state()) {
            let time_ms = TimestampMs(self.store.state().time_ms.0 + 60_000);
            self.network.commit_at(&self.store, time_ms, []);
            self.aggregate_if_closed();
            self.height.send_replace(self.store.tip());
        }
    }

    /// Ends the open round with this model: every contributor's turn, then the certificate.
    pub(crate) fn finish_round(&self, model: Vec<u8>) {
        let _proposer = self.proposer.lock().unwrap();
        let state = self.store.state();
        let length = model.len() as u64;
        let updates = (0..self.network.contributors.len()).map(|index| {
            let mut update = self.network.update(&state, index);
            update.payload_bytes = length;
            self.network.certify(self.network.sign(update, index))
        });
        self.append(updates.collect::<Vec<_>>());
        self.aggregate(model);
    }

    fn aggregate(&self, model: Vec<u8>) {
        let root = root_of(&model);
        let tx = self.network.aggregate_tx(&self.store.state(), root);
        let Transaction::Aggregate(certificate) = &tx else {
            unreachable!()
        };
        self.inner()
            .models
            .insert(root, (model, Some(certificate.clone())));
        self.append([tx]);
    }

    pub(crate) fn model(
        &self,
        root: &ModelRoot,
    ) -> Option<(Vec<u8>, Option<AggregateCertificate>)> {
        self.inner().models.get(root).cloned()
    }

    /// What the network does with an update: certify and commit it, or reject it; then aggregate a
    /// round that is full (the plain mean).
    pub(crate) fn submit(
        &self,
        signed: &SignedUpdate,
        payload: Vec<u8>,
    ) -> Result<Transaction, tonic::Status> {
        let _proposer = self.proposer.lock().unwrap();
        let update = &signed.update;
        let state = self.store.state();
        let task = testing::current(&state);
        let id = signed.id(self.network.chain_id());
        signed
            .verify(self.network.chain_id())
            .map_err(|error| tonic::Status::unauthenticated(error.to_string()))?;
        let not_finite = payload.chunks(4).any(|b| !f32_of(b).is_finite());
        let tx = if not_finite {
            self.network.reject(signed.clone(), RejectReason::NotFinite)
        } else {
            self.network.certify(signed.clone())
        };
        // The same update again answers the same.
        if self.inner().submitted.contains_key(&id) {
            return Ok(tx);
        }
        if !state.contributors.contains_key(&update.contributor) {
            return Err(tonic::Status::permission_denied(
                "the contributor is not registered",
            ));
        }
        if (update.round, update.base) != (task.round, task.model)
            || !matches!(task.phase, Phase::Open(_))
        {
            return Err(tonic::Status::failed_precondition("the round is not open"));
        }
        if task.turn(&update.contributor).is_some() {
            return Err(tonic::Status::already_exists("the turn is used up"));
        }
        self.inner()
            .submitted
            .insert(id, tx.hash(self.network.chain_id()));
        self.inner().payloads.insert(update.payload, payload);
        self.append([tx.clone()]);
        self.aggregate_if_closed();
        Ok(tx)
    }

    fn aggregate_if_closed(&self) {
        let state = self.store.state();
        let task = testing::current(&state);
        if let Phase::Closed(closed) = &task.phase {
            let hashes: Vec<_> = closed.updates.iter().map(|u| u.update.payload).collect();
            let base = self.model(&task.model).unwrap().0;
            self.aggregate(self.mean(&base, &hashes));
        }
    }

    fn mean(&self, base: &[u8], hashes: &[cifer_chain::BlobHash]) -> Vec<u8> {
        let inner = self.inner();
        let deltas: Vec<&Vec<u8>> = hashes.iter().map(|hash| &inner.payloads[hash]).collect();
        let coordinate = |at: usize| {
            let sum: f32 = deltas.iter().map(|delta| f32_of(&delta[at..at + 4])).sum();
            f32_of(&base[at..at + 4]) + sum / deltas.len() as f32
        };
        (0..base.len())
            .step_by(4)
            .flat_map(|at| coordinate(at).to_le_bytes())
            .collect()
    }

    pub(crate) fn payload(&self, hash: &cifer_chain::BlobHash) -> Option<Vec<u8>> {
        self.inner().payloads.get(hash).cloned()
    }

    pub(crate) fn prove(&self, key: StateKey) -> (Height, StateProof) {
        let height = self.store.tip();
        (
            height,
            StateTree::new(&self.store).prove(key, height).unwrap(),
        )
    }
}

fn f32_of(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().unwrap())
}
