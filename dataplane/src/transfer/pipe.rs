//! Pipes between the network (async) and the thread that hashes and does disk I/O (blocking).
//!
//! Both hold at most `PIPE_CHUNKS` chunks; the faster side waits. When one side goes away the
//! other sees an end of file or a reset.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::Poll,
};

use bytes::{Bytes, BytesMut};
use futures::{AsyncRead, future::poll_fn};
use tokio::sync::mpsc;

use crate::limits::{PIPE_CHUNK_BYTES, PIPE_CHUNKS};

/// Bytes that the network received, at the start of a buffer that is used again and again: a fresh one would have
/// to be cleared each time, and mostly it is not even filled.
pub(super) struct Received {
    buffer: Vec<u8>,
    len: usize,
}

impl Received {
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

/// A pipe from the network to a blocking thread.
pub(super) fn receiving_pipe() -> (Intake, ChunkReader) {
    let (sender, receiver) = mpsc::channel(PIPE_CHUNKS);
    let (give_back, spare) = mpsc::channel(PIPE_CHUNKS + 1);
    let reader = ChunkReader {
        receiver,
        give_back,
        chunk: Received {
            buffer: Vec::new(),
            len: 0,
        },
        at: 0,
    };
    (Intake { sender, spare }, reader)
}

/// The network's end.
pub(super) struct Intake {
    pub(super) sender: mpsc::Sender<Received>,
    spare: mpsc::Receiver<Vec<u8>>,
}

impl Intake {
    /// Reads what the stream has to offer, up to one chunk; empty at its end. A stream hands out
    /// single frames of a few KiB; collecting them saves a thread switch for each.
    pub(super) async fn read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Received> {
        let spare = self.spare.try_recv();
        let mut buffer = spare.unwrap_or_else(|_| vec![0; PIPE_CHUNK_BYTES]);
        let mut len = 0;
        poll_fn(|cx| {
            while len < buffer.len() {
                match Pin::new(&mut *stream).poll_read(cx, &mut buffer[len..]) {
                    Poll::Ready(Ok(0)) => break,
                    Poll::Ready(Ok(count)) => len += count,
                    // An error after some bytes comes back at the next read.
                    Poll::Ready(Err(error)) if len == 0 => return Poll::Ready(Err(error)),
                    Poll::Ready(Err(_)) => break,
                    Poll::Pending if len == 0 => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        })
        .await?;
        Ok(Received { buffer, len })
    }
}

/// Blocking end that reads what the network received.
pub(super) struct ChunkReader {
    receiver: mpsc::Receiver<Received>,
    give_back: mpsc::Sender<Vec<u8>>,
    chunk: Received,
    at: usize,
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len {
            let Some(next) = self.receiver.blocking_recv() else {
                return Ok(0);
            };
            let used = std::mem::replace(&mut self.chunk, next);
            self.at = 0;
            if !used.buffer.is_empty() {
                // One too many is dropped.
                let _ = self.give_back.try_send(used.buffer);
            }
        }
        let count = (self.chunk.len - self.at).min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.buffer[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Blocking end that writes what the network is to send.
pub(super) struct ChunkWriter {
    sender: mpsc::Sender<Bytes>,
    buffer: BytesMut,
}

impl ChunkWriter {
    pub(super) fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self {
            sender,
            buffer: BytesMut::with_capacity(PIPE_CHUNK_BYTES),
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIPE_CHUNK_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        if self.buffer.len() == PIPE_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(PIPE_CHUNK_BYTES));
        self.sender
            .blocking_send(full.freeze())
            .map_err(|_| io::ErrorKind::ConnectionReset.into())
    }
}
