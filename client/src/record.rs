//! What a contributor has signed, kept in a small file, so that a restart never signs a second update
//! for a round: two of them are evidence of equivocation and cost the contributor its standing.
//!
//! A line is appended before the update leaves; once in some hundred rounds the file is replaced by one that has
//! the newest lines only. It is not synced to the disk: it guards against a restart of the program, and a
//! power cut ends the round for everybody on this machine.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use cifer_chain::{Hash32, RoundId, TaskId};

use crate::error::ClientError;

/// Longest record: 64 tasks of a line under 100 bytes, ten times over.
const MAX_RECORD_BYTES: u64 = 64 << 10;
/// From this length on the file is replaced: 320 rounds.
const COMPACT_BYTES: u64 = 32 << 10;

/// The newest signed round of each task.
#[derive(Debug, Default)]
pub(crate) struct SignedRecord {
    path: Option<PathBuf>,
    length: u64,
    signed: BTreeMap<TaskId, (RoundId, Hash32)>,
}

impl SignedRecord {
    /// Reads the record; there is none before the first round. Without a path it lives in memory.
    pub(crate) fn load(path: Option<PathBuf>) -> Result<Self, ClientError> {
        let mut record = Self {
            path,
            length: 0,
            signed: BTreeMap::new(),
        };
        let Some(path) = &record.path else {
            return Ok(record);
        };
        let length = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(record),
            Err(error) => return Err(ClientError::io(path, error)),
        };
        let damaged = |reason: &str| {
            let reason = format!(
                "{reason}; it says which rounds were signed: restore it, or remove it after the current round"
            );
            ClientError::config(
                "record of signed rounds",
                path.display().to_string(),
                reason,
            )
        };
        if length > MAX_RECORD_BYTES {
            return Err(damaged(&format!(
                "has {length} bytes, the limit is {MAX_RECORD_BYTES}"
            )));
        }
        let text = fs::read_to_string(path).map_err(|error| ClientError::io(path, error))?;
        for line in text.lines() {
            let entry =
                parse(line).ok_or_else(|| damaged("has a line that is not `task round id`"))?;
            record.signed.insert(entry.0, entry.1);
        }
        record.length = length;
        Ok(record)
    }

    /// Whether this update may be signed: nothing else was for its round or a later one.
    pub(crate) fn allows(&self, task: TaskId, round: RoundId, id: Hash32) -> bool {
        match self.signed.get(&task) {
            Some((signed, known)) if *signed == round => *known == id,
            Some((signed, _)) => *signed < round,
            None => true,
        }
    }

    /// Whether something was signed for this round.
    pub(crate) fn has(&self, task: TaskId, round: RoundId) -> bool {
        self.signed
            .get(&task)
            .is_some_and(|(signed, _)| *signed == round)
    }

    /// Notes an update that is about to leave.
    pub(crate) fn note(
        &mut self,
        task: TaskId,
        round: RoundId,
        id: Hash32,
    ) -> Result<(), ClientError> {
        self.signed.insert(task, (round, id));
        let Some(path) = &self.path else {
            return Ok(());
        };
        let line = format!("{task} {round} {id}\n");
        let written = if self.length >= COMPACT_BYTES {
            self.replace(path)
        } else {
            append(path, &line).map(|()| self.length + line.len() as u64)
        };
        self.length = written.map_err(|error| ClientError::io(path, error))?;
        Ok(())
    }

    /// Writes what is known to a file beside and renames it. Gives its length.
    fn replace(&self, path: &Path) -> std::io::Result<u64> {
        let lines = self
            .signed
            .iter()
            .map(|(task, (round, id))| format!("{task} {round} {id}\n"));
        let text = lines.collect::<String>();
        let mut new = path.to_owned().into_os_string();
        new.push(".new");
        fs::write(&new, &text)?;
        fs::rename(&new, path)?;
        Ok(text.len() as u64)
    }
}

/// In one write, so that a program that is killed leaves a whole line or none.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)?;
    file.write_all(line.as_bytes())
}

fn parse(line: &str) -> Option<(TaskId, (RoundId, Hash32))> {
    let mut words = line.split(' ');
    let (task, round, id) = (words.next()?, words.next()?, words.next()?);
    let entry = (task.parse().ok()?, (round.parse().ok()?, id.parse().ok()?));
    words.next().is_none().then_some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId(3);

    #[test]
    fn one_update_a_round_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed");
        let (first, second) = (Hash32([1; 32]), Hash32([2; 32]));
        let mut record = SignedRecord::load(Some(path.clone())).unwrap();
        assert!(record.allows(TASK, RoundId(5), first));
        record.note(TASK, RoundId(5), first).unwrap();

        let record = SignedRecord::load(Some(path)).unwrap();
        assert!(record.has(TASK, RoundId(5)) && !record.has(TASK, RoundId(6)));
        assert!(record.allows(TASK, RoundId(5), first));
        assert!(!record.allows(TASK, RoundId(5), second));
        assert!(!record.allows(TASK, RoundId(4), second));
        assert!(record.allows(TASK, RoundId(6), second));
        assert!(record.allows(TaskId(4), RoundId(5), second));
    }

    #[test]
    fn the_file_stays_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed");
        let mut record = SignedRecord::load(Some(path.clone())).unwrap();
        record.note(TaskId(4), RoundId(1), Hash32([4; 32])).unwrap();
        for round in 0..2_000 {
            record.note(TASK, RoundId(round), Hash32([1; 32])).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= COMPACT_BYTES + 100);
        }
        let record = SignedRecord::load(Some(path)).unwrap();
        assert!(!record.allows(TASK, RoundId(1_999), Hash32([2; 32])));
        assert!(!record.allows(TaskId(4), RoundId(1), Hash32([2; 32])));
    }

    #[test]
    fn a_damaged_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed");
        for text in ["0 1", "0 1 zz", "x 1 00", "0 1 \u{7f}"] {
            fs::write(&path, text).unwrap();
            let error = SignedRecord::load(Some(path.clone())).unwrap_err();
            assert!(
                error.to_string().contains("record of signed rounds"),
                "{error}"
            );
        }
    }
}
