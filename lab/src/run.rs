//! Training the cells that are missing, in parallel.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cifer_training::DatasetKind;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::cell::Cell;
use crate::error::LabError;
use crate::simulate::{Data, simulate};
use crate::store::{Finished, Store};

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Threads, over all cells; none means one a core.
    pub threads: Option<usize>,
    /// Folder of the MNIST files; none means where `scripts/fetch-mnist` puts them.
    pub mnist_dir: Option<PathBuf>,
}

/// What a run tells while it runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first cell.
    Begin {
        /// Cells asked for.
        cells: usize,
        /// Of which the store has these.
        present: usize,
    },
    /// A cell has ended and is in the store.
    Finished(&'a Finished),
}

/// Trains the `cells` that `store` does not have, and returns all of them in their order.
///
/// # Errors
/// The first error of a cell or of the store; cells that had ended are in the store.
pub fn run(
    cells: &[Cell],
    store: &mut Store,
    options: &RunOptions,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<Vec<Finished>, LabError> {
    let mut missing: Vec<&Cell> = Vec::new();
    for cell in cells {
        cell.validate()?;
        if store.get(cell)?.is_none() && !missing.contains(&cell) {
            missing.push(cell);
        }
    }
    progress(Progress::Begin {
        cells: cells.len(),
        present: cells.len() - missing.len(),
    });
    let mut data = BTreeMap::new();
    for cell in &missing {
        if let std::collections::btree_map::Entry::Vacant(entry) = data.entry(data_key(cell)) {
            entry.insert(Data::load(
                cell.dataset,
                cell.seed,
                options.mnist_dir.as_deref(),
            )?);
        }
    }
    let threads = options.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|error| LabError::Threads(error.to_string()))?;
    let shared = Mutex::new(&mut *store);
    pool.install(|| {
        // One at a time to a thread, in order: early results are those that were asked for first.
        missing.par_iter().with_max_len(1).try_for_each(|cell| {
            let outcome = simulate(cell, &data[&data_key(cell)])?;
            let cell = (*cell).clone();
            let finished = Finished { cell, outcome };
            let mut store = shared.lock().unwrap_or_else(PoisonError::into_inner);
            store.append(finished.clone())?;
            drop(store);
            progress(Progress::Finished(&finished));
            Ok::<(), LabError>(())
        })
    })?;
    let mut all = Vec::with_capacity(cells.len());
    for cell in cells {
        all.extend(store.get(cell)?.cloned());
    }
    Ok(all)
}

/// Cells with the same key share their data: only the split of the digits depends on the seed.
fn data_key(cell: &Cell) -> (bool, u64) {
    match cell.dataset {
        DatasetKind::Digits => (false, cell.seed),
        DatasetKind::Mnist => (true, 0),
    }
}
