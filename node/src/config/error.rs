//! What can be wrong with the settings. Every message names key, value and where the value came from.

use std::path::PathBuf;

use super::layers::Source;

/// Why the settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("{} is larger than {limit} bytes, so it is no configuration", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes allowed.
        limit: u64,
    },
    /// The file is damaged.
    #[error("{}:{line}: not TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line of the damage, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// No setting has this name.
    #[error("{source_of_key}: unknown setting {key:?}{}", did_you_mean(nearest))]
    UnknownKey {
        /// The name.
        key: String,
        /// Where it is.
        source_of_key: Source,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// No setting goes by this environment variable.
    #[error("unknown environment variable {name}{}", did_you_mean(nearest))]
    UnknownVariable {
        /// The name.
        name: String,
        /// The most similar name that exists.
        nearest: Option<String>,
    },
    /// A value of another kind, or out of range.
    #[error("{source_of_value}: {key} is {value}, expected {expected}")]
    Value {
        /// The setting.
        key: &'static str,
        /// The value as it was given.
        value: String,
        /// Where it is.
        source_of_value: Source,
        /// What is allowed.
        expected: String,
    },
    /// Settings that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A flag that is not `key=value`.
    #[error("--set {0:?} is not KEY=VALUE")]
    Flag(String),
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

impl ConfigError {
    /// What the user can do about it.
    #[must_use]
    pub fn next(&self) -> String {
        match self {
            Self::Read { path, .. } => format!("check the permissions of {}", path.display()),
            Self::TooLarge { path, .. } | Self::Syntax { path, .. } => format!(
                "repair {}; `cifer init --home OTHER_DIR` writes a fresh one to compare with",
                path.display()
            ),
            Self::UnknownKey { .. } => {
                "remove or rename it; `cifer config show --home EMPTY_DIR` lists every setting"
                    .to_owned()
            }
            Self::UnknownVariable { name, .. } => format!(
                "unset {name} or rename it; variables are CIFER_HOME, CIFER_KEY and CIFER_SECTION__KEY, \
                 such as CIFER_GRPC__LISTEN"
            ),
            Self::Value {
                source_of_value, ..
            } => format!("correct it in {source_of_value}"),
            Self::Conflict(_) => {
                "`cifer config show` prints every setting and where it comes from".to_owned()
            }
            Self::Flag(_) => "write it like --set grpc.listen=127.0.0.1:26652".to_owned(),
        }
    }
}

/// The name most similar to `name`, unless none is similar at all.
pub(super) fn nearest<'a>(
    name: &str,
    known: impl Iterator<Item = std::borrow::Cow<'a, str>>,
) -> Option<String> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, &candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 2 + name.len() / 5)
        .map(|(_, candidate)| candidate.into_owned())
}
