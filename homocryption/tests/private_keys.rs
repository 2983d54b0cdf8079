//! Sharing, exposing and opening keys: honest dealings open, bad ones are exposed, honest dealers cannot be accused.

use cifer_homocryption::ring::{
    Committee, ContributorKey, ContributorSet, Dealing, DealingHeader, FraudProof, GroupContext,
    KeySum, Receipt, RecipientSecret, RingError, Share, ShareSum, Terms, deal, open, receive,
    sealed_share_bytes,
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

struct World {
    rng: ChaCha20Rng,
    group: GroupContext,
    secrets: Vec<RecipientSecret>,
    committee: Committee,
}

impl World {
    fn new(validators: usize, threshold: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(validators as u64);
        let secrets: Vec<_> = (0..validators)
            .map(|_| RecipientSecret::generate(&mut rng))
            .collect();
        let keys = secrets.iter().map(|secret| *secret.public()).collect();
        let committee = Committee::new(keys, threshold).unwrap();
        let group = GroupContext::new("cifer-test", 1, 2, 3, [4; 32]).unwrap();
        Self {
            rng,
            group,
            secrets,
            committee,
        }
    }

    fn terms(&self, contributor: u8) -> Terms<'_> {
        Terms::new(&self.group, [contributor; 32], &self.committee)
    }

    fn deal(&mut self, contributor: u8) -> (ContributorKey, Dealing) {
        let mut rng = self.rng.clone();
        let key = ContributorKey::generate(&self.group, &mut rng);
        let dealing = deal(&key, &self.terms(contributor), &mut rng).unwrap();
        self.rng = rng;
        (key, dealing)
    }

    fn receive(
        &self,
        contributor: u8,
        header: &DealingHeader,
        index: usize,
        sealed: &[u8],
    ) -> Result<Receipt, RingError> {
        receive(
            &self.terms(contributor),
            header,
            index,
            &self.secrets[index],
            sealed,
            &mut self.rng.clone(),
        )
    }

    fn share(&self, contributor: u8, dealing: &Dealing, index: usize) -> Share {
        match self
            .receive(contributor, &dealing.header, index, &dealing.shares[index])
            .unwrap()
        {
            Receipt::Good(share) => share,
            Receipt::Bad(_) => panic!("an honest share was judged bad"),
        }
    }
}

fn changed(bytes: &[u8], place: usize, bit: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1 << bit;
    bytes
}

#[test]
fn an_honest_group_opens_whoever_is_silent_or_lies() {
    let mut world = World::new(7, 2);
    let dealings: Vec<_> = (0..3).map(|contributor| world.deal(contributor)).collect();
    let expected = KeySum::of(&dealings.iter().map(|(key, _)| key).collect::<Vec<_>>()).unwrap();
    let set = ContributorSet::new((0..3).map(|contributor| [contributor; 32]).collect()).unwrap();
    let sums: Vec<ShareSum> = (0..7)
        .map(|index| {
            let share = |(contributor, (_, dealing)): (usize, &(_, Dealing))| {
                world.share(contributor as u8, dealing, index)
            };
            let shares: Vec<Share> = dealings.iter().enumerate().map(share).collect();
            ShareSum::of(&set, &shares).unwrap()
        })
        .collect();
    let lie = |sum: &ShareSum| {
        ShareSum::from_bytes(&changed(&sum.to_bytes(), 74 + 4 * 1_234, 1)).unwrap()
    };

    let all = open(&world.group, &world.committee, &set, &sums).unwrap();
    assert_eq!((&all.key, &all.wrong), (&expected, &vec![]));
    for first in 0..7 {
        for second in 0..7 {
            let mut given: Vec<ShareSum> = sums.clone();
            given[first] = lie(&sums[first]);
            given[second] = lie(&sums[second]);
            let opening = open(&world.group, &world.committee, &set, &given).unwrap();
            let mut wrong = vec![first.min(second), first.max(second)];
            wrong.dedup();
            assert_eq!((&opening.key, &opening.wrong), (&expected, &wrong));
            // Two silent and one liar among the other five.
            let silent: Vec<ShareSum> = given
                .iter()
                .enumerate()
                .filter(|(index, _)| (index + 1) % 7 != first && *index != second)
                .map(|(_, sum)| sum.clone())
                .collect();
            if silent.len() == 5 && second != first {
                assert_eq!(
                    open(&world.group, &world.committee, &set, &silent)
                        .unwrap()
                        .key,
                    expected
                );
            }
        }
    }
    let mut given = sums.clone();
    for place in [0, 3, 5] {
        given[place] = lie(&sums[place]);
    }
    assert!(matches!(
        open(&world.group, &world.committee, &set, &given),
        Err(RingError::NotDecodable { .. })
    ));
    assert!(matches!(
        open(&world.group, &world.committee, &set, &sums[..2]),
        Err(RingError::NotDecodable { .. })
    ));
    assert!(
        open(
            &world.group,
            &world.committee,
            &set,
            &[sums[0].clone(), sums[0].clone(), sums[1].clone()]
        )
        .is_err()
    );
}

#[test]
fn sums_of_another_set_or_group_do_not_open() {
    let mut world = World::new(4, 1);
    let (_, dealing) = world.deal(1);
    let shares: Vec<Vec<Share>> = (0..4)
        .map(|index| vec![world.share(1, &dealing, index)])
        .collect();
    let set = ContributorSet::new(vec![[1; 32]]).unwrap();
    let other = ContributorSet::new(vec![[2; 32]]).unwrap();
    assert!(matches!(
        ShareSum::of(&other, &shares[0]),
        Err(RingError::Mismatch { .. })
    ));
    let sums: Vec<ShareSum> = shares
        .iter()
        .map(|shares| ShareSum::of(&set, shares).unwrap())
        .collect();
    assert!(matches!(
        open(&world.group, &world.committee, &other, &sums),
        Err(RingError::Mismatch { .. })
    ));
    let elsewhere = GroupContext::new("cifer-test", 1, 2, 4, [4; 32]).unwrap();
    assert!(matches!(
        open(&elsewhere, &world.committee, &set, &sums),
        Err(RingError::Mismatch { .. })
    ));
}

#[test]
fn an_honest_dealer_cannot_be_accused() {
    let mut world = World::new(4, 1);
    let (_, dealing) = world.deal(1);
    let header = DealingHeader::from_bytes(&dealing.header.to_bytes(), &world.terms(1)).unwrap();
    assert_eq!(header, dealing.header);
    // Bytes that the header does not commit to are refused, not judged.
    for place in [0, 100, sealed_share_bytes(&world.committee) - 1] {
        let sealed = changed(&dealing.shares[2], place, 3);
        assert!(matches!(
            world.receive(1, &header, 2, &sealed),
            Err(RingError::Mismatch { field: "hash", .. })
        ));
    }
    assert!(world.receive(1, &header, 2, &dealing.shares[1]).is_err());
    assert!(
        world
            .receive(1, &header, 2, &dealing.shares[2][1..])
            .is_err()
    );
    // The header is bound to its contributor, group and committee.
    assert!(DealingHeader::from_bytes(&dealing.header.to_bytes(), &world.terms(2)).is_err());
    assert!(world.receive(2, &header, 2, &dealing.shares[2]).is_err());
    let other = World::new(5, 1);
    assert!(DealingHeader::from_bytes(&dealing.header.to_bytes(), &other.terms(1)).is_err());
    // A secret of another validator is the caller's mistake.
    let terms = world.terms(1);
    let mixed = receive(
        &terms,
        &header,
        2,
        &world.secrets[1],
        &dealing.shares[2],
        &mut world.rng.clone(),
    );
    assert!(matches!(
        mixed,
        Err(RingError::Mismatch { field: "key", .. })
    ));
}

#[test]
fn any_changed_bit_of_a_header_voids_it() {
    let mut world = World::new(4, 1);
    let (_, dealing) = world.deal(1);
    let bytes = dealing.header.to_bytes();
    assert_eq!(bytes.len(), DealingHeader::bytes(&world.committee));
    for place in (0..bytes.len()).step_by(3) {
        let header = changed(&bytes, place, (place % 8) as u8);
        assert!(
            DealingHeader::from_bytes(&header, &world.terms(1)).is_err(),
            "byte {place}"
        );
    }
    assert!(DealingHeader::from_bytes(&bytes[..bytes.len() - 1], &world.terms(1)).is_err());
    assert!(DealingHeader::from_bytes(&[&bytes[..], &[0]].concat(), &world.terms(1)).is_err());
}

#[test]
fn committees_that_cannot_hold_are_refused() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let keys: Vec<_> = (0..7)
        .map(|_| *RecipientSecret::generate(&mut rng).public())
        .collect();
    assert!(Committee::new(keys.clone(), 2).is_ok());
    assert!(Committee::new(keys.clone(), 3).is_err());
    assert!(Committee::new(keys.clone(), 0).is_err());
    assert!(Committee::new(keys[..3].to_vec(), 1).is_err());
    assert!(Committee::new([&keys[..], &keys[..1]].concat(), 2).is_err());
    assert!(ContributorSet::new(vec![[1; 32], [1; 32]]).is_err());
    assert!(ContributorSet::new(vec![]).is_err());
}

#[test]
fn secrets_do_not_print() {
    let mut world = World::new(4, 1);
    let (key, dealing) = world.deal(1);
    let share = world.share(1, &dealing, 0);
    let secret = format!("{:?}", world.secrets[0]);
    let bytes = world.secrets[0].to_bytes();
    assert!(!secret.contains(&format!("{:?}", &bytes[..4]).replace(['[', ']'], "")));
    assert_eq!(
        RecipientSecret::from_bytes(&bytes).unwrap().public(),
        world.secrets[0].public()
    );
    assert!(format!("{key:?}").starts_with("ContributorKey { group: GroupContext"));
    assert_eq!(format!("{share:?}"), "Share { index: 0, .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Decoders see hostile bytes: they refuse or decode to what encodes to the same bytes, and never panic.
    #[test]
    fn decoders_survive_mutated_bytes(places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()) {
        let mut world = World::new(4, 1);
        let (key, dealing) = world.deal(1);
        let share = world.share(1, &dealing, 3);
        let sum = ShareSum::of(&ContributorSet::new(vec![[1; 32]]).unwrap(), &[share]).unwrap();
        let mutate = |mut bytes: Vec<u8>| {
            for (place, value) in &places {
                let place = place.index(bytes.len());
                bytes[place] = *value;
            }
            bytes
        };
        let sum = mutate(sum.to_bytes());
        if let Ok(decoded) = ShareSum::from_bytes(&sum) {
            prop_assert_eq!(decoded.to_bytes(), sum.clone());
        }
        let keys = mutate(KeySum::of(&[&key]).unwrap().to_bytes());
        if let Ok(decoded) = KeySum::from_bytes(&keys) {
            prop_assert_eq!(decoded.to_bytes(), keys.clone());
        }
        let header = mutate(dealing.header.to_bytes());
        if let Ok(decoded) = DealingHeader::from_bytes(&header, &world.terms(1)) {
            prop_assert_eq!(decoded, dealing.header);
        }
        prop_assert!(ShareSum::from_bytes(&sum[..cut.index(sum.len())]).is_err());
        prop_assert!(KeySum::from_bytes(&keys[..cut.index(keys.len())]).is_err());
        prop_assert!(FraudProof::from_bytes(&header, &world.committee).is_err());
    }
}
