//! `cifer fhe` in a binary that was built without it.

use cifer_node::error::{Exit, Failure};

/// Anything, so that the answer is not "unexpected argument".
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _ignored: Vec<String>,
}

pub(crate) fn run(_: Args) -> eyre::Result<()> {
    let text = "this binary was built without encrypted computation";
    let next = "cargo build --features fhe --bin cifer (some more minutes, for the tfhe crate)";
    Err(Failure::new(Exit::Usage, text, next).into())
}
