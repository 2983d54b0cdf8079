//! `cifer query contributor`.

use cifer_chain::ContributorId;
use cifer_client::ContributorView;

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, show, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Public key of the contributor
    public_key: ContributorId,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let id = args.public_key;
    let view = super::ask(global, &args.client, |c| async move {
        Ok(c.contributor(id).await?)
    })?;
    show(global.json, &view, as_text)
}

fn as_text(view: &ContributorView) -> String {
    fields([
        ("contributor", view.contributor.to_string()),
        ("name", view.name.clone()),
        (
            "registered",
            format!("at height {}", view.registered_height),
        ),
        ("accepted", view.accepted.to_string()),
        ("rejected", view.rejected.to_string()),
        ("faults", view.faults.to_string()),
        // `query proof contributor` is the one that can be verified.
        ("answer", format!("{} ({})", trust(false), view.gateway)),
    ])
}
