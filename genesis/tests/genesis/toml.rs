//! What the reader refuses before a document is looked at, and where it says that the fault is.

use std::path::Path;

use crate::support::genesis;
use cifer_genesis::{Genesis, GenesisError, bounds::MAX_DOCUMENT_BYTES};

fn text() -> String {
    genesis().to_toml().expect("a valid document has a text")
}

/// Line, column and message of the refusal.
fn refused(text: &str) -> (usize, usize, String) {
    match Genesis::from_toml(text) {
        Err(GenesisError::Toml {
            line,
            column,
            message,
        }) => (line, column, message),
        other => panic!("expected a TOML error, got {other:?}"),
    }
}

#[track_caller]
fn swapped(from: &str, to: &str) -> String {
    let text = text();
    assert!(text.contains(from), "{from:?} is not in\n{text}");
    text.replacen(from, to, 1)
}

#[test]
fn errors_have_line_and_column() {
    let (line, column, _) = refused("version = 1\nchain_id = = 2\n");
    assert_eq!((line, column), (2, 12));
    let (line, column, message) = refused("version = 1\n# é\nchain_id = 7\n");
    assert_eq!((line, column), (3, 12));
    assert!(message.contains("expected a string"), "{message}");
}

#[test]
fn unknown_fields_are_refused_everywhere() {
    for (place, field) in [
        ("version = 1", "colour"),
        ("[consensus]", "timeout_ms"),
        ("[limits]", "max_peers"),
        ("[contributors]", "closed"),
        ("[[contributors.allowed]]", "power"),
        ("[[validators]]", "stake"),
        ("[[tasks]]", "optimizer"),
        ("[tasks.rounds]", "min"),
        ("[[tasks.tensors]]", "layout"),
    ] {
        let text = swapped(&format!("{place}\n"), &format!("{place}\n{field} = 1\n"));
        let (line, _, message) = refused(&text);
        assert!(
            message.contains(&format!("unknown field `{field}`")),
            "{place}: {message}"
        );
        let expected = text.lines().position(|line| line == format!("{field} = 1"));
        assert_eq!(Some(line - 1), expected, "{place}");
    }
}

#[test]
fn rules_take_exactly_their_parameters() {
    let rule = "[tasks.rule]\nname = \"multi-krum\"\nf = 3\nm = 6\n";
    for (replacement, expected) in [
        (
            "name = \"multi-krum\"\nf = 3\nm = 6\nk = 1\n",
            "unknown field `k`",
        ),
        (
            "name = \"multi-krum\"\nf = 3\n",
            "rule multi-krum needs the parameter `m`",
        ),
        ("name = \"krum\"\n", "rule krum needs the parameter `f`"),
        (
            "name = \"krum\"\nf = 3\nm = 1\n",
            "rule krum has no parameter `m`",
        ),
        (
            "name = \"median\"\nf = 3\n",
            "rule median has no parameter `f`",
        ),
        (
            "name = \"median\"\nweight_cap = 3\n",
            "rule median has no parameter `weight_cap`",
        ),
        (
            "name = \"fedavg\"\n",
            "rule fedavg needs the parameter `weight_cap`",
        ),
        (
            "name = \"majority\"\nf = 1\n",
            "unknown rule \"majority\"; known are fedavg, median",
        ),
        (
            "name = \"monna\"\nf = 1\npivot = 0\n",
            "unknown field `pivot`",
        ),
        (
            "name = \"monna\"\nf = 1\n",
            "rule monna needs a contributor whom everybody trusts",
        ),
        (
            "name = \"median\"\npre = [{ name = \"median\" }]\n",
            "unknown pre-aggregator \"median\"; known are clip, arc",
        ),
        (
            "name = \"median\"\npre = [{ name = \"clip\" }]\n",
            "rule clip needs the parameter `radius_ppm`",
        ),
        (
            "name = \"median\"\npre = [{ name = \"nnm\", f = 1, s = 2 }]\n",
            "rule nnm has no parameter `s`",
        ),
        (
            "name = \"median\"\npre = [{ name = \"nnm\", f = 1, pre = [] }]\n",
            "unknown field `pre`",
        ),
        ("name = \"krum\"\nf = -1\n", "invalid value: integer `-1`"),
        ("f = 1\n", "missing field `name`"),
    ] {
        let (_, _, message) = refused(&swapped(rule, &format!("[tasks.rule]\n{replacement}")));
        assert!(message.contains(expected), "{replacement}: {message}");
    }
    for replacement in [
        "name = \"median\"\n",
        "name = \"fedavg\"\nweight_cap = 9\n",
        "name = \"trimmed-mean\"\nf = 3\npre = [{ name = \"clip\", radius_ppm = 2000000 }, \
         { name = \"nnm\", f = 3 }]\n",
        "name = \"geometric-median\"\nnu_ppm = 1\nsteps = 8\n",
    ] {
        Genesis::from_toml(&swapped(rule, &format!("[tasks.rule]\n{replacement}")))
            .expect("a rule with its parameters is read");
    }
}

#[test]
fn keys_are_checked_when_read() {
    let key = crate::support::key(1).to_string();
    for (bad, expected) in [
        (key[2..].to_owned(), "expected 32 bytes as 64 hex digits"),
        ("00".repeat(32), "is not a usable ed25519 public key"),
        (format!("0x{}", &key[2..]), "expected 32 bytes"),
    ] {
        let (_, _, message) = refused(&swapped(&key, &bad));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_document_that_parses_is_validated() {
    let error = Genesis::from_toml(&swapped("min_updates = 9", "min_updates = 8"));
    let message = error.expect_err("Multi-Krum lacks an update").to_string();
    assert!(
        message.contains("f = 3 needs n >= 9, but n = min_updates = 8"),
        "{message}"
    );
}

#[test]
fn length_is_checked_before_parsing() {
    let mut long = "#".repeat(MAX_DOCUMENT_BYTES + 1);
    assert!(matches!(
        Genesis::from_toml(&long),
        Err(GenesisError::TooLong { .. })
    ));
    long.pop();
    assert!(matches!(
        Genesis::from_toml(&long),
        Err(GenesisError::Toml { .. })
    ));
    let bytes = vec![0; MAX_DOCUMENT_BYTES + 1];
    assert!(matches!(
        Genesis::from_canonical_bytes(&bytes),
        Err(GenesisError::TooLong { .. })
    ));
}

#[test]
fn load_names_the_file() {
    let error = Genesis::load(Path::new("no/such/genesis.toml")).expect_err("there is no file");
    assert!(
        error
            .to_string()
            .starts_with("cannot read no/such/genesis.toml: "),
        "{error}"
    );
}
