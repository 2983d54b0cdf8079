//! A block is final. It is durable before the reply: the engine tells peers of the height only then.

use std::time::Instant;

use arc_malachitebft_app_channel::app::types::core::CommitCertificate as EngineCertificate;
use cifer_chain::vote::CommitCertificate;
use tracing::debug;

use super::conclude;
use crate::{
    adapter::Adapter,
    api::{Application, Fatal},
    context::Cifer,
    reply::Reply,
};

pub(super) fn handle<A: Application>(
    adapter: &mut Adapter<A>,
    certificate: EngineCertificate<Cifer>,
    reply: Reply<()>,
) -> Result<(), Fatal> {
    let result = commit(adapter, &certificate);
    conclude(reply, result)
}

fn commit<A: Application>(
    adapter: &mut Adapter<A>,
    certificate: &EngineCertificate<Cifer>,
) -> Result<(), Fatal> {
    let certificate =
        to_chain(certificate).ok_or_else(|| Fatal::new("the engine decided without a round"))?;
    let (height, hash) = (certificate.height, certificate.block);
    let expected = adapter.next_height()?;
    if height != expected {
        return Err(Fatal::new(format!(
            "the engine decided height {height}, not {expected}"
        )));
    }
    adapter.cancel_call();
    let block = adapter
        .decided_block(height, certificate.round, hash)
        .ok_or_else(|| Fatal::new(format!("decided block {hash} of height {height} is lost")))?;
    let (round, signatures) = (certificate.round, certificate.signatures.len());
    adapter.app.commit(block, certificate)?;
    if adapter.app.tip() != height {
        return Err(Fatal::new(format!(
            "tip is {} after the commit of height {height}",
            adapter.app.tip()
        )));
    }
    debug!(%height, round, block = %hash, signatures, "block committed");
    adapter.forget_through(height);
    adapter
        .pace
        .committed(Instant::now(), adapter.synced == Some(height));
    Ok(())
}

/// The ledger's certificate, signatures in the validators' order so that equal sets have equal bytes.
fn to_chain(certificate: &EngineCertificate<Cifer>) -> Option<CommitCertificate> {
    let mut signatures: Vec<_> = certificate
        .commit_signatures
        .iter()
        .map(|entry| (entry.address.0, entry.signature.0))
        .collect();
    signatures.sort_unstable_by_key(|(id, _)| *id);
    Some(CommitCertificate {
        height: certificate.height.0,
        round: certificate.round.as_u32()?,
        block: certificate.value_id,
        signatures,
    })
}
