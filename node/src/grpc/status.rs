//! Errors as gRPC statuses, with details that programs can read: the field at fault, or a reason.

use std::collections::HashMap;

use cifer_chain::{StoreError, TxError};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::core::{MempoolError, SubmitError, SubmitTxError};

/// Who gives the reasons, as in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "cifer.v1";

/// A malformed field of the request.
pub(crate) fn bad_field(field: &str, problem: impl ToString) -> Status {
    let problem = problem.to_string();
    let text = format!("{field}: {problem}");
    let details = ErrorDetails::with_bad_request_violation(field, problem);
    Status::with_error_details(Code::InvalidArgument, text, details)
}

/// A refusal with a machine-readable reason.
pub(crate) fn refusal(code: Code, reason: &str, error: impl ToString) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, error.to_string(), details)
}

pub(crate) fn not_found(what: impl ToString) -> Status {
    Status::not_found(what.to_string())
}

/// Our own store failed.
pub(crate) fn store(error: StoreError) -> Status {
    tracing::error!(%error, "store failed");
    Status::internal(format!("the ledger cannot be read: {error}"))
}

/// A transaction or update that the state refuses.
pub(crate) fn transaction(error: &TxError) -> Status {
    let (code, reason) = match error {
        TxError::NotRegistered(_) => (Code::PermissionDenied, "NOT_REGISTERED"),
        TxError::RegistrationClosed => (Code::PermissionDenied, "REGISTRATION_CLOSED"),
        TxError::Signature(_) => (Code::Unauthenticated, "BAD_SIGNATURE"),
        TxError::Certificate(_) => (Code::InvalidArgument, "BAD_CERTIFICATE"),
        TxError::UnknownTask(_) => (Code::NotFound, "UNKNOWN_TASK"),
        TxError::WrongRound { .. } => (Code::FailedPrecondition, "WRONG_ROUND"),
        TxError::RoundClosed { .. } => (Code::FailedPrecondition, "ROUND_CLOSED"),
        TxError::RoundFull { .. } => (Code::FailedPrecondition, "ROUND_FULL"),
        TxError::TaskComplete(_) => (Code::FailedPrecondition, "TASK_COMPLETE"),
        TxError::WrongBase { .. } => (Code::FailedPrecondition, "WRONG_BASE"),
        TxError::TurnUsed { .. } => (Code::AlreadyExists, "TURN_USED"),
        TxError::AlreadyRegistered(_) => (Code::AlreadyExists, "ALREADY_REGISTERED"),
        TxError::PayloadTooLarge { .. } => (Code::InvalidArgument, "PAYLOAD_TOO_LARGE"),
        TxError::WrongPayloadLength { .. } => (Code::InvalidArgument, "WRONG_PAYLOAD_LENGTH"),
        TxError::NoSamples => (Code::InvalidArgument, "NO_SAMPLES"),
        _ => (Code::InvalidArgument, "INVALID_TRANSACTION"),
    };
    refusal(code, reason, error)
}

pub(crate) fn submit_tx(error: &SubmitTxError) -> Status {
    match error {
        SubmitTxError::Invalid(error) => transaction(error),
        SubmitTxError::Mempool(known @ MempoolError::Known(_)) => {
            refusal(Code::AlreadyExists, "KNOWN_TRANSACTION", known)
        }
        SubmitTxError::Mempool(full) => refusal(Code::ResourceExhausted, "MEMPOOL_FULL", full),
    }
}

pub(crate) fn submit_update(error: &SubmitError) -> Status {
    let (code, reason) = match error {
        SubmitError::Signature(_) => (Code::Unauthenticated, "BAD_SIGNATURE"),
        SubmitError::State(error) => return transaction(error),
        SubmitError::Tx(error) => return submit_tx(error),
        SubmitError::Second(_) => (Code::AlreadyExists, "SECOND_UPDATE"),
        SubmitError::Payload(_) => (Code::InvalidArgument, "BAD_PAYLOAD"),
        SubmitError::Busy(_) => (Code::ResourceExhausted, "BUSY"),
        SubmitError::NoQuorum { .. } => (Code::Unavailable, "NO_QUORUM"),
        SubmitError::Split => (Code::Aborted, "SPLIT_VERDICT"),
        SubmitError::Internal(_) => (Code::Internal, "INTERNAL"),
    };
    refusal(code, reason, error)
}
