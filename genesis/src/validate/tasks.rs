//! Checks of tasks: rule, round policy and manifest against one another and the limits.

use crate::{
    bounds,
    document::{Genesis, PreSpec, RuleSpec, Task},
    problem::{ProblemKind, Problems, excerpt},
};

use super::{Uses, check_at_most, check_name};

pub(super) fn check(genesis: &Genesis, problems: &mut Problems) {
    problems.check_count("tasks", genesis.tasks.len(), &(1..=bounds::MAX_TASKS));
    let (mut ids, mut names) = (Uses::default(), Uses::default());
    for (index, task) in genesis.tasks.iter().enumerate() {
        let mut check = TaskCheck {
            genesis,
            task,
            path: format!("tasks[{index}]"),
            problems,
        };
        ids.claim(&task.id, check.at("id"), check.problems);
        check_name(&task.name, check.at("name"), check.problems);
        names.claim(task.name.as_str(), check.at("name"), check.problems);
        check.numbers();
        check.rounds();
        check.rule();
        check.tensors();
        check.size();
        super::privacy::check(genesis, task, &check.path, check.problems);
        super::noise::check(task, &check.path, check.problems);
    }
}

/// What the f of a stage asks of the rows that reach it.
struct Minimum {
    rule: &'static str,
    inequality: &'static str,
    f: u64,
    needed: u64,
}

struct TaskCheck<'a> {
    genesis: &'a Genesis,
    task: &'a Task,
    path: String,
    problems: &'a mut Problems,
}

impl TaskCheck<'_> {
    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    fn numbers(&mut self) {
        let rounds = &self.task.rounds;
        let ranges = [
            (
                "server_lr_ppm",
                self.task.server_lr_ppm,
                bounds::SERVER_LR_PPM,
            ),
            (
                "max_abs_update",
                self.task.max_abs_update,
                bounds::MAX_ABS_UPDATE,
            ),
            (
                "rounds.deadline_ms",
                rounds.deadline_ms,
                bounds::DEADLINE_MS,
            ),
            (
                "rounds.max_extensions",
                u64::from(rounds.max_extensions),
                bounds::MAX_EXTENSIONS,
            ),
            ("rounds.max_rounds", rounds.max_rounds, bounds::MAX_ROUNDS),
        ];
        for (field, value, range) in ranges {
            self.problems.check_range(self.at(field), value, &range);
        }
    }

    fn rounds(&mut self) {
        let (min, max) = (self.task.rounds.min_updates, self.task.rounds.max_updates);
        let updates = 1..=bounds::MAX_UPDATES;
        self.problems
            .check_range(self.at("rounds.min_updates"), min, &updates);
        self.problems
            .check_range(self.at("rounds.max_updates"), max, &updates);
        check_at_most(
            self.at("rounds.min_updates"),
            ("min_updates", min),
            ("max_updates", max),
            self.problems,
        );
        // One update a contributor: a round that waits for more than there are closes by its deadline only.
        let contributors = &self.genesis.contributors;
        let bound = if contributors.open_registration {
            (
                "limits.max_contributors",
                self.genesis.limits.max_contributors,
            )
        } else {
            (
                "number of contributors.allowed",
                contributors.allowed.len() as u64,
            )
        };
        check_at_most(
            self.at("rounds.max_updates"),
            ("max_updates", max),
            bound,
            self.problems,
        );
    }

    fn rule(&mut self) {
        let task = self.task;
        let rule = &task.rule;
        let path = self.at("rule");
        let n = self.task.rounds.min_updates;
        let count = 0..=bounds::MAX_PRE_AGGREGATORS;
        self.problems
            .check_count(format!("{path}.pre"), rule.pre().len(), &count);
        let mut rows = n;
        for (index, stage) in rule.pre().iter().enumerate() {
            let at = |field: &str| format!("{path}.pre[{index}].{field}");
            match *stage {
                PreSpec::Clip { radius_ppm } => {
                    self.problems
                        .check_range(at("radius_ppm"), radius_ppm, &bounds::RADIUS_PPM);
                }
                PreSpec::Arc { f } | PreSpec::Nnm { f } => {
                    let needed = f.saturating_mul(2).saturating_add(1);
                    let minimum = Minimum {
                        rule: stage.name(),
                        inequality: "2f + 1",
                        f,
                        needed,
                    };
                    self.minimum(at("f"), minimum, rows);
                }
                PreSpec::Bucketing { s } => {
                    self.problems.check_range(at("s"), s, &(1..=rows.max(1)));
                }
            }
            rows = stage.rows(rows);
        }
        self.last_rule(rule.last(), &path, rows);
        if let Some((inequality, most)) = rule.most_rows() {
            let updates = self.task.rounds.max_updates;
            let rows = rule.pre().iter().fold(updates, |n, stage| stage.rows(n));
            if rows > most {
                let kind = ProblemKind::TooManyRows {
                    rule: rule.name(),
                    inequality,
                    most,
                    rows,
                    updates,
                };
                self.problems.add(path, kind);
            }
        }
    }

    /// The rule behind the pre-aggregators, which gets `rows`.
    fn last_rule(&mut self, rule: &RuleSpec, path: &str, rows: u64) {
        let at = |field: &str| format!("{path}.{field}");
        let (inequality, needed) = rule.minimum_for_f();
        if let Some(f) = rule.tolerated().filter(|_| needed > 1) {
            let minimum = Minimum {
                rule: rule.name(),
                inequality,
                f,
                needed,
            };
            self.minimum(at("f"), minimum, rows);
        }
        match *rule {
            RuleSpec::Fedavg { weight_cap } => {
                self.problems
                    .check_range(at("weight_cap"), weight_cap, &bounds::WEIGHT_CAP);
            }
            RuleSpec::MultiKrum { f, m } if m == 0 || m > rows.saturating_sub(f) => {
                let kind = ProblemKind::Selection { m, n: rows, f };
                self.problems.add(at("m"), kind);
            }
            RuleSpec::GeometricMedian { nu_ppm, steps } => {
                self.problems
                    .check_range(at("nu_ppm"), nu_ppm, &bounds::RADIUS_PPM);
                self.problems
                    .check_range(at("steps"), steps, &bounds::RULE_STEPS);
            }
            RuleSpec::CenteredClipping { radius_ppm, steps } => {
                self.problems
                    .check_range(at("radius_ppm"), radius_ppm, &bounds::RADIUS_PPM);
                self.problems
                    .check_range(at("steps"), steps, &bounds::RULE_STEPS);
            }
            RuleSpec::NormClippedMean { radius_ppm } => {
                self.problems
                    .check_range(at("radius_ppm"), radius_ppm, &bounds::RADIUS_PPM);
            }
            _ => {}
        }
    }

    fn minimum(&mut self, path: String, minimum: Minimum, rows: u64) {
        let Minimum {
            rule,
            inequality,
            f,
            needed,
        } = minimum;
        let n = self.task.rounds.min_updates;
        if rows >= needed {
            return;
        }
        let kind = match rows == n {
            true => ProblemKind::TooFewUpdates {
                rule,
                inequality,
                f,
                needed,
                n,
            },
            false => ProblemKind::TooFewBuckets {
                rule,
                inequality,
                f,
                needed,
                rows,
                n,
            },
        };
        self.problems.add(path, kind);
    }

    fn tensors(&mut self) {
        let tensors = &self.task.tensors;
        let count = 1..=bounds::MAX_TENSORS;
        self.problems
            .check_count(self.at("tensors"), tensors.len(), &count);
        let mut names = Uses::default();
        for (index, tensor) in tensors.iter().enumerate() {
            let at = |field: &str| format!("{}.tensors[{index}].{field}", self.path);
            let length = tensor.name.len();
            if length == 0
                || length > bounds::MAX_TENSOR_NAME_BYTES
                || tensor.name.chars().any(char::is_control)
            {
                let rule = "1 to 128 bytes without control characters";
                let kind = ProblemKind::Text {
                    got: excerpt(&tensor.name),
                    rule,
                };
                self.problems.add(at("name"), kind);
            }
            names.claim(tensor.name.as_str(), at("name"), self.problems);
            let rank = tensor.shape.len();
            self.problems
                .check_count(at("shape"), rank, &(0..=bounds::MAX_RANK));
            for (place, dimension) in tensor.shape.iter().take(bounds::MAX_RANK).enumerate() {
                let field = at(&format!("shape[{place}]"));
                self.problems
                    .check_range(field, *dimension, &(1..=i64::MAX as u64));
            }
            if tensor.size_bytes().is_none() {
                self.problems.add(
                    at("shape"),
                    ProblemKind::SizeOverflow("product of dimensions"),
                );
            }
        }
    }

    fn size(&mut self) {
        let Some(bytes) = self.task.checked_payload_bytes() else {
            // A tensor that overflows by itself has been reported.
            if self
                .task
                .tensors
                .iter()
                .all(|tensor| tensor.size_bytes().is_some())
            {
                let kind = ProblemKind::SizeOverflow("sum of tensors");
                self.problems.add(self.at("tensors"), kind);
            }
            return;
        };
        let limit = self.genesis.limits.max_payload_bytes;
        if bytes > limit {
            let coordinates = self.task.coordinates();
            let kind = ProblemKind::ModelTooLarge {
                coordinates,
                bytes,
                limit,
            };
            self.problems.add(self.at("tensors"), kind);
        }
    }
}
