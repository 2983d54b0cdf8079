//! Does robust aggregation protect a model? Attacks, pipelines and heterogeneity against each other,
//! in one process, on the trainers and the rules that the network runs.
//!
//! A [`Cell`] is one training: who holds what, who attacks how, what the validators run. It is
//! reproducible from its fields alone, for one build on one machine. A [`Matrix`] makes cells; [`run`]
//! trains those that the [`Store`], a file of finished cells, does not have, and returns all of them;
//! [`report`] writes those as CSV, Markdown and heat maps.
//!
//! The loop is distributed SGD with momentum at the workers, as in ByzFL's benchmark (González et al.,
//! "ByzFL: Research Framework for Robust Federated Learning", 2025): each round every honest
//! contributor sends the exponential average of its minibatch gradients, the attackers see all of
//! them and answer, the validators aggregate, and the model takes one step. [`History`] is what
//! validators can do in addition because the ledger remembers every contributor's updates.

mod attack;
mod cell;
mod error;
mod history;
mod matrix;
mod options;
pub mod report;
mod run;
mod simulate;
mod store;

pub use attack::AttackSpec;
pub use cell::{Cell, Outcome, Training};
pub use error::LabError;
pub use history::History;
pub use matrix::Matrix;
pub use options::Options;
pub use run::{Progress, RunOptions, run};
pub use simulate::{Data, simulate};
pub use store::{Finished, Store};
