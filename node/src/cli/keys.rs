//! `cifer keys`: makes and shows key files.

use std::path::PathBuf;

use cifer_genesis::PublicKey;
use cifer_node::keys::{generate_key_file, read_key_file};
use serde_json::json;

use super::global::Global;
use super::output::{fields, show};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a key and write it to a new file of mode 0600
    Gen {
        /// The file to write; never overwritten
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Show the public half of a key file
    Show {
        /// The file [default: node.key of the home folder]
        file: Option<PathBuf>,
    },
}

pub(crate) fn run(global: &Global, command: Command) -> eyre::Result<()> {
    let (path, key) = match command {
        Command::Gen { output } => {
            let key = generate_key_file(&output)?;
            (output, key)
        }
        Command::Show { file } => {
            let path = match file {
                Some(file) => file,
                None => global.home()?.node_key_path(),
            };
            let key = read_key_file(&path)?;
            (path, key)
        }
    };
    let public_key = key.public_key();
    let peer_id = peer_id(&public_key);
    let result = json!({ "key_file": path, "public_key": public_key, "peer_id": peer_id });
    show(global.json, &result, |_| {
        fields([
            ("key file", path.display().to_string()),
            ("public key", public_key.to_string()),
            ("peer id", peer_id),
        ])
    })
}

/// The key as libp2p writes it, at the end of a multiaddress.
fn peer_id(key: &PublicKey) -> String {
    // Our public keys are checked when made, so this fails for none of them.
    cifer_dataplane::peer_id(key.as_bytes())
        .map(|id| id.to_string())
        .unwrap_or_default()
}
