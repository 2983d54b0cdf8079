//! How a command ends: the exit codes that scripts can rely on, and errors that say what to do next.
//!
//! Typed errors stay typed in their modules; [`Failure`] is for the place that knows which exit code
//! and which advice fit, and travels inside an `eyre::Report` to the binary's `main`.

use std::fmt;

/// Exit codes of the binary. They are part of its interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something went wrong that has no code of its own.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// Configuration, genesis or a key file was refused.
    Refused = 3,
    /// No gateway or peer answered.
    Unreachable = 4,
    /// A signature, certificate, proof or root does not verify.
    VerificationFailed = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code it leads to and one sentence of advice. It displays as its cause.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    next: String,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Failure {
    /// Gives `cause` (an error or a message) an exit code and says what to do `next`.
    pub fn new(
        exit: Exit,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            exit,
            next: next.into(),
            cause: cause.into(),
        }
    }

    /// The exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// What the user can do.
    #[must_use]
    pub fn next(&self) -> &str {
        &self.next
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}
