//! The processes of a devnet: generated, started, watched and stopped through the binary alone.
//!
//! Every child holds the read end of a pipe as its standard input and stops when that closes, so
//! that no process outlives the devnet, however it ends.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cifer_client::{Client, GatewayOptions, Gateways, Network as Trust};
use cifer_genesis::{Genesis, GenesisHash};
use nix::{sys::signal, unistd::Pid};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{DevnetError, DevnetOptions};

/// Time for a child to end after it was asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Deadline of a round in block time. Rounds of a devnet close when everybody has sent; this only
/// matters when a contributor dies.
const DEADLINE_MS: u64 = 20_000;

/// The generated network on disk.
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    pub(crate) genesis: Genesis,
    pub(crate) genesis_hash: GenesisHash,
    /// Name and gRPC address of each node.
    pub(crate) nodes: Vec<(String, String)>,
    /// Deletes the folder at the end, unless it is kept.
    _temporary: Option<TempDir>,
}

impl Layout {
    /// Has the binary generate genesis, keys and home folders.
    pub(crate) async fn generate(options: &DevnetOptions) -> Result<Self, DevnetError> {
        let (dir, temporary) = match &options.keep {
            Some(dir) => (dir.clone(), None),
            None => {
                let folder = tempfile::Builder::new()
                    .prefix("cifer-devnet-")
                    .tempdir()
                    .map_err(|source| io(Path::new("temporary folder"), source))?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let output = Command::new(&options.binary)
            .args(generate_arguments(options, &dir)?)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| io(&options.binary, source))?;
        if !output.status.success() {
            return Err(DevnetError::Options(format!(
                "the network could not be generated: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        let genesis = Genesis::load(&dir.join("genesis.toml"))
            .map_err(|error| DevnetError::Genesis(error.to_string()))?;
        let mut nodes = Vec::new();
        for index in 0..options.validators {
            let name = format!("validator-{index}");
            let address = grpc_address(&dir.join(&name))?;
            nodes.push((name, format!("http://{address}")));
        }
        let genesis_hash = genesis.hash();
        Ok(Self {
            dir,
            genesis,
            genesis_hash,
            nodes,
            _temporary: temporary,
        })
    }
}

fn generate_arguments(options: &DevnetOptions, dir: &Path) -> Result<Vec<String>, DevnetError> {
    let pipeline = options.pipeline()?;
    let mut arguments: Vec<String> = vec!["testnet".into(), "generate".into()];
    let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    add("--output", dir.display().to_string());
    add("--validators", options.validators.to_string());
    add("--contributors", options.contributors.to_string());
    add("--chain-id", format!("devnet-{}", options.seed));
    add("--rule", pipeline.to_string());
    add("--min-updates", options.min_updates()?.to_string());
    add("--max-updates", options.contributors.to_string());
    add("--deadline-ms", DEADLINE_MS.to_string());
    add("--max-rounds", options.rounds.to_string());
    add("--dataset", options.dataset.to_string());
    add("--model", options.model.to_string());
    add("--seed", options.seed.to_string());
    if let Some(dir) = &options.mnist_dir {
        add("--mnist-dir", dir.display().to_string());
    }
    if let Some(group_size) = options.private {
        arguments.push("--private".to_owned());
        arguments.extend(["--group-size".to_owned(), group_size.to_string()]);
    }
    for (flag, value) in [
        ("--noise", options.noise),
        ("--clip-norm", options.clip_norm),
    ] {
        if let Some(value) = value {
            arguments.extend([flag.to_owned(), value.to_string()]);
        }
    }
    arguments.push("--free-ports".to_owned());
    Ok(arguments)
}

/// The part of a node's `config.toml` that the devnet needs.
#[derive(Deserialize)]
struct ConfigFile {
    grpc: GrpcSection,
}

#[derive(Deserialize)]
struct GrpcSection {
    listen: String,
}

fn grpc_address(home: &Path) -> Result<String, DevnetError> {
    let path = home.join("config.toml");
    let text = std::fs::read_to_string(&path).map_err(|source| io(&path, source))?;
    let config: ConfigFile = toml::from_str(&text)
        .map_err(|error| DevnetError::Genesis(format!("{}: {error}", path.display())))?;
    Ok(config.grpc.listen)
}

fn io(path: &Path, source: std::io::Error) -> DevnetError {
    DevnetError::Io {
        path: path.display().to_string(),
        source,
    }
}

/// Training times that contributors reported, by round: the slowest of each.
#[derive(Clone, Default)]
pub(crate) struct TrainingTimes(Arc<Mutex<BTreeMap<u64, f64>>>);

impl TrainingTimes {
    pub(crate) fn of(&self, round: u64) -> f64 {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.get(&round).copied().unwrap_or_default()
    }

    fn note(&self, round: u64, train_ms: f64) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slowest = times.entry(round).or_default();
        *slowest = slowest.max(train_ms);
    }
}

/// A line that a contributor prints.
#[derive(Deserialize)]
struct ContributorLine {
    event: String,
    round: Option<u64>,
    train_ms: Option<f64>,
}

struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

/// The running network.
pub(crate) struct Network {
    pub(crate) layout: Layout,
    pub(crate) client: Client,
    pub(crate) times: TrainingTimes,
    nodes: Vec<Process>,
    contributors: Vec<Process>,
}

impl Network {
    /// Starts the nodes.
    pub(crate) fn start(options: &DevnetOptions, layout: Layout) -> Result<Self, DevnetError> {
        let addresses: Vec<String> = layout.nodes.iter().map(|(_, url)| url.clone()).collect();
        let client = Client::new(
            Trust::new(layout.genesis.clone())?,
            Gateways::new(&addresses, GatewayOptions::default())?,
        );
        let mut nodes = Vec::new();
        for (name, _) in &layout.nodes {
            let home = layout.dir.join(name).display().to_string();
            let arguments = ["start", "--exit-with-stdin", "--home", &home];
            nodes.push(spawn(
                options,
                &layout.dir,
                name,
                &arguments,
                Stdio::null(),
            )?);
        }
        Ok(Self {
            layout,
            client,
            times: TrainingTimes::default(),
            nodes,
            contributors: Vec::new(),
        })
    }

    /// Starts the contributors. Each has another gateway first and all of them behind it.
    pub(crate) fn start_contributors(
        &mut self,
        options: &DevnetOptions,
    ) -> Result<(), DevnetError> {
        for index in 0..options.contributors {
            let name = format!("contributor-{index}");
            let arguments = contribute_arguments(options, &self.layout, index);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let mut process = spawn(options, &self.layout.dir, &name, &arguments, Stdio::piped())?;
            if let Some(stdout) = process.child.stdout.take() {
                let times = self.times.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stdout).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        if let Ok(line) = serde_json::from_str::<ContributorLine>(&line)
                            && line.event == "update"
                            && let (Some(round), Some(train_ms)) = (line.round, line.train_ms)
                        {
                            times.note(round, train_ms);
                        }
                    }
                });
            }
            self.contributors.push(process);
        }
        Ok(())
    }

    /// Says which node died, if one did.
    pub(crate) fn check(&mut self) -> Result<(), DevnetError> {
        for process in &mut self.nodes {
            if let Ok(Some(status)) = process.child.try_wait() {
                return Err(DevnetError::Process {
                    name: process.name.clone(),
                    problem: format!("ended with {status}"),
                    log: process.log.display().to_string(),
                });
            }
        }
        Ok(())
    }

    /// Asks everybody to end, contributors first, and waits.
    pub(crate) async fn stop(&mut self) {
        stop(&mut self.contributors).await;
        stop(&mut self.nodes).await;
    }
}

async fn stop(processes: &mut [Process]) {
    for process in processes.iter() {
        if let Some(id) = process.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = signal::kill(Pid::from_raw(id), signal::Signal::SIGTERM);
        }
    }
    for process in processes {
        if tokio::time::timeout(GRACE, process.child.wait())
            .await
            .is_err()
        {
            tracing::warn!(name = process.name, "did not end in time; killed");
            let _ = process.child.kill().await;
        }
    }
}

fn spawn(
    options: &DevnetOptions,
    dir: &Path,
    name: &str,
    arguments: &[&str],
    stdout: Stdio,
) -> Result<Process, DevnetError> {
    let log = dir.join(format!("{name}.log"));
    let file = File::create(&log).map_err(|source| io(&log, source))?;
    let child = Command::new(&options.binary)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(file)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| io(&options.binary, source))?;
    Ok(Process {
        name: name.to_owned(),
        log,
        child,
    })
}

fn contribute_arguments(options: &DevnetOptions, layout: &Layout, index: usize) -> Vec<String> {
    let mut gateways: Vec<&str> = layout.nodes.iter().map(|(_, url)| url.as_str()).collect();
    let first = index % gateways.len();
    gateways.rotate_left(first);
    let path = |name: String| layout.dir.join(name).display().to_string();
    let mut arguments: Vec<String> = vec![
        "contribute".into(),
        "--exit-with-stdin".into(),
        "--json".into(),
    ];
    let mut add = |flag: &str, value: String| arguments.extend([flag.to_owned(), value]);
    add("--key", path(format!("contributor-{index}.key")));
    add("--genesis", path("genesis.toml".to_owned()));
    add("--grpc", gateways.join(","));
    add("--dataset", options.dataset.to_string());
    add("--model", options.model.to_string());
    add("--contributors", options.contributors.to_string());
    add("--index", index.to_string());
    add("--alpha", options.partition.to_string());
    add("--seed", options.seed.to_string());
    if let Some(dir) = &options.mnist_dir {
        add("--mnist-dir", dir.display().to_string());
    }
    if index >= options.contributors - options.byzantine {
        add("--attack", options.attack.name().to_owned());
        add("--byzantine", options.byzantine.to_string());
        if let Some(scale) = options.attack_scale {
            add("--attack-scale", scale.to_string());
        }
    }
    arguments
}
