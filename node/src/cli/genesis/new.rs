//! `cifer genesis new`: a document for people who exchange public keys, each keeping their own secret.

use std::path::PathBuf;
use std::str::FromStr;

use cifer_genesis::document::{NamedKey, Validator};
use cifer_genesis::{GenesisBuilder, PublicKey, VotingPower};
use cifer_node::files::{Access, write_new};
use cifer_node::testnet::build_task;
use serde_json::json;

use super::super::global::Global;
use super::super::init::io_error;
use super::super::output::{fields, print, show};
use super::super::task::TaskArgs;
use super::super::testnet::now;

/// Port of the consensus engine where none is given; the data plane takes the next one.
const DEFAULT_PORT: u16 = 26_650;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the network
    #[arg(long, value_name = "ID")]
    chain_id: String,
    /// A seat: NAME=PUBLIC_KEY@HOST, with :PORT for another port than 26650 and /POWER for another
    /// power than 1; the data plane takes the next port
    #[arg(long, value_name = "SEAT", required = true)]
    validator: Vec<Seat>,
    /// A contributor: NAME=PUBLIC_KEY
    #[arg(long, value_name = "NAME=KEY")]
    contributor: Vec<Contributor>,
    /// Let others register, too
    #[arg(long)]
    open_registration: bool,
    /// Refuse peers without a seat
    #[arg(long)]
    no_observers: bool,
    /// Where to write the document [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to write the bytes of the initial model, which the nodes need
    #[arg(long, value_name = "FILE")]
    model_output: Option<PathBuf>,
    #[command(flatten)]
    task: TaskArgs,
}

/// `NAME=PUBLIC_KEY@HOST[:PORT][/POWER]`; an IPv6 address in brackets.
#[derive(Debug, Clone)]
struct Seat(Validator);

impl FromStr for Seat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || "expected NAME=PUBLIC_KEY@HOST, with :PORT and /POWER if needed".to_owned();
        let (name, rest) = text.split_once('=').ok_or_else(shape)?;
        let (key, rest) = rest.split_once('@').ok_or_else(shape)?;
        let (address, power) = match rest.split_once('/') {
            Some((address, power)) => (
                address,
                power
                    .parse()
                    .map_err(|_| format!("power {power:?} is no number"))?,
            ),
            None => (rest, 1),
        };
        let (host, port) = split_port(address)?;
        let data_port = port
            .checked_add(1)
            .ok_or("port 65535 leaves none for the data plane")?;
        let key: PublicKey = key.parse().map_err(|error| format!("{error}"))?;
        let seat = Validator::on_host(name, key, host, port, data_port);
        Ok(Self(Validator {
            power: VotingPower(power),
            ..seat
        }))
    }
}

fn split_port(address: &str) -> Result<(&str, u16), String> {
    let port = |text: &str| text.parse().map_err(|_| format!("port {text:?} is none"));
    if let Some(rest) = address.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        return match rest.strip_prefix(':') {
            Some(text) => Ok((host, port(text)?)),
            None => Ok((host, DEFAULT_PORT)),
        };
    }
    match address.split_once(':') {
        Some((host, text)) => Ok((host, port(text)?)),
        None => Ok((address, DEFAULT_PORT)),
    }
}

/// `NAME=PUBLIC_KEY`.
#[derive(Debug, Clone)]
struct Contributor(NamedKey);

impl FromStr for Contributor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, key) = text.split_once('=').ok_or("expected NAME=PUBLIC_KEY")?;
        let public_key = key.parse().map_err(|error| format!("{error}"))?;
        Ok(Self(NamedKey {
            name: name.to_owned(),
            public_key,
        }))
    }
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let built = build_task(&args.task.into_options(), args.contributor.len())?;
    let genesis = GenesisBuilder::new(args.chain_id, now())
        .validators(args.validator.into_iter().map(|seat| seat.0))
        .contributors(
            args.contributor
                .into_iter()
                .map(|contributor| contributor.0),
        )
        .open_registration(args.open_registration)
        .allow_observers(!args.no_observers)
        .task(built.task)
        .build()?;
    let document = genesis.to_toml()?;
    if let Some(path) = &args.model_output {
        write_new(path, &built.model, Access::Public).map_err(io_error("write", path))?;
    }
    let Some(path) = &args.output else {
        return print(document.trim_end());
    };
    write_new(path, document.as_bytes(), Access::Public).map_err(io_error("write", path))?;
    let hash = genesis.hash();
    let result = json!({ "file": path, "chain_id": genesis.chain_id, "genesis_hash": hash });
    show(global.json, &result, |_| {
        fields([
            ("file", path.display().to_string()),
            ("network", genesis.chain_id.clone()),
            ("hash", hash.to_string()),
            (
                "next",
                "send the file to everybody; all compare the hash".to_owned(),
            ),
        ])
    })
}
