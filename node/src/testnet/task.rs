//! A task from the few numbers that people give: the rule's parameters, the round policy and the
//! initial model follow from the data set, the model and the number of contributors.

use std::path::PathBuf;

use cifer_aggregation::{Rule, Template};
use cifer_genesis::document::{RoundPolicy, RuleSpec, Task, Tensor};
use cifer_genesis::{ModelRoot, Noise, Privacy, TAIL_FACTOR, TaskId};
use cifer_training::{DatasetKind, FederatedTask, ModelKind, Partition, TaskSpec};

use super::TestnetError;

/// Largest weight of one contributor under FedAvg, in samples, unless it is given.
pub const DEFAULT_WEIGHT_CAP: u64 = 10_000;

/// Deadline of a round in block time, unless it is given.
pub const DEFAULT_DEADLINE_MS: u64 = 60_000;

/// Largest magnitude of a coordinate of a private update, unless it is given: above what a round of the trainers here
/// moves a weight by. With noise it follows from the noise.
pub const DEFAULT_CLIP: f64 = 0.25;

/// L2 norm that an update is clipped to before noise is added, unless it is given.
pub const DEFAULT_CLIP_NORM: f64 = 1.0;

/// Bits of a coordinate that has to hold noise, too.
const NOISED_BITS: u64 = 16;

/// What people say about a task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Name for people.
    pub name: String,
    /// The rule, maybe behind pre-aggregators; parameters that it leaves open follow from the rest.
    pub rule: Template,
    /// Byzantine contributors tolerated; by default as many as the rule can bear.
    pub f: Option<u64>,
    /// Updates that Multi-Krum averages; by default all but `f`.
    pub m: Option<u64>,
    /// Largest weight of one contributor under FedAvg, in samples.
    pub weight_cap: Option<u64>,
    /// Fewest updates that may be aggregated; by default what the rule needs and at least half of
    /// the contributors.
    pub min_updates: Option<u64>,
    /// Updates that close a round at once; by default one from each contributor.
    pub max_updates: Option<u64>,
    /// Block time after which a round closes, in milliseconds.
    pub deadline_ms: u64,
    /// Rounds to run; 0 is for ever.
    pub max_rounds: u64,
    /// Server step: `model + server_lr * aggregate`.
    pub server_lr: f64,
    /// The data that the model is for.
    pub dataset: DatasetKind,
    /// The model.
    pub model: ModelKind,
    /// Folder of the MNIST files.
    pub mnist_dir: Option<PathBuf>,
    /// Seed of the initial model.
    pub seed: u64,
    /// Whether updates are encrypted, and how.
    pub private: Option<PrivateOptions>,
}

/// What people say about a private task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrivateOptions {
    /// Contributors of a group.
    pub group_size: u64,
    /// Fewest updates of a group that are opened together.
    pub min_cohort: u64,
    /// Largest magnitude of a coordinate; contributors clip to it.
    pub clip: Option<f64>,
    /// Whether noise is added, and how much.
    pub noise: Option<NoiseOptions>,
}

/// What people say about the noise of a private task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseOptions {
    /// Standard deviation of the noise of `honest` members together over `clip_norm`.
    pub multiplier: f64,
    /// L2 norm that updates are clipped to.
    pub clip_norm: f64,
    /// Members of a group whose noise is counted.
    pub honest: u64,
    /// The guarantee is stated at delta = 10^-`delta_exponent`.
    pub delta_exponent: u64,
}

impl NoiseOptions {
    /// What a coordinate has to hold: the norm and twelve standard deviations of one member's noise, and one part in
    /// a hundred for what is rounded up.
    fn reach(&self) -> f64 {
        let deviation = self.clip_norm * self.multiplier / (self.honest.max(1) as f64).sqrt();
        1.01 * (self.clip_norm + TAIL_FACTOR as f64 * deviation)
    }
}

/// A task with the bytes of its initial model.
#[derive(Debug, Clone)]
pub struct BuiltTask {
    /// As the genesis document has it, with id 0.
    pub task: Task,
    /// Every tensor in order, row-major, f32 little endian.
    pub model: Vec<u8>,
}

/// Fills in what was not said, for a network with this many contributors.
///
/// # Errors
/// [`TestnetError::Training`] if the data cannot be loaded, [`TestnetError::Option`] for numbers
/// that have no meaning; whether they can hold is for the validation of genesis.
pub fn build_task(options: &TaskOptions, contributors: usize) -> Result<BuiltTask, TestnetError> {
    let contributors = (contributors as u64).max(1);
    let max_updates = options.max_updates.unwrap_or(contributors);
    let (privacy, noise) = match options.private {
        Some(private) => privacy(private)?,
        None => (None, None),
    };
    // The rule of a private task sees groups.
    let inputs = match &privacy {
        Some(terms) => terms.groups(contributors),
        None => options.min_updates.unwrap_or(max_updates),
    };
    let rule = rule(options, inputs)?;
    // Never above the maximum, so that validation names the rule's own inequality where it fails.
    let min_updates = rule
        .min_updates_needed()
        .max(max_updates.div_ceil(2))
        .min(max_updates);
    let rounds = RoundPolicy {
        min_updates: options.min_updates.unwrap_or(min_updates),
        max_updates,
        deadline_ms: options.deadline_ms,
        max_extensions: 2,
        max_rounds: options.max_rounds,
    };
    let (tensors, model) = initial_model(options)?;
    let root = ModelRoot::from_bytes(*blake3::hash(&model).as_bytes());
    let mut task = Task::new(TaskId(0), options.name.clone(), tensors, root, rule, rounds);
    task.server_lr_ppm = parts_per_million("server-lr", options.server_lr)?;
    task.privacy = privacy;
    task.noise = noise;
    Ok(BuiltTask { task, model })
}

fn privacy(options: PrivateOptions) -> Result<(Option<Privacy>, Option<Noise>), TestnetError> {
    let clip = match (options.clip, &options.noise) {
        (Some(clip), _) => clip,
        (None, Some(noise)) => noise.reach(),
        (None, None) => DEFAULT_CLIP,
    };
    let mut terms = Privacy {
        group_size: options.group_size,
        min_cohort: options.min_cohort,
        ..Privacy::grouped_sum(parts_per_million("clip", clip)?)
    };
    let Some(noise) = options.noise else {
        return Ok((Some(terms), None));
    };
    terms.value_bits = NOISED_BITS;
    let noise = Noise {
        clip_norm_ppm: parts_per_million("clip-norm", noise.clip_norm)?,
        multiplier_ppm: parts_per_million("noise", noise.multiplier)?,
        honest: noise.honest,
        delta_exponent: noise.delta_exponent,
    };
    Ok((Some(terms), Some(noise)))
}

/// The rule for `n` updates. A parameter that it does not have is refused.
fn rule(options: &TaskOptions, n: u64) -> Result<RuleSpec, TestnetError> {
    let template = &options.rule;
    let no_rule =
        |error: &dyn std::fmt::Display| TestnetError::option("rule", template, error.to_string());
    let refuse = |given: Option<u64>, field: &'static str| match given {
        Some(value) => {
            let reason = format!("{template} has no such parameter");
            Err(TestnetError::option(field, value, reason))
        }
        None => Ok(()),
    };
    let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    let with = |f: u32| {
        template
            .for_numbers(small(n), f)
            .map_err(|error| no_rule(&error))
    };
    if with(0)? == with(1)? {
        refuse(options.f, "f")?;
    }
    let f = match options.f {
        Some(f) => small(f),
        // As many as the rule can bear.
        None => {
            let bears = |f: &u32| with(*f).is_ok_and(|p| p.check(n as usize).is_ok());
            (0..=small(n) / 2).rev().find(bears).unwrap_or(0)
        }
    };
    let mut pipeline = with(f)?;
    match (&mut pipeline.rule, options.m) {
        (Rule::MultiKrum { m, .. }, Some(given)) => *m = small(given),
        (_, given) => refuse(given, "m")?,
    }
    match (&mut pipeline.rule, options.weight_cap) {
        (Rule::FedAvg { weight_cap }, Some(given)) => *weight_cap = given,
        (Rule::FedAvg { weight_cap }, None) => *weight_cap = DEFAULT_WEIGHT_CAP.min(*weight_cap),
        (_, given) => refuse(given, "weight-cap")?,
    }
    // Both crates write a rule as the same table.
    let table = serde_json::to_value(&pipeline).map_err(|error| no_rule(&error))?;
    serde_json::from_value(table).map_err(|error| no_rule(&error))
}

fn initial_model(options: &TaskOptions) -> Result<(Vec<Tensor>, Vec<u8>), TestnetError> {
    // How the data is spread has no bearing on the model, so one shard will do.
    let federated = FederatedTask::new(TaskSpec {
        dataset: options.dataset,
        model: options.model,
        partition: Partition::Iid,
        contributors: 1,
        seed: options.seed,
        hyperparameters: None,
        mnist_dir: options.mnist_dir.clone(),
    })?;
    let tensors = federated
        .manifest()
        .into_iter()
        .map(|tensor| {
            let shape: Vec<u64> = tensor.shape.iter().map(|length| *length as u64).collect();
            Tensor::f32(tensor.name, &shape)
        })
        .collect();
    let model = federated
        .initial_model()
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    Ok((tensors, model))
}

fn parts_per_million(field: &'static str, value: f64) -> Result<u64, TestnetError> {
    let ppm = (value * 1e6).round();
    // Whole in f64; the validation of genesis knows each field's own limits.
    if !(1.0..=1e15).contains(&ppm) {
        return Err(TestnetError::option(
            field,
            value,
            "0.000001 to 1000000000 is allowed",
        ));
    }
    Ok(ppm as u64)
}

#[cfg(test)]
mod tests {
    use cifer_aggregation::RuleName;

    use super::*;

    pub(crate) fn options(rule: RuleName) -> TaskOptions {
        TaskOptions {
            name: "digits".into(),
            rule: rule.into(),
            f: None,
            m: None,
            weight_cap: None,
            min_updates: None,
            max_updates: None,
            deadline_ms: DEFAULT_DEADLINE_MS,
            max_rounds: 0,
            server_lr: 1.0,
            dataset: DatasetKind::Digits,
            model: ModelKind::Softmax,
            mnist_dir: None,
            seed: 7,
            private: None,
        }
    }

    #[test]
    fn the_rule_of_a_private_task_is_for_its_groups() {
        let mut options = options(RuleName::TrimmedMean);
        options.private = Some(PrivateOptions {
            group_size: 3,
            min_cohort: 2,
            clip: Some(0.5),
            noise: None,
        });
        let task = build_task(&options, 24).unwrap().task;
        assert_eq!(task.rule, RuleSpec::TrimmedMean { f: 3 });
        let terms = task.privacy.unwrap();
        assert_eq!((terms.clip_ppm, terms.groups(24)), (500_000, 8));
        assert_eq!((task.rounds.min_updates, task.rounds.max_updates), (12, 24));
    }

    #[test]
    fn a_coordinate_has_room_for_the_noise() {
        for (multiplier, clip_norm, honest) in [(0.05, 1.0, 1), (1.0, 0.3, 2), (4.0, 0.5, 2)] {
            let mut options = options(RuleName::TrimmedMean);
            options.private = Some(PrivateOptions {
                group_size: 3,
                min_cohort: 2,
                clip: None,
                noise: Some(NoiseOptions {
                    multiplier,
                    clip_norm,
                    honest,
                    delta_exponent: 6,
                }),
            });
            let task = build_task(&options, 24).unwrap().task;
            let (noise, terms) = (task.noise.unwrap(), task.privacy.unwrap());
            let grid = noise.on_grid(&terms);
            // Room, and none that is wasted.
            assert!(grid.reach() <= grid.levels, "{grid:?}");
            assert!(grid.reach() * 20 >= grid.levels * 19, "{grid:?}");
        }
    }

    #[test]
    fn ten_contributors_bear_three_attackers() {
        let task = build_task(&options(RuleName::MultiKrum), 10).unwrap().task;
        assert_eq!(task.rule, RuleSpec::MultiKrum { f: 3, m: 7 });
        assert_eq!((task.rounds.min_updates, task.rounds.max_updates), (10, 10));
        let task = build_task(&options(RuleName::TrimmedMean), 10)
            .unwrap()
            .task;
        assert_eq!(task.rule, RuleSpec::TrimmedMean { f: 4 });
        assert_eq!((task.rounds.min_updates, task.rounds.max_updates), (9, 10));
    }

    #[test]
    fn the_model_has_the_bytes_of_the_manifest_and_the_root_of_the_bytes() {
        let BuiltTask { task, model } = build_task(&options(RuleName::Median), 4).unwrap();
        assert_eq!(task.payload_bytes(), model.len() as u64);
        assert_eq!(
            task.initial_model.as_bytes(),
            blake3::hash(&model).as_bytes()
        );
        assert_eq!(model.len(), (64 * 10 + 10) * 4);
    }

    #[test]
    fn parameters_of_other_rules_are_refused() {
        for (rule, change) in [
            (
                RuleName::Median,
                (|o: &mut TaskOptions| o.f = Some(1)) as fn(&mut TaskOptions),
            ),
            (RuleName::FedAvg, |o| o.f = Some(1)),
            (RuleName::Krum, |o| o.m = Some(1)),
            (RuleName::Krum, |o| o.weight_cap = Some(1)),
            (RuleName::Median, |o| o.server_lr = 0.0),
            (RuleName::Median, |o| o.server_lr = f64::NAN),
        ] {
            let mut options = options(rule);
            change(&mut options);
            assert!(
                matches!(build_task(&options, 10), Err(TestnetError::Option { .. })),
                "{rule}"
            );
        }
    }
}
