//! The node's settings: flag over environment over file over default, each value with its source.
//!
//! - [`settings`]: the table of every setting: key, kind, default, one line of documentation. The
//!   commented `config.toml` that `init` writes comes from it too.
//! - [`layers`]: reads the four layers into one [`Effective`] set of values.
//! - [`node`]: the typed [`NodeConfig`] made from it, with the checks that span several settings.
//!
//! Invariant: a key that the table does not know is refused wherever it comes from, so a typing
//! error can never silently leave a default in force.

mod contribute;
mod error;
mod layers;
mod node;
mod settings;
mod value;

pub use contribute::{ContributeConfig, TrainingOverrides};
pub use error::ConfigError;
pub use layers::{ENV_HOME, Effective, Layers, Source};
pub use node::{
    ConsensusConfig, DataConfig, GrpcConfig, HttpConfig, LogConfig, LogFormat, NodeConfig, Role,
    TlsConfig,
};
pub use settings::{SETTINGS, Setting, commented_file};
pub use value::{Kind, Value};

use crate::home::Home;

/// Reads all layers and checks them.
///
/// `flags` are `(key, value)` pairs from the command line. A home without `config.toml` has an
/// empty file layer.
///
/// # Errors
/// See [`ConfigError`].
pub fn load(
    home: &Home,
    flags: &[(String, String)],
) -> Result<(NodeConfig, Effective), ConfigError> {
    let environment: Vec<_> = std::env::vars_os().collect();
    let effective = Layers {
        home,
        environment: &environment,
        flags,
    }
    .read()?;
    let config = NodeConfig::from_effective(&effective, home)?;
    Ok((config, effective))
}
