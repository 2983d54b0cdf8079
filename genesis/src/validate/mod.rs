//! Whether a document describes a network that can work. Everything that is wrong is reported, each
//! with the field, its value and the limit or inequality it breaks.
//!
//! Invariant: a document that passes has sizes that fit in 64 bits, and nothing later needs to check
//! them again.

mod address;
mod noise;
mod privacy;
mod tasks;

use std::{collections::HashMap, fmt, hash::Hash};

use crate::{
    bounds,
    crypto::PublicKey,
    document::{ConsensusParams, Genesis, Limits},
    error::GenesisError,
    problem::{ProblemKind, Problems, excerpt},
};

impl Genesis {
    /// Checks the whole document.
    ///
    /// # Errors
    /// [`GenesisError::Invalid`] with every problem.
    pub fn validate(&self) -> Result<(), GenesisError> {
        let mut problems = Problems::default();
        self.check_identity(&mut problems);
        self.consensus.check(&mut problems);
        self.limits
            .check(self.validators.len() as u64, &mut problems);
        let mut keys = Uses::default();
        self.check_validators(&mut keys, &mut problems);
        self.check_power(&mut problems);
        self.check_contributors(&mut keys, &mut problems);
        tasks::check(self, &mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(GenesisError::Invalid(problems))
        }
    }

    fn check_identity(&self, problems: &mut Problems) {
        if self.version != bounds::VERSION {
            let kind = ProblemKind::Version {
                got: self.version,
                supported: bounds::VERSION,
            };
            problems.add("version", kind);
        }
        if !is_valid_chain_id(&self.chain_id) {
            let rule = "1 to 48 of a-z 0-9 -";
            problems.add(
                "chain_id",
                ProblemKind::Text {
                    got: excerpt(&self.chain_id),
                    rule,
                },
            );
        }
        problems.check_range("time_ms", self.time_ms.0, &bounds::TIME_MS);
    }

    fn check_validators<'a>(&'a self, keys: &mut Uses<'a, PublicKey>, problems: &mut Problems) {
        let allowed = 1..=bounds::MAX_VALIDATORS;
        problems.check_count("validators", self.validators.len(), &allowed);
        let mut names = Uses::default();
        let mut addresses = Uses::default();
        for (index, validator) in self.validators.iter().enumerate() {
            let at = |field: &str| format!("validators[{index}].{field}");
            check_name(&validator.name, at("name"), problems);
            names.claim(validator.name.as_str(), at("name"), problems);
            keys.claim(&validator.public_key, at("public_key"), problems);
            let power = 1..=bounds::MAX_TOTAL_POWER;
            problems.check_range(at("power"), validator.power.0, &power);

            let address = validator.consensus_address.as_str();
            address::check(address, at("consensus_address"), problems);
            addresses.claim(address, at("consensus_address"), problems);
            let count = validator.data_addresses.len();
            problems.check_count(at("data_addresses"), count, &bounds::DATA_ADDRESSES);
            for (place, address) in validator.data_addresses.iter().enumerate() {
                let field = at(&format!("data_addresses[{place}]"));
                address::check(address, &field, problems);
                addresses.claim(address, field, problems);
            }
        }
    }

    fn check_power(&self, problems: &mut Problems) {
        let mut powers: Vec<_> = self
            .validators
            .iter()
            .map(|v| u128::from(v.power.0))
            .collect();
        let total: u128 = powers.iter().sum();
        if total > u128::from(bounds::MAX_TOTAL_POWER) {
            let kind = ProblemKind::PowerOverflow {
                total,
                max: bounds::MAX_TOTAL_POWER,
            };
            problems.add("validators", kind);
        }
        let Some(f) = self.byzantine_validators else {
            return;
        };
        let n = powers.len() as u64;
        let needed = 3 * u128::from(f) + 1;
        if u128::from(n) < needed {
            let kind = ProblemKind::TooFewValidators { n, f, needed };
            problems.add("byzantine_validators", kind);
            return;
        }
        powers.sort_unstable_by(|a, b| b.cmp(a));
        let power: u128 = powers
            .iter()
            .take(usize::try_from(f).unwrap_or(usize::MAX))
            .sum();
        if 3 * power >= total && f > 0 {
            let kind = ProblemKind::ByzantinePower { f, power, total };
            problems.add("byzantine_validators", kind);
        }
    }

    fn check_contributors<'a>(&'a self, keys: &mut Uses<'a, PublicKey>, problems: &mut Problems) {
        let allowed = &self.contributors.allowed;
        let most = 0..=bounds::MAX_LISTED_CONTRIBUTORS;
        problems.check_count("contributors.allowed", allowed.len(), &most);
        if self.contributors.open_registration {
            check_at_most(
                "contributors.allowed",
                ("number of contributors", allowed.len() as u64),
                ("limits.max_contributors", self.limits.max_contributors),
                problems,
            );
        }
        let mut names = Uses::default();
        for (index, contributor) in allowed.iter().enumerate() {
            let at = |field: &str| format!("contributors.allowed[{index}].{field}");
            check_name(&contributor.name, at("name"), problems);
            names.claim(contributor.name.as_str(), at("name"), problems);
            keys.claim(&contributor.public_key, at("public_key"), problems);
        }
    }
}

impl ConsensusParams {
    fn check(&self, problems: &mut Problems) {
        let timeouts = [
            ("consensus.max_clock_drift_ms", self.max_clock_drift_ms),
            ("consensus.timeout_propose_ms", self.timeout_propose_ms),
            ("consensus.timeout_prevote_ms", self.timeout_prevote_ms),
            ("consensus.timeout_precommit_ms", self.timeout_precommit_ms),
        ];
        for (field, value) in timeouts {
            problems.check_range(field, value, &bounds::TIMEOUT_MS);
        }
        let heartbeat = self.idle_heartbeat_ms;
        problems.check_range(
            "consensus.idle_heartbeat_ms",
            heartbeat,
            &bounds::HEARTBEAT_MS,
        );
        check_at_most(
            "consensus.min_block_interval_ms",
            ("min_block_interval_ms", self.min_block_interval_ms),
            ("idle_heartbeat_ms", heartbeat),
            problems,
        );
    }
}

impl Limits {
    fn check(&self, validators: u64, problems: &mut Problems) {
        let ranges = [
            (
                "limits.max_payload_bytes",
                self.max_payload_bytes,
                bounds::PAYLOAD_BYTES,
            ),
            (
                "limits.max_block_bytes",
                self.max_block_bytes,
                bounds::BLOCK_BYTES,
            ),
            (
                "limits.max_mempool_txs",
                self.max_mempool_txs,
                bounds::MEMPOOL_TXS,
            ),
            (
                "limits.max_contributors",
                self.max_contributors,
                bounds::MAX_CONTRIBUTORS,
            ),
        ];
        for (field, value, range) in ranges {
            problems.check_range(field, value, &range);
        }
        // A block of which one transaction takes more than half makes little use of its bytes, and a
        // transaction has to fit into one gossip message.
        check_at_most(
            "limits.max_tx_bytes",
            ("max_tx_bytes", self.max_tx_bytes),
            (
                "min(max_block_bytes / 2, 255 KiB)",
                bounds::MAX_TX_BYTES.min(self.max_block_bytes / 2),
            ),
            problems,
        );
        let signatures = validators.saturating_mul(bounds::SIGNATURE_BYTES);
        let needed = signatures.saturating_add(bounds::TX_OVERHEAD_BYTES);
        if self.max_tx_bytes < needed {
            let got = self.max_tx_bytes;
            let kind = ProblemKind::CertificateTooLarge {
                got,
                validators,
                needed,
            };
            problems.add("limits.max_tx_bytes", kind);
        }
        // What is proposed comes from the mempool: it holds at least one full block.
        let mempool =
            self.max_block_bytes.min(bounds::MAX_MEMPOOL_BYTES)..=bounds::MAX_MEMPOOL_BYTES;
        problems.check_range("limits.max_mempool_bytes", self.max_mempool_bytes, &mempool);
    }
}

/// Whether a name is 1 to 48 of `a-z A-Z 0-9 . _ -`, beginning with a letter or a digit (so that it can
/// name a folder). The same for validators, contributors and tasks.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let first_fits = name
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    first_fits && name.len() <= bounds::MAX_NAME_BYTES && name.bytes().all(fits)
}

/// Whether a chain id is 1 to 48 of `a-z 0-9 -`.
#[must_use]
pub fn is_valid_chain_id(chain_id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=bounds::MAX_NAME_BYTES).contains(&chain_id.len()) && chain_id.bytes().all(fits)
}

fn check_name(name: &str, field: impl fmt::Display, problems: &mut Problems) {
    if !is_valid_name(name) {
        let rule = "1 to 48 of a-z A-Z 0-9 . _ -, the first a letter or a digit";
        problems.add(
            field,
            ProblemKind::Text {
                got: excerpt(name),
                rule,
            },
        );
    }
}

fn check_at_most(
    field: impl fmt::Display,
    (name, got): (&'static str, u64),
    (bound_name, bound): (&'static str, u64),
    problems: &mut Problems,
) {
    if got > bound {
        problems.add(
            field,
            ProblemKind::AtMost {
                got,
                name,
                bound_name,
                bound,
            },
        );
    }
}

/// Where each value that must be unique was used first.
struct Uses<'a, T: ?Sized>(HashMap<&'a T, String>);

impl<T: ?Sized> Default for Uses<'_, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<'a, T: Eq + Hash + fmt::Display + ?Sized> Uses<'a, T> {
    /// Records a use, or reports that the value is taken.
    fn claim(&mut self, value: &'a T, field: impl fmt::Display, problems: &mut Problems) {
        match self.0.get(value) {
            Some(first) => {
                let value = excerpt(&value.to_string());
                problems.add(
                    field,
                    ProblemKind::Duplicate {
                        value,
                        first: first.clone(),
                    },
                );
            }
            None => {
                self.0.insert(value, field.to_string());
            }
        }
    }
}
