//! Why an attack could not be named or computed.

use super::Attack;

/// Why an attack could not be named or computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttackError {
    /// No attack has this name.
    #[error("unknown attack {0:?}: expected one of {names}", names = names())]
    Unknown(String),
    /// The attack needs the updates of honest contributors.
    #[error("{0} needs at least one honest update to look at")]
    NoHonest(&'static str),
    /// An honest update has another length than the attacker's own.
    #[error("honest update {index} has {len} coordinates, expected {expected}")]
    Length {
        /// Its index.
        index: usize,
        /// Its length.
        len: usize,
        /// Length of the attacker's own update.
        expected: usize,
    },
    /// ALIE without honest contributors.
    #[error("alie needs f < n: n = {n}, f = {f}")]
    Numbers {
        /// Contributors in all.
        n: usize,
        /// Byzantine ones among them.
        f: usize,
    },
    /// The attack needs the number of attackers.
    #[error("{0} needs f >= 1: f = 0")]
    NoAttackers(&'static str),
    /// The contributor to mimic is not among the honest ones.
    #[error("mimic: target {target} of {honest} honest contributors, at most {most}", most = honest - 1)]
    Target {
        /// Index asked for.
        target: usize,
        /// Honest contributors, at least one.
        honest: usize,
    },
    /// The attack needs to know the network's rule.
    #[error("{0} needs the rule that it attacks")]
    NoDefence(&'static str),
    /// The rule refuses the numbers or the honest updates.
    #[error("{attack} cannot try its strength: {cause}")]
    Defence {
        /// The attack.
        attack: &'static str,
        /// What the rule says.
        cause: String,
    },
}

fn names() -> String {
    let names: Vec<&str> = Attack::ALL.iter().map(Attack::name).collect();
    names.join(", ")
}
