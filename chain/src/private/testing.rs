//! Private rounds on a [`Network`], for tests. Nothing is encrypted here: the ledger sees hashes,
//! points and lengths only.

use cifer_genesis::{Hash32, RoundId, privacy::Privacy};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};

use super::{GroupIndex, KEY_SHARE_SUM_BYTES, KeyShareSum, ShareKey, Stage, mask_seed};
use crate::{
    Metrics, PayloadEncoding, State, Store, Transaction, Update,
    testing::{Network, TASK, current},
};

/// Deadlines of [`Network::private`].
pub const WAIT_MS: u64 = 1_000;

/// A share key of a validator for a round.
#[must_use]
pub fn share_key(validator: usize, round: RoundId) -> [u8; 32] {
    let secret = Scalar::from(1 + validator as u64 + 1_000 * round.0);
    RistrettoPoint::mul_base(&secret).compress().to_bytes()
}

impl Network {
    /// A network with one private task, in groups of `group_size`, by plain median.
    #[must_use]
    pub fn private(validators: usize, contributors: usize, group_size: u64) -> Self {
        Self::new(validators, contributors).with(|genesis| {
            let task = &mut genesis.tasks[0];
            task.privacy = Some(Privacy {
                group_size,
                key_wait_ms: WAIT_MS,
                sum_wait_ms: WAIT_MS,
                ..Privacy::grouped_sum(1_000_000)
            });
        })
    }

    /// A validator's share key for the round that takes keys now.
    #[must_use]
    pub fn share_key_tx(&self, state: &State, validator: usize) -> Transaction {
        let task = current(state);
        let round = if task.gathers_keys() {
            task.round
        } else {
            task.round.next().expect("not the last round")
        };
        self.sign_share_key(validator, round, share_key(validator, round))
    }

    /// Any share key, signed.
    #[must_use]
    pub fn sign_share_key(&self, validator: usize, round: RoundId, key: [u8; 32]) -> Transaction {
        let secret = &self.validators[validator];
        Transaction::ShareKey(ShareKey::sign(TASK, round, key, self.chain_id(), secret))
    }

    /// Commits the share keys of all validators: groups are formed.
    pub fn form_groups<S: Store + ?Sized>(&self, store: &S) {
        let state = store.state();
        let keys = (0..self.validators.len()).map(|index| self.share_key_tx(&state, index));
        self.commit(store, keys);
    }

    /// The valid encrypted update of a contributor for the current round, whose groups are formed.
    #[must_use]
    pub fn private_update(&self, state: &State, contributor: usize) -> Update {
        let task = current(state);
        let private = task.private().expect("the task is private");
        let seed = private.stage.seed().expect("groups are formed");
        let group = private.group_of(&self.contributor(contributor));
        let group = group.expect("every contributor is in a group");
        Update {
            payload_bytes: 20_000,
            samples: 1,
            metrics: Metrics::default(),
            encoding: PayloadEncoding::GroupedSum {
                group,
                mask_seed: mask_seed(self.chain_id(), TASK, task.round, group, seed),
                dealing: Hash32([contributor as u8; 32]),
            },
            ..self.update(state, contributor)
        }
    }

    /// [`Self::private_update`] with its certificate.
    #[must_use]
    pub fn private_update_tx(&self, state: &State, contributor: usize) -> Transaction {
        self.certify(self.sign(self.private_update(state, contributor), contributor))
    }

    /// A validator's sum of shares for a group of the closed round.
    #[must_use]
    pub fn sum_tx(&self, state: &State, validator: usize, group: GroupIndex) -> Transaction {
        let groups = current(state).private().map(|private| &private.stage);
        let set = groups.and_then(|stage| stage.groups().get(group as usize));
        let set = set.expect("the round is closed and has the group").set;
        self.sign_sum(state, validator, group, set, vec![7; KEY_SHARE_SUM_BYTES])
    }

    /// Any sum of shares, signed.
    #[must_use]
    pub fn sign_sum(
        &self,
        state: &State,
        validator: usize,
        group: GroupIndex,
        set: Hash32,
        shares: Vec<u8>,
    ) -> Transaction {
        let place = (TASK, current(state).round, group);
        let secret = &self.validators[validator];
        let sum = KeyShareSum::sign(place, set, shares, self.chain_id(), secret);
        Transaction::KeyShareSum(sum)
    }

    /// Sums of these validators for every live group.
    #[must_use]
    pub fn sum_txs(&self, state: &State, validators: &[usize]) -> Vec<Transaction> {
        let Some(private) = current(state).private() else {
            return Vec::new();
        };
        let live = (0..)
            .zip(private.stage.groups())
            .filter(|(_, group)| group.is_live());
        live.flat_map(|(index, _)| validators.iter().map(move |v| (index, *v)))
            .map(|(index, validator)| self.sum_tx(state, validator, index))
            .collect()
    }

    /// Whether the current round is sealed.
    #[must_use]
    pub fn is_sealed(&self, state: &State) -> bool {
        let private = current(state).private();
        private.is_some_and(|private| matches!(private.stage, Stage::Sealed { .. }))
    }
}
