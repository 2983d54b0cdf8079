//! Which host and ports each node gets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use super::TestnetError;

/// Ports that a node takes: consensus, data plane (UDP and TCP), gRPC, HTTP.
pub const PORTS_OF_A_NODE: u16 = 4;

/// Distance between the first ports of two nodes on one host, so that they are easy to tell apart.
const STRIDE: u16 = 10;

/// Tries to find a port that is free for UDP and TCP alike.
const MAX_TRIES: usize = 64;

const LOOPBACK: &str = "127.0.0.1";

/// Where a node listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Where its peers reach it: an IP address or a DNS name.
    pub host: String,
    /// Consensus engine, TCP.
    pub consensus_port: u16,
    /// Data plane, UDP and TCP.
    pub data_port: u16,
    /// API, on loopback.
    pub grpc: SocketAddr,
    /// Metrics and health, on loopback.
    pub http: SocketAddr,
}

impl NodeAddresses {
    fn new(host: &str, [consensus_port, data_port, grpc, http]: [u16; 4]) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            host: host.to_owned(),
            consensus_port,
            data_port,
            grpc: local(grpc),
            http: local(http),
        }
    }

    /// The address to listen on as a multiaddress without a port: loopback where the host is, all
    /// interfaces of the host's family otherwise.
    fn listen_host(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if ip.is_loopback() => format!("/ip4/{ip}"),
            Ok(IpAddr::V6(ip)) if ip.is_loopback() => format!("/ip6/{ip}"),
            Ok(IpAddr::V6(_)) => "/ip6/::".to_owned(),
            Ok(IpAddr::V4(_)) | Err(_) => "/ip4/0.0.0.0".to_owned(),
        }
    }

    /// Where the consensus engine listens.
    #[must_use]
    pub fn consensus_listen(&self) -> String {
        format!("{}/tcp/{}", self.listen_host(), self.consensus_port)
    }

    /// Where the data plane listens.
    #[must_use]
    pub fn data_listen(&self) -> Vec<String> {
        let (host, port) = (self.listen_host(), self.data_port);
        vec![
            format!("{host}/udp/{port}/quic-v1"),
            format!("{host}/tcp/{port}"),
        ]
    }
}

/// Addresses of `nodes` nodes, in order.
pub(super) fn plan(
    nodes: usize,
    hosts: &[String],
    base_port: u16,
    free_ports: bool,
) -> Result<Vec<NodeAddresses>, TestnetError> {
    if free_ports && !hosts.is_empty() {
        let reason = "free ports can be found on this machine only; leave one of both out";
        return Err(TestnetError::option(
            "free-ports",
            "given together with hosts",
            reason,
        ));
    }
    if !hosts.is_empty() && hosts.len() != nodes {
        let reason = format!("{nodes} are needed, one for each validator and observer");
        return Err(TestnetError::option("hosts", hosts.len(), reason));
    }
    if free_ports {
        find_free(nodes)
    } else {
        count_up(nodes, hosts, base_port)
    }
}

/// Nodes of one host stand [`STRIDE`] ports apart.
fn count_up(
    nodes: usize,
    hosts: &[String],
    base_port: u16,
) -> Result<Vec<NodeAddresses>, TestnetError> {
    let mut on_host: BTreeMap<&str, u16> = BTreeMap::new();
    (0..nodes)
        .map(|index| {
            let host = hosts.get(index).map_or(LOOPBACK, String::as_str);
            let before = on_host.entry(host).or_default();
            let first = before
                .checked_mul(STRIDE)
                .and_then(|offset| base_port.checked_add(offset))
                .filter(|first| first.checked_add(PORTS_OF_A_NODE).is_some() && *first > 0)
                .ok_or_else(|| {
                    let reason = format!("the ports of node {index} on {host} exceed 65535");
                    TestnetError::option("base-port", base_port, reason)
                })?;
            *before += 1;
            Ok(NodeAddresses::new(
                host,
                [first, first + 1, first + 2, first + 3],
            ))
        })
        .collect()
}

/// Asks the system for free ports. All sockets stay open until the last port is known, so that no
/// port is given out twice; another program can still take one before the nodes start.
fn find_free(nodes: usize) -> Result<Vec<NodeAddresses>, TestnetError> {
    let mut held = Vec::new();
    (0..nodes)
        .map(|_| {
            let mut ports = [0; 4];
            for port in &mut ports {
                *port = free_port(&mut held)?;
            }
            Ok(NodeAddresses::new(LOOPBACK, ports))
        })
        .collect()
}

fn free_port(held: &mut Vec<(TcpListener, UdpSocket)>) -> Result<u16, TestnetError> {
    let mut last = None;
    for _ in 0..MAX_TRIES {
        let tcp = TcpListener::bind((LOOPBACK, 0));
        let both = tcp.and_then(|tcp| {
            let port = tcp.local_addr()?.port();
            UdpSocket::bind((LOOPBACK, port)).map(|udp| (port, tcp, udp))
        });
        match both {
            Ok((port, tcp, udp)) => {
                held.push((tcp, udp));
                return Ok(port);
            }
            Err(error) => last = Some(error),
        }
    }
    let reason = last.map_or_else(String::new, |error| error.to_string());
    Err(TestnetError::option(
        "free-ports",
        "given",
        format!("no port is free: {reason}"),
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nodes_of_one_host_share_no_port() {
        let hosts: Vec<String> = ["a.example", "b.example", "a.example"]
            .map(str::to_owned)
            .into();
        let nodes = plan(3, &hosts, 26_650, false).unwrap();
        assert_eq!(nodes[0].consensus_port, 26_650);
        assert_eq!(nodes[1].consensus_port, 26_650);
        assert_eq!(nodes[2].consensus_port, 26_660);
        assert_eq!(nodes[0].consensus_listen(), "/ip4/0.0.0.0/tcp/26650");
    }

    #[test]
    fn free_ports_are_all_different() {
        let nodes = plan(8, &[], 0, true).unwrap();
        let ports: BTreeSet<u16> = nodes
            .iter()
            .flat_map(|n| [n.consensus_port, n.data_port, n.grpc.port(), n.http.port()])
            .collect();
        assert_eq!(ports.len(), 32);
        assert!(!ports.contains(&0));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let one = ["h".to_owned()];
        assert!(plan(2, &one, 1, false).is_err(), "hosts too few");
        assert!(
            plan(1, &one, 1, true).is_err(),
            "free ports of another host"
        );
        assert!(plan(2, &[], 65_530, false).is_err(), "beyond the last port");
        assert!(plan(1, &[], 0, false).is_err(), "port 0");
    }
}
