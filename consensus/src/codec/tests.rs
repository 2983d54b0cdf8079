//! Golden bytes, round trips, and decoders on hostile bytes.

use std::fmt::Debug;

use arc_malachitebft_app_channel::app::{
    engine::util::streaming::StreamContent,
    streaming::StreamId,
    types::{
        PeerId,
        core::{
            NilOrVal, PolkaSignature, Round, RoundCertificate, RoundCertificateType,
            RoundSignature, SignedMessage, Validity, VoteType,
        },
        sync::RawDecidedValue,
    },
};
use arc_malachitebft_sync::{ValueRequest, ValueResponse};
use cifer_chain::vote::{CommitCertificate, Vote, VoteKind};
use cifer_genesis::{BlockHash, Hash32, Height, SecretKey, Signature, ValidatorId};
use proptest::prelude::*;

use super::*;
use crate::{
    context::{
        EngineAddress, EngineHeight, EngineProposal, EngineSignature, EngineValue, EngineVote,
    },
    proposal::{Chunk, Init, Wake},
};

const BLOCK: BlockHash = BlockHash::from_bytes([0xbb; 32]);
const SIGNATURE: Signature = Signature([0x5a; 64]);

fn validator() -> ValidatorId {
    ValidatorId(SecretKey::from_seed(&[1; 32]).public_key())
}

fn vote(block: Option<BlockHash>) -> SignedMessage<Cifer, EngineVote> {
    let vote = Vote {
        kind: VoteKind::Precommit,
        height: Height(7),
        round: 2,
        block,
        validator: validator(),
    };
    SignedMessage::new(EngineVote::from_chain(&vote), EngineSignature(SIGNATURE))
}

fn proposal(pol_round: Round) -> SignedMessage<Cifer, EngineProposal> {
    let proposal = EngineProposal {
        height: EngineHeight(Height(7)),
        round: Round::new(2),
        value: EngineValue(BLOCK),
        pol_round,
        address: EngineAddress(validator()),
    };
    SignedMessage::new(proposal, EngineSignature(SIGNATURE))
}

fn polka(signatures: usize) -> PolkaCertificate<Cifer> {
    PolkaCertificate {
        height: EngineHeight(Height(7)),
        round: Round::new(2),
        value_id: BLOCK,
        polka_signatures: vec![
            PolkaSignature::new(
                EngineAddress(validator()),
                EngineSignature(SIGNATURE)
            );
            signatures
        ],
    }
}

fn round_certificate(signatures: usize) -> RoundCertificate<Cifer> {
    RoundCertificate {
        height: EngineHeight(Height(7)),
        round: Round::new(2),
        cert_type: RoundCertificateType::Skip,
        round_signatures: vec![
            RoundSignature::new(
                VoteType::Prevote,
                NilOrVal::Val(BLOCK),
                EngineAddress(validator()),
                EngineSignature(SIGNATURE),
            );
            signatures
        ],
    }
}

fn chunk(size_bytes: usize) -> StreamMessage<Part> {
    let init = Init {
        height: Height(7),
        round: 2,
        pol_round: Some(1),
        proposer: validator(),
        block: BLOCK,
        payload_hash: Hash32([0xcc; 32]),
        payload_bytes: 3,
        signature: SIGNATURE,
    };
    let part = Part::Chunk(Chunk {
        init,
        index: 0,
        bytes: vec![0xdd; size_bytes],
    });
    StreamMessage::new(
        StreamId::new(vec![1, 2].into()),
        0,
        StreamContent::Data(part),
    )
}

fn wake() -> StreamMessage<Part> {
    let wake = Wake {
        height: Height(7),
        validator: validator(),
        signature: SIGNATURE,
    };
    StreamMessage::new(
        StreamId::new(vec![1, 2].into()),
        0,
        StreamContent::Data(Part::Wake(wake)),
    )
}

fn value() -> ProposedValue<Cifer> {
    ProposedValue {
        height: EngineHeight(Height(7)),
        round: Round::new(2),
        valid_round: Round::Nil,
        proposer: EngineAddress(validator()),
        value: EngineValue(BLOCK),
        validity: Validity::Valid,
    }
}

fn response() -> Response<Cifer> {
    let certificate = CommitCertificate {
        height: Height(7),
        round: 2,
        block: BLOCK,
        signatures: vec![(validator(), SIGNATURE)],
    };
    let value = RawDecidedValue::new(vec![9; 4].into(), to_engine_certificate(&certificate));
    Response::ValueResponse(ValueResponse::new(EngineHeight(Height(7)), vec![value]))
}

fn status() -> Status<Cifer> {
    Status {
        peer_id: PeerId::from_bytes(
            &[&[0, 36, 8, 1, 18, 32][..], validator().key().as_bytes()].concat(),
        )
        .unwrap(),
        tip_height: EngineHeight(Height(9)),
        history_min_height: EngineHeight(Height(1)),
    }
}

fn request(first: u64, last: u64) -> Request<Cifer> {
    let range = EngineHeight(Height(first))..=EngineHeight(Height(last));
    Request::ValueRequest(ValueRequest::new(range))
}

fn round_trip<T: PartialEq + Debug>(message: &T) -> Vec<u8>
where
    BorshCodec: Codec<T, Error = CodecError>,
{
    let bytes = BorshCodec.encode(message).unwrap();
    assert_eq!(&BorshCodec.decode(bytes.clone()).unwrap(), message);
    let mut longer = bytes.to_vec();
    longer.push(0);
    let decoded: Result<T, CodecError> = BorshCodec.decode(longer.into());
    assert!(decoded.is_err(), "trailing bytes are refused");
    bytes.to_vec()
}

/// BLAKE3 of an encoding, cut: long enough to notice a change, short enough to read.
fn fingerprint(bytes: &[u8]) -> String {
    Hash32::derive("cifer/consensus/test", bytes).to_string()[..16].to_owned()
}

#[test]
fn the_formats_are_the_agreed_ones() {
    let vote = SignedConsensusMsg::Vote(vote(Some(BLOCK)));
    let key = validator().to_string();
    let expected = format!(
        "0001{height}{round}01{block}{key}{signature}",
        height = "0700000000000000",
        round = "02000000",
        block = "bb".repeat(32),
        signature = "5a".repeat(64),
    );
    let hex: String = round_trip(&vote)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, expected);

    let formats = [
        (
            "proposal",
            fingerprint(&round_trip(&SignedConsensusMsg::Proposal(proposal(
                Round::Nil,
            )))),
        ),
        ("polka", fingerprint(&round_trip(&polka(2)))),
        (
            "round",
            fingerprint(&round_trip(&LivenessMsg::SkipRoundCertificate(
                round_certificate(2),
            ))),
        ),
        ("value", fingerprint(&round_trip(&value()))),
        ("chunk", fingerprint(&round_trip(&chunk(3)))),
        ("wake", fingerprint(&round_trip(&wake()))),
        ("status", fingerprint(&round_trip(&status()))),
        ("request", fingerprint(&round_trip(&request(3, 5)))),
        ("response", fingerprint(&round_trip(&response()))),
    ];
    let actual: Vec<_> = formats
        .iter()
        .map(|(kind, print)| format!("{kind} {print}"))
        .collect();
    assert_eq!(actual, GOLDEN);
}

/// Changing one of these is a change of the protocol.
const GOLDEN: [&str; 9] = [
    "proposal 13bf35c4284b0bf8",
    "polka 5a27d72da3efb967",
    "round fa82cae0da12c4d1",
    "value ba75bb9b72862268",
    "chunk ac460e5256212440",
    "wake 826457976f68b4cc",
    "status 17546b38c1122e37",
    "request 1a4dd8adf3a930e8",
    "response 2f3fb039b6138928",
];

#[test]
fn every_kind_survives_a_round_trip() {
    round_trip(&SignedConsensusMsg::Vote(vote(None)));
    round_trip(&SignedConsensusMsg::Proposal(proposal(Round::new(1))));
    round_trip(&LivenessMsg::Vote(vote(None)));
    round_trip(&LivenessMsg::PolkaCertificate(polka(4)));
    round_trip(&StreamMessage::<Part>::new(
        StreamId::new(vec![7; 16].into()),
        3,
        StreamContent::Fin,
    ));
    round_trip(&ValidatorProof::<Cifer>::new(
        vec![1; 32],
        vec![2; 38],
        EngineSignature(SIGNATURE),
    ));
    let response = response();
    let bytes = round_trip(&response);
    assert_eq!(BorshCodec.encoded_len(&response).unwrap(), bytes.len());
}

#[test]
fn the_largest_legitimate_messages_fit() {
    round_trip(&polka(MAX_VALIDATORS));
    round_trip(&LivenessMsg::SkipRoundCertificate(round_certificate(
        2 * MAX_VALIDATORS,
    )));
    round_trip(&chunk(CHUNK_BYTES));
}

#[test]
fn lists_and_sizes_are_bounded() {
    let bytes = borsh::to_vec(&wire::Polka::try_from(&polka(MAX_VALIDATORS + 1)).unwrap()).unwrap();
    let decoded: Result<PolkaCertificate<Cifer>, _> = BorshCodec.decode(bytes.into());
    assert!(matches!(decoded, Err(CodecError::Invalid(_))));
    assert!(matches!(
        BorshCodec.encode(&chunk(CHUNK_BYTES + 2048)),
        Err(CodecError::TooLarge {
            limit: MAX_PART_BYTES,
            ..
        })
    ));
    let huge: Result<SignedConsensusMsg<Cifer>, _> =
        BorshCodec.decode(vec![0; MAX_VOTE_BYTES + 1].into());
    assert!(matches!(huge, Err(CodecError::TooLarge { .. })));
    // A length prefix that promises four gigabytes.
    let mut promise = vec![1];
    promise.extend([0; 12]);
    promise.extend([0xbb; 32]);
    promise.extend(u32::MAX.to_le_bytes());
    let decoded: Result<LivenessMsg<Cifer>, _> = BorshCodec.decode(promise.into());
    assert!(matches!(decoded, Err(CodecError::Malformed { .. })));
}

#[test]
fn nonsense_is_refused() {
    assert!(
        BorshCodec
            .encode(&{
                let mut vote = vote(None);
                vote.message.round = Round::Nil;
                SignedConsensusMsg::Vote(vote)
            })
            .is_err()
    );
    let bytes = BorshCodec.encode(&request(5, 3)).unwrap();
    let decoded: Result<Request<Cifer>, _> = BorshCodec.decode(bytes);
    assert!(matches!(decoded, Err(CodecError::Invalid(_))));
    // A vote of a key of small order (the identity), under which anything might verify.
    let mut bytes = BorshCodec
        .encode(&SignedConsensusMsg::Vote(vote(None)))
        .unwrap()
        .to_vec();
    bytes[15..47].fill(0);
    bytes[15] = 1;
    let decoded: Result<SignedConsensusMsg<Cifer>, _> = BorshCodec.decode(bytes.into());
    assert!(decoded.is_err());
}

fn decode_all(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _: Result<SignedConsensusMsg<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<LivenessMsg<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<PolkaCertificate<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<ProposedValue<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<StreamMessage<Part>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<Part, _> = BorshCodec.decode(bytes.clone());
    let _: Result<ValidatorProof<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<Status<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<Request<Cifer>, _> = BorshCodec.decode(bytes.clone());
    let _: Result<Response<Cifer>, _> = BorshCodec.decode(bytes);
}

proptest! {
    #[test]
    fn decoders_survive_anything(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        decode_all(&bytes);
    }

    #[test]
    fn decoders_survive_damaged_messages(
        kind in 0..6_usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = match kind {
            0 => BorshCodec.encode(&SignedConsensusMsg::Vote(vote(Some(BLOCK)))),
            1 => BorshCodec.encode(&LivenessMsg::SkipRoundCertificate(round_certificate(3))),
            2 => BorshCodec.encode(&chunk(40)),
            3 => BorshCodec.encode(&response()),
            4 => BorshCodec.encode(&status()),
            _ => BorshCodec.encode(&value()),
        }
        .unwrap()
        .to_vec();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        decode_all(&bytes);
        let end = cut.index(bytes.len());
        decode_all(&bytes[..end]);
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = BorshCodec
            .encode(&SignedConsensusMsg::Proposal(proposal(Round::new(1))))
            .unwrap()
            .to_vec();
        for (index, byte) in flips {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let decoded: Result<SignedConsensusMsg<Cifer>, _> =
            BorshCodec.decode(Bytes::copy_from_slice(&bytes));
        if let Ok(message) = decoded {
            prop_assert_eq!(BorshCodec.encode(&message).unwrap().to_vec(), bytes);
        }
    }
}
