//! What leaves a contributor: bounded, unbiased, noised as the accountant believes; nonsense is refused.

use cifer_privacy::{Mechanism, Parameters, PrivacyError, Variance};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

fn parameters(coordinates: u64) -> Parameters {
    Parameters {
        coordinates,
        steps_per_unit: 100.0,
        norm: 200 << 16,
        variance: Variance::new(400, 1).unwrap(),
        tail: 240,
    }
}

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(5)
}

#[test]
fn the_result_is_the_clipped_update_and_the_noise() {
    let coordinates = 100_000;
    let mechanism = Mechanism::new(parameters(coordinates)).unwrap();
    // Norm 3.16 in all, clipped to 2.0: every coordinate becomes 0.632 steps.
    let update = vec![0.01_f32; coordinates as usize];
    let noised = mechanism.perturb(&update, &mut rng()).unwrap();
    let count = coordinates as f64;
    let mean = noised.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    assert!(
        (mean - 200.0 / count.sqrt()).abs() < 5.0 * 20.0 / count.sqrt(),
        "{mean}"
    );
    // Noise 400, rounding p (1 - p) with p = 0.632.
    let variance = noised
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>()
        / count;
    assert!(
        (variance - 400.23).abs() < 5.0 * 400.0 * (2.0 / count).sqrt(),
        "{variance}"
    );
    assert!(noised.iter().all(|x| x.unsigned_abs() <= mechanism.reach()));
    // Fresh noise every time.
    let mut rng = rng();
    let first = mechanism.perturb(&update, &mut rng).unwrap();
    assert_ne!(first, mechanism.perturb(&update, &mut rng).unwrap());
}

#[test]
fn reach_is_the_norm_and_the_tail_and_noise_is_cut_there() {
    let cut = Parameters {
        tail: 3,
        norm: (2 << 16) + 1,
        ..parameters(50_000)
    };
    let mechanism = Mechanism::new(cut).unwrap();
    assert_eq!(mechanism.reach(), 6);
    let noised = mechanism.perturb(&vec![0.0; 50_000], &mut rng()).unwrap();
    assert!(noised.iter().all(|x| x.unsigned_abs() <= 3));
    assert!(noised.contains(&3) && noised.contains(&-3));
}

#[test]
fn updates_that_are_none_are_refused() {
    let mechanism = Mechanism::new(parameters(3)).unwrap();
    let refused = |update: &[f32]| {
        mechanism
            .perturb(update, &mut rng())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&[0.0; 2]),
        "the update has 2 coordinates, but 3 are expected"
    );
    assert_eq!(
        refused(&[0.0; 4]),
        "the update has 4 coordinates, but 3 are expected"
    );
    assert_eq!(
        refused(&[0.0, f32::NAN, 0.0]),
        "coordinate 1 is NaN, but all must be finite"
    );
    assert_eq!(
        refused(&[f32::NEG_INFINITY, 0.0, 0.0]),
        "coordinate 0 is -inf, but all must be finite"
    );
}

#[test]
fn parameters_out_of_range_are_named() {
    let refused = |bend: fn(&mut Parameters)| {
        let mut bent = parameters(3);
        bend(&mut bent);
        match Mechanism::new(bent).unwrap_err() {
            PrivacyError::OutOfRange {
                field,
                value,
                limit,
            } => format!("{field} {value} {limit}"),
            other => panic!("{other}"),
        }
    };
    assert_eq!(
        refused(|p| p.coordinates = 0),
        "coordinates 0 1 <= x <= 4294967296"
    );
    assert_eq!(
        refused(|p| p.coordinates = u64::MAX),
        "coordinates 18446744073709551615 1 <= x <= 4294967296"
    );
    assert_eq!(
        refused(|p| p.norm = 0),
        "norm in 2^-16 steps 0 1 <= x <= 1099511627776"
    );
    assert_eq!(
        refused(|p| p.norm = u64::MAX),
        "norm in 2^-16 steps 18446744073709551615 1 <= x <= 1099511627776"
    );
    assert_eq!(refused(|p| p.tail = 0), "tail 0 1 <= x <= 16777216");
    assert_eq!(
        refused(|p| p.tail = u32::MAX),
        "tail 4294967295 1 <= x <= 16777216"
    );
    for (bend, shown) in [
        (
            (|p| p.steps_per_unit = f64::NAN) as fn(&mut Parameters),
            "NaN",
        ),
        (|p| p.steps_per_unit = 0.0, "0"),
        (|p| p.steps_per_unit = -1.0, "-1"),
        (|p| p.steps_per_unit = f64::INFINITY, "inf"),
    ] {
        let shown = format!("steps per unit {shown} 1e-100 <= x <= 1e100");
        assert_eq!(refused(bend), shown);
    }
}

#[test]
fn the_largest_parameters_do_not_overflow() {
    let largest = Mechanism::new(Parameters {
        coordinates: 3,
        steps_per_unit: 1e100,
        norm: 1 << 40,
        variance: Variance::new(1 << 32, 1).unwrap(),
        tail: 1 << 24,
    })
    .unwrap();
    assert_eq!(largest.reach(), 1 << 25);
    let noised = largest
        .perturb(&[f32::MAX, f32::MIN, 0.0], &mut rng())
        .unwrap();
    let expected = f64::from(1 << 24) / 2_f64.sqrt();
    assert!(
        (f64::from(noised[0]) - expected).abs() < 700_000.0,
        "{noised:?}"
    );
    // The largest number of coordinates has a bound too.
    let many = Parameters {
        coordinates: 1 << 32,
        norm: 1 << 40,
        ..parameters(1)
    };
    let bound = Mechanism::new(many).unwrap().squared_norm();
    assert!(bound > 1 << 48 && bound < 1 << 50, "{bound}");
}
