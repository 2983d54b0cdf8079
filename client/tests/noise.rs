//! Noise of private tasks: the integers that are encrypted, what a group of them opens to, and what rounds cost.

use cifer_chain::private::scale;
use cifer_client::TaskNoise;
use cifer_genesis::{
    ModelRoot, Noise, Privacy, TaskId,
    document::{RoundPolicy, RuleSpec, Task, Tensor},
};
use cifer_homocryption::ring::{
    ContributorKey, GroupContext, Integers, KeySum, Layout, Mapped, encrypt, open_mean,
};
use cifer_privacy::PrivacyError;
use rand::{SeedableRng as _, rngs::StdRng};

/// Norm 0.5 on a grid of 5461.2 steps in 1.0: sigma is 1930.8 steps.
fn task(coordinates: u64) -> Task {
    let policy = RoundPolicy {
        min_updates: 9,
        max_updates: 9,
        deadline_ms: 1000,
        max_extensions: 0,
        max_rounds: 50,
    };
    let mut task = Task::new(
        TaskId(0),
        "noisy",
        vec![Tensor::f32("w", &[coordinates])],
        ModelRoot::from_bytes([0; 32]),
        RuleSpec::Median,
        policy,
    );
    task.privacy = Some(Privacy {
        value_bits: 16,
        ..Privacy::grouped_sum(6_000_000)
    });
    task.noise = Some(Noise {
        clip_norm_ppm: 500_000,
        multiplier_ppm: 1_000_000,
        honest: 2,
        delta_exponent: 6,
    });
    task
}

const STEPS: f64 = 32_767.0 / 6.0;
const VARIANCE: f64 = 3_728_043.0;

fn noise(coordinates: u64) -> TaskNoise {
    let noise = TaskNoise::of(&task(coordinates)).expect("a valid task");
    noise.expect("the task has noise")
}

fn update(coordinates: u64, value: f32) -> Vec<u8> {
    (0..coordinates).flat_map(|_| value.to_le_bytes()).collect()
}

/// Steps that slots stand for.
fn steps(slots: &[u8]) -> Vec<f64> {
    let (slots, rest) = slots.as_chunks::<4>();
    assert!(rest.is_empty());
    let step = |bytes: &[u8; 4]| f64::from(u32::from_le_bytes(*bytes)) - 32_767.0;
    slots.iter().map(step).collect()
}

/// Mean and variance lie within six standard deviations of what is expected.
#[track_caller]
fn moments(values: &[f64], mean: f64, variance: f64) {
    let count = values.len() as f64;
    let found = values.iter().sum::<f64>() / count;
    assert!(
        (found - mean).abs() < 6.0 * (variance / count).sqrt(),
        "{found} for {mean}"
    );
    let squares = values.iter().map(|value| (value - found).powi(2));
    let found = squares.sum::<f64>() / count;
    assert!(
        (found / variance - 1.0).abs() < 6.0 * (2.0 / count).sqrt(),
        "{found} for {variance}"
    );
}

#[test]
fn a_task_without_noise_has_none() {
    let mut plain = task(10);
    plain.noise = None;
    assert!(TaskNoise::of(&plain).unwrap().is_none());
}

#[test]
fn slots_hold_the_clipped_update_and_the_documents_noise() {
    // Norm 2.0 clipped to 0.5: every coordinate becomes 0.0025.
    let noise = noise(40_000);
    let slots = noise
        .slots(&update(40_000, 0.01), &mut StdRng::seed_from_u64(1))
        .unwrap();
    let values = steps(&slots);
    assert!(
        values
            .iter()
            .all(|value| value.abs() <= noise.grid().reach() as f64)
    );
    moments(&values, 0.0025 * STEPS, VARIANCE);
}

#[test]
fn a_group_opens_to_the_mean_of_its_updates_and_a_third_of_their_noise() {
    const COORDINATES: u64 = 30_000;
    let (task, noise) = (task(COORDINATES), noise(COORDINATES));
    let terms = task.privacy.as_ref().unwrap();
    let scale = scale(terms).unwrap();
    let layout = Layout::new(3, scale.value_max()).unwrap();
    let group = GroupContext::new("noisy", 0, 0, 0, [5; 32]).unwrap();
    let mut rng = StdRng::seed_from_u64(2);

    let keys: Vec<_> = (0..3)
        .map(|_| ContributorKey::generate(&group, &mut rng))
        .collect();
    let sum = KeySum::of(&keys.iter().collect::<Vec<_>>()).unwrap();
    let mut totals = vec![0.0; COORDINATES as usize];
    let mut bodies = Vec::new();
    // Norms 0.17, 0.35 and 0.52, of which the last is clipped to 0.5.
    for (key, value) in keys.into_iter().zip([0.001, 0.002, -0.003]) {
        let slots = noise.slots(&update(COORDINATES, value), &mut rng).unwrap();
        for (total, step) in totals.iter_mut().zip(steps(&slots)) {
            *total += step;
        }
        let (encoder, mut body) = (
            Integers {
                max: scale.value_max(),
            },
            Vec::new(),
        );
        encrypt(
            key,
            &layout,
            &encoder,
            COORDINATES,
            &slots[..],
            &mut body,
            &mut rng,
        )
        .unwrap();
        bodies.push(body);
    }
    let mut bodies = Mapped::new(&bodies.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let mut means = Vec::new();
    open_mean(&group, &sum, &scale, &mut bodies, &mut means).unwrap();

    let (means, _) = means.as_chunks::<4>();
    let means: Vec<f64> = means
        .iter()
        .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
        .collect();
    for (mean, total) in means.iter().zip(&totals) {
        let exact = total / (3.0 * STEPS);
        assert!(
            (mean - exact).abs() <= exact.abs() * 1e-7,
            "{mean} for {exact}"
        );
    }
    let clipped = 0.5 / (COORDINATES as f64).sqrt();
    let in_steps: Vec<f64> = means.iter().map(|mean| mean * STEPS).collect();
    moments(
        &in_steps,
        (0.001 + 0.002 - clipped) / 3.0 * STEPS,
        VARIANCE / 3.0,
    );
}

#[test]
fn updates_that_are_none_are_refused() {
    let mut rng = StdRng::seed_from_u64(3);
    for length in [0, 4, 7, 9, 12] {
        let error = noise(2).slots(&vec![0; length], &mut rng).unwrap_err();
        let expected = matches!(error, PrivacyError::Length { expected: 2, .. });
        assert!(expected, "{length}: {error}");
    }
    let nan = [f32::NAN.to_le_bytes(), [0; 4]].concat();
    let error = noise(2).slots(&nan, &mut rng).unwrap_err();
    assert!(
        matches!(error, PrivacyError::NotFinite { index: 0, .. }),
        "{error}"
    );
}

#[test]
fn costs_are_of_all_rounds_and_larger_for_stronger_adversaries() {
    let costs = noise(650).costs().unwrap();
    let rounds: Vec<_> = costs.iter().map(|cost| cost.rounds).collect();
    assert_eq!(rounds, [1, 10, 50]);
    let [first, second, _] = costs[..] else {
        unreachable!()
    };
    assert!(first.zeroed.unwrap() < second.zeroed.unwrap());
    assert!(first.zeroed.unwrap() < first.replaced.unwrap());
    assert!(first.replaced.unwrap() < first.replaced_alone.unwrap());
    // Multiplier 1, one round, delta 10^-6: 5.2215 for the norm itself (OpenDP), a little more with rounding.
    assert!((5.2215..5.23).contains(&first.zeroed.unwrap()), "{first:?}");
    // An epsilon of a hundred is no guarantee, and is not printed as one.
    assert_eq!(costs[2].replaced, None);
}
