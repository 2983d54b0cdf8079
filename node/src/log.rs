//! Log lines go to standard error, so that standard output stays for results.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Turns log lines on for the rest of the process. A second call changes nothing.
pub fn init(config: &LogConfig) {
    let Ok(filter) = filter(&config.level) else {
        return;
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // Otherwise a closed standard error would end the process with a panic.
        .log_internal_errors(false);
    let _ = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}

/// Whether `level` is a level or a list of directives.
///
/// # Errors
/// What is wrong with it.
pub fn check_level(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

/// A bare level is meant for our own crates; libraries only warn. Two of them warn of what is
/// normal: validators that are not up yet, and peers that are direct on purpose.
const QUIET: &str = "arc_malachitebft_network=off,libp2p_gossipsub=error,network=off";

/// See [`QUIET`].
fn filter(level: &str) -> Result<EnvFilter, String> {
    let directives = match level {
        "off" | "error" => level.to_owned(),
        "warn" | "info" => format!("warn,{QUIET},cifer={level}"),
        "debug" | "trace" => format!("warn,cifer={level}"),
        // Any other word would parse as the name of a target that never logs anything.
        _ if level.contains('=') => level.to_owned(),
        _ => return Err("neither a level nor directives".to_owned()),
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_told_from_noise() {
        for level in [
            "error",
            "info",
            "trace",
            "off",
            "info,cifer_dataplane=debug",
        ] {
            check_level(level).unwrap();
        }
        for level in ["", "loud", "cifer=loud"] {
            assert!(check_level(level).is_err(), "{level:?}");
        }
    }
}
