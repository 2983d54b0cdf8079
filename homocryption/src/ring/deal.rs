//! Sharing a key among the validators so that each can check its share alone.
//!
//! Every coefficient of the key is the constant of a random polynomial of degree t, K more random polynomials mask the
//! checks. Validator i gets the values of all at i + 1, sealed. The dealer publishes a hash of every sealed share, and the K
//! polynomials `u_k(X) = sum over j of r_(k,j) p_j(X) + mask_k(X)`, whose factors r come from the hashes (Fiat-Shamir). A
//! share is good when its own combination equals `u_k(i + 1)` for every k.
//!
//! Soundness: see [`Committee::checks`]. Secrecy: the u_k are uniform, thanks to the masks, and t shares are independent of the key.

use rand_core::{CryptoRng, RngCore};
use zeroize::Zeroizing;

use curve25519_dalek::ristretto::RistrettoPoint;

use super::bytes::{Input, start};
use super::committee::Committee;
use super::context::Terms;
use super::error::RingError;
use super::field::{Fe, add_scaled, dot, evaluate};
use super::key::ContributorKey;
use super::keystream::{Purpose, StreamKey};
use super::params::DEGREE;
use super::seal::{self, Ephemeral, Proof, TAG_BYTES};

const MAGIC: [u8; 4] = *b"CFDH";

/// What a dealer publishes in the ledger: 32 bytes a validator, and `4 K (t + 1)` for the checks.
#[derive(Clone, PartialEq, Eq)]
pub struct DealingHeader {
    pub(super) ephemeral: RistrettoPoint,
    /// BLAKE3 of each sealed share.
    pub(super) shares: Vec<[u8; 32]>,
    /// The K polynomials, lowest coefficient first.
    checks: Vec<Vec<Fe>>,
    proof: Proof,
}

/// A header and the sealed shares, in the order of the committee.
pub struct Dealing {
    /// For the ledger.
    pub header: DealingHeader,
    /// One for each validator. Anybody may carry them.
    pub shares: Vec<Vec<u8>>,
}

/// Bytes of a sealed share for `committee`.
#[must_use]
pub fn sealed_share_bytes(committee: &Committee) -> usize {
    committee.size().share_bytes()
}

/// Shares `key` on `terms`.
///
/// # Errors
/// [`RingError::Mismatch`] for terms of another group than the key's.
pub fn deal(
    key: &ContributorKey,
    terms: &Terms<'_>,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Dealing, RingError> {
    deal_altered(key, terms, rng, |_, _, _| {})
}

/// A dealing whose share for validator `victim` is not of the polynomials that the header commits to, and is signed all
/// the same: what a cheating contributor sends, for tests of those who have to find out.
///
/// # Errors
/// As [`deal`].
#[cfg(feature = "testing")]
pub fn deal_cheating(
    key: &ContributorKey,
    terms: &Terms<'_>,
    victim: usize,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Dealing, RingError> {
    deal_altered(key, terms, rng, |stage, index, share| {
        if stage == Stage::Plain && index == victim {
            share[0] ^= 1;
        }
    })
}

/// When a share passes by the hook of [`deal_altered`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Plain,
    Sealed,
}

/// [`deal`] with a hook that sees every share before and after it is sealed: how tests make a dealer that cheats and signs it.
pub(super) fn deal_altered(
    key: &ContributorKey,
    terms: &Terms<'_>,
    rng: &mut (impl RngCore + CryptoRng),
    mut alter: impl FnMut(Stage, usize, &mut Vec<u8>),
) -> Result<Dealing, RingError> {
    if key.group.digest() != terms.group {
        return Err(RingError::Mismatch {
            field: "group",
            left: "key".to_owned(),
            right: "terms".to_owned(),
        });
    }
    let committee = terms.committee;
    let polynomials = Polynomials::random(key, committee, rng);
    let ephemeral = Ephemeral::generate(rng);
    let mut shares = Vec::with_capacity(committee.recipients().len());
    for (index, recipient) in committee.recipients().iter().enumerate() {
        let mut share = polynomials.share(index);
        alter(Stage::Plain, index, &mut share);
        seal::seal(terms, index, &ephemeral, recipient, &mut share)?;
        alter(Stage::Sealed, index, &mut share);
        shares.push(share);
    }
    let hashes: Vec<[u8; 32]> = shares
        .iter()
        .map(|share| *blake3::hash(share).as_bytes())
        .collect();
    let factors = Factors::new(terms, &ephemeral.public, &hashes);
    let checks = polynomials.checks(&factors);
    let statement = statement(terms, &hashes, &checks);
    let proof = seal::prove(&ephemeral.secret, &ephemeral.public, None, &statement, rng);
    let header = DealingHeader {
        ephemeral: ephemeral.public,
        shares: hashes,
        checks,
        proof,
    };
    Ok(Dealing { header, shares })
}

impl DealingHeader {
    /// Bytes of a header for `committee`.
    #[must_use]
    pub fn bytes(committee: &Committee) -> usize {
        committee.size().header_bytes()
    }

    /// Hash of sealed share `index`: the name by which it is fetched.
    #[must_use]
    pub fn share_hash(&self, index: usize) -> Option<&[u8; 32]> {
        self.shares.get(index)
    }

    /// Canonical bytes: magic, version, validators (u16), checks (u16), point, hashes, coefficients (u32), proof.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = start(MAGIC, 0);
        out.extend_from_slice(&(self.shares.len() as u16).to_le_bytes());
        out.extend_from_slice(&(self.checks.len() as u16).to_le_bytes());
        out.extend_from_slice(self.ephemeral.compress().as_bytes());
        out.extend_from_slice(self.shares.as_flattened());
        for value in self.checks.iter().flatten() {
            out.extend_from_slice(&value.value().to_le_bytes());
        }
        self.proof.write(&mut out);
        out
    }

    /// Decodes a header and verifies it: its form for the committee of `terms`, and the dealer's proof.
    /// Everything that can be judged without a share is judged here; who passes may still have dealt a bad share.
    ///
    /// # Errors
    /// [`RingError::Malformed`] and [`RingError::Unverified`]: the dealing is void.
    pub fn from_bytes(bytes: &[u8], terms: &Terms<'_>) -> Result<Self, RingError> {
        let committee = terms.committee;
        let mut input = Input::new("dealing", MAGIC, bytes)?;
        if usize::from(input.u16()?) != committee.recipients().len() {
            return Err(input.error("another number of validators"));
        }
        if usize::from(input.u16()?) != committee.checks() {
            return Err(input.error("another number of checks"));
        }
        let ephemeral = seal::read_point(&mut input)?;
        let shares = committee
            .recipients()
            .iter()
            .map(|_| input.array())
            .collect::<Result<Vec<_>, _>>()?;
        let mut checks =
            vec![vec![Fe::ZERO; committee.threshold() as usize + 1]; committee.checks()];
        for value in checks.iter_mut().flatten() {
            *value = Fe::from_canonical(input.u32()?)
                .ok_or(input.error("an element is not below the prime"))?;
        }
        let proof = Proof::read(&mut input)?;
        input.finish()?;
        let header = Self {
            ephemeral,
            shares,
            checks,
            proof,
        };
        header.verify(terms)?;
        Ok(header)
    }

    /// Verifies the dealer's proof on `terms`.
    pub(super) fn verify(&self, terms: &Terms<'_>) -> Result<(), RingError> {
        let statement = statement(terms, &self.shares, &self.checks);
        if seal::verify(&self.proof, &self.ephemeral, None, &statement) {
            Ok(())
        } else {
            Err(RingError::Unverified("the dealer's proof"))
        }
    }

    /// Whether the rows of validator `index` agree with the published polynomials.
    pub(super) fn accepts(&self, terms: &Terms<'_>, index: usize, rows: &[Fe]) -> bool {
        let factors = Factors::new(terms, &self.ephemeral, &self.shares);
        let (key, masks) = rows.split_at(DEGREE);
        self.checks
            .iter()
            .zip(&factors.0)
            .zip(masks)
            .all(|((check, factors), mask)| {
                dot(factors, key) + *mask == evaluate(check, Fe::point(index))
            })
    }
}

impl std::fmt::Debug for DealingHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DealingHeader")
            .field("validators", &self.shares.len())
            .finish_non_exhaustive()
    }
}

/// What the dealer's proof is bound to, besides its point.
fn statement(terms: &Terms<'_>, shares: &[[u8; 32]], checks: &[Vec<Fe>]) -> blake3::Hasher {
    let mut hasher = terms.hasher("cifer/homocryption/dealer/v1");
    hasher.update(shares.as_flattened());
    for value in checks.iter().flatten() {
        hasher.update(&value.value().to_le_bytes());
    }
    hasher
}

/// The factors r of the checks: K rows of N.
struct Factors(Vec<Vec<Fe>>);

impl Factors {
    fn new(terms: &Terms<'_>, ephemeral: &RistrettoPoint, shares: &[[u8; 32]]) -> Self {
        let mut hasher = terms.hasher("cifer/homocryption/dealing/v1");
        hasher.update(ephemeral.compress().as_bytes());
        hasher.update(shares.as_flattened());
        let key = StreamKey::new(*hasher.finalize().as_bytes());
        let row = |k: usize| {
            let mut row = vec![Fe::ZERO; DEGREE];
            Fe::draw_all(&mut key.stream(Purpose::Challenge, k as u64), &mut row);
            row
        };
        Self((0..terms.committee.checks()).map(row).collect())
    }
}

/// All polynomials of a dealing, one coefficient of each a row: row 0 is the key followed by the constants of the masks.
struct Polynomials(Vec<Zeroizing<Vec<Fe>>>);

impl Polynomials {
    fn random(
        key: &ContributorKey,
        committee: &Committee,
        rng: &mut (impl RngCore + CryptoRng),
    ) -> Self {
        let random = StreamKey::fresh(rng);
        let row = |degree: u32| {
            let mut row = Zeroizing::new(vec![Fe::ZERO; committee.rows()]);
            Fe::draw_all(
                &mut random.stream(Purpose::Polynomials, degree.into()),
                &mut row,
            );
            row
        };
        let mut rows: Vec<_> = (0..=committee.threshold()).map(row).collect();
        for (constant, coefficient) in rows[0].iter_mut().zip(&key.coefficients[..]) {
            *constant = Fe::from_signed(*coefficient);
        }
        Self(rows)
    }

    /// The values at the point of validator `index`, little endian.
    fn share(&self, index: usize) -> Vec<u8> {
        let at = Fe::point(index);
        let mut values = Zeroizing::new(vec![Fe::ZERO; self.0[0].len()]);
        let mut power = Fe::ONE;
        for row in &self.0 {
            add_scaled(&mut values, power, row);
            power = power * at;
        }
        // Sealed in place; the tag must not move the plain bytes to another allocation.
        let mut bytes = Vec::with_capacity(values.len() * 4 + TAG_BYTES);
        bytes.extend(values.iter().flat_map(|value| value.value().to_le_bytes()));
        bytes
    }

    fn checks(&self, factors: &Factors) -> Vec<Vec<Fe>> {
        let combine = |(k, factors): (usize, &Vec<Fe>)| {
            self.0
                .iter()
                .map(|row| dot(factors, &row[..DEGREE]) + row[DEGREE + k])
                .collect()
        };
        factors.0.iter().enumerate().map(combine).collect()
    }
}
