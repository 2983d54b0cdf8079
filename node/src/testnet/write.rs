//! Puts a generated network on disk: into a folder beside the final one, which is then renamed.

use std::fs;
use std::io;
use std::path::Path;

use cifer_genesis::{Genesis, SecretKey};

use super::{BuiltTask, PlannedNode, TestnetError};
use crate::config::{Value, commented_file};
use crate::files::{Access, parent, write_new};
use crate::home::Home;
use crate::keys::write_key_file;

pub(super) fn write(
    output: &Path,
    genesis: &Genesis,
    nodes: &[PlannedNode],
    contributors: &[(String, SecretKey)],
    built: &BuiltTask,
) -> Result<(), TestnetError> {
    require_free(output)?;
    let folder = parent(output);
    fs::create_dir_all(folder).map_err(io_error("create", folder))?;
    let staging = tempfile::Builder::new()
        .prefix(".testnet-")
        .tempdir_in(folder)
        .map_err(io_error("write to", folder))?;

    let document = genesis.to_toml()?;
    put(&staging.path().join("genesis.toml"), document.as_bytes())?;
    put(
        &staging.path().join(format!("task-{}.bin", built.task.id)),
        &built.model,
    )?;
    for node in nodes {
        write_home(
            &Home::new(staging.path().join(&node.name)),
            node,
            &document,
            built,
        )?;
    }
    for (name, key) in contributors {
        write_key_file(&staging.path().join(format!("{name}.key")), key)?;
    }

    // A folder can be renamed over an empty one, and over nothing else.
    match fs::rename(staging.path(), output) {
        Ok(()) => {
            // It is at its final place under its final name; there is nothing left to clean up.
            let _ = staging.keep();
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Err(TestnetError::NotEmpty {
                path: output.to_owned(),
            })
        }
        Err(error) => Err(io_error("create", output)(error)),
    }
}

fn require_free(output: &Path) -> Result<(), TestnetError> {
    match fs::read_dir(output) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(TestnetError::NotEmpty {
                path: output.to_owned(),
            }),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("use", output)(error)),
    }
}

fn write_home(
    home: &Home,
    node: &PlannedNode,
    document: &str,
    built: &BuiltTask,
) -> Result<(), TestnetError> {
    home.create_dirs()?;
    let text = |text: String| Value::Text(text).to_string();
    let settings = [
        ("role", text(node.role.to_string())),
        ("name", text(node.name.clone())),
        ("consensus.listen", text(node.addresses.consensus_listen())),
        (
            "data.listen",
            Value::List(node.addresses.data_listen()).to_string(),
        ),
        ("grpc.listen", text(node.addresses.grpc.to_string())),
        ("http.listen", text(node.addresses.http.to_string())),
    ];
    put(&home.genesis_path(), document.as_bytes())?;
    put(&home.initial_model_path(built.task.id), &built.model)?;
    write_key_file(&home.node_key_path(), &node.key)?;
    put(&home.config_path(), commented_file(&settings).as_bytes())
}

fn put(path: &Path, content: &[u8]) -> Result<(), TestnetError> {
    write_new(path, content, Access::Public).map_err(io_error("write", path))
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TestnetError {
    let path = path.to_owned();
    move |source| TestnetError::Io {
        action,
        path,
        source,
    }
}
