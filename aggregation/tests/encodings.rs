//! Encodings of updates: what comes back, what is refused, and that every rule sees the same
//! numbers whatever the source.

mod common;

use cifer_aggregation::encoding::INT8_BLOCK;
use cifer_aggregation::{
    AggregationError, Encoding, MappedSource, Rule, TILE, VectorSource, check_finite,
};
use common::{ok, run, vectors};
use proptest::prelude::*;
use tempfile::NamedTempFile;

fn mapped(bytes: &[u8], encoding: Encoding) -> MappedSource {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    MappedSource::open(file.path(), encoding, usize::MAX).unwrap()
}

fn all_of(source: &MappedSource) -> Vec<f32> {
    let mut out = vec![0.0; source.len()];
    source.read(0, &mut out).unwrap();
    out
}

fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        3 => -1.0_f32..1.0,
        1 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO,
    ]
}

proptest! {
    #[test]
    fn sizes_and_lengths_are_inverse(len in 0_u64..1 << 40) {
        for encoding in Encoding::ALL {
            let size = encoding.size_bytes(len).unwrap();
            prop_assert_eq!(encoding.len_of(size), Some(len));
        }
    }

    #[test]
    fn a_size_has_at_most_one_length(size in 0_u64..4096) {
        for encoding in Encoding::ALL {
            let lengths: Vec<u64> =
                (0..=4096).filter(|&len| encoding.size_bytes(len) == Some(size)).collect();
            prop_assert!(lengths.len() <= 1);
            prop_assert_eq!(encoding.len_of(size), lengths.first().copied());
        }
    }

    #[test]
    fn what_comes_back_is_near(values in prop::collection::vec(finite(), 0..300)) {
        let exact = all_of(&mapped(&Encoding::F32.encode(&values).unwrap(), Encoding::F32));
        prop_assert!(exact.iter().map(|x| x.to_bits()).eq(values.iter().map(|x| x.to_bits())));

        if let Ok(bytes) = Encoding::Bf16.encode(&values) {
            for (x, y) in values.iter().zip(all_of(&mapped(&bytes, Encoding::Bf16))) {
                // Half a unit of 8 bits, or of the subnormals.
                let bound = (f64::from(x.abs()) / 256.0).max(2_f64.powi(-134));
                prop_assert!((f64::from(*x) - f64::from(y)).abs() <= bound, "{x} {y}");
            }
        }
        if let Ok(bytes) = Encoding::F16.encode(&values) {
            for (x, y) in values.iter().zip(all_of(&mapped(&bytes, Encoding::F16))) {
                let bound = (f64::from(x.abs()) / 2048.0).max(2_f64.powi(-25));
                prop_assert!((f64::from(*x) - f64::from(y)).abs() <= bound, "{x} {y}");
            }
        }
        let back = all_of(&mapped(&Encoding::Int8.encode(&values).unwrap(), Encoding::Int8));
        for (x, y) in values.chunks(INT8_BLOCK).zip(back.chunks(INT8_BLOCK)) {
            let largest = x.iter().fold(0.0_f64, |m, x| m.max(f64::from(x.abs())));
            // Half a step of the scale; scales and products are rounded, at worst to the smallest
            // subnormal, 127 times.
            let bound = largest / 254.0 * (1.0 + 1e-5) + 128.0 * 2_f64.powi(-149);
            for (x, y) in x.iter().zip(y) {
                prop_assert!((f64::from(*x) - f64::from(*y)).abs() <= bound, "{x} {y}");
            }
        }
    }

    #[test]
    fn any_part_reads_like_the_whole(
        values in prop::collection::vec(-9.0_f32..9.0, 1..400),
        a in any::<prop::sample::Index>(),
        b in any::<prop::sample::Index>(),
    ) {
        let (a, b) = (a.index(values.len() + 1), b.index(values.len() + 1));
        let part = a.min(b)..a.max(b);
        for encoding in Encoding::ALL {
            let source = mapped(&encoding.encode(&values).unwrap(), encoding);
            let mut out = vec![0.0; part.len()];
            source.read(part.start, &mut out).unwrap();
            prop_assert_eq!(&out, &all_of(&source)[part.clone()]);
        }
    }

    /// Whatever the bytes are, they are decoded to numbers or refused.
    #[test]
    fn any_bytes_are_numbers_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for encoding in Encoding::ALL {
            if encoding.len_of(bytes.len() as u64).is_none() {
                continue;
            }
            let source = mapped(&bytes, encoding);
            let mut out = vec![0.0; source.len()];
            match source.read(0, &mut out) {
                Ok(()) => {
                    let is_good = check_finite(&source, f32::MAX).is_ok();
                    prop_assert_eq!(is_good, out.iter().all(|x| x.is_finite()));
                    prop_assert!(is_good || encoding != Encoding::Int8);
                }
                Err(error) => {
                    prop_assert_eq!(encoding, Encoding::Int8);
                    let is_malformed = matches!(error, AggregationError::Malformed { .. });
                    prop_assert!(is_malformed);
                }
            }
        }
    }
}

#[test]
fn hostile_blocks_of_int8_are_refused_with_update_and_coordinate() {
    let honest = vectors(4, TILE + 200);
    let bytes: Vec<Vec<u8>> = honest
        .iter()
        .map(|v| Encoding::Int8.encode(v).unwrap())
        .collect();
    // The block that holds coordinate TILE + 100.
    let block = (TILE + 100) / INT8_BLOCK;
    let largest = (f32::MAX / 127.0).next_down();
    for scale in [
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -1.0,
        -0.0,
        -1e-45,
        largest.next_up(),
    ] {
        let mut lie = bytes.clone();
        lie[2][block * 68..][..4].copy_from_slice(&scale.to_le_bytes());
        let sources: Vec<_> = lie.iter().map(|b| mapped(b, Encoding::Int8)).collect();
        for rule in [Rule::Median, Rule::Krum { f: 0 }] {
            let error = run(rule, &sources).unwrap_err();
            assert_eq!(error.contributor(), Some(2), "{scale}: {error}");
            let expected = format!("update 2 is malformed at coordinate {}", block * INT8_BLOCK);
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
    let mut lie = bytes.clone();
    lie[3][block * 68 + 4 + 9] = 0x80;
    let sources: Vec<_> = lie.iter().map(|b| mapped(b, Encoding::Int8)).collect();
    let error = run(Rule::Median, &sources).unwrap_err();
    let expected = format!(
        "update 3 is malformed at coordinate {}: its byte is -128, expected -127 to 127",
        block * INT8_BLOCK + 9
    );
    assert_eq!(error.to_string(), expected);

    let mut edge = bytes;
    edge[0][..4].copy_from_slice(&largest.to_le_bytes());
    edge[1][..4].copy_from_slice(&0.0_f32.to_le_bytes());
    let sources: Vec<_> = edge.iter().map(|b| mapped(b, Encoding::Int8)).collect();
    assert!(run(Rule::Median, &sources).is_ok());
}

#[test]
fn halves_that_are_not_finite_are_refused_with_update_and_coordinate() {
    for (encoding, word) in [(Encoding::F16, 0x7c00_u16), (Encoding::Bf16, 0xff80)] {
        let mut bytes: Vec<Vec<u8>> = vectors(3, 777)
            .iter()
            .map(|v| encoding.encode(v).unwrap())
            .collect();
        bytes[1][2 * 700..][..2].copy_from_slice(&word.to_le_bytes());
        let sources: Vec<_> = bytes.iter().map(|b| mapped(b, encoding)).collect();
        let error = run(Rule::Median, &sources).unwrap_err().to_string();
        assert!(
            error.starts_with("update 1 is not finite: coordinate 700"),
            "{error}"
        );
    }
}

#[test]
fn rules_see_the_numbers_of_the_file() {
    let originals = vectors(7, 2 * TILE + 77);
    for encoding in Encoding::ALL {
        let sources: Vec<_> = originals
            .iter()
            .map(|v| mapped(&encoding.encode(v).unwrap(), encoding))
            .collect();
        let decoded: Vec<Vec<f32>> = sources.iter().map(all_of).collect();
        for rule in common::rules(7) {
            assert_eq!(
                ok(rule, &sources),
                ok(rule, &decoded),
                "{rule}, {encoding:?}"
            );
        }
    }
}
