//! The API over mutual TLS: everything that works without it works with it, and nobody without a
//! certificate of the right authority gets an answer.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use cifer_client::{Client, PhaseView, TlsFiles};
use cifer_tests::{Network, run};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};

/// An authority, and where its certificate lies.
struct Authority {
    certificate: Certificate,
    key: KeyPair,
    file: PathBuf,
}

impl Authority {
    fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = dir.join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self {
            certificate,
            key,
            file,
        }
    }

    /// A certificate and its key, as files. With loopback in it, so that it serves a node as well.
    fn issue(
        &self,
        dir: &Path,
        name: &str,
        purpose: ExtendedKeyUsagePurpose,
    ) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let hosts =
            (1..=8).map(|host| SanType::IpAddress(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host))));
        params.subject_alt_names = hosts.collect();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params
            .signed_by(&key, &self.certificate, &self.key)
            .unwrap();
        let files = (
            dir.join(format!("{name}.pem")),
            dir.join(format!("{name}.key")),
        );
        std::fs::write(&files.0, certificate.pem()).unwrap();
        std::fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}

fn files(ca: &Path, identity: Option<&(PathBuf, PathBuf)>) -> TlsFiles {
    TlsFiles {
        ca: Some(ca.to_owned()),
        cert: identity.map(|(cert, _)| cert.clone()),
        key: identity.map(|(_, key)| key.clone()),
    }
}

/// Nobody who is not let in learns anything.
async fn is_shut_out(what: &str, client: Client) {
    let answer = client.status().await;
    assert!(answer.is_err(), "{what} is answered: {answer:?}");
}

#[tokio::test]
async fn a_network_trains_over_mutual_tls_and_shuts_strangers_out() {
    let mut network = Network::generate(&[
        "--contributors",
        "4",
        "--rule",
        "median",
        "--max-rounds",
        "2",
    ])
    .await;
    let dir = network.dir().to_owned();
    let (ours, foreign) = (
        Authority::new(&dir, "authority"),
        Authority::new(&dir, "foreign"),
    );
    let server = ours.issue(&dir, "server", ExtendedKeyUsagePurpose::ServerAuth);
    let client = ours.issue(&dir, "client", ExtendedKeyUsagePurpose::ClientAuth);
    let stranger = foreign.issue(&dir, "stranger", ExtendedKeyUsagePurpose::ClientAuth);

    network.speak_tls(&files(&ours.file, Some(&client)));
    let setting = |name: &str, path: &Path| format!("grpc.{name}={}", path.display());
    let settings = [
        setting("tls_cert", &server.0),
        setting("tls_key", &server.1),
        setting("tls_client_ca", &ours.file),
    ];
    let arguments: Vec<&str> = settings
        .iter()
        .flat_map(|setting| ["--set", setting.as_str()])
        .collect();
    for index in 0..network.len() {
        network.start_node_with(index, &arguments);
    }
    network.connected().await;

    let text = |path: &Path| path.display().to_string();
    let (ca, cert, key) = (text(&ours.file), text(&client.0), text(&client.1));
    let identity = ["--tls-ca", &ca, "--tls-cert", &cert, "--tls-key", &key];
    for index in 0..4 {
        network.contribute(index, &identity);
    }
    for round in 0..2 {
        let view = network.round_ended(3, round).await;
        assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
        assert_eq!(view.updates.len(), 4, "{view:?}");
    }

    let address = network.node(0).grpc.clone();
    let genesis = text(&dir.join("genesis.toml"));
    let question = ["status", "--grpc", &address, "--genesis", &genesis];
    let answer = run(&[&question[..], &identity[..]].concat()).await;
    assert!(answer.status.success(), "{answer:?}");
    let without = run(&[&question[..], &["--tls-ca", &ca, "--timeout-ms", "500"]].concat()).await;
    assert!(!without.status.success(), "{without:?}");

    let at = |tls: TlsFiles| network.client_with(std::slice::from_ref(&address), tls);
    is_shut_out(
        "a client without a certificate",
        at(files(&ours.file, None)),
    )
    .await;
    is_shut_out(
        "a client of another authority",
        at(files(&ours.file, Some(&stranger))),
    )
    .await;
    is_shut_out(
        "a server's certificate in a client's hand",
        at(files(&ours.file, Some(&server))),
    )
    .await;
    // The other way round: a node that cannot show the authority which the client trusts.
    is_shut_out(
        "a client that trusts another authority",
        at(files(&foreign.file, Some(&client))),
    )
    .await;
    let plain = address.replace("https://", "http://");
    is_shut_out("a client without TLS", network.client_of(&[plain])).await;

    let tip = network.agree(0).await;
    network.stop().await;
    network.verify_all(tip).await;
}
