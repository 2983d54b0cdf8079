//! ChaCha20 (RFC 8439) as a generator: one key, one stream for each index.
//!
//! The index is the low 64 bits of the nonce, the purpose the high 32. The state is wiped on drop.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use rand_core::{CryptoRng, RngCore};
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// What a stream is for: no two purposes share bytes under one key.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Purpose {
    Mask = 1,
    Key = 2,
    Error = 3,
    Rounding = 4,
    Polynomials = 5,
    Challenge = 6,
}

/// A secret or public 32-byte key of streams. Wiped on drop.
#[derive(ZeroizeOnDrop)]
pub(super) struct StreamKey([u8; 32]);

impl StreamKey {
    pub(super) const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    pub(super) fn fresh(rng: &mut (impl RngCore + CryptoRng)) -> Self {
        let mut key = Self([0; 32]);
        rng.fill_bytes(&mut key.0);
        key
    }

    pub(super) fn stream(&self, purpose: Purpose, index: u64) -> Stream {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&index.to_le_bytes());
        nonce[8..].copy_from_slice(&(purpose as u32).to_le_bytes());
        Stream(ChaCha20::new((&self.0).into(), (&nonce).into()))
    }
}

/// The bytes of one stream, in order. At most 256 GiB, far more than any use here.
pub(super) struct Stream(ChaCha20);

impl Stream {
    pub(super) fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
        self.0.apply_keystream(out);
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        let mut word = Zeroizing::new([0; 4]);
        self.fill(&mut word[..]);
        u32::from_le_bytes(*word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8439, section 2.3.2, with the counter at 0: the first words of the all-zero key are a published vector (A.1 #1).
    #[test]
    fn is_chacha20() {
        let mut out = [0; 8];
        Stream(ChaCha20::new(&[0; 32].into(), &[0; 12].into())).fill(&mut out);
        assert_eq!(out, [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
    }

    #[test]
    fn index_and_purpose_separate() {
        let key = StreamKey::new([1; 32]);
        let first = |purpose, index| key.stream(purpose, index).next_u32();
        assert_ne!(first(Purpose::Mask, 0), first(Purpose::Mask, 1));
        assert_ne!(first(Purpose::Mask, 0), first(Purpose::Error, 0));
        assert_eq!(first(Purpose::Error, 5), first(Purpose::Error, 5));
    }
}
