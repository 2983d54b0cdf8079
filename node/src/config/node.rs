//! The typed settings, and the checks that no single value can fail alone.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::contribute::{self, ContributeConfig};
use super::error::ConfigError;
use super::layers::Effective;
use crate::home::Home;

/// Most characters of a node's name, as in the genesis document.
const MAX_NAME_CHARS: usize = 48;

/// What a node does in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Has a seat and votes.
    Validator,
    /// Follows and serves, without a vote.
    Observer,
    /// Trains, through the gateways it is given.
    Contributor,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything that `cifer start` needs to know besides the home folder. The table of settings has
/// the documentation and default of each field under the same name.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeConfig {
    /// What the node does.
    pub role: Role,
    /// Name for people and peers.
    pub name: String,
    /// The consensus engine's network.
    pub consensus: ConsensusConfig,
    /// The data plane.
    pub data: DataConfig,
    /// The API.
    pub grpc: GrpcConfig,
    /// Metrics and health.
    pub http: HttpConfig,
    /// Log lines.
    pub log: LogConfig,
    /// What a contributor does.
    pub contribute: ContributeConfig,
}

/// The consensus engine's network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsensusConfig {
    /// A multiaddress.
    pub listen: String,
    /// `MULTIADDRESS`, with or without `/p2p/PEER_ID`, or `PUBLIC_KEY@MULTIADDRESS`.
    pub peers: Vec<String>,
}

/// The data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataConfig {
    /// Multiaddresses, at least one.
    pub listen: Vec<String>,
    /// As [`ConsensusConfig::peers`].
    pub peers: Vec<String>,
    /// Most bytes of blobs on disk.
    pub quota_bytes: u64,
    /// Finished rounds whose payloads are kept.
    pub keep_rounds: u64,
    /// Newest models kept of each task, at least one.
    pub keep_models: u64,
    /// Most connected peers that are not validators.
    pub max_peers: usize,
}

/// The API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The server's certificate chain and key, PEM; TLS is on where they are given.
    pub tls: Option<TlsConfig>,
    /// Most connections at a time.
    pub max_connections: usize,
    /// Time for a request that is not a stream, in milliseconds.
    pub request_timeout_ms: u64,
}

/// Certificate files of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM file of the certificate chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// PEM file of the authority whose clients alone are let in.
    pub client_ca: Option<PathBuf>,
}

/// Metrics and health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where they are served, if at all.
    pub listen: Option<SocketAddr>,
}

/// Log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or `tracing` directives.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl NodeConfig {
    /// Gives the values their types and checks them. Relative paths are taken from the home folder.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_effective(values: &Effective, home: &Home) -> Result<Self, ConfigError> {
        let name = values.text("name").to_owned();
        if !is_name(&name) {
            return Err(values.refuse("name", "1 to 48 of a-z A-Z 0-9 . _ -".to_owned()));
        }
        let level: String = values.text("log.level").to_owned();
        crate::log::check_level(&level)
            .map_err(|reason| values.refuse("log.level", format!("a level ({reason})")))?;
        Ok(Self {
            role: values.parse("role", "validator, observer or contributor")?,
            name,
            consensus: consensus(values)?,
            data: data(values)?,
            grpc: grpc(values, home)?,
            http: HttpConfig {
                listen: http_listen(values)?,
            },
            log: LogConfig {
                level,
                format: values.parse("log.format", "text or json")?,
            },
            contribute: contribute::read(values, home)?,
        })
    }
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn consensus(values: &Effective) -> Result<ConsensusConfig, ConfigError> {
    let listen = values.text("consensus.listen").to_owned();
    if !is_multiaddress(&listen) {
        return Err(refuse_addresses(values, "consensus.listen"));
    }
    Ok(ConsensusConfig {
        listen,
        peers: peers(values, "consensus.peers")?,
    })
}

fn data(values: &Effective) -> Result<DataConfig, ConfigError> {
    let listen = values.list("data.listen");
    if listen.is_empty() || !listen.iter().all(|address| is_multiaddress(address)) {
        return Err(refuse_addresses(values, "data.listen"));
    }
    Ok(DataConfig {
        listen,
        peers: peers(values, "data.peers")?,
        quota_bytes: values.integer("data.quota_bytes", 1 << 20)?,
        keep_rounds: values.integer("data.keep_rounds", 1)?,
        keep_models: values.integer("data.keep_models", 1)?,
        max_peers: values.integer("data.max_peers", 0)?,
    })
}

fn peers(values: &Effective, key: &'static str) -> Result<Vec<String>, ConfigError> {
    let peers = values.list(key);
    let fits = |peer: &String| match peer.split_once('@') {
        Some((public_key, address)) => {
            public_key.parse::<cifer_genesis::PublicKey>().is_ok() && is_multiaddress(address)
        }
        None => is_multiaddress(peer),
    };
    if peers.iter().all(fits) {
        Ok(peers)
    } else {
        Err(refuse_addresses(values, key))
    }
}

/// The shape of a multiaddress that a node can listen on or dial; the network layers parse it.
fn is_multiaddress(text: &str) -> bool {
    let mut parts = text.split('/');
    parts.next() == Some("")
        && matches!(parts.next(), Some("ip4" | "ip6" | "dns" | "dns4" | "dns6"))
        && parts.next().is_some_and(|host| !host.is_empty())
        && matches!(parts.next(), Some("tcp" | "udp"))
        && parts.next().is_some_and(|port| port.parse::<u16>().is_ok())
}

fn refuse_addresses(values: &Effective, key: &'static str) -> ConfigError {
    let peers = if key.ends_with("peers") {
        ", also PUBLIC_KEY@ in front of one"
    } else {
        ""
    };
    let expected = format!("multiaddresses like /ip4/127.0.0.1/tcp/26650{peers}");
    values.refuse(key, expected)
}

fn grpc(values: &Effective, home: &Home) -> Result<GrpcConfig, ConfigError> {
    let listen: SocketAddr = values.parse("grpc.listen", "an address like 127.0.0.1:26652")?;
    let tls = match (
        path(values, home, "grpc.tls_cert"),
        path(values, home, "grpc.tls_key"),
        path(values, home, "grpc.tls_client_ca"),
    ) {
        (Some(cert), Some(key), client_ca) => Some(TlsConfig {
            cert,
            key,
            client_ca,
        }),
        (None, None, None) => None,
        (None, None, Some(_)) => {
            return Err(ConfigError::Conflict(
                "grpc.tls_client_ca needs grpc.tls_cert and grpc.tls_key",
            ));
        }
        _ => {
            return Err(ConfigError::Conflict(
                "grpc.tls_cert and grpc.tls_key go together",
            ));
        }
    };
    if tls.is_none() && !listen.ip().is_loopback() && !values.flag("grpc.allow_plaintext") {
        return Err(ConfigError::Conflict(
            "grpc.listen is not a loopback address and TLS is off: give grpc.tls_cert and \
             grpc.tls_key, or say grpc.allow_plaintext = true",
        ));
    }
    Ok(GrpcConfig {
        listen,
        tls,
        max_connections: values.integer("grpc.max_connections", 1)?,
        request_timeout_ms: values.integer("grpc.request_timeout_ms", 1)?,
    })
}

fn http_listen(values: &Effective) -> Result<Option<SocketAddr>, ConfigError> {
    if values.text("http.listen").is_empty() {
        return Ok(None);
    }
    values
        .parse("http.listen", "an address like 127.0.0.1:26653, or nothing")
        .map(Some)
}

pub(super) fn path(values: &Effective, home: &Home, key: &'static str) -> Option<PathBuf> {
    values.optional_text(key).map(|path| home.root().join(path))
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "validator" => Ok(Self::Validator),
            "observer" => Ok(Self::Observer),
            "contributor" => Ok(Self::Contributor),
            _ => Err("no such role"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Validator => "validator",
            Self::Observer => "observer",
            Self::Contributor => "contributor",
        })
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("no such format"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::{Layers, TrainingOverrides};

    fn load(flags: &[(&str, &str)]) -> Result<NodeConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        let flags: Vec<_> = flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let environment: Vec<(OsString, OsString)> = Vec::new();
        let effective = Layers {
            home: &home,
            environment: &environment,
            flags: &flags,
        }
        .read()?;
        NodeConfig::from_effective(&effective, &home)
    }

    #[test]
    fn the_defaults_are_a_valid_observer() {
        let config = load(&[]).unwrap();
        assert_eq!(config.role, Role::Observer);
        assert!(config.grpc.listen.ip().is_loopback());
        assert!(config.grpc.tls.is_none());
        assert_eq!(config.data.listen.len(), 2);
        assert_eq!(config.data.quota_bytes, 64 << 30);
        assert_eq!(config.contribute.rounds, None);
        assert_eq!(config.contribute.training, TrainingOverrides::default());
    }

    #[test]
    fn plain_text_off_loopback_has_to_be_said() {
        let error = load(&[("grpc.listen", "0.0.0.0:1")]).unwrap_err();
        assert!(
            error.to_string().contains("grpc.allow_plaintext"),
            "{error}"
        );
        load(&[
            ("grpc.listen", "0.0.0.0:1"),
            ("grpc.allow_plaintext", "true"),
        ])
        .unwrap();
        load(&[
            ("grpc.listen", "0.0.0.0:1"),
            ("grpc.tls_cert", "c"),
            ("grpc.tls_key", "k"),
        ])
        .unwrap();
    }

    #[test]
    fn an_empty_http_address_turns_it_off() {
        assert_eq!(load(&[("http.listen", "")]).unwrap().http.listen, None);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for (key, value) in [
            ("role", "boss"),
            ("name", ""),
            ("name", "a b"),
            ("consensus.listen", "127.0.0.1:1"),
            ("consensus.peers", "/ip4/1.2.3.4/tcp/70000"),
            ("data.listen", ""),
            ("data.peers", "abc@/ip4/1.2.3.4/tcp/1"),
            ("data.quota_bytes", "0"),
            ("grpc.listen", "localhost"),
            ("grpc.max_connections", "0"),
            ("grpc.request_timeout_ms", "0"),
            ("http.listen", "x"),
            ("log.level", "loud"),
            ("log.format", "xml"),
            ("contribute.gateways", "here"),
            ("contribute.task", "4294967296"),
            ("contribute.index", "10"),
            ("contribute.dataset", "cats"),
            ("contribute.alpha", "-1"),
            ("contribute.attack", "yell"),
        ] {
            let error = load(&[(key, value)]).expect_err(key).to_string();
            assert!(
                error.contains(key) && error.contains("command line"),
                "{key}: {error}"
            );
        }
    }

    #[test]
    fn half_of_a_pair_of_files_is_refused() {
        for key in [
            "grpc.tls_cert",
            "grpc.tls_key",
            "grpc.tls_client_ca",
            "contribute.tls_key",
        ] {
            assert!(
                matches!(load(&[(key, "x")]), Err(ConfigError::Conflict(_))),
                "{key}"
            );
        }
    }
}
