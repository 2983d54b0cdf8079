//! The client of a Cifer network: it trusts the genesis document and no gateway.
//!
//! - [`Gateways`]: addresses, TLS, failover. [`Client`]: everything asked through them.
//! - `query`, `model`, `submit`, `follow`: questions, model downloads, updates, events, each verified
//!   against [`Network`] as far as signatures reach.
//! - [`contribute`]: the contributor's loop.
//!
//! Invariants: a gateway that is caught lying is dropped and named; every operation ends within
//! [`GatewayOptions::give_up_after`] and one pass over the gateways; every answer has a bound.

mod client;
mod contributor;
mod draft;
mod error;
mod follow;
mod gateway;
mod model;
mod noise;
mod private;
mod query;
mod record;
mod submit;
mod trainer;
mod verify;
mod view;

pub use client::Client;
pub use contributor::{
    ContributorConfig, ContributorEvent, ContributorSummary, FinishReason, UpdateReport,
    UpdateResult, contribute,
};
pub use draft::UpdateSource;
pub use error::{ClientError, ErrorKind, Fault, Refusal};
pub use follow::{
    ChainEvent, ChainEventKind, EventStream, Followed, OpenRound, RoundFollower,
    RoundTransitionView,
};
pub use gateway::{Gateway, GatewayOptions, Gateways, MAX_GATEWAYS, TlsFiles};
pub use model::{CurrentModel, ModelBytes, ModelSelector, ModelTarget, VerifiedModel};
pub use noise::{Cost, TaskNoise, epsilon_text};
pub use query::{
    BlockSelector, BlockView, ContributorView, ManifestView, PhaseView, ProofKey, ProofView,
    RejectionView, RoundSummaryView, RoundView, RuleView, StatusView, TaskView, TensorView,
    TxSummaryView, TxView, UpdateView, ValidatorView, ValidatorsView,
};
pub use submit::{CurrentRound, OutcomeView, Payload, Standing, Submission};
pub use trainer::{TrainedUpdate, Trainer, TrainerConfig};
pub use verify::Network;
