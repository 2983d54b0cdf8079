//! Options that every command has.

use std::path::PathBuf;

use cifer_node::config::{self, ConfigError, Effective, LogConfig, LogFormat, NodeConfig};
use cifer_node::home::{Home, HomeError};
use cifer_node::log;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Global {
    /// Home folder of the node [default: ~/.cifer]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "CIFER_HOME",
        hide_env_values = true
    )]
    home: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Override a setting, such as grpc.listen=127.0.0.1:26652 (again for more)
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Override log.level: error, warn, info, debug, trace or directives
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Override log.format: text or json
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

/// Keys and values that flags give to settings.
pub(crate) type Flags = Vec<(String, String)>;

impl Global {
    /// The home folder, whether it exists or not.
    pub(crate) fn home(&self) -> Result<Home, HomeError> {
        Home::or_default(self.home.clone())
    }

    /// Values of settings from the common options and from a command's own.
    pub(crate) fn flags(&self, own: Flags) -> Result<Flags, ConfigError> {
        let mut flags = own;
        for (key, value) in [
            ("log.level", &self.log_level),
            ("log.format", &self.log_format),
        ] {
            flags.extend(value.clone().map(|value| (key.to_owned(), value)));
        }
        for pair in &self.set {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| ConfigError::Flag(pair.clone()))?;
            flags.push((key.trim().to_owned(), value.trim().to_owned()));
        }
        Ok(flags)
    }

    /// All settings with the home folder's file, and log lines turned on as they say.
    pub(crate) fn load(&self, home: &Home, own: Flags) -> Result<NodeConfig, ConfigError> {
        let (config, _): (_, Effective) = config::load(home, &self.flags(own)?)?;
        log::init(&config.log);
        Ok(config)
    }

    /// All settings for a command that is over soon: only what goes wrong is logged, unless a flag
    /// says otherwise.
    pub(crate) fn load_quietly(&self, home: &Home) -> Result<NodeConfig, ConfigError> {
        let (config, _) = config::load(home, &self.flags(Flags::new())?)?;
        let level = self.log_level.clone().unwrap_or_else(|| "warn".to_owned());
        log::init(&LogConfig {
            level,
            format: config.log.format,
        });
        Ok(config)
    }

    /// Log lines for a command without settings.
    pub(crate) fn log_without_settings(&self) {
        let level = self.log_level.clone().unwrap_or_else(|| "warn".to_owned());
        let format = self
            .log_format
            .as_deref()
            .and_then(|format| format.parse().ok());
        log::init(&LogConfig {
            level,
            format: format.unwrap_or(LogFormat::Text),
        });
    }
}
