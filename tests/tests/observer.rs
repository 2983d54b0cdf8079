//! Nodes that join late: an observer of the same network, and one of another.

use std::path::{Path, PathBuf};

use cifer_chain::{ContributorId, Height, RoundId};
use cifer_client::{
    BlockSelector, Client, GatewayOptions, Gateways, ModelSelector, ModelTarget, PhaseView,
    ProofKey,
};
use cifer_genesis::Genesis;
use cifer_tests::{Network, NotYet, Process, TASK, run, verify_home};

/// A home that knows nothing but a genesis document, and arguments to start it with the addresses
/// of one validator.
struct Late {
    home: PathBuf,
    grpc: String,
    arguments: Vec<String>,
}

impl Late {
    async fn init(network: &Network, genesis: &Path) -> Self {
        let home = network.dir().join("late");
        let (folder, document) = (home.display().to_string(), genesis.display().to_string());
        let mut all = vec![
            "init", "--home", &folder, "--role", "observer", "--name", "late",
        ];
        all.extend(["--genesis", &document]);
        let answer = run(&all).await;
        assert!(answer.status.success(), "{answer:?}");
        assert!(
            !home.join("models/task-0.bin").exists(),
            "the model comes from peers"
        );

        let (known, port) = (network.node(1), network.spare_port());
        let key = network.genesis().validators[1].public_key;
        let grpc = format!("127.0.0.1:{}", port + 2);
        let data = port + 1;
        let settings = [
            format!("consensus.listen=/ip4/127.0.0.1/tcp/{port}"),
            format!(
                "consensus.peers={key}@/ip4/127.0.0.1/tcp/{}",
                known.consensus_port
            ),
            format!("data.listen=/ip4/127.0.0.1/udp/{data}/quic-v1,/ip4/127.0.0.1/tcp/{data}"),
            format!(
                "data.peers={key}@/ip4/127.0.0.1/udp/{}/quic-v1",
                known.data_port
            ),
            format!("grpc.listen={grpc}"),
            "http.listen=".to_owned(),
        ];
        let start = ["start", "--exit-with-stdin", "--home", &folder].map(str::to_owned);
        let settings = settings
            .into_iter()
            .flat_map(|setting| ["--set".to_owned(), setting]);
        Self {
            home,
            grpc: format!("http://{grpc}"),
            arguments: start.into_iter().chain(settings).collect(),
        }
    }

    fn start(&self, network: &Network) -> Process {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Process::spawn(network.dir(), "late", &arguments)
    }
}

/// Four validators that have finished three rounds.
async fn trained() -> Network {
    let mut network = Network::generate(&["--contributors", "4", "--max-rounds", "3"]).await;
    network.start().await;
    for index in 0..4 {
        network.contribute(index, &[]);
    }
    network.round_ended(0, 2).await;
    network
}

#[tokio::test]
async fn a_late_observer_syncs_and_serves() {
    let mut network = trained().await;
    let tip = network.agree(0).await;
    let late = Late::init(&network, &network.dir().join("genesis.toml")).await;
    let mut process = late.start(&network);

    // The client verifies every answer against genesis, so an observer that made things up would
    // be found out.
    let client = network.client_of(std::slice::from_ref(&late.grpc));
    let block = network
        .until("the observer's sync", async || {
            assert_eq!(process.ended(), None, "the observer ended");
            Ok(client.block(BlockSelector::Height(tip.height)).await?)
        })
        .await;
    assert_eq!(block.hash, tip.hash);
    assert!(block.verified);
    let status = client.status().await.expect("status");
    assert_eq!(
        (status.role, status.node_name.as_str()),
        ("observer", "late")
    );
    assert_eq!(status.genesis_hash, network.genesis().hash());
    assert!(status.height >= tip.height && status.healthy, "{status:?}");
    assert_eq!(status.earliest_height, Height(1), "it has the whole chain");
    // It follows the chain, too, instead of ending where it caught up.
    let next = network.block_hash(0, Height(status.height.0 + 1)).await;
    let followed = network
        .until("the next block", async || {
            Ok(client
                .block(BlockSelector::Height(Height(status.height.0 + 1)))
                .await?)
        })
        .await;
    assert_eq!(followed.hash, next);

    for round in 0..3 {
        let view = client
            .round(TASK, Some(RoundId(round)))
            .await
            .expect("a round");
        assert_eq!(view.summary.phase, PhaseView::Finalised);
        assert!(view.verified, "{view:?}");
        let tx = client.tx(view.updates[0].tx).await.expect("a transaction");
        assert!(tx.verified, "{tx:?}");
    }
    assert_eq!(client.rounds(TASK, 10).await.expect("rounds").len(), 3);
    let validators = client.validators().await.expect("validators");
    assert!(
        validators.verified && validators.validators.len() == 4,
        "{validators:?}"
    );
    let contributor = ContributorId(network.contributor_key(0).public_key());
    for key in [ProofKey::Task(TASK), ProofKey::Contributor(contributor)] {
        let proof = client.proof(&key).await.expect("a proof");
        assert!(proof.verified && proof.value.is_some(), "{proof:?}");
    }
    let absent = client
        .proof(&ProofKey::Round(TASK, RoundId(99)))
        .await
        .expect("a proof");
    assert!(absent.verified && absent.value.is_none(), "{absent:?}");

    // Its model is the validators' model. It may still be on its way from one of them.
    let ours = network.client(&[0]);
    let ours = ours
        .fetch_model(TASK, ModelSelector::Newest, ModelTarget::Memory)
        .await
        .unwrap();
    assert_eq!(ours.round(), Some(RoundId(2)));
    let theirs = network
        .until("the model at the observer", async || {
            Ok(client
                .fetch_model(TASK, ModelSelector::Newest, ModelTarget::Memory)
                .await?)
        })
        .await;
    assert_eq!(theirs.root, ours.root);
    assert_eq!(theirs.bytes, ours.bytes);
    assert!(theirs.certificate.is_some());

    assert!(process.terminate().await.success());
    let report = verify_home(&late.home).await;
    assert!(report["height"].as_u64() >= Some(tip.height.0), "{report}");
    assert_eq!(report["rounds_finalised"], 3, "{report}");
}

#[tokio::test]
async fn a_node_of_another_genesis_is_refused() {
    let mut network = trained().await;
    let mut other: Genesis = network.genesis().clone();
    other.time_ms.0 += 1;
    let (ours, theirs) = (
        network.genesis().hash().to_string(),
        other.hash().to_string(),
    );
    assert_ne!(ours, theirs);
    let document = network.dir().join("other.toml");
    std::fs::write(&document, other.to_toml().unwrap()).unwrap();
    let late = Late::init(&network, &document).await;
    let mut process = late.start(&network);

    // Somebody says that they do not match, and names both.
    let dir = network.dir().to_owned();
    network
        .until("a refusal with both hashes", async || {
            assert_eq!(process.ended(), None, "the other node ended");
            let logs = std::fs::read_dir(&dir)
                .unwrap()
                .flatten()
                .map(|entry| entry.path());
            let logs = logs.filter(|path| path.extension().is_some_and(|suffix| suffix == "log"));
            let texts: Vec<String> = logs
                .filter_map(|log| std::fs::read_to_string(log).ok())
                .collect();
            texts
                .iter()
                .flat_map(|text| text.lines())
                .any(|line| line.contains(&ours) && line.contains(&theirs))
                .then_some(())
                .ok_or_else(|| NotYet::because("no such line"))
        })
        .await;
    // It got nothing, and the others have no peer more than before.
    let tip = network.agree(0).await;
    let address = std::slice::from_ref(&late.grpc);
    let gateways = Gateways::new(address, GatewayOptions::default()).unwrap();
    let client = Client::unverified(gateways);
    let status = network
        .until("its status", async || Ok(client.status().await?))
        .await;
    assert_eq!(status.genesis_hash.to_string(), theirs);
    assert_eq!((status.height, status.peers), (Height(0), 0), "{status:?}");
    for node in 0..4 {
        let status = network.client(&[node]).status().await.expect("status");
        assert_eq!(status.peers, 3, "{status:?}");
    }
    network.block_hash(0, Height(tip.height.0 + 1)).await;
}
