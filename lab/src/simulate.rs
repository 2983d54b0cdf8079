//! One training: honest contributors, attackers who see everything, validators, and the model.

use std::path::Path;
use std::time::Instant;

use cifer_aggregation::attacks::{Defence, Knowledge};
use cifer_aggregation::{AggregationError, Attack, Pipeline, Update, aggregate_pipeline};
use cifer_training::{Dataset, DatasetKind, Model, MomentumWorker, Split, TrainingError, evaluate};
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use crate::attack::Forger;
use crate::cell::{Cell, Outcome};
use crate::error::LabError;
use crate::history::Memory;

/// Mean and deviation of all pixels, as everybody standardises MNIST.
const MNIST: (f32, f32) = (0.1307, 0.3081);

/// The same of the digits.
const DIGITS: (f32, f32) = (0.3053, 0.3760);

/// A standardised data set.
#[derive(Debug)]
pub struct Data {
    split: Split,
    hidden: u32,
}

impl Data {
    /// Loads it; `seed` splits the digits, MNIST has its own test set.
    ///
    /// # Errors
    /// If the files are missing or not what they should be.
    pub fn load(
        dataset: DatasetKind,
        seed: u64,
        mnist_dir: Option<&Path>,
    ) -> Result<Self, LabError> {
        let (mean, deviation) = match dataset {
            DatasetKind::Digits => DIGITS,
            DatasetKind::Mnist => MNIST,
        };
        let split = dataset.load(seed, mnist_dir)?;
        Ok(Self {
            split: Split {
                train: split.train.standardised(mean, deviation)?,
                test: split.test.standardised(mean, deviation)?,
            },
            hidden: dataset.default_hidden(),
        })
    }
}

/// What the validators run, as the attackers can run it too.
#[derive(Debug)]
struct Validators<'a> {
    pipeline: &'a Pipeline,
    memory: &'a Memory,
    seed: [u8; 32],
}

impl Defence for Validators<'_> {
    fn defend(&self, updates: &[&[f32]]) -> Result<Vec<f32>, AggregationError> {
        let view = self.memory.view(updates);
        let rows: Vec<&[f32]> = match &view {
            Some(rows) => rows.iter().map(Vec::as_slice).collect(),
            None => updates.to_vec(),
        };
        let rows: Vec<Update<'_>> = rows
            .iter()
            .map(|row| Update {
                source: row,
                weight: 1,
            })
            .collect();
        let mut out = Vec::new();
        aggregate_pipeline(self.pipeline, &self.seed, &rows, &mut out)?;
        Ok(out)
    }
}

/// Trains one cell. The work runs on the current rayon pool.
///
/// # Errors
/// If a field of the cell is out of range or names nothing. A model that diverges and a pipeline that
/// refuses its numbers are outcomes.
pub fn simulate(cell: &Cell, data: &Data) -> Result<Outcome, LabError> {
    cell.validate()?;
    let start = Instant::now();
    let attackers = cell.attackers();
    let pipeline = cell.pipeline()?;
    let mut outcome = Outcome {
        accuracy: Vec::new(),
        remark: None,
        seconds: 0.0,
    };
    if let Err(error) = pipeline.check((cell.honest + attackers) as usize) {
        outcome.remark = Some(error.to_string());
        return Ok(outcome);
    }
    let mut run = Run::new(cell, data, &pipeline, attackers)?;
    let training = &cell.training;
    for round in 0..training.rounds {
        if round.is_multiple_of(training.evaluate_every) {
            outcome.accuracy.push(run.accuracy(data)?);
        }
        if let Some(remark) = run.round(round)? {
            // Nobody would use this model any more; the looks that are left find nothing.
            outcome.remark = Some(format!("round {round}: {remark}"));
            let looks = training.rounds.div_ceil(training.evaluate_every) as usize + 1;
            outcome.accuracy.resize(looks, 0.0);
            outcome.seconds = rounded(start.elapsed().as_secs_f64());
            return Ok(outcome);
        }
    }
    outcome.accuracy.push(run.accuracy(data)?);
    outcome.seconds = rounded(start.elapsed().as_secs_f64());
    Ok(outcome)
}

struct Run<'a> {
    cell: &'a Cell,
    pipeline: &'a Pipeline,
    attackers: usize,
    model: Box<dyn Model>,
    params: Vec<f32>,
    average: Vec<f32>,
    workers: Vec<MomentumWorker>,
    // What the attackers would send if they only lied about labels; empty for other attacks.
    flipped: Vec<MomentumWorker>,
    forger: Forger,
    memory: Memory,
}

impl<'a> Run<'a> {
    fn new(
        cell: &'a Cell,
        data: &Data,
        pipeline: &'a Pipeline,
        attackers: u32,
    ) -> Result<Self, LabError> {
        let train = &data.split.train;
        let (honest, attackers) = (cell.honest as usize, attackers as usize);
        let model = cell
            .model
            .build(train.features(), train.classes(), data.hidden)?;
        let shards = cell.partition.assign(train.labels(), honest, cell.seed)?;
        let settings = cell.training.worker();
        let worker = |shard: Dataset, index: usize| {
            MomentumWorker::new(&*model, shard, settings, cell.seed, index as u64)
        };
        let workers = shards
            .iter()
            .enumerate()
            .map(|(index, shard)| worker(train.select(shard), index));
        let workers = workers.collect::<Result<_, TrainingError>>()?;
        let flipped = if cell.attack.attack().flips_labels() {
            attackers
        } else {
            0
        };
        let flipped = (0..flipped).map(|attacker| {
            let shard = train.select(&shards[attacker % honest]);
            worker(shard.with_flipped_labels(), honest + attacker)
        });
        let flipped = flipped.collect::<Result<_, TrainingError>>()?;
        let params = model.init(cell.seed);
        Ok(Self {
            cell,
            pipeline,
            attackers,
            memory: Memory::new(cell.history, honest + attackers, params.len()),
            forger: Forger::new(cell.attack, cell.training.search_every),
            model,
            average: params.clone(),
            params,
            workers,
            flipped,
        })
    }

    fn accuracy(&self, data: &Data) -> Result<f64, LabError> {
        let evaluation = evaluate(&*self.model, &self.average, &data.split.test)?;
        Ok(rounded(evaluation.accuracy))
    }

    /// One round. Returns why the model is lost, if it is.
    fn round(&mut self, round: u32) -> Result<Option<String>, LabError> {
        let honest = match self.train() {
            Err(TrainingError::Diverged { .. }) => return Ok(Some("training diverged".into())),
            result => result?,
        };
        let (honest, forged) = honest.split_at(self.workers.len());
        if self.attackers > 0 && self.forger.searches(round) {
            self.search(round, honest)?;
        }
        let validators = Validators {
            pipeline: self.pipeline,
            memory: &self.memory,
            seed: seed(self.cell.seed, round),
        };
        let mut byzantine = Vec::with_capacity(self.attackers);
        let mut shared = None;
        for attacker in 0..self.attackers {
            let known = Knowledge {
                own: forged
                    .get(attacker)
                    .unwrap_or(&honest[attacker % honest.len()]),
                honest,
                n: honest.len() + self.attackers,
                f: self.attackers,
                seed: self.cell.seed ^ (u64::from(round) << 16 | attacker as u64),
                defence: Some(&validators),
            };
            let vector = match &shared {
                Some(vector) if !depends_on_attacker(self.cell.attack.attack()) => {
                    Vec::clone(vector)
                }
                _ => self.forger.forge(&known)?,
            };
            byzantine.push(self.forger.disguise(vector.clone(), attacker, &known)?);
            shared = Some(vector);
        }
        let updates: Vec<&[f32]> = honest.iter().chain(&byzantine).map(Vec::as_slice).collect();
        let aggregate = match validators.defend(&updates) {
            Ok(aggregate) => aggregate,
            Err(error @ AggregationError::NonFinite { .. }) => return Ok(Some(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        self.memory.record(&updates, &aggregate);
        let training = &self.cell.training;
        for (param, direction) in self.params.iter_mut().zip(&aggregate) {
            *param -= training.learning_rate * (direction + training.weight_decay * *param);
        }
        let kept = training.averaging;
        for (average, param) in self.average.iter_mut().zip(&self.params) {
            *average = kept * *average + (1.0 - kept) * param;
        }
        let lost = self.params.iter().any(|param| !param.is_finite());
        Ok(lost.then(|| "the model is no longer finite".into()))
    }

    /// Lets the attackers find their best strength against the validators as they are now.
    fn search(&mut self, round: u32, honest: &[Vec<f32>]) -> Result<(), LabError> {
        let sample = Sample::of(
            self.params.len(),
            self.cell.training.search_coordinates,
            round,
        );
        let honest: Vec<Vec<f32>> = honest.iter().map(|vector| sample.take(vector)).collect();
        let memory = self.memory.map(|vector| sample.take(vector));
        let validators = Validators {
            pipeline: self.pipeline,
            memory: &memory,
            seed: seed(self.cell.seed, round),
        };
        let known = Knowledge {
            own: &honest[0],
            honest: &honest,
            n: honest.len() + self.attackers,
            f: self.attackers,
            seed: 0,
            defence: Some(&validators),
        };
        Ok(self.forger.search(&known)?)
    }

    /// What the honest contributors send, and behind it what label-flipping attackers have learned.
    fn train(&mut self) -> Result<Vec<Vec<f32>>, TrainingError> {
        let (model, params) = (&*self.model, &self.params);
        let step = |worker: &mut MomentumWorker| -> Result<Vec<f32>, TrainingError> {
            Ok(worker.step(model, params)?.0.to_vec())
        };
        let honest = self.workers.par_iter_mut().map(step);
        let mut sent = honest.collect::<Result<Vec<_>, TrainingError>>()?;
        let flipped = self.flipped.par_iter_mut().map(step);
        sent.extend(flipped.collect::<Result<Vec<_>, TrainingError>>()?);
        Ok(sent)
    }
}

/// To six decimals: such a number is read back from a file as it was written.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Some of the coordinates, scaled so that lengths and distances stay what they are, as nearly as a
/// sample tells: what a pipeline does to sampled vectors is then what it does to whole ones.
struct Sample {
    coordinates: Vec<usize>,
    scale: f32,
}

impl Sample {
    /// `count` of `length` coordinates, 0 for all, others in each round: multiples of the golden ratio
    /// spread evenly and follow no layout of a model.
    fn of(length: usize, count: u32, round: u32) -> Self {
        let count = count as usize;
        if count == 0 || count >= length {
            return Self {
                coordinates: (0..length).collect(),
                scale: 1.0,
            };
        }
        const GOLDEN: f64 = 0.618_033_988_749_894_9;
        let at = |index: usize| {
            let turns = (index as f64 + 7_919.0 * f64::from(round)) * GOLDEN;
            ((turns.fract() * length as f64) as usize).min(length - 1)
        };
        Self {
            coordinates: (0..count).map(at).collect(),
            scale: (length as f32 / count as f32).sqrt(),
        }
    }

    fn take(&self, vector: &[f32]) -> Vec<f32> {
        self.coordinates
            .iter()
            .map(|&index| self.scale * vector[index])
            .collect()
    }
}

/// Whether two attackers send different vectors; otherwise one computes for all.
fn depends_on_attacker(attack: Attack) -> bool {
    attack.flips_labels() || matches!(attack, Attack::Gaussian { .. } | Attack::SignFlip { .. })
}

/// What bucketing draws from: different in every round, and nothing that contributors choose.
fn seed(seed: u64, round: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&round.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_keeps_lengths_and_distances() {
        // Layers of very different sizes, periodic as weights are.
        let vector = |seed: usize| -> Vec<f32> {
            let value = |index: usize| {
                let wave = ((index * 37 + seed * 11) % 100) as f32 / 50.0 - 1.0;
                if index % 10_000 < 500 {
                    4.0 * wave
                } else {
                    wave
                }
            };
            (0..40_000).map(value).collect()
        };
        let (a, b) = (vector(1), vector(2));
        let squares =
            |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum() };
        for round in 0..5 {
            let sample = Sample::of(a.len(), 4_000, round);
            let (few_a, few_b) = (sample.take(&a), sample.take(&b));
            assert_eq!(few_a.len(), 4_000);
            let ratio = squares(&few_a, &few_b) / squares(&a, &b);
            assert!((ratio - 1.0).abs() < 0.1, "{ratio}");
        }
        assert_eq!(Sample::of(a.len(), 0, 3).take(&a), a);
        assert_ne!(
            Sample::of(a.len(), 10, 3).take(&a),
            Sample::of(a.len(), 10, 4).take(&a)
        );
    }
}
