//! The engine's configuration: who is connected to whom, over what, and with which bounds.

use std::time::Duration;

use arc_malachitebft_app_channel::{
    NetworkRequest,
    app::{
        config::{
            ConsensusConfig, GossipSubConfig, NodeConfig, PubSubProtocol, ValuePayload,
            ValueSyncConfig,
        },
        net::{Multiaddr, PeerId},
    },
};
use cifer_genesis::{GenesisHash, PublicKey};
use tokio::sync::{mpsc, watch};

use crate::{
    api::{Config, MAX_BLOCK_BYTES},
    codec::{MAX_LIVENESS_BYTES, MAX_PART_BYTES, MAX_VOTE_BYTES},
    error::Error,
};

/// Connections of each direction. An idle connection takes about 100 KiB: 26 MiB.
const MAX_PEERS: usize = 128;
/// Connections from one address; a devnet has all its nodes on one.
const MAX_PEERS_PER_IP: usize = 64;
/// How long a stranger's address is turned away after a connection of it closed.
const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);
/// How often peers are told our height. They also hear it when they connect.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// For a sync response of at most 10 MiB.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// Blocks asked for at a time; the response is cut to size by the one who answers.
pub(crate) const SYNC_BATCH: usize = 32;
/// Requests at a time: the engine buffers up to twice the blocks of these.
const SYNC_PARALLEL: usize = 4;
/// Messages of future heights the engine keeps: heights, and inputs of each (a vote takes about 300 bytes,
/// so 10 MiB; blocks are not among them).
const QUEUED_HEIGHTS: usize = 8;
const QUEUED_INPUTS: usize = 4096;
/// How often the list of peers is looked at, and while a start waits for them.
const PEERS_INTERVAL: Duration = Duration::from_secs(1);
const PEERS_INTERVAL_STARTING: Duration = Duration::from_millis(25);

/// A peer id of an ed25519 key is the key behind this prefix (identity multihash of its protobuf).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The peer id of a node.
pub(crate) fn peer_id(key: &PublicKey) -> Option<PeerId> {
    PeerId::from_bytes(&[&PEER_ID_PREFIX[..], key.as_bytes()].concat()).ok()
}

/// The key of a node, from the bytes of its peer id.
pub(crate) fn peer_key(peer_id: &[u8]) -> Option<PublicKey> {
    let key = peer_id.strip_prefix(&PEER_ID_PREFIX)?;
    PublicKey::from_bytes(key.try_into().ok()?).ok()
}

/// A connected peer, as the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawPeer {
    pub(crate) id: String,
    pub(crate) key: Option<PublicKey>,
    pub(crate) address: String,
}

/// Keeps the list of connected peers up to date, until nobody listens.
pub(crate) async fn watch_peers(
    requests: mpsc::Sender<NetworkRequest>,
    peers: watch::Sender<Vec<RawPeer>>,
    mut starting: watch::Receiver<bool>,
) {
    loop {
        let Ok(dump) = NetworkRequest::dump_state(&requests).await else {
            return;
        };
        let mut connected: Vec<_> = dump
            .map(|dump| dump.peers)
            .unwrap_or_default()
            .into_iter()
            .map(|(id, info)| RawPeer {
                id: id.to_string(),
                key: peer_key(&id.to_bytes()),
                address: info.address.to_string(),
            })
            .collect();
        connected.sort_by(|a, b| a.id.cmp(&b.id));
        peers.send_if_modified(|known| {
            let changed = *known != connected;
            if changed {
                *known = connected;
            }
            changed
        });
        let interval = if *starting.borrow() {
            PEERS_INTERVAL_STARTING
        } else {
            PEERS_INTERVAL
        };
        tokio::select! {
            () = peers.closed() => return,
            _ = starting.wait_for(|starting| !starting), if *starting.borrow() => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// What the engine is configured with.
#[derive(Debug, Clone)]
pub(crate) struct EngineConfig {
    moniker: String,
    consensus: ConsensusConfig,
    value_sync: ValueSyncConfig,
}

impl NodeConfig for EngineConfig {
    fn moniker(&self) -> &str {
        &self.moniker
    }

    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &ValueSyncConfig {
        &self.value_sync
    }

    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.value_sync
    }
}

fn multiaddr(field: &'static str, text: &str) -> Result<Multiaddr, Error> {
    let invalid = |reason: String| Error::Config { field, reason };
    let address: Multiaddr = text
        .parse()
        .map_err(|error| invalid(format!("{text:?} is no multiaddress: {error}")))?;
    let transports = ["tcp", "quic", "quic-v1"];
    if !address
        .protocol_stack()
        .any(|protocol| transports.contains(&protocol))
    {
        return Err(invalid(format!("{text:?} has neither tcp nor quic-v1")));
    }
    Ok(address)
}

fn bytes<T: std::str::FromStr>(count: usize) -> Option<T> {
    format!("{count} B").parse().ok()
}

impl EngineConfig {
    /// Translates and checks a configuration.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let invalid = |field, reason: String| Err(Error::Config { field, reason });
        if config.max_block_bytes == 0 || config.max_block_bytes > MAX_BLOCK_BYTES {
            return invalid(
                "max_block_bytes",
                format!(
                    "{} is not in 1 to {MAX_BLOCK_BYTES}",
                    config.max_block_bytes
                ),
            );
        }
        let mut consensus = ConsensusConfig {
            enabled: true,
            value_payload: ValuePayload::ProposalAndParts,
            queue_capacity: QUEUED_HEIGHTS,
            queue_per_height_capacity: QUEUED_INPUTS,
            ..ConsensusConfig::default()
        };
        let p2p = &mut consensus.p2p;
        p2p.listen_addr = multiaddr("listen", &config.listen)?;
        let own = config.key.public_key();
        for (key, address) in config.peers.iter().filter(|(key, _)| *key != own) {
            let address = multiaddr("peers", address)?;
            let Some(id) = peer_id(key) else {
                return invalid("peers", format!("{key} makes no peer id"));
            };
            p2p.persistent_peers
                .push(multiaddr("peers", &format!("{address}/p2p/{id}"))?);
        }
        // A node that only follows dials validators; it may be followed in turn.
        p2p.persistent_peers_only = config.is_validator && !config.allow_observers;
        p2p.discovery.enabled = false;
        p2p.discovery.num_inbound_peers = MAX_PEERS;
        p2p.discovery.num_outbound_peers = MAX_PEERS;
        p2p.discovery.max_connections_per_ip = MAX_PEERS_PER_IP;
        p2p.discovery.ip_throttle_duration = RECONNECT_INTERVAL;
        // Validators send to every validator directly (explicit peers, flood publishing) instead of
        // waiting for a mesh to form; the mesh carries messages on to observers.
        let explicit = config.is_validator;
        p2p.protocol =
            PubSubProtocol::GossipSub(GossipSubConfig::new(6, 12, 4, 2, false, explicit, true));
        let sizes = &mut p2p.pubsub_max_size_per_topic;
        sizes.consensus = bytes(MAX_VOTE_BYTES);
        sizes.liveness = bytes(MAX_LIVENESS_BYTES);
        sizes.proposal_parts = bytes(MAX_PART_BYTES);
        name_network(p2p, &config.genesis_hash);
        let value_sync = ValueSyncConfig {
            enabled: true,
            status_update_interval: STATUS_INTERVAL,
            request_timeout: SYNC_TIMEOUT,
            parallel_requests: SYNC_PARALLEL,
            batch_size: SYNC_BATCH,
            ..ValueSyncConfig::default()
        };
        Ok(Self {
            moniker: config.moniker.clone(),
            consensus,
            value_sync,
        })
    }
}

/// Puts the genesis hash into every name that peers have to agree on. The first is compared when
/// peers identify themselves: one of another network is disconnected there.
fn name_network(
    p2p: &mut arc_malachitebft_app_channel::app::config::P2pConfig,
    genesis: &GenesisHash,
) {
    let name = |what: &str| format!("/cifer/{genesis}/{what}/1");
    p2p.protocol_names.consensus = name("consensus");
    p2p.protocol_names.discovery_kad = name("discovery-kad");
    p2p.protocol_names.discovery_regres = name("discovery");
    p2p.protocol_names.sync = name("sync");
    p2p.protocol_names.validator_proof = name("validator-proof");
    // The engine's broadcast panics on topics of more than 64 bytes: half of the hash has to do.
    let half = &genesis.to_string()[..32];
    let topic = |what: &str| format!("/cifer/{half}/{what}/1");
    p2p.channel_names.consensus = topic("votes");
    p2p.channel_names.proposal_parts = topic("parts");
    p2p.channel_names.sync = topic("status");
    p2p.channel_names.liveness = topic("liveness");
}

#[cfg(test)]
mod tests {
    use arc_malachitebft_app_channel::app::types::Keypair;
    use cifer_genesis::{SecretKey, document::ConsensusParams};

    use super::*;

    fn config() -> Config {
        Config {
            moniker: "test".into(),
            chain_id: "test".into(),
            genesis_hash: GenesisHash::from_bytes([7; 32]),
            key: SecretKey::from_seed(&[1; 32]),
            home: "unused".into(),
            listen: "/ip4/127.0.0.1/tcp/0".into(),
            peers: vec![
                (
                    SecretKey::from_seed(&[1; 32]).public_key(),
                    "nonsense".into(),
                ),
                (
                    SecretKey::from_seed(&[2; 32]).public_key(),
                    "/ip4/127.0.0.1/tcp/1".into(),
                ),
            ],
            params: ConsensusParams::default(),
            max_block_bytes: 1 << 20,
            is_validator: true,
            allow_observers: true,
        }
    }

    #[test]
    fn peer_ids_are_keys() {
        let key = SecretKey::from_seed(&[3; 32]);
        let keypair = Keypair::ed25519_from_bytes(*key.to_seed()).unwrap();
        let id = peer_id(&key.public_key()).unwrap();
        assert_eq!(id, keypair.public().to_peer_id());
        assert_eq!(peer_key(&id.to_bytes()), Some(key.public_key()));
        assert_eq!(peer_key(b"short"), None);
    }

    #[test]
    fn the_network_is_in_every_name_and_limits_are_set() {
        let engine = EngineConfig::new(&config()).unwrap();
        let p2p = &engine.consensus.p2p;
        let hash = GenesisHash::from_bytes([7; 32]).to_string();
        for name in [
            &p2p.protocol_names.consensus,
            &p2p.protocol_names.sync,
            &p2p.protocol_names.validator_proof,
        ] {
            assert!(name.contains(&hash), "{name}");
        }
        for name in [
            &p2p.channel_names.consensus,
            &p2p.channel_names.proposal_parts,
            &p2p.channel_names.sync,
            &p2p.channel_names.liveness,
        ] {
            assert!(name.contains(&hash[..32]) && name.len() <= 64, "{name}");
        }
        p2p.channel_names.validate().unwrap();
        assert_eq!(p2p.persistent_peers.len(), 1, "the own entry is skipped");
        assert!(p2p.pubsub_max_size_per_topic.proposal_parts.is_some());
        assert!(p2p.pubsub_max_size_per_topic.consensus.is_some());
        assert!(p2p.pubsub_max_size_per_topic.liveness.is_some());
    }

    #[test]
    fn unusable_values_are_refused_by_name() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            EngineConfig::new(&config).unwrap_err().to_string()
        };
        assert!(refused(|c| c.listen = "localhost:80".into()).contains("listen"));
        assert!(refused(|c| c.listen = "/ip4/127.0.0.1".into()).contains("neither tcp"));
        assert!(refused(|c| c.max_block_bytes = 1 << 30).contains("max_block_bytes"));
        assert!(refused(|c| c.peers[1].1.clear()).contains("peers"));
    }
}
