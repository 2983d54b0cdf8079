//! Sizes and thresholds derived from a document.

use cifer_genesis::{
    document::{PreSpec, RuleSpec, Tensor, Validator},
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
    let rules = rules.into_iter().chain([
        (RuleSpec::Bulyan { f: 2 }, "bulyan", 11, Some(2)),
        (RuleSpec::Caf { f: 2 }, "caf", 5, Some(2)),
        (RuleSpec::SignMajority, "sign-majority", 1, None),
        (
            RuleSpec::pipeline(vec![PreSpec::Nnm { f: 4 }], RuleSpec::TrimmedMean { f: 3 }),
            "trimmed-mean",
            9,
            Some(3),
        ),
        // Seven buckets of two are full with thirteen updates.
        (
            RuleSpec::pipeline(vec![PreSpec::Bucketing { s: 2 }], RuleSpec::Krum { f: 2 }),
            "krum",
            13,
            Some(2),
        ),
        (
            RuleSpec::pipeline(vec![PreSpec::Bucketing { s: 5 }], RuleSpec::Median),
            "median",
            5,
            None,
        ),
    ]);
    for (rule, name, needed, tolerated) in rules {
        assert_eq!(rule.name(), name);
        assert_eq!(rule.min_updates_needed(), needed, "{rule:?}");
        assert_eq!(rule.tolerated(), tolerated, "{rule:?}");
    }
}

#[test]
fn rejections_count_against_every_stage() {
    let pre = vec![
        PreSpec::Clip { radius_ppm: 1 },
        PreSpec::Arc { f: 3 },
        PreSpec::Nnm { f: 3 },
    ];
    let rule = RuleSpec::pipeline(pre, RuleSpec::MultiKrum { f: 3, m: 7 });
    let after = rule
        .after_rejections(8, 2)
        .expect("eight are enough for f = 1");
    assert_eq!(
        after.to_string(),
        "clip:radius=0.000001,arc:f=1,nnm:f=1,multi-krum:f=1,m=7"
    );
    assert_eq!(rule.after_rejections(8, 0), None);
    // Ten updates in buckets of two are five rows.
    let bucketed = RuleSpec::pipeline(
        vec![PreSpec::Bucketing { s: 2 }],
        RuleSpec::MultiKrum { f: 1, m: 7 },
    );
    let after = bucketed.after_rejections(10, 0);
    assert_eq!(
        after.map(|rule| rule.to_string()),
        Some("bucketing:s=2,multi-krum:f=1,m=4".to_owned())
    );
}

#[test]
fn pipelines_do_not_nest() {
    let inner = RuleSpec::pipeline(vec![PreSpec::Nnm { f: 1 }], RuleSpec::Median);
    let whole = RuleSpec::pipeline(vec![PreSpec::Arc { f: 1 }], inner.clone());
    assert_eq!(whole.to_string(), "arc:f=1,nnm:f=1,median");
    assert_eq!(
        RuleSpec::pipeline(vec![], RuleSpec::Median),
        RuleSpec::Median
    );

    let bytes = borsh::to_vec(&inner).expect("encoded");
    // Tag, one stage (nnm, f), then the tag of the median.
    assert_eq!(bytes, [14, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(
        borsh::from_slice::<RuleSpec>(&bytes).expect("decoded"),
        inner
    );
    // A pipeline where the rule should be, again and again: refused at once, not followed down.
    let mut deep: Vec<u8> = Vec::new();
    for _ in 0..100_000 {
        deep.extend(&bytes[..14]);
    }
    deep.push(1);
    let error = borsh::from_slice::<RuleSpec>(&deep).expect_err("nested");
    assert!(
        error.to_string().contains("a pipeline in a pipeline"),
        "{error}"
    );
    let empty = borsh::from_slice::<RuleSpec>(&[14, 0, 0, 0, 0, 1]).expect_err("no stages");
    assert!(
        empty.to_string().contains("without pre-aggregators"),
        "{empty}"
    );
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
