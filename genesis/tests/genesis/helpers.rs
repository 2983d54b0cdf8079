//! Sizes and thresholds derived from a document.

use cifer_genesis::{
    document::{RuleSpec, Tensor, Validator},
    generate::max_byzantine,
};

#[test]
fn sizes_of_a_model() {
    let mut task = crate::support::task(1, "t");
    assert_eq!((task.coordinates(), task.payload_bytes()), (650, 2600));
    task.tensors = vec![Tensor::f32("scalar", &[])];
    assert_eq!((task.coordinates(), task.payload_bytes()), (1, 4));
    task.tensors = vec![Tensor::f32("w", &[1 << 62])];
    assert_eq!(
        (task.coordinates(), task.payload_bytes()),
        (1 << 62, u64::MAX)
    );
    assert_eq!(task.checked_payload_bytes(), None);
}

#[test]
fn what_rules_demand() {
    let rules = [
        (RuleSpec::Fedavg { weight_cap: 1 }, "fedavg", 1, Some(0)),
        (RuleSpec::Median, "median", 1, None),
        (RuleSpec::TrimmedMean { f: 3 }, "trimmed-mean", 7, Some(3)),
        (RuleSpec::Krum { f: 3 }, "krum", 9, Some(3)),
        (RuleSpec::MultiKrum { f: 3, m: 6 }, "multi-krum", 9, Some(3)),
        (
            RuleSpec::MultiKrum { f: 3, m: 8 },
            "multi-krum",
            11,
            Some(3),
        ),
        (
            RuleSpec::MultiKrum { f: u64::MAX, m: 8 },
            "multi-krum",
            u64::MAX,
            Some(u64::MAX),
        ),
    ];
    for (rule, name, needed, tolerated) in rules {
        assert_eq!(rule.name(), name);
        assert_eq!(rule.min_updates_needed(), needed, "{rule:?}");
        assert_eq!(rule.tolerated(), tolerated, "{rule:?}");
    }
}

#[test]
fn byzantine_share() {
    let most: Vec<_> = [0, 1, 3, 4, 6, 7, 10]
        .into_iter()
        .map(max_byzantine)
        .collect();
    assert_eq!(most, [0, 0, 0, 1, 1, 2, 3]);
}

#[test]
fn addresses_of_hosts() {
    let on = |host| Validator::on_host("v", crate::support::key(1), host, 1, 2).data_addresses;
    assert_eq!(
        on("10.0.0.1"),
        ["/ip4/10.0.0.1/udp/2/quic-v1", "/ip4/10.0.0.1/tcp/2"]
    );
    assert_eq!(on("::1"), ["/ip6/::1/udp/2/quic-v1", "/ip6/::1/tcp/2"]);
    assert_eq!(
        on("a.example"),
        ["/dns/a.example/udp/2/quic-v1", "/dns/a.example/tcp/2"]
    );
}
