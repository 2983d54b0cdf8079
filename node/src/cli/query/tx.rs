//! `cifer query tx`.

use cifer_chain::TxHash;
use cifer_client::TxView;

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, or_dash, show, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Hash of the transaction
    hash: TxHash,
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let hash = args.hash;
    let tx = super::ask(
        global,
        &args.client,
        |c| async move { Ok(c.tx(hash).await?) },
    )?;
    show(global.json, &tx, as_text)
}

fn as_text(tx: &TxView) -> String {
    let summary = &tx.summary;
    fields([
        ("hash", summary.hash.to_string()),
        ("kind", summary.kind.to_owned()),
        ("block", format!("{}, transaction {}", tx.height, tx.index)),
        ("task", or_dash(summary.task)),
        ("round", or_dash(summary.round)),
        ("about", or_dash(summary.subject.as_ref())),
        ("bytes", summary.size_bytes.to_string()),
        ("content", tx.content.clone()),
        ("answer", format!("{} ({})", trust(tx.verified), tx.gateway)),
    ])
}
