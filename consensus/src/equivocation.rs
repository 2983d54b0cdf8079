//! A test with a Byzantine engine: one validator of four votes twice, and the others prove it.

use std::sync::Arc;

use arc_malachitebft_app_channel::{EngineBuilder, RequestContext, SyncContext};
use arc_malachitebft_app_channel::{
    app::{config::NodeConfig as _, metrics::SharedRegistry},
    spawn::spawn_network_actor,
};
use arc_malachitebft_engine_byzantine::{ByzantineConfig, ByzantineNetworkProxy, Trigger};
use cifer_chain::evidence::{Culprit, Evidence};
use cifer_genesis::ValidatorId;

use crate::{
    Config, Handle,
    codec::BorshCodec,
    context::{Cifer, EngineAddress},
    last_signed::LastSigned,
    signing::{CiferSigner, SharedSigner},
    start::{REQUESTS, launch, prepare, wal_context},
    support::{App, CHAIN_ID, Network, params},
};

/// Starts an engine that follows each of its votes with one for nil.
async fn start_equivocator(config: Config, app: App, work: Arc<tokio::sync::Notify>) -> Handle {
    let materials = prepare(&config).await.unwrap();
    let registry = SharedRegistry::global().with_moniker(materials.engine.moniker());
    let (network, to_network) = spawn_network_actor(
        materials.identity,
        materials.engine.consensus(),
        materials.engine.value_sync(),
        &registry,
        BorshCodec,
    )
    .await
    .unwrap();
    // Its own record would refuse the second vote: it signs those with another one.
    let key = config.key.public_key();
    let record = LastSigned::open(&config.home.join("other"), config.genesis_hash, key).unwrap();
    let signer = CiferSigner::new(config.key.clone(), CHAIN_ID, record, Arc::default());
    let proxy = ByzantineNetworkProxy::spawn(
        ByzantineConfig::new(Some(1)).with_equivocate_votes(Trigger::Always),
        network,
        Box::new(SharedSigner(Arc::new(signer))),
        Cifer,
        EngineAddress(ValidatorId(key)),
        tracing::Span::current(),
        None,
        None,
    )
    .await
    .unwrap();
    let built = EngineBuilder::new(Cifer, materials.engine)
        .with_default_wal(wal_context(&config))
        .with_custom_network(proxy, to_network)
        .with_default_sync(SyncContext::new(BorshCodec))
        .with_default_consensus(materials.consensus)
        .with_default_request(RequestContext::new(REQUESTS))
        .build()
        .await
        .unwrap();
    launch(config, Box::new(app), work, materials.signer, built)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn double_votes_become_evidence_and_change_nothing_else() {
    let mut network = Network::new(&[1, 1, 1, 1], params());
    for honest in 0..3 {
        network.start(honest).await;
    }
    let byzantine = &network.nodes[3];
    let handle = start_equivocator(network.config(3), network.app(3), byzantine.work.clone()).await;
    network.nodes[3].handle = Some(handle);
    for node in &network.nodes {
        node.add_work(1000);
    }
    network
        .wait_for("evidence at the honest validators", || {
            network.nodes[..3]
                .iter()
                .all(|node| !node.ledger().evidence.is_empty())
        })
        .await;
    network.reach(0..3, network.tip(0) + 5).await;
    network.assert_agreement();
    let culprit = network.nodes[3].id();
    for node in &network.nodes[..3] {
        for evidence in &node.ledger().evidence {
            assert_eq!(evidence.culprit(), Culprit::Validator(culprit));
            let Evidence::ConflictingVotes { first, second } = evidence else {
                panic!("{evidence:?}");
            };
            assert!(first.0 < second.0, "one encoding");
            for (vote, signature) in [first, second] {
                let message = vote.signing_bytes(CHAIN_ID);
                culprit.key().verify_bytes(&message, signature).unwrap();
            }
        }
    }
    network.stop_all().await;
}
