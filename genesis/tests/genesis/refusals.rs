//! Every refusal names the field, its value, and the limit or inequality that it breaks.

use crate::support::{genesis, key, task};
use cifer_genesis::{
    Genesis, Privacy, TimestampMs, VotingPower,
    bounds::{MAX_TOTAL_POWER, MAX_VALIDATORS},
    document::{PreSpec, RuleSpec, Tensor},
    problem::MAX_PROBLEMS,
};

/// Bends the base document and returns all problems as text.
fn refused(bend: impl FnOnce(&mut Genesis)) -> Vec<String> {
    let mut document = genesis();
    bend(&mut document);
    let error = document
        .validate()
        .expect_err("the bent document is refused");
    error
        .problems()
        .expect("with problems")
        .listed()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Asserts that bending breaks exactly one thing, and how that is reported.
#[track_caller]
fn one(bend: impl FnOnce(&mut Genesis), message: &str) {
    assert_eq!(refused(bend), [message]);
}

fn accepted(bend: impl FnOnce(&mut Genesis)) {
    let mut document = genesis();
    bend(&mut document);
    document.validate().expect("the document is valid");
}

#[test]
fn identity() {
    one(
        |g| g.version = 2,
        "version: version 2 is not supported, only 1",
    );
    for text in ["", "Upper", "under_score", "a/b", "é"] {
        let message = format!("chain_id: {text:?} is not allowed: 1 to 48 of a-z 0-9 -");
        one(|g| g.chain_id = text.into(), &message);
    }
    accepted(|g| g.chain_id = "a".repeat(48));
    let long = format!(
        "chain_id: {:?} is not allowed: 1 to 48 of a-z 0-9 -",
        "a".repeat(49)
    );
    one(|g| g.chain_id = "a".repeat(49), &long);
    one(
        |g| g.time_ms = TimestampMs(u64::MAX),
        "time_ms: 18446744073709551615 is out of range: 0 <= x <= 253402300799999",
    );
}

#[test]
fn names() {
    let rule = "1 to 48 of a-z A-Z 0-9 . _ -, the first a letter or a digit";
    for name in ["", "..", "-x", "a b", "a/b"] {
        let message = format!("validators[1].name: {name:?} is not allowed: {rule}");
        one(|g| g.validators[1].name = name.into(), &message);
    }
    one(
        |g| g.contributors.allowed[3].name = ".".into(),
        &format!("contributors.allowed[3].name: \".\" is not allowed: {rule}"),
    );
    one(
        |g| g.tasks[0].name = "x\n".into(),
        &format!("tasks[0].name: \"x\\n\" is not allowed: {rule}"),
    );
    one(
        |g| g.validators[2].name = "validator-0".into(),
        "validators[2].name: validator-0 is also validators[0].name",
    );
    one(
        |g| g.contributors.allowed[9].name = "contributor-4".into(),
        "contributors.allowed[9].name: contributor-4 is also contributors.allowed[4].name",
    );
}

#[test]
fn keys_are_used_once() {
    one(
        |g| g.validators[3].public_key = key(1),
        &format!(
            "validators[3].public_key: {} is also validators[0].public_key",
            key(1)
        ),
    );
    let first = "contributors.allowed[0].public_key";
    one(
        |g| g.contributors.allowed[1].public_key = key(101),
        &format!(
            "contributors.allowed[1].public_key: {} is also {first}",
            key(101)
        ),
    );
    one(
        |g| g.contributors.allowed[1].public_key = key(2),
        &format!(
            "contributors.allowed[1].public_key: {} is also validators[1].public_key",
            key(2)
        ),
    );
}

#[test]
fn validator_counts_and_powers() {
    one(
        |g| {
            g.validators.clear();
            g.byzantine_validators = None;
        },
        "validators: 0 entries, but 1 <= n <= 512 must hold",
    );
    let seats = MAX_VALIDATORS + 1;
    let problems = refused(|g| g.validators = vec![g.validators[0].clone(); seats]);
    assert_eq!(
        problems[0],
        "validators: 513 entries, but 1 <= n <= 512 must hold"
    );
    let range = format!("out of range: 1 <= x <= {MAX_TOTAL_POWER}");
    one(
        |g| {
            g.byzantine_validators = None;
            g.validators[0].power = VotingPower(0);
        },
        &format!("validators[0].power: 0 is {range}"),
    );
    one(
        |g| {
            g.byzantine_validators = None;
            g.validators[0].power = VotingPower(MAX_TOTAL_POWER);
        },
        &format!(
            "validators: the total voting power {} is too large: at most {MAX_TOTAL_POWER}",
            MAX_TOTAL_POWER + 3
        ),
    );
    // Sums of the largest numbers do not wrap.
    let problems = refused(|g| {
        g.validators
            .iter_mut()
            .for_each(|v| v.power = VotingPower(u64::MAX));
    });
    let total = "validators: the total voting power 73786976294838206460 is too large";
    assert!(
        problems.iter().any(|problem| problem.starts_with(total)),
        "{problems:?}"
    );
}

#[test]
fn byzantine_validators() {
    one(
        |g| g.byzantine_validators = Some(2),
        "byzantine_validators: n >= 3f + 1 must hold: f = 2 needs n >= 7, \
         but there are n = 4 validators",
    );
    one(
        |g| {
            g.validators.pop();
        },
        "byzantine_validators: n >= 3f + 1 must hold: f = 1 needs n >= 4, \
         but there are n = 3 validators",
    );
    one(
        |g| g.byzantine_validators = Some(u64::MAX),
        "byzantine_validators: n >= 3f + 1 must hold: f = 18446744073709551615 needs \
         n >= 55340232221128654846, but there are n = 4 validators",
    );
    // 2 of 6 is exactly a third; 2 of 7 is below it.
    let mut powers = [1, 2, 1, 2];
    let set = |g: &mut Genesis, powers: [u64; 4]| {
        g.validators
            .iter_mut()
            .zip(powers)
            .for_each(|(v, power)| v.power = VotingPower(power));
    };
    one(
        |g| set(g, powers),
        "byzantine_validators: the f = 1 most powerful validators must hold less than a third \
         of the power: 3 * 2 < 6 does not hold",
    );
    powers[0] = 2;
    accepted(|g| set(g, powers));
    accepted(|g| {
        g.byzantine_validators = None;
        g.validators.truncate(1);
    });
    accepted(|g| g.byzantine_validators = Some(0));
}

#[test]
fn addresses() {
    let expected = "expected /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT or …/udp/PORT/quic-v1";
    for (address, reason) in [
        ("", "it does not begin with a slash"),
        ("127.0.0.1:80", "it does not begin with a slash"),
        ("/ip4", "the host is missing"),
        ("/unix/socket", "the kind of host is unknown"),
        ("/ip4/256.0.0.1/tcp/1", "the host is not an IPv4 address"),
        ("/ip4/0.0.0.0/tcp/1", "nobody can dial an unspecified host"),
        ("/ip6/::/tcp/1", "nobody can dial an unspecified host"),
        ("/ip6/127.0.0.1/tcp/1", "the host is not an IPv6 address"),
        ("/dns4/-a.example/tcp/1", "the host is not a DNS name"),
        ("/dns/a..b/tcp/1", "the host is not a DNS name"),
        ("/ip4/10.0.0.1", "the transport or its port is missing"),
        ("/ip4/10.0.0.1/tcp", "the transport or its port is missing"),
        ("/ip4/10.0.0.1/tcp/0", "the port is not in 1 to 65535"),
        ("/ip4/10.0.0.1/tcp/+1", "the port is not in 1 to 65535"),
        ("/ip4/10.0.0.1/tcp/65536", "the port is not in 1 to 65535"),
        (
            "/ip4/10.0.0.1/sctp/1",
            "the transport is neither tcp nor udp",
        ),
        (
            "/ip4/10.0.0.1/tcp/1/ws",
            "the port is followed by something else",
        ),
        (
            "/ip4/10.0.0.1/udp/1",
            "the port is followed by something else",
        ),
    ] {
        let message = format!(
            "validators[0].consensus_address: {address:?} is not usable: {reason}; {expected}"
        );
        one(
            |g| g.validators[0].consensus_address = address.into(),
            &message,
        );
    }
    for address in [
        "/dns4/val-1.example.org/tcp/26656",
        "/ip6/2001:db8::1/udp/9/quic-v1",
    ] {
        accepted(|g| g.validators[0].consensus_address = address.into());
    }
    one(
        |g| g.validators[1].data_addresses[1] = "/ip4/127.0.0.1/tcp/27000".into(),
        "validators[1].data_addresses[1]: /ip4/127.0.0.1/tcp/27000 is also \
         validators[0].consensus_address",
    );
    one(
        |g| g.validators[1].data_addresses.clear(),
        "validators[1].data_addresses: 0 entries, but 1 <= n <= 8 must hold",
    );
}

#[test]
fn pace() {
    let timeouts: [fn(&mut Genesis) -> &mut u64; 4] = [
        |g| &mut g.consensus.max_clock_drift_ms,
        |g| &mut g.consensus.timeout_propose_ms,
        |g| &mut g.consensus.timeout_prevote_ms,
        |g| &mut g.consensus.timeout_precommit_ms,
    ];
    let names = [
        "max_clock_drift_ms",
        "timeout_propose_ms",
        "timeout_prevote_ms",
        "timeout_precommit_ms",
    ];
    for (field, name) in timeouts.into_iter().zip(names) {
        for value in [9, 3_600_001] {
            let message = format!("consensus.{name}: {value} is out of range: 10 <= x <= 3600000");
            one(|g| *field(g) = value, &message);
        }
        accepted(|g| *field(g) = 10);
    }
    one(
        |g| g.consensus.idle_heartbeat_ms = 99,
        "consensus.idle_heartbeat_ms: 99 is out of range: 100 <= x <= 3600000",
    );
    one(
        |g| g.consensus.min_block_interval_ms = 5_001,
        "consensus.min_block_interval_ms: 5001 is too large: \
         min_block_interval_ms <= idle_heartbeat_ms = 5000 must hold",
    );
}

#[test]
fn limits() {
    one(
        |g| g.limits.max_block_bytes = (1 << 20) + 1,
        "limits.max_block_bytes: 1048577 is out of range: 65536 <= x <= 1048576",
    );
    one(
        |g| {
            g.limits.max_block_bytes = 65_535;
            g.limits.max_tx_bytes = 4096;
        },
        "limits.max_block_bytes: 65535 is out of range: 65536 <= x <= 1048576",
    );
    one(
        |g| g.limits.max_tx_bytes = (1 << 19) + 1,
        "limits.max_tx_bytes: 524289 is too large: \
         max_tx_bytes <= min(max_block_bytes / 2, 255 KiB) = 261120 must hold",
    );
    one(
        |g| g.limits.max_tx_bytes = 895,
        "limits.max_tx_bytes: 895 bytes do not hold a certificate of all n = 4 validators: \
         96n + 512 = 896 <= max_tx_bytes must hold",
    );
    accepted(|g| g.limits.max_tx_bytes = 896);
    one(
        |g| g.limits.max_mempool_txs = 0,
        "limits.max_mempool_txs: 0 is out of range: 1 <= x <= 1000000",
    );
    one(
        |g| g.limits.max_mempool_bytes = 1,
        "limits.max_mempool_bytes: 1 is out of range: 1048576 <= x <= 1073741824",
    );
    one(
        |g| g.limits.max_contributors = 0,
        "limits.max_contributors: 0 is out of range: 1 <= x <= 1000000",
    );
    one(
        |g| g.limits.max_payload_bytes = (1 << 36) + 1,
        "limits.max_payload_bytes: 68719476737 is out of range: 4 <= x <= 68719476736",
    );
}

#[test]
fn contributors() {
    let problems = refused(|g| {
        g.contributors.open_registration = true;
        g.limits.max_contributors = 9;
    });
    assert_eq!(
        problems,
        [
            "contributors.allowed: 10 is too large: \
             number of contributors <= limits.max_contributors = 9 must hold",
            "tasks[0].rounds.max_updates: 10 is too large: \
             max_updates <= limits.max_contributors = 9 must hold",
        ]
    );
    one(
        |g| g.tasks[0].rounds.max_updates = 11,
        "tasks[0].rounds.max_updates: 11 is too large: \
         max_updates <= number of contributors.allowed = 10 must hold",
    );
    accepted(|g| {
        g.contributors.open_registration = true;
        g.tasks[0].rounds.max_updates = 11;
    });
}

#[test]
fn round_policy() {
    one(
        |g| g.tasks.clear(),
        "tasks: 0 entries, but 1 <= n <= 256 must hold",
    );
    let problems = refused(|g| {
        g.tasks[0].rounds.min_updates = 0;
        g.tasks[0].rule = RuleSpec::Median;
    });
    assert_eq!(
        problems,
        ["tasks[0].rounds.min_updates: 0 is out of range: 1 <= x <= 1024"]
    );
    one(
        |g| g.tasks[0].rounds.max_updates = 8,
        "tasks[0].rounds.min_updates: 9 is too large: min_updates <= max_updates = 8 must hold",
    );
    one(
        |g| g.tasks[0].rounds.deadline_ms = 0,
        "tasks[0].rounds.deadline_ms: 0 is out of range: 1 <= x <= 31622400000",
    );
    one(
        |g| g.tasks[0].rounds.max_extensions = 1_001,
        "tasks[0].rounds.max_extensions: 1001 is out of range: 0 <= x <= 1000",
    );
    one(
        |g| g.tasks[0].server_lr_ppm = 0,
        "tasks[0].server_lr_ppm: 0 is out of range: 1 <= x <= 100000000",
    );
    one(
        |g| g.tasks[0].max_abs_update = 0,
        "tasks[0].max_abs_update: 0 is out of range: 1 <= x <= 9007199254740992",
    );
    one(
        |g| g.tasks.push(task(1, "other")),
        "tasks[1].id: 1 is also tasks[0].id",
    );
    one(
        |g| g.tasks.push(task(2, "digits")),
        "tasks[1].name: digits is also tasks[0].name",
    );
}

#[test]
fn rules_below_their_inequality() {
    let with = |rule: RuleSpec, n: u64| {
        move |g: &mut Genesis| {
            g.tasks[0].rule = rule;
            g.tasks[0].rounds.min_updates = n;
        }
    };
    one(
        with(RuleSpec::Krum { f: 3 }, 8),
        "tasks[0].rule.f: krum needs n >= 2f + 3: f = 3 needs n >= 9, but n = min_updates = 8",
    );
    accepted(with(RuleSpec::Krum { f: 3 }, 9));
    one(
        with(RuleSpec::MultiKrum { f: 3, m: 5 }, 8),
        "tasks[0].rule.f: multi-krum needs n >= 2f + 3: f = 3 needs n >= 9, \
         but n = min_updates = 8",
    );
    one(
        with(RuleSpec::TrimmedMean { f: 3 }, 6),
        "tasks[0].rule.f: trimmed-mean needs n >= 2f + 1: f = 3 needs n >= 7, \
         but n = min_updates = 6",
    );
    accepted(with(RuleSpec::TrimmedMean { f: 3 }, 7));
    one(
        with(RuleSpec::TrimmedMean { f: u64::MAX }, 10),
        "tasks[0].rule.f: trimmed-mean needs n >= 2f + 1: f = 18446744073709551615 needs \
         n >= 18446744073709551615, but n = min_updates = 10",
    );
    for m in [0, 7] {
        let message = format!(
            "tasks[0].rule.m: multi-krum needs 1 <= m <= n - f: m = {m}, n = min_updates = 9, f = 3"
        );
        one(with(RuleSpec::MultiKrum { f: 3, m }, 9), &message);
    }
    accepted(with(RuleSpec::MultiKrum { f: 3, m: 1 }, 9));
    one(
        with(RuleSpec::Fedavg { weight_cap: 0 }, 1),
        "tasks[0].rule.weight_cap: 0 is out of range: 1 <= x <= 1099511627776",
    );
    one(
        with(RuleSpec::Bulyan { f: 2 }, 9),
        "tasks[0].rule.f: bulyan needs n >= 4f + 3: f = 2 needs n >= 11, but n = min_updates = 9",
    );
    one(
        with(RuleSpec::NormClippedMean { radius_ppm: 0 }, 9),
        "tasks[0].rule.radius_ppm: 0 is out of range: 1 <= x <= 9007199254740992",
    );
    let steps = |steps| RuleSpec::CenteredClipping {
        radius_ppm: 1,
        steps,
    };
    one(
        with(steps(65), 9),
        "tasks[0].rule.steps: 65 is out of range: 1 <= x <= 64",
    );
    accepted(with(steps(64), 9));
}

#[test]
fn pipelines_below_their_inequality() {
    let with = |pre: Vec<PreSpec>, rule: RuleSpec, n: u64| {
        move |g: &mut Genesis| {
            g.tasks[0].rule = RuleSpec::pipeline(pre, rule);
            g.tasks[0].rounds.min_updates = n;
        }
    };
    let nnm = |f| vec![PreSpec::Clip { radius_ppm: 1 }, PreSpec::Nnm { f }];
    one(
        with(nnm(4), RuleSpec::TrimmedMean { f: 3 }, 8),
        "tasks[0].rule.pre[1].f: nnm needs n >= 2f + 1: f = 4 needs n >= 9, \
         but n = min_updates = 8",
    );
    accepted(with(nnm(4), RuleSpec::TrimmedMean { f: 3 }, 9));
    let buckets = |s| vec![PreSpec::Bucketing { s }];
    one(
        with(buckets(2), RuleSpec::Krum { f: 1 }, 8),
        "tasks[0].rule.f: krum needs n >= 2f + 3: f = 1 needs n >= 5, but n = 4 buckets are left \
         of min_updates = 8",
    );
    accepted(with(buckets(2), RuleSpec::Krum { f: 1 }, 9));
    one(
        with(buckets(0), RuleSpec::Median, 9),
        "tasks[0].rule.pre[0].s: 0 is out of range: 1 <= x <= 9",
    );
    one(
        with(vec![PreSpec::Clip { radius_ppm: 0 }], RuleSpec::Median, 9),
        "tasks[0].rule.pre[0].radius_ppm: 0 is out of range: 1 <= x <= 9007199254740992",
    );
    one(
        with(vec![PreSpec::Arc { f: 0 }; 9], RuleSpec::Median, 9),
        "tasks[0].rule.pre: 9 entries, but 0 <= n <= 8 must hold",
    );
}

#[test]
fn rules_whose_work_grows_too_fast_are_bounded() {
    let with = |pre: Vec<PreSpec>, rule: RuleSpec, n: u64| {
        move |g: &mut Genesis| {
            g.contributors.allowed.clear();
            g.contributors.open_registration = true;
            g.limits.max_contributors = 1_000;
            g.tasks[0].rule = RuleSpec::pipeline(pre, rule);
            g.tasks[0].rounds.max_updates = n;
        }
    };
    one(
        with(vec![], RuleSpec::Caf { f: 3 }, 129),
        "tasks[0].rule: caf needs n <= 128: at most n = 128, but max_updates = 129 gives n = 129",
    );
    accepted(with(vec![], RuleSpec::Caf { f: 3 }, 128));
    accepted(with(
        vec![PreSpec::Bucketing { s: 2 }],
        RuleSpec::Caf { f: 2 },
        256,
    ));
    one(
        with(vec![], RuleSpec::Smea { f: 3 }, 51),
        "tasks[0].rule: smea needs n <= 64 and (n choose f) <= 20000: at most n = 50, \
         but max_updates = 51 gives n = 51",
    );
    one(
        with(vec![], RuleSpec::Mda { f: 4 }, 73),
        "tasks[0].rule: mda needs n <= 128 and (n choose f) <= 1000000: at most n = 71, \
         but max_updates = 73 gives n = 73",
    );
}

#[test]
fn manifests() {
    let with = |tensors: Vec<Tensor>| move |g: &mut Genesis| g.tasks[0].tensors = tensors;
    one(
        with(vec![]),
        "tasks[0].tensors: 0 entries, but 1 <= n <= 65536 must hold",
    );
    one(
        with(vec![Tensor::f32("w", &[4, 0])]),
        "tasks[0].tensors[0].shape[1]: 0 is out of range: 1 <= x <= 9223372036854775807",
    );
    one(
        with(vec![Tensor::f32("w", &[1 << 32, 1 << 32])]),
        "tasks[0].tensors[0].shape: the model is too large: \
         its product of dimensions in bytes overflows 64 bits",
    );
    one(
        with(vec![
            Tensor::f32("v", &[1 << 61]),
            Tensor::f32("w", &[1 << 61]),
        ]),
        "tasks[0].tensors: the model is too large: its sum of tensors in bytes overflows 64 bits",
    );
    one(
        with(vec![
            Tensor::f32("w", &[1 << 28]),
            Tensor::f32("scalar", &[]),
        ]),
        "tasks[0].tensors: an update has 4d = 1073741828 bytes for d = 268435457 coordinates, \
         but 4d <= limits.max_payload_bytes = 1073741824 must hold",
    );
    accepted(with(vec![Tensor::f32("w", &[1 << 28])]));
    one(
        with(vec![Tensor::f32("w", &[2]), Tensor::f32("w", &[3])]),
        "tasks[0].tensors[1].name: w is also tasks[0].tensors[0].name",
    );
    for name in ["", "a\u{7}", &"n".repeat(129)] {
        let problems = refused(with(vec![Tensor::f32(name, &[2])]));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].ends_with("not allowed: 1 to 128 bytes without control characters"));
        assert!(problems[0].chars().count() < 200);
    }
    one(
        with(vec![Tensor::f32("w", &[1; 17])]),
        "tasks[0].tensors[0].shape: 17 entries, but 0 <= n <= 16 must hold",
    );
}

#[test]
fn all_problems_are_reported_together_and_the_list_is_bounded() {
    let problems = refused(|g| {
        g.chain_id.clear();
        g.consensus.timeout_propose_ms = 0;
        g.tasks[0].server_lr_ppm = 0;
    });
    assert_eq!(problems.len(), 3);

    let mut document = genesis();
    document.contributors.allowed = vec![document.contributors.allowed[0].clone(); 1000];
    let error = document
        .validate()
        .expect_err("999 keys and names are there twice");
    let problems = error.problems().expect("with problems");
    assert_eq!(problems.count(), 2 * 999);
    assert_eq!(problems.listed().len(), MAX_PROBLEMS);
    assert!(
        error
            .to_string()
            .ends_with(&format!("and {} more", 2 * 999 - MAX_PROBLEMS))
    );
}

/// The base document with a private task: trimmed mean with f = 1 over three groups of three of ten.
fn private(bend: impl FnOnce(&mut Genesis)) -> impl FnOnce(&mut Genesis) {
    |g| {
        g.tasks[0].rule = RuleSpec::TrimmedMean { f: 1 };
        g.tasks[0].privacy = Some(Privacy::grouped_sum(1_000_000));
        bend(g);
    }
}

fn terms(g: &mut Genesis) -> &mut Privacy {
    g.tasks[0].privacy.as_mut().expect("private")
}

#[test]
fn private_tasks() {
    accepted(private(|_| {}));
    one(
        private(|g| terms(g).min_cohort = 4),
        "tasks[0].privacy.min_cohort: 4 is too large: min_cohort <= group_size = 3 must hold",
    );
    one(
        private(|g| terms(g).min_cohort = 1),
        "tasks[0].privacy.min_cohort: 1 is out of range: 2 <= x <= 64",
    );
    one(
        private(|g| terms(g).value_bits = 17),
        "tasks[0].privacy.value_bits: 17 is out of range: 4 <= x <= 16",
    );
    one(
        private(|g| g.tasks[0].rule = RuleSpec::TrimmedMean { f: 2 }),
        "tasks[0].privacy.group_size: trimmed-mean needs n >= 2f + 1 with f = 2 group means: n >= 5 \
         must hold (one bad contributor spoils at most one group), but 10 contributors in groups of 3 \
         make n = 3",
    );
    one(
        private(|g| {
            g.byzantine_validators = None;
            g.validators[2].power = VotingPower(2);
        }),
        "tasks[0].privacy.mode: a private task needs validators of equal power, because shares are \
         counted by head: 1 and 2 differ",
    );
    one(
        private(|g| {
            g.byzantine_validators = None;
            g.validators.truncate(3);
        }),
        "tasks[0].privacy.mode: a private task needs n >= 3t + 1 validators with t >= 1, so that none \
         of them alone can open a key: n >= 4 must hold, but n = 3",
    );
    one(
        private(|g| g.limits.max_tx_bytes = 20_000),
        "tasks[0].privacy.mode: a private task needs transactions that hold the proof of a bad share: \
         24576 + 64n = 24832 <= limits.max_tx_bytes = 20000 must hold",
    );
    one(
        private(|g| g.tasks[0].rounds.max_updates = 9),
        "tasks[0].rounds.max_updates: a private task needs a turn for every member of every group: \
         max_updates = 9 must equal the number of contributors.allowed = 10",
    );
    one(
        private(|g| g.contributors.open_registration = true),
        "tasks[0].privacy.group_size: a private task needs contributors.open_registration = false: \
         whoever may register many keys can fill the rest of a group with them and read its last member",
    );
    // The update in the clear fits; the shares make it larger than that.
    one(
        private(|g| g.limits.max_payload_bytes = 40_000),
        "tasks[0].privacy.value_bits: a private task needs payloads for a share of each of 4 validators \
         and d = 650 coordinates: 45538 <= limits.max_payload_bytes = 40000 must hold",
    );
}

#[test]
fn terms_of_privacy_are_part_of_a_tasks_identity() {
    let mut document = genesis();
    let plain = document.canonical_bytes();
    private(|_| {})(&mut document);
    let hash = document.hash();
    let read = Genesis::from_canonical_bytes(&document.canonical_bytes()).unwrap();
    assert_eq!(read, document);
    let toml = document.to_toml().unwrap();
    assert!(toml.contains("mode = \"grouped-sum\""), "{toml}");
    assert_eq!(Genesis::from_toml(&toml).unwrap(), document);
    terms(&mut document).clip_ppm = 2;
    assert_ne!(document.hash(), hash);
    document.tasks[0] = genesis().tasks[0].clone();
    assert_eq!(document.canonical_bytes(), plain);
}
