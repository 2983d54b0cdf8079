//! A small valid document that tests bend.

use cifer_genesis::{
    Genesis, GenesisBuilder, ModelRoot, SecretKey, TaskId, TimestampMs,
    document::{NamedKey, RoundPolicy, RuleSpec, Task, Tensor, Validator},
};

/// The public key of the seed of 32 equal bytes.
pub(crate) fn key(seed: u8) -> cifer_genesis::PublicKey {
    SecretKey::from_seed(&[seed; 32]).public_key()
}

/// A task of 650 coordinates, Multi-Krum with f = 3 of at least 9 updates.
pub(crate) fn task(id: u32, name: &str) -> Task {
    Task::new(
        TaskId(id),
        name,
        vec![Tensor::f32("weight", &[64, 10]), Tensor::f32("bias", &[10])],
        ModelRoot::from_bytes([7; 32]),
        RuleSpec::MultiKrum { f: 3, m: 6 },
        RoundPolicy {
            min_updates: 9,
            max_updates: 10,
            deadline_ms: 60_000,
            max_extensions: 2,
            max_rounds: 20,
        },
    )
}

/// Four validators, ten contributors, one task.
pub(crate) fn builder() -> GenesisBuilder {
    GenesisBuilder::new("test-net", TimestampMs(1_767_225_600_000))
        .byzantine_validators(1)
        .validators((0..4).map(|index| {
            let port = 27_000 + u16::from(index) * 10;
            Validator::on_host(
                format!("validator-{index}"),
                key(index + 1),
                "127.0.0.1",
                port,
                port + 1,
            )
        }))
        .contributors((0..10).map(|index| NamedKey {
            name: format!("contributor-{index}"),
            public_key: key(101 + index),
        }))
        .task(task(1, "digits"))
}

/// The document of [`builder`].
pub(crate) fn genesis() -> Genesis {
    builder().build().expect("the base document is valid")
}
