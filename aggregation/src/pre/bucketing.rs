//! Bucketing: the means of random groups of rows.
//!
//! **Definition.** A permutation drawn from the seed deals the n rows into buckets of s, the last one
//! with what is left; the rows become the buckets' means. The permutation is Fisher and Yates'
//! shuffle from the end, its draws the little-endian u64 of the BLAKE3 output stream of the seed and
//! the stage's place, without bias (draws that would favour low numbers are repeated).
//!
//! **Paper.** Karimireddy, He and Jaggi, *Byzantine-Robust Learning on Heterogeneous Datasets via
//! Bucketing*, ICLR 2022, algorithm 1.
//!
//! **Breakdown point.** f Byzantine updates spoil up to f of the ⌈n/s⌉ buckets, so the rule behind it
//! must bear f of ⌈n/s⌉. In exchange the buckets' variance is s times smaller. The seed must not be known
//! when updates are signed, else attackers choose their buckets.
//!
//! **Cost.** No pass of its own; n multiply-adds per coordinate when the rows are read.
//!
//! **Use.** With few attackers and heterogeneous data, to make Krum-like rules average more;
//! [`nnm`](super::nnm) does better at the same f and needs no randomness.

const DOMAIN: &str = "cifer/aggregation/bucketing/v1";

/// The members of every bucket, ascending.
pub(super) fn buckets(n: usize, s: usize, seed: &[u8; 32], place: usize) -> Vec<Vec<usize>> {
    let mut order = permutation(n, seed, place);
    order
        .chunks_mut(s)
        .map(|bucket| {
            bucket.sort_unstable();
            bucket.to_vec()
        })
        .collect()
}

fn permutation(n: usize, seed: &[u8; 32], place: usize) -> Vec<usize> {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(seed).update(&(place as u64).to_le_bytes());
    let mut stream = hasher.finalize_xof();
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, below(&mut stream, last as u64 + 1) as usize);
    }
    order
}

/// A number in `0..bound` for a bound of at least one.
fn below(stream: &mut blake3::OutputReader, bound: u64) -> u64 {
    // Whole multiples of the bound: what lies above is drawn again.
    let fair = u64::MAX - u64::MAX % bound;
    loop {
        let mut bytes = [0; 8];
        // The stream has no end and reading it cannot fail.
        stream.fill(&mut bytes);
        let draw = u64::from_le_bytes(bytes);
        if draw < fair {
            return draw % bound;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_are_golden_and_depend_on_seed_and_place() {
        let golden = permutation(10, &[7; 32], 0);
        assert_eq!(golden, [7, 6, 2, 4, 3, 8, 5, 1, 9, 0]);
        assert_ne!(golden, permutation(10, &[8; 32], 0));
        assert_ne!(golden, permutation(10, &[7; 32], 1));
        assert_eq!(permutation(0, &[7; 32], 0), [0_usize; 0]);
        assert_eq!(permutation(1, &[7; 32], 0), [0]);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut counts = [[0_u32; 5]; 5];
        for trial in 0..5000_u64 {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&trial.to_le_bytes());
            for (place, member) in permutation(5, &seed, 0).into_iter().enumerate() {
                counts[place][member] += 1;
            }
        }
        // 1000 expected, standard deviation 28.
        assert!(
            counts.iter().flatten().all(|c| (850..1150).contains(c)),
            "{counts:?}"
        );
    }
}
