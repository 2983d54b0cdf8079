//! Running a rule: validation, the plan of passes, and the one pass that all rules end in.

use crate::error::{AggregationError, Origin};
use crate::rule::Rule;
use crate::rules::Kernel;
use crate::rules::krum;
use crate::rules::mean::Mean;
use crate::rules::median::Median;
use crate::rules::trimmed_mean::TrimmedMean;
use crate::sink::Sink;
use crate::source::VectorSource;
use crate::tiles::{BLOCK, Inputs, Pool, Scratch, TILE, slot_count, walk};

/// One contributor's update.
#[derive(Clone, Copy)]
pub struct Update<'a> {
    /// The coordinates.
    pub source: &'a dyn VectorSource,
    /// Number of samples it was trained on. Only FedAvg looks at it.
    pub weight: u64,
}

/// What an aggregation did, beside its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Length of the result in coordinates.
    pub len: usize,
    /// Indices of the updates that the result depends on, ascending: those with weight for FedAvg,
    /// the selected ones for Krum and Multi-Krum, all for the coordinate-wise rules.
    pub selected: Vec<usize>,
    /// Weight of each selected update, in the same order: capped samples for FedAvg, otherwise 1.
    pub weights: Vec<u64>,
    /// Krum score of every update (lower is better); empty for rules without scores.
    pub scores: Vec<f64>,
}

/// The server step: `base + lr * aggregate`, coordinate by coordinate.
struct Step<'a> {
    base: &'a dyn VectorSource,
    lr: f64,
}

/// Aggregates `updates` by `rule` into `sink`.
///
/// # Errors
/// Numbers for which the rule has no guarantee, lengths that differ, values that are not finite (with
/// update and coordinate), zero total weight, and failures of a source or of the sink.
pub fn aggregate(
    rule: &Rule,
    updates: &[Update<'_>],
    sink: &mut dyn Sink,
) -> Result<Report, AggregationError> {
    run(rule, updates, None, sink)
}

/// Like [`aggregate`], but gives `base + lr * aggregate` in the same pass.
///
/// The aggregate is rounded to f32 as [`aggregate`] would give it; product and sum are f64 and
/// rounded to f32 once.
///
/// # Errors
/// Those of [`aggregate`]; a base of another length or with values that are not finite, a
/// learning rate that is not finite, and a result that overflows f32 (with its coordinate).
pub fn aggregate_step(
    rule: &Rule,
    updates: &[Update<'_>],
    base: &dyn VectorSource,
    lr: f32,
    sink: &mut dyn Sink,
) -> Result<Report, AggregationError> {
    if !lr.is_finite() {
        return Err(AggregationError::LearningRate { lr });
    }
    run(
        rule,
        updates,
        Some(Step {
            base,
            lr: f64::from(lr),
        }),
        sink,
    )
}

fn run(
    rule: &Rule,
    updates: &[Update<'_>],
    step: Option<Step<'_>>,
    sink: &mut dyn Sink,
) -> Result<Report, AggregationError> {
    rule.check(updates.len())?;
    let inputs = Inputs::new(updates.iter().map(|update| update.source))?;
    if let Some(step) = &step
        && step.base.len() != inputs.len()
    {
        let (len, expected) = (step.base.len(), inputs.len());
        return Err(AggregationError::BaseLength { len, expected });
    }
    let (n, len) = (inputs.count(), inputs.len());
    let everybody = || Report {
        len,
        selected: (0..n).collect(),
        weights: vec![1; n],
        scores: vec![],
    };
    match *rule {
        Rule::FedAvg { weight_cap } => {
            let weights: Vec<u64> = updates.iter().map(|u| u.weight.min(weight_cap)).collect();
            stream(&inputs, &Mean::new(&weights)?, step, sink)?;
            let selected: Vec<usize> = (0..n).filter(|&i| weights[i] > 0).collect();
            let weights = selected.iter().map(|&i| weights[i]).collect();
            Ok(Report {
                len,
                selected,
                weights,
                scores: vec![],
            })
        }
        Rule::Median => {
            stream(&inputs, &Median::new(n), step, sink)?;
            Ok(everybody())
        }
        Rule::TrimmedMean { f } => {
            stream(&inputs, &TrimmedMean::new(n, f as usize), step, sink)?;
            Ok(everybody())
        }
        Rule::Krum { f } => run_krum(&inputs, f, 1, step, sink),
        Rule::MultiKrum { f, m } => run_krum(&inputs, f, m, step, sink),
    }
}

fn run_krum(
    inputs: &Inputs<'_>,
    f: u32,
    m: u32,
    step: Option<Step<'_>>,
    sink: &mut dyn Sink,
) -> Result<Report, AggregationError> {
    let krum::Selection { selected, scores } = krum::select(inputs, f as usize, m as usize)?;
    let weights = vec![1; selected.len()];
    stream(&inputs.subset(&selected), &Mean::new(&weights)?, step, sink)?;
    Ok(Report {
        len: inputs.len(),
        selected,
        weights,
        scores,
    })
}

/// The pass in which the result is made and leaves, tile after tile.
fn stream(
    inputs: &Inputs<'_>,
    kernel: &dyn Kernel,
    step: Option<Step<'_>>,
    sink: &mut dyn Sink,
) -> Result<(), AggregationError> {
    struct Buffers {
        scratch: Scratch<f32>,
        base: [f32; TILE],
    }
    let buffers = Pool::new();
    let make = || Buffers {
        scratch: Scratch::new(inputs),
        base: [0.0; TILE],
    };
    let count = slot_count(TILE * size_of::<f32>()).min(inputs.len().div_ceil(TILE));
    let mut slots = vec![[0.0; TILE]; count];
    walk(
        inputs.len(),
        &mut slots,
        |out, tile| {
            let out = &mut out[..tile.len()];
            buffers.with(make, |Buffers { scratch, base }| {
                inputs.for_each_block(tile.clone(), scratch, |rows, part| {
                    let mut row = [0.0; BLOCK];
                    kernel.reduce(rows, &mut row);
                    let at = part.start - tile.start;
                    out[at..at + part.len()].copy_from_slice(&row[..part.len()]);
                })?;
                match &step {
                    Some(step) => {
                        let base = &mut base[..tile.len()];
                        step.base.read(tile.start, base)?;
                        take_step(out, base, step.lr, tile.start)
                    }
                    None => Ok(()),
                }
            })
        },
        |out, tile| sink.write(&out[..tile.len()]),
    )
}

/// `values = base + lr * values`, refusing a base or a result that is not finite.
fn take_step(
    values: &mut [f32],
    base: &[f32],
    lr: f64,
    offset: usize,
) -> Result<(), AggregationError> {
    let mut finite = true;
    for (value, base) in values.iter_mut().zip(base) {
        *value = (f64::from(*base) + lr * f64::from(*value)) as f32;
        finite &= value.is_finite();
    }
    if finite {
        return Ok(());
    }
    // A base that is not finite makes the result so; name the cause.
    for (origin, vector) in [(Origin::Base, base), (Origin::Result, &*values)] {
        if let Some(at) = vector.iter().position(|x| !x.is_finite()) {
            let (coordinate, value) = (offset + at, vector[at]);
            return Err(AggregationError::NonFinite {
                origin,
                coordinate,
                value,
            });
        }
    }
    Ok(())
}
