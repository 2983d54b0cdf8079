//! A syntactic check of multiaddresses, so that a typing error shows when the document is made and not
//! when a peer is dialled. The network crates parse them fully.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    bounds,
    problem::{ProblemKind, Problems, excerpt},
};

const EXPECTED: &str = "/ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT or …/udp/PORT/quic-v1";

pub(super) fn check(address: &str, field: impl fmt::Display, problems: &mut Problems) {
    if let Err(reason) = parse(address) {
        let kind = ProblemKind::Address {
            got: excerpt(address),
            reason,
            expected: EXPECTED,
        };
        problems.add(field, kind);
    }
}

fn parse(address: &str) -> Result<(), &'static str> {
    if address.len() > bounds::MAX_ADDRESS_BYTES {
        return Err("it is too long");
    }
    let Some(address) = address.strip_prefix('/') else {
        return Err("it does not begin with a slash");
    };
    let mut parts = address.split('/');
    let (Some(kind), Some(host)) = (parts.next(), parts.next()) else {
        return Err("the host is missing");
    };
    check_host(kind, host)?;
    let (Some(transport), Some(port)) = (parts.next(), parts.next()) else {
        return Err("the transport or its port is missing");
    };
    check_port(port)?;
    match (transport, parts.next(), parts.next()) {
        ("tcp", None, _) | ("udp", Some("quic-v1"), None) => Ok(()),
        ("tcp" | "udp", ..) => Err("the port is followed by something else"),
        _ => Err("the transport is neither tcp nor udp"),
    }
}

fn check_host(kind: &str, host: &str) -> Result<(), &'static str> {
    match kind {
        "ip4" => match host.parse::<Ipv4Addr>() {
            Ok(ip) if ip.is_unspecified() => Err("nobody can dial an unspecified host"),
            Ok(_) => Ok(()),
            Err(_) => Err("the host is not an IPv4 address"),
        },
        "ip6" => match host.parse::<Ipv6Addr>() {
            Ok(ip) if ip.is_unspecified() => Err("nobody can dial an unspecified host"),
            Ok(_) => Ok(()),
            Err(_) => Err("the host is not an IPv6 address"),
        },
        "dns" | "dns4" | "dns6" if is_dns_name(host) => Ok(()),
        "dns" | "dns4" | "dns6" => Err("the host is not a DNS name"),
        _ => Err("the kind of host is unknown"),
    }
}

/// Whether a name is made of labels of 1 to 63 letters, digits, hyphens and (as container networks
/// name hosts) underscores, at most 253 bytes in all.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(fits)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

fn check_port(text: &str) -> Result<(), &'static str> {
    let is_canonical = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_canonical && text.parse::<u16>().is_ok() {
        Ok(())
    } else {
        Err("the port is not in 1 to 65535")
    }
}
