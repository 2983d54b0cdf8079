//! `cifer start`: runs the node of a home folder.

use cifer_node::config::Role;

use super::contribute;
use super::global::{Flags, Global};
use super::runtime::{Workers, run_until_stopped};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop when standard input ends, so that the node does not outlive the program that started it
    #[arg(long)]
    exit_with_stdin: bool,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let home = global.home()?;
    home.require_initialised()?;
    let config = global.load(&home, Flags::new())?;
    let workers = match config.role {
        Role::Contributor => Workers::One,
        Role::Validator | Role::Observer => Workers::PerCore,
    };
    run_until_stopped(args.exit_with_stdin, workers, |stop| async move {
        match config.role {
            Role::Contributor => contribute::run_home(&home, config, global.json, stop).await,
            Role::Validator | Role::Observer => cifer_node::run::run(home, config, stop).await,
        }
    })
}
