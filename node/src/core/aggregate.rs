//! One round's aggregate: every payload of the committed set from our store (fetched first where
//! missing), through the task's rule, into a new model in our store.
//!
//! Memory is bounded by the aggregation crate (64 MiB) whatever the model's size: payloads are read
//! by position from their files, the result is written into the store as it comes.

use std::{io::Write, path::PathBuf};

use cifer_aggregation::{AggregationError, FileSource, Pipeline, Sink, VectorSource};
use cifer_chain::{
    AggregateStatement, BlobHash, ModelRoot, Phase, RoundId, Stage, State, TaskId, TaskState,
    Update,
};
use cifer_genesis::Hash32;
use cifer_genesis::document::{RuleSpec, Task};

use super::{Node, private::open, source::BlobSource};

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
    /// A private round's groups cannot be opened here and now.
    #[error(transparent)]
    Open(#[from] open::OpenError),
}

/// What the rule reads: vectors of the model's length, each with its weight.
pub(crate) type Inputs = Vec<(Box<dyn VectorSource>, u64)>;

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
pub(crate) fn seed(chain_id: &str, task: TaskId, round: RoundId, update_set: Hash32) -> [u8; 32] {
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
    if current.private().is_some() {
        let model = compute_private(node, &state, current, updates).await?;
        return current.statement(model).ok_or_else(not_closed);
    }
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
    let run = move || {
        let coordinates = coordinates(&definition)?;
        let open = |update: &Update| -> Result<(Box<dyn VectorSource>, u64), ComputeError> {
            let blob = super::blob(update.payload);
            let source = BlobSource::open(worker.blobs(), blob, coordinates)?;
            Ok((Box::new(source), update.samples))
        };
        let inputs: Inputs = updates.iter().map(open).collect::<Result<_, _>>()?;
        run_rule(&worker, &definition, &inputs, base, &seed)
    };
    let model = tokio::task::spawn_blocking(run)
        .await
        .map_err(|error| ComputeError::Storage(error.to_string()))??;
    current.statement(model).ok_or_else(not_closed)
}

/// The result of a sealed private round: the rule over the means of the groups that open, unweighted. With too few
/// of them for the rule the model stays as it was, and everybody signs that.
async fn compute_private(
    node: &Node,
    state: &State,
    current: &TaskState,
    updates: Vec<Update>,
) -> Result<ModelRoot, ComputeError> {
    let not_ready = || ComputeError::NotClosed(current.task.id, current.round);
    let terms = super::private::terms(state, current).ok_or_else(not_ready)?;
    let groups = match current.private().map(|private| &private.stage) {
        Some(Stage::Sealed { groups, .. }) => groups.clone(),
        _ => return Err(not_ready()),
    };
    need(node, current.model.into(), current.task.payload_bytes()).await?;
    let live = groups.iter().filter(|group| group.is_live());
    for member in live.flat_map(|group| &group.cohort) {
        for update in updates.iter().filter(|u| u.contributor == *member) {
            need(node, update.payload, update.payload_bytes).await?;
        }
    }
    // Here the sealed round is what a result is a result of.
    let sealed = current.statement(current.model).ok_or_else(not_ready)?;
    let seed = seed(
        node.chain_id(),
        sealed.task,
        sealed.round,
        sealed.update_set,
    );
    let (worker, current) = (node.clone(), current.clone());
    let work = move || {
        let (task, round) = (current.task.id, current.round);
        let transactions = open::Transactions::of(worker.store());
        let sources = open::Sources {
            store: &|hash| transactions.get(hash),
            payload: &|hash| worker.blobs().path(&super::blob(hash)),
            scratch: &|group| worker.group_path(task, round, group),
        };
        let means = open::open_groups(&terms, &groups, &updates, &sources)?;
        let Some(rule) = current.rule_for(means.paths().len() as u64) else {
            return Ok(current.model);
        };
        let mut definition = current.task.clone();
        definition.rule = rule;
        let inputs = means_as_inputs(&definition, means.paths())?;
        run_rule(&worker, &definition, &inputs, current.model, &seed)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ComputeError::Storage(error.to_string()))?
}

/// The means of groups, unweighted.
pub(crate) fn means_as_inputs(
    definition: &Task,
    paths: &[PathBuf],
) -> Result<Inputs, ComputeError> {
    let coordinates = coordinates(definition)?;
    let open = |path: &PathBuf| -> Result<(Box<dyn VectorSource>, u64), ComputeError> {
        Ok((Box::new(FileSource::open(path, coordinates)?), 1))
    };
    paths.iter().map(open).collect()
}

pub(crate) fn coordinates(definition: &Task) -> Result<usize, ComputeError> {
    usize::try_from(definition.coordinates())
        .map_err(|error| ComputeError::Storage(error.to_string()))
}

/// Makes sure that a blob is in our store.
pub(crate) async fn need(node: &Node, hash: BlobHash, len: u64) -> Result<(), ComputeError> {
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
    inputs: &Inputs,
    base: ModelRoot,
    seed: &[u8; 32],
) -> Result<ModelRoot, ComputeError> {
    let storage = |error: &dyn std::fmt::Display| ComputeError::Storage(error.to_string());
    let base = super::blob(base.into());
    let base = BlobSource::open(node.blobs(), base, coordinates(definition)?)?;
    let writer = node.blobs().create_writer(definition.payload_bytes());
    let mut sink = BlobSink {
        blob: writer.map_err(|error| storage(&error))?,
        bytes: Vec::new(),
    };
    step(definition, inputs, &base, seed, &mut sink)?;
    let root = |blob: cifer_dataplane::BlobHash| ModelRoot::from_bytes(*blob.as_bytes());
    // Announced before it is stored, so that no sweep takes it for garbage.
    let stored = sink
        .blob
        .finish_after(|blob| node.set_computed(root(blob).into()));
    stored
        .map(|(blob, _)| root(blob))
        .map_err(|error| storage(&error))
}

/// One server step from the model in `base`.
pub(crate) fn step(
    definition: &Task,
    inputs: &Inputs,
    base: &dyn VectorSource,
    seed: &[u8; 32],
    sink: &mut dyn Sink,
) -> Result<(), ComputeError> {
    let updates: Vec<_> = inputs
        .iter()
        .map(|(source, weight)| cifer_aggregation::Update {
            source: source.as_ref(),
            weight: *weight,
        })
        .collect();
    let (pipeline, lr) = (pipeline(&definition.rule)?, server_lr(definition));
    cifer_aggregation::aggregate_pipeline_step(&pipeline, seed, &updates, base, lr, sink)?;
    Ok(())
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
