//! A generated home starts, answers, contributes, stops when told to, and verifies.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Running, Sandbox};

/// Long enough for a loaded machine; nothing is asserted about how long things take.
const PATIENCE: Duration = Duration::from_secs(120);

fn start(sandbox: &Sandbox) -> Running {
    // Tied to standard input, so that it ends with the test even if the test is killed.
    let mut command = sandbox.command(["start", "--exit-with-stdin", "--home", "net/validator-0"]);
    let log = std::fs::File::create(sandbox.path("node.log")).unwrap();
    Running(command.stdin(Stdio::piped()).stderr(log).spawn().unwrap())
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn terminate(mut node: Running) -> Option<i32> {
    kill(
        Pid::from_raw(node.0.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    node.0.wait().unwrap().code()
}

#[test]
fn one_node_from_generate_to_verify() {
    let sandbox = Sandbox::new();
    let line = "testnet generate --output net --validators 1 --contributors 1 --rule median \
                --free-ports --heartbeat-ms 500 --max-rounds 2";
    sandbox.run(line).ok();
    let node = start(&sandbox);
    let home = "--home net/validator-0";
    wait_for("a healthy node", || {
        sandbox.run(&format!("status {home}")).code == Some(0)
    });
    let error = sandbox.run(&format!("verify {home}")).fails(1);
    assert!(
        error.contains(&format!("process {}", node.0.id())),
        "{error}"
    );

    let settings = sandbox.run(&format!("config show {home} --json")).json();
    let gateway = format!(
        "http://{}",
        settings["grpc.listen"]["value"].as_str().unwrap()
    );
    let contribute = format!(
        "contribute --key net/contributor-0.key --genesis net/genesis.toml --grpc {gateway} \
         --contributors 1 --json"
    );
    let lines = sandbox.run(&contribute).ok();
    let last = lines.lines().last().unwrap();
    assert!(
        last.contains("\"finished\"") && last.contains("\"complete\""),
        "{lines}"
    );
    assert_eq!(
        lines.matches("\"outcome\":\"certified\"").count(),
        2,
        "{lines}"
    );

    // The contributor is done with its last update; the validator still has to aggregate it.
    let tasks = format!("query tasks {home} --json");
    wait_for("the last round", || {
        sandbox.run(&tasks).json()["finished"] == true
    });
    let block = sandbox.run(&format!("query block 1 {home} --json")).json();
    assert_eq!(block["verified"], true);
    let by_hash = format!(
        "query block {} {home} --json",
        block["hash"].as_str().unwrap()
    );
    assert_eq!(sandbox.run(&by_hash).json()["height"], 1);
    let round = sandbox.run(&format!("query round 0 {home} --json")).json();
    assert_eq!(
        (&round["verified"], &round["phase"]),
        (&true.into(), &"finalised".into())
    );
    let tx = round["updates"][0]["tx"].as_str().unwrap();
    assert_eq!(
        sandbox.run(&format!("query tx {tx} {home} --json")).json()["kind"],
        "update"
    );
    assert_eq!(
        sandbox
            .run(&format!("query rounds {home}"))
            .ok()
            .lines()
            .count(),
        3
    );
    let contributor = round["updates"][0]["contributor"].as_str().unwrap();
    let shown = sandbox
        .run(&format!("query contributor {contributor} {home} --json"))
        .json();
    assert_eq!(shown["accepted"], 2);
    let proof = sandbox.run(&format!(
        "query proof contributor {contributor} {home} --json"
    ));
    assert_eq!(proof.json()["verified"], true);
    let model = sandbox
        .run(&format!("query model {home} --output model.bin --json"))
        .json();
    assert_eq!(model["model"]["verified"], true);
    let bytes = std::fs::read(sandbox.path("model.bin")).unwrap();
    assert_eq!(
        model["model"]["root"],
        blake3::hash(&bytes).to_string().as_str()
    );
    for text in [
        "query validators",
        "query tasks",
        "query model",
        "query round",
        "query block",
    ] {
        sandbox.run(&format!("{text} {home}")).ok();
    }
    let missing = sandbox.run(&format!("query block 1000000 {home}"));
    assert_eq!(missing.code, Some(1), "{missing:?}");

    // Another network's document makes every answer a lie.
    sandbox
        .run("testnet generate --output other --validators 1 --contributors 1 --rule median")
        .ok();
    let error = sandbox
        .run(&format!("query block {home} --genesis other/genesis.toml"))
        .fails(5);
    assert!(error.contains("genesis"), "{error}");

    assert_eq!(terminate(node), Some(0), "SIGTERM");
    let verified = sandbox.run(&format!("verify {home} --json")).json();
    assert_eq!(verified["rounds_finalised"], 2);
    sandbox
        .run(&format!("verify {home} --genesis other/genesis.toml"))
        .fails(3);

    let node = start(&sandbox);
    wait_for("the restarted node", || {
        sandbox.run(&format!("status {home}")).code == Some(0)
    });
    assert_eq!(terminate(node), Some(0));
}

#[test]
fn the_end_of_standard_input_stops_a_contributor_if_wanted() {
    let sandbox = Sandbox::new();
    sandbox
        .run("testnet generate --output net --validators 1 --contributors 3 --free-ports")
        .ok();
    let line = "contribute --key net/contributor-0.key --genesis net/genesis.toml --json \
                --grpc http://127.0.0.1:1 --contributors 3 --exit-with-stdin";
    let mut command = sandbox.command(line.split_whitespace());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut contributor = Running(command.spawn().unwrap());
    let mut stdout = BufReader::new(contributor.0.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains("\"started\""), "{first}");
    drop(contributor.0.stdin.take());
    assert_eq!(contributor.0.wait().unwrap().code(), Some(0));
    let last = stdout.lines().last().unwrap().unwrap();
    assert!(last.contains("\"cancelled\""), "{last}");
}
