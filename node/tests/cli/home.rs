//! `init`, the lock of a home folder, and commands that need one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use crate::support::Sandbox;

#[test]
fn init_makes_a_private_home_with_documented_settings() {
    let sandbox = Sandbox::new();
    let made = sandbox
        .run("init --home h --role validator --name alice --json")
        .json();
    let shown = sandbox.run("keys show --home h --json").json();
    assert_eq!(made["public_key"], shown["public_key"]);
    assert_eq!(made["genesis_hash"], serde_json::Value::Null);
    let mode = fs::metadata(sandbox.path("h"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o700);

    let settings = sandbox.run("config show --home h --json").json();
    assert_eq!(settings["role"]["value"], "validator");
    assert_eq!(settings["name"]["value"], "alice");
    let text = fs::read_to_string(sandbox.path("h/config.toml")).unwrap();
    for key in settings.as_object().unwrap().keys() {
        let name = key.rsplit('.').next().unwrap();
        assert!(
            text.contains(&format!("{name} = ")),
            "{key} is not in config.toml"
        );
    }
}

#[test]
fn init_never_overwrites() {
    let sandbox = Sandbox::new();
    sandbox.run("init --home h").ok();
    let read = |name| fs::read(sandbox.path("h").join(name)).unwrap();
    let before = (read("config.toml"), read("node.key"));
    sandbox.run("init --home h").fails(1);
    assert_eq!((read("config.toml"), read("node.key")), before);
    fs::remove_file(sandbox.path("h/config.toml")).unwrap();
    let error = sandbox.run("init --home h").fails(1);
    assert!(error.contains("node.key"), "{error}");
}

#[test]
fn init_installs_only_a_genesis_document_that_holds() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3")
        .ok();
    fs::write(sandbox.path("bad.toml"), "version = 1\n").unwrap();
    sandbox.run("init --home h --genesis bad.toml").fails(3);
    assert!(!sandbox.path("h").exists(), "half a home");

    fs::write(sandbox.path("other.bin"), "not the model").unwrap();
    let line = "init --home h --genesis net/genesis.toml --initial-model";
    let error = sandbox.run(&format!("{line} other.bin")).fails(3);
    assert!(
        error.contains("other.bin") && !sandbox.path("h").exists(),
        "{error}"
    );

    let made = sandbox.run(&format!("{line} net/task-0.bin --json")).json();
    let hash = sandbox.run("genesis hash --home h").ok();
    assert_eq!(made["genesis_hash"], hash.trim());
    assert_eq!(
        fs::read(sandbox.path("h/models/task-0.bin")).unwrap(),
        fs::read(sandbox.path("net/task-0.bin")).unwrap()
    );
}

#[test]
fn init_refuses_settings_that_cannot_be() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(["init", "--home", "h", "--name", "two words"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(!sandbox.path("h").exists());
}

#[test]
fn a_contributor_gets_its_own_kind_of_key() {
    let sandbox = Sandbox::new();
    sandbox.run("init --home h --role contributor").ok();
    assert!(sandbox.path("h/contributor.key").exists());
    assert!(!sandbox.path("h/node.key").exists());
}

#[test]
fn a_home_in_use_names_its_holder() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3")
        .ok();
    fs::create_dir(sandbox.path("net/validator-0/data")).unwrap();
    let mut lock = fs::File::create(sandbox.path("net/validator-0/LOCK")).unwrap();
    lock.try_lock().unwrap();
    writeln!(lock, "process 4711 (cifer start)").unwrap();
    for command in ["start", "verify"] {
        let error = sandbox
            .run(&format!("{command} --home net/validator-0"))
            .fails(1);
        assert!(error.contains("process 4711 (cifer start)"), "{error}");
    }
}

#[test]
fn commands_that_need_a_home_say_how_to_make_one() {
    let sandbox = Sandbox::new();
    for command in ["start", "verify"] {
        let error = sandbox.run(&format!("{command} --home nowhere")).fails(3);
        assert!(error.contains("cifer init --home nowhere"), "{error}");
    }
    assert!(!sandbox.path("nowhere").exists());
}

#[test]
fn verify_before_the_first_start_finds_no_ledger() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3")
        .ok();
    let error = sandbox.run("verify --home net/validator-0").fails(1);
    assert!(error.contains("no ledger"), "{error}");
    assert!(!sandbox.path("net/validator-0/data").exists());
}

#[test]
fn a_node_whose_role_and_seat_differ_does_not_start() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3")
        .ok();
    let line = "start --exit-with-stdin --home net/validator-0 --set role=observer";
    let error = sandbox.run(line).fails(3);
    assert!(error.contains("seat"), "{error}");
    fs::remove_file(sandbox.path("net/validator-0/node.key")).unwrap();
    sandbox
        .run("keys gen --output net/validator-0/node.key")
        .ok();
    sandbox
        .run("start --exit-with-stdin --home net/validator-0")
        .fails(3);
}
