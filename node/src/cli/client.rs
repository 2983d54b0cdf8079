//! Options of commands that talk to nodes, and the client made from them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cifer_client::{Client, GatewayOptions, Gateways, Network, TlsFiles};
use cifer_genesis::Genesis;
use cifer_node::config::{NodeConfig, Role};
use cifer_node::home::Home;

use super::global::{Flags, Global};
use super::output::note;

/// Whom to ask, and what to check answers against.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// gRPC addresses of nodes, tried in turn; none is trusted [default: the node of the home folder]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    pub(crate) grpc: Vec<String>,
    /// Genesis document to verify answers against [default: the one of the home folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,
    /// PEM file of the authority that nodes must show
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// PEM file of this client's certificate, for mutual TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

/// Options of a question.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    connection: Connection,
    /// How long nodes are tried, in milliseconds
    #[arg(
        long,
        value_name = "MS",
        default_value_t = 5_000,
        help_heading = "Connection"
    )]
    timeout_ms: u64,
}

impl ClientArgs {
    /// A client for questions, which verifies where there is a genesis document.
    ///
    /// Must run inside the asynchronous runtime.
    pub(crate) fn client(&self, global: &Global) -> eyre::Result<Client> {
        let home = global.home()?;
        let config = global.load_quietly(&home)?;
        let addresses = self.connection.addresses(&home, &config);
        let gateways = Gateways::new(&addresses, self.options(&config))?;
        match self.connection.network(&home)? {
            Some(network) => Ok(Client::new(network, gateways)),
            None => {
                note(
                    "note: without a genesis document (--genesis FILE) answers are the gateway's word",
                );
                Ok(Client::unverified(gateways))
            }
        }
    }

    fn options(&self, config: &NodeConfig) -> GatewayOptions {
        let time = Duration::from_millis(self.timeout_ms);
        let default = GatewayOptions::default();
        GatewayOptions {
            tls: self.connection.tls(config),
            connect_timeout: default.connect_timeout.min(time),
            request_timeout: time,
            give_up_after: time,
            ..default
        }
    }
}

impl Connection {
    fn network(&self, home: &Home) -> eyre::Result<Option<Network>> {
        let path = match &self.genesis {
            Some(path) => path.clone(),
            None if home.genesis_path().is_file() => home.genesis_path(),
            None => return Ok(None),
        };
        Ok(Some(Network::new(Genesis::load(&path)?)?))
    }

    fn addresses(&self, home: &Home, config: &NodeConfig) -> Vec<String> {
        if !self.grpc.is_empty() {
            return self.grpc.clone();
        }
        if config.role == Role::Contributor || home.require_initialised().is_err() {
            return config.contribute.gateways.clone();
        }
        let scheme = if config.grpc.tls.is_some() {
            "https"
        } else {
            "http"
        };
        vec![format!("{scheme}://{}", reachable(config.grpc.listen))]
    }

    /// Files from flags, else from the settings.
    fn tls(&self, config: &NodeConfig) -> TlsFiles {
        let (cert, key) = match (
            &self.tls_cert,
            &self.tls_key,
            &config.contribute.tls_identity,
        ) {
            (Some(cert), Some(key), _) => (Some(cert.clone()), Some(key.clone())),
            (_, _, Some((cert, key))) => (Some(cert.clone()), Some(key.clone())),
            _ => (None, None),
        };
        TlsFiles {
            ca: self
                .tls_ca
                .clone()
                .or_else(|| config.contribute.tls_ca.clone()),
            cert,
            key,
        }
    }

    /// As values of the contributor's settings.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = Flags::new();
        if !self.grpc.is_empty() {
            flags.push(("contribute.gateways".to_owned(), self.grpc.join(",")));
        }
        for (key, path) in [
            ("contribute.tls_ca", &self.tls_ca),
            ("contribute.tls_cert", &self.tls_cert),
            ("contribute.tls_key", &self.tls_key),
        ] {
            // Settings count relative paths from the home folder, flags from where we are.
            let absolute = path
                .as_ref()
                .map(|p| std::path::absolute(p).unwrap_or(p.clone()));
            flags.extend(absolute.map(|path| (key.to_owned(), path.display().to_string())));
        }
        flags
    }
}

/// Where a server that listens on all interfaces is reached from the same machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        match listen {
            SocketAddr::V4(_) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        }
    }
    address
}
