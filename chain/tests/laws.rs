//! Laws, over random sequences of transactions and random bytes.

mod actions;

use actions::{action, equivocation, network, run};
use cifer_chain::{
    MemoryStore, Registration, RejectReason, Store, Transaction, decode::encode, decode_block,
    decode_tx, testing::key, verify_chain,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_transactions_keep_the_laws(
        actions in prop::collection::vec(action(), 1..40),
        open in any::<bool>(),
    ) {
        let network = network(open);
        let store = MemoryStore::new(&network.genesis).unwrap();
        run(&network, &store, &actions);
        let report = verify_chain(&store, &network.genesis, |_| {}).unwrap();
        prop_assert_eq!(report.height, store.tip());
    }
}

fn samples() -> Vec<Vec<u8>> {
    let network = network(true);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let state = store.state();
    let reject = network.reject(
        network.sign(network.update(&state, 1), 1),
        RejectReason::OutOfRange,
    );
    let register = Registration::sign("late".into(), network.chain_id(), &key(2, 5));
    vec![
        encode(&network.update_tx(&state, 0)),
        encode(&reject),
        encode(&Transaction::Register(register)),
        encode(&equivocation(&network, 0, 1)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn random_bytes_never_panic_and_decode_to_themselves(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        if let Ok(tx) = decode_tx(&bytes, 600) {
            prop_assert_eq!(encode(&tx), bytes.clone());
        }
        if let Ok(block) = decode_block(&bytes, 600) {
            prop_assert_eq!(encode(&block), bytes);
        }
    }

    #[test]
    fn damaged_encodings_are_refused_or_decode_to_themselves(
        which in 0..4_usize,
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 0..4),
    ) {
        let good = &samples()[which];
        let cut = cut.index(good.len());
        prop_assert!(decode_tx(&good[..cut], 1 << 16).is_err());
        let mut bytes = good.clone();
        for (index, bit) in flips {
            let index = index.index(bytes.len());
            bytes[index] ^= 1 << bit;
        }
        if let Ok(tx) = decode_tx(&bytes, 1 << 16) {
            prop_assert_eq!(encode(&tx), bytes);
        }
    }
}

#[test]
fn long_trailing_and_lying_bytes_are_refused() {
    let network = network(false);
    let store = MemoryStore::new(&network.genesis).unwrap();
    let executed = network.commit(&store, [network.update_tx(&store.state(), 0)]);
    let block = encode(&executed.block);
    let bytes = block.len() as u64;
    assert_eq!(decode_block(&block, bytes).unwrap(), executed.block);
    let error = decode_block(&block, bytes - 1).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("block of {bytes} bytes; the limit is {}", bytes - 1)
    );
    let trailing = [block.as_slice(), &[0]].concat();
    decode_block(&trailing, 1 << 20).unwrap_err();
    for cut in 0..block.len() {
        decode_block(&block[..cut], 1 << 20).unwrap_err();
    }
    // A list that claims four billion entries in a few bytes costs nothing.
    let mut lying = encode(&network.update_tx(&store.state(), 1));
    let at = lying.len() - 4 * 96 - 4;
    lying[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    decode_tx(&lying, 1 << 16).unwrap_err();
}
