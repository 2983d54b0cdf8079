//! The transport: TCP with Noise and Yamux, or QUIC, and on top of either the handshake.

use std::{collections::HashMap, io, sync::Arc};

use futures::{TryFutureExt, future::Either};
use libp2p::{
    PeerId, Transport,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identity::Keypair,
    noise, quic, tcp, yamux,
};
use tokio::sync::mpsc;

use super::{gate::Gate, handshake};
use crate::{Config, SpawnError, identity, limits::HANDSHAKE_TIMEOUT};

/// Connections as [`crate::spawn`] makes them, with the handshake, and nothing above: for tests
/// that play a faulty peer and for measuring the bare transport.
///
/// # Errors
/// [`SpawnError`] if a key in `config` is not one.
pub fn transport(config: &Config) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SpawnError> {
    let (reports, _) = mpsc::channel(1);
    let gate = Gate::new(config, known_keys(config)?, rand::random(), reports);
    build(&keypair(config)?, Arc::new(gate))
}

pub(super) fn keypair(config: &Config) -> Result<Keypair, SpawnError> {
    Keypair::ed25519_from_bytes(*config.secret_key)
        .map_err(|error| SpawnError::SecretKey(error.to_string()))
}

/// The peer ids of the known peers.
pub(super) fn known_keys(config: &Config) -> Result<HashMap<PeerId, [u8; 32]>, SpawnError> {
    let ids = config.known_peers.iter().enumerate().map(|(index, known)| {
        identity::peer_id(&known.public_key)
            .map(|peer| (peer, known.public_key))
            .map_err(|source| SpawnError::KnownPeer { index, source })
    });
    ids.collect()
}

pub(super) fn build(
    keypair: &Keypair,
    gate: Arc<Gate>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, SpawnError> {
    let noise =
        noise::Config::new(keypair).map_err(|error| SpawnError::Transport(error.to_string()))?;
    // Yamux as it comes: windows of 256 KiB that grow with the bandwidth-delay product, but only
    // while we keep up with reading.
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(HANDSHAKE_TIMEOUT)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let either = quic.or_transport(tcp).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    Ok(either
        .and_then(move |(peer, muxer), point| {
            let side = point.to_endpoint();
            let gate = gate.clone();
            async move { handshake::shake_hands(&gate, peer, muxer, side).await }
                .map_err(io::Error::other)
        })
        .boxed())
}
