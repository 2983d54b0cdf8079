//! A contributor's update before it is signed: where it comes from, and what it takes to have it.
//!
//! Invariants: training starts from a model that is proven; of a private task nothing leaves here in the clear, and
//! what will be signed says nothing of the training.

use std::{path::PathBuf, sync::Arc, time::Instant};

use cifer_aggregation::Attack;
use cifer_chain::{BlobHash, ContributorId, Metrics, PayloadEncoding, RoundId};
use cifer_genesis::document::Task;

use crate::{
    client::Client,
    error::ClientError,
    follow::{OpenRound, RoundFollower},
    model::ModelTarget,
    private::{self, Sealed},
    submit::Payload,
    trainer::{Trainer, TrainerConfig},
};

/// Where updates come from.
#[derive(Debug, Clone, PartialEq)]
pub enum UpdateSource {
    /// Training.
    Train(Box<TrainerConfig>),
    /// These bytes, sent as they are in every round.
    File {
        /// The payload.
        path: PathBuf,
        /// Samples to report.
        samples: u64,
    },
}

impl UpdateSource {
    /// Honest training of one shard.
    #[must_use]
    pub fn honest(spec: cifer_training::TaskSpec, index: usize) -> Self {
        Self::Train(Box::new(TrainerConfig {
            spec,
            index,
            attack: Attack::None,
            byzantine: 0,
        }))
    }
}

/// Where updates come from, ready for use.
#[derive(Clone)]
pub(crate) enum Source {
    Train(Arc<Trainer>),
    File { path: PathBuf, samples: u64 },
}

/// An update before it is signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) payload: Payload,
    pub(crate) hash: BlobHash,
    pub(crate) bytes: u64,
    pub(crate) encoding: PayloadEncoding,
    /// Samples trained on; reported to whoever runs the contributor.
    pub(crate) samples: u64,
    /// Samples as they are signed.
    pub(crate) weight: u64,
    /// Metrics as they are signed.
    pub(crate) metrics: Metrics,
    pub(crate) loss: Option<f64>,
    pub(crate) accuracy: Option<f64>,
}

impl Draft {
    /// The same encrypted: what is signed says nothing of the training any more.
    fn sealed(self, sealed: Sealed) -> Self {
        Self {
            payload: sealed.payload,
            hash: sealed.hash,
            bytes: sealed.bytes,
            encoding: sealed.encoding,
            weight: 1,
            metrics: Metrics::default(),
            ..self
        }
    }
}

/// An update with what it took.
#[derive(Clone)]
pub(crate) struct Drafted {
    pub(crate) draft: Draft,
    pub(crate) download_ms: f64,
    pub(crate) train_ms: f64,
}

impl Source {
    pub(crate) async fn new(source: UpdateSource, task: Task) -> Result<Self, ClientError> {
        match source {
            UpdateSource::File { path, samples } => Ok(Self::File { path, samples }),
            UpdateSource::Train(config) => {
                let trainer = blocking("loading the data", move || Trainer::new(*config, &task));
                Ok(Self::Train(Arc::new(trainer.await??)))
            }
        }
    }

    /// The verified model as parameters; nothing when no training needs them.
    fn base<'a>(
        &self,
        client: &'a Client,
        round: &'a OpenRound,
    ) -> impl Future<Output = Result<Vec<f32>, ClientError>> + Send + use<'a> {
        let trains = matches!(self, Self::Train(_));
        async move {
            if trains {
                return client
                    .fetch_base(round, ModelTarget::Memory)
                    .await?
                    .parameters();
            }
            client.prove_base(round).await?;
            Ok(Vec::new())
        }
    }

    /// Trains, or takes the file.
    async fn draft(self, round: RoundId, base: Vec<f32>) -> Result<Draft, ClientError> {
        match self {
            Self::Train(trainer) => {
                let work = move || {
                    let trained = trainer.update(round, &base)?;
                    let payload = Payload::Memory(trained.payload.clone());
                    let digest = payload.digest()?;
                    Ok::<_, ClientError>((trained, payload, digest))
                };
                let (trained, payload, (hash, bytes)) = blocking("training", work).await??;
                Ok(Draft {
                    payload,
                    hash,
                    bytes,
                    encoding: PayloadEncoding::DeltaF32,
                    samples: trained.samples,
                    weight: trained.samples,
                    metrics: trained.metrics(),
                    loss: Some(trained.loss),
                    accuracy: Some(trained.accuracy),
                })
            }
            Self::File { path, samples } => {
                let payload = Payload::File(path);
                let hashed = payload.clone();
                let digest = blocking("hashing the payload", move || hashed.digest());
                let (hash, bytes) = digest.await??;
                let metrics = Metrics::default();
                Ok(Draft {
                    payload,
                    hash,
                    bytes,
                    encoding: PayloadEncoding::DeltaF32,
                    samples,
                    weight: samples,
                    metrics,
                    loss: None,
                    accuracy: None,
                })
            }
        }
    }

    /// The update of a round: fetches the model, trains, and encrypts where the task asks for it. The inner error says why this round gets no update.
    pub(crate) async fn update(
        self,
        client: &Client,
        contributor: ContributorId,
        round: &OpenRound,
        follower: &mut RoundFollower,
    ) -> Result<Result<Drafted, String>, ClientError> {
        let started = Instant::now();
        let base = tokio::select! {
            closed = follower.closed(round.round) => {
                closed?;
                return Ok(Err("the round closed before its model was here".to_owned()));
            }
            base = self.base(client, round) => base?,
        };
        let download_ms = milliseconds(started);

        let started = Instant::now();
        let mut drafting = std::pin::pin!(self.draft(round.round, base));
        let drafted = tokio::select! {
            drafted = &mut drafting => Some(drafted),
            closed = follower.closed(round.round) => {
                closed?;
                None
            }
        };
        let Some(drafted) = drafted else {
            // Training cannot be stopped half-way, and two at a time would slow down both.
            let _ = drafting.await;
            return Ok(Err("the round closed while training".to_owned()));
        };
        let draft = match drafted {
            Ok(draft) => draft,
            Err(ClientError::Training(error @ cifer_training::TrainingError::Diverged { .. })) => {
                return Ok(Err(error.to_string()));
            }
            Err(error) => return Err(error),
        };
        let train_ms = milliseconds(started);

        let draft = if client.trusted()?.task(round.task)?.privacy.is_some() {
            let sealing = private::encrypt(client, round, contributor, draft.payload.clone());
            let sealed = tokio::select! {
                closed = follower.closed(round.round) => {
                    closed?;
                    Err("the round closed before its update was encrypted".to_owned())
                }
                sealed = sealing => sealed?,
            };
            match sealed {
                Ok(sealed) => draft.sealed(sealed),
                Err(reason) => return Ok(Err(reason)),
            }
        } else {
            draft
        };
        Ok(Ok(Drafted {
            draft,
            download_ms,
            train_ms,
        }))
    }
}

async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ClientError::Internal(what))
}

/// Milliseconds since `start`, to the microsecond.
pub(crate) fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_micros() as f64 / 1e3
}
