//! `cifer verify`: replays a ledger from genesis and checks every signature, certificate and root.

use std::io::IsTerminal;
use std::path::PathBuf;

use cifer_chain::{Height, Store, verify_chain};
use cifer_dataplane::BlobStore;
use cifer_genesis::Genesis;
use cifer_node::core::{Reopened, reopen_private_rounds};
use cifer_node::error::{Exit, Failure};
use cifer_store::RocksStore;
use serde_json::json;

use super::global::Global;
use super::output::{fields, note, show};

/// Heights between two lines of progress.
const PROGRESS: u64 = 1_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Genesis document to verify against [default: the one of the home folder]
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let home = global.home()?;
    home.require_initialised()?;
    global.load_quietly(&home)?;
    // The store belongs to one process at a time, and a ledger that grows cannot be verified whole.
    let _lock = home.lock()?;
    let genesis = Genesis::load(&args.genesis.unwrap_or_else(|| home.genesis_path()))?;
    let data = home.data_dir();
    if !data.is_dir() {
        let next = "start the node first: `cifer start`";
        let text = format!("{} does not exist: there is no ledger yet", data.display());
        return Err(Failure::new(Exit::Failure, text, next).into());
    }
    let store = RocksStore::open(&data, &genesis)?;
    let tip = store.state().height;
    let progress = std::io::stderr().is_terminal();
    let report = verify_chain(&store, &genesis, |Height(height)| {
        if progress && height % PROGRESS == 0 {
            note(format_args!("verified {height} of {tip}"));
        }
    })?;
    // Whoever holds the payloads can open the groups again.
    let private = if genesis.tasks.iter().any(|task| task.privacy.is_some()) {
        let blobs = BlobStore::open(home.blobs_dir(), u64::MAX)?;
        reopen_private_rounds(&store, &genesis, &blobs, &data)?
    } else {
        Reopened::default()
    };
    let result = json!({
        "verified": true, "chain_id": genesis.chain_id, "genesis_hash": report.genesis_hash,
        "height": report.height, "state_root": report.state_root,
        "transactions": report.transactions, "rounds_finalised": report.rounds_finalised,
        "rounds_aborted": report.rounds_aborted,
        "private_rounds_opened": private.rounds,
        "private_rounds_without_payloads": private.without_payloads,
    });
    show(global.json, &result, |_| {
        fields([
            (
                "verified",
                format!("network {} from genesis to height {tip}", genesis.chain_id),
            ),
            ("genesis", report.genesis_hash.to_string()),
            ("state root", report.state_root.to_string()),
            ("transactions", report.transactions.to_string()),
            ("rounds", {
                let (finalised, aborted) = (report.rounds_finalised, report.rounds_aborted);
                format!("{finalised} finalised, {aborted} aborted")
            }),
            ("private rounds", {
                let (opened, gone) = (private.rounds, private.without_payloads);
                format!("{opened} opened again, {gone} without payloads")
            }),
        ])
    })
}
