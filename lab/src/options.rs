//! A matrix from the command line: a preset, and whatever is said otherwise.

use std::path::PathBuf;

use cifer_aggregation::Attack;
use cifer_training::{DatasetKind, ModelKind, Partition};

use crate::attack::AttackSpec;
use crate::cell::Training;
use crate::history::History;
use crate::matrix::Matrix;
use crate::run::RunOptions;

/// Options of `cifer lab`. Lists are separated by commas, except pipelines, which have commas in them.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the other options start from
    #[arg(long, value_enum, default_value = "quick")]
    preset: Preset,
    /// Folder of results; cells that are in it are not trained again
    #[arg(long, value_name = "DIR", default_value = "lab")]
    pub output: PathBuf,
    /// Pipeline of the validators, such as clip,nnm,trimmed-mean (again for more)
    #[arg(long, value_name = "STAGES")]
    pipeline: Vec<String>,
    /// Use of earlier rounds: none, momentum:BETA, center:RADIUS, foolsgold
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    history: Vec<History>,
    /// Attacks, with a strength after a colon if not the default; none for nobody
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    attack: Vec<AttackSpec>,
    /// Heterogeneity: iid, a Dirichlet alpha, similarity:GAMMA, extreme
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    partition: Vec<Partition>,
    /// Attackers, beside the honest contributors
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    f: Vec<u32>,
    /// Honest contributors
    #[arg(long, value_name = "N")]
    honest: Option<u32>,
    /// digits or mnist
    #[arg(long)]
    dataset: Option<DatasetKind>,
    /// softmax, mlp or mlp:HIDDEN_UNITS
    #[arg(long)]
    model: Option<ModelKind>,
    /// Rounds of a training
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Samples of a minibatch
    #[arg(long, value_name = "N")]
    batch_size: Option<u32>,
    /// Step size
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f32>,
    /// Momentum at the contributors
    #[arg(long, value_name = "BETA")]
    momentum: Option<f32>,
    /// Weight decay
    #[arg(long, value_name = "SHARE")]
    weight_decay: Option<f32>,
    /// Weight of the logit adjustment
    #[arg(long, value_name = "WEIGHT")]
    logit_adjustment: Option<f32>,
    /// Look at an average of the models that keeps this share each round
    #[arg(long, value_name = "SHARE")]
    averaging: Option<f32>,
    /// Rounds between two looks at the test set
    #[arg(long, value_name = "N")]
    evaluate_every: Option<u32>,
    /// Rounds between two searches of opt-ipm and opt-alie
    #[arg(long, value_name = "N")]
    search_every: Option<u32>,
    /// Coordinates on which they search, 0 for all
    #[arg(long, value_name = "N")]
    search_coordinates: Option<u32>,
    /// Seeds; tables are means over them
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    seed: Vec<u64>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Folder of the MNIST files
    #[arg(long, value_name = "DIR")]
    mnist_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Preset {
    /// Five pipelines under five attacks and none on digits; seconds
    Quick,
    /// The worst-case table of ByzFL's documentation on MNIST
    Byzfl,
}

impl Preset {
    fn matrix(self) -> Matrix {
        match self {
            Self::Quick => Matrix {
                dataset: DatasetKind::Digits,
                model: ModelKind::Mlp { hidden: Some(32) },
                honest: 10,
                training: Training {
                    rounds: 200,
                    batch_size: 16,
                    learning_rate: 0.2,
                    momentum: 0.9,
                    weight_decay: 0.0,
                    logit_adjustment: 0.0,
                    averaging: 0.0,
                    evaluate_every: 20,
                    search_every: 5,
                    search_coordinates: 0,
                },
                partitions: vec![
                    Partition::Iid,
                    Partition::Similarity { gamma: 0.33 },
                    Partition::Similarity { gamma: 0.0 },
                ],
                byzantine: vec![3],
                pipelines: [
                    "fedavg",
                    "median",
                    "trimmed-mean",
                    "multi-krum",
                    "clip,nnm,trimmed-mean",
                ]
                .map(String::from)
                .to_vec(),
                histories: vec![History::None],
                attacks: vec![
                    AttackSpec::NONE,
                    AttackSpec::new(Attack::SignFlip { scale: 4.0 }),
                    AttackSpec::new(Attack::InnerProduct { tau: 3.0 }),
                    AttackSpec::new(Attack::Alie { z: None }),
                    AttackSpec::new(Attack::OptimalInnerProduct),
                    AttackSpec::new(Attack::OptimalAlie),
                ],
                seeds: vec![7],
            },
            Self::Byzfl => Matrix {
                dataset: DatasetKind::Mnist,
                model: ModelKind::Mlp { hidden: Some(32) },
                honest: 10,
                training: Training {
                    rounds: 800,
                    batch_size: 25,
                    learning_rate: 0.1,
                    momentum: 0.9,
                    weight_decay: 1e-4,
                    logit_adjustment: 0.0,
                    averaging: 0.0,
                    evaluate_every: 50,
                    search_every: 5,
                    search_coordinates: 8_000,
                },
                partitions: [1.0, 0.33, 0.0]
                    .map(|gamma| Partition::Similarity { gamma })
                    .to_vec(),
                byzantine: vec![1, 2, 3, 4],
                pipelines: vec!["clip,nnm,trimmed-mean".into()],
                histories: vec![History::None],
                // What ByzFL calls sign flipping is minus the mean of the honest vectors.
                attacks: vec![
                    AttackSpec::NONE,
                    AttackSpec::new(Attack::InnerProduct { tau: 3.0 }).with_strength(1.0),
                    AttackSpec::new(Attack::OptimalInnerProduct),
                    AttackSpec::new(Attack::OptimalAlie),
                ],
                seeds: vec![0],
            },
        }
    }
}

impl Options {
    /// The matrix that the options describe.
    #[must_use]
    pub fn matrix(&self) -> Matrix {
        let preset = self.preset.matrix();
        let training = preset.training;
        Matrix {
            dataset: self.dataset.unwrap_or(preset.dataset),
            model: self.model.unwrap_or(preset.model),
            honest: self.honest.unwrap_or(preset.honest),
            training: Training {
                rounds: self.rounds.unwrap_or(training.rounds),
                batch_size: self.batch_size.unwrap_or(training.batch_size),
                learning_rate: self.learning_rate.unwrap_or(training.learning_rate),
                momentum: self.momentum.unwrap_or(training.momentum),
                weight_decay: self.weight_decay.unwrap_or(training.weight_decay),
                logit_adjustment: self.logit_adjustment.unwrap_or(training.logit_adjustment),
                averaging: self.averaging.unwrap_or(training.averaging),
                evaluate_every: self.evaluate_every.unwrap_or(training.evaluate_every),
                search_every: self.search_every.unwrap_or(training.search_every),
                search_coordinates: self
                    .search_coordinates
                    .unwrap_or(training.search_coordinates),
            },
            partitions: or(&self.partition, preset.partitions),
            byzantine: or(&self.f, preset.byzantine),
            pipelines: or(&self.pipeline, preset.pipelines),
            histories: or(&self.history, preset.histories),
            attacks: or(&self.attack, preset.attacks),
            seeds: or(&self.seed, preset.seeds),
        }
    }

    /// Threads and folders.
    #[must_use]
    pub fn run_options(&self) -> RunOptions {
        RunOptions {
            threads: self.threads,
            mnist_dir: self.mnist_dir.clone(),
        }
    }
}

fn or<T: Clone>(given: &[T], preset: Vec<T>) -> Vec<T> {
    match given {
        [] => preset,
        given => given.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn matrix(text: &str) -> Matrix {
        Cli::parse_from(text.split(' ')).options.matrix()
    }

    #[test]
    fn presets_are_what_the_documentation_says() {
        let quick = matrix("lab");
        let attacks = quick.attacks.iter().filter(|attack| !attack.is_none());
        assert_eq!((quick.pipelines.len(), attacks.count()), (5, 5));
        let byzfl = matrix("lab --preset byzfl");
        assert_eq!(byzfl.model, ModelKind::Mlp { hidden: Some(32) });
        assert_eq!(byzfl.cells().len(), 48);
        for cell in quick.cells().iter().chain(&byzfl.cells()) {
            cell.validate().unwrap();
        }
    }
}
