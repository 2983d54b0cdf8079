//! `cifer lab`: attacks, pipelines and heterogeneity against each other, in this process.

use std::io::IsTerminal;

use cifer_lab::{Finished, Progress, Store, report, run as train};
use cifer_node::error::{Exit, Failure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::global::Global;
use super::output::{note, print, show};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    options: cifer_lab::Options,
}

/// What `--json` prints at the end.
#[derive(Serialize)]
struct Written {
    cells: usize,
    files: Vec<std::path::PathBuf>,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    global.log_without_settings();
    let options = args.options;
    let dir = &options.output;
    std::fs::create_dir_all(dir).map_err(|error| refused(dir.display(), error))?;
    let mut store = Store::open(&dir.join("cells.jsonl")).map_err(|error| refused("lab", error))?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{bar:30} {pos}/{len} {elapsed} left {eta} {wide_msg}",
    )?);
    let lines = !std::io::stderr().is_terminal();
    let cells = options.matrix().cells();
    let finished = train(
        &cells,
        &mut store,
        &options.run_options(),
        &|progress| match progress {
            Progress::Begin { cells, present } => {
                bar.set_length(cells as u64);
                bar.set_position(present as u64);
                // What was there before took no time.
                bar.reset_eta();
            }
            Progress::Finished(finished) => {
                let line = describe(finished);
                bar.inc(1);
                match lines {
                    true => note(line),
                    false => bar.set_message(line),
                }
            }
        },
    );
    bar.finish_and_clear();
    let finished = finished.map_err(|error| refused("lab", error))?;
    let files = report::write(dir, &finished)?;
    if !global.json {
        print(report::markdown(&finished, &report::Summary::of(&finished)).trim_end())?;
    }
    let written = Written {
        cells: finished.len(),
        files,
    };
    show(global.json, &written, |written| {
        let files = written
            .files
            .iter()
            .map(|file| format!("{}\n", file.display()));
        format!("\n{}", files.collect::<String>())
    })
}

fn refused(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Failure {
    let next = "cells that had ended are kept; `cifer lab --help` lists the options";
    Failure::new(Exit::Failure, format!("{what}: {error}"), next)
}

fn describe(Finished { cell, outcome }: &Finished) -> String {
    let accuracy = outcome.best().map_or_else(
        || "refused".to_owned(),
        |best| format!("{:.1} %", 100.0 * best),
    );
    let (partition, f, seconds) = (cell.partition, cell.tolerated, outcome.seconds);
    let (pipeline, attack) = (&cell.pipeline, cell.attack);
    format!("{partition} f={f} {pipeline} {attack}: {accuracy} in {seconds:.1} s")
}
