//! Version, completions, usage errors, and readers that go away.

use std::process::Stdio;

use crate::support::Sandbox;

#[test]
fn version_says_what_the_binary_is_made_from() {
    let sandbox = Sandbox::new();
    let json = sandbox.run("version --json").json();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        json["compiler"].as_str().unwrap().starts_with("rustc "),
        "{json}"
    );
    assert!(
        json["engine"].as_str().unwrap().starts_with("malachite 0."),
        "{json}"
    );
    assert!(!json["commit"].as_str().unwrap().is_empty());
    let text = sandbox.run("version").ok();
    assert!(
        text.contains(env!("CARGO_PKG_VERSION")) && text.lines().count() == 4,
        "{text}"
    );
}

#[test]
fn completions_exist_for_the_usual_shells() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(&format!("completions {shell}")).ok();
        assert!(
            script.contains("cifer") && script.contains("testnet"),
            "{shell}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let sandbox = Sandbox::new();
    for line in [
        "",
        "fly",
        "start --wings",
        "query",
        "query tx nothash",
        "query block -1",
        "keys gen",
        "testnet generate",
        "testnet generate --output x --rule majority",
        "testnet generate --output x --free-ports --base-port 1",
        "contribute --samples 3",
        "query validators --tls-cert a",
    ] {
        let ended = sandbox.run(line);
        assert_eq!(ended.code, Some(2), "{line:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{line:?}: {ended:?}");
    }
    assert!(!sandbox.path("x").exists());
}

#[test]
fn every_command_has_help() {
    let sandbox = Sandbox::new();
    for line in [
        "",
        "init",
        "keys gen",
        "keys show",
        "genesis new",
        "genesis validate",
        "genesis hash",
        "genesis show",
        "testnet generate",
        "start",
        "contribute",
        "aggregate",
        "devnet",
        "status",
        "query block",
        "query tx",
        "query round",
        "query rounds",
        "query tasks",
        "query validators",
        "query contributor",
        "query model",
        "query proof raw",
        "verify",
        "config show",
        "completions",
        "lab",
        "version",
    ] {
        let help = sandbox.run(&format!("{line} --help")).ok();
        assert!(
            help.contains("Usage: cifer") && help.contains("--home"),
            "{line:?}: {help}"
        );
    }
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let sandbox = Sandbox::new();
    for line in [
        "config show",
        "config show --json",
        "completions bash",
        "version",
        "--help",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(line.split(' '));
        let child = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(command);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
        assert!(stderr.is_empty(), "{line}: {stderr}");
    }
}

#[test]
fn a_closed_standard_error_is_no_panic() {
    let sandbox = Sandbox::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = sandbox.command(["keys", "show", "missing.key"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
}
