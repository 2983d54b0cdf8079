//! Fetching a blob from whoever has it: one job a blob, however many ask for it.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use libp2p::{PeerId, StreamProtocol};
use libp2p_stream::Control;
use tokio::{
    sync::{Semaphore, watch},
    task::spawn_blocking,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    FetchError, FetchReport, HolderFailure, PeerFault,
    pull::{PullError, Puller},
};
use crate::{
    BlobHash, BlobStore, Event, StoreError,
    limits::{FAULT_COOLDOWN, MAX_ACTIVE_FETCHES, MAX_FETCHES, MAX_HOLDERS, MAX_REMEMBERED_FAULTS},
    metrics::{self, Metrics},
    net::{Shared, events::EventSink, peers::PeerTable},
    store::PartialBlob,
};

/// Waits between two rounds over the holders.
const ROUND_PAUSE_MIN: Duration = Duration::from_millis(50);
const ROUND_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Patience of a fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetchLimits {
    pub(crate) stall_timeout: Duration,
    pub(crate) patience: Duration,
}

type Key = (BlobHash, u64);
type Outcome = Result<FetchReport, FetchError>;

/// Runs the fetch jobs.
#[derive(Clone)]
pub(crate) struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    store: BlobStore,
    control: Control,
    protocol: StreamProtocol,
    limits: FetchLimits,
    metrics: Arc<Metrics>,
    events: EventSink,
    peers: PeerTable,
    tasks: TaskTracker,
    cancel: CancellationToken,
    jobs: Mutex<HashMap<Key, Arc<Job>>>,
    active: Semaphore,
    faulty: Mutex<HashMap<PeerId, Instant>>,
}

/// One blob on its way; lives as long as somebody may still join.
struct Job {
    holders: Mutex<Vec<PeerId>>,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Fetcher {
    pub(crate) fn new(
        store: BlobStore,
        control: Control,
        protocol: StreamProtocol,
        limits: FetchLimits,
        shared: &Shared,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                control,
                protocol,
                limits,
                metrics: shared.metrics.clone(),
                events: shared.events.clone(),
                peers: shared.peers.clone(),
                tasks: shared.tasks.clone(),
                cancel: shared.cancel.clone(),
                jobs: Mutex::default(),
                active: Semaphore::new(MAX_ACTIVE_FETCHES),
                faulty: Mutex::default(),
            }),
        }
    }

    /// Sees to it that the blob is in the store. Joins a job for the same blob, and adds its
    /// holders to those of the job. The job goes on if the caller goes away.
    pub(crate) async fn fetch(&self, hash: BlobHash, len: u64, holders: Vec<PeerId>) -> Outcome {
        if let Some(actual_bytes) = self.inner.store.len(&hash) {
            return if actual_bytes == len {
                Ok(FetchReport::default())
            } else {
                Err(FetchError::LengthMismatch {
                    hash,
                    expected_bytes: len,
                    actual_bytes,
                })
            };
        }
        let mut outcome = self.join((hash, len), holders)?;
        tokio::select! {
            () = self.inner.cancel.cancelled() => Err(FetchError::Shutdown),
            done = outcome.wait_for(Option::is_some) => match done {
                Ok(outcome) => outcome.clone().unwrap_or(Err(FetchError::Shutdown)),
                Err(_) => Err(FetchError::Shutdown),
            },
        }
    }

    fn join(
        &self,
        key: Key,
        holders: Vec<PeerId>,
    ) -> Result<watch::Receiver<Option<Outcome>>, FetchError> {
        let mut jobs = lock(&self.inner.jobs);
        let count = jobs.len();
        match jobs.entry(key) {
            Entry::Occupied(entry) => {
                entry.get().add_holders(holders);
                Ok(entry.get().outcome.subscribe())
            }
            Entry::Vacant(_) if count >= MAX_FETCHES => {
                Err(FetchError::TooMany { limit: MAX_FETCHES })
            }
            Entry::Vacant(entry) => {
                let job = Arc::new(Job {
                    holders: Mutex::default(),
                    outcome: watch::Sender::new(None),
                });
                job.add_holders(holders);
                let outcome = job.outcome.subscribe();
                entry.insert(job.clone());
                let fetcher = self.clone();
                self.inner
                    .tasks
                    .spawn(async move { fetcher.run(key, job).await });
                Ok(outcome)
            }
        }
    }

    async fn run(self, key: Key, job: Arc<Job>) {
        let inner = &self.inner;
        let mut finish = Finish {
            inner,
            key,
            job: &job,
            outcome: Err(FetchError::Shutdown),
        };
        if let Some(outcome) = inner
            .cancel
            .run_until_cancelled(inner.work(key, &job))
            .await
        {
            finish.outcome = outcome;
        }
    }
}

/// Ends a job, also if its task dies, so that nobody waits for it for ever.
struct Finish<'a> {
    inner: &'a Inner,
    key: Key,
    job: &'a Job,
    outcome: Outcome,
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let counter = match &self.outcome {
            Ok(_) => &self.inner.metrics.fetches_completed,
            Err(_) => &self.inner.metrics.fetches_failed,
        };
        metrics::increment(counter);
        lock(&self.inner.jobs).remove(&self.key);
        self.job.outcome.send_replace(Some(self.outcome.clone()));
    }
}

impl Inner {
    async fn work(&self, (hash, len): Key, job: &Job) -> Outcome {
        let _active = self
            .active
            .acquire()
            .await
            .map_err(|_| FetchError::Shutdown)?;
        if self.store.len(&hash) == Some(len) {
            return Ok(FetchReport::default()); // Somebody brought it while we waited.
        }
        let store = self.store.clone();
        let mut partial = blocking(move || store.open_partial(hash, len)).await?;
        let mut attempt = Attempt {
            report: FetchReport {
                resumed_bytes: partial.verified_bytes(),
                ..Default::default()
            },
            failures: BTreeMap::new(),
            last_progress: Instant::now(),
        };
        let mut pause = ROUND_PAUSE_MIN;
        while !partial.is_complete() {
            let before = partial.verified_groups();
            partial = self.round(job, partial, &mut attempt).await?;
            if partial.is_complete() {
                break;
            }
            let candidates = self.candidates(job, &attempt);
            let waited = attempt.last_progress.elapsed();
            if candidates.is_empty() || waited >= self.limits.patience {
                return Err(attempt.exhausted(&partial));
            }
            pause = if partial.verified_groups() > before {
                ROUND_PAUSE_MIN
            } else {
                (pause * 2).min(ROUND_PAUSE_MAX)
            };
            sleep(pause).await;
        }
        blocking(move || partial.complete()).await?;
        Ok(attempt.report)
    }

    /// Asks each holder once for what is missing.
    async fn round(
        &self,
        job: &Job,
        mut partial: PartialBlob,
        attempt: &mut Attempt,
    ) -> Result<PartialBlob, FetchError> {
        let mut puller = Puller {
            control: self.control.clone(),
            protocol: self.protocol.clone(),
            stall_timeout: self.limits.stall_timeout,
            peers: &self.peers,
            metrics: &self.metrics,
        };
        for peer in self.candidates(job, attempt) {
            if partial.is_complete() {
                break;
            }
            let before = partial.verified_bytes();
            let (returned, result) = puller.pull(peer, partial).await;
            partial = match (returned, &result) {
                (Some(partial), _) => partial,
                (None, Err(PullError::Store(error))) => return Err(error.clone().into()),
                (None, _) => return Err(FetchError::Shutdown),
            };
            attempt.note_progress(peer, partial.verified_bytes().saturating_sub(before));
            match result {
                Ok(()) => {}
                Err(PullError::Store(error)) => return Err(error.into()),
                Err(PullError::Holder(failure)) => self.note_failure(peer, failure, attempt),
            }
        }
        Ok(partial)
    }

    /// Holders worth asking; those that lied lately come last.
    fn candidates(&self, job: &Job, attempt: &Attempt) -> Vec<PeerId> {
        let mut peers: Vec<_> = lock(&job.holders)
            .iter()
            .filter(|peer| {
                attempt
                    .failures
                    .get(*peer)
                    .is_none_or(HolderFailure::is_transient)
            })
            .copied()
            .collect();
        let mut faulty = lock(&self.faulty);
        faulty.retain(|_, since| since.elapsed() < FAULT_COOLDOWN);
        peers.sort_by_key(|peer| faulty.contains_key(peer));
        peers
    }

    fn note_failure(&self, peer: PeerId, failure: HolderFailure, attempt: &mut Attempt) {
        tracing::debug!(%peer, %failure, "holder did not deliver");
        if let HolderFailure::Fault(fault) = &failure {
            self.note_fault(fault);
            attempt.report.faults.push(PeerFault::clone(fault));
        }
        attempt.failures.insert(peer, failure);
    }

    fn note_fault(&self, fault: &PeerFault) {
        tracing::warn!(peer = %fault.peer, hash = %fault.hash, offset = fault.offset,
            kind = %fault.kind, "holder is faulty");
        metrics::increment(&self.metrics.blob_faults);
        let mut faulty = lock(&self.faulty);
        if faulty.len() < MAX_REMEMBERED_FAULTS {
            faulty.insert(fault.peer, Instant::now());
        }
        self.events.emit(Event::BlobFault(fault.clone()));
    }
}

/// What one job has seen so far.
struct Attempt {
    report: FetchReport,
    failures: BTreeMap<PeerId, HolderFailure>,
    last_progress: Instant,
}

impl Attempt {
    fn note_progress(&mut self, peer: PeerId, bytes: u64) {
        if bytes > 0 {
            self.last_progress = Instant::now();
            self.report.served.push((peer, bytes));
        }
    }

    fn exhausted(self, partial: &PartialBlob) -> FetchError {
        FetchError::Exhausted {
            hash: partial.hash(),
            len_bytes: partial.len(),
            verified_bytes: partial.verified_bytes(),
            failures: Arc::new(self.failures.into_iter().collect()),
        }
    }
}

impl Job {
    fn add_holders(&self, peers: Vec<PeerId>) {
        let mut holders = lock(&self.holders);
        for peer in peers {
            if holders.len() < MAX_HOLDERS && !holders.contains(&peer) {
                holders.push(peer);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| Err(StoreError::io("blocking task")(io::Error::other(panic))))
}
