//! Commands that talk to nodes, with nobody there to answer.

use std::net::TcpListener;

use crate::support::Sandbox;

/// An address where nobody listens: taken, and let go.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn nobody_there_ends_with_4() {
    let sandbox = Sandbox::new();
    let hash = "00".repeat(32);
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3")
        .ok();
    for command in [
        "status".to_owned(),
        "query block".to_owned(),
        "query block 3".to_owned(),
        format!("query tx {hash}"),
        "query round".to_owned(),
        "query rounds".to_owned(),
        "query tasks".to_owned(),
        "query validators".to_owned(),
        "query model".to_owned(),
        "query proof task 0".to_owned(),
    ] {
        let at = format!(
            "--grpc {} --timeout-ms 200 --genesis net/genesis.toml",
            nobody()
        );
        let error = sandbox.run(&format!("{command} {at}")).fails(4);
        assert!(error.contains("127.0.0.1"), "{command}: {error}");
    }
}

#[test]
fn the_node_of_the_home_is_asked_by_default() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3 --free-ports")
        .ok();
    let settings = sandbox
        .run("config show --home net/validator-0 --json")
        .json();
    let address = settings["grpc.listen"]["value"].as_str().unwrap();
    let error = sandbox
        .run("status --home net/validator-0 --timeout-ms 200")
        .fails(4);
    assert!(error.contains(address), "{error}");
}

#[test]
fn addresses_and_files_of_the_client_are_checked() {
    let sandbox = Sandbox::new();
    sandbox.run("status --grpc ftp://localhost").fails(3);
    sandbox.run("status --grpc https://localhost:1").fails(3);
    sandbox
        .run("status --grpc https://localhost:1 --tls-ca missing.pem")
        .fails(3);
    sandbox.run("status --genesis missing.toml").fails(3);
}

#[test]
fn a_contributor_needs_a_key_and_a_genesis_document() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3")
        .ok();
    sandbox
        .run("contribute --genesis net/genesis.toml")
        .fails(3);
    sandbox
        .run("contribute --key net/contributor-0.key")
        .fails(3);
    let both = "contribute --key net/contributor-0.key --genesis net/genesis.toml";
    sandbox.run(&format!("{both} --index 10")).fails(3);
    sandbox.run(&format!("{both} --attack shout")).fails(3);
    sandbox.run(&format!("{both} --task 7")).fails(3);
    let error = sandbox.run(&format!("{both} --model mlp")).fails(3);
    assert!(
        error.contains("model") || error.contains("tensor"),
        "{error}"
    );
}
