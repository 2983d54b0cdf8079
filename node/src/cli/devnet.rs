//! `cifer devnet`: a whole network of processes on this machine.

use std::path::PathBuf;

use cifer_aggregation::{Attack, RuleName, Template};
use cifer_devnet::{DevnetOptions, Output};
use cifer_node::error::{Exit, Failure};
use cifer_training::{DatasetKind, ModelKind, Partition};

use super::global::Global;
use super::runtime::{Workers, run_until_stopped};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Validators; 1 is federated learning on one trusted node
    #[arg(long, value_name = "N", default_value_t = 4)]
    validators: usize,
    /// Contributors
    #[arg(long, value_name = "N", default_value_t = 10)]
    contributors: usize,
    /// Attackers among the contributors [default: 3, with --private 1: three groups bear one bad group]
    #[arg(long, value_name = "N")]
    byzantine: Option<usize>,
    /// What they do: sign-flip, alie, ipm, gaussian, label-flip, nan, none, opt-ipm, opt-alie, mimic, infinity,
    /// min-max, min-sum or scaling
    #[arg(long, default_value = "sign-flip")]
    attack: Attack,
    /// Strength of the attack
    #[arg(long, value_name = "X")]
    attack_scale: Option<f64>,
    /// A rule, such as multi-krum, trimmed-mean, median or fedavg, or a pipeline, such as
    /// clip,nnm,trimmed-mean or clip:radius=2,nnm,trimmed-mean; docs/rules.md has all of them
    /// [default: multi-krum, with --private trimmed-mean]
    #[arg(long)]
    rule: Option<Template>,
    /// Encrypt updates: nobody sees one, the rule runs over the means of random groups
    #[arg(long)]
    private: bool,
    /// Contributors of a group
    #[arg(long, value_name = "N", default_value_t = 3, requires = "private")]
    group_size: usize,
    /// Differential privacy: standard deviation of the noise that a contributor adds, over the largest norm of its update
    #[arg(long, value_name = "X", requires = "private")]
    noise: Option<f64>,
    /// L2 norm that updates are clipped to before noise is added [default: 1]
    #[arg(long, value_name = "X", requires = "noise")]
    clip_norm: Option<f64>,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 20)]
    rounds: u64,
    /// iid, the alpha of a Dirichlet partition, similarity:GAMMA or extreme
    #[arg(long, default_value = "1.0")]
    alpha: Partition,
    /// digits or mnist
    #[arg(long, default_value = "digits")]
    dataset: DatasetKind,
    /// softmax, mlp or mlp:HIDDEN_UNITS
    #[arg(long, default_value = "softmax")]
    model: ModelKind,
    /// Folder of the MNIST files
    #[arg(long, value_name = "DIR")]
    mnist_dir: Option<PathBuf>,
    /// Seed of data split, partition, initial model and training
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// table or json
    #[arg(long, default_value = "table")]
    output: Format,
    /// Keep home folders and logs here
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    global.log_without_settings();
    let attack = match args.attack_scale {
        Some(scale) => args.attack.with_scale(scale),
        None => args.attack,
    };
    let json = global.json || args.output == Format::Json;
    let options = DevnetOptions {
        binary: std::env::current_exe()?,
        validators: args.validators,
        contributors: args.contributors,
        byzantine: args.byzantine.unwrap_or(if args.private { 1 } else { 3 }),
        attack,
        attack_scale: args.attack_scale,
        rule: args.rule.unwrap_or_else(|| {
            let private = args.private;
            Template::from(if private {
                RuleName::TrimmedMean
            } else {
                RuleName::MultiKrum
            })
        }),
        rounds: args.rounds,
        partition: args.alpha,
        dataset: args.dataset,
        model: args.model,
        seed: args.seed,
        output: if json { Output::Json } else { Output::Table },
        keep: args.keep,
        mnist_dir: args.mnist_dir,
        private: args.private.then_some(args.group_size),
        noise: args.noise,
        clip_norm: args.clip_norm,
    };
    let summary = run_until_stopped(false, Workers::One, |stop| async move {
        Ok(cifer_devnet::run(options, stop).await?)
    })?;
    if summary.roots_agree {
        return Ok(());
    }
    let next = "run it again with --keep DIR and compare the logs of the nodes that differ";
    Err(Failure::new(Exit::VerificationFailed, "the nodes do not agree", next).into())
}
