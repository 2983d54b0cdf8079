//! `cifer verify` for private rounds: opens the groups of finished rounds again, from the ledger and the stored payloads,
//! runs the rule, and holds the model against the certified one. What any holder of the payloads can do.

use std::path::Path;

use cifer_aggregation::FileSink;
use cifer_chain::{
    BlobHash, ModelRoot, Outcome, PrivateRound, RoundId, RoundRecord, RoundTerms, Stage, StateKey,
    Store, TaskState, Update,
};
use cifer_dataplane::BlobStore;
use cifer_genesis::{Genesis, Hash32};

use super::open::{self, OpenError, Sources, Transactions};
use crate::core::{
    aggregate::{self, ComputeError},
    source::BlobSource,
};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reopened {
    /// Rounds that were opened again and led to the certified model.
    pub rounds: u64,
    /// Finished private rounds whose payloads or base model are not kept here any more.
    pub without_payloads: u64,
}

/// Why a private round is not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ReopenError {
    /// The ledger's store.
    #[error("ledger: {0}")]
    Store(#[from] cifer_chain::StoreError),
    /// A record that does not read.
    #[error("round {round} of task {task}: {problem}")]
    Record {
        /// Task.
        task: cifer_chain::TaskId,
        /// Round.
        round: RoundId,
        /// What is wrong.
        problem: String,
    },
    /// The payloads lead to another model.
    #[error(
        "round {round} of task {task}: the opened groups lead to model {opened}, certified is {certified}"
    )]
    Differs {
        /// Task.
        task: cifer_chain::TaskId,
        /// Round.
        round: RoundId,
        /// What the payloads lead to.
        opened: ModelRoot,
        /// What the certificate says.
        certified: ModelRoot,
    },
}

/// Opens every finished private round again whose payloads are in `blobs`. Group means are written to `scratch`.
///
/// # Errors
/// [`ReopenError`]: the first round that is not confirmed.
pub fn reopen_private_rounds<S: Store>(
    store: &S,
    genesis: &Genesis,
    blobs: &BlobStore,
    scratch: &Path,
) -> Result<Reopened, ReopenError> {
    let state = store.state();
    let mut found = Reopened::default();
    for task in state.tasks.values().filter(|t| t.private().is_some()) {
        for round in 0..=task.round.0 {
            let Some(record) = store.round(task.task.id, RoundId(round))? else {
                continue;
            };
            let Outcome::Finalised(certificate) = &record.outcome else {
                continue;
            };
            let sealed = certificate.statement.update_set;
            match reopen(store, genesis, blobs, scratch, (task, &record), sealed)? {
                None => found.without_payloads += 1,
                Some(model) if model == certificate.statement.model => found.rounds += 1,
                Some(opened) => {
                    return Err(ReopenError::Differs {
                        task: record.task,
                        round: record.round,
                        opened,
                        certified: certificate.statement.model,
                    });
                }
            }
        }
    }
    Ok(found)
}

fn reopen<S: Store>(
    store: &S,
    genesis: &Genesis,
    blobs: &BlobStore,
    scratch: &Path,
    (task, record): (&TaskState, &RoundRecord),
    sealed: Hash32,
) -> Result<Option<ModelRoot>, ReopenError> {
    let bad = |problem: String| ReopenError::Record {
        task: record.task,
        round: record.round,
        problem,
    };
    let key = StateKey::PrivateRound(record.task, record.round);
    let value = store
        .value(&key)?
        .ok_or_else(|| bad("no private record".to_owned()))?;
    let private: PrivateRound = borsh::from_slice(&value).map_err(|e| bad(e.to_string()))?;
    let Stage::Sealed { groups, .. } = &private.stage else {
        return Err(bad("finalised, but not sealed".to_owned()));
    };
    let validators = &store.state().validators;
    let chain_id = &genesis.chain_id;
    let terms = RoundTerms::new(chain_id, &task.task, record.round, validators, &private)
        .map_err(|error| bad(error.to_string()))?
        .ok_or_else(|| bad("no groups".to_owned()))?;
    let updates: Vec<Update> = record
        .accepted
        .iter()
        .map(|turn| turn.update.clone())
        .collect();
    let path = |hash: BlobHash| blobs.path(&crate::core::blob(hash));
    let base = crate::core::blob(record.base.into());
    if !blobs.contains(&base) {
        return Ok(None);
    }
    let transactions = Transactions::of(store);
    let sources = Sources {
        store: &|hash| transactions.get(hash),
        payload: &path,
        scratch: &|group| {
            scratch.join(format!(
                "reopened-{}-{}-{group}.tmp",
                record.task, record.round
            ))
        },
    };
    let means = match open::open_groups(&terms, groups, &updates, &sources) {
        Ok(means) => means,
        Err(OpenError::NoPayload(_)) => return Ok(None),
        Err(error) => return Err(bad(error.to_string())),
    };
    let rejected = (record.rejected.len() as u64).saturating_add(private.stage.exposed());
    let inputs = means.paths().len() as u64;
    let Some(rule) = task.task.rule.after_rejections(inputs, rejected) else {
        return Ok(Some(record.base));
    };
    let mut definition = task.task.clone();
    definition.rule = rule;
    let target = scratch.join(format!("reopened-{}-{}.tmp", record.task, record.round));
    let seed = aggregate::seed(chain_id, record.task, record.round, sealed);
    let run = || -> Result<ModelRoot, ComputeError> {
        let inputs = aggregate::means_as_inputs(&definition, means.paths())?;
        let base = BlobSource::open(blobs, base, aggregate::coordinates(&definition)?)?;
        let mut sink = FileSink::create(&target)?;
        aggregate::step(&definition, &inputs, &base, &seed, &mut sink)?;
        Ok(ModelRoot::from_bytes(*sink.finish()?.hash.as_bytes()))
    };
    let model = run();
    let _ = std::fs::remove_file(&target);
    model.map(Some).map_err(|error| bad(error.to_string()))
}
