//! The public mask of a group: one polynomial a chunk, given by its transform.
//!
//! The key of the generator (ChaCha20) is the BLAKE3 digest of the group (with the seed of the mask in it) under a domain of its
//! own; chunk c is stream c. Words are read little endian; the low 24 bits of a word are the next residue unless they reach the
//! prime, in which case the word is skipped. The N residues modulo the first prime come first, then those modulo the second.
//! Masks are public, so the time this takes may depend on them.

use zeroize::Zeroize;

use super::context::GroupContext;
use super::keystream::{Purpose, StreamKey};
use super::params::{DEGREE, PRIMES};
use super::transform::Residues;

/// Generator of a group's mask.
pub(super) struct Mask {
    key: StreamKey,
}

/// Words drawn at once. A residue is refused with probability below 0.0025, so this nearly always serves a whole chunk.
const BATCH: usize = 2 * DEGREE + 64;

/// Buffers of one chunk's mask.
pub(super) struct MaskScratch {
    bytes: Box<[u8; BATCH * 4]>,
    pub(super) residues: [Residues; 2],
}

impl MaskScratch {
    pub(super) fn new() -> Self {
        Self {
            bytes: Box::new([0; BATCH * 4]),
            residues: [Box::new([0; DEGREE]), Box::new([0; DEGREE])],
        }
    }

    /// After a product the residues are those of a mask times a key, which is as secret as the key.
    pub(super) fn wipe(&mut self) {
        self.residues[0].zeroize();
        self.residues[1].zeroize();
    }
}

impl Mask {
    /// The mask of `group`.
    pub(super) fn new(group: &GroupContext) -> Self {
        Self {
            key: StreamKey::new(blake3::derive_key(
                "cifer/homocryption/mask/v1",
                &group.digest(),
            )),
        }
    }

    /// Fills `scratch.residues` with the transform of chunk `index`.
    pub(super) fn chunk(&self, index: u64, scratch: &mut MaskScratch) {
        let mut stream = self.key.stream(Purpose::Mask, index);
        stream.fill(&mut scratch.bytes[..]);
        let mut words = scratch.bytes.as_chunks::<4>().0;
        for (prime, out) in PRIMES.into_iter().zip(&mut scratch.residues) {
            let mut filled = 0;
            while filled < DEGREE && !words.is_empty() {
                // As many words as are sure to fit: the place is written for every word, and kept for those below the prime.
                let (now, later) = words.split_at(words.len().min(DEGREE - filled));
                for word in now {
                    let residue = u32::from_le_bytes(*word) & 0x00ff_ffff;
                    out[filled] = residue;
                    filled += usize::from(residue < prime);
                }
                words = later;
            }
            while filled < DEGREE {
                let residue = stream.next_u32() & 0x00ff_ffff;
                if residue < prime {
                    out[filled] = residue;
                    filled += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(round: u64) -> GroupContext {
        GroupContext::new("cifer-test", 1, round, 2, [9; 32]).unwrap()
    }

    fn digest(group: &GroupContext, index: u64) -> String {
        let mut scratch = MaskScratch::new();
        Mask::new(group).chunk(index, &mut scratch);
        let mut hasher = blake3::Hasher::new();
        for residue in scratch.residues.iter().flat_map(|residues| residues.iter()) {
            hasher.update(&residue.to_le_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }

    /// The specification above, word by word.
    #[test]
    fn follows_its_specification() {
        for index in [0, 1, 77] {
            let mask = Mask::new(&group(3));
            let mut stream = mask.key.stream(Purpose::Mask, index);
            let mut scratch = MaskScratch::new();
            mask.chunk(index, &mut scratch);
            for (prime, residues) in PRIMES.into_iter().zip(&scratch.residues) {
                for residue in &residues[..] {
                    let expected = std::iter::repeat_with(|| stream.next_u32() & 0x00ff_ffff)
                        .find(|residue| *residue < prime)
                        .unwrap();
                    assert_eq!(*residue, expected);
                }
            }
        }
    }

    #[test]
    fn golden() {
        assert_eq!(
            [digest(&group(3), 0), digest(&group(3), 1)],
            ["e16ae72f4e40b34f", "dba952a8baa7f6d9"]
        );
        assert_ne!(digest(&group(3), 0), digest(&group(4), 0));
    }
}
