//! `cifer config show`: the settings in force and where each comes from.

use std::collections::BTreeMap;

use cifer_node::config::{Effective, Layers, NodeConfig};
use serde_json::json;

use super::global::{Flags, Global};
use super::output::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Print every setting with its source
    Show,
}

pub(crate) fn run(global: &Global, command: Command) -> eyre::Result<()> {
    let Command::Show = command;
    let home = global.home()?;
    let environment: Vec<_> = std::env::vars_os().collect();
    let flags = global.flags(Flags::new())?;
    let effective = Layers {
        home: &home,
        environment: &environment,
        flags: &flags,
    }
    .read()?;
    if global.json {
        print(as_json(&effective))?
    } else {
        print(as_text(&effective))?
    }
    // What is printed may still contradict itself.
    NodeConfig::from_effective(&effective, &home)?;
    Ok(())
}

fn as_text(effective: &Effective) -> String {
    let lines: Vec<(String, String)> = effective
        .iter()
        .map(|(setting, value, source)| (format!("{} = {value}", setting.key), source.to_string()))
        .collect();
    // One long list of addresses must not push all sources off the screen.
    let width = lines
        .iter()
        .map(|(line, _)| line.len())
        .filter(|w| *w <= 60)
        .max()
        .unwrap_or(0);
    let lines: Vec<_> = lines
        .iter()
        .map(|(line, source)| format!("{line:width$}  # {source}"))
        .collect();
    lines.join("\n")
}

fn as_json(effective: &Effective) -> serde_json::Value {
    let settings: BTreeMap<_, _> = effective
        .iter()
        .map(|(setting, value, source)| {
            (
                setting.key,
                json!({ "value": value.to_json(), "source": source.to_string() }),
            )
        })
        .collect();
    json!(settings)
}
