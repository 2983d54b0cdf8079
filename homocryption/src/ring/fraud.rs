//! Proof that a dealer sealed a bad share, checked by anybody from the ledger's header alone.
//!
//! The accuser reveals the point it shares with the dealer, with a proof that it is the right one. With it the sealed share, whose hash the
//! header holds, opens for everybody, and is seen to be no share of the published polynomials.

use curve25519_dalek::ristretto::RistrettoPoint;
use rand_core::{CryptoRng, RngCore};

use super::bytes::{Input, start};
use super::committee::{Committee, RecipientSecret};
use super::context::Terms;
use super::deal::{DealingHeader, sealed_share_bytes};
use super::error::RingError;
use super::receive::{check_sealed, judge};
use super::seal::{self, Proof};

const MAGIC: [u8; 4] = *b"CFFP";

/// An accusation: the sealed share, what opens it, and why that is right. About 8.4 KB.
#[derive(Clone, PartialEq, Eq)]
pub struct FraudProof {
    index: usize,
    shared: RistrettoPoint,
    proof: Proof,
    sealed: Vec<u8>,
}

impl std::fmt::Debug for FraudProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FraudProof")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl FraudProof {
    pub(super) fn new(
        terms: &Terms<'_>,
        header: &DealingHeader,
        index: usize,
        secret: &RecipientSecret,
        shared: &RistrettoPoint,
        sealed: &[u8],
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Self {
        let statement = statement(terms, index);
        let other = Some((header.ephemeral, *shared));
        let proof = seal::prove(
            &secret.scalar,
            &secret.public().point,
            other,
            &statement,
            rng,
        );
        Self {
            index,
            shared: *shared,
            proof,
            sealed: sealed.to_vec(),
        }
    }

    /// The accuser.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Ok means that the dealer of `header` is guilty.
    ///
    /// # Errors
    /// [`RingError::Unfounded`] where the share is in order, and others where the proof proves nothing: the accuser is at fault.
    pub fn verify(&self, terms: &Terms<'_>, header: &DealingHeader) -> Result<(), RingError> {
        header.verify(terms)?;
        self.founded(terms, header)
    }

    /// [`Self::verify`] on the encoding of a header, which is decoded and verified on the way.
    ///
    /// # Errors
    /// As [`Self::verify`], and [`RingError::Malformed`].
    pub fn verify_encoded(&self, terms: &Terms<'_>, header: &[u8]) -> Result<(), RingError> {
        self.founded(terms, &DealingHeader::from_bytes(header, terms)?)
    }

    /// The header has been verified on these terms.
    fn founded(&self, terms: &Terms<'_>, header: &DealingHeader) -> Result<(), RingError> {
        let recipient = terms.committee.recipient(self.index)?;
        check_sealed(terms, header, self.index, &self.sealed)?;
        let other = Some((header.ephemeral, self.shared));
        if !seal::verify(
            &self.proof,
            &recipient.point,
            other,
            &statement(terms, self.index),
        ) {
            return Err(RingError::Unverified("the proof of the shared point"));
        }
        match judge(terms, header, self.index, &self.shared, &self.sealed) {
            None => Ok(()),
            Some(_) => Err(RingError::Unfounded),
        }
    }

    /// Bytes of a proof for `committee`.
    #[must_use]
    pub fn bytes(committee: &Committee) -> usize {
        committee.size().fraud_bytes()
    }

    /// Canonical bytes: magic, version, index (u32), point, proof, sealed share.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = start(MAGIC, 106 + self.sealed.len());
        out.extend_from_slice(&(self.index as u32).to_le_bytes());
        out.extend_from_slice(self.shared.compress().as_bytes());
        self.proof.write(&mut out);
        out.extend_from_slice(&self.sealed);
        out
    }

    /// # Errors
    /// [`RingError::Malformed`].
    pub fn from_bytes(bytes: &[u8], committee: &Committee) -> Result<Self, RingError> {
        let mut input = Input::new("fraud proof", MAGIC, bytes)?;
        let index = input.u32()? as usize;
        committee.recipient(index)?;
        let shared = seal::read_point(&mut input)?;
        let proof = Proof::read(&mut input)?;
        let sealed = input.take(sealed_share_bytes(committee))?.to_vec();
        input.finish()?;
        Ok(Self {
            index,
            shared,
            proof,
            sealed,
        })
    }
}

fn statement(terms: &Terms<'_>, index: usize) -> blake3::Hasher {
    let mut hasher = terms.hasher("cifer/homocryption/accusation/v1");
    hasher.update(&(index as u64).to_le_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::ring::deal::{Dealing, Stage, deal_altered};
    use crate::ring::{ContributorKey, GroupContext, Receipt, receive};

    const VICTIM: usize = 2;

    struct World {
        rng: ChaCha20Rng,
        group: GroupContext,
        secrets: Vec<RecipientSecret>,
        committee: Committee,
    }

    impl World {
        fn new() -> Self {
            let mut rng = ChaCha20Rng::seed_from_u64(77);
            let secrets: Vec<_> = (0..4)
                .map(|_| RecipientSecret::generate(&mut rng))
                .collect();
            let committee =
                Committee::new(secrets.iter().map(|secret| *secret.public()).collect(), 1).unwrap();
            let group = GroupContext::new("cifer-test", 1, 2, 3, [4; 32]).unwrap();
            Self {
                rng,
                group,
                secrets,
                committee,
            }
        }

        fn terms(&self) -> Terms<'_> {
            Terms::new(&self.group, [1; 32], &self.committee)
        }

        fn deal(&self, alter: impl Fn(Stage, &mut Vec<u8>)) -> Dealing {
            let mut rng = self.rng.clone();
            let key = ContributorKey::generate(&self.group, &mut rng);
            let victim_only = |stage, index, share: &mut Vec<u8>| {
                if index == VICTIM {
                    alter(stage, share);
                }
            };
            deal_altered(&key, &self.terms(), &mut rng, victim_only).unwrap()
        }

        fn receive(&self, dealing: &Dealing, index: usize) -> Receipt {
            let secret = &self.secrets[index];
            let mut rng = self.rng.clone();
            receive(
                &self.terms(),
                &dealing.header,
                index,
                secret,
                &dealing.shares[index],
                &mut rng,
            )
            .unwrap()
        }

        /// An accusation by the victim, whatever it received.
        fn accuse(&self, dealing: &Dealing) -> FraudProof {
            let secret = &self.secrets[VICTIM];
            let shared = secret.scalar * dealing.header.ephemeral;
            let sealed = &dealing.shares[VICTIM];
            FraudProof::new(
                &self.terms(),
                &dealing.header,
                VICTIM,
                secret,
                &shared,
                sealed,
                &mut self.rng.clone(),
            )
        }
    }

    type Cheat = fn(Stage, &mut Vec<u8>);

    const CHEATS: [(&str, Cheat); 4] = [
        ("another value for one coefficient", |stage, share| {
            if stage == Stage::Plain {
                share[4 * 77] ^= 1;
            }
        }),
        ("another value for one mask", |stage, share| {
            if stage == Stage::Plain {
                let last = share.len() - 4;
                share[last] ^= 1;
            }
        }),
        ("an element that is not canonical", |stage, share| {
            if stage == Stage::Plain {
                share[..4].fill(0xff);
            }
        }),
        ("bytes that do not authenticate", |stage, share| {
            if stage == Stage::Sealed {
                share[5] ^= 1;
            }
        }),
    ];

    #[test]
    fn every_bad_share_is_exposed_to_everybody() {
        let world = World::new();
        for (name, cheat) in CHEATS {
            let dealing = world.deal(cheat);
            let Receipt::Bad(proof) = world.receive(&dealing, VICTIM) else {
                panic!("accepted: {name}")
            };
            let bytes = proof.to_bytes();
            assert_eq!(bytes.len(), FraudProof::bytes(&world.committee));
            let proof = FraudProof::from_bytes(&bytes, &world.committee).unwrap();
            assert_eq!(proof.index(), VICTIM);
            let header =
                DealingHeader::from_bytes(&dealing.header.to_bytes(), &world.terms()).unwrap();
            proof.verify(&world.terms(), &header).unwrap();
            proof
                .verify_encoded(&world.terms(), &header.to_bytes())
                .unwrap();
            // The others' shares of the same dealing are good, and it proves nothing about another dealing or contributor.
            assert!(matches!(world.receive(&dealing, 0), Receipt::Good(_)));
            let other = Terms::new(&world.group, [2; 32], &world.committee);
            assert!(proof.verify(&other, &header).is_err());
            assert!(proof.verify_encoded(&other, &header.to_bytes()).is_err());
            assert!(
                proof
                    .verify(&world.terms(), &world.deal(|_, _| {}).header)
                    .is_err()
            );
        }
    }

    #[test]
    fn an_honest_dealing_cannot_be_proved_bad() {
        let world = World::new();
        let dealing = world.deal(|_, _| {});
        assert!(matches!(world.receive(&dealing, VICTIM), Receipt::Good(_)));
        let honest = world.accuse(&dealing);
        assert!(matches!(
            honest.verify(&world.terms(), &dealing.header),
            Err(RingError::Unfounded)
        ));
        // Lying about the shared point, so that nothing opens, needs a proof of a false statement.
        let mut lie = honest.clone();
        lie.shared += world.committee.recipients()[0].point;
        assert!(matches!(
            lie.verify(&world.terms(), &dealing.header),
            Err(RingError::Unverified(_))
        ));
        let mut lie = honest.clone();
        lie.sealed[9] ^= 1;
        assert!(matches!(
            lie.verify(&world.terms(), &dealing.header),
            Err(RingError::Mismatch { .. })
        ));
        let mut lie = honest.clone();
        lie.index = 1;
        assert!(lie.verify(&world.terms(), &dealing.header).is_err());
        // A key of one's own instead of the committee's.
        let stranger = RecipientSecret::generate(&mut world.rng.clone());
        let shared = stranger.scalar * dealing.header.ephemeral;
        let sealed = &dealing.shares[VICTIM];
        let mut rng = world.rng.clone();
        let lie = FraudProof::new(
            &world.terms(),
            &dealing.header,
            VICTIM,
            &stranger,
            &shared,
            sealed,
            &mut rng,
        );
        assert!(matches!(
            lie.verify(&world.terms(), &dealing.header),
            Err(RingError::Unverified(_))
        ));
    }

    /// Copying another dealer's point to have its shared secrets revealed: the header does not verify, so nothing is.
    #[test]
    fn a_copied_point_gets_no_answer() {
        let world = World::new();
        let honest = world.deal(|_, _| {});
        let thief = Terms::new(&world.group, [9; 32], &world.committee);
        let mut rng = ChaCha20Rng::seed_from_u64(78);
        let key = ContributorKey::generate(&world.group, &mut rng);
        let mut copied = deal_altered(&key, &thief, &mut rng, |_, _, _| {}).unwrap();
        copied.header.ephemeral = honest.header.ephemeral;
        let secret = &world.secrets[VICTIM];
        let outcome = receive(
            &thief,
            &copied.header,
            VICTIM,
            secret,
            &copied.shares[VICTIM],
            &mut rng,
        );
        assert!(matches!(
            outcome,
            Err(RingError::Unverified("the dealer's proof"))
        ));
    }

    #[test]
    fn proofs_of_other_lengths_or_with_bad_points_do_not_decode() {
        let world = World::new();
        let bytes = world.accuse(&world.deal(|_, _| {})).to_bytes();
        let decode = |bytes: &[u8]| FraudProof::from_bytes(bytes, &world.committee);
        assert_eq!(decode(&bytes).unwrap().to_bytes(), bytes);
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        // Magic, version, index, identity, a point above the field, a scalar above the order.
        for (place, fill, length) in [
            (0, 0, 4),
            (4, 9, 2),
            (6, 200, 1),
            (10, 0, 32),
            (10, 255, 32),
            (42, 255, 32),
        ] {
            let mut bytes = bytes.clone();
            bytes[place..place + length].fill(fill);
            assert!(decode(&bytes).is_err(), "byte {place}");
        }
    }
}
