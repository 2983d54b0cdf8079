//! Who holds which samples of the training set.
//!
//! Laws, whatever the data: every sample belongs to exactly one contributor, every contributor has at
//! least [`MIN_SHARD_SAMPLES`], and seed and data alone decide.

use std::fmt;
use std::str::FromStr;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::dirichlet::dirichlet;
use crate::error::TrainingError;
use crate::seed::{Stream, rng};

/// No contributor gets fewer samples than this: a shard must fill at least one minibatch.
pub const MIN_SHARD_SAMPLES: usize = 10;

/// Below, floating point has no room for the variates; above, the result is as good as uniform.
const ALPHA: std::ops::RangeInclusive<f64> = 1e-3..=1e6;

/// How a training set is spread over contributors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Partition {
    /// A uniform shuffle, dealt in parts that differ by at most one sample.
    Iid,
    /// Label skew: for each class, the contributors' shares are drawn from Dirichlet(alpha), as in
    /// Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated
    /// Visual Classification" (2019). The lower alpha, the stronger the skew.
    Dirichlet {
        /// Concentration, 0.001..=1,000,000.
        alpha: f64,
    },
    /// Label skew: this share of the samples is dealt at random, the rest is sorted by label and cut
    /// into equal runs. 1 is [`Partition::Iid`]; at 0 ("extreme") and ten contributors everybody has one
    /// class of MNIST. Hsieh et al., "The Non-IID Data Quagmire of Decentralized Machine Learning" (ICML
    /// 2020); "gamma similarity" in ByzFL (2025).
    Similarity {
        /// Share of the samples that are dealt, 0..=1.
        gamma: f64,
    },
}

impl Partition {
    /// Checks alpha or gamma.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn validate(self) -> Result<(), TrainingError> {
        match self {
            Self::Iid => Ok(()),
            Self::Dirichlet { alpha } => check_alpha(alpha),
            Self::Similarity { gamma } => check_gamma(gamma),
        }
    }

    /// The indices of each of `contributors` shards, ascending.
    ///
    /// # Errors
    /// If there are too few samples for that many contributors, or alpha or gamma is out of range.
    pub fn assign(
        self,
        labels: &[u8],
        contributors: usize,
        seed: u64,
    ) -> Result<Vec<Vec<u32>>, TrainingError> {
        let most = labels.len() / MIN_SHARD_SAMPLES;
        if contributors == 0 || contributors > most {
            return Err(TrainingError::out_of_range(
                "contributors",
                contributors,
                format!(
                    "1..={most} ({} samples, {MIN_SHARD_SAMPLES} or more each)",
                    labels.len()
                ),
            ));
        }
        self.validate()?;
        let mut rng = rng(seed, Stream::Partition, 0, 0);
        let mut shards = match self {
            Self::Iid => deal(labels.len(), contributors, &mut rng),
            Self::Dirichlet { alpha } => {
                let mut shards = skew(labels, contributors, alpha, &mut rng);
                level(&mut shards);
                shards
            }
            Self::Similarity { gamma } => {
                let mut shards = similar(labels, contributors, gamma, &mut rng);
                level(&mut shards);
                shards
            }
        };
        shards.iter_mut().for_each(|shard| shard.sort_unstable());
        Ok(shards)
    }
}

fn check_alpha(alpha: f64) -> Result<(), TrainingError> {
    if ALPHA.contains(&alpha) {
        return Ok(());
    }
    let allowed = format!("{}..={}", ALPHA.start(), ALPHA.end());
    Err(TrainingError::out_of_range(
        "Dirichlet alpha",
        alpha,
        allowed,
    ))
}

fn check_gamma(gamma: f64) -> Result<(), TrainingError> {
    if (0.0..=1.0).contains(&gamma) {
        return Ok(());
    }
    Err(TrainingError::out_of_range("similarity", gamma, "0..=1"))
}

fn deal(samples: usize, contributors: usize, rng: &mut impl Rng) -> Vec<Vec<u32>> {
    let mut indices: Vec<u32> = (0..samples as u32).collect();
    indices.shuffle(rng);
    in_turn(&indices, contributors)
}

/// The first index to the first contributor, the second to the second, and so on, round and round.
fn in_turn(indices: &[u32], contributors: usize) -> Vec<Vec<u32>> {
    (0..contributors)
        .map(|contributor| {
            indices
                .iter()
                .copied()
                .skip(contributor)
                .step_by(contributors)
                .collect()
        })
        .collect()
}

fn similar(labels: &[u8], contributors: usize, gamma: f64, rng: &mut impl Rng) -> Vec<Vec<u32>> {
    let mut indices: Vec<u32> = (0..labels.len() as u32).collect();
    indices.shuffle(rng);
    let dealt = ((labels.len() as f64 * gamma) as usize).min(labels.len());
    let (dealt, sorted) = indices.split_at_mut(dealt);
    sorted.sort_unstable_by_key(|&index| (labels[index as usize], index));
    let mut shards = in_turn(dealt, contributors);
    for (contributor, shard) in shards.iter_mut().enumerate() {
        let cut = |part: usize| part * sorted.len() / contributors;
        shard.extend_from_slice(&sorted[cut(contributor)..cut(contributor + 1)]);
    }
    shards
}

fn skew(labels: &[u8], contributors: usize, alpha: f64, rng: &mut impl Rng) -> Vec<Vec<u32>> {
    let mut shards = vec![Vec::new(); contributors];
    let classes = labels
        .iter()
        .max()
        .map_or(0, |&label| usize::from(label) + 1);
    for class in 0..classes {
        let mut members: Vec<u32> = (0..labels.len() as u32)
            .filter(|&index| usize::from(labels[index as usize]) == class)
            .collect();
        members.shuffle(rng);
        let shares = dirichlet(alpha, contributors, rng);
        let mut start = 0;
        let mut cumulative = 0.0;
        for (contributor, share) in shares.iter().enumerate() {
            cumulative += share;
            // The last contributor takes the remainder, so that no rounding loses a sample.
            let end = if contributor + 1 == contributors {
                members.len()
            } else {
                ((cumulative * members.len() as f64).round() as usize).clamp(start, members.len())
            };
            shards[contributor].extend_from_slice(&members[start..end]);
            start = end;
        }
    }
    shards
}

/// Moves samples from the largest shard to those below the minimum. There are enough samples for all,
/// so while one shard is below the minimum, the largest is above it.
fn level(shards: &mut [Vec<u32>]) {
    for poor in 0..shards.len() {
        while shards[poor].len() < MIN_SHARD_SAMPLES {
            let rich = (0..shards.len())
                .max_by_key(|&shard| shards[shard].len())
                .unwrap_or(poor);
            let Some(sample) = shards[rich].pop() else {
                return;
            };
            shards[poor].push(sample);
        }
    }
}

impl FromStr for Partition {
    type Err = TrainingError;

    /// `iid`, the alpha of a Dirichlet partition, `similarity:<gamma>`, or `extreme`, which is
    /// `similarity:0`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || TrainingError::Unknown {
            what: "partition",
            found: text.to_owned(),
            known: "`iid`, a number (the Dirichlet alpha), `similarity:<0..=1>`, `extreme`",
        };
        match text {
            "iid" => return Ok(Self::Iid),
            "extreme" => return Ok(Self::Similarity { gamma: 0.0 }),
            _ => {}
        }
        if let Some(gamma) = text.strip_prefix("similarity:") {
            let gamma = gamma.parse().map_err(|_| unknown())?;
            check_gamma(gamma)?;
            return Ok(Self::Similarity { gamma });
        }
        let alpha = text.parse().map_err(|_| unknown())?;
        check_alpha(alpha)?;
        Ok(Self::Dirichlet { alpha })
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iid => f.write_str("iid"),
            Self::Dirichlet { alpha } => write!(f, "{alpha}"),
            Self::Similarity { gamma } => write!(f, "similarity:{gamma}"),
        }
    }
}

impl TryFrom<String> for Partition {
    type Error = TrainingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Partition> for String {
    fn from(partition: Partition) -> Self {
        partition.to_string()
    }
}
