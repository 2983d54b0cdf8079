//! `cifer query proof`: an entry of the state, proven by a Merkle path and a commit certificate.

use std::str::FromStr;

use cifer_chain::{ContributorId, RoundId, TaskId, ValidatorId};
use cifer_client::{ProofKey, ProofView};

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, show, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    key: Key,
}

#[derive(Debug, clap::Subcommand)]
enum Key {
    /// A contributor's entry
    Contributor {
        /// Its public key
        public_key: ContributorId,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// A validator's proven faults
    Validator {
        /// Its public key
        public_key: ValidatorId,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// A task's entry: its round and model
    Task {
        /// Id of the task
        task: TaskId,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// The record of a finished round
    Round {
        /// Id of the task
        task: TaskId,
        /// The round
        round: RoundId,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Any entry, by the ledger's own key
    Raw {
        /// The key in hex
        key: HexBytes,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Debug, Clone)]
struct HexBytes(Vec<u8>);

impl FromStr for HexBytes {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text).map(Self)
    }
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let (key, client) = match args.key {
        Key::Contributor { public_key, client } => (ProofKey::Contributor(public_key), client),
        Key::Validator { public_key, client } => (ProofKey::Validator(public_key), client),
        Key::Task { task, client } => (ProofKey::Task(task), client),
        Key::Round {
            task,
            round,
            client,
        } => (ProofKey::Round(task, round), client),
        Key::Raw {
            key: HexBytes(bytes),
            client,
        } => (ProofKey::Raw(bytes), client),
    };
    let proof = super::ask(global, &client, |c| async move { Ok(c.proof(&key).await?) })?;
    show(global.json, &proof, as_text)
}

fn as_text(proof: &ProofView) -> String {
    let value = match &proof.value {
        Some(value) => hex::encode(value),
        None => "none: the state has no such entry".to_owned(),
    };
    fields([
        ("key", hex::encode(&proof.key)),
        ("value", value),
        ("height", proof.height.to_string()),
        ("block", proof.block_hash.to_string()),
        ("state root", proof.state_root.to_string()),
        ("proof", format!("{} bytes", proof.proof.len())),
        (
            "answer",
            format!("{} ({})", trust(proof.verified), proof.gateway),
        ),
    ])
}
