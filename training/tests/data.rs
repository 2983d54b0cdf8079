//! Data sets: the embedded bytes, the split, label flips, and refusal of bad bytes field by field.

use std::fs;

use cifer_training::{
    Dataset, TrainingError, decode_digits, decode_mnist_images, decode_mnist_labels, digits,
    load_mnist,
};
use proptest::prelude::*;

const DIGITS: &[u8] = include_bytes!("../data/digits.bin");

#[test]
fn digits_are_the_published_bytes() {
    assert_eq!(
        blake3::hash(DIGITS).to_hex().as_str(),
        "871a762edb23c6d138f1434d0b23e9fe94a1a2ee79328e095347ab9f62740139"
    );
    let digits = digits().unwrap();
    assert_eq!(
        (digits.len(), digits.features(), digits.classes()),
        (1797, 64, 10)
    );
    assert_eq!(&digits.image(0)[..8], &[0, 0, 5, 13, 9, 1, 0, 0]);
    let count = |class| {
        digits
            .labels()
            .iter()
            .filter(|&&label| label == class)
            .count()
    };
    let counts: Vec<usize> = (0..10).map(count).collect();
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
}

#[test]
fn split_is_golden_and_loses_nothing() {
    let split = digits().unwrap().split(7);
    assert_eq!((split.train.len(), split.test.len()), (1438, 359));
    assert_eq!(
        blake3::hash(&[split.train.labels(), split.test.labels()].concat())
            .to_hex()
            .as_str(),
        "a518ffd51122c5af2039f611dab1bed2863392a7017167662fd7da2b5d136429"
    );
    let rows = |data: &Dataset| -> Vec<Vec<u8>> {
        (0..data.len())
            .map(|i| [data.image(i), &[data.labels()[i]]].concat())
            .collect()
    };
    let mut all = [rows(&split.train), rows(&split.test)].concat();
    let mut expected = rows(&digits().unwrap());
    all.sort();
    expected.sort();
    assert_eq!(all, expected);
}

#[test]
fn features_are_scaled_to_the_unit_interval() {
    let data = Dataset::new(2, 3, 16, vec![0, 16, 4, 8], vec![2, 0]).unwrap();
    let (mut features, mut labels) = ([9.0; 4], [9; 2]);
    data.gather(&[1, 0], &mut features, &mut labels);
    assert_eq!(features, [0.25, 0.5, 0.0, 1.0]);
    assert_eq!(labels, [0, 2]);
}

#[test]
fn label_flip_mirrors_labels_and_touches_no_pixel() {
    let data = digits().unwrap();
    let flipped = data.clone().with_flipped_labels();
    assert!(
        data.labels()
            .iter()
            .zip(flipped.labels())
            .all(|(&label, &flipped)| flipped == 9 - label)
    );
    assert!((0..data.len()).all(|i| data.image(i) == flipped.image(i)));
    assert_eq!(flipped.with_flipped_labels(), data);
}

/// The error's text, which has to name field, value and limit.
fn refused<T: std::fmt::Debug>(result: Result<T, TrainingError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn damaged_digits_are_refused() {
    assert_eq!(
        refused(decode_digits(&DIGITS[1..])),
        "digits.bin: length in bytes is 116804, expected 116805"
    );
    let with = |offset: usize, value: u8| {
        let mut bytes = DIGITS.to_vec();
        bytes[offset] = value;
        decode_digits(&bytes)
    };
    assert_eq!(refused(with(3, 17)), "pixel is 17, allowed is 0..=16");
    assert_eq!(refused(with(64, 10)), "label is 10, allowed is 0..10");
}

#[test]
fn data_sets_that_do_not_add_up_are_refused() {
    assert!(Dataset::new(2, 2, 1, vec![0; 3], vec![0; 2]).is_err());
    assert!(Dataset::new(0, 2, 1, vec![], vec![]).is_err());
    assert!(Dataset::new(usize::MAX, 2, 1, vec![0; 3], vec![0; 2]).is_err());
}

fn idx(header: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn mnist_images_are_checked_field_by_field() {
    let pixels = vec![7; 2 * 784];
    assert_eq!(
        decode_mnist_images(idx(&[0x803, 2, 28, 28], &pixels)).unwrap(),
        pixels
    );
    for (header, body, expected) in [
        (
            vec![0x801, 2, 28, 28],
            2 * 784,
            "MNIST images: magic is 2049, expected 2051",
        ),
        (
            vec![0x803, 0, 28, 28],
            0,
            "MNIST images: count is 0, allowed is 1..=100000",
        ),
        (
            vec![0x803, u32::MAX, 28, 28],
            2 * 784,
            "MNIST images: count is 4294967295, allowed is 1..=100000",
        ),
        (
            vec![0x803, 2, 27, 28],
            2 * 784,
            "MNIST images: rows is 27, expected 28",
        ),
        (
            vec![0x803, 2, 28, u32::MAX],
            2 * 784,
            "MNIST images: columns is 4294967295, expected 28",
        ),
        (
            vec![0x803, 2, 28, 28],
            2 * 784 - 1,
            "MNIST images: length in bytes is 1583, expected 1584",
        ),
        (
            vec![0x803, 2, 28, 28],
            2 * 784 + 1,
            "MNIST images: length in bytes is 1585, expected 1584",
        ),
        (
            vec![0x803, 2, 28],
            0,
            "MNIST images: columns is missing in 12 bytes, allowed is 4 bytes, big-endian",
        ),
        (
            vec![],
            0,
            "MNIST images: magic is missing in 0 bytes, allowed is 4 bytes, big-endian",
        ),
    ] {
        assert_eq!(
            refused(decode_mnist_images(idx(&header, &vec![7; body]))),
            expected
        );
    }
}

#[test]
fn mnist_labels_are_checked_field_by_field() {
    assert_eq!(
        decode_mnist_labels(idx(&[0x801, 3], &[0, 9, 4])).unwrap(),
        [0, 9, 4]
    );
    for (header, body, expected) in [
        (
            [0x803, 3],
            &[0, 9, 4][..],
            "MNIST labels: magic is 2051, expected 2049",
        ),
        (
            [0x801, 0],
            &[],
            "MNIST labels: count is 0, allowed is 1..=100000",
        ),
        (
            [0x801, 100_001],
            &[],
            "MNIST labels: count is 100001, allowed is 1..=100000",
        ),
        (
            [0x801, 3],
            &[0, 9],
            "MNIST labels: length in bytes is 10, expected 11",
        ),
        (
            [0x801, 3],
            &[0, 9, 10],
            "MNIST labels: label is 10, allowed is 0..10",
        ),
    ] {
        assert_eq!(refused(decode_mnist_labels(idx(&header, body))), expected);
    }
}

fn write_mnist(dir: &std::path::Path, train: usize, test: usize, labels_more: usize) {
    for (prefix, count) in [("train", train), ("t10k", test)] {
        let images = idx(&[0x803, count as u32, 28, 28], &vec![255; count * 784]);
        let labels = count + labels_more;
        fs::write(dir.join(format!("{prefix}-images-idx3-ubyte")), images).unwrap();
        let labels = idx(&[0x801, labels as u32], &vec![3; labels]);
        fs::write(dir.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn mnist_folder_loads() {
    let dir = tempfile::tempdir().unwrap();
    write_mnist(dir.path(), 30, 10, 0);
    let split = load_mnist(dir.path()).unwrap();
    assert_eq!(
        (split.train.len(), split.test.len(), split.train.features()),
        (30, 10, 784)
    );
}

#[test]
fn mnist_folder_with_bad_files_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refused(load_mnist(dir.path())).contains("scripts/fetch-mnist"));

    write_mnist(dir.path(), 30, 10, 1);
    assert_eq!(
        refused(load_mnist(dir.path())),
        "MNIST labels: count is 31, expected 30"
    );

    // A sparse file of 1 TB: refused at the bound, without being read or allocated.
    write_mnist(dir.path(), 30, 10, 0);
    let path = dir.path().join("t10k-labels-idx1-ubyte");
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let expected = "MNIST file: length in bytes is more than 100008, allowed is at most 100008";
    assert_eq!(refused(load_mnist(dir.path())), expected);
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = decode_digits(&bytes);
        let _ = decode_mnist_images(bytes.clone());
        let _ = decode_mnist_labels(bytes);
    }
}
