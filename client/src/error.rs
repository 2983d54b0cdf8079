//! What can go wrong, by whose fault: a gateway that provably lies, a network that fails, a request
//! that is refused, or this side's own settings and files.

use std::{fmt, path::PathBuf, time::Duration};

use cifer_chain::{GenesisHash, LightError, ModelRoot};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Longest text of a gateway that is kept: enough for a sentence, too little to flood a log.
const MAX_MESSAGE_CHARS: usize = 512;
/// Most details of one refusal that are shown.
const MAX_DETAILS: usize = 8;

/// Why something at a gateway, or on this side, did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The gateway sent what no honest gateway sends. It is not asked again.
    #[error("gateway {gateway} is at fault: {fault}")]
    Gateway {
        /// Its address.
        gateway: String,
        /// What it did.
        fault: Fault,
    },
    /// The gateway could not be reached, or the connection or the gateway failed on the way.
    #[error("gateway {gateway} failed: {reason}")]
    Network {
        /// Its address.
        gateway: String,
        /// What was seen.
        reason: String,
    },
    /// The gateway says that the request is at fault. Unsigned, so only as good as the gateway.
    #[error("gateway {gateway} refused the request: {refusal}")]
    Refused {
        /// Its address.
        gateway: String,
        /// What it said.
        refusal: Refusal,
    },
    /// No gateway gave an answer in time.
    #[error("no gateway answered within {after:?} ({attempts} attempts); the last failure: {last}")]
    Exhausted {
        /// How long it was tried.
        after: Duration,
        /// How often.
        attempts: u32,
        /// The newest failure.
        last: Box<ClientError>,
    },
    /// Every gateway was caught lying.
    #[error("every gateway is at fault: {}", Faults(faults))]
    Distrusted {
        /// Address and fault of each.
        faults: Vec<(String, Fault)>,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A setting of this side is unusable.
    #[error("{field} is {value:?}: {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A file of this side could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Local training failed.
    #[error(transparent)]
    Training(#[from] cifer_training::TrainingError),
    /// The attack could not be computed.
    #[error(transparent)]
    Attack(#[from] cifer_aggregation::AttackError),
    /// A thread of this side died.
    #[error("{0} stopped unexpectedly; this is a defect of Cifer")]
    Internal(&'static str),
}

/// What only a faulty gateway does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It belongs to another network.
    #[error("its genesis hash is {theirs}, ours is {ours}")]
    Genesis {
        /// Hash of the local document.
        ours: GenesisHash,
        /// Hash the gateway reports.
        theirs: GenesisHash,
    },
    /// A certificate does not stand.
    #[error("its {what} is not valid: {source}")]
    Certificate {
        /// Which certificate.
        what: &'static str,
        /// What is wrong with it.
        source: LightError,
    },
    /// A model root that nothing signed vouches for.
    #[error("it says that round {round} starts from {claimed}, proven is {proven}")]
    Root {
        /// The round.
        round: u64,
        /// What it claims.
        claimed: ModelRoot,
        /// What certificate or genesis say.
        proven: ModelRoot,
    },
    /// Model bytes that are not those of the root.
    #[error("its model bytes hash to {got}, asked was for {expected}")]
    ModelBytes {
        /// The root asked for.
        expected: ModelRoot,
        /// Hash of what came.
        got: ModelRoot,
    },
    /// More or fewer bytes than the manifest says.
    #[error("its {what} has {got} bytes, expected {expected}")]
    Length {
        /// Of what.
        what: &'static str,
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        expected: u64,
    },
    /// More items or bytes than any honest answer has.
    #[error("its {what} is {got}, the limit is {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// Bytes that do not decode.
    #[error("its {field} is malformed: {reason}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// An answer to something else than was asked.
    #[error("its {field} is {got}, asked was for {expected}")]
    Mismatch {
        /// The field.
        field: &'static str,
        /// What came.
        got: String,
        /// What should have come.
        expected: String,
    },
}

/// What a gateway said when it refused, with its rich details made readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// gRPC status code.
    pub code: Code,
    /// The message.
    pub message: String,
    /// Machine-readable reason (`ErrorInfo.reason`), if any.
    pub reason: Option<String>,
    /// One line for each detail: `field: description`, with values and limits.
    pub details: Vec<String>,
}

/// The classes of errors that a program tells apart, for example by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Settings or files of this side.
    Config,
    /// No gateway could be reached.
    Unreachable,
    /// What gateways sent failed verification.
    Verification,
    /// The request was refused.
    Refused,
    /// Cancelled by the caller.
    Cancelled,
    /// Anything else on this side.
    Internal,
}

impl ClientError {
    /// The class of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Gateway { .. } | Self::Distrusted { .. } => ErrorKind::Verification,
            Self::Network { .. } => ErrorKind::Unreachable,
            Self::Exhausted { last, .. } => match last.kind() {
                ErrorKind::Verification => ErrorKind::Verification,
                ErrorKind::Refused => ErrorKind::Refused,
                _ => ErrorKind::Unreachable,
            },
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Config { .. } | Self::Io { .. } => ErrorKind::Config,
            Self::Training(_) | Self::Attack(_) | Self::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Whether another gateway, or the same one later, may do better.
    #[must_use]
    pub const fn is_gateway_failure(&self) -> bool {
        matches!(self, Self::Gateway { .. } | Self::Network { .. })
    }

    pub(crate) fn network(gateway: &str, reason: impl fmt::Display) -> Self {
        Self::Network {
            gateway: gateway.to_owned(),
            reason: cut(&reason.to_string()),
        }
    }

    pub(crate) fn config(
        field: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Config {
            field,
            value: value.into(),
            reason: reason.into(),
        }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    /// Sorts a gRPC status: a refusal is about the request, everything else about the gateway.
    pub(crate) fn from_status(gateway: &str, status: &Status) -> Self {
        match status.code() {
            // tonic's own verdict on a message above the cap comes without any detail.
            Code::OutOfRange
                if status
                    .message()
                    .starts_with("Error, decoded message length") =>
            {
                let fault = Fault::Malformed {
                    field: "message",
                    reason: cut(status.message()),
                };
                Self::Gateway {
                    gateway: gateway.to_owned(),
                    fault,
                }
            }
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unauthenticated => Self::Refused {
                gateway: gateway.to_owned(),
                refusal: Refusal::from_status(status),
            },
            _ => {
                let mut reason = Refusal::from_status(status).to_string();
                // The transport's own errors say little without their causes.
                if let Some(cause) = std::error::Error::source(status) {
                    reason = format!("{reason}: {}", chain(cause));
                }
                Self::network(gateway, reason)
            }
        }
    }
}

impl Fault {
    pub(crate) fn malformed(field: &'static str, reason: impl fmt::Display) -> Self {
        Self::Malformed {
            field,
            reason: cut(&reason.to_string()),
        }
    }

    pub(crate) fn mismatch(
        field: &'static str,
        got: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Self {
        Self::Mismatch {
            field,
            got: cut(&got.to_string()),
            expected: expected.to_string(),
        }
    }
}

impl Refusal {
    /// Decodes a status; details that do not decode are left out.
    #[must_use]
    pub fn from_status(status: &Status) -> Self {
        let details = status.get_error_details();
        let mut lines = Vec::new();
        if let Some(bad) = details.bad_request() {
            lines.extend(
                bad.field_violations
                    .iter()
                    .map(|v| format!("{}: {}", v.field, v.description)),
            );
        }
        if let Some(failure) = details.precondition_failure() {
            let line = |v: &tonic_types::PreconditionViolation| {
                format!("{} {}: {}", v.r#type, v.subject, v.description)
            };
            lines.extend(failure.violations.iter().map(line));
        }
        if let Some(quota) = details.quota_failure() {
            lines.extend(
                quota
                    .violations
                    .iter()
                    .map(|v| format!("{}: {}", v.subject, v.description)),
            );
        }
        if let Some(resource) = details.resource_info() {
            lines.push(format!(
                "{} {}: {}",
                resource.resource_type, resource.resource_name, resource.description
            ));
        }
        if let Some(info) = details.error_info() {
            let mut pairs: Vec<_> = info
                .metadata
                .iter()
                .map(|(key, value)| format!("{key}: {value}"))
                .collect();
            pairs.sort();
            lines.extend(pairs);
        }
        lines.truncate(MAX_DETAILS);
        Self {
            code: status.code(),
            message: cut(status.message()),
            reason: details.error_info().map(|info| cut(&info.reason)),
            details: lines.iter().map(|line| cut(line)).collect(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "{}", self.code)?;
        } else {
            f.write_str(&self.message)?;
        }
        if let Some(reason) = &self.reason {
            write!(f, " [{reason}]")?;
        }
        for (index, line) in self.details.iter().enumerate() {
            write!(f, "{}{line}", if index == 0 { " (" } else { "; " })?;
        }
        if self.details.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

struct Faults<'a>(&'a [(String, Fault)]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (gateway, fault)) in self.0.iter().enumerate() {
            write!(
                f,
                "{}{gateway}: {fault}",
                if index == 0 { "" } else { "; " }
            )?;
        }
        Ok(())
    }
}

/// Text of a stranger, cut and without control characters.
pub(crate) fn cut(text: &str) -> String {
    text.chars()
        .take(MAX_MESSAGE_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// An error with all its causes, one after another.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    cut(&text)
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn rich_details_become_words() {
        let mut details = ErrorDetails::with_bad_request_violation("payload_bytes", "is 3, not 40");
        details.set_error_info(
            "WRONG_LENGTH",
            "cifer",
            [("limit".to_owned(), "40".to_owned())],
        );
        let status = Status::with_error_details(Code::InvalidArgument, "bad update", details);
        let error = ClientError::from_status("http://g", &status);
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(
            error.to_string(),
            "gateway http://g refused the request: bad update [WRONG_LENGTH] \
             (payload_bytes: is 3, not 40; limit: 40)"
        );
    }

    #[test]
    fn a_gateway_cannot_flood_a_log() {
        let status = Status::internal("\u{1b}[31m".repeat(100_000));
        let text = ClientError::from_status("http://g", &status).to_string();
        assert!(
            text.chars().count() < 2 * MAX_MESSAGE_CHARS,
            "{}",
            text.len()
        );
        assert!(!text.chars().any(char::is_control));
    }
}
