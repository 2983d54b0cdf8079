//! The protocols on a connection: gossip, requests, blob streams, and a cap on connections.

use std::{collections::HashMap, time::Duration};

use libp2p::{
    StreamProtocol,
    connection_limits::{self, ConnectionLimits},
    gossipsub::{
        self, IdentTopic, MessageAuthenticity, MessageId, TopicHash, ValidationMode,
        WhitelistSubscriptionFilter,
    },
    request_response::{self, ProtocolSupport},
    swarm::NetworkBehaviour,
};

use super::{codec::Codec, genesis_prefix, protocol_name};
use crate::{
    Config, SpawnError, Topic,
    limits::{
        GOSSIP_OVERHEAD_BYTES, GOSSIP_QUEUE, MAX_CONNECTIONS_PER_PEER, MAX_GOSSIP_BYTES,
        MAX_PENDING_INCOMING, MAX_REQUEST_STREAMS,
    },
};

pub(super) type Gossip =
    gossipsub::Behaviour<gossipsub::IdentityTransform, WhitelistSubscriptionFilter>;

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) limits: connection_limits::Behaviour,
    pub(super) gossip: Gossip,
    pub(super) requests: request_response::Behaviour<Codec>,
    pub(super) streams: libp2p_stream::Behaviour,
}

impl Behaviour {
    pub(super) fn new(config: &Config) -> Result<Self, SpawnError> {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING_INCOMING))
            .with_max_established(Some(config.max_connections()))
            .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER));
        let requests = request_response::Config::default()
            .with_request_timeout(config.request_timeout)
            .with_max_concurrent_streams(MAX_REQUEST_STREAMS);
        let protocol: StreamProtocol = protocol_name(&config.genesis_hash, "request/1");
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            gossip: gossip(config).map_err(SpawnError::Transport)?,
            requests: request_response::Behaviour::new(
                [(protocol, ProtocolSupport::Full)],
                requests,
            ),
            streams: libp2p_stream::Behaviour::new(),
        })
    }
}

/// The topics' names by what they mean, and back.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    by_hash: HashMap<TopicHash, Topic>,
    prefix: String,
}

impl Topics {
    pub(super) fn new(genesis_hash: &[u8; 32]) -> Self {
        let prefix = format!("cifer/{}", genesis_prefix(genesis_hash));
        let hash = |topic: Topic| Self::ident_of(&prefix, topic).hash();
        let by_hash = Topic::ALL
            .into_iter()
            .map(|topic| (hash(topic), topic))
            .collect();
        Self { by_hash, prefix }
    }

    fn ident_of(prefix: &str, topic: Topic) -> IdentTopic {
        IdentTopic::new(format!("{prefix}/{}", topic.name()))
    }

    pub(super) fn ident(&self, topic: Topic) -> IdentTopic {
        Self::ident_of(&self.prefix, topic)
    }

    pub(super) fn topic(&self, hash: &TopicHash) -> Option<Topic> {
        self.by_hash.get(hash).copied()
    }
}

fn gossip(config: &Config) -> Result<Gossip, String> {
    let topics = Topics::new(&config.genesis_hash);
    let settings = gossipsub::ConfigBuilder::default()
        .protocol_id_prefix(format!(
            "/cifer/{}/gossip",
            genesis_prefix(&config.genesis_hash)
        ))
        // What we publish goes to everybody who listens, at once; with up to a hundred nodes that
        // is one hop. Forwarding uses the mesh.
        .flood_publish(true)
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(12)
        .heartbeat_initial_delay(Duration::from_millis(100))
        .heartbeat_interval(Duration::from_millis(700))
        // A message waits for its verdict in this cache: ten heartbeats are 7 s.
        .history_length(10)
        .history_gossip(3)
        .validate_messages()
        // What travels here carries its own signatures, which the application checks before it
        // accepts; the neighbour is authenticated by the connection. A signature of gossip's own would be
        // verified for each copy that arrives, before anybody knows that it is a copy.
        .validation_mode(ValidationMode::Anonymous)
        .max_transmit_size(MAX_GOSSIP_BYTES + GOSSIP_OVERHEAD_BYTES)
        .max_messages_per_rpc(Some(GOSSIP_QUEUE))
        .connection_handler_queue_len(GOSSIP_QUEUE)
        .message_id_fn(|message| {
            // By content: the same transaction from two authors travels once.
            let mut hasher = blake3::Hasher::new();
            hasher
                .update(message.topic.as_str().as_bytes())
                .update(&[0])
                .update(&message.data);
            MessageId::new(hasher.finalize().as_bytes())
        })
        .build()
        .map_err(|error| error.to_string())?;
    // A peer cannot make us remember topics that do not exist.
    let filter = WhitelistSubscriptionFilter(topics.by_hash.keys().cloned().collect());
    let mut gossip =
        Gossip::new_with_subscription_filter(MessageAuthenticity::Anonymous, settings, filter)?;
    for topic in Topic::ALL {
        gossip
            .subscribe(&topics.ident(topic))
            .map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}
