//! Block latency of the bare engine: four validators in one process on loopback, empty blocks, as fast as
//! they come. Prints the time between commits on one of them.
//!
//!     cargo run -p cifer-consensus --example latency -- [blocks]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use support::{Network, params};

/// Blocks that are not counted: connections, caches.
const WARM_UP: usize = 20;

#[tokio::main]
async fn main() {
    let blocks = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200_usize);
    let mut network = Network::new(&[1, 1, 1, 1], params());
    network.start_all().await;
    let target = WARM_UP + blocks + 1;
    for node in &network.nodes {
        node.add_work(target as u64);
    }
    network.reach(0..4, target as u64).await;
    let (times, later_rounds) = {
        let ledger = network.nodes[0].ledger();
        let later = ledger.blocks[..target]
            .iter()
            .filter(|(_, cert)| cert.round > 0)
            .count();
        (ledger.committed_at[WARM_UP..target].to_vec(), later)
    };
    network.stop_all().await;
    let mut intervals: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    intervals.sort_unstable();
    let at = |percent: usize| intervals[(intervals.len() - 1) * percent / 100];
    let total: Duration = intervals.iter().sum();
    println!(
        "{{\"validators\":4,\"blocks\":{},\"p50_ms\":{:.2},\"p95_ms\":{:.2},\"mean_ms\":{:.2},\"later_rounds\":{later_rounds}}}",
        intervals.len(),
        at(50).as_secs_f64() * 1e3,
        at(95).as_secs_f64() * 1e3,
        total.as_secs_f64() * 1e3 / intervals.len() as f64,
    );
}
