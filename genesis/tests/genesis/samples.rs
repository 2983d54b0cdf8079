//! The sample documents read, validate and keep their hashes. A hash here changes only when the format
//! does, and then every network's identity changes with it.

use std::{fs, path::PathBuf};

use cifer_genesis::{Genesis, ModelRoot};

/// File, hash of the document, and for each task its model's length in bytes.
const SAMPLES: [(&str, &str, &[u64]); 3] = [
    (
        "central-1-validator.toml",
        "5d19892d942401d9d60c971acd66ee74d37d5c5653d2ec1fa8c39897d8b69505",
        &[2600],
    ),
    (
        "consortium-7-validators.toml",
        "15d4d1093777d180486358def98c8d681a38261d447c8a3c85602ec0247b9245",
        &[9640, 2600],
    ),
    (
        "digits-4-validators.toml",
        "ade3e8a0bdbf0e80f0aa27dbf9d906e2b803fc7a1103d4c1319bcce9f09fc795",
        &[2600],
    ),
];

fn folder() -> PathBuf {
    // Tests run in the folder of their crate; the compiler's path may be that of another checkout.
    PathBuf::from("samples")
}

#[test]
fn samples_read_and_keep_their_hashes() {
    for (file, hash, lengths) in SAMPLES {
        let genesis = Genesis::load(&folder().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        let payloads: Vec<_> = genesis
            .tasks
            .iter()
            .map(|task| task.payload_bytes())
            .collect();
        assert_eq!(payloads, lengths, "{file}");
        assert_eq!(genesis.hash().to_string(), hash, "{file}");
        assert_eq!(
            Genesis::from_canonical_bytes(&genesis.canonical_bytes()).unwrap(),
            genesis
        );
        assert_eq!(
            Genesis::from_toml(&genesis.to_toml().unwrap()).unwrap(),
            genesis
        );
    }
}

#[test]
fn every_sample_is_tested() {
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, SAMPLES.map(|(file, ..)| file));
}

#[test]
fn initial_models_are_zeros() {
    for (file, ..) in SAMPLES {
        for task in Genesis::load(&folder().join(file)).unwrap().tasks {
            let zeros = vec![0; task.payload_bytes() as usize];
            let root = ModelRoot::from_bytes(*blake3::hash(&zeros).as_bytes());
            assert_eq!(task.initial_model, root, "{file}: {}", task.name);
        }
    }
}

/// The first bytes of the encoding, written out by hand: version, chain id, time, consensus.
#[test]
fn golden_encoding() {
    let genesis = Genesis::load(&folder().join("digits-4-validators.toml")).unwrap();
    let mut expected = vec![1, 0, 0, 0];
    expected.extend([19, 0, 0, 0]);
    expected.extend(b"digits-4-validators");
    for number in [1_767_225_600_000_u64, 0, 5_000, 10_000, 2_000, 1_000, 1_000] {
        expected.extend(number.to_le_bytes());
    }
    // Limits.
    for number in [1_u64 << 20, 1 << 20, 64 << 10, 10_000, 32 << 20, 10_000] {
        expected.extend(number.to_le_bytes());
    }
    // Observers, closed registration, ten contributors, the first with its name and key.
    expected.extend([1, 0, 10, 0, 0, 0, 13, 0, 0, 0]);
    expected.extend(b"contributor-0");
    expected.extend(genesis.contributors.allowed[0].public_key.as_bytes());
    let bytes = genesis.canonical_bytes();
    assert_eq!(bytes[..expected.len()], expected);
    // After the contributors: Some(1) Byzantine validator, four validators.
    let after = expected.len() + 9 * (4 + 13 + 32);
    assert_eq!(
        bytes[after..after + 13],
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0]
    );
    // At the end: the last tensor's shape [10] and its type.
    assert_eq!(
        bytes[bytes.len() - 13..],
        [1, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}
