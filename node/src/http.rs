//! Metrics and health over plain HTTP, for machines that watch the node. Read-only.
//!
//! `/metrics` is OpenMetrics text, `/health` says whether the process works as it should, `/ready`
//! whether it can serve (it is healthy and follows the chain).

use axum::{Router, extract::State, http::StatusCode, routing::get};
use cifer_consensus::Phase;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::core::{Node, NodeStatus};

/// Serves until `stop`.
pub(crate) async fn serve(listener: TcpListener, node: Node, stop: CancellationToken) {
    let app = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .with_state(node);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "http server ended");
    }
}

async fn metrics(State(node): State<Node>) -> String {
    let status = node.status();
    let metrics = node.metrics();
    metrics.peers.set(status.peers as i64);
    metrics.blob_bytes.set(status.blob_bytes as i64);
    metrics.diverged.set(i64::from(status.divergence.is_some()));
    // Each part ends with the end-of-text mark, which may stand only once.
    let own = metrics.text();
    let engine = cifer_consensus::metrics();
    format!("{}{engine}", own.trim_end_matches("# EOF\n"))
}

async fn health(State(node): State<Node>) -> (StatusCode, String) {
    answer(sickness(&node.status()))
}

async fn ready(State(node): State<Node>) -> (StatusCode, String) {
    let status = node.status();
    let reason = sickness(&status).or_else(|| match status.phase() {
        Phase::Starting => Some("waiting for a quorum of validators".to_owned()),
        _ => None,
    });
    answer(reason)
}

fn answer(reason: Option<String>) -> (StatusCode, String) {
    match reason {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// What is wrong with the node, if anything.
pub(crate) fn sickness(status: &NodeStatus) -> Option<String> {
    if status.halted || status.phase() == Phase::Halted {
        return Some("consensus is halted; see the log".to_owned());
    }
    if status.safety_failure() {
        return Some(
            "the consensus write-ahead log failed; the node stands still so that it cannot sign twice"
                .to_owned(),
        );
    }
    status.divergence.map(|divergence| {
        format!(
            "our result of round {} of task {} is {}, the certified one {}",
            divergence.round, divergence.task, divergence.ours, divergence.certified
        )
    })
}
