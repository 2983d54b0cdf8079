//! The store in memory and the one on disk hold the same after any sequence of transactions.

#[path = "../../chain/tests/actions/mod.rs"]
mod actions;

use actions::{action, network, run};
use cifer_chain::{MemoryStore, StateKey, Store, testing::TASK};
use cifer_store::RocksStore;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn memory_and_disk_agree(actions in prop::collection::vec(action(), 1..40)) {
        let network = network(true);
        let home = tempfile::tempdir().unwrap();
        let memory = MemoryStore::new(&network.genesis).unwrap();
        {
            let disk = RocksStore::open(home.path(), &network.genesis).unwrap();
            run(&network, &memory, &actions);
            run(&network, &disk, &actions);
            prop_assert_eq!(memory.state(), disk.state());
        }
        let disk = RocksStore::open(home.path(), &network.genesis).unwrap();
        prop_assert_eq!(memory.state(), disk.state());
        for height in (0..=memory.tip().0).map(cifer_chain::Height) {
            prop_assert_eq!(memory.block(height).unwrap(), disk.block(height).unwrap());
            prop_assert_eq!(memory.events(height).unwrap(), disk.events(height).unwrap());
            let key = StateKey::Update(TASK, cifer_chain::RoundId(0), network.contributor(0));
            prop_assert_eq!(
                memory.prove_at(key, height).unwrap(),
                disk.prove_at(key, height).unwrap()
            );
        }
    }
}
