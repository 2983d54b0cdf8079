//! Transactions from peers that are a block ahead of us: what our state refuses now may be right after the next block, and
//! gossip does not repeat itself.
//!
//! Invariants: bounded by bytes for each peer that hands them on; each is tried once more, after the next block, and is gone then.

use std::{collections::BTreeMap, mem};

use bytes::Bytes;
use cifer_dataplane::PeerId;

/// Bytes kept of what one peer hands on: the key sums of a validator in more than a hundred groups.
const MAX_BYTES: u64 = 1 << 20;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Early(BTreeMap<PeerId, OfPeer>);

#[derive(Debug, Default)]
struct OfPeer {
    held_bytes: u64,
    encoded: Vec<Bytes>,
}

impl Early {
    /// Keeps an encoded transaction until the next block. False where the peer's share is used up.
    pub(crate) fn keep(&mut self, from: PeerId, tx: Bytes) -> bool {
        let peer = self.0.entry(from).or_default();
        let held_bytes = peer.held_bytes.saturating_add(tx.len() as u64);
        let fits = held_bytes <= MAX_BYTES;
        if fits {
            peer.held_bytes = held_bytes;
            peer.encoded.push(tx);
        }
        fits
    }

    /// Hands out what was kept, to be tried again.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        let peers = mem::take(&mut self.0).into_values();
        peers.flat_map(|peer| peer.encoded).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_handed_out_once() {
        let (mut early, from) = (Early::default(), PeerId::random());
        assert!(early.keep(from, Bytes::from_static(b"a")));
        assert!(early.keep(from, Bytes::from_static(b"b")));
        assert_eq!(early.take(), ["a", "b"]);
        assert!(early.take().is_empty());
    }

    #[test]
    fn a_peer_uses_up_its_own_share_and_no_other() {
        let all = Bytes::from(vec![0; MAX_BYTES as usize]);
        let more = Bytes::from_static(b"m");
        let (mut early, greedy) = (Early::default(), PeerId::random());
        assert!(early.keep(greedy, all.clone()));
        assert!(!early.keep(greedy, more.clone()));
        assert!(early.keep(PeerId::random(), all));
        assert_eq!(early.take().len(), 2);
        assert!(early.keep(greedy, more));
    }
}
