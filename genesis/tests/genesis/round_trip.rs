//! Both forms of a document say the same, and each document has one encoding.

use cifer_genesis::{
    Genesis, GenesisBuilder, GenesisError, ModelRoot, SecretKey, TaskId, TimestampMs, VotingPower,
    bounds,
    document::{ConsensusParams, Limits, NamedKey, RoundPolicy, RuleSpec, Task, Tensor, Validator},
};
use proptest::prelude::*;

fn consensus() -> impl Strategy<Value = ConsensusParams> {
    let timeouts = (
        bounds::TIMEOUT_MS,
        bounds::TIMEOUT_MS,
        bounds::TIMEOUT_MS,
        bounds::TIMEOUT_MS,
    );
    (bounds::HEARTBEAT_MS, 0..=100_u64, timeouts).prop_map(|(heartbeat, interval, timeouts)| {
        ConsensusParams {
            min_block_interval_ms: interval,
            idle_heartbeat_ms: heartbeat,
            max_clock_drift_ms: timeouts.0,
            timeout_propose_ms: timeouts.1,
            timeout_prevote_ms: timeouts.2,
            timeout_precommit_ms: timeouts.3,
        }
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let block = bounds::BLOCK_BYTES;
    (
        block,
        bounds::MEMPOOL_TXS,
        1_u64 << 20..=bounds::MAX_MEMPOOL_BYTES,
        32..=1_000_000_u64,
    )
        .prop_map(
            |(max_block_bytes, txs, mempool_bytes, max_contributors)| Limits {
                max_payload_bytes: 1 << 36,
                max_block_bytes,
                max_tx_bytes: bounds::MAX_TX_BYTES.min(max_block_bytes / 2),
                max_mempool_txs: txs,
                max_mempool_bytes: mempool_bytes,
                max_contributors,
            },
        )
}

fn validator(index: usize) -> impl Strategy<Value = Validator> {
    let host = prop_oneof![
        Just("10.0.0.1".to_owned()),
        Just("2001:db8::5".to_owned()),
        "[a-z]{1,9}\\.example",
    ];
    (host, 1..=1_u64 << 40, 1..=30_000_u16).prop_map(move |(host, power, port)| {
        let key = SecretKey::from_seed(&[index as u8 + 1; 32]).public_key();
        let port = port + index as u16 * 2;
        // Different hosts may come out equal, so ports tell the validators apart.
        let mut validator = Validator::on_host(
            format!("v.{index}"),
            key,
            &host,
            port,
            40_000 + index as u16,
        );
        validator.consensus_address = validator
            .consensus_address
            .replace(&format!("/tcp/{port}"), &format!("/tcp/{}", 50_000 + index));
        validator.power = VotingPower(power);
        validator
    })
}

fn rule(n: u64) -> impl Strategy<Value = RuleSpec> {
    let krum = n.saturating_sub(3) / 2;
    let mut rules = vec![
        bounds::WEIGHT_CAP
            .prop_map(|weight_cap| RuleSpec::Fedavg { weight_cap })
            .boxed(),
        Just(RuleSpec::Median).boxed(),
        (0..=(n - 1) / 2)
            .prop_map(|f| RuleSpec::TrimmedMean { f })
            .boxed(),
    ];
    if n >= 3 {
        rules.push((0..=krum).prop_map(|f| RuleSpec::Krum { f }).boxed());
        let selection = (0..=krum).prop_flat_map(move |f| (Just(f), 1..=n - f));
        rules.push(
            selection
                .prop_map(|(f, m)| RuleSpec::MultiKrum { f, m })
                .boxed(),
        );
    }
    proptest::strategy::Union::new(rules)
}

fn task(id: usize) -> impl Strategy<Value = Task> {
    let shape = proptest::collection::vec(1..=64_u64, 0..=4);
    let tensors = proptest::collection::btree_map("[^\\p{C}]{1,20}", shape, 1..=4);
    let policy = (
        1..=32_u64,
        bounds::DEADLINE_MS,
        0..=1_000_u32,
        bounds::MAX_ROUNDS,
    );
    let numbers = (
        bounds::SERVER_LR_PPM,
        bounds::MAX_ABS_UPDATE,
        any::<[u8; 32]>(),
    );
    (
        tensors,
        policy.prop_flat_map(|policy| (Just(policy), rule(policy.0))),
        numbers,
    )
        .prop_map(
            move |(tensors, (policy, rule), (server_lr_ppm, max_abs_update, root))| Task {
                server_lr_ppm,
                max_abs_update,
                ..Task::new(
                    TaskId(id as u32),
                    format!("Task_{id}"),
                    tensors
                        .iter()
                        .map(|(name, shape)| Tensor::f32(name, shape))
                        .collect(),
                    ModelRoot::from_bytes(root),
                    rule,
                    RoundPolicy {
                        min_updates: policy.0,
                        max_updates: 32,
                        deadline_ms: policy.1,
                        max_extensions: policy.2,
                        max_rounds: policy.3,
                    },
                )
            },
        )
}

prop_compose! {
    fn documents()(
        validators in (1..=5_usize).prop_flat_map(|n| (0..n).map(validator).collect::<Vec<_>>()),
        tasks in (1..=3_usize).prop_flat_map(|n| (0..n).map(task).collect::<Vec<_>>()),
        chain_id in "[a-z0-9-]{1,48}",
        time_ms in bounds::TIME_MS,
        consensus in consensus(),
        limits in limits(),
        open in any::<bool>(),
        observers in any::<bool>(),
        zero_faults in any::<bool>(),
    ) -> Genesis {
        let mut builder = GenesisBuilder::new(chain_id, TimestampMs(time_ms))
            .validators(validators)
            .consensus(consensus)
            .limits(limits)
            .open_registration(open)
            .allow_observers(observers);
        if zero_faults {
            builder = builder.byzantine_validators(0);
        }
        if !open {
            builder = builder.contributors((0..32).map(|index| NamedKey {
                name: format!("c{index}"),
                public_key: SecretKey::from_seed(&[100 + index; 32]).public_key(),
            }));
        }
        tasks.into_iter().fold(builder, GenesisBuilder::task).build().expect("a valid document")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn toml_keeps_the_document_and_its_hash(genesis in documents()) {
        let text = genesis.to_toml().unwrap();
        let read = Genesis::from_toml(&text).unwrap();
        prop_assert_eq!(read.hash(), genesis.hash());
        prop_assert_eq!(&read, &genesis);
        prop_assert_eq!(read.to_toml().unwrap(), text);
    }

    #[test]
    fn canonical_bytes_are_the_only_encoding(genesis in documents(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut bytes = genesis.canonical_bytes();
        let decoded = Genesis::from_canonical_bytes(&bytes).unwrap();
        prop_assert_eq!(&decoded, &genesis);
        let place = at.index(bytes.len());
        bytes[place] ^= 1_u8 << bit;
        // Damaged bytes are refused, or are the one encoding of another document.
        if let Ok(other) = Genesis::from_canonical_bytes(&bytes) {
            prop_assert_ne!(other.hash(), genesis.hash());
            prop_assert_eq!(other.canonical_bytes(), bytes);
        }
    }

    #[test]
    fn hostile_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(Genesis::from_canonical_bytes(&bytes).is_err());
        prop_assert!(Genesis::from_toml(&String::from_utf8_lossy(&bytes)).is_err());
    }
}

#[test]
fn truncated_and_trailing_bytes_are_refused() {
    let mut bytes = crate::support::genesis().canonical_bytes();
    for length in 0..bytes.len() {
        let result = Genesis::from_canonical_bytes(&bytes[..length]);
        assert!(
            matches!(result, Err(GenesisError::Encoding(_))),
            "{length}: {result:?}"
        );
    }
    bytes.push(0);
    assert!(matches!(
        Genesis::from_canonical_bytes(&bytes),
        Err(GenesisError::Encoding(_))
    ));
}

#[test]
fn canonical_bytes_are_validated() {
    let mut document = crate::support::genesis();
    document.tasks[0].rounds.min_updates = 8;
    let result = Genesis::from_canonical_bytes(&document.canonical_bytes());
    assert!(
        matches!(result, Err(GenesisError::Invalid(_))),
        "{result:?}"
    );
}

#[test]
fn comments_and_order_do_not_change_the_hash() {
    let genesis = crate::support::genesis();
    let text = genesis.to_toml().unwrap();
    let commented = format!(
        "# for people\n\n{}",
        text.replace("version = 1\n", "version=1 # one\n")
    );
    assert_ne!(commented, text);
    assert_eq!(
        Genesis::from_toml(&commented).unwrap().hash(),
        genesis.hash()
    );
}
