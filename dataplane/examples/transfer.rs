//! How fast a fetch is, against a raw stream over the same transport in the same process.
//!
//! `cargo run -p cifer-dataplane --example transfer [MB …]` (default: 40 400)
//!
//! Both ends run in this process, so the CPU is shared and the peak memory is that of two nodes.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use cifer_dataplane::{
    BlobStore, Config, Handle, KnownPeer, Multiaddr, PeerId, StoreOptions, net::transport, peer_id,
    public_key, spawn,
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{StreamProtocol, Swarm, identity::Keypair, swarm, swarm::SwarmEvent};
use libp2p_stream::{Behaviour, Control};
use rand::RngCore;

const RAW: StreamProtocol = StreamProtocol::new("/raw/1");
const TRANSPORTS: [(&str, &str); 2] = [
    ("tcp", "/ip4/127.0.0.1/tcp/0"),
    ("quic", "/ip4/127.0.0.1/udp/0/quic-v1"),
];
const RUNS: usize = 3;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let sizes: Vec<u64> = std::env::args()
        .skip(1)
        .map(|mb| mb.parse())
        .collect::<Result<_, _>>()?;
    let sizes = if sizes.is_empty() {
        vec![40, 400]
    } else {
        sizes
    };
    println!("best of {RUNS}, MB/s (10^6 bytes); ratio = fetch / raw");
    for (name, listen) in TRANSPORTS {
        for mb in &sizes {
            let len = mb * 1_000_000;
            let raw = raw(listen, len).await?;
            let relaxed = fetch(listen, len, false).await?;
            let durable = fetch(listen, len, true).await?;
            let ratio = relaxed / raw;
            println!(
                "{name:>4} {mb:>4} MB: raw {raw:>6.0}  fetch {relaxed:>6.0}  ratio {ratio:.2}  \
                 fetch with fsync {durable:>6.0}  peak RSS {} MB",
                peak_rss_mb()
            );
        }
    }
    Ok(())
}

fn config(seed: u8, listen: &str, peer: u8, addresses: Vec<Multiaddr>) -> Result<Config, Error> {
    let mut config = Config::new("bench", [1; 32], [seed; 32]);
    config.listen = vec![listen.parse()?];
    let public_key = public_key(&id(peer)?).ok_or("not ed25519")?;
    config.known_peers = vec![KnownPeer {
        public_key,
        addresses,
    }];
    Ok(config)
}

fn id(seed: u8) -> Result<PeerId, Error> {
    let id = Keypair::ed25519_from_bytes([seed; 32])?
        .public()
        .to_peer_id();
    let key = public_key(&id).ok_or("not ed25519")?;
    Ok(peer_id(&key)?)
}

fn best(len: u64, times: &[Duration]) -> f64 {
    let best = times.iter().min().copied().unwrap_or_default();
    len as f64 / 1e6 / best.as_secs_f64()
}

/// Bytes from memory to nowhere.
async fn raw(listen: &str, len: u64) -> Result<f64, Error> {
    let (_, address, mut server) = raw_peer(&config(1, listen, 2, Vec::new())?).await?;
    let mut incoming = server.accept(RAW)?;
    let sender = tokio::spawn(async move {
        let chunk = vec![7u8; 256 * 1024];
        while let Some((_, mut stream)) = incoming.next().await {
            let mut left = len as usize;
            while left > 0 {
                let count = left.min(chunk.len());
                if stream.write_all(&chunk[..count]).await.is_err() {
                    break;
                }
                left -= count;
            }
            let _ = stream.close().await;
        }
    });
    let (_, _, mut client) = raw_peer(&config(2, listen, 1, vec![address])?).await?;
    let mut times = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    for _ in 0..RUNS {
        let mut stream = loop {
            match client.open_stream(id(1)?, RAW).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let start = Instant::now();
        let mut received = 0;
        loop {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => received += count as u64,
            }
        }
        assert_eq!(received, len);
        times.push(start.elapsed());
    }
    sender.abort();
    Ok(best(len, &times))
}

async fn raw_peer(config: &Config) -> Result<(PeerId, Multiaddr, Control), Error> {
    let settings = swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::MAX);
    let local = id(config.secret_key[0])?;
    let mut swarm = Swarm::new(transport(config)?, Behaviour::new(), local, settings);
    let control = swarm.behaviour().new_control();
    swarm.listen_on(config.listen[0].clone())?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    if let Some(peer) = config.known_peers[0].addresses.first() {
        swarm.dial(peer.clone())?;
        while !matches!(
            swarm.select_next_some().await,
            SwarmEvent::ConnectionEstablished { .. }
        ) {}
    }
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    Ok((local, address, control))
}

/// From one store to another, verified.
async fn fetch(listen: &str, len: u64, durable: bool) -> Result<f64, Error> {
    let dir = tempfile::tempdir()?;
    let options = StoreOptions {
        quota_bytes: 4 * len,
        durable,
    };
    let open = |name: &str| BlobStore::open_with(dir.path().join(name), options);
    let (source, target) = (open("source")?, open("target")?);
    let (server, _events) = spawn(config(1, listen, 2, Vec::new())?, source.clone()).await?;
    let addresses = server.listen_addresses();
    let (client, _more) = spawn(config(2, listen, 1, addresses)?, target.clone()).await?;
    while client.connected_peers().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let hash = tokio::task::spawn_blocking(move || random_blob(&source, len)).await??;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        client
            .fetch(hash, len, vec![server.local_peer_id()])
            .await?;
        times.push(start.elapsed());
        target.remove(&hash)?;
    }
    stop([client, server]).await;
    Ok(best(len, &times))
}

fn random_blob(store: &BlobStore, len: u64) -> std::io::Result<cifer_dataplane::BlobHash> {
    let mut writer = store.create_writer(len).map_err(std::io::Error::other)?;
    let mut left = len as usize;
    let mut chunk = vec![0; 1 << 20];
    while left > 0 {
        let count = left.min(chunk.len());
        rand::thread_rng().fill_bytes(&mut chunk[..count]);
        writer.write_all(&chunk[..count])?;
        left -= count;
    }
    Ok(writer.finish().map_err(std::io::Error::other)?.0)
}

async fn stop(handles: [Handle; 2]) {
    for handle in handles {
        handle.shutdown().await;
    }
}

fn peak_rss_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb: u64 = line
        .and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or_default();
    kb / 1024
}
