//! `cifer testnet generate`: home folders for every node of a network.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use cifer_genesis::TimestampMs;
use cifer_node::testnet::{self, Generated, Options};
use serde_json::json;

use super::global::Global;
use super::output::{show, table};
use super::task::TaskArgs;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make genesis, keys and a startable home folder for each node
    Generate(Box<Args>),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to make; it must not exist or be empty
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Nodes with a seat
    #[arg(long, value_name = "N", default_value_t = 4)]
    validators: usize,
    /// Nodes without a seat
    #[arg(long, value_name = "K", default_value_t = 0)]
    observers: usize,
    /// Registered contributors
    #[arg(long, value_name = "M", default_value_t = 10)]
    contributors: usize,
    /// Let others register, too
    #[arg(long)]
    open_registration: bool,
    /// Name of the network
    #[arg(long, value_name = "ID", default_value = "testnet")]
    chain_id: String,
    /// A host for each validator, then for each observer [default: all on this machine]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    hosts: Vec<String>,
    /// First port of a host's first node; further nodes take ports 10 higher
    #[arg(long, value_name = "PORT", default_value_t = 26_650)]
    base_port: u16,
    /// Take ports that are free on this machine now
    #[arg(long, conflicts_with = "base_port")]
    free_ports: bool,
    /// Longest time without a block, in milliseconds
    #[arg(long, value_name = "MS")]
    heartbeat_ms: Option<u64>,
    /// Shortest time between two blocks, in milliseconds
    #[arg(long, value_name = "MS")]
    min_block_interval_ms: Option<u64>,
    #[command(flatten)]
    task: TaskArgs,
}

pub(crate) fn run(global: &Global, command: Command) -> eyre::Result<()> {
    let Command::Generate(args) = command;
    global.log_without_settings();
    let options = Options {
        output: args.output,
        chain_id: args.chain_id,
        validators: args.validators,
        observers: args.observers,
        contributors: args.contributors,
        open_registration: args.open_registration,
        hosts: args.hosts,
        base_port: args.base_port,
        free_ports: args.free_ports,
        heartbeat_ms: args.heartbeat_ms,
        min_block_interval_ms: args.min_block_interval_ms,
        task: args.task.into_options(),
    };
    let generated = testnet::generate(&options, now())?;
    let result = as_json(&generated, &options);
    show(global.json, &result, |_| as_text(&generated, &options))
}

/// Milliseconds since the Unix epoch, for a new network's time of genesis.
pub(crate) fn now() -> TimestampMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TimestampMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn as_json(generated: &Generated, options: &Options) -> serde_json::Value {
    let nodes: Vec<_> = generated
        .nodes
        .iter()
        .map(|node| {
            json!({
                "name": node.name, "role": node.role.to_string(), "home": node.home,
                "host": node.addresses.host,
                "consensus_port": node.addresses.consensus_port,
                "data_port": node.addresses.data_port,
                "grpc": node.addresses.grpc, "http": node.addresses.http,
            })
        })
        .collect();
    json!({
        "chain_id": generated.genesis.chain_id, "genesis_hash": generated.hash,
        "genesis": options.output.join("genesis.toml"), "nodes": nodes,
        "contributor_keys": generated.contributor_keys,
    })
}

fn as_text(generated: &Generated, options: &Options) -> String {
    let nodes = table(
        ["node", "host", "consensus", "data", "grpc", "http"],
        generated.nodes.iter().map(|node| {
            let at = &node.addresses;
            [
                node.name.clone(),
                at.host.clone(),
                at.consensus_port.to_string(),
                at.data_port.to_string(),
                at.grpc.to_string(),
                at.http.to_string(),
            ]
        }),
    );
    let folder = options.output.display();
    format!(
        "network {} with genesis {}\n\n{nodes}\n{} contributor keys in {folder}\n\
         start each node:  cifer start --home {folder}/<node>\n",
        generated.genesis.chain_id,
        generated.hash,
        generated.contributor_keys.len(),
    )
}
