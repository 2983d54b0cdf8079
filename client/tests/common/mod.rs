//! A small real network for tests of the client: a real ledger with real signatures and proofs, served
//! by real gRPC servers on free ports. Only consensus is left out: blocks are committed as soon as a
//! transaction is there, signed by the keys of all validators. Each gateway can be told to lie.

#![allow(dead_code)]

mod gateway;
mod ledger;

use std::{sync::Arc, time::Duration};

use cifer_chain::{ModelRoot, PayloadEncoding, RoundId, SignedUpdate, TaskId, Update, testing};
use cifer_client::{Client, GatewayOptions, Gateways, Network};

pub(crate) use gateway::{Lie, TestGateway};
pub(crate) use ledger::Ledger;

/// The task of every test network.
pub(crate) const TASK: TaskId = testing::TASK;

/// Impatient, since everything is local; long enough for a busy machine where nothing hangs.
pub(crate) fn options() -> GatewayOptions {
    GatewayOptions {
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(20),
        idle_timeout: Duration::from_secs(20),
        verdict_timeout: Duration::from_secs(20),
        give_up_after: Duration::from_secs(2),
        ..GatewayOptions::default()
    }
}

/// For tests in which a gateway hangs on purpose.
pub(crate) fn impatient() -> GatewayOptions {
    GatewayOptions {
        request_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        verdict_timeout: Duration::from_secs(1),
        ..options()
    }
}

/// Gateways of one ledger, in order of preference.
pub(crate) struct Setup {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gateways: Vec<TestGateway>,
}

impl Setup {
    pub(crate) async fn new(ledger: Ledger, lies: &[Lie]) -> Self {
        let ledger = Arc::new(ledger);
        let mut gateways = Vec::new();
        for lie in lies {
            gateways.push(TestGateway::start(Arc::clone(&ledger), *lie).await);
        }
        Self { ledger, gateways }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.gateways
            .iter()
            .map(|gateway| gateway.address.clone())
            .collect()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(options())
    }

    pub(crate) fn client_with(&self, options: GatewayOptions) -> Client {
        let network = Network::new(self.ledger.network.genesis.clone()).unwrap();
        Client::new(network, Gateways::new(&self.addresses(), options).unwrap())
    }
}

/// Bytes of a model: finite numbers that depend on the label.
pub(crate) fn model_bytes(label: u32, floats: usize) -> Vec<u8> {
    (0..floats)
        .flat_map(|i| ((label as f32) + (i as f32) / 1024.0).to_le_bytes())
        .collect()
}

pub(crate) fn root_of(bytes: &[u8]) -> ModelRoot {
    ModelRoot::from_bytes(*blake3::hash(bytes).as_bytes())
}

/// A signed update of a contributor with this payload.
pub(crate) fn signed_update(
    ledger: &Ledger,
    contributor: usize,
    round: RoundId,
    base: ModelRoot,
    payload: &[u8],
) -> SignedUpdate {
    let update = Update {
        task: TASK,
        round,
        base,
        payload: cifer_chain::BlobHash::from_bytes(*blake3::hash(payload).as_bytes()),
        payload_bytes: payload.len() as u64,
        encoding: PayloadEncoding::DeltaF32,
        samples: 10,
        metrics: cifer_chain::Metrics::default(),
        contributor: ledger.network.contributor(contributor),
    };
    ledger.network.sign(update, contributor)
}
