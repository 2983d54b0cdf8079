//! Requests on the wire: a tag byte, a little-endian `u32` length, and that many bytes.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

use crate::limits::MAX_REQUEST_BYTES;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireRequest {
    /// Are you there?
    Ping,
    /// Where are the known peers? The answer is borsh of [`super::peers::Addresses`].
    Addresses,
    /// The application's.
    App(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WireResponse {
    /// The answer.
    Ok(Bytes),
    /// No capacity now.
    Busy,
    /// The application did not answer.
    Unserved,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Codec;

fn malformed(what: &str, value: usize, limit: usize) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{what} is {value}, limit {limit}"),
    )
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Bytes)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let [tag, length @ ..] = head;
    let length = usize::try_from(u32::from_le_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_REQUEST_BYTES {
        return Err(malformed(
            "message length in bytes",
            length,
            MAX_REQUEST_BYTES,
        ));
    }
    // Grows with what arrives, not with what is claimed.
    let mut bytes = Vec::new();
    stream.take(length as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((tag, bytes.into()))
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), tag: u8, bytes: &[u8]) -> io::Result<()> {
    let too_large = || malformed("message length in bytes", bytes.len(), MAX_REQUEST_BYTES);
    let length = u32::try_from(bytes.len()).map_err(|_| too_large())?;
    let mut head = [tag, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_le_bytes());
    stream.write_all(&head).await?;
    stream.write_all(bytes).await?;
    stream.flush().await
}

#[async_trait]
impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = WireRequest;
    type Response = WireResponse;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<WireRequest>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read(io).await? {
            (0, _) => Ok(WireRequest::Ping),
            (1, _) => Ok(WireRequest::Addresses),
            (2, bytes) => Ok(WireRequest::App(bytes)),
            (tag, _) => Err(malformed("request tag", tag.into(), 2)),
        }
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<WireResponse>
    where
        T: AsyncRead + Unpin + Send,
    {
        match read(io).await? {
            (0, bytes) => Ok(WireResponse::Ok(bytes)),
            (1, _) => Ok(WireResponse::Busy),
            (2, _) => Ok(WireResponse::Unserved),
            (tag, _) => Err(malformed("response tag", tag.into(), 2)),
        }
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: WireRequest,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match request {
            WireRequest::Ping => write(io, 0, &[]).await,
            WireRequest::Addresses => write(io, 1, &[]).await,
            WireRequest::App(bytes) => write(io, 2, &bytes).await,
        }
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: WireResponse,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match response {
            WireResponse::Ok(bytes) => write(io, 0, &bytes).await,
            WireResponse::Busy => write(io, 1, &[]).await,
            WireResponse::Unserved => write(io, 2, &[]).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::executor::block_on;
    use libp2p::request_response::Codec as _;

    use super::*;

    #[test]
    fn golden_bytes() {
        let protocol = StreamProtocol::new("/test");
        let mut out = Vec::new();
        let request = WireRequest::App(Bytes::from_static(b"hi"));
        block_on(Codec.write_request(&protocol, &mut out, request.clone())).unwrap();
        assert_eq!(out, [2, 2, 0, 0, 0, b'h', b'i']);
        let read = block_on(Codec.read_request(&protocol, &mut &out[..])).unwrap();
        assert_eq!(read, request);
    }

    #[test]
    fn lengths_and_tags_are_bounded() {
        let protocol = StreamProtocol::new("/test");
        let mut huge = vec![2];
        huge.extend((MAX_REQUEST_BYTES as u32 + 1).to_le_bytes());
        let error = block_on(Codec.read_request(&protocol, &mut &huge[..])).unwrap_err();
        assert!(
            error.to_string().contains("1048577, limit 1048576"),
            "{error}"
        );
        let error = block_on(Codec.read_request(&protocol, &mut &[9, 0, 0, 0, 0][..])).unwrap_err();
        assert!(error.to_string().contains("request tag is 9"), "{error}");
        let error = block_on(Codec.read_response(&protocol, &mut &[0, 4, 0, 0, 0, 1][..]));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
