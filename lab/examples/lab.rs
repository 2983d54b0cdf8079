//! `cifer lab` without the rest of `cifer`: builds in a minute, since it needs no database and no engine.
//!
//! ```text
//! cargo run --release -p cifer-lab --example lab -- --preset byzfl --output lab
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use cifer_lab::{Finished, LabError, Options, Progress, Store, report, run};
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Cli::parse().options;
    std::fs::create_dir_all(&options.output)?;
    let mut store = Store::open(&options.output.join("cells.jsonl"))?;
    let finished = train(&options, &mut store)?;
    for path in report::write(&options.output, &finished)? {
        println!("{}", path.display());
    }
    Ok(())
}

fn train(options: &Options, store: &mut Store) -> Result<Vec<Finished>, LabError> {
    let (total, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    run(
        &options.matrix().cells(),
        store,
        &options.run_options(),
        &|progress| match progress {
            Progress::Begin { cells, present } => {
                total.store(cells, Ordering::Relaxed);
                done.store(present, Ordering::Relaxed);
            }
            Progress::Finished(Finished { cell, outcome }) => eprintln!(
                "{}/{} {} f={} {} {} {:.3} {:.1} s",
                done.fetch_add(1, Ordering::Relaxed) + 1,
                total.load(Ordering::Relaxed),
                cell.partition,
                cell.tolerated,
                cell.pipeline,
                cell.attack,
                outcome.best().unwrap_or(f64::NAN),
                outcome.seconds,
            ),
        },
    )
}
