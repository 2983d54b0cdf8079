//! The bytes of an encrypted update: made by a contributor, inspected by a validator.
//!
//! `dealing's public half | sealed shares, one a validator | body`, all of lengths that the round fixes
//! ([`super::PayloadLayout`]). Nothing here touches a network or a clock; randomness is passed in.

use std::io::{self, Read, Seek, SeekFrom, Write};

use cifer_genesis::{ContributorId, RoundId, TaskId};
use cifer_homocryption::ring::{
    Bodies, BodyHeader, ContributorKey, DealingHeader, Encoder, Quantiser, Receipt,
    RecipientSecret, RingError, Share, Streamed, deal, encrypt, receive, sum_bodies,
};
use rand_core::{CryptoRng, RngCore};

use super::{GroupIndex, RoundTerms, ShareFraud, dealing_hash};
use crate::update::{PayloadEncoding, Update};

/// The rounding of an update in the clear to the integers that are encrypted. Whoever adds noise to them wraps this
/// [`Encoder`] in one of its own, of the same largest value.
///
/// # Errors
/// [`RingError`] for terms that genesis refuses.
pub fn quantiser(
    terms: &RoundTerms,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<Quantiser, RingError> {
    Quantiser::stochastic(*terms.scale(), 1, rng)
}

/// Encrypts an update (f32 little endian, every coordinate) under a fresh key, deals the key, and writes the payload.
/// Returns how the commitment has to name it. The key is gone afterwards: after a failure, start over.
///
/// # Errors
/// [`RingError`] for values that are not finite, a source of another length, and I/O.
pub fn seal_update(
    terms: &RoundTerms,
    group: GroupIndex,
    contributor: ContributorId,
    encoder: &impl Encoder,
    source: impl Read,
    mut sink: impl Write,
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<PayloadEncoding, RingError> {
    let key = ContributorKey::generate(&terms.group(group)?, rng);
    let dealing = deal(&key, &terms.dealing(group, contributor)?, rng)?;
    let header = dealing.header.to_bytes();
    sink.write_all(&header)?;
    for share in &dealing.shares {
        sink.write_all(share)?;
    }
    let (layout, values) = (terms.layout(), terms.values());
    encrypt(key, layout, encoder, values, source, sink, rng)?;
    Ok(PayloadEncoding::GroupedSum {
        group,
        mask_seed: terms.mask_seed(group),
        dealing: dealing_hash(&header),
    })
}

/// A validator's place in the committee and the secret of its share key.
#[derive(Debug, Clone, Copy)]
pub struct Recipient<'a> {
    /// Place in the validator set.
    pub seat: usize,
    /// Secret half of the share key of this round.
    pub secret: &'a RecipientSecret,
}

/// What a validator finds in a payload.
#[derive(Debug)]
pub enum Finding {
    /// In order, as far as this validator can tell.
    Good,
    /// Not well formed; every honest validator finds the same.
    Malformed(RingError),
    /// Well formed, but the share for this validator is none. This proves it.
    BadShare(Box<ShareFraud>),
}

/// What came of a validator's own share.
#[derive(Debug)]
pub enum OwnShare {
    /// It passed the check.
    Good(Share),
    /// It is none. This proves it.
    Bad(Box<ShareFraud>),
}

/// Reads a whole payload and judges it. Without a share key only the form can be judged.
///
/// # Errors
/// Our own I/O.
pub fn inspect(
    terms: &RoundTerms,
    update: &Update,
    own: Option<Recipient<'_>>,
    mut payload: impl Read + Seek,
    rng: &mut (impl RngCore + CryptoRng),
) -> io::Result<Finding> {
    let judged = inspect_form(terms, update, &mut payload).and_then(|()| match own {
        None => Ok(Finding::Good),
        Some(own) => Ok(match take_share(terms, update, own, &mut payload, rng)? {
            OwnShare::Good(_) => Finding::Good,
            OwnShare::Bad(fraud) => Finding::BadShare(fraud),
        }),
    });
    match judged {
        Ok(finding) => Ok(finding),
        Err(RingError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        Err(error) => Ok(Finding::Malformed(error)),
    }
}

fn inspect_form(
    terms: &RoundTerms,
    update: &Update,
    payload: &mut (impl Read + Seek),
) -> Result<(), RingError> {
    payload.rewind()?;
    let layout = terms.payload()?;
    let (group, header) = read_header(terms, update, payload)?;
    let mut share = Vec::new();
    for index in 0..layout.shares {
        share.clear();
        payload
            .by_ref()
            .take(layout.share)
            .read_to_end(&mut share)?;
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        if header.share_hash(place) != Some(blake3::hash(&share).as_bytes()) {
            return Err(malformed("a sealed share is not the one of the header"));
        }
    }
    let mut body = Streamed::new(vec![payload])?;
    let expected = BodyHeader {
        layout: *terms.layout(),
        weighted: false,
        summed: 1,
        values: terms.values(),
        group: terms.group(group)?.digest(),
    };
    if body.headers() != [expected] {
        return Err(malformed("the body is of another group, layout or length"));
    }
    // The sum of one: every coefficient is looked at.
    sum_bodies(&mut body, io::sink())?;
    Ok(())
}

/// Opens and checks this validator's share.
///
/// # Errors
/// [`RingError`] for a payload that [`inspect`] calls malformed, and I/O.
pub fn take_share(
    terms: &RoundTerms,
    update: &Update,
    own: Recipient<'_>,
    payload: &mut (impl Read + Seek),
    rng: &mut (impl RngCore + CryptoRng),
) -> Result<OwnShare, RingError> {
    payload.rewind()?;
    let layout = terms.payload()?;
    let (group, header) = read_header(terms, update, payload)?;
    payload.seek(SeekFrom::Start(layout.share_at(own.seat as u64)))?;
    let mut sealed = Vec::new();
    payload
        .by_ref()
        .take(layout.share)
        .read_to_end(&mut sealed)?;
    let dealing = terms.dealing(group, update.contributor)?;
    match receive(&dealing, &header, own.seat, own.secret, &sealed, rng)? {
        Receipt::Good(share) => Ok(OwnShare::Good(share)),
        Receipt::Bad(proof) => Ok(OwnShare::Bad(Box::new(accusation(
            (update.task, update.round),
            update.contributor,
            &header,
            proof.to_bytes(),
        )))),
    }
}

fn accusation(
    (task, round): (TaskId, RoundId),
    contributor: ContributorId,
    header: &DealingHeader,
    proof: Vec<u8>,
) -> ShareFraud {
    ShareFraud {
        task,
        round,
        contributor,
        header: header.to_bytes(),
        proof,
    }
}

/// The public half of the dealing, held against the commitment; leaves the reader behind it.
fn read_header(
    terms: &RoundTerms,
    update: &Update,
    payload: &mut impl Read,
) -> Result<(GroupIndex, DealingHeader), RingError> {
    let PayloadEncoding::GroupedSum { group, dealing, .. } = update.encoding else {
        return Err(malformed("the update is not encrypted"));
    };
    let mut bytes = Vec::new();
    payload
        .by_ref()
        .take(terms.payload()?.header)
        .read_to_end(&mut bytes)?;
    if dealing_hash(&bytes) != dealing {
        return Err(malformed("the dealing is not the one that was signed"));
    }
    let header = DealingHeader::from_bytes(&bytes, &terms.dealing(group, update.contributor)?)?;
    Ok((group, header))
}

const fn malformed(reason: &'static str) -> RingError {
    RingError::Malformed {
        what: "private update",
        reason,
    }
}
