//! Pipes between the network (async) and the thread that hashes and does disk I/O (blocking).
//!
//! Both hold at most `PIPE_CHUNKS` chunks; the faster side waits. When one side goes away the
//! other sees an end of file or a reset.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::Poll,
};

use bytes::{Buf, Bytes, BytesMut};
use futures::{AsyncRead, future::poll_fn};
use tokio::sync::mpsc;

use crate::limits::PIPE_CHUNK_BYTES;

/// Blocking end that reads what the network received.
pub(super) struct ChunkReader {
    receiver: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl ChunkReader {
    pub(super) fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            receiver,
            chunk: Bytes::new(),
        }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..count]);
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

/// Reads what the stream has to offer, up to one chunk; empty at its end. A stream hands out
/// single frames of a few KiB; collecting them saves a thread switch for each.
pub(super) async fn read_chunk(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut buffer = BytesMut::zeroed(PIPE_CHUNK_BYTES);
    let mut filled = 0;
    poll_fn(|cx| {
        while filled < buffer.len() {
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer[filled..]) {
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(count)) => filled += count,
                // An error after some bytes comes back at the next read.
                Poll::Ready(Err(error)) if filled == 0 => return Poll::Ready(Err(error)),
                Poll::Ready(Err(_)) => break,
                Poll::Pending if filled == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    buffer.truncate(filled);
    Ok(buffer.freeze())
}
