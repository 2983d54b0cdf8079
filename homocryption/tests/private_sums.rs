//! Sums of encrypted vectors: they open right up to the bound of the layout, and everything else is refused.

use cifer_homocryption::ring::{
    ContributorKey, GroupContext, HEADER_BYTES, Integers, KeySum, Layout, Mapped, Quantiser,
    RingError, Scale, Streamed, encrypt, open_mean, open_sum, params, sum_bodies,
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};

fn group(number: u32) -> GroupContext {
    GroupContext::new("cifer-test", 1, 7, number, [number as u8; 32]).unwrap()
}

fn bytes(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|value| f32::from_le_bytes(*value))
        .collect()
}

/// Encrypts for each contributor and returns the sum of keys and the bodies.
fn encrypt_all(
    layout: &Layout,
    group: &GroupContext,
    inputs: &[Vec<u32>],
    rng: &mut ChaCha20Rng,
) -> (KeySum, Vec<Vec<u8>>) {
    let keys: Vec<_> = inputs
        .iter()
        .map(|_| ContributorKey::generate(group, rng))
        .collect();
    let sum = KeySum::of(&keys.iter().collect::<Vec<_>>()).unwrap();
    let encoder = Integers {
        max: layout.value_max(),
    };
    let body = |(key, values): (ContributorKey, &Vec<u32>)| {
        let mut body = Vec::new();
        encrypt(
            key,
            layout,
            &encoder,
            values.len() as u64,
            &bytes(values)[..],
            &mut body,
            rng,
        )
        .unwrap();
        assert_eq!(
            body.len() as u64,
            layout.body_bytes(values.len() as u64).unwrap()
        );
        body
    };
    (sum, keys.into_iter().zip(inputs).map(body).collect())
}

fn opened(group: &GroupContext, key: &KeySum, bodies: &[Vec<u8>]) -> Result<Vec<u64>, RingError> {
    let views: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let mut out = Vec::new();
    open_sum(group, key, &mut Mapped::new(&views)?, &mut out)?;
    Ok(out
        .as_chunks::<8>()
        .0
        .iter()
        .map(|sum| u64::from_le_bytes(*sum))
        .collect())
}

fn check(contributors: usize, bits: u32, values: usize, seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let max = (1_u32 << bits) - 1;
    let layout = Layout::new(contributors as u32, max).unwrap();
    let inputs: Vec<Vec<u32>> = (0..contributors)
        .map(|_| {
            // Extremes more often than chance: all slots at their largest is where sums would overflow.
            let draw = |_| {
                if rng.next_u32() % 3 == 0 {
                    max
                } else {
                    rng.next_u32() % (max + 1)
                }
            };
            (0..values).map(draw).collect()
        })
        .collect();
    let (key, bodies) = encrypt_all(&layout, &group(1), &inputs, &mut rng);
    let expected: Vec<u64> = (0..values)
        .map(|i| inputs.iter().map(|input| u64::from(input[i])).sum())
        .collect();
    assert_eq!(
        opened(&group(1), &key, &bodies).unwrap(),
        expected,
        "{contributors} contributors, {bits} bits"
    );
}

#[test]
fn sums_open_right_from_one_to_a_thousand_contributors() {
    for (contributors, bits, values) in [
        (1, 1, 1),
        (1, 24, 9_000),
        (2, 16, 5_000),
        (3, 8, 20_000),
        (10, 8, 10_000),
        (100, 16, 4_000),
    ] {
        check(contributors, bits, values, 1);
    }
    check(1_000, 8, 5_000, 2);
    check(777, 3, 5_000, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_open_right(contributors in 1_usize..40, bits in 1_u32..=16, values in 1_usize..9_000, seed in any::<u64>()) {
        check(contributors, bits, values, seed);
    }

    #[test]
    fn sums_of_sums_are_the_sum(split in 1_usize..6, seed in any::<u64>()) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let layout = Layout::new(7, 255).unwrap();
        let inputs: Vec<Vec<u32>> = (0..7).map(|_| (0..3_000).map(|_| rng.next_u32() % 256).collect()).collect();
        let (key, bodies) = encrypt_all(&layout, &group(2), &inputs, &mut rng);
        let add = |bodies: &[Vec<u8>]| {
            let mut out = Vec::new();
            sum_bodies(&mut Streamed::new(bodies.iter().map(Vec::as_slice).collect()).unwrap(), &mut out).unwrap();
            out
        };
        let halves = [add(&bodies[..split]), add(&bodies[split..])];
        prop_assert_eq!(add(&halves), add(&bodies));
        prop_assert_eq!(opened(&group(2), &key, &halves).unwrap(), opened(&group(2), &key, &bodies).unwrap());
    }
}

#[test]
fn slots_are_as_many_as_documented() {
    for (contributors, max, slots) in [
        (1_000, 255, 2),
        (100, 65_535, 1),
        (10, 65_535, 2),
        (10, 255, 3),
        (3, 255, 4),
        (3, 65_535, 2),
    ] {
        let layout = Layout::new(contributors, max).unwrap();
        assert_eq!(
            layout.slots(),
            slots,
            "{contributors} contributors up to {max}"
        );
    }
    // The promise of 4.2 bytes a parameter for 8-bit updates of up to 1,000 contributors.
    let bytes = Layout::new(1_000, 254)
        .unwrap()
        .body_bytes(1_000_000)
        .unwrap();
    assert!(bytes <= 3_100_000, "{bytes}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_encrypted() {
    assert!(matches!(
        Layout::new(1_000, u32::MAX),
        Err(RingError::NoiseBudget { .. })
    ));
    assert!(
        Layout::new(0, 1).is_err() && Layout::new(1_001, 1).is_err() && Layout::new(3, 0).is_err()
    );
}

#[test]
fn one_body_more_than_the_layout_holds_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let layout = Layout::new(3, 255).unwrap();
    let (key, bodies) = encrypt_all(&layout, &group(1), &vec![vec![255; 10]; 4], &mut rng);
    assert!(matches!(
        opened(&group(1), &key, &bodies),
        Err(RingError::TooManyBodies {
            summed: 4,
            contributors: 3
        })
    ));
}

#[test]
fn the_mean_is_the_integer_mean_rounded_once() {
    let mut rng = ChaCha20Rng::seed_from_u64(4);
    let scale = Scale::new(8, 0.75).unwrap();
    let layout = Layout::new(5, scale.value_max()).unwrap();
    let inputs: Vec<Vec<f32>> = (0..5)
        .map(|_| {
            (0..10_000)
                .map(|_| (rng.next_u32() as f32 / u32::MAX as f32 - 0.5) * 2.0)
                .collect()
        })
        .collect();
    let keys: Vec<_> = inputs
        .iter()
        .map(|_| ContributorKey::generate(&group(1), &mut rng))
        .collect();
    let key = KeySum::of(&keys.iter().collect::<Vec<_>>()).unwrap();
    let bodies: Vec<Vec<u8>> = keys
        .into_iter()
        .zip(&inputs)
        .map(|(key, values)| {
            let source: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            let mut body = Vec::new();
            let encoder = Quantiser::nearest(scale, 1).unwrap();
            encrypt(
                key,
                &layout,
                &encoder,
                10_000,
                &source[..],
                &mut body,
                &mut rng,
            )
            .unwrap();
            body
        })
        .collect();
    let mut out = Vec::new();
    let views: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    open_mean(
        &group(1),
        &key,
        &scale,
        &mut Mapped::new(&views).unwrap(),
        &mut out,
    )
    .unwrap();
    let mut streamed = Vec::new();
    open_mean(
        &group(1),
        &key,
        &scale,
        &mut Streamed::new(views).unwrap(),
        &mut streamed,
    )
    .unwrap();
    assert_eq!(out, streamed);
    for (i, mean) in floats(&out).into_iter().enumerate() {
        let levels: f64 = inputs
            .iter()
            .map(|input| (f64::from(input[i].clamp(-0.75, 0.75)) * 127.0 / 0.75).round_ties_even())
            .sum();
        assert_eq!(mean, ((levels * 0.75) / (127.0 * 5.0)) as f32, "value {i}");
    }
}

#[test]
fn weights_give_the_weighted_mean() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let scale = Scale::new(12, 2.0).unwrap().weighted(1_000).unwrap();
    let layout = Layout::new(4, scale.value_max()).unwrap();
    let weights = [1_u32, 1_000, 17, 300];
    // One more value than fits a chunk, since the weight goes first.
    let count = layout.chunk_values() * 65;
    let keys: Vec<_> = weights
        .iter()
        .map(|_| ContributorKey::generate(&group(1), &mut rng))
        .collect();
    let key = KeySum::of(&keys.iter().collect::<Vec<_>>()).unwrap();
    let value = |who: usize, i: usize| ((i * 31 + who * 7) % 400) as f32 / 100.0 - 2.0;
    let mut bodies = Vec::new();
    for (who, (key, weight)) in keys.into_iter().zip(weights).enumerate() {
        let source: Vec<u8> = (0..count)
            .flat_map(|i| value(who, i).to_le_bytes())
            .collect();
        let mut body = Vec::new();
        let encoder = Quantiser::stochastic(scale, weight, &mut rng).unwrap();
        encrypt(
            key,
            &layout,
            &encoder,
            count as u64,
            &source[..],
            &mut body,
            &mut rng,
        )
        .unwrap();
        bodies.push(body);
    }
    let views: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let mut out = Vec::new();
    open_mean(
        &group(1),
        &key,
        &scale,
        &mut Mapped::new(&views).unwrap(),
        &mut out,
    )
    .unwrap();
    let found = floats(&out);
    assert_eq!(found.len(), count);
    for (i, found) in found.into_iter().enumerate() {
        let sum: f64 = (0..4)
            .map(|who| f64::from(value(who, i)) * f64::from(weights[who]))
            .sum();
        let expected = sum / 1_318.0;
        assert!(
            (f64::from(found) - expected).abs() < 2.0 / 2_047.0,
            "value {i}: {found} against {expected}"
        );
    }
}

#[test]
fn a_garbage_body_or_another_key_spoils_the_group_visibly() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let layout = Layout::new(3, 255).unwrap();
    let (key, mut bodies) = encrypt_all(&layout, &group(1), &vec![vec![1; 20_000]; 3], &mut rng);
    let (other, _) = encrypt_all(&layout, &group(1), &vec![vec![1; 20_000]; 3], &mut rng);
    assert!(matches!(
        opened(&group(1), &other, &bodies),
        Err(RingError::Spoiled { .. })
    ));
    let mut noise = vec![0; bodies[1].len() - HEADER_BYTES];
    rng.fill_bytes(&mut noise);
    bodies[1][HEADER_BYTES..].copy_from_slice(&noise);
    // Random 48-bit words: some are above q, which is refused before the sum.
    assert!(matches!(
        opened(&group(1), &key, &bodies),
        Err(RingError::Malformed { .. })
    ));
    for high in bodies[1][HEADER_BYTES..]
        .chunks_exact_mut(params::CHUNK_BYTES)
        .flat_map(|chunk| &mut chunk[params::DEGREE * 4..])
    {
        *high &= 0x7f;
    }
    assert!(matches!(
        opened(&group(1), &key, &bodies),
        Err(RingError::Spoiled { .. })
    ));
}

#[test]
fn what_does_not_match_is_named() {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let layout = Layout::new(3, 255).unwrap();
    let (key, bodies) = encrypt_all(&layout, &group(1), &vec![vec![1; 10]; 2], &mut rng);
    assert!(matches!(
        opened(&group(2), &key, &bodies),
        Err(RingError::Mismatch { field: "group", .. })
    ));
    assert!(matches!(
        opened(&group(1), &key, &bodies[..1]),
        Err(RingError::Mismatch {
            field: "number of contributors",
            ..
        })
    ));
    let (_, longer) = encrypt_all(&layout, &group(1), &[vec![1; 11]], &mut rng);
    let mixed = [bodies[0].clone(), longer[0].clone()];
    assert!(matches!(
        opened(&group(1), &key, &mixed),
        Err(RingError::Mismatch { .. })
    ));
    let mut out = Vec::new();
    let scale = Scale::new(4, 1.0).unwrap();
    let views: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let wrong = open_mean(
        &group(1),
        &key,
        &scale,
        &mut Mapped::new(&views).unwrap(),
        &mut out,
    );
    assert!(matches!(wrong, Err(RingError::Mismatch { .. })));
}

#[test]
fn a_source_of_another_length_is_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let layout = Layout::new(2, 255).unwrap();
    let encoder = Integers { max: 255 };
    for (given, announced) in [(9, 10), (11, 10), (0, 1)] {
        let key = ContributorKey::generate(&group(1), &mut rng);
        let source = bytes(&vec![1; given]);
        let outcome = encrypt(
            key,
            &layout,
            &encoder,
            announced,
            &source[..],
            Vec::new(),
            &mut rng,
        );
        assert!(
            matches!(outcome, Err(RingError::Length { .. })),
            "{given} for {announced}"
        );
    }
    let key = ContributorKey::generate(&group(1), &mut rng);
    let outcome = encrypt(
        key,
        &layout,
        &encoder,
        3,
        &bytes(&[1, 2, 256])[..],
        Vec::new(),
        &mut rng,
    );
    assert!(matches!(
        outcome,
        Err(RingError::ValueTooLarge {
            index: 2,
            value: 256,
            max: 255
        })
    ));
}

#[test]
fn bodies_look_uniform_and_differ_each_time() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let layout = Layout::new(2, 255).unwrap();
    let (_, bodies) = encrypt_all(&layout, &group(1), &vec![vec![0; 40_000]; 2], &mut rng);
    assert_ne!(bodies[0][HEADER_BYTES..], bodies[1][HEADER_BYTES..]);
    let low: Vec<u32> = bodies[0][HEADER_BYTES..][..params::DEGREE * 4]
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect();
    let ones: u32 = low.iter().map(|word| word.count_ones()).sum();
    // 65,536 fair bits: standard deviation 128.
    assert!((32_768_i64 - i64::from(ones)).abs() < 640, "{ones}");
}
