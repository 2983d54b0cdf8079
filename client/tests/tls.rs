//! TLS and mutual TLS with a real handshake.

mod common;

use std::{path::PathBuf, sync::Arc, time::Duration};

use cifer_client::{Client, ErrorKind, GatewayOptions, Gateways, ModelTarget, Network, TlsFiles};
use common::{Ledger, Lie, TASK, TestGateway, options};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

fn fixture(name: &str) -> PathBuf {
    // Tests run in the folder of their crate; the compiler's path may be that of another checkout.
    PathBuf::from("tests/fixtures").join(name)
}

fn pem(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

/// A gateway that asks for a client certificate, and a client with these files.
async fn connect(files: TlsFiles) -> Result<(), cifer_client::ClientError> {
    let ledger = Arc::new(Ledger::new(3, 16));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(pem("server.pem"), pem("server.key")))
        .client_ca_root(Certificate::from_pem(pem("ca.pem")));
    let gateway = TestGateway::start_tls(Arc::clone(&ledger), Lie::None, Some(tls)).await;
    let options = GatewayOptions {
        tls: files,
        give_up_after: Duration::ZERO,
        ..options()
    };
    let gateways = Gateways::new(std::slice::from_ref(&gateway.address), options)?;
    let network = Network::new(ledger.network.genesis.clone())?;
    Client::new(network, gateways)
        .fetch_current(TASK, ModelTarget::Memory)
        .await
        .map(drop)
}

fn files(ca: &str, identity: Option<&str>) -> TlsFiles {
    TlsFiles {
        ca: Some(fixture(ca)),
        cert: identity.map(|name| fixture(&format!("{name}.pem"))),
        key: identity.map(|name| fixture(&format!("{name}.key"))),
    }
}

#[tokio::test]
async fn mutual_tls() {
    connect(files("ca.pem", Some("client"))).await.unwrap();
}

#[tokio::test]
async fn a_client_without_certificate_is_turned_away() {
    let error = connect(files("ca.pem", None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_gateway_of_another_authority_is_not_talked_to() {
    // The client's own certificate is no authority over the gateway's.
    let error = connect(files("client.pem", Some("client")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}
