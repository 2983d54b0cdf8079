//! The table of settings. Adding a line here makes a setting known to the file, the environment,
//! `--set`, `config show` and `init`; [`super::node`] gives it a type and a meaning.

use std::fmt::Write;

use super::value::Kind;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// `key` or `section.key`.
    pub key: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// As a flag would give it; `None` where the setting is optional and has no value by itself.
    pub default: Option<&'static str>,
    /// For people, without a full stop.
    pub doc: &'static str,
}

impl Setting {
    /// `CIFER_SECTION__KEY`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("CIFER_{}", self.key.replace('.', "__").to_uppercase())
    }

    /// The setting of this key.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        doc,
    }
}

use Kind::{Bool, Float, Integer, List, Text};

/// Every setting; those of one section stand together, those without a section first.
pub const SETTINGS: &[Setting] = &[
    setting(
        "role",
        Text,
        Some("observer"),
        "validator, observer or contributor",
    ),
    setting(
        "name",
        Text,
        Some("node"),
        "Shown to people and peers; 1 to 48 of a-z A-Z 0-9 . _ -",
    ),
    setting(
        "consensus.listen",
        Text,
        Some("/ip4/127.0.0.1/tcp/26650"),
        "Where the consensus engine listens, a multiaddress",
    ),
    setting(
        "consensus.peers",
        List,
        Some(""),
        "Peers to dial besides the validators of genesis: MULTIADDRESS, .../p2p/PEER_ID or PUBLIC_KEY@MULTIADDRESS",
    ),
    setting(
        "data.listen",
        List,
        Some("/ip4/127.0.0.1/udp/26651/quic-v1,/ip4/127.0.0.1/tcp/26651"),
        "Where the data plane listens (transactions and payloads), the preferred address first",
    ),
    setting(
        "data.peers",
        List,
        Some(""),
        "As consensus.peers, for the data plane",
    ),
    setting(
        "data.quota_bytes",
        Integer,
        Some("68719476736"),
        "Most bytes of blobs on disk",
    ),
    setting(
        "data.keep_rounds",
        Integer,
        Some("4"),
        "Finished rounds whose payloads are kept",
    ),
    setting(
        "data.keep_models",
        Integer,
        Some("8"),
        "Models kept of each task, the newest ones",
    ),
    setting(
        "data.max_peers",
        Integer,
        Some("64"),
        "Most connected peers that are not validators",
    ),
    setting(
        "grpc.listen",
        Text,
        Some("127.0.0.1:26652"),
        "Where the gRPC API listens",
    ),
    setting(
        "grpc.tls_cert",
        Text,
        None,
        "PEM file of the server's certificate chain; turns on TLS",
    ),
    setting("grpc.tls_key", Text, None, "PEM file of its private key"),
    setting(
        "grpc.tls_client_ca",
        Text,
        None,
        "PEM file of the authority whose clients alone are let in (mutual TLS)",
    ),
    setting(
        "grpc.allow_plaintext",
        Bool,
        Some("false"),
        "Whether the API may be served without TLS off loopback",
    ),
    setting(
        "grpc.max_connections",
        Integer,
        Some("256"),
        "Most gRPC connections at a time",
    ),
    setting(
        "grpc.request_timeout_ms",
        Integer,
        Some("30000"),
        "Time for a request that is not a stream, in milliseconds",
    ),
    setting(
        "http.listen",
        Text,
        Some("127.0.0.1:26653"),
        "Where /metrics, /health and /ready are served; empty turns them off",
    ),
    setting(
        "log.level",
        Text,
        Some("info"),
        "error, warn, info, debug or trace, or directives such as info,cifer_dataplane=debug",
    ),
    setting("log.format", Text, Some("text"), "text or json"),
    setting(
        "contribute.gateways",
        List,
        Some("http://127.0.0.1:26652"),
        "gRPC addresses of validators or observers, tried in turn; none is trusted",
    ),
    setting(
        "contribute.tls_ca",
        Text,
        None,
        "PEM file of the authority that gateways must show",
    ),
    setting(
        "contribute.tls_cert",
        Text,
        None,
        "PEM file of this client's certificate (mutual TLS)",
    ),
    setting(
        "contribute.tls_key",
        Text,
        None,
        "PEM file of its private key",
    ),
    setting("contribute.task", Integer, Some("0"), "Task to train"),
    setting(
        "contribute.rounds",
        Integer,
        Some("0"),
        "Rounds to take part in; 0 is until the end",
    ),
    setting(
        "contribute.dataset",
        Text,
        Some("digits"),
        "digits or mnist",
    ),
    setting(
        "contribute.mnist_dir",
        Text,
        None,
        "Folder of the four MNIST files",
    ),
    setting(
        "contribute.model",
        Text,
        Some("softmax"),
        "softmax, mlp or mlp:HIDDEN_UNITS",
    ),
    setting(
        "contribute.contributors",
        Integer,
        Some("10"),
        "Shards that the data is split into",
    ),
    setting(
        "contribute.index",
        Integer,
        Some("0"),
        "Which of the shards is ours, from 0",
    ),
    setting(
        "contribute.alpha",
        Text,
        Some("iid"),
        "iid, the alpha of a Dirichlet partition, similarity:GAMMA or extreme",
    ),
    setting(
        "contribute.seed",
        Integer,
        Some("7"),
        "Seed of split, partition and minibatches",
    ),
    setting(
        "contribute.learning_rate",
        Float,
        None,
        "Of local SGD; tuned to the data when unset",
    ),
    setting(
        "contribute.momentum",
        Float,
        None,
        "Of local SGD; tuned to the data when unset",
    ),
    setting(
        "contribute.local_epochs",
        Integer,
        None,
        "Passes over the shard in a round",
    ),
    setting(
        "contribute.batch_size",
        Integer,
        None,
        "Samples of a minibatch",
    ),
    setting(
        "contribute.logit_adjustment",
        Float,
        None,
        "Correction for skewed labels, 0 (none) to 10; tuned to the data when unset",
    ),
    setting(
        "contribute.attack",
        Text,
        Some("none"),
        "For tests: sign-flip, alie, ipm, gaussian, label-flip, nan, none, opt-ipm, opt-alie, mimic, \
         infinity, min-max, min-sum or scaling",
    ),
    setting(
        "contribute.attack_scale",
        Float,
        None,
        "Strength of the attack",
    ),
    setting(
        "contribute.byzantine",
        Integer,
        Some("0"),
        "Attackers among the contributors, the last ones",
    ),
];

/// A `config.toml` that sets `given` and has every other setting as a comment with its default.
///
/// `given` are pairs of key and TOML literal.
#[must_use]
pub fn commented_file(given: &[(&str, String)]) -> String {
    let mut text = String::from(
        "# Settings of a Cifer node. Flags and CIFER_... variables come before this file;\n\
         # `cifer config show` prints what is in force and why. Commented lines are defaults.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if of != section {
            let _ = write!(text, "\n[{of}]\n");
            section = of;
        }
        let _ = writeln!(text, "# {}.", setting.doc);
        let value = given
            .iter()
            .find(|(key, _)| *key == setting.key)
            .map(|(_, value)| value);
        let _ = match (value, default_literal(setting)) {
            (Some(value), _) => writeln!(text, "{name} = {value}"),
            (None, Some(default)) => writeln!(text, "# {name} = {default}"),
            (None, None) => writeln!(text, "# {name} = (not set)"),
        };
    }
    text
}

fn default_literal(setting: &Setting) -> Option<String> {
    setting
        .kind
        .parse(setting.default?)
        .ok()
        .map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_sections_stand_together() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        assert_eq!(keys.len(), SETTINGS.len());
        let sections: Vec<_> = SETTINGS
            .iter()
            .map(|s| s.key.split_once('.').map_or("", |(of, _)| of))
            .collect();
        let mut runs = sections.clone();
        runs.dedup();
        let distinct: BTreeSet<_> = sections.into_iter().collect();
        assert_eq!(runs.len(), distinct.len());
    }

    #[test]
    fn every_default_is_of_its_kind() {
        for setting in SETTINGS {
            if let Some(default) = setting.default {
                setting
                    .kind
                    .parse(default)
                    .unwrap_or_else(|e| panic!("{}: {e}", setting.key));
            }
        }
    }

    #[test]
    fn the_written_file_is_toml_even_with_its_comments_taken_off() {
        let given = [("name", "\"alice\"".to_owned())];
        let table: toml::Table = commented_file(&given).parse().unwrap();
        assert_eq!(table["name"].as_str(), Some("alice"));
        let uncommented: String = commented_file(&given)
            .lines()
            .filter(|line| !line.contains("(not set)"))
            .map(|line| match line.strip_prefix("# ") {
                Some(rest)
                    if rest
                        .split_once(" = ")
                        .is_some_and(|(k, _)| !k.contains(' ')) =>
                {
                    rest
                }
                _ => line,
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let table: toml::Table = uncommented.parse().unwrap();
        assert_eq!(table["grpc"]["listen"].as_str(), Some("127.0.0.1:26652"));
    }
}
