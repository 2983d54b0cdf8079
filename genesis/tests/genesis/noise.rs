//! Noise of private tasks: validation, canonical bytes, and the integers that it becomes.

use crate::support::genesis;
use cifer_genesis::{Genesis, Noise, NoiseGrid, Privacy, document::RuleSpec};
use proptest::prelude::*;

const NOISE: Noise = Noise {
    clip_norm_ppm: 500_000,
    multiplier_ppm: 1_000_000,
    honest: 2,
    delta_exponent: 6,
};

/// A private task with noise: 16 bits for coordinates to 6.0, norm 0.5.
fn noisy() -> Genesis {
    let mut document = genesis();
    let task = &mut document.tasks[0];
    task.rule = RuleSpec::TrimmedMean { f: 1 };
    task.rounds.max_rounds = 50;
    task.privacy = Some(Privacy {
        value_bits: 16,
        ..Privacy::grouped_sum(6_000_000)
    });
    task.noise = Some(NOISE);
    document
}

#[track_caller]
fn one(bend: impl FnOnce(&mut Genesis), message: &str) {
    let mut document = noisy();
    bend(&mut document);
    let error = document
        .validate()
        .expect_err("the bent document is refused");
    let problems = error.problems().expect("with problems").listed();
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts, [message]);
}

fn noise(g: &mut Genesis) -> &mut Noise {
    g.tasks[0].noise.as_mut().expect("has noise")
}

#[test]
fn what_noise_needs_is_said_with_its_inequality() {
    noisy().validate().expect("valid");
    one(
        |g| g.tasks[0].privacy = None,
        "tasks[0].noise: noise needs [tasks.privacy]: in the clear every update would stand alone with \
         its noise",
    );
    one(
        |g| g.tasks[0].rounds.max_rounds = 0,
        "tasks[0].noise.delta_exponent: noise needs an end, because every round spends privacy: \
         rounds.max_rounds >= 1 must hold",
    );
    one(
        |g| noise(g).honest = 3,
        "tasks[0].noise.honest: 3 is too large: honest <= privacy.min_cohort = 2 must hold",
    );
    one(
        |g| noise(g).honest = 0,
        "tasks[0].noise.honest: 0 is out of range: 1 <= x <= 64",
    );
    for value in [0, 100_000_001] {
        let message =
            format!("tasks[0].noise.multiplier_ppm: {value} is out of range: 1 <= x <= 100000000");
        one(|g| noise(g).multiplier_ppm = value, &message);
    }
    for value in [0, u64::MAX] {
        let message = format!(
            "tasks[0].noise.clip_norm_ppm: {value} is out of range: 1 <= x <= 1000000000000000"
        );
        one(|g| noise(g).clip_norm_ppm = value, &message);
    }
    for value in [0, 16] {
        let message =
            format!("tasks[0].noise.delta_exponent: {value} is out of range: 1 <= x <= 15");
        one(|g| noise(g).delta_exponent = value, &message);
    }
}

#[test]
fn noise_that_does_not_fit_a_coordinate_is_refused() {
    // 0.5 / 6.0 * 32767 = 2730.6 steps; 12 * 2730.6 / sqrt(2) = 23170.3.
    let grid = NOISE.on_grid(noisy().tasks[0].privacy.as_ref().unwrap());
    let expected = NoiseGrid {
        levels: 32_767,
        norm: 178_951_510,
        variance: 3_728_043,
        tail: 23_170,
    };
    assert_eq!(grid, expected);
    assert_eq!(grid.reach(), 2_731 + 23_170);
    one(
        |g| noise(g).multiplier_ppm = 1_400_000,
        "tasks[0].noise.multiplier_ppm: noise needs room in a coordinate of 16 bits: clip norm + 12 sigma = \
         2731 + 32438 <= 2^(16 - 1) - 1 = 32767 must hold, in steps of privacy.clip_ppm / 32767",
    );
    one(
        |g| g.tasks[0].privacy.as_mut().unwrap().value_bits = 4,
        "tasks[0].noise.multiplier_ppm: noise needs room in a coordinate of 4 bits: clip norm + 12 sigma = \
         1 + 12 <= 2^(4 - 1) - 1 = 7 must hold, in steps of privacy.clip_ppm / 7",
    );
}

#[test]
fn noise_is_part_of_a_tasks_identity_and_absent_noise_is_not() {
    let document = noisy();
    let bytes = document.canonical_bytes();
    assert_eq!(Genesis::from_canonical_bytes(&bytes).unwrap(), document);
    let toml = document.to_toml().unwrap();
    assert!(toml.contains("[tasks.noise]"), "{toml}");
    assert_eq!(Genesis::from_toml(&toml).unwrap(), document);

    let mut without = noisy();
    without.tasks[0].noise = None;
    let plain = without.canonical_bytes();
    // One byte 0xfe and four numbers, between the terms of privacy and the rule.
    assert_eq!(bytes.len(), plain.len() + 33);
    let place = (0..plain.len()).find(|i| plain[*i] != bytes[*i]).unwrap();
    let mut expected = vec![0xfe];
    for number in [500_000_u64, 1_000_000, 2, 6] {
        expected.extend(number.to_le_bytes());
    }
    assert_eq!(bytes[place..place + 33], expected);
    assert_eq!(bytes[place + 33..], plain[place..]);

    for change in [
        |n: &mut Noise| n.clip_norm_ppm += 1,
        |n: &mut Noise| n.multiplier_ppm += 1,
        |n: &mut Noise| n.honest = 1,
        |n: &mut Noise| n.delta_exponent = 7,
    ] {
        let mut changed = noisy();
        change(changed.tasks[0].noise.as_mut().unwrap());
        assert_ne!(changed.hash(), document.hash());
    }
}

#[test]
fn tags_in_the_wrong_order_are_no_document() {
    let bytes = noisy().canonical_bytes();
    let mut start = vec![0xfe];
    start.extend(NOISE.clip_norm_ppm.to_le_bytes());
    let place = (bytes
        .windows(start.len())
        .position(|window| window == start))
    .unwrap();
    for byte in [0xff, 0xfe] {
        // A second tag where the rule's number should be.
        let mut twice = bytes.clone();
        twice[place + 33] = byte;
        let error = Genesis::from_canonical_bytes(&twice).unwrap_err();
        assert!(format!("{error:?}").contains("wrong order"), "{error:?}");
    }
}

#[test]
fn defaults_are_the_safe_ones() {
    let toml = noisy().to_toml().unwrap();
    let short = toml
        .replace("honest = 2\n", "")
        .replace("delta_exponent = 6\n", "")
        .replace("multiplier_ppm = 1000000", "multiplier_ppm = 500000");
    assert_ne!(short, toml);
    let read = Genesis::from_toml(&short).unwrap();
    let noise = read.tasks[0].noise.as_ref().unwrap();
    assert_eq!((noise.honest, noise.delta_exponent), (1, 6));
    let error = Genesis::from_toml(&toml.replace("honest", "honset")).unwrap_err();
    assert!(error.to_string().contains("honset"), "{error}");
}

proptest! {
    #[test]
    fn the_grid_never_has_less_noise_than_was_asked_for(
        clip_norm_ppm in any::<u64>(), multiplier_ppm in any::<u64>(), honest in any::<u64>(),
        value_bits in any::<u64>(), clip_ppm in any::<u64>(),
    ) {
        // Hostile numbers saturate; nothing panics.
        let terms = |value_bits, clip_ppm| Privacy { value_bits, ..Privacy::grouped_sum(clip_ppm) };
        let noise = |clip_norm_ppm, multiplier_ppm, honest| Noise { clip_norm_ppm, multiplier_ppm, honest, delta_exponent: 6 };
        let hostile = noise(clip_norm_ppm, multiplier_ppm, honest).on_grid(&terms(value_bits, clip_ppm));
        prop_assert!(hostile.reach() >= hostile.tail && hostile.variance >= 1);

        let (norm, multiplier, honest) = (1 + clip_norm_ppm % 10_000_000, 1 + multiplier_ppm % 10_000_000, 1 + honest % 64);
        let (bits, clip) = (4 + value_bits % 13, 1 + clip_ppm % 100_000_000);
        let grid = noise(norm, multiplier, honest).on_grid(&terms(bits, clip));
        let steps = grid.levels as f64 / clip as f64;
        let asked = norm as f64 * steps * multiplier as f64 / 1e6;
        prop_assert!(grid.norm as f64 >= norm as f64 * steps * 65_536.0 * (1.0 - 1e-12));
        prop_assert!(grid.variance as f64 * honest as f64 >= asked * asked * (1.0 - 1e-12));
        prop_assert!((grid.tail as f64).powi(2) >= 144.0 * grid.variance as f64);
        prop_assert!((grid.tail as f64 - 1.0).powi(2) < 144.0 * grid.variance as f64);
    }
}
