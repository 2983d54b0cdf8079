//! Serving blobs to peers.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bao_tree::io::{EncodeError, sync::encode_ranges_validated};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream};
use libp2p_stream::IncomingStreams;
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    pipe::ChunkWriter,
    wire::{Answer, BlobRequest, REQUEST_BYTES, ResponseHeader},
};
use crate::{
    BlobHash, BlobStore, Event,
    limits::{MAX_SERVES, MAX_SERVES_PER_PEER, MIN_PROGRESS_BYTES, PIPE_CHUNKS},
    metrics::{self, Metrics},
    net::events::EventSink,
    store::tree,
};

/// Answers blob requests. Peers reach it only after the handshake.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) store: BlobStore,
    pub(crate) stall_timeout: Duration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) events: EventSink,
    pub(crate) load: Arc<Load>,
}

impl Server {
    /// Accepts streams until cancelled. Each is served by a task of its own, so that the accept
    /// queue, which has one place, is empty again at once.
    pub(crate) async fn run(
        self,
        mut incoming: IncomingStreams,
        tasks: TaskTracker,
        cancel: CancellationToken,
    ) {
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => return,
                next = incoming.next() => next,
            };
            let Some((peer, stream)) = next else { return };
            let (server, cancel) = (self.clone(), cancel.clone());
            tasks.spawn(async move {
                let served = cancel.run_until_cancelled(server.serve(peer, stream)).await;
                if let Some(Err(error)) = served {
                    tracing::debug!(%peer, %error, "blob request ended early");
                }
            });
        }
    }

    async fn serve(&self, peer: PeerId, mut stream: Stream) -> io::Result<()> {
        let Some(_slot) = Slot::take(&self.load, peer) else {
            metrics::increment(&self.metrics.serves_refused);
            let busy = ResponseHeader {
                answer: Answer::Busy,
                len: 0,
            };
            return timeout(self.stall_timeout, refuse(&mut stream, busy)).await?;
        };
        let mut bytes = [0; REQUEST_BYTES];
        timeout(self.stall_timeout, stream.read_exact(&mut bytes)).await??;
        let request = borsh::from_slice::<BlobRequest>(&bytes)?;
        let header = self.header(&request);
        if header.answer != Answer::Found {
            return timeout(self.stall_timeout, refuse(&mut stream, header)).await?;
        }
        stream.write_all(&borsh::to_vec(&header)?).await?;
        self.send(&mut stream, request).await
    }

    fn header(&self, request: &BlobRequest) -> ResponseHeader {
        let Some(len) = self.store.len(&request.hash) else {
            return ResponseHeader {
                answer: Answer::NotFound,
                len: 0,
            };
        };
        let answer = if len != request.len {
            Answer::LengthMismatch
        } else if request.first_group >= request.end_group
            || request.end_group > tree::group_count(len)
        {
            Answer::BadRange
        } else {
            Answer::Found
        };
        ResponseHeader { answer, len }
    }

    /// Sends the encoded range, read and checked by a blocking thread.
    async fn send(&self, stream: &mut Stream, request: BlobRequest) -> io::Result<()> {
        let (sender, mut receiver) = mpsc::channel(PIPE_CHUNKS);
        let store = self.store.clone();
        let encoder = spawn_blocking(move || encode(&store, &request, ChunkWriter::new(sender)));
        let mut deadline = Instant::now() + self.stall_timeout;
        let mut moved = 0;
        while let Some(chunk) = receiver.recv().await {
            timeout_at(deadline.into(), stream.write_all(&chunk)).await??;
            metrics::add(&self.metrics.blob_bytes_out, chunk.len() as u64);
            moved += chunk.len();
            if moved >= MIN_PROGRESS_BYTES {
                moved = 0;
                deadline = Instant::now() + self.stall_timeout;
            }
        }
        match encoder.await.map_err(io::Error::other)? {
            Ok(()) => timeout(self.stall_timeout, stream.close()).await?,
            Err(EncodeError::LeafHashMismatch(_) | EncodeError::ParentHashMismatch(_)) => {
                self.drop_corrupt(request.hash);
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "own copy is corrupt",
                ))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Our own copy is bad. It was noticed before a byte of the bad group left.
    fn drop_corrupt(&self, hash: BlobHash) {
        tracing::error!(%hash, "blob on our disk does not match its hash, removed");
        metrics::increment(&self.metrics.local_corruptions);
        if let Err(error) = self.store.remove(&hash) {
            tracing::error!(%hash, %error, "cannot remove corrupt blob");
        }
        self.events.emit(Event::LocalCorruption { hash });
    }
}

async fn refuse(stream: &mut Stream, header: ResponseHeader) -> io::Result<()> {
    stream.write_all(&borsh::to_vec(&header)?).await?;
    stream.close().await
}

fn encode(
    store: &BlobStore,
    request: &BlobRequest,
    mut writer: ChunkWriter,
) -> Result<(), EncodeError> {
    let (data, outboard) = store
        .open_verified(&request.hash)
        .map_err(io::Error::other)?;
    let ranges = tree::chunk_ranges(request.first_group, request.end_group, request.len);
    encode_ranges_validated(&data, &outboard, &ranges, &mut writer)?;
    writer.flush()?;
    Ok(())
}

/// Streams in service, by peer.
#[derive(Debug, Default)]
pub(crate) struct Load {
    by_peer: Mutex<HashMap<PeerId, usize>>,
}

/// A place among those that are served.
struct Slot {
    load: Arc<Load>,
    peer: PeerId,
}

impl Slot {
    fn take(load: &Arc<Load>, peer: PeerId) -> Option<Self> {
        let mut by_peer = load.by_peer.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = by_peer.values().sum();
        let own = by_peer.get(&peer).copied().unwrap_or(0);
        if total >= MAX_SERVES || own >= MAX_SERVES_PER_PEER {
            return None;
        }
        by_peer.insert(peer, own + 1);
        Some(Self {
            load: load.clone(),
            peer,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut by_peer = self
            .load
            .by_peer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                by_peer.remove(&self.peer);
            }
        }
    }
}
