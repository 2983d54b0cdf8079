//! The laws of a partition, and its golden bytes.

use cifer_training::{MIN_SHARD_SAMPLES, Partition, digits};
use proptest::prelude::*;

fn partitions() -> impl Strategy<Value = Partition> {
    prop_oneof![
        Just(Partition::Iid),
        (-3.0..6.0_f64).prop_map(|exponent| Partition::Dirichlet {
            alpha: 10_f64.powf(exponent)
        }),
        (0.0..=1.0_f64).prop_map(|gamma| Partition::Similarity { gamma }),
        Just(Partition::Similarity { gamma: 0.0 }),
    ]
}

proptest! {
    #[test]
    fn every_sample_once_and_enough_for_everybody(
        partition in partitions(),
        labels in proptest::collection::vec(0..10_u8, 10..800),
        share in 0.0..1.0_f64,
        seed: u64,
    ) {
        let most = labels.len() / MIN_SHARD_SAMPLES;
        let contributors = 1 + (share * most as f64) as usize % most;
        let shards = partition.assign(&labels, contributors, seed).unwrap();
        prop_assert_eq!(shards.len(), contributors);
        prop_assert!(shards.iter().all(|shard| shard.len() >= MIN_SHARD_SAMPLES));
        prop_assert!(shards.iter().all(|shard| shard.is_sorted()));
        let mut all = shards.concat();
        all.sort_unstable();
        prop_assert!(all.into_iter().eq(0..labels.len() as u32));
        prop_assert_eq!(partition.assign(&labels, contributors, seed).unwrap(), shards);
    }

    #[test]
    fn iid_shards_differ_by_at_most_one(samples in 10..500_usize, seed: u64) {
        let labels = vec![0; samples];
        let shards = Partition::Iid.assign(&labels, samples / MIN_SHARD_SAMPLES, seed).unwrap();
        let sizes: Vec<usize> = shards.iter().map(Vec::len).collect();
        prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
    }

    #[test]
    fn text_round_trips(partition in partitions()) {
        prop_assert_eq!(partition.to_string().parse::<Partition>().unwrap(), partition);
    }
}

fn digest(partition: Partition) -> String {
    let train = digits().unwrap().split(7).train;
    let mut hasher = blake3::Hasher::new();
    for shard in partition.assign(train.labels(), 10, 7).unwrap() {
        hasher.update(&(shard.len() as u32).to_le_bytes());
        shard.iter().for_each(|index| {
            hasher.update(&index.to_le_bytes());
        });
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn partitions_are_golden() {
    assert_eq!(
        digest(Partition::Iid),
        "47873f002c71ffeee6d830612e451482c07f4cbf4102e541a1e3155a2ac33c92"
    );
    assert_eq!(
        digest(Partition::Dirichlet { alpha: 1.0 }),
        "cd2ecbbd0ca23bbd530add737c2b39deb3bf2355c0c720eaeba0b020568c498b"
    );
}

/// Share of its shard that each contributor's most frequent class has.
fn top_shares(partition: Partition, labels: &[u8], contributors: usize) -> Vec<f64> {
    let shards = partition.assign(labels, contributors, 3).unwrap();
    let top = |shard: &Vec<u32>| {
        let count = |class| {
            shard
                .iter()
                .filter(|&&i| labels[i as usize] == class)
                .count()
        };
        (0..10).map(count).max().unwrap() as f64 / shard.len() as f64
    };
    shards.iter().map(top).collect()
}

#[test]
fn similarity_is_the_share_that_is_dealt() {
    // A thousand of each class, so that the sorted runs of ten contributors are whole classes.
    let labels: Vec<u8> = (0..10_000_u32).map(|index| (index % 10) as u8).collect();
    let shares = |gamma| top_shares(Partition::Similarity { gamma }, &labels, 10);
    assert!(shares(0.0).iter().all(|&share| share == 1.0));
    // The sorted part, and a tenth of the dealt one.
    let expected = 0.67 + 0.033;
    let close = |share: &f64| (share - expected).abs() < 0.05;
    assert!(shares(0.33).iter().all(close), "{:?}", shares(0.33));
    assert!(shares(1.0).iter().all(|&share| share < 0.14));
    let sizes = Partition::Similarity { gamma: 0.33 }
        .assign(&labels, 10, 3)
        .unwrap();
    assert!(sizes.iter().all(|shard| shard.len() == 1_000));
    assert_eq!(
        "extreme".parse::<Partition>().unwrap(),
        Partition::Similarity { gamma: 0.0 }
    );
}

#[test]
fn seeds_differ_and_lower_alpha_skews_more() {
    let train = digits().unwrap().split(7).train;
    let labels = train.labels();
    // Mean over contributors of the share of their most frequent class: 0.1 without skew.
    let skew = |alpha, seed| {
        let shards = Partition::Dirichlet { alpha }
            .assign(labels, 10, seed)
            .unwrap();
        let top = |shard: &Vec<u32>| {
            let count = |class| {
                shard
                    .iter()
                    .filter(|&&i| labels[i as usize] == class)
                    .count()
            };
            (0..10).map(count).max().unwrap() as f64 / shard.len() as f64
        };
        shards.iter().map(top).sum::<f64>() / 10.0
    };
    for seed in 1..=5 {
        let (strong, middle, none) = (skew(0.1, seed), skew(1.0, seed), skew(1e6, seed));
        assert!(
            strong > 0.4 && middle < strong && middle > 0.2 && none < 0.12,
            "{strong} {middle} {none}"
        );
    }
    let alpha = Partition::Dirichlet { alpha: 1.0 };
    assert_ne!(
        alpha.assign(labels, 10, 1).unwrap(),
        alpha.assign(labels, 10, 2).unwrap()
    );
}

#[test]
fn impossible_partitions_are_refused() {
    let error = |partition: Partition, samples, contributors| {
        partition
            .assign(&vec![0; samples], contributors, 1)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(Partition::Iid, 99, 10),
        "contributors is 10, allowed is 1..=9 (99 samples, 10 or more each)"
    );
    assert!(error(Partition::Iid, 99, 0).starts_with("contributors is 0, allowed is 1..=9"));
    for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let text = error(Partition::Dirichlet { alpha }, 100, 10);
        assert!(text.starts_with("Dirichlet alpha is "), "{text}");
        assert!(alpha.to_string().parse::<Partition>().is_err());
    }
    for gamma in [-0.1, 1.1, f64::NAN] {
        let text = error(Partition::Similarity { gamma }, 100, 10);
        assert!(text.starts_with("similarity is "), "{text}");
        assert!(format!("similarity:{gamma}").parse::<Partition>().is_err());
    }
    assert!("uniform".parse::<Partition>().is_err());
}
