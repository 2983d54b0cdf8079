//! One round's aggregate: every payload of the committed set from our store (fetched first where
//! missing), through the task's rule, into a new model in our store.
//!
//! Memory is bounded by the aggregation crate (64 MiB) whatever the model's size: payloads are read
//! by position from their files, the result is written into the store as it comes.

use std::io::Write;

use cifer_aggregation::{AggregationError, Pipeline, Sink};
use cifer_chain::{AggregateStatement, BlobHash, ModelRoot, Phase, RoundId, TaskId, Update};
use cifer_genesis::Hash32;
use cifer_genesis::document::{RuleSpec, Task};

use super::{Node, source::BlobSource};

/// Why a round could not be aggregated now. All of these are tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComputeError {
    /// The chain moved on.
    #[error("task {0} is not waiting for the aggregate of round {1}")]
    NotClosed(TaskId, RoundId),
    /// A payload or the base model could not be had from anybody.
    #[error("blob {0} is missing: {1}")]
    Missing(BlobHash, String),
    /// The numbers.
    #[error(transparent)]
    Aggregation(#[from] AggregationError),
    /// A rule that genesis validation should have refused.
    #[error("rule {0}: {1}")]
    Rule(String, String),
    /// Our own disk.
    #[error("storage: {0}")]
    Storage(String),
}

/// Domain of the seed that bucketing draws from.
const SEED_DOMAIN: &str = "cifer/node/bucketing-seed/v1";

/// The rule of a task, for the aggregation crate. Both crates have the same text form, and genesis
/// validation has bounded the parameters.
fn pipeline(spec: &RuleSpec) -> Result<Pipeline, ComputeError> {
    let text = spec.to_string();
    text.parse()
        .map_err(|error: cifer_aggregation::ParseRuleError| {
            ComputeError::Rule(text, error.to_string())
        })
}

/// What bucketing draws from: the same for all validators, and different in every round. It follows
/// from the set of updates, so nobody knows it before the last update of a round is signed.
fn seed(chain_id: &str, task: TaskId, round: RoundId, update_set: Hash32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(SEED_DOMAIN);
    hasher
        .update(&(chain_id.len() as u64).to_le_bytes())
        .update(chain_id.as_bytes())
        .update(&task.0.to_le_bytes())
        .update(&round.0.to_le_bytes())
        .update(&update_set.0);
    hasher.finalize().into()
}

/// The server step's learning rate. Division of two integers that are exact in f64, rounded to f32
/// once: the same bits everywhere.
fn server_lr(task: &Task) -> f32 {
    (task.server_lr_ppm as f64 / 1_000_000.0) as f32
}

/// Computes the round's result and stores the model.
pub(crate) async fn compute(
    node: &Node,
    task: TaskId,
    round: RoundId,
) -> Result<AggregateStatement, ComputeError> {
    let state = node.state();
    let not_closed = || ComputeError::NotClosed(task, round);
    let current = state
        .tasks
        .get(&task)
        .filter(|t| t.round == round)
        .ok_or_else(not_closed)?;
    let Phase::Closed(closed) = &current.phase else {
        return Err(not_closed());
    };
    let updates: Vec<Update> = closed
        .updates
        .iter()
        .map(|turn| turn.update.clone())
        .collect();
    let (base, mut definition) = (current.model, current.task.clone());
    // What rejections have proven counts against the rule's tolerance.
    definition.rule = current.effective_rule().ok_or_else(not_closed)?;

    let model_bytes = definition.payload_bytes();
    need(node, base.into(), model_bytes).await?;
    for update in &updates {
        need(node, update.payload, update.payload_bytes).await?;
    }

    let seed = seed(node.chain_id(), task, round, closed.update_set);
    let worker = node.clone();
    let run = move || run_rule(&worker, &definition, &updates, base, seed);
    let model = tokio::task::spawn_blocking(run)
        .await
        .map_err(|error| ComputeError::Storage(error.to_string()))??;
    current.statement(model).ok_or_else(not_closed)
}

/// Makes sure that a blob is in our store.
async fn need(node: &Node, hash: BlobHash, len: u64) -> Result<(), ComputeError> {
    let blob = super::blob(hash);
    if node.blobs().contains(&blob) {
        return Ok(());
    }
    node.plane()
        .fetch(blob, len, node.holders())
        .await
        .map(|_| ())
        .map_err(|error| ComputeError::Missing(hash, error.to_string()))
}

/// Runs on a blocking thread: reads, aggregates, writes.
fn run_rule(
    node: &Node,
    definition: &Task,
    updates: &[Update],
    base: ModelRoot,
    seed: [u8; 32],
) -> Result<ModelRoot, ComputeError> {
    let storage = |error: &dyn std::fmt::Display| ComputeError::Storage(error.to_string());
    let coordinates = usize::try_from(definition.coordinates()).map_err(|error| storage(&error))?;
    let open = |hash: BlobHash| BlobSource::open(node.blobs(), super::blob(hash), coordinates);
    let base = open(base.into())?;
    let sources: Vec<BlobSource> = updates
        .iter()
        .map(|update| open(update.payload))
        .collect::<Result<_, _>>()?;
    let inputs: Vec<_> = sources
        .iter()
        .zip(updates)
        .map(|(source, update)| cifer_aggregation::Update {
            source,
            weight: update.samples,
        })
        .collect();
    let writer = node.blobs().create_writer(definition.payload_bytes());
    let mut sink = BlobSink {
        blob: writer.map_err(|error| storage(&error))?,
        bytes: Vec::new(),
    };
    cifer_aggregation::aggregate_pipeline_step(
        &pipeline(&definition.rule)?,
        &seed,
        &inputs,
        &base,
        server_lr(definition),
        &mut sink,
    )?;
    let root = |blob: cifer_dataplane::BlobHash| ModelRoot::from_bytes(*blob.as_bytes());
    // Announced before it is stored, so that no sweep takes it for garbage.
    let stored = sink
        .blob
        .finish_after(|blob| node.set_computed(root(blob).into()));
    stored
        .map(|(blob, _)| root(blob))
        .map_err(|error| storage(&error))
}

/// The result on its way into the store, as little-endian f32.
struct BlobSink {
    blob: cifer_dataplane::store::BlobWriter,
    /// Kept from chunk to chunk: 16 KiB.
    bytes: Vec<u8>,
}

impl Sink for BlobSink {
    fn write(&mut self, chunk: &[f32]) -> Result<(), AggregationError> {
        self.bytes.clear();
        self.bytes
            .extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
        self.blob
            .write_all(&self.bytes)
            .map_err(|source| AggregationError::Io {
                path: "the blob store".into(),
                source,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_genesis_knows_is_one_of_the_aggregation_crate() {
        for name in cifer_aggregation::RuleName::ALL {
            for front in ["", "clip,", "arc,nnm,", "bucketing:s=2,clip:radius=0.5,"] {
                let text = format!("{front}{name}");
                let mut expected = Pipeline::for_numbers(&text, 15, 1).expect("a pipeline");
                if let cifer_aggregation::Rule::FedAvg { weight_cap } = &mut expected.rule {
                    *weight_cap = 500;
                }
                let table = serde_json::to_value(&expected).expect("a table");
                let spec = serde_json::from_value::<RuleSpec>(table);
                if name == cifer_aggregation::RuleName::Monna {
                    assert!(spec.is_err());
                    continue;
                }
                let spec = spec.expect("genesis reads the table");
                assert_eq!(pipeline(&spec).expect("the text is read"), expected);
                let range = expected.updates().expect("some n");
                assert_eq!(spec.min_updates_needed(), *range.start() as u64, "{text}");
                assert_eq!(spec.max_updates_allowed(), *range.end() as u64, "{text}");
                assert_eq!(
                    spec.tolerated(),
                    expected.tolerated().map(u64::from),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn seeds_differ_in_everything_that_they_are_made_of() {
        let (zero, one) = (Hash32([0; 32]), Hash32([1; 32]));
        let seeds = [
            seed("a", TaskId(0), RoundId(0), zero),
            seed("b", TaskId(0), RoundId(0), zero),
            seed("a", TaskId(1), RoundId(0), zero),
            seed("a", TaskId(0), RoundId(1), zero),
            seed("a", TaskId(0), RoundId(0), one),
        ];
        for (i, one) in seeds.iter().enumerate() {
            assert!(seeds[i + 1..].iter().all(|other| other != one), "{i}");
        }
    }
}
