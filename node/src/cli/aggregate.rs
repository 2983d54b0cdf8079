//! `cifer aggregate`: any pipeline on files, by the code that the validators run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cifer_aggregation::files::{FileError, OutputFile, UpdateFile, check_layouts, read_weights};
use cifer_aggregation::{
    AggregationError, FileDigest, Pipeline, Report, Template, Update, aggregate_pipeline,
};
use cifer_node::error::{Exit, Failure};
use serde_json::{Value, json};

use super::global::Global;
use super::output::{fields, show, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pre-aggregators and a rule, such as clip,nnm,trimmed-mean or clip:radius=2,krum; parameters that are
    /// left out follow from the number of updates and --f
    #[arg(long, value_name = "STAGES")]
    pipeline: Template,
    /// Updates that may be Byzantine
    #[arg(long, value_name = "N", default_value_t = 0)]
    f: u32,
    /// Samples of each update, for fedavg: whole numbers in a .npy file of one dimension [default: all the same]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// What bucketing draws from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The file to write, .npy or .safetensors
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// One update a file, .npy or .safetensors; or one .npy file of two dimensions, an update a row
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    global.log_without_settings();
    let updates = open(&args.files).map_err(refused)?;
    let pipeline = pipeline(&args, updates.len())?;
    let weights = weights(&args, updates.len())?;
    let tensors = layout(&args, &updates);
    let mut output = OutputFile::create(&args.out, &tensors).map_err(refused)?;
    let sources: Vec<Update<'_>> = updates
        .iter()
        .zip(&weights)
        .map(|(source, &weight)| Update { source, weight })
        .collect();
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&args.seed.to_le_bytes());
    let start = Instant::now();
    let report = aggregate_pipeline(&pipeline, &seed, &sources, &mut output)
        .map_err(|error| explained(error, &updates))?;
    let digest = output.finish().map_err(refused)?;
    let outcome = Outcome {
        pipeline,
        report,
        digest,
        took: start.elapsed(),
        updates,
        out: args.out,
    };
    show(global.json, &outcome.json(), |_| outcome.text())
}

fn open(files: &[PathBuf]) -> Result<Vec<UpdateFile>, FileError> {
    let updates = match files {
        [one] => UpdateFile::open_rows(one)?,
        many => many
            .iter()
            .map(UpdateFile::open)
            .collect::<Result<_, _>>()?,
    };
    check_layouts(&updates)?;
    Ok(updates)
}

fn pipeline(args: &Args, n: usize) -> eyre::Result<Pipeline> {
    let usage = |error: Box<dyn std::error::Error + Send + Sync>| {
        let next = "change --f or the parameters, or give more updates";
        Failure::new(Exit::Usage, error, next)
    };
    let count = u32::try_from(n).unwrap_or(u32::MAX);
    let pipeline = args.pipeline.for_numbers(count, args.f);
    let pipeline = pipeline.map_err(|error| usage(error.into()))?;
    pipeline.check(n).map_err(|error| usage(error.into()))?;
    Ok(pipeline)
}

fn weights(args: &Args, n: usize) -> eyre::Result<Vec<u64>> {
    let Some(path) = &args.weights else {
        return Ok(vec![1; n]);
    };
    let weights = read_weights(path).map_err(refused)?;
    if weights.len() != n {
        let found = weights.len();
        let error = format!("{}: {found} weights for {n} updates", path.display());
        return Err(Failure::new(Exit::Refused, error, "give one weight an update").into());
    }
    Ok(weights)
}

/// Names and shapes of the result: those of the first update, or of the first with names if the format
/// has names.
fn layout(args: &Args, updates: &[UpdateFile]) -> Vec<cifer_aggregation::files::Tensor> {
    let named = args.out.extension().is_some_and(|e| e == "safetensors");
    let with_names = updates.iter().find(|update| named && update.has_names());
    let update = with_names.or(updates.first());
    update.map(|u| u.tensors().to_vec()).unwrap_or_default()
}

fn refused(error: FileError) -> Failure {
    Failure::new(
        Exit::Refused,
        error,
        "give .npy or .safetensors files of floating point numbers, all of one length",
    )
}

/// Names the file of an update that was refused.
fn explained(error: AggregationError, updates: &[UpdateFile]) -> Failure {
    let file = error.contributor().and_then(|index| updates.get(index));
    let next = match file {
        Some(update) => format!("leave out or correct {}", update.path().display()),
        None => "correct the files as the error says".to_owned(),
    };
    Failure::new(Exit::Refused, error, next)
}

struct Outcome {
    pipeline: Pipeline,
    report: Report,
    digest: FileDigest,
    took: Duration,
    updates: Vec<UpdateFile>,
    out: PathBuf,
}

impl Outcome {
    /// Index and share of those that count; no share where the rule takes coordinates apart.
    fn counted(&self) -> impl Iterator<Item = (usize, Option<f64>)> {
        let share = |at: usize| self.report.shares.get(at).copied();
        let selected = self.report.selected.iter().enumerate();
        selected.map(move |(at, &index)| (index, share(at)))
    }

    /// The file, and in a file of rows the row.
    fn name(&self, index: usize) -> String {
        let path = self.updates[index].path();
        let rows = index > 0 && self.updates[0].path() == path;
        let is_row = rows || self.updates.get(1).is_some_and(|u| u.path() == path);
        match is_row {
            true => format!("{} row {index}", path.display()),
            false => path.display().to_string(),
        }
    }

    fn json(&self) -> Value {
        let counted = self.counted().map(|(index, share)| {
            json!({ "index": index, "file": self.updates[index].path(), "share": share })
        });
        json!({
            "pipeline": self.pipeline.to_string(),
            "updates": self.updates.len(),
            "coordinates": self.report.len,
            "digest": self.digest.hash.to_string(),
            "counted": counted.collect::<Vec<_>>(),
            "seconds": self.took.as_secs_f64(),
            "out": self.out,
        })
    }

    fn text(&self) -> String {
        let head = fields([
            ("pipeline", self.pipeline.to_string()),
            ("updates", self.updates.len().to_string()),
            ("coordinates", self.report.len.to_string()),
            ("digest", self.digest.hash.to_string()),
            ("time", format!("{:.3} s", self.took.as_secs_f64())),
            ("written", self.out.display().to_string()),
        ]);
        let rows = self.counted().map(|(index, share)| {
            let share = share.map_or_else(|| "-".to_owned(), |share| format!("{share:.6}"));
            [index.to_string(), share, self.name(index)]
        });
        format!("{head}\n{}", table(["index", "share", "update"], rows))
    }
}
