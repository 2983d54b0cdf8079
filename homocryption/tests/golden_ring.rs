//! Bytes of every format of private sums, from seeded randomness: they may change only with the version.

use cifer_homocryption::ring::{
    BodyHeader, Committee, ContributorKey, ContributorSet, DealingHeader, GroupContext,
    HEADER_BYTES, Integers, KeySum, Layout, Mapped, Receipt, RecipientSecret, RingError, ShareSum,
    Terms, deal, encrypt, receive, sum_bodies,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_owned()
}

#[test]
fn formats_are_as_they_were() {
    let mut rng = ChaCha20Rng::seed_from_u64(42);
    let group = GroupContext::new("golden", 1, 2, 3, [5; 32]).unwrap();
    let secrets: Vec<_> = (0..4)
        .map(|_| RecipientSecret::generate(&mut rng))
        .collect();
    let committee =
        Committee::new(secrets.iter().map(|secret| *secret.public()).collect(), 1).unwrap();
    let terms = Terms::new(&group, [7; 32], &committee);
    let key = ContributorKey::generate(&group, &mut rng);
    let sum = KeySum::of(&[&key]).unwrap().to_bytes();
    let dealing = deal(&key, &terms, &mut rng).unwrap();
    let header = dealing.header.to_bytes();
    assert_eq!(header.len(), DealingHeader::bytes(&committee));
    let Receipt::Good(share) = receive(
        &terms,
        &dealing.header,
        1,
        &secrets[1],
        &dealing.shares[1],
        &mut rng,
    )
    .unwrap() else {
        panic!("an honest share was judged bad");
    };
    let set = ContributorSet::new(vec![[7; 32]]).unwrap();
    let shares = ShareSum::of(&set, &[share]).unwrap().to_bytes();
    assert_eq!(shares.len(), ShareSum::BYTES);
    let layout = Layout::new(3, 255).unwrap();
    let values: Vec<u8> = (0..5_000_u32)
        .flat_map(|value| (value % 256).to_le_bytes())
        .collect();
    let mut body = Vec::new();
    encrypt(
        key,
        &layout,
        &Integers { max: 255 },
        5_000,
        &values[..],
        &mut body,
        &mut rng,
    )
    .unwrap();
    let mut added = Vec::new();
    sum_bodies(&mut Mapped::new(&[&body, &body]).unwrap(), &mut added).unwrap();
    let found =
        [&sum, &header, &dealing.shares[1], &shares, &body, &added].map(|bytes| digest(bytes));
    assert_eq!(
        found,
        [
            "dffa139ea0b1666a",
            "0f62b8c2f3317a91",
            "97c181de0a606fe1",
            "62bbcff75dc60d92",
            "73149444c653442a",
            "4a0c0d61ebaf86b3"
        ]
    );
}

#[test]
fn body_headers_are_strict() {
    let header = BodyHeader {
        layout: Layout::new(3, 255).unwrap(),
        weighted: true,
        summed: 2,
        values: 1_000_000,
        group: [9; 32],
    };
    let bytes = header.to_bytes();
    let start =
        "43465242 0100 0100 03000000 ff000000 02000000 00000000 40420f0000000000".replace(' ', "");
    let hex: String = bytes[..32]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, start);
    assert_eq!(BodyHeader::from_bytes(&bytes).unwrap(), header);
    for (place, value) in [
        (0, 0),
        (4, 2),
        (6, 2),
        (7, 1),
        (8, 0),
        (11, 1),
        (12, 0),
        (16, 0),
        (16, 4),
        (20, 1),
        (31, 1),
    ] {
        let mut bytes = bytes;
        if place == 12 {
            bytes[12..16].fill(0);
        }
        bytes[place] = value;
        assert!(
            BodyHeader::from_bytes(&bytes).is_err(),
            "byte {place} as {value}"
        );
    }
    assert!(BodyHeader::from_bytes(&bytes[..63]).is_err());
    assert!(BodyHeader::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    let short = [&bytes[..], &[0; 100]].concat();
    assert!(matches!(
        Mapped::new(&[&short]),
        Err(RingError::Malformed { .. })
    ));
    assert_eq!(bytes.len(), HEADER_BYTES);
}
