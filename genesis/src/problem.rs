//! What can be wrong with a document that parses. Validation reports everything it finds, so that a
//! person repairs a document in one go.

use std::fmt;

/// Problems that are kept; more are only counted, so that a hostile document makes no long list.
pub const MAX_PROBLEMS: usize = 64;

/// Longest piece of the document that a message repeats, in characters.
const MAX_EXCERPT_CHARS: usize = 64;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field as in TOML, with indices from 0: `tasks[0].rounds.min_updates`.
    pub field: String,
    /// What is wrong with it.
    pub kind: ProblemKind,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.kind)
    }
}

/// What is wrong with a field: its value and the limit or inequality that it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// A format that this release does not read.
    #[error("version {got} is not supported, only {supported}")]
    Version {
        /// As written.
        got: u32,
        /// The one that is.
        supported: u32,
    },
    /// A text outside its alphabet or length.
    #[error("{got:?} is not allowed: {rule}")]
    Text {
        /// The beginning of the text.
        got: String,
        /// What is allowed.
        rule: &'static str,
    },
    /// A number out of its range.
    #[error("{got} is out of range: {min} <= x <= {max}")]
    Range {
        /// As written.
        got: u64,
        /// Smallest allowed.
        min: u64,
        /// Largest allowed.
        max: u64,
    },
    /// Too few or too many entries.
    #[error("{got} entries, but {min} <= n <= {max} must hold")]
    Count {
        /// Entries in the document.
        got: usize,
        /// Fewest allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// Something that must be unique is there twice.
    #[error("{value} is also {first}")]
    Duplicate {
        /// What it is.
        value: String,
        /// Path of its first use.
        first: String,
    },
    /// A number above what another field allows.
    #[error("{got} is too large: {name} <= {bound_name} = {bound} must hold")]
    AtMost {
        /// As written.
        got: u64,
        /// The field's own name.
        name: &'static str,
        /// The other field.
        bound_name: &'static str,
        /// Its value.
        bound: u64,
    },
    /// The powers do not add up in the range that the ledger counts in.
    #[error("the total voting power {total} is too large: at most {max}")]
    PowerOverflow {
        /// The sum.
        total: u128,
        /// Largest allowed.
        max: u64,
    },
    /// Too few validators for the Byzantine ones among them.
    #[error("n >= 3f + 1 must hold: f = {f} needs n >= {needed}, but there are n = {n} validators")]
    TooFewValidators {
        /// Validators.
        n: u64,
        /// Byzantine validators to withstand.
        f: u64,
        /// `3f + 1`.
        needed: u128,
    },
    /// So few validators hold so much power that the Byzantine ones could have a third of it.
    #[error(
        "the f = {f} most powerful validators must hold less than a third of the power: \
         3 * {power} < {total} does not hold"
    )]
    ByzantinePower {
        /// Byzantine validators to withstand.
        f: u64,
        /// Power of the `f` most powerful.
        power: u128,
        /// Power of all.
        total: u128,
    },
    /// Too few updates for what the rule shall withstand.
    #[error(
        "{rule} needs n >= {inequality}: f = {f} needs n >= {needed}, but n = min_updates = {n}"
    )]
    TooFewUpdates {
        /// The rule.
        rule: &'static str,
        /// Right side of the inequality, in `f`.
        inequality: &'static str,
        /// Byzantine contributors to withstand.
        f: u64,
        /// Fewest updates for it.
        needed: u64,
        /// Updates that a round may close with.
        n: u64,
    },
    /// Too few buckets for what the rule behind them shall withstand.
    #[error(
        "{rule} needs n >= {inequality}: f = {f} needs n >= {needed}, but n = {rows} buckets are \
         left of min_updates = {n}"
    )]
    TooFewBuckets {
        /// The rule.
        rule: &'static str,
        /// Right side of the inequality, in `f`.
        inequality: &'static str,
        /// Byzantine contributors to withstand.
        f: u64,
        /// Fewest buckets for it.
        needed: u64,
        /// Buckets that a round may close with.
        rows: u64,
        /// Updates that a round may close with.
        n: u64,
    },
    /// More updates than the rule's work allows.
    #[error(
        "{rule} needs {inequality}: at most n = {most}, but max_updates = {updates} gives n = {rows}"
    )]
    TooManyRows {
        /// The rule.
        rule: &'static str,
        /// What must hold.
        inequality: &'static str,
        /// Largest n for which it holds.
        most: u64,
        /// Updates, or buckets, that may reach the rule.
        rows: u64,
        /// Updates that close a round at once.
        updates: u64,
    },
    /// Multi-Krum would average more updates than are sure to be honest, or none.
    #[error("multi-krum needs 1 <= m <= n - f: m = {m}, n = min_updates = {n}, f = {f}")]
    Selection {
        /// Updates averaged.
        m: u64,
        /// Updates that a round may close with.
        n: u64,
        /// Byzantine contributors to withstand.
        f: u64,
    },
    /// Too few groups of a private round for what the rule shall withstand.
    #[error(
        "{rule} needs {inequality} group means: n >= {needed} must hold (one bad contributor spoils \
         at most one group), but {contributors} contributors in groups of {group_size} make n = {n}"
    )]
    TooFewGroups {
        /// The rule.
        rule: &'static str,
        /// The inequality, in the rule's parameters.
        inequality: String,
        /// Fewest groups for it.
        needed: u64,
        /// Contributors in the document.
        contributors: u64,
        /// Size of a group.
        group_size: u64,
        /// Groups.
        n: u64,
    },
    /// Something that a private task needs of the rest of the document.
    #[error("a private task needs {0}")]
    Private(String),
    /// Something that noise needs of the rest of the task.
    #[error("noise needs {0}")]
    Noise(String),
    /// Transactions are too small to finalise anything.
    #[error(
        "{got} bytes do not hold a certificate of all n = {validators} validators: \
         96n + 512 = {needed} <= max_tx_bytes must hold"
    )]
    CertificateTooLarge {
        /// Bytes of a transaction.
        got: u64,
        /// Validators.
        validators: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// A tensor, or a model, has too many elements to count.
    #[error("the model is too large: its {0} in bytes overflows 64 bits")]
    SizeOverflow(&'static str),
    /// A model whose updates nobody may send.
    #[error(
        "an update has 4d = {bytes} bytes for d = {coordinates} coordinates, but \
         4d <= limits.max_payload_bytes = {limit} must hold"
    )]
    ModelTooLarge {
        /// Elements of all tensors.
        coordinates: u64,
        /// Bytes of an update.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Not an address that a peer could dial.
    #[error("{got:?} is not usable: {reason}; expected {expected}")]
    Address {
        /// The beginning of the address.
        got: String,
        /// What is wrong.
        reason: &'static str,
        /// The accepted forms.
        expected: &'static str,
    },
}

/// All that is wrong with a document; never empty in an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// The first [`MAX_PROBLEMS`], in the order of the document.
    #[must_use]
    pub fn listed(&self) -> &[Problem] {
        &self.listed
    }

    /// How many there are in all.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.listed.len() + self.unlisted
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(crate) fn add(&mut self, field: impl fmt::Display, kind: ProblemKind) {
        if self.listed.len() < MAX_PROBLEMS {
            self.listed.push(Problem {
                field: field.to_string(),
                kind,
            });
        } else {
            self.unlisted += 1;
        }
    }

    pub(crate) fn check_range(
        &mut self,
        field: impl fmt::Display,
        got: u64,
        range: &std::ops::RangeInclusive<u64>,
    ) {
        if !range.contains(&got) {
            let (min, max) = (*range.start(), *range.end());
            self.add(field, ProblemKind::Range { got, min, max });
        }
    }

    pub(crate) fn check_count(
        &mut self,
        field: impl fmt::Display,
        got: usize,
        range: &std::ops::RangeInclusive<usize>,
    ) {
        if !range.contains(&got) {
            let (min, max) = (*range.start(), *range.end());
            self.add(field, ProblemKind::Count { got, min, max });
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match self.unlisted {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// The beginning of a text from the document, short enough for a message.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_EXCERPT_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
