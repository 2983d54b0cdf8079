//! The command line: one file a command. Commands parse, call the library and print; results go to
//! standard output, everything else to standard error.

mod aggregate;
mod client;
mod completions;
mod config;
mod contribute;
mod devnet;
#[cfg(feature = "fhe")]
mod fhe;
#[cfg(not(feature = "fhe"))]
#[path = "fhe/absent.rs"]
mod fhe;
mod genesis;
mod global;
mod init;
mod keys;
mod lab;
mod outcome;
mod output;
mod query;
mod runtime;
mod start;
mod status;
mod task;
mod testnet;
mod verify;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use global::Global;

/// A node for decentralized federated learning.
#[derive(Debug, Parser)]
#[command(
    name = "cifer",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration, genesis, key or \
                  data refused, 4 nobody reachable, 5 verification failed."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

// One is made a process.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a home folder: settings, a key and, if given, the genesis document
    Init(init::Args),
    /// Make and show keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make and check genesis documents
    #[command(subcommand)]
    Genesis(genesis::Command),
    /// Generate the home folders of a whole network
    #[command(subcommand)]
    Testnet(testnet::Command),
    /// Run the node of a home folder: validator, observer or contributor
    Start(start::Args),
    /// Train, and send updates through any nodes of the network
    Contribute(contribute::Args),
    /// Run a whole network on this machine and show it learn
    Devnet(devnet::Args),
    /// Train under attack in this process: pipelines, attacks and heterogeneity against each other
    Lab(lab::Args),
    /// Run a pipeline on files, by the code that the validators run
    Aggregate(aggregate::Args),
    /// Ask nodes how they are
    Status(status::Args),
    /// Ask nodes about blocks, rounds, models and proofs
    #[command(subcommand)]
    Query(query::Command),
    /// Replay the ledger of a home folder from genesis and check everything in it
    Verify(verify::Args),
    /// Compute on encrypted numbers in files
    #[cfg(feature = "fhe")]
    #[command(subcommand)]
    Fhe(fhe::Command),
    /// Compute on encrypted numbers in files (not in this binary: build it with --features fhe)
    #[cfg(not(feature = "fhe"))]
    Fhe(fhe::Args),
    /// Show the settings in force
    #[command(subcommand)]
    Config(config::Command),
    /// Print completions for a shell
    Completions(completions::Args),
    /// Print version, commit, compiler and consensus engine
    Version,
}

/// Parses the command line, runs the command, and says how it ended.
pub(crate) fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    outcome::report(run(&global, command)).into()
}

fn run(global: &Global, command: Command) -> eyre::Result<()> {
    match command {
        Command::Init(args) => init::run(global, args),
        Command::Keys(command) => keys::run(global, command),
        Command::Genesis(command) => genesis::run(global, command),
        Command::Testnet(command) => testnet::run(global, command),
        Command::Start(args) => start::run(global, args),
        Command::Contribute(args) => contribute::run(global, args),
        Command::Devnet(args) => devnet::run(global, args),
        Command::Lab(args) => lab::run(global, args),
        Command::Aggregate(args) => aggregate::run(global, args),
        Command::Status(args) => status::run(global, args),
        Command::Query(command) => query::run(global, command),
        Command::Verify(args) => verify::run(global, args),
        #[cfg(feature = "fhe")]
        Command::Fhe(command) => fhe::run(global, command),
        #[cfg(not(feature = "fhe"))]
        Command::Fhe(args) => fhe::run(args),
        Command::Config(command) => config::run(global, command),
        Command::Completions(args) => completions::run::<Cli>(args),
        Command::Version => version::run(global),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
