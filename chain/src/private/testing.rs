//! Private rounds on a [`Network`], for tests of the ledger's rules. Nothing is encrypted here: the ledger sees
//! hashes, points, lengths and headers only. `tests/sealed.rs` has whole rounds with all of the cryptography.

use cifer_genesis::{ContributorId, Hash32, RoundId, privacy::Privacy};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};

use super::{
    GroupIndex, KEY_SHARE_SUM_BYTES, KeyShareSum, RoundTerms, ShareKey, Stage, contributor_set,
    mask_seed, seat,
};
use crate::{
    Metrics, PayloadEncoding, State, Store, Transaction, Update,
    testing::{Network, TASK, current},
};

/// Deadlines of [`Network::private`].
pub const WAIT_MS: u64 = 1_000;

/// The cryptographic terms of the current round; its groups are formed.
#[must_use]
pub fn round_terms(network: &Network, state: &State) -> RoundTerms {
    let task = current(state);
    let private = task.private().expect("the task is private");
    RoundTerms::new(
        network.chain_id(),
        &task.task,
        task.round,
        &state.validators,
        private,
    )
    .expect("a valid document")
    .expect("groups are formed")
}

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
        let (round, _) = current(state)
            .keys_due()
            .expect("some round takes share keys");
        self.sign_share_key(validator, round, share_key(validator, round))
    }

    /// Any share key, signed.
    #[must_use]
    pub fn sign_share_key(&self, validator: usize, round: RoundId, key: [u8; 32]) -> Transaction {
        let secret = &self.validators[validator];
        Transaction::ShareKey(ShareKey::sign(TASK, round, key, self.chain_id(), secret))
    }

    /// Commits the share keys of all validators, and what follows until groups are formed.
    pub fn form_groups<S: Store + ?Sized>(&self, store: &S) {
        let state = store.state();
        let keys = (0..self.validators.len()).map(|index| self.share_key_tx(&state, index));
        self.commit(store, keys);
        self.draw(store);
    }

    /// Commits the two blocks after the one that fixed the share keys: one whose hash is the draw, one that forms the groups.
    pub fn draw<S: Store + ?Sized>(&self, store: &S) {
        self.commit(store, []);
        self.commit(store, []);
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
            payload_bytes: round_terms(self, state).payload().expect("it fits").total(),
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
        let fixed = groups.and_then(|stage| stage.groups().get(group as usize));
        let fixed = fixed.expect("the round is closed and has the group");
        let shares = self.shares(state, validator, group, &fixed.cohort);
        self.sign_sum(state, validator, group, fixed.set, shares)
    }

    /// The canonical encoding of a sum of shares of zeros, of this validator, group and cohort.
    #[must_use]
    pub fn shares(
        &self,
        state: &State,
        validator: usize,
        group: GroupIndex,
        cohort: &[ContributorId],
    ) -> Vec<u8> {
        let seat = seat(&state.validators, &self.validator(validator)).expect("a validator");
        let group = round_terms(self, state)
            .group(group)
            .expect("a right chain id");
        let set = contributor_set(cohort).expect("somebody");
        let mut shares = b"CFSS\x01\x00".to_vec();
        shares.extend((seat as u32).to_le_bytes());
        shares.extend(group.digest());
        shares.extend(set.digest());
        shares.resize(KEY_SHARE_SUM_BYTES, 0);
        shares
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
