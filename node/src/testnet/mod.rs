//! Generates a whole network: genesis, keys and a startable home folder for every node.
//!
//! Invariants: the genesis document is validated before anything is written; the output folder
//! appears complete or not at all, and never replaces anything.

mod plan;
mod task;
mod write;

use std::path::PathBuf;

use cifer_genesis::document::{ConsensusParams, NamedKey, Validator};
use cifer_genesis::{Genesis, GenesisBuilder, GenesisError, GenesisHash, SecretKey, TimestampMs};
use cifer_training::TrainingError;

pub use plan::{NodeAddresses, PORTS_OF_A_NODE};
pub use task::{
    BuiltTask, DEFAULT_CLIP, DEFAULT_CLIP_NORM, DEFAULT_DEADLINE_MS, DEFAULT_WEIGHT_CAP,
    NoiseOptions, PrivateOptions, TaskOptions, build_task,
};

use crate::config::Role;
use crate::home::HomeError;
use crate::keys::KeyError;

/// Most observers and contributors of a generated network; validation bounds the validators.
pub const MAX_GENERATED: usize = 4_096;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder to make; it may exist if it is empty.
    pub output: PathBuf,
    /// Name of the network.
    pub chain_id: String,
    /// Nodes with a seat.
    pub validators: usize,
    /// Nodes without one.
    pub observers: usize,
    /// Registered contributors.
    pub contributors: usize,
    /// Whether others may register.
    pub open_registration: bool,
    /// A host for each validator, then for each observer; none means that all run on this machine.
    pub hosts: Vec<String>,
    /// The first node of a host takes the ports from here on.
    pub base_port: u16,
    /// Take ports that are free on this machine now, instead of `base_port`.
    pub free_ports: bool,
    /// Longest time without a block, in milliseconds.
    pub heartbeat_ms: Option<u64>,
    /// Shortest time between blocks, in milliseconds.
    pub min_block_interval_ms: Option<u64>,
    /// The one task.
    pub task: TaskOptions,
}

/// What was generated.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The network.
    pub genesis: Genesis,
    /// Its hash.
    pub hash: GenesisHash,
    /// Validators, then observers.
    pub nodes: Vec<GeneratedNode>,
    /// Key files of the contributors.
    pub contributor_keys: Vec<PathBuf>,
}

/// A node with its home folder.
#[derive(Debug, Clone)]
pub struct GeneratedNode {
    /// `validator-<i>` or `observer-<i>`, also the folder's name.
    pub name: String,
    /// Validator or observer.
    pub role: Role,
    /// The home folder.
    pub home: PathBuf,
    /// Where it will listen.
    pub addresses: NodeAddresses,
}

/// Why no network was generated.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// The options cannot work together.
    #[error("{field} is {value}: {reason}")]
    Option {
        /// The option.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The network that the options describe cannot work.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The initial model could not be made.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// A key could not be written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A home folder could not be made.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is something where the network should be.
    #[error("{} is not empty; nothing was changed", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
}

impl TestnetError {
    pub(crate) fn option(
        field: &'static str,
        value: impl ToString,
        reason: impl Into<String>,
    ) -> Self {
        Self::Option {
            field,
            value: value.to_string(),
            reason: reason.into(),
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Option { .. } | Self::Genesis(_) => {
                "change the numbers so that the inequalities hold; nothing was written".to_owned()
            }
            Self::Training(_) => {
                "for --dataset mnist run ./scripts/fetch-mnist first, or use --dataset digits"
                    .to_owned()
            }
            Self::Key(error) => error.next(),
            Self::Home(error) => error.next(),
            Self::Io { path, .. } => format!("check the permissions of {}", path.display()),
            Self::NotEmpty { .. } => "choose another folder with --output DIR".to_owned(),
        }
    }
}

/// A node that has been planned, with its key.
pub(crate) struct PlannedNode {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) key: SecretKey,
    pub(crate) addresses: NodeAddresses,
}

/// Makes keys and genesis, and writes everything to `options.output`. `now` is the time of genesis.
///
/// # Errors
/// See [`TestnetError`].
pub fn generate(options: &Options, now: TimestampMs) -> Result<Generated, TestnetError> {
    for (field, value) in [
        ("observers", options.observers),
        ("contributors", options.contributors),
    ] {
        if value > MAX_GENERATED {
            return Err(TestnetError::option(
                field,
                value,
                format!("at most {MAX_GENERATED}"),
            ));
        }
    }
    let nodes = plan_nodes(options)?;
    let contributors: Vec<(String, SecretKey)> = (0..options.contributors)
        .map(|index| (format!("contributor-{index}"), SecretKey::generate()))
        .collect();
    let built = build_task(&options.task, options.contributors)?;
    let genesis = build_genesis(options, now, &nodes, &contributors, &built)?;
    let hash = genesis.hash();
    write::write(&options.output, &genesis, &nodes, &contributors, &built)?;
    Ok(Generated {
        genesis,
        hash,
        contributor_keys: contributors
            .iter()
            .map(|(name, _)| options.output.join(format!("{name}.key")))
            .collect(),
        nodes: nodes
            .into_iter()
            .map(|node| GeneratedNode {
                home: options.output.join(&node.name),
                name: node.name,
                role: node.role,
                addresses: node.addresses,
            })
            .collect(),
    })
}

fn plan_nodes(options: &Options) -> Result<Vec<PlannedNode>, TestnetError> {
    let seats = (0..options.validators).map(|i| (format!("validator-{i}"), Role::Validator));
    let others = (0..options.observers).map(|i| (format!("observer-{i}"), Role::Observer));
    let roles: Vec<_> = seats.chain(others).collect();
    let addresses = plan::plan(
        roles.len(),
        &options.hosts,
        options.base_port,
        options.free_ports,
    )?;
    Ok(roles
        .into_iter()
        .zip(addresses)
        .map(|((name, role), addresses)| PlannedNode {
            name,
            role,
            key: SecretKey::generate(),
            addresses,
        })
        .collect())
}

fn build_genesis(
    options: &Options,
    now: TimestampMs,
    nodes: &[PlannedNode],
    contributors: &[(String, SecretKey)],
    built: &BuiltTask,
) -> Result<Genesis, TestnetError> {
    let mut pace = ConsensusParams::default();
    if let Some(heartbeat_ms) = options.heartbeat_ms {
        pace.idle_heartbeat_ms = heartbeat_ms;
    }
    if let Some(interval_ms) = options.min_block_interval_ms {
        pace.min_block_interval_ms = interval_ms;
    }
    let seats = nodes
        .iter()
        .filter(|node| node.role == Role::Validator)
        .map(|node| {
            let NodeAddresses {
                host,
                consensus_port,
                data_port,
                ..
            } = &node.addresses;
            Validator::on_host(
                node.name.clone(),
                node.key.public_key(),
                host,
                *consensus_port,
                *data_port,
            )
        });
    let allowed = contributors.iter().map(|(name, key)| NamedKey {
        name: name.clone(),
        public_key: key.public_key(),
    });
    Ok(GenesisBuilder::new(options.chain_id.clone(), now)
        .consensus(pace)
        .validators(seats)
        .contributors(allowed)
        .open_registration(options.open_registration)
        .task(built.task.clone())
        .build()?)
}
