//! `genesis`: documents made by hand.

use std::fs;

use crate::support::Sandbox;

fn public_key(sandbox: &Sandbox, name: &str) -> String {
    let made = sandbox
        .run(&format!("keys gen --output {name}.key --json"))
        .json();
    made["public_key"].as_str().unwrap().to_owned()
}

#[test]
fn people_who_exchange_public_keys_can_make_a_network() {
    let sandbox = Sandbox::new();
    let mut line = "genesis new --chain-id friends --output g.toml --model-output m.bin --json \
                    --rule median"
        .to_owned();
    for (index, host) in ["a.example", "10.0.0.2:3000/2", "[::1]:4000", "[fe80::1]"]
        .into_iter()
        .enumerate()
    {
        let key = public_key(&sandbox, &format!("v{index}"));
        line.push_str(&format!(" --validator v{index}={key}@{host}"));
    }
    let contributor = public_key(&sandbox, "c0");
    line.push_str(&format!(" --contributor c0={contributor}"));
    let made = sandbox.run(&line).json();

    let valid = sandbox.run("genesis validate g.toml --json").json();
    assert_eq!(valid["genesis_hash"], made["genesis_hash"]);
    assert_eq!(valid["validators"], 4);
    let document = sandbox.run("genesis show g.toml --json").json();
    let seat = |index: usize| &document["validators"][index];
    assert_eq!(seat(0)["consensus_address"], "/dns/a.example/tcp/26650");
    assert_eq!(seat(1)["consensus_address"], "/ip4/10.0.0.2/tcp/3000");
    assert_eq!(seat(1)["power"], 2);
    assert_eq!(seat(2)["consensus_address"], "/ip6/::1/tcp/4000");
    assert_eq!(seat(3)["data_addresses"][1], "/ip6/fe80::1/tcp/26651");
    let model = fs::read(sandbox.path("m.bin")).unwrap();
    let root = blake3::hash(&model).to_string();
    assert_eq!(document["tasks"][0]["initial_model"], root.as_str());

    let brief = sandbox.run("genesis show g.toml").ok();
    assert!(
        brief.contains("friends") && brief.contains("median"),
        "{brief}"
    );
}

#[test]
fn the_hash_is_of_the_meaning_and_not_of_the_text() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 4")
        .ok();
    let hash = sandbox.run("genesis hash net/genesis.toml").ok();
    assert_eq!(hash.trim().len(), 64);
    let text = fs::read_to_string(sandbox.path("net/genesis.toml")).unwrap();
    fs::write(sandbox.path("same.toml"), format!("# a comment\n{text}")).unwrap();
    assert_eq!(sandbox.run("genesis hash same.toml").ok(), hash);
    let printed = sandbox.run("genesis show --toml net/genesis.toml").ok();
    fs::write(sandbox.path("printed.toml"), printed).unwrap();
    assert_eq!(sandbox.run("genesis hash printed.toml").ok(), hash);
    let other = text.replacen("chain_id = \"testnet\"", "chain_id = \"other\"", 1);
    fs::write(sandbox.path("other.toml"), other).unwrap();
    assert_ne!(sandbox.run("genesis hash other.toml").ok(), hash);
}

#[test]
fn documents_that_cannot_hold_are_refused_with_the_inequality() {
    let sandbox = Sandbox::new();
    let key = public_key(&sandbox, "v");
    let line = format!("genesis new --chain-id x --validator v={key}@h --output g.toml");
    for (rule, inequality) in [
        ("krum", "2f + 3"),
        ("multi-krum --m 1", "2f + 3"),
        ("trimmed-mean", "2f + 1"),
    ] {
        let options = "--open-registration --max-updates 6 --f 3";
        let error = sandbox
            .run(&format!("{line} {options} --rule {rule}"))
            .fails(3);
        assert!(error.contains(inequality), "{rule}: {error}");
    }
    let error = sandbox
        .run(&format!("{line} --rule median --validator w={key}@h"))
        .fails(3);
    assert!(error.contains(&key), "{error}");
    assert!(!sandbox.path("g.toml").exists());

    sandbox
        .run("testnet generate --output net --validators 1")
        .ok();
    let text = fs::read_to_string(sandbox.path("net/genesis.toml")).unwrap();
    fs::write(sandbox.path("g.toml"), format!("color = \"red\"\n{text}")).unwrap();
    let error = sandbox.run("genesis validate g.toml").fails(3);
    assert!(
        error.contains("color") && error.contains("line 1"),
        "{error}"
    );
    sandbox.run("genesis validate missing.toml").fails(3);
}

#[test]
fn what_noise_costs_is_printed() {
    let sandbox = Sandbox::new();
    let line = "testnet generate --output net --validators 4 --contributors 9 --rule median \
                --max-updates 9 --max-rounds 20 --free-ports";
    sandbox.run(line).ok();
    let path = sandbox.path("net/genesis.toml");
    let terms = "\n[tasks.privacy]\nmode = \"grouped-sum\"\nclip_ppm = 6000000\nvalue_bits = 16\n\
                 [tasks.noise]\nclip_norm_ppm = 500000\nmultiplier_ppm = 1000000\nhonest = 2\n";
    let text = fs::read_to_string(&path).unwrap() + terms;
    fs::write(&path, &text).unwrap();
    let json = sandbox
        .run("genesis validate net/genesis.toml --json")
        .json();
    let noise = &json["noise"][0];
    assert_eq!(noise["honest"], 2);
    let rounds: Vec<_> = (0..3)
        .map(|i| noise["costs"][i]["rounds"].as_u64().unwrap())
        .collect();
    assert_eq!(rounds, [1, 10, 20]);
    // One round of a multiplier of 1 at 10^-6 is 5.2215 without rounding.
    let zeroed = noise["costs"][0]["zeroed"].as_f64().unwrap();
    assert!((5.2215..5.3).contains(&zeroed), "{json}");
    let text_out = sandbox.run("genesis show net/genesis.toml").ok();
    assert!(
        text_out.contains("counting the noise of 2 of a group's members"),
        "{text_out}"
    );
    fs::write(&path, text.replace("value_bits = 16", "value_bits = 4")).unwrap();
    let error = sandbox.run("genesis validate net/genesis.toml").fails(3);
    assert!(
        error.contains("noise needs room in a coordinate of 4 bits"),
        "{error}"
    );
}

#[test]
fn private_terms_and_noise_are_written() {
    let sandbox = Sandbox::new();
    let line = "testnet generate --output net --validators 4 --contributors 9 --rule median \
                --max-rounds 20 --free-ports --private --group-size 4 --noise 1 --honest 2";
    sandbox.run(line).ok();
    let text = fs::read_to_string(sandbox.path("net/genesis.toml")).unwrap();
    let document: toml::Table = text.parse().unwrap();
    let task = &document["tasks"][0];
    assert_eq!(task["privacy"]["mode"].as_str(), Some("grouped-sum"));
    assert_eq!(task["privacy"]["group_size"].as_integer(), Some(4));
    assert_eq!(
        task["noise"]["multiplier_ppm"].as_integer(),
        Some(1_000_000)
    );
    assert_eq!(task["noise"]["honest"].as_integer(), Some(2));
    let checked = sandbox.run("genesis validate net/genesis.toml");
    assert!(!checked.stderr.contains("warning"), "{checked:#?}");
    assert!(checked.ok().contains("epsilon at delta = 1e-6"));
    let refused = sandbox.run("genesis new --noise 1");
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("--private"), "{refused:#?}");
    // Rounds without an end have no epsilon.
    let line = "testnet generate --output other --validators 4 --contributors 9 --rule median \
                --free-ports --private --noise 1";
    let error = sandbox.run(line).fails(3);
    assert!(error.contains("max_rounds"), "{error}");
}
