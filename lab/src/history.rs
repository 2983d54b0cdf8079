//! What validators can do with earlier rounds: the ledger remembers who sent what.
//!
//! Each of these looks at the updates of the round and at what is remembered of the same contributors, and
//! hands other vectors to the pipeline. All are published; none is run by the network yet. An attacker
//! who searches the strength of his attack searches against them too, with their memory as it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// A use of earlier rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum History {
    /// None.
    None,
    /// The validators average each contributor's updates over the rounds, so that an attacker who changes
    /// his mind every round gains nothing by it: momentum as in [`cifer_training::MomentumWorker`],
    /// but nobody has to be trusted to apply it.
    Momentum {
        /// Share of the average that is kept each round, at least 0 and below 1.
        beta: f64,
    },
    /// Each update is moved towards the last aggregate until it is no farther than the radius from it.
    /// With `fedavg` this is centered clipping: Karimireddy, He and Jaggi, "Learning from History
    /// for Byzantine Robust Optimization" (ICML 2021), algorithm 2 with one step.
    Center {
        /// Euclidean distance, above 0.
        radius: f64,
    },
    /// Contributors whose sums of updates point the same way count less: Fung, Yoon and Beschastnikh,
    /// "The Limitations of Federated Learning in Sybil Settings" (RAID 2020), algorithm 1 on all
    /// coordinates with kappa 1. It takes alike for colluding: made for skewed data, and wrong for equal
    /// data.
    FoolsGold,
}

impl History {
    pub(crate) fn validate(self) -> Result<(), LabError> {
        let (name, found, allowed, holds) = match self {
            Self::None | Self::FoolsGold => return Ok(()),
            Self::Momentum { beta } => {
                let holds = (0.0..1.0).contains(&beta);
                ("history momentum", beta, "at least 0, below 1", holds)
            }
            Self::Center { radius } => {
                let holds = radius > 0.0 && radius.is_finite();
                ("history center", radius, "above 0", holds)
            }
        };
        match holds {
            true => Ok(()),
            false => Err(LabError::OutOfRange {
                name,
                found: found.to_string(),
                allowed,
            }),
        }
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Momentum { beta } => write!(f, "momentum:{beta}"),
            Self::Center { radius } => write!(f, "center:{radius}"),
            Self::FoolsGold => f.write_str("foolsgold"),
        }
    }
}

impl FromStr for History {
    type Err = LabError;

    /// `none`, `momentum:<beta>`, `center:<radius>` or `foolsgold`.
    fn from_str(text: &str) -> Result<Self, LabError> {
        let unknown = || LabError::Unknown {
            what: "history",
            found: text.chars().take(40).collect(),
            known: "`none`, `momentum:<beta>`, `center:<radius>`, `foolsgold`",
        };
        let history = match text.split_once(':') {
            None if text == "none" => Self::None,
            None if text == "foolsgold" => Self::FoolsGold,
            Some((name, number)) => {
                let number = number.parse().map_err(|_| unknown())?;
                match name {
                    "momentum" => Self::Momentum { beta: number },
                    "center" => Self::Center { radius: number },
                    _ => return Err(unknown()),
                }
            }
            None => return Err(unknown()),
        };
        history.validate()?;
        Ok(history)
    }
}

impl TryFrom<String> for History {
    type Error = LabError;

    fn try_from(text: String) -> Result<Self, LabError> {
        text.parse()
    }
}

impl From<History> for String {
    fn from(history: History) -> Self {
        history.to_string()
    }
}

/// What is remembered of earlier rounds.
#[derive(Debug)]
pub(crate) struct Memory {
    history: History,
    // Of each contributor: the average or the sum so far, as the history needs it.
    contributors: Vec<Vec<f32>>,
    last_aggregate: Vec<f32>,
}

impl Memory {
    pub(crate) fn new(history: History, contributors: usize, parameters: usize) -> Self {
        let remembers = matches!(history, History::Momentum { .. } | History::FoolsGold);
        let contributors = if remembers { contributors } else { 0 };
        Self {
            history,
            contributors: vec![vec![0.0; parameters]; contributors],
            last_aggregate: vec![0.0; parameters],
        }
    }

    /// The same memory with `map` applied to every vector in it.
    pub(crate) fn map(&self, map: impl Fn(&[f32]) -> Vec<f32>) -> Self {
        Self {
            history: self.history,
            contributors: self.contributors.iter().map(|vector| map(vector)).collect(),
            last_aggregate: map(&self.last_aggregate),
        }
    }

    /// What the pipeline gets to see in place of the `updates`, one of each contributor in order; none
    /// when that is the updates themselves.
    pub(crate) fn view(&self, updates: &[&[f32]]) -> Option<Vec<Vec<f32>>> {
        match self.history {
            History::None => None,
            History::Momentum { beta } => {
                let beta = beta as f32;
                let kept = self.contributors.iter().zip(updates);
                let average = |(kept, new): (&Vec<f32>, &&[f32])| {
                    let pairs = kept.iter().zip(*new);
                    pairs
                        .map(|(kept, new)| beta * kept + (1.0 - beta) * new)
                        .collect()
                };
                Some(kept.map(average).collect())
            }
            History::Center { radius } => {
                let center = &self.last_aggregate;
                let pulled = |update: &&[f32]| {
                    let scale = (radius / distance(update, center)).min(1.0) as f32;
                    let pairs = update.iter().zip(center);
                    pairs.map(|(x, c)| c + scale * (x - c)).collect()
                };
                Some(updates.iter().map(pulled).collect())
            }
            History::FoolsGold => {
                let sums = self.sums(updates);
                let weights = foolsgold_weights(&sums);
                let total: f64 = weights.iter().sum();
                let scale = if total > 0.0 {
                    weights.len() as f64 / total
                } else {
                    0.0
                };
                let weighted = |(update, weight): (&&[f32], &f64)| {
                    let factor = (weight * scale) as f32;
                    update.iter().map(|x| factor * x).collect()
                };
                Some(updates.iter().zip(&weights).map(weighted).collect())
            }
        }
    }

    /// Remembers a round that has ended.
    pub(crate) fn record(&mut self, updates: &[&[f32]], aggregate: &[f32]) {
        match self.history {
            History::None => {}
            History::Center { .. } => self.last_aggregate.copy_from_slice(aggregate),
            History::Momentum { .. } => {
                if let Some(averages) = self.view(updates) {
                    self.contributors = averages;
                }
            }
            History::FoolsGold => self.contributors = self.sums(updates),
        }
    }

    fn sums(&self, updates: &[&[f32]]) -> Vec<Vec<f32>> {
        let pairs = self.contributors.iter().zip(updates);
        let sum =
            |(old, new): (&Vec<f32>, &&[f32])| old.iter().zip(*new).map(|(a, b)| a + b).collect();
        pairs.map(sum).collect()
    }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| {
        let off = f64::from(*a) - f64::from(*b);
        off * off
    });
    squares.sum::<f64>().sqrt()
}

/// The learning rates of FoolsGold's algorithm 1, 0..=1.
fn foolsgold_weights(sums: &[Vec<f32>]) -> Vec<f64> {
    let n = sums.len();
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
    let norms: Vec<f64> = sums.iter().map(|sum| dot(sum, sum).sqrt()).collect();
    let mut cosines = vec![vec![0.0; n]; n];
    for i in 0..n {
        for j in 0..i {
            let scale = norms[i] * norms[j];
            let cosine = if scale > 0.0 {
                dot(&sums[i], &sums[j]) / scale
            } else {
                0.0
            };
            (cosines[i][j], cosines[j][i]) = (cosine, cosine);
        }
    }
    let largest = |row: &[f64], i: usize| {
        let others = row.iter().enumerate().filter(|(j, _)| *j != i);
        others.map(|(_, cosine)| *cosine).fold(0.0, f64::max)
    };
    let closest: Vec<f64> = (0..n).map(|i| largest(&cosines[i], i)).collect();
    for i in 0..n {
        for j in 0..n {
            // Pardons an honest contributor whom attackers imitate, but who imitates nobody.
            if closest[j] > closest[i] {
                cosines[i][j] *= closest[i] / closest[j];
            }
        }
    }
    let alone: Vec<f64> = (0..n)
        .map(|i| (1.0 - largest(&cosines[i], i)).clamp(0.0, 1.0))
        .collect();
    let most = alone.iter().copied().fold(0.0, f64::max);
    let logit = |alone: f64| {
        let share = if most > 0.0 {
            (alone / most).min(0.99)
        } else {
            0.0
        };
        ((share / (1.0 - share)).ln() + 0.5).clamp(0.0, 1.0)
    };
    alone.into_iter().map(logit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_is_checked() {
        for text in ["none", "momentum:0.9", "center:2.5", "foolsgold"] {
            assert_eq!(text.parse::<History>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "momentum",
            "momentum:1",
            "center:0",
            "center:inf",
            "foolsgold:1",
        ] {
            assert!(text.parse::<History>().is_err(), "{text}");
        }
    }

    #[test]
    fn momentum_is_of_each_contributor() {
        let mut memory = Memory::new(History::Momentum { beta: 0.5 }, 2, 1);
        memory.record(&[&[4.0], &[-8.0]], &[0.0]);
        assert_eq!(memory.view(&[&[2.0], &[0.0]]).unwrap(), [[2.0], [-2.0]]);
        // Looking changes nothing.
        assert_eq!(memory.view(&[&[2.0], &[0.0]]).unwrap(), [[2.0], [-2.0]]);
    }

    #[test]
    fn centering_leaves_what_is_near_and_pulls_what_is_far() {
        let mut memory = Memory::new(History::Center { radius: 5.0 }, 2, 2);
        memory.record(&[&[0.0, 0.0], &[0.0, 0.0]], &[1.0, 0.0]);
        let seen = memory.view(&[&[4.0, 4.0], &[7.0, 8.0]]).unwrap();
        assert_eq!(seen, [[4.0, 4.0], [4.0, 4.0]]);
    }

    #[test]
    fn foolsgold_silences_those_who_say_the_same() {
        let mut memory = Memory::new(History::FoolsGold, 4, 3);
        let (a, b) = ([1.0_f32, 0.0, 0.0], [0.0_f32, 1.0, 0.0]);
        let sybil = [0.3_f32, 0.3, -1.0];
        let updates: [&[f32]; 4] = [&a, &b, &sybil, &sybil];
        memory.record(&updates, &[0.0; 3]);
        let seen = memory.view(&updates).unwrap();
        assert_eq!(seen, [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0; 3], [0.0; 3]]);
    }
}
