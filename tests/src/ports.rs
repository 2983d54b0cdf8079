//! Ports of a test network: a block that no other test has, below those that the system hands out.
//!
//! A free port asked of the system can be taken as the source of a connection while the node that
//! listens there is down. So blocks are taken outside of that range, under a file lock that
//! test processes on this machine share and that ends with the process.

use std::fs::{File, OpenOptions};
use std::net::{TcpListener, UdpSocket};

/// First port of the first block.
const FIRST: u16 = 10_000;
/// Ports of a block: ten nodes, each with ten.
const BLOCK: u16 = 100;
/// Blocks; the last one ends below 26,650, where nodes listen by default.
const BLOCKS: u16 = 160;

/// A block of ports, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) base: u16,
    _lock: File,
}

impl Ports {
    /// Takes a block whose ports nobody uses.
    pub(crate) fn take() -> Self {
        let folder = std::env::temp_dir().join("cifer-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder for the locks of ports");
        // Tests of different processes begin their search at different places.
        let first = (std::process::id() % u32::from(BLOCKS)) as u16;
        (0..BLOCKS)
            .map(|offset| (first + offset) % BLOCKS)
            .find_map(|block| {
                let path = folder.join(block.to_string());
                let lock = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .ok()?;
                lock.try_lock().ok()?;
                let base = FIRST + block * BLOCK;
                (base..base + BLOCK)
                    .all(is_free)
                    .then_some(Self { base, _lock: lock })
            })
            .expect("a block of free ports between 10000 and 26000")
    }
}

fn is_free(port: u16) -> bool {
    let address = ("127.0.0.1", port);
    TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
}
