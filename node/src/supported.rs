//! What a genesis document may ask for that this version cannot do. Saying so at the start is better than a
//! network that waits for ever.

use cifer_genesis::Genesis;

use crate::error::{Exit, Failure};

/// Refuses private tasks: the ledger has rules for them, but nodes publish no share keys and contributors do
/// not encrypt yet, so that the first round would never open.
///
/// # Errors
/// [`Failure`] that names the task.
pub fn check(genesis: &Genesis) -> Result<(), Failure> {
    match genesis.tasks.iter().find(|task| task.privacy.is_some()) {
        None => Ok(()),
        Some(task) => Err(Failure::new(
            Exit::Refused,
            format!(
                "task {} has [tasks.privacy], and this version cannot take part in private rounds: the \
                 task would wait for share keys for ever",
                task.id
            ),
            "leave [tasks.privacy] out of the genesis document",
        )),
    }
}
