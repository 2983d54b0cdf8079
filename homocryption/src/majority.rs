//! Sign majority under encryption: which way most contributors want each parameter to move.
//!
//! 1. A contributor encrypts one bit a parameter under the public key of the task's owner ([`SignSum::encrypt`]).
//! 2. Anybody adds the encryptions, up to [`MAX_VOTERS`], without a key ([`SignSum::add_assign`]).
//! 3. Whoever holds the evaluation key compares each sum with half of the voters, under encryption: one
//!    bootstrapping a parameter ([`majority`]). The result has three values: more than half, less, and a tie.
//! 4. The owner decrypts directions. It does not learn how many voted for one.
//!
//! **Who sees what.** The private key is the owner's, alone. The owner learns nothing but directions
//! only as long as it is given the results and never the contributors' ciphertexts: it can decrypt those too. So
//! this protects contributors from whoever aggregates, and from the owner only if the aggregator does not collude with it.
//! A contributor can vote as it likes, and a ciphertext that is not a sum of bits is not detected.
//!
//! A result is one LWE ciphertext a parameter, with words cut to 24 bits: an error of at most 2^50 on a scale
//! where 2^58 decides.

use rayon::prelude::*;
use tfhe::core_crypto::prelude::LweCiphertext;
use tfhe::shortint::ciphertext::{Degree, NoiseLevel};
use tfhe::shortint::{AtomicPatternKind, Ciphertext, PBSOrder};

use crate::error::{Error, FormatError};
use crate::format::{Fields, Frame, Kind, put_words, within};
use crate::keys::{KeyId, PrivateKey, PublicKey, RelinKey};
use crate::lattice::{List, mask_words, phase, round};
use crate::params::{BLOCK_SHIFT, DIMENSION, MAX_PARAMETERS, MAX_VOTERS, SCALAR_NOISE, TFHE};

/// Bits that are cut from every word of a result.
const CUT: u32 = 40;
/// Bytes of a word that is left.
const WORD: usize = 3;
/// Bytes of one parameter's result.
const RESULT: usize = WORD * (DIMENSION + 1);

/// Where most voters want a parameter to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// More than half said down.
    Down,
    /// As many said up as said down.
    Tie,
    /// More than half said up.
    Up,
}

/// Encrypted votes, summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignSum {
    key_id: KeyId,
    voters: u8,
    list: List,
}

/// The encrypted outcome of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Majority {
    key_id: KeyId,
    results: Vec<u8>,
}

impl SignSum {
    /// One voter's bits: `true` for up.
    ///
    /// # Errors
    ///
    /// [`Error::Limit`] for no parameters, or more than [`MAX_PARAMETERS`].
    pub fn encrypt(public: &PublicKey, ups: &[bool]) -> Result<Self, Error> {
        if !(1..=MAX_PARAMETERS).contains(&ups.len()) {
            let limit = format!("1 to {MAX_PARAMETERS}");
            return Err(Error::Limit {
                field: "parameters",
                value: ups.len() as u64,
                limit,
            });
        }
        let encoded = ups.iter().map(|up| u64::from(*up) << BLOCK_SHIFT).collect();
        Ok(Self {
            key_id: public.key_id(),
            voters: 1,
            list: List::encrypt(public, encoded),
        })
    }

    /// One voter's update: positive numbers vote up, all others down.
    ///
    /// # Errors
    ///
    /// As [`SignSum::encrypt`].
    pub fn encrypt_update(public: &PublicKey, update: &[f32]) -> Result<Self, Error> {
        Self::encrypt(
            public,
            &update
                .iter()
                .map(|change| *change > 0.0)
                .collect::<Vec<_>>(),
        )
    }

    /// Adds other voters, without a key; unchanged when refused.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] or [`Error::Length`] when they do not match, [`Error::Voters`] when there would be too many.
    pub fn add_assign(&mut self, other: &Self) -> Result<(), Error> {
        self.key_id.expect("the second vote", other.key_id)?;
        let (left, right) = (self.parameters(), other.parameters());
        if left != right {
            return Err(Error::Length { left, right });
        }
        let used = u64::from(self.voters) + u64::from(other.voters);
        let limit = u64::from(MAX_VOTERS);
        if used > limit {
            return Err(Error::Voters { used, limit });
        }
        self.voters = used as u8;
        self.list.add_assign(&other.list);
        Ok(())
    }

    /// Parameters voted on.
    pub fn parameters(&self) -> usize {
        self.list.bodies.len()
    }

    /// Voters in this sum.
    pub fn voters(&self) -> u8 {
        self.voters
    }
}

/// Takes the majority of every parameter: one bootstrapping each, on all cores.
///
/// # Errors
///
/// [`Error::Key`] for votes under another key.
pub fn majority(votes: &SignSum, relin: &RelinKey) -> Result<Majority, Error> {
    relin.key_id().expect("the votes", votes.key_id)?;
    let key: &tfhe::shortint::ServerKey = relin.server.as_ref();
    let voters = u64::from(votes.voters);
    let table = key.generate_lookup_table(|ups| match (2 * ups).cmp(&voters) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => 1,
        std::cmp::Ordering::Greater => 2,
    });
    let mut results = vec![0; RESULT * votes.parameters()];
    results
        .par_chunks_exact_mut(RESULT)
        .enumerate()
        .for_each(|(index, result)| {
            // Fresh encryptions: a sum of 15 has an error under 2^33, far less than one bootstrapped block.
            let mut block = Ciphertext::new(
                LweCiphertext::from_container(votes.list.extract(index), TFHE.ciphertext_modulus),
                Degree::new(voters),
                NoiseLevel::NOMINAL,
                TFHE.message_modulus,
                TFHE.carry_modulus,
                AtomicPatternKind::Standard(PBSOrder::KeyswitchBootstrap),
            );
            key.apply_lookup_table_assign(&mut block, &table);
            for (out, word) in result.chunks_exact_mut(WORD).zip(block.ct.as_ref()) {
                let cut = word.wrapping_add(1 << (CUT - 1)) >> CUT;
                out.copy_from_slice(&cut.to_le_bytes()[..WORD]);
            }
        });
    Ok(Majority {
        key_id: votes.key_id,
        results,
    })
}

impl Majority {
    /// Decrypts the directions.
    ///
    /// # Errors
    ///
    /// [`Error::Key`] for a result under another key, [`Error::Ciphertext`] for a damaged one.
    pub fn decrypt(&self, private: &PrivateKey) -> Result<Vec<Direction>, Error> {
        private.key_id().expect("the majority", self.key_id)?;
        let direction = |result: &[u8]| {
            let word = |bytes: &[u8]| {
                let word = bytes
                    .iter()
                    .rev()
                    .fold(0, |word, byte| word << 8 | u64::from(*byte));
                word << CUT
            };
            let lwe: Vec<u64> = result.chunks_exact(WORD).map(word).collect();
            let (block, error) = round(phase(&lwe, private), BLOCK_SHIFT);
            match block {
                _ if error > SCALAR_NOISE => {
                    Err(Error::Ciphertext("a result is nothing but noise"))
                }
                0 => Ok(Direction::Down),
                1 => Ok(Direction::Tie),
                2 => Ok(Direction::Up),
                _ => Err(Error::Ciphertext("a result is none of down, tie, up")),
            }
        };
        self.results
            .par_chunks_exact(RESULT)
            .map(direction)
            .collect()
    }

    /// Parameters voted on.
    pub fn parameters(&self) -> usize {
        self.results.len() / RESULT
    }
}

/// Payload: voters (1 byte), parameters (4 bytes, little endian), masks, bodies.
impl Frame for SignSum {
    const KIND: Kind = Kind::Signs;

    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = vec![self.voters];
        out.extend_from_slice(&(self.parameters() as u32).to_le_bytes());
        put_words(&mut out, &self.list.masks);
        put_words(&mut out, &self.list.bodies);
        out
    }

    fn from_payload(key_id: KeyId, payload: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(payload);
        let voters = fields.bounded("voters", 1..=u64::from(MAX_VOTERS))? as u8;
        let count = parameters(&mut fields)?;
        let mut masks = fields.words(mask_words(count) + count)?;
        let bodies = masks.split_off(mask_words(count));
        Ok(Self {
            key_id,
            voters,
            list: List { masks, bodies },
        })
    }
}

/// Payload: parameters (4 bytes, little endian), then 2049 words of 3 bytes for each.
impl Frame for Majority {
    const KIND: Kind = Kind::Majority;

    fn key_id(&self) -> KeyId {
        self.key_id
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = (self.parameters() as u32).to_le_bytes().to_vec();
        out.extend_from_slice(&self.results);
        out
    }

    fn from_payload(key_id: KeyId, payload: &[u8]) -> Result<Self, FormatError> {
        let mut fields = Fields::new(payload);
        let count = parameters(&mut fields)?;
        Ok(Self {
            key_id,
            results: fields.rest(count * RESULT)?.to_vec(),
        })
    }
}

fn parameters(fields: &mut Fields<'_>) -> Result<usize, FormatError> {
    Ok(within(
        "parameters",
        fields.u32()?.into(),
        1..=MAX_PARAMETERS as u64,
    )? as usize)
}
