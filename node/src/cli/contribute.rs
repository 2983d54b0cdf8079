//! `cifer contribute`: trains, and sends updates through gateways that it does not trust.
//!
//! Every option is a setting of the section `[contribute]`, so that `cifer start` can run the same
//! contributor from its home folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cifer_client::{
    Client, ContributorConfig, ContributorEvent, GatewayOptions, Gateways, Network, TlsFiles,
    TrainerConfig, UpdateReport, UpdateSource,
};
use cifer_genesis::Genesis;
use cifer_node::config::{ContributeConfig, NodeConfig};
use cifer_node::error::{Exit, Failure};
use cifer_node::home::Home;
use cifer_node::keys::read_key_file;
use cifer_training::{Hyperparameters, TaskSpec};
use tokio_util::sync::CancellationToken;

use super::client::Connection;
use super::global::{Flags, Global};
use super::output::{or_dash, print};
use super::runtime::{Workers, run_until_stopped};

/// How long all gateways may be away before one operation counts as failed and is tried anew.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Key file of the contributor [default: contributor.key of the home folder]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
    /// Task to train
    #[arg(long, value_name = "ID")]
    task: Option<u32>,
    /// Rounds to take part in [default: until the task ends]
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
    /// Send the bytes of this file instead of training
    #[arg(long, value_name = "FILE")]
    update_file: Option<PathBuf>,
    /// Samples to report for --update-file
    #[arg(long, value_name = "N", default_value_t = 1, requires = "update_file")]
    samples: u64,
    /// Stop when standard input ends
    #[arg(long)]
    exit_with_stdin: bool,
    #[command(flatten)]
    training: TrainingArgs,
}

/// Texts go to the settings as they are, which check them.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
struct TrainingArgs {
    /// digits or mnist
    #[arg(long)]
    dataset: Option<String>,
    /// Folder of the MNIST files
    #[arg(long, value_name = "DIR")]
    mnist_dir: Option<PathBuf>,
    /// softmax, mlp or mlp:HIDDEN_UNITS
    #[arg(long)]
    model: Option<String>,
    /// Shards that the data is split into
    #[arg(long, value_name = "N")]
    contributors: Option<usize>,
    /// Which of the shards is ours, from 0
    #[arg(long, value_name = "I")]
    index: Option<usize>,
    /// iid, the alpha of a Dirichlet partition, similarity:GAMMA or extreme
    #[arg(long)]
    alpha: Option<String>,
    /// Seed of split, partition and minibatches
    #[arg(long)]
    seed: Option<u64>,
    /// Step size of local SGD
    #[arg(long, value_name = "X")]
    learning_rate: Option<f64>,
    /// Momentum of local SGD
    #[arg(long, value_name = "X")]
    momentum: Option<f64>,
    /// Passes over the shard in a round
    #[arg(long, value_name = "N")]
    local_epochs: Option<u64>,
    /// Samples of a minibatch
    #[arg(long, value_name = "N")]
    batch_size: Option<u64>,
    /// Correction for skewed labels, 0 (none) to 10
    #[arg(long, value_name = "X")]
    logit_adjustment: Option<f64>,
    /// For tests: an attack, by the names of `cifer devnet --attack`
    #[arg(long)]
    attack: Option<String>,
    /// Strength of the attack
    #[arg(long, value_name = "X")]
    attack_scale: Option<f64>,
    /// Attackers among the contributors, the last ones
    #[arg(long, value_name = "N")]
    byzantine: Option<usize>,
}

impl Args {
    fn flags(&self) -> Flags {
        fn text(value: &Option<impl ToString>) -> Option<String> {
            value.as_ref().map(ToString::to_string)
        }
        let training = &self.training;
        let mnist_dir = training.mnist_dir.as_ref();
        let mnist_dir = mnist_dir.map(|dir| std::path::absolute(dir).unwrap_or(dir.clone()));
        let values = [
            ("task", text(&self.task)),
            ("rounds", text(&self.rounds)),
            ("dataset", training.dataset.clone()),
            ("mnist_dir", mnist_dir.map(|dir| dir.display().to_string())),
            ("model", training.model.clone()),
            ("contributors", text(&training.contributors)),
            ("index", text(&training.index)),
            ("alpha", training.alpha.clone()),
            ("seed", text(&training.seed)),
            ("learning_rate", text(&training.learning_rate)),
            ("momentum", text(&training.momentum)),
            ("local_epochs", text(&training.local_epochs)),
            ("batch_size", text(&training.batch_size)),
            ("logit_adjustment", text(&training.logit_adjustment)),
            ("attack", training.attack.clone()),
            ("attack_scale", text(&training.attack_scale)),
            ("byzantine", text(&training.byzantine)),
        ];
        let mut flags = self.connection.flags();
        flags.extend(
            values
                .into_iter()
                .filter_map(|(key, value)| Some((format!("contribute.{key}"), value?))),
        );
        flags
    }
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let home = global.home()?;
    let config = global.load(&home, args.flags())?;
    let key = args.key.unwrap_or_else(|| home.contributor_key_path());
    let genesis = args
        .connection
        .genesis
        .unwrap_or_else(|| home.genesis_path());
    let source = args.update_file.map(|path| UpdateSource::File {
        path,
        samples: args.samples,
    });
    run_until_stopped(args.exit_with_stdin, Workers::One, |stop| {
        contribute(
            Inputs {
                key,
                genesis,
                source,
                json: global.json,
            },
            config,
            stop,
        )
    })
}

/// The contributor of a home folder, for `cifer start`.
pub(crate) async fn run_home(
    home: &Home,
    config: NodeConfig,
    json: bool,
    stop: CancellationToken,
) -> eyre::Result<()> {
    let _lock = home.lock()?;
    let (key, genesis) = (home.contributor_key_path(), home.genesis_path());
    contribute(
        Inputs {
            key,
            genesis,
            source: None,
            json,
        },
        config,
        stop,
    )
    .await
}

struct Inputs {
    key: PathBuf,
    genesis: PathBuf,
    /// What is sent; by default what training gives.
    source: Option<UpdateSource>,
    json: bool,
}

async fn contribute(
    inputs: Inputs,
    config: NodeConfig,
    stop: CancellationToken,
) -> eyre::Result<()> {
    let key = read_key_file(&inputs.key)?;
    let genesis = Genesis::load(&inputs.genesis)?;
    let network = Network::new(genesis)?;
    let settings = &config.contribute;
    let gateways = Gateways::new(&settings.gateways, gateway_options(settings))?;
    let contributor = ContributorConfig {
        key,
        name: config.name.clone(),
        task: settings.task,
        source: inputs.source.unwrap_or_else(|| training(settings)),
        rounds: settings.rounds,
        record: Some(record_path(&inputs.key)),
    };
    let mut printed = Ok(());
    let closed = stop.clone();
    let report = |event: &ContributorEvent| {
        if printed.is_ok() {
            printed = show(inputs.json, event);
            // Nobody reads any more.
            if printed.is_err() {
                closed.cancel();
            }
        }
    };
    cifer_client::contribute(Client::new(network, gateways), contributor, stop, report)
        .await
        .map_err(|error| unregistered(&inputs.key, error))?;
    printed
}

/// The record of signed rounds lies beside the key, whose reputation it protects.
fn record_path(key: &Path) -> PathBuf {
    let mut path = key.as_os_str().to_owned();
    path.push(".signed");
    path.into()
}

fn gateway_options(settings: &ContributeConfig) -> GatewayOptions {
    let (cert, key) = settings.tls_identity.clone().unzip();
    GatewayOptions {
        tls: TlsFiles {
            ca: settings.tls_ca.clone(),
            cert,
            key,
        },
        give_up_after: GIVE_UP_AFTER,
        ..GatewayOptions::default()
    }
}

fn training(settings: &ContributeConfig) -> UpdateSource {
    let tuned = Hyperparameters::tuned(settings.dataset, settings.model);
    let given = &settings.training;
    let hyperparameters = Hyperparameters {
        epochs: given.local_epochs.unwrap_or(tuned.epochs),
        batch_size: given.batch_size.unwrap_or(tuned.batch_size),
        learning_rate: given.learning_rate.unwrap_or(tuned.learning_rate),
        momentum: given.momentum.unwrap_or(tuned.momentum),
        logit_adjustment: given.logit_adjustment.unwrap_or(tuned.logit_adjustment),
    };
    UpdateSource::Train(Box::new(TrainerConfig {
        spec: TaskSpec {
            dataset: settings.dataset,
            model: settings.model,
            partition: settings.partition,
            contributors: settings.contributors,
            seed: settings.seed,
            hyperparameters: Some(hyperparameters),
            mnist_dir: settings.mnist_dir.clone(),
        },
        index: settings.index,
        attack: settings.attack,
        byzantine: settings.byzantine,
    }))
}

/// A contributor that is not let in needs another advice than one whose request is malformed.
fn unregistered(key: &Path, error: cifer_client::ClientError) -> eyre::Report {
    if let cifer_client::ClientError::Config {
        field: "contributor",
        ..
    } = &error
    {
        let next = format!(
            "have the key that `cifer keys show {}` prints put into the genesis document",
            key.display()
        );
        return Failure::new(Exit::Failure, error, next).into();
    }
    error.into()
}

fn show(json: bool, event: &ContributorEvent) -> eyre::Result<()> {
    if json {
        return print(serde_json::to_string(event)?);
    }
    match event {
        ContributorEvent::Started {
            contributor,
            chain_id,
            task,
        } => print(format_args!(
            "contributing to task {task} of {chain_id} as {contributor}"
        )),
        ContributorEvent::Update(update) => print(update_line(update)),
        ContributorEvent::Skipped { round, reason } => {
            print(format_args!("round {round}: nothing sent: {reason}"))
        }
        ContributorEvent::Trouble { message, .. } => {
            print(format_args!("trouble, trying again: {message}"))
        }
        ContributorEvent::Finished(summary) => print(format_args!(
            "finished: {} updates sent, {} certified",
            summary.rounds, summary.certified
        )),
    }
}

fn update_line(update: &UpdateReport) -> String {
    let accuracy = update
        .accuracy
        .map(|accuracy| format!("{:.1} %", accuracy * 100.0));
    let outcome = format!("{:?}", update.result).to_lowercase();
    let reason = update
        .reason
        .as_ref()
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default();
    format!(
        "round {}: {outcome}{reason} (local accuracy {}, download {:.0} ms, train {:.0} ms, submit {:.0} ms)",
        update.round,
        or_dash(accuracy),
        update.download_ms,
        update.train_ms,
        update.submit_ms,
    )
}
