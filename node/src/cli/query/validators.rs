//! `cifer query validators`.

use cifer_client::ValidatorsView;

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, show, table, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let validators = super::ask(global, &args.client, |c| async move {
        Ok(c.validators().await?)
    })?;
    show(global.json, &validators, as_text)
}

fn as_text(view: &ValidatorsView) -> String {
    let rows = view.validators.iter().map(|validator| {
        [
            validator.name.clone(),
            validator.power.to_string(),
            if validator.connected { "yes" } else { "no" }.to_owned(),
            validator.faults.to_string(),
            validator.id.to_string(),
        ]
    });
    let mut text = table(
        ["validator", "power", "connected", "faults", "public key"],
        rows,
    );
    text.push('\n');
    text.push_str(&fields([
        ("total power", view.total_power.to_string()),
        ("height", view.height.to_string()),
        (
            "answer",
            format!(
                "keys and powers {} ({})",
                trust(view.verified),
                view.gateway
            ),
        ),
    ]));
    text
}
