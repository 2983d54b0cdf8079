//! `cifer query`: questions to nodes. Answers are verified against genesis where a signature or proof
//! reaches, and say whether they were.

mod block;
mod contributor;
mod model;
mod proof;
mod round;
mod tasks;
mod tx;
mod validators;

use std::future::Future;

use cifer_client::Client;

use super::client::ClientArgs;
use super::global::Global;
use super::runtime::block_on;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// A block, the newest by default
    Block(block::Args),
    /// A committed transaction
    Tx(tx::Args),
    /// A training round with its updates
    Round(round::OneArgs),
    /// The newest training rounds
    Rounds(round::ManyArgs),
    /// The tasks of the network
    Tasks(tasks::Args),
    /// The validators
    Validators(validators::Args),
    /// A contributor
    Contributor(contributor::Args),
    /// What a model is made of; checks or downloads its bytes
    Model(model::Args),
    /// An entry of the state with a proof
    Proof(proof::Args),
}

pub(crate) fn run(global: &Global, command: Command) -> eyre::Result<()> {
    match command {
        Command::Block(args) => block::run(global, args),
        Command::Tx(args) => tx::run(global, args),
        Command::Round(args) => round::run_one(global, args),
        Command::Rounds(args) => round::run_many(global, args),
        Command::Tasks(args) => tasks::run(global, args),
        Command::Validators(args) => validators::run(global, args),
        Command::Contributor(args) => contributor::run(global, args),
        Command::Model(args) => model::run(global, args),
        Command::Proof(args) => proof::run(global, args),
    }
}

/// Asks one question.
fn ask<T, F>(
    global: &Global,
    client: &ClientArgs,
    question: impl FnOnce(Client) -> F,
) -> eyre::Result<T>
where
    F: Future<Output = eyre::Result<T>>,
{
    block_on(async { question(client.client(global)?).await })
}
