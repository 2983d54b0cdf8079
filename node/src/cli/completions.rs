//! `cifer completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::output::write_all;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run<C: CommandFactory>(args: Args) -> eyre::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "cifer", &mut script);
    write_all(&script)
}
