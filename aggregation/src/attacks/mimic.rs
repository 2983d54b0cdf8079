//! Mimic: the update of one honest contributor once more.

use super::{AttackError, Knowledge};

pub(super) fn forge(known: &Knowledge<'_>, target: usize) -> Result<Vec<f32>, AttackError> {
    let honest = known.honest.len();
    let update = known.honest.get(target);
    update
        .cloned()
        .ok_or(AttackError::Target { target, honest })
}
