//! The handshake: two frames each way on the first stream of a connection.
//!
//! Both sides send `Hello`, judge the other's, send their `Verdict`, and read the other's, so that
//! each knows why a connection did not come about. Frames are a little-endian `u16` length and
//! borsh, at most [`MAX_HELLO_BYTES`].

use std::{fmt, io, pin::pin, task::Poll};

use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, future::poll_fn};
use libp2p::{
    PeerId,
    core::{
        Endpoint,
        muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox},
    },
};

use super::gate::Gate;
use crate::{
    Role,
    limits::{HANDSHAKE_TIMEOUT, MAX_HELLO_BYTES},
};

/// Version of everything that goes over a connection.
pub(super) const VERSION: u16 = 1;

/// What each side says first. New fields go behind a new [`VERSION`].
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Hello {
    pub(super) magic: [u8; 5],
    pub(super) version: u16,
    pub(super) genesis_hash: [u8; 32],
    pub(super) chain_id: String,
    pub(super) role: Role,
    /// Random for each run of a node: tells a restarted peer from a second connection.
    pub(super) session: u64,
    /// Where the sender can be dialled.
    pub(super) addresses: Vec<String>,
}

pub(super) const MAGIC: [u8; 5] = *b"CIFER";

/// Why a connection was refused.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum Refusal {
    /// The peer is on another network.
    #[error("other genesis: ours {}, theirs {}", Hex(.ours), Hex(.theirs))]
    Genesis {
        /// Hash of the refusing node's genesis.
        ours: [u8; 32],
        /// Hash of the other's.
        theirs: [u8; 32],
    },
    /// The peer speaks another version.
    #[error("other protocol version: ours {ours}, theirs {theirs}")]
    Version {
        /// The refusing node's version.
        ours: u16,
        /// The other's.
        theirs: u16,
    },
    /// Same genesis and another chain id: one of them is misconfigured.
    #[error("other chain id")]
    ChainId,
    /// The peer is not among the known ones, and observers are not admitted.
    #[error("unknown peer, and observers are not admitted")]
    Unknown,
    /// There are as many observers as are admitted.
    #[error("no more room for observers, limit {limit}")]
    Full {
        /// The most that are admitted.
        limit: u32,
    },
    /// The peer misbehaved lately.
    #[error("banned for misbehaviour")]
    Banned,
    /// What it sent is not a handshake.
    #[error("malformed handshake")]
    Malformed,
}

struct Hex<'a>(&'a [u8; 32]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(*self.0).to_hex().as_str())
    }
}

type Verdict = Result<(), Refusal>;

/// Runs the handshake on a fresh connection; the connection comes back if both sides agree.
pub(super) async fn shake_hands(
    gate: &Gate,
    peer: PeerId,
    mut muxer: StreamMuxerBox,
    side: Endpoint,
) -> io::Result<(PeerId, StreamMuxerBox)> {
    let work = async {
        let mut stream = first_stream(&mut muxer, side).await?;
        let verdicts = drive(&mut muxer, exchange(gate, peer, &mut stream)).await??;
        // The last frame has to leave before a refused connection is dropped.
        let _ = drive(&mut muxer, stream.close()).await;
        Ok::<_, io::Error>(verdicts)
    };
    let (ours, theirs) = tokio::time::timeout(HANDSHAKE_TIMEOUT, work).await??;
    gate.report(peer, &ours, &theirs);
    if let Err(refusal) = ours.and(theirs) {
        gate.release(&peer);
        let closing = poll_fn(|cx| muxer.poll_close_unpin(cx));
        let _ = tokio::time::timeout(HANDSHAKE_TIMEOUT, closing).await;
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
    }
    Ok((peer, muxer))
}

async fn first_stream(muxer: &mut StreamMuxerBox, side: Endpoint) -> io::Result<SubstreamBox> {
    poll_fn(|cx| {
        let opened = match side {
            Endpoint::Dialer => muxer.poll_outbound_unpin(cx),
            Endpoint::Listener => muxer.poll_inbound_unpin(cx),
        };
        if opened.is_pending()
            && let Poll::Ready(Err(error)) = muxer.poll_unpin(cx)
        {
            return Poll::Ready(Err(error));
        }
        opened
    })
    .await
}

/// Runs `work` on a stream while the connection under it is driven.
async fn drive<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = T>) -> io::Result<T> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let connection = muxer.poll_unpin(cx);
        // Polled after the connection, so that what arrived before it broke is still read.
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Ok(done));
        }
        match connection {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Our verdict and theirs.
async fn exchange(
    gate: &Gate,
    peer: PeerId,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<(Verdict, Verdict)> {
    write_frame(stream, &gate.hello()).await?;
    let ours = match parse_hello(&read_frame(stream).await?) {
        Ok(hello) => gate.admit(peer, hello),
        Err(refusal) => Err(refusal),
    };
    let theirs: io::Result<Verdict> = async {
        write_frame(stream, &ours).await?;
        let bytes = read_frame(stream).await?;
        Ok(borsh::from_slice::<Verdict>(&bytes).unwrap_or(Err(Refusal::Malformed)))
    }
    .await;
    match theirs {
        Ok(theirs) => Ok((ours, theirs)),
        // We refuse; whether the other side was still there to hear it does not matter.
        Err(_) if ours.is_err() => Ok((ours, Ok(()))),
        Err(error) => {
            gate.release(&peer);
            Err(error)
        }
    }
}

/// The version is judged before the rest, which another version may have changed.
fn parse_hello(bytes: &[u8]) -> Result<Hello, Refusal> {
    let (magic, version) =
        <([u8; 5], u16)>::deserialize(&mut &bytes[..]).map_err(|_| Refusal::Malformed)?;
    if magic != MAGIC {
        return Err(Refusal::Malformed);
    }
    if version != VERSION {
        return Err(Refusal::Version {
            ours: VERSION,
            theirs: version,
        });
    }
    borsh::from_slice(bytes).map_err(|_| Refusal::Malformed)
}

async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    message: &impl BorshSerialize,
) -> io::Result<()> {
    let bytes = borsh::to_vec(message)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_le_bytes()).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let length = usize::from(u16::from_le_bytes(length));
    if length > MAX_HELLO_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("handshake frame has {length} bytes, limit {MAX_HELLO_BYTES}"),
        ));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        Hello {
            magic: MAGIC,
            version: VERSION,
            genesis_hash: [1; 32],
            chain_id: "a".into(),
            role: Role::Observer,
            session: 5,
            addresses: vec!["b".into()],
        }
    }

    #[test]
    fn golden_bytes() {
        let mut expected = b"CIFER\x01\x00".to_vec();
        expected.extend([1; 32]);
        expected.extend([1, 0, 0, 0, b'a', 1, 5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([1, 0, 0, 0, 1, 0, 0, 0, b'b']);
        assert_eq!(borsh::to_vec(&hello()).unwrap(), expected);
        assert_eq!(parse_hello(&expected), Ok(hello()));
    }

    #[test]
    fn another_version_is_named_whatever_follows() {
        let refusal = parse_hello(b"CIFER\x02\x00garbage").unwrap_err();
        assert_eq!(refusal, Refusal::Version { ours: 1, theirs: 2 });
    }

    #[test]
    fn malformed_hellos_are_refused() {
        let good = borsh::to_vec(&hello()).unwrap();
        assert_eq!(parse_hello(b""), Err(Refusal::Malformed));
        assert_eq!(parse_hello(b"HTTP/1.1"), Err(Refusal::Malformed));
        assert_eq!(
            parse_hello(&good[..good.len() - 1]),
            Err(Refusal::Malformed)
        );
        assert_eq!(
            parse_hello(&[&good[..], &[0]].concat()),
            Err(Refusal::Malformed)
        );
    }
}
