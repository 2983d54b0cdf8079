//! The terms of private rounds, and the canonical bytes of a task, which they are an optional part of.
//!
//! In a private round every update is encrypted, the ledger groups the contributors at random, and
//! only the mean of a group is ever opened; the task's rule runs over the group means.
//! `docs/private-rounds.md` has the protocol.
//!
//! Invariant: a task without terms has the bytes that tasks had before there were private rounds, so
//! that the identity of older networks stands. A private task has the byte [`TERMS_TAG`] and its terms
//! where the number of the rule's variant would be, then [`NOISE_TAG`] and the noise if it has some; no rule has
//! these numbers.

use std::io::{Error, ErrorKind, Read, Result as IoResult, Write};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    document::{RuleSpec, Task},
    noise::{NOISE_TAG, Noise},
};

/// Stands in front of the terms, where a task without them has the number of its rule's variant.
pub const TERMS_TAG: u8 = 0xff;

/// How updates are hidden.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum PrivacyMode {
    /// Key-additive encryption; the sum of each random group is opened, and nothing else.
    GroupedSum,
}

/// The terms of a task's private rounds.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// How updates are hidden.
    pub mode: PrivacyMode,
    /// Contributors of a group; leftovers are spread, so that a group has less than twice as many.
    #[serde(default = "default_group_size")]
    pub group_size: u64,
    /// Fewest updates of which a group's sum is opened, at least 2. Of two, each knows the other's.
    #[serde(default = "default_min_cohort")]
    pub min_cohort: u64,
    /// Bits of a quantised coordinate.
    #[serde(default = "default_value_bits")]
    pub value_bits: u64,
    /// Largest magnitude of a coordinate, in parts per million (1,000,000 is 1.0); contributors clip
    /// to it before they encrypt.
    pub clip_ppm: u64,
    /// Block time that a round waits for the share keys of all validators; after it those of 2t + 1 do.
    #[serde(default = "default_wait_ms")]
    pub key_wait_ms: u64,
    /// Block time that a closed round waits for the key sums of all validators that gave share keys.
    #[serde(default = "default_wait_ms")]
    pub sum_wait_ms: u64,
}

const fn default_group_size() -> u64 {
    3
}

const fn default_min_cohort() -> u64 {
    2
}

const fn default_value_bits() -> u64 {
    8
}

const fn default_wait_ms() -> u64 {
    10_000
}

impl Privacy {
    /// Grouped sums on the default terms: groups of 3, at least 2 of them, 8 bits.
    #[must_use]
    pub const fn grouped_sum(clip_ppm: u64) -> Self {
        Self {
            mode: PrivacyMode::GroupedSum,
            group_size: default_group_size(),
            min_cohort: default_min_cohort(),
            value_bits: default_value_bits(),
            clip_ppm,
            key_wait_ms: default_wait_ms(),
            sum_wait_ms: default_wait_ms(),
        }
    }

    /// Groups that so many contributors make; none when they are fewer than one group.
    #[must_use]
    pub const fn groups(&self, contributors: u64) -> u64 {
        match contributors.checked_div(self.group_size) {
            Some(groups) => groups,
            None => 0,
        }
    }

    /// Members of the largest group; 0 without groups.
    #[must_use]
    pub const fn largest_group(&self, contributors: u64) -> u64 {
        let groups = self.groups(contributors);
        if groups == 0 {
            0
        } else {
            contributors.div_ceil(groups)
        }
    }
}

/// What the length of a private payload follows from: the numbers of `cifer_homocryption::ring::params`, which this crate
/// may not know. A test of `cifer-chain`, which knows both, holds the lengths equal.
mod ring {
    /// Coefficients of a polynomial.
    pub(super) const DEGREE: u64 = 2_048;
    /// Modulus of a coefficient.
    pub(super) const MODULUS: u64 = 16_760_833 * 16_736_257;
    /// Bytes of a coefficient.
    pub(super) const COEFFICIENT_BYTES: u64 = 6;
    /// Largest error of one contributor.
    pub(super) const TAIL: u64 = 41;
    /// Square of the error that a sum has room for, a contributor.
    pub(super) const NOISE_SQUARED: u64 = 2_725;
}

impl Privacy {
    /// Bytes of a private update of so many coordinates: a dealing, a share for each validator, and the body. `contributors`
    /// fix how many values share a coefficient. Saturating.
    #[must_use]
    pub fn payload_bytes(&self, validators: u64, contributors: u64, coordinates: u64) -> u64 {
        let checks = 120_u64.saturating_add(validators).div_ceil(30);
        let share = 4 * (ring::DEGREE + checks) + 16;
        let polynomials = 4 * checks * (share_threshold(validators) + 1);
        let dealing = 106 + polynomials + validators.saturating_mul(32);
        let chunks = coordinates.div_ceil(self.slots(contributors) * ring::DEGREE);
        let body = chunks
            .saturating_mul(ring::DEGREE * ring::COEFFICIENT_BYTES)
            .saturating_add(64);
        validators
            .saturating_mul(share)
            .saturating_add(dealing)
            .saturating_add(body)
    }

    /// Values that one coefficient of a body holds.
    fn slots(&self, contributors: u64) -> u64 {
        let members = self.largest_group(contributors).max(1);
        // Also where validation is about to refuse the bits.
        let levels = (1_u64 << (self.value_bits.clamp(2, 32) - 1)) - 1;
        let radix = members.saturating_mul(2 * levels).saturating_add(1);
        let noise = (members.saturating_mul(ring::TAIL))
            .min(members.saturating_mul(ring::NOISE_SQUARED).isqrt());
        let room = ring::MODULUS / (2 * (noise + 1));
        let (mut slots, mut messages) = (0, 1_u64);
        while let Some(next) = messages.checked_mul(radix).filter(|next| *next <= room) {
            messages = next;
            slots += 1;
        }
        slots.max(1)
    }
}

/// Validators `t` that may be silent, wrong or curious together: the largest with `n >= 3t + 1`. Keys
/// are shared by polynomials of degree `t`, so `t` shares say nothing and `t + 1` say all.
#[must_use]
pub const fn share_threshold(validators: u64) -> u64 {
    validators.saturating_sub(1) / 3
}

impl BorshSerialize for Task {
    fn serialize<W: Write>(&self, writer: &mut W) -> IoResult<()> {
        BorshSerialize::serialize(&(&self.id, &self.name, &self.initial_model), writer)?;
        if let Some(terms) = &self.privacy {
            BorshSerialize::serialize(&(TERMS_TAG, terms), writer)?;
        }
        if let Some(noise) = &self.noise {
            BorshSerialize::serialize(&(NOISE_TAG, noise), writer)?;
        }
        BorshSerialize::serialize(&self.rule, writer)?;
        BorshSerialize::serialize(&(self.server_lr_ppm, self.max_abs_update), writer)?;
        BorshSerialize::serialize(&(&self.rounds, &self.tensors), writer)
    }
}

impl BorshDeserialize for Task {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let (id, name, initial_model) = BorshDeserialize::deserialize_reader(reader)?;
        let mut tag = u8::deserialize_reader(reader)?;
        let privacy = if tag == TERMS_TAG {
            let terms = Privacy::deserialize_reader(reader)?;
            tag = u8::deserialize_reader(reader)?;
            Some(terms)
        } else {
            None
        };
        let noise = if tag == NOISE_TAG {
            let noise = Noise::deserialize_reader(reader)?;
            tag = u8::deserialize_reader(reader)?;
            Some(noise)
        } else {
            None
        };
        if tag == TERMS_TAG || tag == NOISE_TAG {
            let what = "terms of privacy or noise twice, or in the wrong order";
            return Err(Error::new(ErrorKind::InvalidData, what));
        }
        let rule = RuleSpec::deserialize_reader(&mut [tag].as_slice().chain(&mut *reader))?;
        let (server_lr_ppm, max_abs_update) = BorshDeserialize::deserialize_reader(reader)?;
        let (rounds, tensors) = BorshDeserialize::deserialize_reader(reader)?;
        Ok(Self {
            id,
            name,
            initial_model,
            rule,
            privacy,
            noise,
            server_lr_ppm,
            max_abs_update,
            rounds,
            tensors,
        })
    }
}
