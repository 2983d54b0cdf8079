//! Bytes from strangers: whatever they are, they are refused with a reason or harmless, never a panic.

#![cfg(feature = "tfhe")]

use std::sync::LazyLock;

use cifer_homocryption::format::{Kind, peek, read_frame};
use cifer_homocryption::majority::SignSum;
use cifer_homocryption::{
    Encoding, Error, FormatError, Frame, KeyId, PackedVector, PrivateKey, PublicKey, Scalar, add,
    decrypt, encrypt, generate_key_pair, neg,
};
use proptest::prelude::*;

static KEYS: LazyLock<(PublicKey, PrivateKey)> = LazyLock::new(|| generate_key_pair().unwrap());

/// Offset of the payload.
const HEADER: usize = 36;

/// Replaces the digest by one that fits, as an attacker would.
fn seal_again(bytes: &mut [u8]) {
    let end = bytes.len() - 32;
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
}

fn scalar() -> Scalar {
    let one = encrypt(&KEYS.0, 1234).unwrap();
    add(&one, &neg(&one).unwrap()).unwrap()
}

fn vector() -> PackedVector {
    PackedVector::encrypt(&KEYS.0, Encoding::integers(2).unwrap(), &[5, -6, 7]).unwrap()
}

fn signs() -> SignSum {
    SignSum::encrypt(&KEYS.0, &[true, false]).unwrap()
}

#[test]
fn everything_comes_back_as_it_was() {
    let (public, private) = &*KEYS;
    let scalar = scalar();
    assert_eq!(Scalar::from_bytes(&scalar.to_bytes()).unwrap(), scalar);
    let vector = vector();
    assert_eq!(
        PackedVector::from_bytes(&vector.to_bytes()).unwrap(),
        vector
    );
    let signs = signs();
    assert_eq!(SignSum::from_bytes(&signs.to_bytes()).unwrap(), signs);
    let public_again = PublicKey::from_bytes(&public.to_bytes()).unwrap();
    let private_again = PrivateKey::from_secret_bytes(&private.to_secret_bytes()).unwrap();
    let ct = encrypt(&public_again, -77).unwrap();
    assert_eq!(decrypt(&private_again, &ct).unwrap(), -77);
    assert_eq!(decrypt(private, &ct).unwrap(), -77);
}

#[test]
fn the_header_is_laid_out_as_documented() {
    let bytes = vector().to_bytes();
    assert_eq!(&bytes[..8], b"CIFERHC\0");
    assert_eq!(&bytes[8..12], [1, 0, Kind::Vector as u8, 1]);
    assert_eq!(&bytes[12..28], KEYS.0.key_id().0);
    let payload = bytes.len() - HEADER - 32;
    assert_eq!(&bytes[28..36], (payload as u64).to_le_bytes());
    assert_eq!(payload, 10 + 2 * 8 * (2048 + 3));
    assert_eq!(&bytes[36..46], [2, 255, 1, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(peek(&bytes).unwrap(), Kind::Vector);
}

#[test]
fn each_wrong_field_of_the_header_is_named() {
    let good = scalar().to_bytes();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        match Scalar::from_bytes(&bytes).unwrap_err() {
            Error::Format(error) => error,
            other => panic!("{other}"),
        }
    };
    assert_eq!(with(0, b'X'), FormatError::Magic);
    assert_eq!(with(8, 2), FormatError::Version(2));
    assert!(matches!(
        with(10, Kind::Vector as u8),
        FormatError::Kind { .. }
    ));
    assert!(matches!(with(10, 99), FormatError::Kind { .. }));
    assert_eq!(with(11, 9), FormatError::Parameters(9));
    assert_eq!(with(12, good[12] ^ 1), FormatError::Digest);
    assert!(matches!(with(30, 1), FormatError::Truncated { .. }));
    assert!(matches!(
        with(35, 1),
        FormatError::TooLarge {
            field: "payload",
            ..
        }
    ));
    assert_eq!(with(HEADER + 1, 200), FormatError::Digest);
    let mut long = good.clone();
    long.push(0);
    assert!(
        Scalar::from_bytes(&long)
            .unwrap_err()
            .to_string()
            .contains("after the end")
    );
}

#[test]
fn a_length_over_the_limit_is_refused_before_memory_is_taken() {
    let mut bytes = scalar().to_bytes();
    bytes[28..36].copy_from_slice(&(u64::MAX - 100).to_le_bytes());
    // A reader that would hand out bytes for ever.
    let mut endless = std::io::Read::chain(&bytes[..], std::io::repeat(0));
    let error = read_frame(&mut endless, Kind::Scalar).unwrap_err();
    assert!(
        matches!(
            error,
            FormatError::TooLarge {
                field: "payload",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn frames_follow_each_other_in_a_stream() {
    let frames = [scalar(), scalar(), scalar()];
    let stream: Vec<u8> = frames.iter().flat_map(Frame::to_bytes).collect();
    let mut reader = &stream[..];
    for frame in &frames {
        let bytes = read_frame(&mut reader, Kind::Scalar).unwrap().unwrap();
        assert_eq!(&Scalar::from_bytes(&bytes).unwrap(), frame);
    }
    assert_eq!(read_frame(&mut reader, Kind::Scalar).unwrap(), None);
    let cut = stream.len() - 1;
    let mut reader = &stream[..cut];
    let mut last = Ok(None);
    for _ in 0..3 {
        last = read_frame(&mut reader, Kind::Scalar);
    }
    assert!(matches!(last, Err(FormatError::Truncated { .. })));
}

#[test]
fn a_public_key_with_another_id_is_refused() {
    let mut bytes = KEYS.0.to_bytes();
    bytes[12] ^= 1;
    seal_again(&mut bytes);
    assert!(
        PublicKey::from_bytes(&bytes)
            .unwrap_err()
            .to_string()
            .contains("key id")
    );
}

#[test]
fn a_ciphertext_with_a_forged_key_id_does_not_decrypt_to_a_number() {
    let (other, _) = generate_key_pair().unwrap();
    let mut bytes = encrypt(&other, 5).unwrap().to_bytes();
    bytes[12..28].copy_from_slice(&KEYS.0.key_id().0);
    seal_again(&mut bytes);
    let foreign = Scalar::from_bytes(&bytes).unwrap();
    assert!(matches!(
        decrypt(&KEYS.1, &foreign),
        Err(Error::Ciphertext(_))
    ));
}

#[test]
fn debug_output_has_no_secret_in_it() {
    let private = &KEYS.1;
    let expected = format!("PrivateKey({}, secret)", private.key_id());
    assert_eq!(format!("{private:?}"), expected);
    assert_eq!(format!("{private:#?}"), expected);
    assert_eq!(format!("{}", KeyId([0xab; 16])), "ab".repeat(16));
}

#[test]
fn private_key_files_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("private.key");
    KEYS.1.save(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    assert_eq!(PrivateKey::load(&path).unwrap().key_id(), KEYS.1.key_id());
    assert!(
        matches!(KEYS.1.save(&path), Err(Error::Io { .. })),
        "never over an existing file"
    );
    for mode in [0o640, 0o604, 0o660, 0o610] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let error = PrivateKey::load(&path).unwrap_err();
        assert!(
            error.to_string().contains(&format!("{mode:04o}")),
            "{error}"
        );
    }
}

/// What a mutation does to good bytes.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Extend(Vec<u8>),
    Header(prop::sample::Index, u8),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<prop::sample::Index>(), 1_u8..).prop_map(|(at, xor)| Mutation::Flip(at, xor)),
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Mutation::Extend),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, to)| Mutation::Header(at, to)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: &Mutation) {
    match mutation {
        Mutation::Flip(at, xor) => {
            let at = at.index(bytes.len());
            bytes[at] ^= xor;
        }
        Mutation::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Mutation::Extend(more) => bytes.extend_from_slice(more),
        // The fields of header and payload that are interpreted are all in the first 80 bytes.
        Mutation::Header(at, to) => {
            let at = at.index(bytes.len().min(80));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = *to;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn altered_bytes_are_refused(mutation in mutation()) {
        for good in [scalar().to_bytes(), vector().to_bytes(), signs().to_bytes(), KEYS.0.to_bytes()] {
            let mut bytes = good.clone();
            mutate(&mut bytes, &mutation);
            if bytes == good {
                continue;
            }
            prop_assert!(Scalar::from_bytes(&bytes).is_err());
            prop_assert!(PackedVector::from_bytes(&bytes).is_err());
            prop_assert!(SignSum::from_bytes(&bytes).is_err());
            prop_assert!(PublicKey::from_bytes(&bytes).is_err());
        }
        let mut bytes = KEYS.1.to_secret_bytes().to_vec();
        mutate(&mut bytes, &mutation);
        prop_assert!(bytes == *KEYS.1.to_secret_bytes() || PrivateKey::from_secret_bytes(&bytes).is_err());
    }

    /// With a digest that fits, so that the fields are reached: anything but a panic, and whatever is
    /// accepted can be written, added and decrypted without one.
    #[test]
    fn forged_bytes_do_no_harm(mutations in prop::collection::vec(mutation(), 1..4)) {
        for good in [scalar().to_bytes(), vector().to_bytes(), signs().to_bytes()] {
            let mut payload = good[HEADER..good.len() - 32].to_vec();
            for mutation in &mutations {
                mutate(&mut payload, mutation);
            }
            let mut bytes = good[..HEADER].to_vec();
            bytes[28..36].copy_from_slice(&(payload.len() as u64).to_le_bytes());
            bytes.extend_from_slice(&payload);
            bytes.extend_from_slice(&[0; 32]);
            seal_again(&mut bytes);
            if let Ok(value) = Scalar::from_bytes(&bytes) {
                let _ = decrypt(&KEYS.1, &value);
                let _ = add(&value, &scalar()).and_then(|sum| neg(&sum));
                prop_assert_eq!(Scalar::from_bytes(&value.to_bytes()).unwrap(), value);
            }
            if let Ok(value) = PackedVector::from_bytes(&bytes) {
                let _ = value.decrypt(&KEYS.1);
                let _ = value.decrypt_f32(&KEYS.1);
                let _ = value.add(&vector());
                prop_assert_eq!(PackedVector::from_bytes(&value.to_bytes()).unwrap(), value);
            }
            if let Ok(mut value) = SignSum::from_bytes(&bytes) {
                let _ = value.add_assign(&signs());
                prop_assert_eq!(SignSum::from_bytes(&value.to_bytes()).unwrap(), value);
            }
        }
    }

    #[test]
    fn noise_is_no_frame(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Scalar::from_bytes(&bytes).is_err());
        prop_assert!(peek(&bytes).is_err());
        prop_assert!(read_frame(&mut &bytes[..], Kind::Vector).is_err() || bytes.is_empty());
    }
}
