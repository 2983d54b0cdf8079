//! The file of finished cells: one JSON object a line, appended as each cell ends.
//!
//! A run that is stopped loses the cells that were being trained, nothing else. A last line without its
//! end was being written then; it is cut off. The file is never rewritten otherwise.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cell::{Cell, Outcome};
use crate::error::LabError;

/// A cell and how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// The cell.
    pub cell: Cell,
    /// How it ended.
    pub outcome: Outcome,
}

/// 100,000 cells of 2 KB.
const MAX_BYTES: u64 = 200_000_000;

/// The finished cells of a file, and the file.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    file: File,
    // By the cell's JSON; of a cell that is in the file twice the later one.
    finished: HashMap<String, Finished>,
}

impl Store {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// If it cannot be read and appended to, is larger than 200 MB, or a whole line in it is no
    /// finished cell.
    pub fn open(path: &Path) -> Result<Self, LabError> {
        let io = |source| LabError::Io {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path);
        let mut file = file.map_err(io)?;
        let mut text = String::new();
        let length = (&mut file).take(MAX_BYTES + 1).read_to_string(&mut text);
        if length.map_err(io)? as u64 > MAX_BYTES {
            return Err(LabError::OutOfRange {
                name: "size of the results file",
                found: format!("more than {MAX_BYTES} bytes"),
                allowed: "at most 200 MB",
            });
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io)?;
        }
        let mut store = Self {
            path: path.to_owned(),
            file,
            finished: HashMap::new(),
        };
        for (line, json) in text[..whole].lines().enumerate() {
            let finished: Finished =
                serde_json::from_str(json).map_err(|source| LabError::Results {
                    path: path.to_owned(),
                    line: line + 1,
                    source,
                })?;
            store.remember(finished)?;
        }
        Ok(store)
    }

    /// How this cell ended, if it has.
    ///
    /// # Errors
    /// If the cell has no JSON form.
    pub fn get(&self, cell: &Cell) -> Result<Option<&Finished>, LabError> {
        Ok(self.finished.get(&json(cell)?))
    }

    /// Appends a cell.
    ///
    /// # Errors
    /// If the cell has no JSON form or the file cannot be written.
    pub fn append(&mut self, finished: Finished) -> Result<(), LabError> {
        let mut line = json(&finished)?;
        line.push('\n');
        let written = self
            .file
            .write_all(line.as_bytes())
            .and_then(|()| self.file.flush());
        written.map_err(|source| LabError::Io {
            path: self.path.clone(),
            source,
        })?;
        self.remember(finished)
    }

    fn remember(&mut self, finished: Finished) -> Result<(), LabError> {
        self.finished.insert(json(&finished.cell)?, finished);
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<String, LabError> {
    serde_json::to_string(value).map_err(LabError::Json)
}
