//! How a command ended: its exit code, and an error message that ends with what to do next.

use std::error::Error;
use std::io::{self, Write};

use cifer_chain::{StoreError, VerifyError, VerifyFault};
use cifer_client::{ClientError, ErrorKind};
use cifer_devnet::DevnetError;
use cifer_genesis::GenesisError;
use cifer_node::config::ConfigError;
use cifer_node::error::{Exit, Failure};
use cifer_node::home::HomeError;
use cifer_node::keys::KeyError;
use cifer_node::testnet::TestnetError;

use super::output::ClosedOutput;

const RETRY: &str = "try again with --log-level debug for more detail";

/// Prints an error, if there is one, and gives the exit code.
pub(crate) fn report(result: eyre::Result<()>) -> Exit {
    let Err(report) = result else { return Exit::Ok };
    // Whoever read our output has seen enough.
    if report.chain().any(|cause| cause.is::<ClosedOutput>()) {
        return Exit::Ok;
    }
    let (exit, next) = report
        .chain()
        .find_map(classify)
        .unwrap_or_else(|| (Exit::Failure, RETRY.to_owned()));
    let mut text = format!("error: {report}\n");
    let mut said = report.to_string();
    for cause in report.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors repeat their cause in their own message.
        if !said.contains(&cause) {
            text.push_str(&format!("  because: {cause}\n"));
            said = cause;
        }
    }
    text.push_str(&format!("next: {next}\n"));
    // Nobody may be listening, and there is nowhere else to say so.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    exit
}

/// Exit code and advice of the errors that we know.
fn classify(error: &(dyn Error + 'static)) -> Option<(Exit, String)> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some((failure.exit(), failure.next().to_owned()));
    }
    if let Some(error) = error.downcast_ref::<ConfigError>() {
        return Some((Exit::Refused, error.next()));
    }
    if let Some(error) = error.downcast_ref::<HomeError>() {
        let exit = match error {
            HomeError::NotInitialised { .. } | HomeError::Unknown => Exit::Refused,
            _ => Exit::Failure,
        };
        return Some((exit, error.next()));
    }
    if let Some(error) = error.downcast_ref::<KeyError>() {
        let exit = if matches!(error, KeyError::Exists { .. }) {
            Exit::Failure
        } else {
            Exit::Refused
        };
        return Some((exit, error.next()));
    }
    #[cfg(feature = "fhe")]
    if let Some(error) = error.downcast_ref::<cifer_homocryption::Error>() {
        return Some(encryption(error));
    }
    if let Some(error) = error.downcast_ref::<TestnetError>() {
        return Some((testnet(error), error.next()));
    }
    if let Some(error) = error.downcast_ref::<GenesisError>() {
        return Some((Exit::Refused, genesis(error)));
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return Some(client(error));
    }
    if let Some(error) = error.downcast_ref::<DevnetError>() {
        return Some(devnet(error));
    }
    if let Some(error) = error.downcast_ref::<VerifyError>() {
        return Some(verify(error));
    }
    error.downcast_ref::<StoreError>().map(store)
}

fn testnet(error: &TestnetError) -> Exit {
    match error {
        TestnetError::Option { .. } => Exit::Usage,
        TestnetError::Genesis(_) => Exit::Refused,
        _ => Exit::Failure,
    }
}

#[cfg(feature = "fhe")]
fn encryption(error: &cifer_homocryption::Error) -> (Exit, String) {
    use cifer_homocryption::Error;
    match error {
        Error::Noise { .. } => (
            Exit::Failure,
            "cifer fhe relinearize FILE --relin relin.key --output NEW, then again".to_owned(),
        ),
        Error::VectorNoise { .. } | Error::Overflow { .. } => (
            Exit::Failure,
            "decrypt earlier, and go on from there".to_owned(),
        ),
        Error::Io { .. } => (
            Exit::Failure,
            "check the file that is named above".to_owned(),
        ),
        Error::Value { .. } => (
            Exit::Refused,
            "use more --limbs, or fewer --scale-bits".to_owned(),
        ),
        _ => (Exit::Refused, "check the files that were given".to_owned()),
    }
}

fn genesis(error: &GenesisError) -> String {
    match error {
        GenesisError::Read { path, .. } => {
            format!("check that {} exists and can be read", path.display())
        }
        _ => "correct the document and check it with `cifer genesis validate FILE`".to_owned(),
    }
}

fn client(error: &ClientError) -> (Exit, String) {
    let (exit, next) = match error.kind() {
        ErrorKind::Config => (
            Exit::Refused,
            "correct the option or file that is named above",
        ),
        ErrorKind::Unreachable => (
            Exit::Unreachable,
            "check that the node runs and its address is right; name others with --grpc URL,URL",
        ),
        ErrorKind::Verification => (
            Exit::VerificationFailed,
            "do not trust that gateway; compare the genesis hash (`cifer genesis hash`) with \
             somebody you trust, and ask another node with --grpc URL",
        ),
        ErrorKind::Refused => (Exit::Failure, "correct the request as the answer says"),
        ErrorKind::Cancelled => (Exit::Failure, "start it again to go on"),
        _ => (Exit::Failure, RETRY),
    };
    (exit, next.to_owned())
}

fn devnet(error: &DevnetError) -> (Exit, String) {
    match error {
        DevnetError::Options(_) => (
            Exit::Usage,
            "change the numbers; `cifer devnet --help` lists them".to_owned(),
        ),
        DevnetError::Client(error) => client(error),
        DevnetError::Process { log, .. } => (Exit::Failure, format!("read {log}")),
        DevnetError::Cancelled => (
            Exit::Failure,
            "start it again; a devnet always begins anew".to_owned(),
        ),
        _ => (Exit::Failure, RETRY.to_owned()),
    }
}

fn verify(error: &VerifyError) -> (Exit, String) {
    match &error.fault {
        VerifyFault::Store(error) => store(error),
        VerifyFault::WrongGenesis { .. } => (
            Exit::Refused,
            "give the genesis document that this ledger began with: --genesis FILE".to_owned(),
        ),
        _ => (
            Exit::VerificationFailed,
            "do not use this ledger: move data/ away and let the node sync again from its peers"
                .to_owned(),
        ),
    }
}

fn store(error: &StoreError) -> (Exit, String) {
    match error {
        StoreError::WrongGenesis { .. } => (
            Exit::Refused,
            "use the genesis document that this ledger began with, or another home folder"
                .to_owned(),
        ),
        StoreError::Corrupt { .. } => (
            Exit::VerificationFailed,
            "move data/ away and let the node sync again from its peers".to_owned(),
        ),
        _ => (
            Exit::Failure,
            "check the disk, and that no other process uses data/".to_owned(),
        ),
    }
}
