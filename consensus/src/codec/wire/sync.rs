//! Mirrors of the sync protocol's messages.

use arc_malachitebft_app_channel::app::types::{
    PeerId,
    core::{ExtendedCommitCertificate, ExtendedCommitSignature, Round},
    sync::{RawDecidedValue, Request, Response, Status},
};
use arc_malachitebft_sync::{ValueRequest, ValueResponse};
use borsh::{BorshDeserialize, BorshSerialize};
use cifer_chain::vote::CommitCertificate;
use cifer_genesis::Height;

use super::{CodecError, defined, seats};
use crate::context::{Cifer, EngineAddress, EngineHeight, EngineSignature};

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(in crate::codec) struct SyncStatus {
    peer: Vec<u8>,
    tip: Height,
    history_min: Height,
}

impl TryFrom<&Status<Cifer>> for SyncStatus {
    type Error = CodecError;
    fn try_from(status: &Status<Cifer>) -> Result<Self, CodecError> {
        Ok(Self {
            peer: status.peer_id.to_bytes(),
            tip: status.tip_height.0,
            history_min: status.history_min_height.0,
        })
    }
}

impl TryFrom<SyncStatus> for Status<Cifer> {
    type Error = CodecError;
    fn try_from(wire: SyncStatus) -> Result<Self, CodecError> {
        Ok(Self {
            peer_id: PeerId::from_bytes(&wire.peer)
                .map_err(|_| CodecError::Invalid("status with a malformed peer id"))?,
            tip_height: EngineHeight(wire.tip),
            history_min_height: EngineHeight(wire.history_min),
        })
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(in crate::codec) struct SyncRequest {
    first: Height,
    last: Height,
}

impl TryFrom<&Request<Cifer>> for SyncRequest {
    type Error = CodecError;
    fn try_from(request: &Request<Cifer>) -> Result<Self, CodecError> {
        let Request::ValueRequest(request) = request;
        Ok(Self {
            first: request.range.start().0,
            last: request.range.end().0,
        })
    }
}

impl TryFrom<SyncRequest> for Request<Cifer> {
    type Error = CodecError;
    fn try_from(wire: SyncRequest) -> Result<Self, CodecError> {
        if wire.first > wire.last {
            return Err(CodecError::Invalid("sync request for an empty range"));
        }
        let range = EngineHeight(wire.first)..=EngineHeight(wire.last);
        Ok(Self::ValueRequest(ValueRequest::new(range)))
    }
}

#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(in crate::codec) struct SyncResponse {
    first: Height,
    values: Vec<(Vec<u8>, CommitCertificate)>,
}

/// The certificate a peer is sent. Extensions are disabled, so nothing is lost.
pub(crate) fn to_engine_certificate(
    certificate: &CommitCertificate,
) -> ExtendedCommitCertificate<Cifer> {
    ExtendedCommitCertificate {
        height: EngineHeight(certificate.height),
        round: Round::new(certificate.round),
        value_id: certificate.block,
        commit_signatures: certificate
            .signatures
            .iter()
            .map(|(id, signature)| {
                ExtendedCommitSignature::new(EngineAddress(*id), EngineSignature(*signature), None)
            })
            .collect(),
    }
}

impl TryFrom<&Response<Cifer>> for SyncResponse {
    type Error = CodecError;
    fn try_from(response: &Response<Cifer>) -> Result<Self, CodecError> {
        let Response::ValueResponse(response) = response;
        let values = response.values.iter().map(|value| {
            let certificate = CommitCertificate {
                height: value.certificate.height.0,
                round: defined(value.certificate.round)?,
                block: value.certificate.value_id,
                signatures: value
                    .certificate
                    .commit_signatures
                    .iter()
                    .map(|entry| (entry.address.0, entry.signature.0))
                    .collect(),
            };
            Ok((value.value_bytes.to_vec(), certificate))
        });
        Ok(Self {
            first: response.start_height.0,
            values: values.collect::<Result<_, CodecError>>()?,
        })
    }
}

impl TryFrom<SyncResponse> for Response<Cifer> {
    type Error = CodecError;
    fn try_from(wire: SyncResponse) -> Result<Self, CodecError> {
        let values = wire.values.into_iter().map(|(bytes, certificate)| {
            seats(&certificate.signatures, 1)?;
            Ok(RawDecidedValue::new(
                bytes.into(),
                to_engine_certificate(&certificate),
            ))
        });
        Ok(Self::ValueResponse(ValueResponse::new(
            EngineHeight(wire.first),
            values.collect::<Result<_, CodecError>>()?,
        )))
    }
}
