//! `cifer genesis`: makes, checks and shows genesis documents.

mod new;
mod noise;

use std::path::PathBuf;

use cifer_genesis::Genesis;
use serde_json::json;

use super::global::Global;
use super::output::{fields, print, show, table, time};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a document from keys and numbers
    New(Box<new::Args>),
    /// Check a document; prints all problems that it has
    Validate(File),
    /// Print the hash that names the network
    Hash(File),
    /// Show a document in brief, or all of it with --toml or --json
    Show {
        #[command(flatten)]
        file: File,
        /// Print the document itself
        #[arg(long)]
        toml: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct File {
    /// The document [default: genesis.toml of the home folder]
    file: Option<PathBuf>,
}

impl File {
    fn load(self, global: &Global) -> eyre::Result<Genesis> {
        let path = match self.file {
            Some(path) => path,
            None => global.home()?.genesis_path(),
        };
        Ok(Genesis::load(&path)?)
    }
}

pub(crate) fn run(global: &Global, command: Command) -> eyre::Result<()> {
    match command {
        Command::New(args) => new::run(global, *args),
        Command::Validate(file) => validate(global, &file.load(global)?),
        Command::Hash(file) => {
            let hash = file.load(global)?.hash();
            show(global.json, &json!({ "genesis_hash": hash }), |_| {
                hash.to_string()
            })
        }
        Command::Show { file, toml } => {
            let genesis = file.load(global)?;
            match toml {
                true => print(genesis.to_toml()?.trim_end()),
                false => {
                    let noise = noise::in_brief(&genesis)?;
                    show(global.json, &genesis, |genesis| in_brief(genesis) + &noise)
                }
            }
        }
    }
}

fn validate(global: &Global, genesis: &Genesis) -> eyre::Result<()> {
    let result = json!({
        "valid": true, "chain_id": genesis.chain_id, "genesis_hash": genesis.hash(),
        "validators": genesis.validators.len(), "tasks": genesis.tasks.len(),
        "contributors": genesis.contributors.allowed.len(), "noise": noise::as_json(genesis)?,
    });
    let noise = noise::in_brief(genesis)?;
    show(global.json, &result, |_| {
        format!(
            "valid: network {}, genesis hash {}\n{noise}",
            genesis.chain_id,
            genesis.hash()
        )
    })
}

fn in_brief(genesis: &Genesis) -> String {
    let contributors = match genesis.contributors.open_registration {
        true => format!(
            "{} listed, others may register",
            genesis.contributors.allowed.len()
        ),
        false => format!("{} listed, no others", genesis.contributors.allowed.len()),
    };
    let mut text = fields([
        ("network", genesis.chain_id.clone()),
        ("hash", genesis.hash().to_string()),
        ("time", time(genesis.time_ms)),
        (
            "observers",
            if genesis.allow_observers {
                "let in"
            } else {
                "refused"
            }
            .to_owned(),
        ),
        ("contributors", contributors),
    ]);
    text.push('\n');
    text.push_str(&table(
        ["validator", "power", "public key", "consensus address"],
        genesis.validators.iter().map(|validator| {
            [
                validator.name.clone(),
                validator.power.to_string(),
                validator.public_key.to_string(),
                validator.consensus_address.clone(),
            ]
        }),
    ));
    text.push('\n');
    text.push_str(&table(
        [
            "task",
            "name",
            "rule",
            "updates",
            "deadline",
            "rounds",
            "model bytes",
            "initial model",
        ],
        genesis.tasks.iter().map(|task| {
            let rounds = &task.rounds;
            [
                task.id.to_string(),
                task.name.clone(),
                task.rule.to_string(),
                format!("{}..{}", rounds.min_updates, rounds.max_updates),
                format!("{} ms", rounds.deadline_ms),
                match rounds.max_rounds {
                    0 => "for ever".to_owned(),
                    n => n.to_string(),
                },
                task.payload_bytes().to_string(),
                task.initial_model.to_string(),
            ]
        }),
    ));
    text
}
