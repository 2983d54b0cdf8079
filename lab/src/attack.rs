//! Attacks by name and strength, and their strongest form at a bearable price.
//!
//! The optimised attacks try twenty strengths on the validators' own pipeline in every round. The momenta
//! that they look at change slowly, so a strength that was best a few rounds ago still is nearly:
//! [`Forger`] searches every few rounds, on a sample of the coordinates if asked to, and sends the same
//! attack at the strength last found between.
//!
//! Attackers who all send one vector can be found by that alone. A disguise (`opt-ipm~2`) adds to it a direction
//! of each attacker's own, the same in every round and that many times as long as the vector.

use std::fmt;
use std::str::FromStr;

use cifer_aggregation::attacks::Knowledge;
use cifer_aggregation::{Attack, AttackError};
use serde::{Deserialize, Serialize};

use crate::error::LabError;

/// An attack, its strength where it is not the default, and its disguise if it has one: `ipm:1~2`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttackSpec {
    name: Attack,
    strength: Option<f64>,
    disguise: Option<f64>,
}

impl AttackSpec {
    /// No attack at all.
    pub const NONE: Self = Self::new(Attack::None);

    /// An attack as it is by default.
    #[must_use]
    pub const fn new(name: Attack) -> Self {
        Self {
            name,
            strength: None,
            disguise: None,
        }
    }

    /// The same with a strength.
    #[must_use]
    pub const fn with_strength(self, strength: f64) -> Self {
        Self {
            strength: Some(strength),
            ..self
        }
    }

    /// The attack with its strength.
    #[must_use]
    pub fn attack(self) -> Attack {
        match self.strength {
            Some(strength) => self.name.with_scale(strength),
            None => self.name,
        }
    }

    /// Checks that the text, which is what results keep of an attack, says all of it.
    pub(crate) fn validate(self) -> Result<(), LabError> {
        let text = self.to_string();
        match text.parse() {
            Ok(read) if self == read => Ok(()),
            _ => Err(LabError::OutOfRange {
                name: "attack",
                found: text,
                allowed: "a name, with finite numbers where it has some",
            }),
        }
    }

    /// Whether nobody attacks.
    #[must_use]
    pub fn is_none(self) -> bool {
        matches!(self.name, Attack::None)
    }
}

impl fmt::Display for AttackSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |sign, number: Option<f64>| {
            number.map_or_else(String::new, |number| format!("{sign}{number}"))
        };
        let (strength, disguise) = (part(':', self.strength), part('~', self.disguise));
        f.pad(&format!("{}{strength}{disguise}", self.name.name()))
    }
}

impl FromStr for AttackSpec {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let refused = |name, text: &str| LabError::OutOfRange {
            name,
            found: text.chars().take(40).collect(),
            allowed: "a finite number, for attacks that have one",
        };
        let number = |name, text: &str| {
            let number = text.parse().ok().filter(|number: &f64| number.is_finite());
            number.ok_or_else(|| refused(name, text))
        };
        let (text, disguise) = match text.split_once('~') {
            Some((text, disguise)) => (text, Some(number("disguise of an attack", disguise)?)),
            None => (text, None),
        };
        let (name, strength) = match text.split_once(':') {
            Some((name, strength)) => (name, Some(number("strength of an attack", strength)?)),
            None => (text, None),
        };
        let name: Attack = name.parse()?;
        // An attack without a strength stays as it is, whatever it is given.
        let fixed = |strength: f64| {
            name.with_scale(strength) == name && name.with_scale(strength + 1.0) == name
        };
        if strength.is_some_and(fixed) {
            return Err(refused("strength of an attack", text));
        }
        Ok(Self {
            name,
            strength,
            disguise,
        })
    }
}

impl TryFrom<String> for AttackSpec {
    type Error = LabError;

    fn try_from(text: String) -> Result<Self, LabError> {
        text.parse()
    }
}

impl From<AttackSpec> for String {
    fn from(attack: AttackSpec) -> Self {
        attack.to_string()
    }
}

/// An attack over the rounds of one training.
#[derive(Debug)]
pub(crate) struct Forger {
    spec: AttackSpec,
    search_every: u32,
    strength: Option<f64>,
    // A direction of length one for each attacker, as far as asked for.
    disguises: Vec<Vec<f32>>,
}

impl Forger {
    /// Searches in rounds 0, `search_every`, and so on.
    pub(crate) fn new(spec: AttackSpec, search_every: u32) -> Self {
        Self {
            spec,
            search_every,
            strength: None,
            disguises: Vec::new(),
        }
    }

    /// `forged` as `attacker` sends it, attackers being asked for in turn.
    pub(crate) fn disguise(
        &mut self,
        forged: Vec<f32>,
        attacker: usize,
        known: &Knowledge<'_>,
    ) -> Result<Vec<f32>, AttackError> {
        let Some(disguise) = self.spec.disguise else {
            return Ok(forged);
        };
        if self.disguises.len() <= attacker {
            let noise = Attack::Gaussian { sigma: 1.0 }.forge(known)?;
            let length = length(&noise);
            self.disguises.push(
                noise
                    .iter()
                    .map(|x| (f64::from(*x) / length) as f32)
                    .collect(),
            );
        }
        let size = (disguise * length(&forged)) as f32;
        let pairs = forged.iter().zip(&self.disguises[attacker]);
        Ok(pairs.map(|(x, direction)| x + size * direction).collect())
    }

    /// Whether it is time to search in `round`.
    pub(crate) fn searches(&self, round: u32) -> bool {
        let optimised = [Attack::OptimalInnerProduct, Attack::OptimalAlie];
        optimised.contains(&self.spec.attack()) && round.is_multiple_of(self.search_every)
    }

    /// Searches among what is known, which may be a sample of the coordinates.
    pub(crate) fn search(&mut self, known: &Knowledge<'_>) -> Result<(), AttackError> {
        let attack = self.spec.attack();
        let forged = attack.forge(known)?;
        // Nothing to go along means that every strength is the same.
        self.strength = Some(strength(attack, &forged, known).unwrap_or(0.0));
        Ok(())
    }

    /// What the attackers send; an optimised attack at the strength last found.
    pub(crate) fn forge(&self, known: &Knowledge<'_>) -> Result<Vec<f32>, AttackError> {
        let attack = match (self.spec.attack(), self.strength) {
            (Attack::OptimalInnerProduct, Some(tau)) => Attack::InnerProduct { tau },
            (Attack::OptimalAlie, Some(z)) => Attack::Alie { z: Some(z) },
            (attack, _) => attack,
        };
        attack.forge(known)
    }
}

fn length(vector: &[f32]) -> f64 {
    vector
        .iter()
        .map(|x| f64::from(*x) * f64::from(*x))
        .sum::<f64>()
        .sqrt()
}

/// The strength that an optimised attack settled on: the one multiple by which it is off zero (`opt-ipm`),
/// or off the mean of the honest updates (`opt-alie`), along the direction that it searches.
fn strength(attack: Attack, forged: &[f32], known: &Knowledge<'_>) -> Option<f64> {
    let (mut along, mut squared) = (0.0, 0.0);
    let count = known.honest.len() as f64;
    for (index, &sent) in forged.iter().enumerate() {
        let values = || known.honest.iter().map(|update| f64::from(update[index]));
        let mean = values().sum::<f64>() / count;
        let (off, direction) = match attack {
            Attack::OptimalInnerProduct => (f64::from(sent), -mean),
            Attack::OptimalAlie => {
                let squares: f64 = values().map(|x| (x - mean) * (x - mean)).sum();
                let deviation = (squares / (count - 1.0).max(1.0)).sqrt();
                (f64::from(sent) - mean, -deviation)
            }
            _ => return None,
        };
        along += off * direction;
        squared += direction * direction;
    }
    (squared > 0.0).then(|| along / squared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_strengths_round_trip() {
        for text in [
            "none",
            "ipm:1",
            "opt-alie",
            "sign-flip:0.5",
            "mimic:3",
            "ipm:1~2",
            "opt-ipm~0.5",
        ] {
            assert_eq!(text.parse::<AttackSpec>().unwrap().to_string(), text);
        }
        let attack = "ipm:1".parse::<AttackSpec>().unwrap().attack();
        assert_eq!(attack, Attack::InnerProduct { tau: 1.0 });
        for text in [
            "",
            "ipm:",
            "ipm:x",
            "ipm:inf",
            "none:1",
            "opt-ipm:2",
            "evil",
        ] {
            assert!(text.parse::<AttackSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_its_text_does_not_say_is_refused() {
        let ipm = AttackSpec::new(Attack::InnerProduct { tau: 3.0 });
        for attack in [ipm, ipm.with_strength(1.0), "opt-ipm~0.5".parse().unwrap()] {
            attack.validate().unwrap();
        }
        for attack in [
            ipm.with_strength(f64::NAN),
            AttackSpec::NONE.with_strength(1.0),
            AttackSpec::new(Attack::InnerProduct { tau: 2.0 }),
        ] {
            assert!(attack.validate().is_err(), "{attack}");
        }
    }

    #[test]
    fn a_disguise_is_a_direction_of_each_attacker() {
        let honest = vec![vec![1.0_f32; 400], vec![3.0; 400]];
        let mut forger = Forger::new("ipm:1~3".parse().unwrap(), 1);
        let mut sent = |attacker, seed| {
            let known = Knowledge {
                own: &honest[0],
                honest: &honest,
                n: 4,
                f: 2,
                seed,
                defence: None,
            };
            let forged = forger.forge(&known).unwrap();
            forger.disguise(forged, attacker, &known).unwrap()
        };
        let (first, second, again) = (sent(0, 1), sent(1, 2), sent(0, 3));
        assert_eq!(first, again);
        let cosine = |a: &[f32], b: &[f32]| {
            let dot: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum();
            dot / length(a) / length(b)
        };
        // 1 / (1 + 3^2) between two, 1 / sqrt(1 + 3^2) with the vector that both hide.
        assert!((cosine(&first, &second) - 0.1).abs() < 0.1);
        assert!((cosine(&first, &[-1.0; 400]) - 0.316).abs() < 0.1);
    }

    #[test]
    fn the_strength_between_searches_is_the_one_found() {
        let honest = vec![
            vec![1.0_f32, -2.0, 0.5],
            vec![2.0, 1.0, 0.25],
            vec![0.5, 3.0, -1.0],
        ];
        let known = Knowledge {
            own: &honest[0],
            honest: &honest,
            n: 4,
            f: 1,
            seed: 0,
            defence: None,
        };
        let sent = Attack::InnerProduct { tau: 2.5 }.forge(&known).unwrap();
        let found = strength(Attack::OptimalInnerProduct, &sent, &known).unwrap();
        assert!((found - 2.5).abs() < 1e-6, "{found}");
        let sent = Attack::Alie { z: Some(1.5) }.forge(&known).unwrap();
        let found = strength(Attack::OptimalAlie, &sent, &known).unwrap();
        assert!((found - 1.5).abs() < 1e-6, "{found}");
        assert_eq!(strength(Attack::MinMax, &sent, &known), None);
    }
}
