//! The attacks do what their papers say, break a mean at 3 of 10, and do not break the robust rules.

mod common;

use cifer_aggregation::attacks::Knowledge;
use cifer_aggregation::{Attack, Rule, RuleName};

/// The rule that the optimised attacks try their strength on.
const TRIMMED: Rule = Rule::TrimmedMean { f: 3 };

/// Ten contributors: honest ones around (1, 1, …) with noise, the last three attack.
fn round(attack: Attack) -> Vec<Vec<f32>> {
    let near_one = |seed| {
        common::vector(seed, 500)
            .iter()
            .map(|x| 1.0 + 0.2 * x)
            .collect()
    };
    let mut all: Vec<Vec<f32>> = (1..=10).map(near_one).collect();
    let honest = all[..7].to_vec();
    for (i, update) in all.iter_mut().enumerate().skip(7) {
        let own = update.clone();
        let known = Knowledge {
            own: &own,
            honest: &honest,
            n: 10,
            f: 3,
            seed: i as u64,
            defence: Some(&TRIMMED),
        };
        *update = attack.forge(&known).unwrap();
    }
    all
}

fn mean(v: &[f32]) -> f32 {
    v.iter().sum::<f32>() / v.len() as f32
}

#[test]
fn the_default_strength_turns_a_mean_around_and_no_robust_rule() {
    for attack in [Attack::ALL[0], Attack::ALL[2]] {
        let v = round(attack);
        let fooled = common::ok(Rule::FedAvg { weight_cap: 1 }, &v);
        assert!(mean(&fooled) < -0.1, "{attack}: {}", mean(&fooled));
    }
    for attack in Attack::ALL {
        if attack == Attack::Nan {
            continue;
        }
        let v = round(attack);
        for name in [
            RuleName::Median,
            RuleName::TrimmedMean,
            RuleName::Krum,
            RuleName::MultiKrum,
        ] {
            let out = common::ok(name.for_numbers(10, 3), &v);
            let error = out.iter().map(|x| (x - 1.0).powi(2)).sum::<f32>() / out.len() as f32;
            assert!(error < 0.04, "{attack} against {name}: {error}");
        }
    }
}

#[test]
fn forged_vectors_are_what_they_should_be() {
    let own = vec![2.0_f32, -1.0];
    let honest = vec![vec![1.0_f32, 0.0], vec![3.0, 0.0]];
    let known = Knowledge {
        own: &own,
        honest: &honest,
        n: 10,
        f: 3,
        seed: 5,
        defence: None,
    };
    let forge = |attack: Attack| attack.forge(&known).unwrap();
    assert_eq!(forge("sign-flip".parse().unwrap()), [-8.0, 4.0]);
    assert_eq!(forge(Attack::SignFlip { scale: 1.0 }), [-2.0, 1.0]);
    assert_eq!(forge("ipm".parse().unwrap()), [-6.0, 0.0]);
    assert_eq!(forge(Attack::None), own);
    assert_eq!(forge(Attack::LabelFlip), own);
    assert!(Attack::LabelFlip.flips_labels());
    assert!(forge(Attack::Nan).iter().all(|x| x.is_nan()));
    // Mean 2, sample deviation sqrt 2.
    assert_eq!(
        forge(Attack::Alie { z: Some(1.0) }),
        [2.0 - 2.0_f64.sqrt() as f32, 0.0]
    );
    // s = 6 - 3 = 3 supporters of 7: z is the quantile of 4/7.
    let z = (2.0 - f64::from(forge(Attack::Alie { z: None })[0])) / 2.0_f64.sqrt();
    assert!((z - 0.180_012).abs() < 1e-5, "{z}");
    assert_eq!(
        Attack::Gaussian { sigma: 10.0 }.with_scale(2.0),
        Attack::Gaussian { sigma: 2.0 }
    );
}

#[test]
fn gaussian_noise_has_its_deviation_and_depends_on_the_seed() {
    let own = vec![0.0_f32; 20_000];
    let noise = |seed| {
        let known = Knowledge {
            own: &own,
            honest: &[],
            n: 1,
            f: 0,
            seed,
            defence: None,
        };
        Attack::Gaussian { sigma: 3.0 }.forge(&known).unwrap()
    };
    let v = noise(1);
    let variance = v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32;
    assert!(
        mean(&v).abs() < 0.1 && (variance - 9.0).abs() < 0.4,
        "{} {variance}",
        mean(&v)
    );
    assert_eq!(v, noise(1));
    assert_ne!(v, noise(2));
}

#[test]
fn attacks_without_what_they_need_are_errors() {
    let own = vec![0.0_f32; 2];
    let known = Knowledge {
        own: &own,
        honest: &[],
        n: 10,
        f: 3,
        seed: 0,
        defence: None,
    };
    let alie = Attack::Alie { z: None };
    assert_eq!(
        alie.forge(&known).unwrap_err().to_string(),
        "alie needs at least one honest update to look at"
    );
    let honest = [vec![0.0; 2], vec![0.0; 3]];
    let uneven = Knowledge {
        honest: &honest,
        ..known
    };
    assert_eq!(
        Attack::InnerProduct { tau: 1.0 }
            .forge(&uneven)
            .unwrap_err()
            .to_string(),
        "honest update 1 has 3 coordinates, expected 2"
    );
    let nobody = Knowledge {
        honest: &honest[..1],
        n: 3,
        f: 3,
        ..known
    };
    assert_eq!(
        alie.forge(&nobody).unwrap_err().to_string(),
        "alie needs f < n: n = 3, f = 3"
    );
    for attack in Attack::ALL {
        assert_eq!(attack.name().parse(), Ok(attack));
    }
    let unknown = "sign_flip".parse::<Attack>().unwrap_err().to_string();
    assert!(unknown.contains("min-max"), "{unknown}");
}

#[test]
fn alie_is_finite_for_all_numbers() {
    let own = vec![1.0_f32];
    let honest = [vec![1.0_f32], vec![2.0]];
    for n in 1..50 {
        for f in 0..n {
            let known = Knowledge {
                own: &own,
                honest: &honest,
                n,
                f,
                seed: 0,
                defence: None,
            };
            let forged = Attack::Alie { z: None }.forge(&known).unwrap();
            assert!(forged[0].is_finite(), "n = {n}, f = {f}");
        }
    }
}
