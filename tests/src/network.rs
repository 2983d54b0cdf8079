//! A network of nodes and contributors.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cifer_chain::{BlockHash, Height, RoundId, SecretKey, TaskId};
use cifer_client::{
    BlockSelector, Client, ClientError, GatewayOptions, Gateways, Network as Trust, PhaseView,
    RoundView, TlsFiles,
};
use cifer_genesis::{Genesis, ModelRoot, document::Tensor};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    LOOK_AGAIN, PATIENCE,
    ports::Ports,
    process::{Process, run, tail},
};

/// The task of a generated network.
pub const TASK: TaskId = TaskId(0);

/// A node.
#[derive(Debug)]
pub struct Node {
    /// `validator-<i>` or `observer-<i>`.
    pub name: String,
    /// Home folder.
    pub home: PathBuf,
    /// Base URL of the API.
    pub grpc: String,
    /// TLS files for those who use it.
    pub tls: TlsFiles,
    /// TCP port of the consensus engine.
    pub consensus_port: u16,
    /// UDP and TCP port of the data plane.
    pub data_port: u16,
    /// Its process, while it is meant to run.
    pub process: Option<Process>,
}

/// The newest block of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
}

/// A network on disk, and those of its processes that run.
#[derive(Debug)]
pub struct Network {
    dir: TempDir,
    genesis: Genesis,
    nodes: Vec<Node>,
    contributors: BTreeMap<usize, Process>,
    ports: Ports,
}

/// Why something that is waited for is not there yet.
#[derive(Debug)]
pub struct NotYet(String);

impl NotYet {
    /// Says what is there instead.
    #[must_use]
    pub fn because(state: impl Debug) -> Self {
        Self(format!("{state:?}"))
    }
}

impl From<ClientError> for NotYet {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

/// The part of `testnet generate --json` that is needed here.
#[derive(Deserialize)]
struct Generated {
    nodes: Vec<GeneratedNode>,
}

#[derive(Deserialize)]
struct GeneratedNode {
    name: String,
    home: PathBuf,
    consensus_port: u16,
    data_port: u16,
    grpc: String,
}

impl Network {
    /// Has the binary generate a network: `cifer testnet generate` with these arguments.
    ///
    /// # Panics
    /// If it refuses.
    pub async fn generate(arguments: &[&str]) -> Self {
        let ports = Ports::take();
        let dir = tempfile::Builder::new()
            .prefix("cifer-test-")
            .tempdir()
            .expect("a folder");
        let (output, base) = (dir.path().display().to_string(), ports.base.to_string());
        let mut all = vec!["--json", "testnet", "generate", "--output", &output];
        all.extend(["--base-port", &base]);
        all.extend(arguments);
        let answer = run(&all).await;
        let complaint = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(answer.status.success(), "cifer {all:?}: {complaint}");
        let generated: Generated = serde_json::from_slice(&answer.stdout).expect("one JSON object");
        let node = |node: GeneratedNode| Node {
            name: node.name,
            home: node.home,
            grpc: format!("http://{}", node.grpc),
            tls: TlsFiles::default(),
            consensus_port: node.consensus_port,
            data_port: node.data_port,
            process: None,
        };
        Self {
            genesis: Genesis::load(&dir.path().join("genesis.toml")).expect("a valid document"),
            nodes: generated.nodes.into_iter().map(node).collect(),
            contributors: BTreeMap::new(),
            dir,
            ports,
        }
    }

    /// Has the task train one tensor of this many parameters, all zero at first, instead of the
    /// built-in model. Before the start.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn replace_model(&mut self, parameters: u64) {
        let task = &mut self.genesis.tasks[0];
        task.tensors = vec![Tensor::f32("weights", &[parameters])];
        let length = task.payload_bytes();
        let write_zeros = |path: &Path| {
            let zeros = File::create(path).and_then(|file| file.set_len(length));
            zeros.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        let initial = self.dir.path().join("task-0.bin");
        write_zeros(&initial);
        let mut hasher = blake3::Hasher::new();
        hasher.update_mmap_rayon(&initial).expect("the zeros");
        task.initial_model = ModelRoot::from_bytes(*hasher.finalize().as_bytes());
        self.write_genesis();
        for node in &self.nodes {
            write_zeros(&node.home.join("models/task-0.bin"));
        }
    }

    /// Changes the document of every node and contributor. Before the start.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn change_genesis(&mut self, change: impl FnOnce(&mut Genesis)) {
        change(&mut self.genesis);
        self.write_genesis();
    }

    fn write_genesis(&self) {
        let document = self.genesis.to_toml().expect("a document");
        let homes = self.nodes.iter().map(|node| node.home.clone());
        for folder in homes.chain([self.dir.path().to_owned()]) {
            std::fs::write(folder.join("genesis.toml"), &document).expect("genesis written");
        }
    }

    /// The folder of homes, keys and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The genesis document.
    #[must_use]
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// A node; validators come first.
    #[must_use]
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The first of ten ports that no node has.
    #[must_use]
    pub fn spare_port(&self) -> u16 {
        self.ports.base + 90
    }

    /// The secret key of a contributor.
    ///
    /// # Panics
    /// If its file is not there.
    #[must_use]
    pub fn contributor_key(&self, index: usize) -> SecretKey {
        secret_key(&self.dir().join(format!("contributor-{index}.key")))
    }

    /// The secret key of a validator.
    ///
    /// # Panics
    /// If its file is not there.
    #[must_use]
    pub fn validator_key(&self, index: usize) -> SecretKey {
        secret_key(&self.nodes[index].home.join("node.key"))
    }

    /// A client of these nodes, which verifies what they say.
    ///
    /// # Panics
    /// If genesis does not hold.
    #[must_use]
    pub fn client(&self, nodes: &[usize]) -> Client {
        let addresses: Vec<String> = nodes.iter().map(|i| self.nodes[*i].grpc.clone()).collect();
        let tls = nodes.first().map(|i| self.nodes[*i].tls.clone());
        self.client_with(&addresses, tls.unwrap_or_default())
    }

    /// A client of nodes at these addresses, which verifies what they say.
    ///
    /// # Panics
    /// If genesis does not hold.
    #[must_use]
    pub fn client_of(&self, addresses: &[String]) -> Client {
        self.client_with(addresses, TlsFiles::default())
    }

    /// The same, over TLS where there are files for it.
    ///
    /// # Panics
    /// If genesis does not hold, or a file cannot be used.
    #[must_use]
    pub fn client_with(&self, addresses: &[String], tls: TlsFiles) -> Client {
        let options = GatewayOptions {
            tls,
            request_timeout: Duration::from_secs(30),
            idle_timeout: PATIENCE,
            verdict_timeout: PATIENCE,
            give_up_after: Duration::ZERO,
            ..GatewayOptions::default()
        };
        let trust = Trust::new(self.genesis.clone()).expect("a valid document");
        Client::new(trust, Gateways::new(addresses, options).expect("addresses"))
    }

    /// Starts a node, with more arguments for `cifer start`.
    pub fn start_node_with(&mut self, index: usize, more: &[&str]) {
        let node = &mut self.nodes[index];
        assert!(node.process.is_none(), "{} runs already", node.name);
        let home = node.home.display().to_string();
        let mut arguments = vec!["start", "--exit-with-stdin", "--home", &home];
        arguments.extend(more);
        node.process = Some(Process::spawn(self.dir.path(), &node.name, &arguments));
    }

    /// Starts a node.
    pub fn start_node(&mut self, index: usize) {
        self.start_node_with(index, &[]);
    }

    /// Has every node serve its API over TLS, and let in only clients of this authority: the caller
    /// starts them with the settings that do so.
    pub fn speak_tls(&mut self, tls: &TlsFiles) {
        for node in &mut self.nodes {
            node.grpc = node.grpc.replace("http://", "https://");
            node.tls = tls.clone();
        }
    }

    /// Starts all nodes and waits until they are connected with each other.
    pub async fn start(&mut self) {
        for index in 0..self.nodes.len() {
            self.start_node(index);
        }
        self.connected().await;
    }

    /// Waits until every node that runs answers and has a connection to every other one.
    pub async fn connected(&mut self) {
        let running: Vec<usize> = self.running().collect();
        let others = running.len() - 1;
        for index in running {
            let client = self.client(&[index]);
            let what = format!("{others} peers of {}", self.nodes[index].name);
            self.until(&what, async || {
                let status = client.status().await?;
                let connected = status.peers as usize >= others;
                connected
                    .then_some(())
                    .ok_or_else(|| NotYet::because(status))
            })
            .await;
        }
    }

    /// The nodes that are meant to run.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.process.is_some())
            .map(|(index, _)| index)
    }

    /// Kills a node as a power failure would.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill_node(&mut self, index: usize) {
        self.nodes[index]
            .process
            .take()
            .expect("a running node")
            .kill()
            .await;
    }

    /// Stops a node with SIGTERM.
    ///
    /// # Panics
    /// If it does not exit with 0.
    pub async fn stop_node(&mut self, index: usize) {
        let process = self.nodes[index].process.take().expect("a running node");
        let status = process.terminate().await;
        assert!(
            status.success(),
            "{} ended with {status}",
            self.nodes[index].name
        );
    }

    /// Stops contributors and nodes with SIGTERM.
    ///
    /// # Panics
    /// If one of them does not exit with 0.
    pub async fn stop(&mut self) {
        while let Some((index, process)) = self.contributors.pop_first() {
            let status = process.terminate().await;
            assert!(status.success(), "contributor {index} ended with {status}");
        }
        for index in self.running().collect::<Vec<_>>() {
            self.stop_node(index).await;
        }
    }

    /// Starts a contributor, with more arguments for `cifer contribute`; its first gateway is node
    /// `index` modulo the number of nodes, and all others stand behind it.
    pub fn contribute(&mut self, index: usize, more: &[&str]) {
        let mut gateways: Vec<&str> = self.nodes.iter().map(|node| node.grpc.as_str()).collect();
        let first = index % gateways.len();
        gateways.rotate_left(first);
        let path = |name: &str| self.dir().join(name).display().to_string();
        let (key, genesis) = (
            path(&format!("contributor-{index}.key")),
            path("genesis.toml"),
        );
        let (gateways, shard) = (gateways.join(","), index.to_string());
        let shards = self.genesis.contributors.allowed.len().to_string();
        let mut arguments = vec!["contribute", "--exit-with-stdin", "--json", "--key", &key];
        arguments.extend(["--genesis", &genesis, "--grpc", &gateways]);
        arguments.extend(["--contributors", &shards, "--index", &shard]);
        arguments.extend(more);
        let name = format!("contributor-{index}");
        let process = Process::spawn(self.dir.path(), &name, &arguments);
        let before = self.contributors.insert(index, process);
        assert!(before.is_none(), "{name} runs already");
    }

    /// Waits until a contributor ends by itself, with exit code 0, and gives the lines it printed.
    ///
    /// # Panics
    /// If it does not run, or fails.
    pub async fn contributor_ended(&mut self, index: usize) -> Vec<Value> {
        let mut process = self
            .contributors
            .remove(&index)
            .expect("a running contributor");
        let status = process.wait().await;
        assert!(status.success(), "contributor {index} ended with {status}");
        let path = self.dir().join(format!("contributor-{index}.out"));
        json_lines(&std::fs::read(path).expect("its output"))
    }

    /// Asks again and again until there is an answer.
    ///
    /// # Panics
    /// If a process of the network fails meanwhile, or after [`PATIENCE`], with the last reason.
    pub async fn until<T>(
        &mut self,
        what: &str,
        mut probe: impl AsyncFnMut() -> Result<T, NotYet>,
    ) -> T {
        let start = Instant::now();
        loop {
            self.check();
            let NotYet(why) = match probe().await {
                Ok(answer) => return answer,
                Err(reason) => reason,
            };
            assert!(
                start.elapsed() < PATIENCE,
                "waited in vain for {what}: {why}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Fails if a process that is meant to run does not.
    fn check(&mut self) {
        for node in &mut self.nodes {
            if let Some(status) = node.process.as_mut().and_then(Process::ended) {
                panic!("{} ended with {status}", node.name);
            }
        }
        for (index, contributor) in &mut self.contributors {
            if let Some(status) = contributor.ended() {
                assert!(status.success(), "contributor {index} ended with {status}");
            }
        }
    }

    /// Waits until a round has ended at a node.
    pub async fn round_ended(&mut self, node: usize, round: u64) -> RoundView {
        let client = self.client(&[node]);
        self.until(&format!("the end of round {round}"), async || {
            let view = client.round(TASK, Some(RoundId(round))).await?;
            match view.summary.phase {
                PhaseView::Finalised | PhaseView::Aborted => Ok(view),
                _ => Err(NotYet::because(view.summary)),
            }
        })
        .await
    }

    /// Waits until an open round has this many updates at a node.
    pub async fn updates_accepted(&mut self, node: usize, round: u64, updates: u64) {
        let client = self.client(&[node]);
        self.until(&format!("{updates} updates of round {round}"), async || {
            let current = client.current_round(TASK, None).await?;
            let open = current.open.round.0;
            assert!(open <= round, "round {round} is over");
            let enough = open == round && current.accepted >= updates;
            enough.then_some(()).ok_or_else(|| NotYet::because(current))
        })
        .await;
    }

    /// The newest block of a node.
    pub async fn tip(&mut self, node: usize) -> Tip {
        let client = self.client(&[node]);
        self.until("the newest block", async || {
            let status = client.status().await?;
            Ok(Tip {
                height: status.height,
                hash: status.block_hash,
            })
        })
        .await
    }

    /// Waits until a node has a block at this height, and gives its hash. The block's certificate
    /// is verified.
    pub async fn block_hash(&mut self, node: usize, height: Height) -> BlockHash {
        let client = self.client(&[node]);
        self.until(&format!("block {height} at node {node}"), async || {
            let block = client.block(BlockSelector::Height(height)).await?;
            Ok(block.hash)
        })
        .await
    }

    /// Waits until every node that runs has the newest block of `leader`, the same one.
    ///
    /// # Panics
    /// If one has another.
    pub async fn agree(&mut self, leader: usize) -> Tip {
        let tip = self.tip(leader).await;
        for node in self.running().collect::<Vec<_>>() {
            let hash = self.block_hash(node, tip.height).await;
            assert_eq!(
                hash, tip.hash,
                "{} at height {}",
                self.nodes[node].name, tip.height
            );
        }
        tip
    }

    /// Has the binary verify the ledger of a node that is stopped, and gives what it found.
    ///
    /// # Panics
    /// If it finds fault.
    pub async fn verify(&self, node: usize) -> Value {
        verify_home(&self.nodes[node].home).await
    }

    /// Verifies the ledgers of all nodes; each must reach `tip` at least.
    ///
    /// # Panics
    /// If one does not.
    pub async fn verify_all(&self, tip: Tip) {
        for node in 0..self.nodes.len() {
            let report = self.verify(node).await;
            let height = report["height"].as_u64().expect("a height");
            assert!(
                height >= tip.height.0,
                "{} ends at {height}",
                self.nodes[node].name
            );
        }
    }
}

fn secret_key(path: &Path) -> SecretKey {
    let text = std::fs::read_to_string(path).expect("a key file");
    // A seed has the textual form of a hash.
    let seed: cifer_chain::Hash32 = text.trim().parse().expect("64 hex digits");
    SecretKey::from_seed(&seed.0)
}

/// Has the binary verify the ledger of a home folder, and gives what it found.
///
/// # Panics
/// If it finds fault.
pub async fn verify_home(home: &Path) -> Value {
    let answer = run(&["--json", "verify", "--home", &home.display().to_string()]).await;
    let complaint = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(
        answer.status.success(),
        "verify {}: {complaint}",
        home.display()
    );
    let report: Value = serde_json::from_slice(&answer.stdout).expect("one JSON object");
    assert_eq!(report["verified"], true);
    report
}

/// JSON objects, one a line.
///
/// # Panics
/// If a line is not one.
#[must_use]
pub fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    let parse = |line: &str| match serde_json::from_str(line) {
        Ok(value @ Value::Object(_)) => value,
        other => panic!("not a JSON object: {line:?}: {other:?}"),
    };
    text.lines().map(parse).collect()
}

impl Drop for Network {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let logs = std::fs::read_dir(self.dir())
            .into_iter()
            .flatten()
            .flatten();
        let mut logs: Vec<PathBuf> = logs.map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|suffix| suffix == "log"));
        logs.sort();
        for log in logs {
            eprintln!("--- {}", tail(&log));
        }
    }
}
