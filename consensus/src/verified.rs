//! Signatures that were found right, so that none is verified twice.
//!
//! A vote is verified when it arrives, again in the certificate the engine makes of it, and our own are
//! verified too. Verification is a large part of a block's cost, so what has passed is remembered.
//!
//! Invariant: an entry is a hash over key, signature and message of a signature that verified (or that we made
//! ourselves); forgetting entries costs time only.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use cifer_genesis::{Hash32, PublicKey, Signature};

/// Domain of the entries.
const DOMAIN: &str = "cifer/consensus/verified/v1";

/// Entries of a generation; two are kept. A height of 512 validators has 1024 votes a round. With 32 bytes an
/// entry and the set's overhead: about 600 KiB.
const GENERATION: usize = 4096;

/// The signatures that were found right.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    generations: Mutex<[HashSet<Hash32>; 2]>,
}

impl Verified {
    /// Verifies, or remembers having done so.
    pub(crate) fn check(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let entry = entry(key, message, signature);
        if self.knows(&entry) {
            return true;
        }
        let is_right = key.verify_bytes(message, signature).is_ok();
        if is_right {
            self.insert(entry);
        }
        is_right
    }

    /// Takes note of a signature we made.
    pub(crate) fn made(&self, key: &PublicKey, message: &[u8], signature: &Signature) {
        self.insert(entry(key, message, signature));
    }

    fn knows(&self, entry: &Hash32) -> bool {
        let generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations
            .iter()
            .any(|generation| generation.contains(entry))
    }

    fn insert(&self, entry: Hash32) {
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if generations[0].len() >= GENERATION {
            generations.swap(0, 1);
            generations[0].clear();
        }
        generations[0].insert(entry);
    }
}

// Key and signature have fixed lengths, so the concatenation is unambiguous.
fn entry(key: &PublicKey, message: &[u8], signature: &Signature) -> Hash32 {
    Hash32::derive(
        DOMAIN,
        &[key.as_bytes(), &signature.0[..], message].concat(),
    )
}

#[cfg(test)]
mod tests {
    use cifer_genesis::SecretKey;

    use super::*;

    #[test]
    fn only_what_is_right_is_remembered() {
        let key = SecretKey::from_seed(&[1; 32]);
        let public = key.public_key();
        let verified = Verified::default();
        let signature = key.sign_bytes(b"message");
        for _ in 0..2 {
            assert!(verified.check(&public, b"message", &signature));
            assert!(!verified.check(&public, b"massage", &signature));
            assert!(!verified.check(&public, b"message", &Signature([0; 64])));
        }
        let other = SecretKey::from_seed(&[2; 32]).public_key();
        assert!(!verified.check(&other, b"message", &signature));
    }

    #[test]
    fn memory_is_bounded_and_recent_entries_stay() {
        let key = SecretKey::from_seed(&[1; 32]).public_key();
        let verified = Verified::default();
        for count in 0..3 * GENERATION as u64 {
            verified.made(&key, &count.to_le_bytes(), &Signature([0; 64]));
        }
        let last = 3 * GENERATION as u64 - 1;
        assert!(verified.check(&key, &last.to_le_bytes(), &Signature([0; 64])));
        assert!(!verified.check(&key, &0_u64.to_le_bytes(), &Signature([0; 64])));
        let generations = verified.generations.lock().unwrap();
        assert!(
            generations
                .iter()
                .all(|generation| generation.len() <= GENERATION)
        );
    }
}
