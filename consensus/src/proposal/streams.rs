//! Proposals that are still arriving.
//!
//! Invariants: a stream exists only for a head whose proposer's signature was verified; a publisher holds at
//! most [`MAX_STREAMS_PER_PUBLISHER`] of them, all together [`MAX_STREAMS`], none longer than
//! [`MAX_STREAM_AGE`] or larger than the network's block limit.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cifer_genesis::{Hash32, Height, ValidatorId};

use super::part::{Chunk, Init};

/// One proposal a round, and the next round's while the last one is still arriving.
pub(crate) const MAX_STREAMS_PER_PUBLISHER: usize = 4;
/// With blocks of at most 2 MiB: 64 MiB.
pub(crate) const MAX_STREAMS: usize = 32;
/// A proposal that takes longer than any propose timeout is of no use.
pub(crate) const MAX_STREAM_AGE: Duration = Duration::from_secs(30);

/// Why a part was refused. The publisher or the proposer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// Not published by a validator.
    #[error("published by {0}, which is not a validator")]
    Publisher(String),
    /// Of no use now or soon.
    #[error("for height {height} round {round}, next height is {next}")]
    Window {
        /// The part's height.
        height: Height,
        /// The part's round.
        round: u32,
        /// The height that is decided next.
        next: Height,
    },
    /// Announces more than a block may have, or nothing.
    #[error("announces {bytes} bytes; 1 to {limit} are allowed")]
    Size {
        /// What is announced.
        bytes: u32,
        /// What is allowed.
        limit: u64,
    },
    /// A chunk of the wrong length or index.
    #[error("chunk {index} of {bytes} bytes does not fit its head")]
    Chunk {
        /// Its index.
        index: u32,
        /// Its length.
        bytes: usize,
    },
    /// Signed by somebody whose turn it is not.
    #[error("{0} is not the proposer of that round")]
    Proposer(ValidatorId),
    /// The signature does not verify.
    #[error("signature of {0} does not verify")]
    Signature(ValidatorId),
    /// The chunks are not what was announced.
    #[error("proposal of {0}: the bytes are not the announced ones")]
    Payload(ValidatorId),
    /// More different proposals for a round than are kept.
    #[error("too many proposals for height {0}")]
    TooMany(Height),
}

#[derive(Debug)]
struct Stream {
    init: Init,
    chunks: Vec<Option<Vec<u8>>>,
    opened: Instant,
}

/// What a chunk led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// The first chunk of a proposal that has more.
    Opened,
    /// Another one.
    Partial,
    /// The last missing one; these are the bytes.
    Complete(Vec<u8>),
}

/// All proposals that are still arriving.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: BTreeMap<(ValidatorId, Hash32), Stream>,
}

impl Streams {
    /// Takes a chunk. `verify` judges the head the first time it is seen.
    pub(crate) fn add(
        &mut self,
        publisher: ValidatorId,
        chunk: Chunk,
        max_payload_bytes: u64,
        now: Instant,
        verify: impl FnOnce(&Init) -> Result<(), Refusal>,
    ) -> Result<Added, Refusal> {
        let Chunk { init, index, bytes } = chunk;
        if init.payload_bytes == 0 || u64::from(init.payload_bytes) > max_payload_bytes {
            return Err(Refusal::Size {
                bytes: init.payload_bytes,
                limit: max_payload_bytes,
            });
        }
        let slot = index as usize;
        if slot >= init.chunk_count() || bytes.len() != init.chunk_bytes(slot) {
            return Err(Refusal::Chunk {
                index,
                bytes: bytes.len(),
            });
        }
        let key = (publisher, init.id());
        let is_new = !self.open.contains_key(&key);
        if is_new {
            verify(&init)?;
            self.make_room(publisher, now);
        }
        let stream = self.open.entry(key).or_insert_with(|| Stream {
            chunks: vec![None; init.chunk_count()],
            init,
            opened: now,
        });
        stream.chunks[slot] = Some(bytes);
        if stream.chunks.iter().any(Option::is_none) {
            return Ok(if is_new {
                Added::Opened
            } else {
                Added::Partial
            });
        }
        let Some(stream) = self.open.remove(&key) else {
            return Ok(Added::Partial);
        };
        let payload = stream
            .chunks
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .concat();
        if stream.init.matches(&payload) {
            Ok(Added::Complete(payload))
        } else {
            Err(Refusal::Payload(stream.init.proposer))
        }
    }

    /// Forgets proposals of heights that are decided.
    pub(crate) fn forget_through(&mut self, height: Height) {
        self.open.retain(|_, stream| stream.init.height > height);
    }

    /// Drops what is too old, then the oldest of the publisher, then the oldest of all.
    fn make_room(&mut self, publisher: ValidatorId, now: Instant) {
        self.open
            .retain(|_, stream| now.saturating_duration_since(stream.opened) < MAX_STREAM_AGE);
        let held = self
            .open
            .keys()
            .filter(|(holder, _)| *holder == publisher)
            .count();
        if held >= MAX_STREAMS_PER_PUBLISHER {
            self.drop_oldest(|holder| *holder == publisher);
        }
        if self.open.len() >= MAX_STREAMS {
            self.drop_oldest(|_| true);
        }
    }

    fn drop_oldest(&mut self, mut of: impl FnMut(&ValidatorId) -> bool) {
        let oldest = self
            .open
            .iter()
            .filter(|((holder, _), _)| of(holder))
            .min_by_key(|(_, stream)| stream.opened)
            .map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.open.remove(&key);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use arc_malachitebft_app_channel::app::types::core::Round;
    use cifer_genesis::{BlockHash, SecretKey};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        context::{EngineAddress, EngineHeight, EngineProposal, EngineValue},
        proposal::{
            CHUNK_BYTES, Part,
            part::{PARTS_DOMAIN, split},
        },
    };

    const LIMIT: u64 = 1 << 20;

    fn id(seed: u8) -> ValidatorId {
        ValidatorId(SecretKey::from_seed(&[seed; 32]).public_key())
    }

    fn chunks(seed: u8, round: u32, payload: &[u8]) -> Vec<Chunk> {
        let key = SecretKey::from_seed(&[seed; 32]);
        let proposal = EngineProposal {
            height: EngineHeight(Height(1)),
            round: Round::new(round),
            value: EngineValue(BlockHash::default()),
            pol_round: Round::Nil,
            address: EngineAddress(id(seed)),
        };
        let mut init = Init::new(&proposal, payload).unwrap();
        init.signature = key.sign(PARTS_DOMAIN, "test", &init.signed_payload());
        split(&init, payload)
            .into_iter()
            .map(|part| match part {
                Part::Chunk(chunk) => chunk,
                Part::Wake(_) => unreachable!("split makes chunks"),
            })
            .collect()
    }

    fn verify(init: &Init) -> Result<(), Refusal> {
        init.verify("test")
            .map_err(|_| Refusal::Signature(init.proposer))
    }

    fn add(streams: &mut Streams, publisher: u8, chunk: Chunk) -> Result<Added, Refusal> {
        streams.add(id(publisher), chunk, LIMIT, Instant::now(), verify)
    }

    #[test]
    fn a_small_proposal_is_one_message() {
        let mut parts = chunks(1, 0, b"block");
        assert_eq!(parts.len(), 1);
        let added = add(&mut Streams::default(), 1, parts.remove(0)).unwrap();
        assert_eq!(added, Added::Complete(b"block".to_vec()));
    }

    #[test]
    fn forged_heads_hold_no_memory() {
        let mut streams = Streams::default();
        let mut chunk = chunks(1, 0, &vec![0; CHUNK_BYTES + 1]).remove(0);
        chunk.init.round = 1;
        assert_eq!(add(&mut streams, 1, chunk), Err(Refusal::Signature(id(1))));
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn sizes_are_bounded_and_exact() {
        let mut streams = Streams::default();
        let payload = vec![0; CHUNK_BYTES + 1];
        let refused = streams.add(
            id(1),
            chunks(1, 0, &payload).remove(0),
            10,
            Instant::now(),
            verify,
        );
        assert!(matches!(refused, Err(Refusal::Size { .. })));
        let mut short = chunks(1, 0, &payload).remove(0);
        short.bytes.pop();
        assert!(matches!(
            add(&mut streams, 1, short),
            Err(Refusal::Chunk { .. })
        ));
        let mut beyond = chunks(1, 0, &payload).remove(1);
        beyond.index = 2;
        assert!(matches!(
            add(&mut streams, 1, beyond),
            Err(Refusal::Chunk { .. })
        ));
    }

    #[test]
    fn bytes_that_are_not_the_announced_ones_are_refused() {
        let mut chunk = chunks(1, 0, b"block").remove(0);
        chunk.bytes = b"blocK".to_vec();
        assert_eq!(
            add(&mut Streams::default(), 1, chunk),
            Err(Refusal::Payload(id(1)))
        );
    }

    #[test]
    fn a_publisher_cannot_crowd_out_the_others() {
        let mut streams = Streams::default();
        let payload = vec![0; CHUNK_BYTES + 1];
        add(&mut streams, 2, chunks(2, 0, &payload).remove(0)).unwrap();
        for round in 0..100 {
            add(&mut streams, 1, chunks(1, round, &payload).remove(0)).unwrap();
        }
        assert_eq!(streams.len(), MAX_STREAMS_PER_PUBLISHER + 1);
        let done = add(&mut streams, 2, chunks(2, 0, &payload).remove(1)).unwrap();
        assert_eq!(done, Added::Complete(payload));
    }

    #[test]
    fn all_together_are_bounded_and_old_ones_go() {
        let mut streams = Streams::default();
        let payload = vec![0; CHUNK_BYTES + 1];
        for publisher in 0..u8::try_from(MAX_STREAMS).unwrap() + 8 {
            add(
                &mut streams,
                publisher,
                chunks(publisher, 0, &payload).remove(0),
            )
            .unwrap();
        }
        assert_eq!(streams.len(), MAX_STREAMS);
        let later = Instant::now() + MAX_STREAM_AGE;
        streams
            .add(
                id(200),
                chunks(200, 0, &payload).remove(0),
                LIMIT,
                later,
                verify,
            )
            .unwrap();
        assert_eq!(streams.len(), 1);
        streams.forget_through(Height(1));
        assert_eq!(streams.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn any_order_assembles_the_same_bytes(
            size in 1..4 * CHUNK_BYTES,
            order in any::<prop::sample::Index>(),
            repeat in any::<bool>(),
        ) {
            let payload: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
            let mut parts = chunks(1, 0, &payload);
            let turn = order.index(parts.len());
            parts.rotate_left(turn);
            if repeat && parts.len() > 1 {
                parts.insert(1, parts[0].clone());
            }
            let mut streams = Streams::default();
            let last = parts.pop().unwrap();
            for part in parts {
                prop_assert_ne!(add(&mut streams, 1, part).unwrap(), Added::Complete(vec![]));
            }
            prop_assert_eq!(add(&mut streams, 1, last).unwrap(), Added::Complete(payload));
        }
    }
}
