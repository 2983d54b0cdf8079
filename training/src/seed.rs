//! One generator for each random decision, all derived from the task's seed.
//!
//! The ChaCha20 key is `seed ‖ a ‖ b ‖ stream tag`, each 8 bytes little-endian, so that different
//! decisions never share a key.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The decision that a generator is for.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Split,
    Partition,
    Init,
    Sgd,
    Worker,
}

impl Stream {
    const fn tag(self) -> [u8; 8] {
        *match self {
            Self::Split => b"split   ",
            Self::Partition => b"partitio",
            Self::Init => b"init    ",
            Self::Sgd => b"sgd     ",
            Self::Worker => b"worker  ",
        }
    }
}

pub(crate) fn rng(seed: u64, stream: Stream, a: u64, b: u64) -> ChaCha20Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&a.to_le_bytes());
    key[16..24].copy_from_slice(&b.to_le_bytes());
    key[24..].copy_from_slice(&stream.tag());
    ChaCha20Rng::from_seed(key)
}
