//! Taking in a stream whose hash and length were announced.
//!
//! The bytes are read here and handed to a thread that writes and hashes them in one pass, so
//! reading, hashing and writing overlap.

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::Arc,
};

use bao_tree::io::sync::outboard;
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::mpsc,
    task::spawn_blocking,
};

use super::{
    BlobStore, IngestError, Reservation, StoreError,
    file::TempPair,
    tree::{FileOutboard, outboard_bytes},
};
use crate::{
    BlobHash,
    limits::{PIPE_CHUNK_BYTES, PIPE_CHUNKS},
};

/// From the reader to the writing thread. Without `End` the stream was cut off, and nothing is
/// kept.
enum Feed {
    Chunk(Bytes),
    End,
}

impl BlobStore {
    /// Takes in a blob of exactly `len` bytes with this `hash`. If it is here already, returns at
    /// once and reads nothing. If the future is dropped, nothing is left behind.
    ///
    /// There is no timeout: a caller that reads from a peer wraps the source.
    ///
    /// # Errors
    /// See [`IngestError`]; [`IngestError::is_sender_fault`] tells whom to blame.
    pub async fn ingest(
        &self,
        hash: BlobHash,
        len: u64,
        source: impl AsyncRead + Unpin,
    ) -> Result<(), IngestError> {
        if let Some(actual_bytes) = self.len(&hash) {
            return if actual_bytes == len {
                Ok(())
            } else {
                Err(IngestError::LengthMismatch {
                    hash,
                    expected_bytes: len,
                    actual_bytes,
                })
            };
        }
        let reservation = self.reserve(len)?;
        let (sender, receiver) = mpsc::channel(PIPE_CHUNKS);
        let store = self.clone();
        let writer = spawn_blocking(move || write(&store, (hash, len), reservation, receiver));
        let fed = feed(source, len, sender).await;
        let written = writer.await.unwrap_or_else(|panic| {
            Err(StoreError::io("write blob")(io::Error::other(panic)).into())
        });
        // If the source failed, the writer only saw the end of its input.
        fed.and(written)
    }
}

/// Reads exactly `len` bytes and makes sure that there are no more.
async fn feed(
    mut source: impl AsyncRead + Unpin,
    len: u64,
    sender: mpsc::Sender<Feed>,
) -> Result<(), IngestError> {
    let mut received = 0u64;
    let mut buffer = BytesMut::with_capacity(PIPE_CHUNK_BYTES);
    loop {
        let read = source
            .read_buf(&mut buffer)
            .await
            .map_err(|error| IngestError::Source(Arc::new(error)))?;
        received += read as u64;
        if received > len {
            return Err(IngestError::TooLong {
                expected_bytes: len,
            });
        }
        let end = read == 0;
        if buffer.len() >= PIPE_CHUNK_BYTES || (end && !buffer.is_empty()) {
            let full = std::mem::replace(&mut buffer, BytesMut::with_capacity(PIPE_CHUNK_BYTES));
            if sender.send(Feed::Chunk(full.freeze())).await.is_err() {
                return Ok(()); // The writer failed and says why.
            }
        }
        if end {
            break;
        }
    }
    if received < len {
        return Err(IngestError::TooShort {
            expected_bytes: len,
            received_bytes: received,
        });
    }
    let _ = sender.send(Feed::End).await;
    Ok(())
}

fn write(
    store: &BlobStore,
    (hash, len): (BlobHash, u64),
    reservation: Reservation,
    receiver: mpsc::Receiver<Feed>,
) -> Result<(), IngestError> {
    let mut temp =
        TempPair::create(store, outboard_bytes(len) > 0).map_err(StoreError::io("create temp"))?;
    let mut target = FileOutboard::new(hash, len, temp.outboard.take());
    let mut reader = Tee {
        receiver,
        chunk: Bytes::new(),
        file: &temp.data,
        ended: false,
    };
    let actual =
        outboard(&mut reader, target.tree, &mut target).map_err(StoreError::io("write blob"))?;
    reader.expect_end().map_err(StoreError::io("write blob"))?;
    if actual != target.root {
        return Err(IngestError::HashMismatch {
            expected: hash,
            actual: actual.into(),
        });
    }
    store.commit(
        (&temp.path, &temp.data, target.file.as_ref()),
        (hash, len),
        reservation,
    )?;
    Ok(())
}

/// Reads from the channel, and writes what it reads to the file.
struct Tee<'a> {
    receiver: mpsc::Receiver<Feed>,
    chunk: Bytes,
    file: &'a File,
    ended: bool,
}

impl Tee<'_> {
    fn expect_end(&mut self) -> io::Result<()> {
        let mut byte = [0];
        if self.read(&mut byte)? == 0 && self.ended {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Feed::Chunk(chunk)) => {
                    self.file.write_all(&chunk)?;
                    self.chunk = chunk;
                }
                Some(Feed::End) => self.ended = true,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
