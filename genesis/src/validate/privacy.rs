//! Checks of a private task's terms against the rest of the document.

use crate::{
    bounds,
    document::{Genesis, RuleSpec, Task},
    privacy::Privacy,
    problem::{ProblemKind, Problems},
};

use super::check_at_most;

pub(super) fn check(genesis: &Genesis, task: &Task, path: &str, problems: &mut Problems) {
    let Some(terms) = &task.privacy else {
        return;
    };
    let at = |field: &str| format!("{path}.privacy.{field}");
    let clip = 1..=task.max_abs_update.saturating_mul(1_000_000);
    for (field, value, range) in [
        ("group_size", terms.group_size, &bounds::GROUP_SIZE),
        ("min_cohort", terms.min_cohort, &bounds::GROUP_SIZE),
        ("value_bits", terms.value_bits, &bounds::VALUE_BITS),
        ("clip_ppm", terms.clip_ppm, &clip),
        ("key_wait_ms", terms.key_wait_ms, &bounds::PRIVATE_WAIT_MS),
        ("sum_wait_ms", terms.sum_wait_ms, &bounds::PRIVATE_WAIT_MS),
    ] {
        problems.check_range(at(field), value, range);
    }
    check_at_most(
        at("min_cohort"),
        ("min_cohort", terms.min_cohort),
        ("group_size", terms.group_size),
        problems,
    );
    let needs = |what: String| ProblemKind::Private(what);
    for kind in check_validators(genesis).into_iter().map(needs) {
        problems.add(at("mode"), kind);
    }
    check_contributors(genesis, task, terms, path, problems);
    check_payload(genesis, task, terms, path, problems);
}

fn check_payload(
    genesis: &Genesis,
    task: &Task,
    terms: &Privacy,
    path: &str,
    problems: &mut Problems,
) {
    let (n, d) = (genesis.validators.len() as u64, task.coordinates());
    let contributors = genesis.contributors.allowed.len() as u64;
    let (bytes, limit) = (
        terms.payload_bytes(n, contributors, d),
        genesis.limits.max_payload_bytes,
    );
    if bytes > limit {
        let what = format!(
            "payloads for a share of each of {n} validators and d = {d} coordinates: \
             {bytes} <= limits.max_payload_bytes = {limit} must hold"
        );
        problems.add(
            format!("{path}.privacy.value_bits"),
            ProblemKind::Private(what),
        );
    }
}

/// Shares are dealt by head, one a validator.
fn check_validators(genesis: &Genesis) -> Vec<String> {
    let n = genesis.validators.len() as u64;
    let mut problems = Vec::new();
    if n < bounds::MIN_PRIVATE_VALIDATORS {
        problems.push(format!(
            "n >= 3t + 1 validators with t >= 1, so that none of them alone can open a key: \
             n >= {} must hold, but n = {n}",
            bounds::MIN_PRIVATE_VALIDATORS
        ));
    }
    if n > bounds::MAX_PRIVATE_VALIDATORS {
        problems.push(format!(
            "at most {} validators, because every update carries a share for each: n = {n}",
            bounds::MAX_PRIVATE_VALIDATORS
        ));
    }
    let mut powers = genesis.validators.iter().map(|v| v.power.0);
    let first = powers.next();
    if let Some((first, other)) = first.and_then(|f| powers.find(|p| *p != f).map(|o| (f, o))) {
        problems.push(format!(
            "validators of equal power, because shares are counted by head: {first} and {other} differ"
        ));
    }
    let (bytes, limit) = (
        bounds::PRIVATE_TX_BYTES.saturating_add(bounds::PRIVATE_TX_BYTES_PER_VALIDATOR * n),
        genesis.limits.max_tx_bytes,
    );
    if bytes > limit {
        problems.push(format!(
            "transactions that hold the proof of a bad share: 24576 + 64n = {bytes} <= \
             limits.max_tx_bytes = {limit} must hold"
        ));
    }
    problems
}

fn check_contributors(
    genesis: &Genesis,
    task: &Task,
    terms: &Privacy,
    path: &str,
    problems: &mut Problems,
) {
    let field = format!("{path}.privacy.group_size");
    if genesis.contributors.open_registration {
        let what =
            "contributors.open_registration = false: whoever may register many keys can fill \
                    the rest of a group with them and read its last member"
                .to_owned();
        problems.add(field, ProblemKind::Private(what));
        return;
    }
    let contributors = genesis.contributors.allowed.len() as u64;
    if task.rounds.max_updates != contributors {
        let what = format!(
            "a turn for every member of every group: max_updates = {} must equal the number of \
             contributors.allowed = {contributors}",
            task.rounds.max_updates
        );
        problems.add(
            format!("{path}.rounds.max_updates"),
            ProblemKind::Private(what),
        );
    }
    let (groups, needed) = (
        terms.groups(contributors),
        task.rule.min_updates_needed().max(1),
    );
    if groups < needed {
        let kind = ProblemKind::TooFewGroups {
            rule: task.rule.name(),
            inequality: inequality(&task.rule),
            needed,
            contributors,
            group_size: terms.group_size,
            n: groups,
        };
        problems.add(field, kind);
    }
}

/// What the rule demands of `n`, as a person would write it.
fn inequality(rule: &RuleSpec) -> String {
    match rule.tolerated() {
        None | Some(0) => format!("n >= {}", rule.min_updates_needed().max(1)),
        Some(f) => match rule {
            RuleSpec::TrimmedMean { .. } => format!("n >= 2f + 1 with f = {f}"),
            RuleSpec::Krum { .. } | RuleSpec::MultiKrum { .. } => {
                format!("n >= 2f + 3 with f = {f}")
            }
            _ => format!("n >= {} with f = {f}", rule.min_updates_needed()),
        },
    }
}
