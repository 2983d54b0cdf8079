//! Pulling what is missing of a blob from one holder.

use std::{
    io,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::Control;
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout, timeout_at},
};

use super::{
    FaultKind, HolderFailure, PeerFault,
    decode::{DecodeFailure, decode},
    pipe::{Intake, receiving_pipe},
    wire::{Answer, BlobRequest, HEADER_BYTES, ResponseHeader},
};
use crate::{
    StoreError,
    limits::{GROUP_BYTES, MIN_PROGRESS_BYTES},
    metrics::{self, Metrics},
    net::peers::PeerTable,
    store::{PartialBlob, tree},
};

/// Attempts to get an answer at all. A holder's accept queue has one place for each connection,
/// and a stream that finds it taken is closed without an answer.
const OPEN_ATTEMPTS: u32 = 4;
const OPEN_RETRY: Duration = Duration::from_millis(20);

/// Why a pull ended early.
#[derive(Debug)]
pub(super) enum PullError {
    Holder(HolderFailure),
    Store(StoreError),
}

pub(super) struct Puller<'a> {
    pub(super) control: Control,
    pub(super) protocol: StreamProtocol,
    pub(super) stall_timeout: Duration,
    pub(super) peers: &'a PeerTable,
    pub(super) metrics: &'a Metrics,
}

impl Puller<'_> {
    /// Pulls the groups that `partial` lacks from `peer`. The partial comes back in any case,
    /// with all that was verified, unless our own thread died.
    pub(super) async fn pull(
        &mut self,
        peer: PeerId,
        partial: PartialBlob,
    ) -> (Option<PartialBlob>, Result<(), PullError>) {
        let end_group = tree::group_count(partial.len());
        let request = BlobRequest {
            hash: partial.hash(),
            len: partial.len(),
            first_group: partial.verified_groups(),
            end_group,
        };
        match self.open(peer, &request).await {
            Ok(stream) => self.receive(peer, stream, partial, end_group).await,
            Err(failure) => (Some(partial), Err(PullError::Holder(failure))),
        }
    }

    /// Opens a stream on which the encoded range follows.
    async fn open(&mut self, peer: PeerId, request: &BlobRequest) -> Result<Stream, HolderFailure> {
        let stalled = HolderFailure::Stalled {
            offset: request.first_group.saturating_mul(GROUP_BYTES),
            timeout: self.stall_timeout,
        };
        // Dialling is the swarm's business, which knows the addresses and the pace.
        if !self.peers.is_connected(&peer) {
            return Err(HolderFailure::Unreachable("not connected".into()));
        }
        let mut last = String::new();
        for attempt in 0..OPEN_ATTEMPTS {
            sleep(OPEN_RETRY * attempt).await;
            let opened = self.control.open_stream(peer, self.protocol.clone());
            let mut stream = match timeout(self.stall_timeout, opened).await {
                Err(_) => return Err(stalled),
                Ok(Err(error)) => {
                    last = error.to_string();
                    continue;
                }
                Ok(Ok(stream)) => stream,
            };
            match timeout(self.stall_timeout, ask(&mut stream, request)).await {
                Err(_) => return Err(stalled),
                Ok(Err(error)) => last = error.to_string(),
                Ok(Ok(header)) => return judge(peer, request, &header).map(|()| stream),
            }
        }
        Err(HolderFailure::Unreachable(last))
    }

    async fn receive(
        &self,
        peer: PeerId,
        mut stream: Stream,
        mut partial: PartialBlob,
        end_group: u64,
    ) -> (Option<PartialBlob>, Result<(), PullError>) {
        let hash = partial.hash();
        let (intake, reader) = receiving_pipe();
        let decoder = spawn_blocking(move || {
            let result = decode(&mut partial, end_group, reader);
            (partial, result)
        });
        let end = self.pump(&mut stream, intake).await;
        let (partial, decoded) = match decoder.await {
            Ok(done) => done,
            Err(panic) => {
                let error = StoreError::io("verify blob")(io::Error::other(panic));
                return (None, Err(PullError::Store(error)));
            }
        };
        let offset = partial.verified_bytes();
        let result = match decoded {
            Ok(()) => Ok(()),
            Err(DecodeFailure::Fault(kind, offset)) => Err(PullError::Holder(
                PeerFault {
                    peer,
                    hash,
                    offset,
                    kind,
                }
                .into(),
            )),
            Err(DecodeFailure::Truncated) => Err(PullError::Holder(match end {
                PumpEnd::Stalled => HolderFailure::Stalled {
                    offset,
                    timeout: self.stall_timeout,
                },
                PumpEnd::Closed => HolderFailure::Truncated { offset },
            })),
            Err(DecodeFailure::Storage(error)) => {
                Err(PullError::Store(StoreError::io("write partial")(error)))
            }
        };
        (Some(partial), result)
    }

    /// Moves bytes from the stream to the decoder until either has enough.
    async fn pump(&self, stream: &mut Stream, mut intake: Intake) -> PumpEnd {
        let sender = intake.sender.clone();
        let mut deadline = Instant::now() + self.stall_timeout;
        let mut moved = 0;
        loop {
            let chunk = tokio::select! {
                biased;
                () = sender.closed() => return PumpEnd::Closed,
                chunk = timeout_at(deadline.into(), intake.read(stream)) => match chunk {
                    Err(_) => return PumpEnd::Stalled,
                    Ok(Err(_)) => return PumpEnd::Closed,
                    Ok(Ok(chunk)) if chunk.len() == 0 => return PumpEnd::Closed,
                    Ok(Ok(chunk)) => chunk,
                },
            };
            metrics::add(&self.metrics.blob_bytes_in, chunk.len() as u64);
            moved += chunk.len();
            let received = Instant::now();
            if sender.send(chunk).await.is_err() {
                return PumpEnd::Closed;
            }
            if moved >= MIN_PROGRESS_BYTES {
                moved = 0;
                deadline = Instant::now() + self.stall_timeout;
            } else {
                // Time in which we ourselves were slow is not the holder's.
                deadline += received.elapsed();
            }
        }
    }
}

enum PumpEnd {
    Closed,
    Stalled,
}

async fn ask(stream: &mut Stream, request: &BlobRequest) -> io::Result<Option<ResponseHeader>> {
    stream.write_all(&borsh::to_vec(request)?).await?;
    stream.flush().await?;
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes).await?;
    Ok(borsh::from_slice(&bytes).ok())
}

fn judge(
    peer: PeerId,
    request: &BlobRequest,
    header: &Option<ResponseHeader>,
) -> Result<(), HolderFailure> {
    let fault = PeerFault {
        peer,
        hash: request.hash,
        offset: request.first_group.saturating_mul(GROUP_BYTES),
        kind: FaultKind::Malformed,
    };
    let Some(header) = header else {
        return Err(fault.into());
    };
    match header.answer {
        Answer::Found if header.len == request.len => Ok(()),
        Answer::Found | Answer::LengthMismatch if header.len != request.len => {
            Err(HolderFailure::LengthMismatch {
                ours_bytes: request.len,
                theirs_bytes: header.len,
            })
        }
        Answer::NotFound => Err(HolderFailure::NotFound),
        Answer::Busy => Err(HolderFailure::Busy),
        // Our range is always within the length that it just agreed to.
        Answer::Found | Answer::LengthMismatch | Answer::BadRange => Err(fault.into()),
    }
}
