//! Where recently seen updates belong, by id, so that their outcome can be asked for.

use std::collections::{HashMap, VecDeque};

use cifer_chain::Hash32;

use super::UpdateStanding;

/// Updates remembered: 16,384 of about 200 bytes with the maps around them, 3 MB.
const KEPT: usize = 16_384;

/// A bounded map that forgets the oldest.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    entries: HashMap<Hash32, UpdateStanding>,
    order: VecDeque<Hash32>,
}

impl Seen {
    pub(crate) fn insert(&mut self, id: Hash32, standing: UpdateStanding) {
        if self.entries.insert(id, standing).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > KEPT {
            if let Some(old) = self.order.pop_front() {
                self.entries.remove(&old);
            }
        }
    }

    pub(crate) fn get(&self, id: &Hash32) -> Option<&UpdateStanding> {
        self.entries.get(id)
    }
}
