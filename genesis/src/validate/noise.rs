//! Checks of a task's noise against its terms of privacy.

use crate::{
    bounds,
    document::Task,
    problem::{ProblemKind, Problems},
};

use super::check_at_most;

pub(super) fn check(task: &Task, path: &str, problems: &mut Problems) {
    let Some(noise) = &task.noise else {
        return;
    };
    let at = |field: &str| format!("{path}.noise.{field}");
    let needs = |what: &str| ProblemKind::Noise(what.to_owned());
    let before = problems.count();
    for (field, value, range) in [
        ("clip_norm_ppm", noise.clip_norm_ppm, &bounds::CLIP_NORM_PPM),
        ("multiplier_ppm", noise.multiplier_ppm, &bounds::NOISE_PPM),
        ("honest", noise.honest, &bounds::HONEST_MEMBERS),
        (
            "delta_exponent",
            noise.delta_exponent,
            &bounds::DELTA_EXPONENT,
        ),
    ] {
        problems.check_range(at(field), value, range);
    }
    if task.rounds.max_rounds == 0 {
        problems.add(
            at("delta_exponent"),
            needs("an end, because every round spends privacy: rounds.max_rounds >= 1 must hold"),
        );
    }
    let Some(terms) = &task.privacy else {
        problems.add(
            format!("{path}.noise"),
            needs("[tasks.privacy]: in the clear every update would stand alone with its noise"),
        );
        return;
    };
    check_at_most(
        at("honest"),
        ("honest", noise.honest),
        ("privacy.min_cohort", terms.min_cohort),
        problems,
    );
    // Numbers that are wrong by themselves make no sense together.
    if problems.count() > before || !bounds::VALUE_BITS.contains(&terms.value_bits) {
        return;
    }
    let grid = noise.on_grid(terms);
    if grid.reach() > grid.levels {
        let norm = grid.norm.div_ceil(1 << 16);
        problems.add(
            at("multiplier_ppm"),
            ProblemKind::Noise(format!(
                "room in a coordinate of {} bits: clip norm + 12 sigma = {norm} + {} <= 2^({} - 1) - 1 = {} \
                 must hold, in steps of privacy.clip_ppm / {}",
                terms.value_bits, grid.tail, terms.value_bits, grid.levels, grid.levels
            )),
        );
    }
}
