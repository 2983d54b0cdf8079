//! Futures of this crate can be spawned.

use cifer_client::*;

fn send<T: Send>(_: T) {}

#[allow(dead_code)]
fn all(
    client: &Client,
    round: &OpenRound,
    signed: &cifer_chain::SignedUpdate,
    f: &mut RoundFollower,
    p: &Payload,
    k: &cifer_chain::SecretKey,
) {
    send(client.fetch_base(round, ModelTarget::Memory));
    send(client.prove_base(round));
    send(client.fetch_current(round.task, ModelTarget::Memory));
    send(client.fetch_model(round.task, ModelSelector::Newest, ModelTarget::Memory));
    send(client.submit(signed, p));
    send(client.current_round(round.task, None));
    send(client.register(k, "x"));
    send(f.next_open(None));
    send(f.closed(round.round));
    send(client.status());
    send(client.statuses());
    send(client.block(BlockSelector::Latest));
    send(client.round(round.task, None));
    send(client.proof(&ProofKey::Task(round.task)));
}

#[allow(dead_code)]
fn whole(client: Client, config: ContributorConfig) {
    send(contribute(
        client,
        config,
        tokio_util::sync::CancellationToken::new(),
        |_| {},
    ));
}
