//! Updates signed by hand, and uploads as no honest client makes them.

use bytes::Bytes;
use cifer_chain::{
    BlobHash, ContributorId, Metrics, PayloadEncoding, SecretKey, SignedUpdate, Update,
};
use cifer_client::OpenRound;
use cifer_proto::{
    MAX_CHUNK_BYTES,
    v1::{
        SubmitUpdateRequest, SubmitUpdateResponse, UpdateHeader,
        contribute_service_client::ContributeServiceClient, submit_update_request::Part,
    },
};
use tokio_stream::Stream;
use tonic::Status;

/// Parameters as the bytes of a payload.
#[must_use]
pub fn payload(parameters: impl IntoIterator<Item = f32>) -> Bytes {
    parameters
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect::<Vec<u8>>()
        .into()
}

/// An honest commitment to a payload.
#[must_use]
pub fn commit(round: &OpenRound, contributor: &SecretKey, payload: &[u8]) -> Update {
    Update {
        task: round.task,
        round: round.round,
        base: round.base,
        payload: BlobHash::from_bytes(*blake3::hash(payload).as_bytes()),
        payload_bytes: payload.len() as u64,
        encoding: PayloadEncoding::DeltaF32,
        samples: 1,
        metrics: Metrics::default(),
        contributor: ContributorId(contributor.public_key()),
    }
}

/// The message that begins an upload.
///
/// # Panics
/// Never: the encoding does not fail.
#[must_use]
pub fn header(signed: &SignedUpdate) -> SubmitUpdateRequest {
    header_of(borsh::to_vec(signed).expect("the encoding of an update"))
}

/// The message that begins an upload, with any bytes for the commitment.
#[must_use]
pub const fn header_of(signed_update_borsh: Vec<u8>) -> SubmitUpdateRequest {
    let header = UpdateHeader {
        signed_update_borsh,
        commitment: None,
    };
    SubmitUpdateRequest {
        part: Some(Part::Header(header)),
    }
}

/// A piece of the payload, of any length.
#[must_use]
pub fn chunk(bytes: &[u8]) -> SubmitUpdateRequest {
    SubmitUpdateRequest {
        part: Some(Part::Chunk(Bytes::copy_from_slice(bytes))),
    }
}

/// A whole upload: the header, and the payload in chunks of the largest length.
#[must_use]
pub fn upload(signed: &SignedUpdate, payload: &[u8]) -> Vec<SubmitUpdateRequest> {
    let chunks = payload.chunks(MAX_CHUNK_BYTES).map(chunk);
    [header(signed)].into_iter().chain(chunks).collect()
}

/// Sends these messages, whatever they are.
///
/// # Errors
/// What the node answers.
///
/// # Panics
/// If it cannot be reached.
pub async fn send(
    address: &str,
    messages: impl Stream<Item = SubmitUpdateRequest> + Send + 'static,
) -> Result<SubmitUpdateResponse, Status> {
    let client = ContributeServiceClient::connect(address.to_owned()).await;
    let mut client = client.unwrap_or_else(|error| panic!("{address}: {error}"));
    client
        .submit_update(messages)
        .await
        .map(tonic::Response::into_inner)
}
