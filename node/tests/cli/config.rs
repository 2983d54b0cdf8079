//! Where settings come from, and which are refused.

use std::fs;

use serde_json::Value;

use crate::support::Sandbox;

fn setting(json: &Value, key: &str) -> (Value, String) {
    let entry = &json[key];
    let source = entry["source"]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {json}"));
    (entry["value"].clone(), source.to_owned())
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("h")).unwrap();
    fs::write(
        sandbox.path("h/config.toml"),
        "name = \"from-file\"\n\n[grpc]\nlisten = \"127.0.0.1:1001\"\nmax_connections = 11\n\n[data]\nkeep_rounds = 3\n",
    )
    .unwrap();
    let environment = [
        ("CIFER_GRPC__LISTEN", "127.0.0.1:1002"),
        ("CIFER_DATA__KEEP_ROUNDS", "5"),
    ];
    let show = "config show --json --home h --set grpc.listen=127.0.0.1:1003";
    let json = sandbox.run_with(show, &environment).json();

    let (value, source) = setting(&json, "grpc.listen");
    assert_eq!(
        (value.as_str(), source.as_str()),
        (Some("127.0.0.1:1003"), "command line")
    );
    let (value, source) = setting(&json, "data.keep_rounds");
    assert_eq!(value, 5);
    assert_eq!(source, "environment variable CIFER_DATA__KEEP_ROUNDS");
    let (value, source) = setting(&json, "grpc.max_connections");
    assert_eq!(value, 11);
    assert!(source.ends_with("config.toml:5"), "{source}");
    let (value, source) = setting(&json, "name");
    assert_eq!(value, "from-file");
    assert!(source.ends_with("config.toml:1"), "{source}");
    let (value, source) = setting(&json, "data.keep_models");
    assert_eq!((value, source.as_str()), (Value::from(8), "default"));
    assert_eq!(setting(&json, "grpc.tls_cert").0, Value::Null);
}

#[test]
fn the_text_has_every_setting_with_its_source() {
    let sandbox = Sandbox::new();
    let text = sandbox.run("config show --log-level debug").ok();
    let line = text
        .lines()
        .find(|line| line.starts_with("log.level = "))
        .unwrap();
    assert!(
        line.contains("\"debug\"") && line.ends_with("# command line"),
        "{line}"
    );
    assert!(
        text.lines()
            .all(|line| line.contains(" = ") && line.contains("# ")),
        "{text}"
    );
    let count = sandbox
        .run("config show --json")
        .json()
        .as_object()
        .unwrap()
        .len();
    assert_eq!(text.lines().count(), count);
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("h")).unwrap();
    let config = sandbox.path("h/config.toml");

    fs::write(&config, "# one\n[grpc]\nlissten = \"127.0.0.1:1\"\n").unwrap();
    let error = sandbox.run("config show --home h").fails(3);
    assert!(
        error.contains("config.toml:3") && error.contains("\"grpc.listen\""),
        "{error}"
    );
    fs::write(&config, "[grcp]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    let error = sandbox.run("start --home h").fails(3);
    assert!(error.contains("\"grpc.listen\""), "{error}");
    fs::write(&config, "").unwrap();

    let error = sandbox
        .run_with("config show", &[("CIFER_GRPC__LISTENN", "x")])
        .fails(3);
    assert!(error.contains("CIFER_GRPC__LISTEN\""), "{error}");
    let error = sandbox
        .run_with("config show", &[("CIFER_HOMME", "x")])
        .fails(3);
    assert!(error.contains("CIFER_HOME\""), "{error}");
    let error = sandbox.run("config show --set log.levle=info").fails(3);
    assert!(error.contains("\"log.level\""), "{error}");
    let error = sandbox.run("config show --set nonsense").fails(3);
    assert!(error.contains("KEY=VALUE"), "{error}");
}

#[test]
fn the_home_variable_is_known_and_other_variables_are_not_ours() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("h")).unwrap();
    fs::write(sandbox.path("h/config.toml"), "name = \"alice\"\n").unwrap();
    let environment = [("CIFER_HOME", "h"), ("CIFERX", "1"), ("GRPC__LISTEN", "x")];
    let json = sandbox.run_with("config show --json", &environment).json();
    assert_eq!(setting(&json, "name").0, "alice");
}

#[test]
fn a_damaged_file_is_refused_with_its_line() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("h")).unwrap();
    let config = sandbox.path("h/config.toml");
    for (text, line) in [
        ("name = \"a\"\nrole = validator\n", 2),
        ("[grpc\n", 1),
        ("[grpc]\nlisten = \"a\"\nlisten = \"b\"\n", 3),
        ("\n\n\u{1}\n", 3),
    ] {
        fs::write(&config, text).unwrap();
        let error = sandbox.run("config show --home h").fails(3);
        assert!(
            error.contains(&format!("config.toml:{line}: ")),
            "{text:?}: {error}"
        );
    }
    fs::write(&config, b"\xff\xfe").unwrap();
    sandbox.run("config show --home h").fails(3);
    fs::write(&config, "#".repeat((1 << 20) + 1)).unwrap();
    let error = sandbox.run("config show --home h").fails(3);
    assert!(error.contains("1048576"), "{error}");
}

#[test]
fn values_of_the_wrong_kind_are_refused_by_key_value_and_source() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("h")).unwrap();
    fs::write(
        sandbox.path("h/config.toml"),
        "[grpc]\nmax_connections = \"many\"\n",
    )
    .unwrap();
    let error = sandbox.run("config show --home h").fails(3);
    assert!(
        error.contains("config.toml:2") && error.contains("grpc.max_connections"),
        "{error}"
    );

    let environment = [("CIFER_GRPC__ALLOW_PLAINTEXT", "maybe")];
    let error = sandbox.run_with("config show", &environment).fails(3);
    assert!(
        error.contains("CIFER_GRPC__ALLOW_PLAINTEXT") && error.contains("maybe"),
        "{error}"
    );
    let error = sandbox
        .run("config show --set grpc.listen=0.0.0.0:1")
        .fails(3);
    assert!(error.contains("allow_plaintext"), "{error}");
    sandbox
        .run("config show --set grpc.listen=0.0.0.0:1 --set grpc.allow_plaintext=true")
        .ok();
    let error = sandbox.run("config show --set role=boss").fails(3);
    assert!(error.contains("boss"), "{error}");
}
