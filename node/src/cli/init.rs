//! `cifer init`: makes a home folder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use cifer_genesis::document::Task;
use cifer_genesis::{Genesis, ModelRoot};
use cifer_node::config::{self, Role, Value, commented_file};
use cifer_node::error::{Exit, Failure};
use cifer_node::files::{Access, write_new};
use cifer_node::home::{Home, HomeError};
use cifer_node::keys::generate_key_file;
use serde_json::json;

use super::global::{Flags, Global};
use super::output::{fields, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the node will be: validator, observer or contributor
    #[arg(long, default_value = "observer")]
    role: Role,
    /// Name for people and peers
    #[arg(long, default_value = "node")]
    name: String,
    /// Genesis document to install, after it was validated
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Bytes of a task's initial model to install; nodes without them ask their peers
    #[arg(long, value_name = "FILE", requires = "genesis")]
    initial_model: Vec<PathBuf>,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let home = global.home()?;
    let settings = [("role", args.role.to_string()), ("name", args.name.clone())];
    // Everything is checked before anything is written.
    let own: Flags = settings
        .iter()
        .map(|(k, v)| ((*k).to_owned(), v.clone()))
        .collect();
    require_new(&home)?;
    config::load(&home, &global.flags(own)?)?;
    let genesis = args.genesis.as_deref().map(Genesis::load).transpose()?;
    let models = match &genesis {
        Some(genesis) => find_tasks(genesis, &args.initial_model)?,
        None => Vec::new(),
    };

    home.create_dirs()?;
    let key_path = match args.role {
        Role::Contributor => home.contributor_key_path(),
        Role::Validator | Role::Observer => home.node_key_path(),
    };
    let key = generate_key_file(&key_path)?;
    if let Some(genesis) = &genesis {
        put(&home.genesis_path(), genesis.to_toml()?.as_bytes())?;
    }
    for (task, path) in models {
        let target = home.initial_model_path(task.id);
        std::fs::copy(path, &target).map_err(io_error("write", &target))?;
    }
    let literals = settings.map(|(key, value)| (key, Value::Text(value).to_string()));
    put(&home.config_path(), commented_file(&literals).as_bytes())?;

    let hash = genesis.as_ref().map(|genesis| genesis.hash().to_string());
    let result = json!({
        "home": home.root(), "role": args.role.to_string(), "key_file": key_path,
        "public_key": key.public_key(), "genesis_hash": hash,
    });
    show(global.json, &result, |_| {
        let next = match &hash {
            Some(_) => format!("cifer start --home {}", home.root().display()),
            None => format!(
                "put the network's document at {}",
                home.genesis_path().display()
            ),
        };
        fields([
            ("home", home.root().display().to_string()),
            ("public key", key.public_key().to_string()),
            (
                "genesis",
                hash.clone().unwrap_or_else(|| "none yet".to_owned()),
            ),
            ("next", next),
        ])
    })
}

/// Nothing of an earlier home may be there, not even half of one.
fn require_new(home: &Home) -> Result<(), HomeError> {
    let files = [
        home.config_path(),
        home.genesis_path(),
        home.node_key_path(),
        home.contributor_key_path(),
        home.data_dir(),
    ];
    match files.iter().find(|path| path.symlink_metadata().is_ok()) {
        None => Ok(()),
        Some(found) => Err(HomeError::NotEmpty {
            path: home.root().to_owned(),
            found: found
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }),
    }
}

/// The task of each model file, found by the hash of its bytes.
fn find_tasks<'a>(
    genesis: &'a Genesis,
    files: &'a [PathBuf],
) -> eyre::Result<Vec<(&'a Task, &'a Path)>> {
    let find = |path: &'a PathBuf| {
        let root = hash_file(path)?;
        let task = genesis.tasks.iter().find(|task| task.initial_model == root);
        task.map(|task| (task, path.as_path())).ok_or_else(|| {
            let roots: Vec<_> = genesis
                .tasks
                .iter()
                .map(|t| t.initial_model.to_string())
                .collect();
            Failure::new(
                Exit::Refused,
                format!(
                    "{} has hash {root}, which is no task's initial model ({})",
                    path.display(),
                    roots.join(", ")
                ),
                "give the file that was made together with this genesis document",
            )
            .into()
        })
    };
    files.iter().map(find).collect()
}

fn hash_file(path: &Path) -> Result<ModelRoot, Failure> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    let mut file = File::open(path).map_err(io_error("read", path))?;
    loop {
        match file.read(&mut buffer).map_err(io_error("read", path))? {
            0 => return Ok(ModelRoot::from_bytes(*hasher.finalize().as_bytes())),
            read => hasher.update(&buffer[..read]),
        };
    }
}

fn put(path: &Path, content: &[u8]) -> Result<(), Failure> {
    write_new(path, content, Access::Public).map_err(io_error("write", path))
}

pub(crate) fn io_error<'a>(
    action: &'a str,
    path: &'a Path,
) -> impl Fn(std::io::Error) -> Failure + 'a {
    move |error| {
        Failure::new(
            Exit::Failure,
            format!("cannot {action} {}: {error}", path.display()),
            "check the path and its permissions",
        )
    }
}
