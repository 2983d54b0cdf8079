//! Peers that pass the handshake and then misbehave.

use bao_tree::{
    BlockSize, ChunkNum, ChunkRanges,
    io::{outboard::PreOrderMemOutboard, sync::encode_ranges},
};
use cifer_dataplane::{
    Config, Multiaddr, PeerId,
    net::transport,
    transfer::{
        protocol,
        wire::{Answer, BlobRequest, REQUEST_BYTES, ResponseHeader},
    },
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Stream, StreamProtocol, Swarm, swarm, swarm::SwarmEvent};
use libp2p_stream::{Behaviour, Control};
use std::time::Duration;
use tokio::{sync::oneshot, task::JoinHandle};

/// What an evil holder does with a good blob.
#[derive(Clone, Copy)]
pub(crate) enum Evil {
    /// Flips a bit of the byte at this offset.
    Flip(usize),
    /// Ends the stream after this many encoded bytes; sends none to who asks for the rest.
    Cut(usize),
    /// The same, without ending the stream.
    Stall(usize),
    /// Answers something that is no answer.
    Garbage,
    /// Serves, claiming another length.
    ClaimLength(u64),
}

/// A bare swarm: transport, handshake and streams, nothing else.
pub(crate) struct RawPeer {
    pub(crate) id: PeerId,
    pub(crate) address: Option<Multiaddr>,
    pub(crate) control: Control,
    task: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl RawPeer {
    pub(crate) async fn start(config: &Config) -> Self {
        let transport = transport(config).unwrap();
        let id = super::id(config.secret_key[0]);
        let settings =
            swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::MAX);
        let mut swarm = Swarm::new(transport, Behaviour::new(), id, settings);
        let control = swarm.behaviour().new_control();
        let mut address = None;
        if let Some(listen) = config.listen.first() {
            swarm.listen_on(listen.clone()).unwrap();
            while address.is_none() {
                if let SwarmEvent::NewListenAddr { address: bound, .. } =
                    swarm.select_next_some().await
                {
                    address = Some(bound);
                }
            }
        }
        for peer in config.known_peers.iter().flat_map(|peer| &peer.addresses) {
            swarm.dial(peer.clone()).unwrap();
        }
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut stopped => return,
                    _ = swarm.select_next_some() => {}
                }
            }
        });
        Self {
            id,
            address,
            control,
            task,
            _stop: stop,
        }
    }

    /// Opens a stream, as soon as there is a connection.
    pub(crate) async fn open(&mut self, peer: PeerId, protocol: StreamProtocol) -> Stream {
        for _ in 0..500 {
            if let Ok(stream) = self.control.open_stream(peer, protocol.clone()).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no stream to {peer}");
    }

    /// Serves `blob` in its own way, to everybody.
    pub(crate) fn serve(&self, evil: Evil, blob: Vec<u8>) {
        let mut control = self.control.clone();
        let mut incoming = control.accept(protocol(&super::GENESIS)).unwrap();
        tokio::spawn(async move {
            while let Some((_, stream)) = incoming.next().await {
                tokio::spawn(serve(evil, blob.clone(), stream));
            }
        });
    }
}

impl Drop for RawPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(evil: Evil, mut blob: Vec<u8>, mut stream: Stream) -> std::io::Result<()> {
    let mut request = [0; REQUEST_BYTES];
    stream.read_exact(&mut request).await?;
    let request: BlobRequest = borsh::from_slice(&request)?;
    let mut header = ResponseHeader {
        answer: Answer::Found,
        len: blob.len() as u64,
    };
    if let Evil::ClaimLength(len) = evil {
        header.len = len;
    }
    if let Evil::Garbage = evil {
        stream.write_all(&[0xee; 9]).await?;
    } else {
        stream.write_all(&borsh::to_vec(&header)?).await?;
    }
    let outboard = PreOrderMemOutboard::create(&blob, BlockSize::from_chunk_log(4));
    if let Evil::Flip(offset) = evil {
        blob[offset] ^= 1;
    }
    let ranges = ChunkRanges::from(ChunkNum(request.first_group * 16)..);
    let mut encoded = Vec::new();
    encode_ranges(&blob[..], &outboard, &ranges, &mut encoded).unwrap();
    if let Evil::Cut(count) | Evil::Stall(count) = evil {
        encoded.truncate(if request.first_group == 0 { count } else { 0 });
    }
    stream.write_all(&encoded).await?;
    stream.flush().await?;
    if let Evil::Stall(_) = evil {
        std::future::pending::<()>().await;
    }
    stream.close().await
}
