//! Blocks that were proposed and not decided yet: in memory for speed, in the application's store for
//! restarts.

use std::collections::BTreeMap;

use arc_malachitebft_app_channel::app::types::{
    ProposedValue,
    core::{Round, Validity},
};
use borsh::{BorshDeserialize, BorshSerialize};
use cifer_chain::block::Block;
use cifer_genesis::{BlockHash, Height, ValidatorId};

use super::part::Init;
use crate::context::{Cifer, EngineAddress, EngineHeight, EngineValue};

/// An honest proposer has one; two prove a fault and either may be decided; beyond four, sync helps.
const MAX_PER_ROUND: usize = 4;
/// With blocks of at most 2 MiB: 64 MiB.
const MAX_VALUES: usize = 32;

/// A proposed block and how it came.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct UndecidedValue {
    pub(crate) round: u32,
    pub(crate) pol_round: Option<u32>,
    pub(crate) proposer: ValidatorId,
    /// The proposer's signed head, to stream the proposal again; absent for synced values.
    pub(crate) init: Option<Init>,
    pub(crate) block: Block,
}

impl UndecidedValue {
    /// What the engine is told about it.
    pub(crate) fn proposed(&self, hash: BlockHash, validity: Validity) -> ProposedValue<Cifer> {
        ProposedValue {
            height: EngineHeight(self.block.header.height),
            round: Round::new(self.round),
            valid_round: self.pol_round.into(),
            proposer: EngineAddress(self.proposer),
            value: EngineValue(hash),
            validity,
        }
    }
}

/// The values in memory.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
    values: BTreeMap<(Height, u32, BlockHash), UndecidedValue>,
}

impl Undecided {
    /// Keeps a value; `false` when its round, or memory, is full.
    pub(crate) fn insert(&mut self, hash: BlockHash, value: UndecidedValue) -> bool {
        let key = (value.block.header.height, value.round, hash);
        if !self.values.contains_key(&key) && !self.make_room(key.0, key.1) {
            return false;
        }
        self.values.insert(key, value);
        true
    }

    /// Keeps a value that a quorum has certified, at the cost of any other: whatever a faulty proposer
    /// filled its round with must not keep it out.
    pub(crate) fn insert_certified(&mut self, hash: BlockHash, value: UndecidedValue) {
        let (height, round) = (value.block.header.height, value.round);
        self.values
            .retain(|key, _| (key.0, key.1) != (height, round) || key.2 == hash);
        if self.values.len() >= MAX_VALUES {
            self.values.pop_last();
        }
        self.values.insert((height, round, hash), value);
    }

    /// Makes room for a value of this height and round, at the cost of higher heights and rounds only.
    fn make_room(&mut self, height: Height, round: u32) -> bool {
        if self.of_round(height, round).count() >= MAX_PER_ROUND {
            return false;
        }
        if self.values.len() < MAX_VALUES {
            return true;
        }
        match self.values.last_key_value().map(|(key, _)| *key) {
            Some(last) if (last.0, last.1) > (height, round) => {
                self.values.remove(&last);
                true
            }
            _ => false,
        }
    }

    /// The value of that round.
    pub(crate) fn get(
        &self,
        height: Height,
        round: u32,
        hash: BlockHash,
    ) -> Option<&UndecidedValue> {
        self.values.get(&(height, round, hash))
    }

    /// The value of any round of that height.
    pub(crate) fn find(&self, height: Height, hash: BlockHash) -> Option<&UndecidedValue> {
        self.of_height(height)
            .find(|((_, _, entry), _)| *entry == hash)
            .map(|(_, value)| value)
    }

    /// All values of that round.
    pub(crate) fn of_round(
        &self,
        height: Height,
        round: u32,
    ) -> impl Iterator<Item = (BlockHash, &UndecidedValue)> {
        self.of_height(height)
            .filter(move |((_, entry, _), _)| *entry == round)
            .map(|((_, _, hash), value)| (*hash, value))
    }

    fn of_height(
        &self,
        height: Height,
    ) -> impl Iterator<Item = (&(Height, u32, BlockHash), &UndecidedValue)> {
        self.values
            .range((height, 0, BlockHash::default())..)
            .take_while(move |(key, _)| key.0 == height)
    }

    /// Forgets everything up to a decided height.
    pub(crate) fn forget_through(&mut self, height: Height) {
        self.values.retain(|(entry, _, _), _| *entry > height);
    }
}

#[cfg(test)]
mod tests {
    use cifer_chain::block::Header;
    use cifer_genesis::{Hash32, SecretKey, StateRoot, TimestampMs};

    use super::*;

    fn value(height: u64, round: u32, time: u64) -> (BlockHash, UndecidedValue) {
        let proposer = ValidatorId(SecretKey::from_seed(&[1; 32]).public_key());
        let header = Header {
            chain_id: "test".into(),
            height: Height(height),
            time_ms: TimestampMs(time),
            parent: BlockHash::default(),
            proposer,
            tx_root: Hash32::default(),
            validators: Hash32::default(),
            state_root: StateRoot::default(),
        };
        let block = Block {
            header,
            transactions: Vec::new(),
        };
        let hash = block.hash();
        (
            hash,
            UndecidedValue {
                round,
                pol_round: None,
                proposer,
                init: None,
                block,
            },
        )
    }

    #[test]
    fn an_equivocating_proposer_is_bounded() {
        let mut undecided = Undecided::default();
        let kept = (0..100)
            .filter(|time| {
                let (hash, value) = value(1, 0, *time);
                undecided.insert(hash, value)
            })
            .count();
        assert_eq!(kept, MAX_PER_ROUND);
        let (hash, again) = value(1, 0, 0);
        assert!(undecided.insert(hash, again), "a known value is kept again");
    }

    #[test]
    fn a_certified_value_is_always_kept() {
        let mut undecided = Undecided::default();
        for time in 0..10 {
            let (hash, value) = value(1, 0, time);
            undecided.insert(hash, value);
        }
        let (hash, certified) = value(1, 0, 99);
        undecided.insert_certified(hash, certified);
        assert!(undecided.get(Height(1), 0, hash).is_some());
        for round in 1..100 {
            let (hash, value) = value(1, round, 0);
            undecided.insert(hash, value);
        }
        let (hash, late) = value(2, 7, 0);
        undecided.insert_certified(hash, late);
        assert!(undecided.get(Height(2), 7, hash).is_some());
        assert!(undecided.values.len() <= MAX_VALUES);
    }

    #[test]
    fn lower_rounds_displace_higher_ones_and_never_the_reverse() {
        let mut undecided = Undecided::default();
        for round in 0..u32::try_from(MAX_VALUES).unwrap() {
            let (hash, value) = value(2, round, 0);
            assert!(undecided.insert(hash, value));
        }
        let (hash, early) = value(1, 0, 0);
        assert!(undecided.insert(hash, early));
        assert!(undecided.find(Height(1), hash).is_some());
        let (hash, late) = value(3, 0, 0);
        assert!(!undecided.insert(hash, late));
        undecided.forget_through(Height(2));
        assert!(undecided.values.is_empty());
    }

    #[test]
    fn rounds_and_heights_are_kept_apart() {
        let mut undecided = Undecided::default();
        let (hash, first) = value(1, 3, 0);
        assert!(undecided.insert(hash, first.clone()));
        assert_eq!(undecided.get(Height(1), 3, hash), Some(&first));
        assert_eq!(undecided.get(Height(1), 2, hash), None);
        assert_eq!(undecided.find(Height(1), hash), Some(&first));
        assert_eq!(undecided.find(Height(2), hash), None);
        assert_eq!(undecided.of_round(Height(1), 3).count(), 1);
    }
}
