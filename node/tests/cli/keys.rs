//! Key files.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Sandbox;

#[test]
fn a_new_key_is_private_and_can_be_shown() {
    let sandbox = Sandbox::new();
    let made = sandbox.run("keys gen --output a.key --json").json();
    let mode = fs::metadata(sandbox.path("a.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    let shown = sandbox.run("keys show a.key --json").json();
    assert_eq!(made["public_key"], shown["public_key"]);
    assert!(
        shown["peer_id"].as_str().unwrap().starts_with("12D3KooW"),
        "{shown}"
    );
    let text = sandbox.run("keys show a.key").ok();
    assert!(
        text.contains(shown["public_key"].as_str().unwrap()),
        "{text}"
    );
    let secret = fs::read_to_string(sandbox.path("a.key")).unwrap();
    assert!(!text.contains(secret.trim()), "the secret was shown");
}

#[test]
fn a_key_is_never_overwritten() {
    let sandbox = Sandbox::new();
    sandbox.run("keys gen --output a.key").ok();
    let before = fs::read(sandbox.path("a.key")).unwrap();
    sandbox.run("keys gen --output a.key").fails(1);
    assert_eq!(fs::read(sandbox.path("a.key")).unwrap(), before);
}

#[test]
fn a_loose_key_is_refused_with_the_command_that_repairs_it() {
    let sandbox = Sandbox::new();
    sandbox.run("keys gen --output a.key").ok();
    fs::set_permissions(sandbox.path("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = sandbox.run("keys show a.key").fails(3);
    assert!(
        error.contains("0644") && error.contains("chmod 600 a.key"),
        "{error}"
    );
    fs::set_permissions(sandbox.path("a.key"), fs::Permissions::from_mode(0o600)).unwrap();
    sandbox.run("keys show a.key").ok();
}

#[test]
fn what_is_no_key_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.run("keys show missing.key").fails(3);
    sandbox.run("keys gen --output a.key").ok();
    fs::write(sandbox.path("a.key"), "hello").unwrap();
    let error = sandbox.run("keys show a.key").fails(3);
    assert!(!error.contains("hello"), "{error}");
}
