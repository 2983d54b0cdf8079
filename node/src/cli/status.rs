//! `cifer status`: how nodes say they are.

use cifer_client::{ClientError, ErrorKind, StatusView};
use serde_json::json;

use super::client::ClientArgs;
use super::global::Global;
use super::output::{note, print, short, table};
use super::runtime::block_on;

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let answers = block_on(async { Ok(args.client.client(global)?.statuses().await) })?;
    if global.json {
        for (gateway, answer) in &answers {
            let line = match answer {
                Ok(status) => serde_json::to_value(status)?,
                Err(error) => json!({ "gateway": gateway, "error": error.to_string() }),
            };
            print(line)?;
        }
    } else {
        print(as_text(&answers).trim_end())?;
    }
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, a)| a.is_ok());
    // A lie outweighs what others say; an outage does not while somebody answers.
    let mut errors = bad.into_iter().filter_map(|(_, answer)| answer.err());
    let lie = |e: &ClientError| e.kind() == ErrorKind::Verification;
    let error = if good.is_empty() {
        errors.next()
    } else {
        errors.find(lie)
    };
    error.map_or(Ok(()), |error| Err(error.into()))
}

fn as_text(answers: &[(String, Result<StatusView, ClientError>)]) -> String {
    let mut rows = Vec::new();
    for (gateway, answer) in answers {
        match answer {
            Ok(status) => rows.push(row(status)),
            Err(error) => note(format_args!("{gateway}: {error}")),
        }
    }
    let header = [
        "node", "role", "height", "block", "state", "peers", "mempool", "rss", "health",
    ];
    let mut text = table(header, rows);
    for status in answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok())
    {
        for problem in &status.problems {
            text.push_str(&format!("{}: {problem}\n", status.node_name));
        }
    }
    text
}

fn row(status: &StatusView) -> [String; 9] {
    let health = match status {
        StatusView {
            safety_failure: true,
            ..
        } => "SAFETY FAILURE",
        StatusView { healthy: false, .. } => "unhealthy",
        StatusView { syncing: true, .. } => "syncing",
        _ => "ok",
    };
    [
        status.node_name.clone(),
        status.role.to_owned(),
        status.height.to_string(),
        short(status.block_hash),
        short(status.state_root),
        status.peers.to_string(),
        status.mempool_txs.to_string(),
        format!("{} MiB", status.rss_bytes / MIB),
        health.to_owned(),
    ]
}
