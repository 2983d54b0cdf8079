//! Running a pipeline: validation, the stages, and the one pass that all rules end in.

use std::ops::Range;

use crate::error::{AggregationError, Origin};
use crate::optimizer::{MAX_STATE, Optimizer};
use crate::pipeline::Pipeline;
use crate::pre::Rows;
use crate::rule::Rule;
use crate::rules::{Kernel, plan};
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
    /// Indices of the updates that the result depends on, ascending: those with weight for rules
    /// that end in a weighted sum, those whose coordinates were looked at for coordinate-wise rules.
    pub selected: Vec<usize>,
    /// The factor of each selected update in the result, in the same order. They sum to one, or
    /// less where clipping or centered clipping pulled towards zero. Empty for
    /// coordinate-wise rules, where no such factor exists.
    pub shares: Vec<f64>,
    /// Krum score of every row (lower is better) for Krum, Multi-Krum and Bulyan; empty for others. Rows
    /// are updates unless there is bucketing.
    pub scores: Vec<f64>,
}

/// What is left to do when a rule has measured what it needs.
pub(crate) struct Plan {
    finish: Finish,
    scores: Vec<f64>,
}

enum Finish {
    /// `Σ weights[i] · row i / total`. Without `read_all` rows of weight zero are not read again.
    Sum {
        weights: Vec<f64>,
        total: f64,
        read_all: bool,
    },
    /// A kernel on some of the rows.
    Kernel {
        rows: Vec<usize>,
        kernel: Box<dyn Kernel>,
    },
}

impl Plan {
    /// `Σ weights[i] · row i / total`, when the rule has read all rows already.
    pub(crate) fn sum(weights: Vec<f64>, total: f64) -> Self {
        let (read_all, scores) = (false, vec![]);
        let finish = Finish::Sum {
            weights,
            total,
            read_all,
        };
        Self { finish, scores }
    }

    /// The same, with a look at rows of weight zero: nobody has checked them.
    pub(crate) fn first_sum(weights: Vec<f64>, total: f64) -> Self {
        let (read_all, scores) = (true, vec![]);
        let finish = Finish::Sum {
            weights,
            total,
            read_all,
        };
        Self { finish, scores }
    }

    /// The mean of the selected ones of `n` rows.
    pub(crate) fn mean_of(selected: &[usize], n: usize) -> Self {
        let mut weights = vec![0.0; n];
        for &row in selected {
            weights[row] = 1.0;
        }
        Self::sum(weights, selected.len() as f64)
    }

    /// A kernel on these rows.
    pub(crate) fn coordinatewise(rows: Vec<usize>, kernel: Box<dyn Kernel>) -> Self {
        let finish = Finish::Kernel { rows, kernel };
        Self {
            finish,
            scores: vec![],
        }
    }

    pub(crate) fn with_scores(self, scores: Vec<f64>) -> Self {
        Self { scores, ..self }
    }
}

/// What is done with the aggregate, in the pass that makes it.
#[derive(Clone, Copy)]
pub struct ServerStep<'a> {
    /// How.
    pub optimizer: Optimizer,
    /// The model that the step starts from.
    pub base: &'a dyn VectorSource,
    /// The learning rate.
    pub lr: f32,
    /// The optimiser's state after the last step; empty before the first.
    pub state: &'a [&'a dyn VectorSource],
}

impl ServerStep<'_> {
    fn check(&self, len: usize, state_sinks: usize) -> Result<(), AggregationError> {
        if !self.lr.is_finite() {
            return Err(AggregationError::LearningRate { lr: self.lr });
        }
        self.optimizer.check()?;
        if self.base.len() != len {
            let (len, expected) = (self.base.len(), len);
            return Err(AggregationError::BaseLength { len, expected });
        }
        let expected = self.optimizer.state_vectors();
        let counts = [("read", self.state.len()), ("write", state_sinks)];
        for (what, given) in counts {
            if given != expected && !(what == "read" && given == 0) {
                return Err(AggregationError::StateCount {
                    optimizer: self.optimizer.name(),
                    expected,
                    given,
                    what,
                });
            }
        }
        match self.state.iter().position(|state| state.len() != len) {
            Some(index) => Err(AggregationError::StateLength {
                index,
                len: self.state[index].len(),
                expected: len,
            }),
            None => Ok(()),
        }
    }
}

/// Where the last pass writes.
struct Sinks<'a, 'b> {
    result: &'a mut dyn Sink,
    state: &'a mut [&'b mut dyn Sink],
}

/// The seed of pipelines that draw nothing.
const NO_SEED: [u8; 32] = [0; 32];

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
    aggregate_pipeline(&Pipeline::from(*rule), &NO_SEED, updates, sink)
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
    aggregate_pipeline_step(&Pipeline::from(*rule), &NO_SEED, updates, base, lr, sink)
}

/// Aggregates `updates` by `pipeline` into `sink`.
///
/// The seed is what [bucketing](crate::pre::bucketing) draws from; pipelines without it do not look at
/// it. It must be the same for everybody and unknown when updates are signed.
///
/// # Errors
/// Those of [`aggregate`], for every stage.
pub fn aggregate_pipeline(
    pipeline: &Pipeline,
    seed: &[u8; 32],
    updates: &[Update<'_>],
    sink: &mut dyn Sink,
) -> Result<Report, AggregationError> {
    let (result, state) = (sink, &mut [][..]);
    run(pipeline, seed, updates, None, Sinks { result, state })
}

/// Like [`aggregate_pipeline`], but gives `base + lr * aggregate` in the same pass, see
/// [`aggregate_step`].
///
/// # Errors
/// Those of [`aggregate_step`], for every stage.
pub fn aggregate_pipeline_step(
    pipeline: &Pipeline,
    seed: &[u8; 32],
    updates: &[Update<'_>],
    base: &dyn VectorSource,
    lr: f32,
    sink: &mut dyn Sink,
) -> Result<Report, AggregationError> {
    let step = ServerStep {
        optimizer: Optimizer::Sgd,
        base,
        lr,
        state: &[],
    };
    aggregate_optimized(pipeline, seed, updates, &step, sink, &mut [])
}

/// Like [`aggregate_pipeline`], with a server optimiser in the same pass: `model` takes the model after
/// the step, and `state` the optimiser's [state vectors](Optimizer::state_vectors).
///
/// # Errors
/// Those of [`aggregate_pipeline`]; a base or state of another length or number than the optimiser's,
/// or with values that are not finite; a learning rate that is not finite, optimiser parameters out
/// of range, and a result or state that overflows f32 (with its coordinate).
pub fn aggregate_optimized(
    pipeline: &Pipeline,
    seed: &[u8; 32],
    updates: &[Update<'_>],
    step: &ServerStep<'_>,
    model: &mut dyn Sink,
    state: &mut [&mut dyn Sink],
) -> Result<Report, AggregationError> {
    let result = model;
    run(pipeline, seed, updates, Some(step), Sinks { result, state })
}

fn run(
    pipeline: &Pipeline,
    seed: &[u8; 32],
    updates: &[Update<'_>],
    step: Option<&ServerStep<'_>>,
    sinks: Sinks<'_, '_>,
) -> Result<Report, AggregationError> {
    pipeline.check(updates.len())?;
    let inputs = Inputs::new(updates.iter().map(|update| update.source))?;
    if let Some(step) = step {
        step.check(inputs.len(), sinks.state.len())?;
    }
    let cap = match pipeline.rule {
        Rule::FedAvg { weight_cap } => weight_cap,
        _ => u64::MAX,
    };
    let weights = updates.iter().map(|update| update.weight.min(cap));
    let mut rows = Rows {
        inputs,
        weights: weights.collect(),
    };
    for (place, stage) in pipeline.pre.iter().enumerate() {
        rows = stage.apply(rows, seed, place)?;
    }
    let Plan { finish, scores } = plan(&pipeline.rule, &rows)?;
    let len = rows.inputs.len();
    let (selected, shares) = finish_in(&rows.inputs, finish, step, sinks)?;
    Ok(Report {
        len,
        selected,
        shares,
        scores,
    })
}

/// The last pass. Gives the updates that count, and their shares.
fn finish_in(
    inputs: &Inputs<'_>,
    finish: Finish,
    step: Option<&ServerStep<'_>>,
    sinks: Sinks<'_, '_>,
) -> Result<(Vec<usize>, Vec<f64>), AggregationError> {
    let (mut weights, mut total, read_all) = match finish {
        Finish::Kernel { rows, kernel } => {
            let rows = inputs.subset(&rows);
            stream(&rows, &Last::Kernel(&*kernel), step, sinks)?;
            return Ok((rows.support(), vec![]));
        }
        Finish::Sum {
            weights,
            total,
            read_all,
        } => (weights, total, read_all),
    };
    if inputs.is_mixed() {
        // A sum of mixtures is one sum of updates: no row needs to be made.
        for weight in &mut weights {
            *weight /= total;
        }
        total = 1.0;
    }
    let factors = inputs.coefficients(&weights);
    let selected: Vec<usize> = (0..factors.len()).filter(|&i| factors[i] != 0.0).collect();
    let at = |positions: &[usize]| positions.iter().map(|&i| factors[i]).collect();
    let shares = selected.iter().map(|&i| factors[i] / total).collect();
    let everything: Vec<usize> = (0..factors.len()).collect();
    // Also when nothing counts at all: a result of zeros still has a length.
    let read = match read_all || selected.is_empty() {
        true => &everything,
        false => &selected,
    };
    let weights: Vec<f64> = at(read);
    let sum = Last::Sum(&weights, total);
    stream(&inputs.sources_at(read), &sum, step, sinks)?;
    Ok((selected, shares))
}

/// What makes the result.
enum Last<'a> {
    Kernel(&'a dyn Kernel),
    /// Weights of the updates, and their total.
    Sum(&'a [f64], f64),
}

impl Last<'_> {
    /// Fills `out` with the result's coordinates `tile`.
    fn reduce(
        &self,
        inputs: &Inputs<'_>,
        tile: Range<usize>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), AggregationError> {
        match self {
            Self::Sum(weights, total) => inputs.weighted_sum(tile, scratch, weights, *total, out),
            Self::Kernel(kernel) => {
                let begin = tile.start;
                inputs.for_each_block(tile, scratch, |rows, ahead, part| {
                    let mut row = [0.0; BLOCK];
                    kernel.reduce(rows, ahead, &mut row);
                    out[part.start - begin..part.end - begin].copy_from_slice(&row[..part.len()]);
                })
            }
        }
    }
}

/// The pass in which the result is made and leaves, tile after tile.
fn stream(
    inputs: &Inputs<'_>,
    last: &Last<'_>,
    step: Option<&ServerStep<'_>>,
    sinks: Sinks<'_, '_>,
) -> Result<(), AggregationError> {
    struct Buffers {
        scratch: Scratch,
        base: [f32; TILE],
    }
    struct Slot {
        out: Vec<f32>,
        state: [Vec<f32>; MAX_STATE],
    }
    let buffers = Pool::new();
    let make = || Buffers {
        scratch: Scratch::new(inputs),
        base: [0.0; TILE],
    };
    let state_vectors = step.map_or(0, |step| step.optimizer.state_vectors());
    let slot_bytes = (1 + state_vectors) * TILE * size_of::<f32>();
    let mut slots: Vec<Slot> = (0..slot_count(slot_bytes).min(inputs.len().div_ceil(TILE)))
        .map(|_| Slot {
            out: vec![0.0; TILE],
            state: std::array::from_fn(|k| vec![0.0; if k < state_vectors { TILE } else { 0 }]),
        })
        .collect();
    walk(
        inputs.len(),
        &mut slots,
        |Slot { out, state }, tile| {
            let out = &mut out[..tile.len()];
            buffers.with(make, |Buffers { scratch, base }| {
                last.reduce(inputs, tile.clone(), scratch, out)?;
                match step {
                    Some(step) => take_step(step, out, base, state, tile.start),
                    None => Ok(()),
                }
            })
        },
        |slot, tile| {
            for (sink, values) in sinks.state.iter_mut().zip(&slot.state) {
                sink.write(&values[..tile.len()])?;
            }
            sinks.result.write(&slot.out[..tile.len()])
        },
    )
}

/// Replaces the aggregate in `values`, which begin at coordinate `offset`, by the model after the
/// step, and leaves the optimiser's state in `state`. Refuses what is not finite.
fn take_step(
    step: &ServerStep<'_>,
    values: &mut [f32],
    base: &mut [f32],
    state: &mut [Vec<f32>; MAX_STATE],
    offset: usize,
) -> Result<(), AggregationError> {
    let len = values.len();
    let base = &mut base[..len];
    step.base.read(offset, base)?;
    let vectors = step.optimizer.state_vectors();
    let mut state = state.each_mut().map(|vector| &mut vector[..]);
    for (k, vector) in state.iter_mut().enumerate().take(vectors) {
        *vector = &mut std::mem::take(vector)[..len];
        match step.state.get(k) {
            Some(source) => {
                source.read(offset, vector)?;
                finite(Origin::State(k), vector, offset)?;
            }
            None => vector.fill(step.optimizer.initial_state()[k]),
        }
    }
    let [first, second] = &mut state;
    step.optimizer.step(
        values,
        base,
        f64::from(step.lr),
        [&mut **first, &mut **second],
    );
    // An infinite second moment makes a step of zero, so the state is looked at for itself. Where the
    // result is bad because of what the step started from, that is named.
    for (k, vector) in state.iter().enumerate().take(vectors) {
        finite(Origin::State(k), vector, offset)?;
    }
    match finite(Origin::Result, values, offset) {
        Err(error) => finite(Origin::Base, base, offset).and(Err(error)),
        fine => fine,
    }
}

fn finite(origin: Origin, values: &[f32], offset: usize) -> Result<(), AggregationError> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(AggregationError::NonFinite {
            origin,
            coordinate: offset + at,
            value: values[at],
        }),
    }
}
