//! Encrypting an update for a private round.
//!
//! Invariants: the share keys, groups and mask seed are those that the state proves, so a gateway can neither
//! name its own keys nor choose the group; an update is encrypted under a fresh key that is gone afterwards; of a
//! round one encrypted update leaves at most (the record of signed rounds sees to it). A task with
//! noise gets an update with noise or none.

use std::{
    fs::File,
    io::{BufReader, Cursor, Read},
    time::Duration,
};

use cifer_chain::{
    BlobHash, ContributorId, GroupIndex, PayloadEncoding, PrivateRound, RoundTerms, Stage,
    StateKey, ValidatorSet,
    private::payload::{quantiser, seal_update},
};
use cifer_homocryption::ring::{Integers, RingError};
use cifer_privacy::PrivacyError;
use rand::rngs::OsRng;

use crate::{
    client::Client,
    error::{ClientError, ErrorKind, Fault},
    follow::OpenRound,
    noise::TaskNoise,
    query::ProofKey,
    submit::Payload,
    verify,
};

/// How often a round that still gathers share keys is looked at again, at first.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// And after [`SOON`] looks: a validator is down, and the round waits for it.
const LOOK_LATER: Duration = Duration::from_secs(1);
/// Looks that follow each other quickly.
const SOON: u32 = 30;
/// Refusals of a proof in a row before they are believed: nothing can be proven before the first block.
const MAX_REFUSALS: u32 = 60;

/// An encrypted update.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) payload: Payload,
    pub(crate) hash: BlobHash,
    pub(crate) bytes: u64,
    pub(crate) encoding: PayloadEncoding,
}

/// Waits for the round's groups and encrypts an update in the clear. The inner error says why this round gets none.
pub(crate) async fn encrypt(
    client: &Client,
    round: &OpenRound,
    contributor: ContributorId,
    plain: Payload,
) -> Result<Result<Sealed, String>, ClientError> {
    let Some(private) = groups(client, round).await? else {
        return Ok(Err(
            "the round closed before its update was encrypted".to_owned()
        ));
    };
    let network = client.trusted()?;
    let genesis = network.genesis();
    let refused = |error: &dyn std::fmt::Display| {
        ClientError::config("private round", round.round.to_string(), error.to_string())
    };
    let validators = ValidatorSet::from_genesis(genesis).map_err(|error| refused(&error))?;
    let task = network.task(round.task)?;
    let terms = RoundTerms::new(&genesis.chain_id, task, round.round, &validators, &private)
        .map_err(|error| refused(&error))?
        .ok_or_else(|| refused(&"has no groups"))?;
    let Some(group) = private.group_of(&contributor) else {
        return Ok(Err(format!(
            "contributor {contributor} is in no group of this round"
        )));
    };
    let noise = TaskNoise::of(task).map_err(|error| refused(&error))?;
    let work = move || -> Result<Result<Sealed, String>, ClientError> {
        let source = open(&plain)?;
        let mut sink = Vec::new();
        let sealed = match &noise {
            Some(noise) => seal_noised(&terms, group, contributor, noise, source, &mut sink),
            None => quantiser(&terms, &mut OsRng)
                .and_then(|encoder| {
                    let rng = &mut OsRng;
                    seal_update(&terms, group, contributor, &encoder, source, &mut sink, rng)
                })
                .map_err(|error| error.to_string()),
        };
        let encoding = match sealed {
            Ok(encoding) => encoding,
            // Not finite, or of another length: nothing that could be encrypted.
            Err(reason) => return Ok(Err(reason)),
        };
        let payload = Payload::Memory(sink.into());
        let (hash, bytes) = payload.digest()?;
        Ok(Ok(Sealed {
            payload,
            hash,
            bytes,
            encoding,
        }))
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ClientError::Internal("encrypting an update"))?
}

fn open(plain: &Payload) -> Result<Box<dyn Read>, ClientError> {
    Ok(match plain {
        Payload::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
        Payload::File(path) => {
            let file = File::open(path).map_err(|error| ClientError::io(path, error))?;
            Box::new(BufReader::new(file))
        }
    })
}

/// Clips the update, adds the noise that its task asks for, and encrypts what comes of it. The error says why nothing did.
fn seal_noised(
    terms: &RoundTerms,
    group: GroupIndex,
    contributor: ContributorId,
    noise: &TaskNoise,
    source: impl Read,
    sink: &mut Vec<u8>,
) -> Result<PayloadEncoding, String> {
    // One byte more than an update has shows that it is too long.
    let longest = terms.values().saturating_mul(4).saturating_add(1);
    let mut update = Vec::new();
    let read = source.take(longest).read_to_end(&mut update);
    read.map_err(|error| format!("reading the update: {error}"))?;
    let told = |error: PrivacyError| error.to_string();
    let slots = noise.slots(&update, &mut OsRng).map_err(told)?;
    let encoder = Integers {
        max: terms.scale().value_max(),
    };
    let slots = Cursor::new(slots);
    let sealed = seal_update(terms, group, contributor, &encoder, slots, sink, &mut OsRng);
    sealed.map_err(|error: RingError| error.to_string())
}

/// The private half of a round as the state proves it, once the groups are formed.
async fn groups(client: &Client, round: &OpenRound) -> Result<Option<PrivateRound>, ClientError> {
    let key = ProofKey::Raw(StateKey::Private(round.task).to_bytes());
    let (mut looks, mut refusals) = (0, 0);
    loop {
        if looks > 0 {
            let pause = if looks < SOON { LOOK_AGAIN } else { LOOK_LATER };
            tokio::time::sleep(pause).await;
        }
        looks += 1;
        let proof = match client.proof(&key).await {
            Err(error) if error.kind() == ErrorKind::Refused && refusals < MAX_REFUSALS => {
                refusals += 1;
                continue;
            }
            answer => answer?,
        };
        refusals = 0;
        let decoded = proof
            .value
            .as_deref()
            .ok_or_else(|| Fault::malformed("private round", "is proven absent"))
            .and_then(|value| verify::decode::<PrivateRound>("private round", value));
        let private = match decoded {
            Ok(private) => private,
            // Proven by the state and still not readable: a release that knows more than we do.
            Err(fault) => {
                let (value, reason) = (round.task.to_string(), fault.to_string());
                return Err(ClientError::config("private round", value, reason));
            }
        };
        // A gateway may be a block behind; it will catch up, or the round will end.
        match (private.round.cmp(&round.round), &private.stage) {
            (std::cmp::Ordering::Greater, _) => return Ok(None),
            (std::cmp::Ordering::Equal, Stage::Open { .. }) => return Ok(Some(private)),
            (std::cmp::Ordering::Equal, Stage::Closed { .. } | Stage::Sealed { .. }) => {
                return Ok(None);
            }
            _ => {}
        }
    }
}
