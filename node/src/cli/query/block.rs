//! `cifer query block`.

use std::str::FromStr;

use cifer_chain::{BlockHash, Height};
use cifer_client::{BlockSelector, BlockView};

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{fields, or_dash, show, table, time, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Height or hash of the block; the newest by default
    #[arg(value_name = "HEIGHT|HASH", default_value = "latest")]
    block: Selector,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Clone, Copy)]
struct Selector(BlockSelector);

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self(BlockSelector::Latest));
        }
        if let Ok(height) = text.parse::<Height>() {
            return Ok(Self(BlockSelector::Height(height)));
        }
        let hash = text
            .parse::<BlockHash>()
            .map_err(|error| format!("neither `latest` nor a height nor a hash ({error})"))?;
        Ok(Self(BlockSelector::Hash(hash)))
    }
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let Selector(selector) = args.block;
    let block = super::ask(global, &args.client, |c| async move {
        Ok(c.block(selector).await?)
    })?;
    show(global.json, &block, as_text)
}

fn as_text(block: &BlockView) -> String {
    let mut text = fields([
        ("height", block.height.to_string()),
        ("hash", block.hash.to_string()),
        ("parent", block.parent.to_string()),
        ("time", time(block.time_ms)),
        ("proposer", block.proposer.to_string()),
        ("state root", block.state_root.to_string()),
        (
            "decided in",
            format!("consensus round {}", block.consensus_round),
        ),
        ("signed by", format!("{} validators", block.signers.len())),
        (
            "answer",
            format!("{} ({})", trust(block.verified), block.gateway),
        ),
    ]);
    if !block.transactions.is_empty() {
        text.push('\n');
        let rows = block.transactions.iter().map(|tx| {
            [
                tx.kind.to_owned(),
                or_dash(tx.task),
                or_dash(tx.round),
                tx.size_bytes.to_string(),
                tx.hash.to_string(),
            ]
        });
        text.push_str(&table(
            ["transaction", "task", "round", "bytes", "hash"],
            rows,
        ));
    }
    text
}
