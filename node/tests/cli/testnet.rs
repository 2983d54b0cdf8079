//! `testnet generate`: complete homes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::Sandbox;

#[test]
fn every_home_is_complete_and_every_key_is_the_one_of_genesis() {
    let sandbox = Sandbox::new();
    let line = "testnet generate --output net --validators 4 --contributors 10 --observers 1 \
                --chain-id trial --free-ports --max-rounds 3 --heartbeat-ms 700 --json";
    let made = sandbox.run(line).json();
    let document = sandbox.run("genesis show net/genesis.toml --json").json();
    assert_eq!(document["chain_id"], "trial");
    assert_eq!(document["consensus"]["idle_heartbeat_ms"], 700);
    assert_eq!(document["tasks"][0]["rounds"]["max_rounds"], 3);

    let mut ports = BTreeSet::new();
    for (index, node) in made["nodes"].as_array().unwrap().iter().enumerate() {
        let name = node["name"].as_str().unwrap();
        let home = format!("net/{name}");
        let hash = sandbox.run(&format!("genesis hash --home {home}")).ok();
        assert_eq!(made["genesis_hash"], hash.trim());
        let key = sandbox
            .run(&format!("keys show --home {home} --json"))
            .json();
        let settings = sandbox
            .run(&format!("config show --home {home} --json"))
            .json();
        assert_eq!(settings["name"]["value"], name);
        assert_eq!(settings["grpc.listen"]["value"], node["grpc"]);
        assert_eq!(
            fs::read(sandbox.path(&home).join("models/task-0.bin")).unwrap(),
            fs::read(sandbox.path("net/task-0.bin")).unwrap()
        );
        let seat = &document["validators"][index];
        if node["role"] == "validator" {
            assert_eq!(seat["public_key"], key["public_key"]);
            assert_eq!(
                seat["consensus_address"],
                settings["consensus.listen"]["value"]
            );
            assert_eq!(seat["data_addresses"], settings["data.listen"]["value"]);
        } else {
            assert_eq!(settings["role"]["value"], "observer");
            assert!(seat.is_null());
        }
        let local = |key: &str| {
            node[key]
                .as_str()
                .unwrap()
                .rsplit(':')
                .next()
                .unwrap()
                .to_owned()
        };
        for port in [&node["consensus_port"], &node["data_port"]] {
            ports.insert(port.to_string());
        }
        ports.extend([local("grpc"), local("http")]);
    }
    assert_eq!(ports.len(), 5 * 4, "a port was given out twice");

    for index in 0..10 {
        let file = format!("net/contributor-{index}.key");
        let mode = fs::metadata(sandbox.path(&file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
        let key = sandbox.run(&format!("keys show {file} --json")).json();
        let listed = &document["contributors"]["allowed"][index];
        assert_eq!(listed["public_key"], key["public_key"]);
    }
}

#[test]
fn hosts_are_reached_by_name_and_listen_on_all_interfaces() {
    let sandbox = Sandbox::new();
    let line = "testnet generate --output net --validators 2 --observers 1 --contributors 3 \
                --rule median --hosts a.example,10.0.0.2,c.example --base-port 3000 --json";
    let made = sandbox.run(line).json();
    assert_eq!(made["nodes"][2]["host"], "c.example");
    let document = sandbox.run("genesis show net/genesis.toml --json").json();
    assert_eq!(
        document["validators"][1]["consensus_address"],
        "/ip4/10.0.0.2/tcp/3000"
    );
    let settings = sandbox
        .run("config show --home net/validator-1 --json")
        .json();
    assert_eq!(
        settings["consensus.listen"]["value"],
        "/ip4/0.0.0.0/tcp/3000"
    );
    assert_eq!(settings["grpc.listen"]["value"], "127.0.0.1:3002");
}

#[test]
fn nothing_is_written_for_numbers_that_cannot_hold() {
    let sandbox = Sandbox::new();
    for (options, code) in [
        ("--contributors 8 --rule krum --f 3", 3),
        ("--contributors 2 --rule multi-krum", 3),
        ("--contributors 4 --rule trimmed-mean --f 2", 3),
        ("--validators 0", 3),
        ("--chain-id No_Good!", 3),
        ("--rule median --f 1", 2),
        ("--hosts a,b", 2),
        ("--base-port 65530", 2),
        ("--observers 5000", 2),
    ] {
        let error = sandbox
            .run(&format!("testnet generate --output net {options}"))
            .fails(code);
        let left: Vec<_> = fs::read_dir(sandbox.dir.path()).unwrap().collect();
        assert!(left.is_empty(), "{options}: {left:?}: {error}");
    }
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("net/sub")).unwrap();
    sandbox.run("testnet generate --output net").fails(1);
    assert_eq!(fs::read_dir(sandbox.path("net")).unwrap().count(), 1);
    fs::create_dir(sandbox.path("empty")).unwrap();
    let text = sandbox.run("testnet generate --output empty").ok();
    assert!(text.contains("cifer start --home empty/"), "{text}");
    assert!(sandbox.path("empty/validator-3/config.toml").exists());
}
