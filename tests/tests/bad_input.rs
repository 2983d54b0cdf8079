//! Bad input over the API and on every port: a clear error for who sent it, and nothing lost for
//! anybody else, nor for the sender, who may still send what is right.

use std::{fmt::Debug, time::Duration};

use bytes::Bytes;
use cifer_chain::{
    Hash32, ModelRoot, Registration, RejectReason, RoundId, SecretKey, SignedUpdate, TaskId, Update,
};
use cifer_client::{OpenRound, Payload, PhaseView, RoundView, Submission};
use cifer_proto::{
    MAX_CHUNK_BYTES, MAX_REQUEST_BYTES,
    v1::{
        RegisterRequest, SubmitUpdateRequest, contribute_service_client::ContributeServiceClient,
    },
};
use cifer_tests::{
    Network, NotYet, TASK,
    update::{chunk, commit, header, header_of, payload, send, upload},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Contributors of the network; a round takes an update of each.
const CONTRIBUTORS: usize = 6;

/// A network with a round that is open, and one before it.
struct Bench {
    network: Network,
    round: OpenRound,
    parameters: usize,
    /// What did not go as it should.
    failures: Vec<String>,
}

impl Bench {
    async fn new(parameters: u64) -> Self {
        let mut network = Network::generate(&[
            "--contributors",
            "6",
            "--rule",
            "fedavg",
            "--min-updates",
            "3",
            "--max-updates",
            "6",
            "--deadline-ms",
            "3600000",
        ])
        .await;
        network.replace_model(parameters);
        network.start().await;
        let round = open(&mut network, 0, 0).await;
        let mut bench = Self {
            network,
            round,
            parameters: parameters as usize,
            failures: Vec::new(),
        };
        for index in 0..CONTRIBUTORS {
            bench.submit(index).await;
        }
        let before = bench.network.round_ended(0, 0).await;
        assert_eq!(before.summary.phase, PhaseView::Finalised, "{before:?}");
        for node in 0..4 {
            bench.round = open(&mut bench.network, node, 1).await;
        }
        bench
    }

    fn key(&self, contributor: usize) -> SecretKey {
        self.network.contributor_key(contributor)
    }

    fn node(&self, contributor: usize) -> &str {
        &self.network.node(contributor % 4).grpc
    }

    /// A good payload, another one for each contributor and round.
    fn payload(&self, contributor: usize) -> Bytes {
        let value = (contributor + 1) as f32 / 1024.0 + self.round.round.0 as f32;
        payload(std::iter::repeat_n(value, self.parameters))
    }

    fn sign(&self, key: &SecretKey, update: Update) -> SignedUpdate {
        SignedUpdate::sign(update, &self.network.genesis().chain_id, key)
    }

    fn update(&self, contributor: usize) -> (SignedUpdate, Bytes) {
        let (key, payload) = (self.key(contributor), self.payload(contributor));
        (
            self.sign(&key, commit(&self.round, &key, &payload)),
            payload,
        )
    }

    /// Sends a contributor's honest update as an honest client does.
    async fn submit(&mut self, contributor: usize) {
        let (signed, payload) = self.update(contributor);
        let submission = self.give(contributor, &signed, payload).await;
        assert!(
            matches!(submission, Submission::Certified { .. }),
            "update of contributor {contributor}: {submission:?}"
        );
    }

    async fn give(&self, at: usize, signed: &SignedUpdate, payload: Bytes) -> Submission {
        let client = self.network.client(&[at % 4]);
        client
            .submit(signed, &Payload::Memory(payload))
            .await
            .expect("an answer")
    }

    /// Sends these messages to the node of contributor 1 and holds the answer against this.
    async fn refused(
        &mut self,
        case: &str,
        messages: Vec<SubmitUpdateRequest>,
        code: Code,
        reason: Option<&str>,
        words: &[&str],
    ) {
        let answer = send(self.node(1), tokio_stream::iter(messages)).await;
        self.expect(case, answer, code, reason, words);
    }

    fn expect<T: Debug>(
        &mut self,
        case: &str,
        answer: Result<T, Status>,
        code: Code,
        reason: Option<&str>,
        words: &[&str],
    ) {
        let status = match answer {
            Ok(answer) => return self.failures.push(format!("{case}: accepted: {answer:?}")),
            Err(status) => status,
        };
        let said = status.get_details_error_info().map(|info| info.reason);
        let complete = words.iter().all(|word| status.message().contains(word));
        if status.code() != code || said.as_deref() != reason || !complete {
            self.failures.push(format!(
                "{case}: expected {code:?} {reason:?} with {words:?}, got {:?} {said:?}: {}",
                status.code(),
                status.message()
            ));
        }
    }

    /// An update that differs from contributor 1's honest one, rightly signed.
    fn changed(&self, change: impl FnOnce(&mut Update)) -> Vec<SubmitUpdateRequest> {
        let (key, (honest, payload)) = (self.key(1), self.update(1));
        let mut update = honest.update;
        change(&mut update);
        upload(&self.sign(&key, update), &payload)
    }

    /// Commitments that are refused before a byte of the payload is read.
    async fn bad_commitments(&mut self) {
        let length = self.round_bytes();
        let expected = length.to_string();
        let precondition = Code::FailedPrecondition;
        for bytes in [0, length - 4, length + 4, u64::MAX] {
            let case = format!("payload of {bytes} bytes");
            let messages = self.changed(|update| update.payload_bytes = bytes);
            let given = bytes.to_string();
            // Far too long is too long for any task of the network.
            let (reason, limit) = if bytes == u64::MAX {
                ("PAYLOAD_TOO_LARGE", (1_u64 << 30).to_string())
            } else {
                ("WRONG_PAYLOAD_LENGTH", expected.clone())
            };
            let words = [given.as_str(), &limit];
            self.refused(&case, messages, Code::InvalidArgument, Some(reason), &words)
                .await;
        }
        let wrong = Hash32([7; 32]);
        let messages = self.changed(|update| update.base = ModelRoot(wrong));
        let words = [wrong.to_string(), self.round.base.to_string()];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.refused(
            "wrong base root",
            messages,
            precondition,
            Some("WRONG_BASE"),
            &words,
        )
        .await;
        for round in [0, 2, u64::MAX] {
            let messages = self.changed(|update| update.round = RoundId(round));
            let words = [
                format!("for round {round}"),
                "current round is 1".to_owned(),
            ];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let case = format!("round {round}");
            self.refused(&case, messages, precondition, Some("WRONG_ROUND"), &words)
                .await;
        }
        let messages = self.changed(|update| update.task = TaskId(9));
        self.refused(
            "task",
            messages,
            Code::NotFound,
            Some("UNKNOWN_TASK"),
            &["9"],
        )
        .await;
        let messages = self.changed(|update| update.samples = 0);
        let invalid = Code::InvalidArgument;
        self.refused(
            "no samples",
            messages,
            invalid,
            Some("NO_SAMPLES"),
            &["samples"],
        )
        .await;
    }

    async fn bad_signatures(&mut self) {
        let (signed, payload) = self.update(1);
        let forged = |change: &dyn Fn(&mut SignedUpdate)| {
            let mut forged = signed.clone();
            change(&mut forged);
            upload(&forged, &payload)
        };
        let chain = self.network.genesis().chain_id.clone();
        let stranger = SecretKey::generate();
        let of_stranger = SignedUpdate::sign(signed.update.clone(), &chain, &stranger).signature;
        let elsewhere = SignedUpdate::sign(signed.update.clone(), "elsewhere", &self.key(1));
        for (case, messages) in [
            (
                "changed after signing",
                forged(&|update| update.update.samples += 1),
            ),
            (
                "signature of a stranger",
                forged(&|update| update.signature = of_stranger),
            ),
            ("signature for another chain", upload(&elsewhere, &payload)),
        ] {
            let (code, reason) = (Code::Unauthenticated, Some("BAD_SIGNATURE"));
            self.refused(case, messages, code, reason, &["signature"])
                .await;
        }
        let update = commit(&self.round, &stranger, &payload);
        let messages = upload(&self.sign(&stranger, update), &payload);
        let name = stranger.public_key().to_string();
        let (code, reason) = (Code::PermissionDenied, Some("NOT_REGISTERED"));
        self.refused(
            "unregistered",
            messages,
            code,
            reason,
            &[&name, "not registered"],
        )
        .await;
    }

    async fn malformed(&mut self) {
        let (signed, payload) = self.update(1);
        let bytes = borsh::to_vec(&signed).unwrap();
        let mut longer = bytes.clone();
        longer.push(0);
        let field = "signed_update_borsh";
        for (case, bytes) in [
            ("empty commitment", Vec::new()),
            ("half a commitment", bytes[..bytes.len() / 2].to_vec()),
            ("commitment with a byte more", longer),
            ("noise", vec![0xff; bytes.len()]),
            ("commitment of 100 kB", vec![0; 100_000]),
        ] {
            let messages = vec![header_of(bytes), chunk(&payload[..4])];
            self.refused(case, messages, Code::InvalidArgument, None, &[field])
                .await;
        }
        let invalid = Code::InvalidArgument;
        let first = vec![chunk(&payload[..4])];
        self.refused("chunk before the header", first, invalid, None, &["header"])
            .await;
        self.refused("no message", Vec::new(), invalid, None, &["header"])
            .await;
        let empty = vec![SubmitUpdateRequest { part: None }];
        self.refused("empty message", empty, invalid, None, &["header"])
            .await;
        // More than the server decodes.
        let huge = vec![header_of(vec![0; MAX_REQUEST_BYTES + 1])];
        self.refused("message over the cap", huge, Code::OutOfRange, None, &[])
            .await;
    }

    /// Uploads that go wrong after a good commitment. The same one, sent whole, is taken.
    async fn bad_uploads(&mut self, contributor: usize) {
        let (signed, payload) = self.update(contributor);
        let (invalid, reason) = (Code::InvalidArgument, Some("BAD_PAYLOAD"));
        let rest = |part: Vec<SubmitUpdateRequest>| [vec![header(&signed)], part].concat();
        let mut corrupt = payload.to_vec();
        corrupt[5] ^= 1;
        let mut long = upload(&signed, &payload);
        long.push(chunk(&[0; 4]));
        let second = rest(vec![chunk(&payload[..8]), header(&signed)]);
        let large = vec![0; MAX_CHUNK_BYTES + 1];
        let limit = MAX_CHUNK_BYTES.to_string();
        let all_but_four = upload(&signed, &payload[..payload.len() - 4]);
        for (case, messages, words) in [
            ("nothing after the header", rest(Vec::new()), vec![]),
            ("truncated stream", all_but_four, vec![]),
            ("bytes too many", long, vec![]),
            ("corrupt payload", upload(&signed, &corrupt), vec![]),
            ("second header", second, vec!["second header"]),
            (
                "chunk too large",
                rest(vec![chunk(&large)]),
                vec!["limit", limit.as_str()],
            ),
        ] {
            self.refused(case, messages, invalid, reason, &words).await;
        }
        // A client that dies in the middle.
        let begun = rest(vec![chunk(&payload[..8])]);
        let begun = tokio_stream::iter(begun).chain(tokio_stream::pending());
        let answer = tokio::time::timeout(Duration::from_millis(300), send(self.node(1), begun));
        assert!(answer.await.is_err(), "an answer to half an upload");

        let submission = self.give(1, &signed, payload).await;
        if !matches!(submission, Submission::Certified { .. }) {
            self.failures
                .push(format!("after bad uploads, the whole one: {submission:?}"));
        }
    }

    /// Payloads that all validators find unacceptable alike, which costs the contributor's turn.
    async fn rejected(&mut self, contributor: usize, value: f32, reason: RejectReason) {
        let key = self.key(contributor);
        let mut parameters = vec![0.5; self.parameters];
        parameters[self.parameters - 1] = value;
        let bytes = payload(parameters);
        let signed = self.sign(&key, commit(&self.round, &key, &bytes));
        match self.give(contributor, &signed, bytes).await {
            Submission::Rejected {
                reason: found,
                certified: true,
                tx: Some(_),
                ..
            } if found == reason => {}
            other => self
                .failures
                .push(format!("{value}: expected {reason:?}, got {other:?}")),
        }
    }

    /// Another update of somebody who has had its turn.
    async fn second(&mut self, contributor: usize) {
        let key = self.key(contributor);
        let bytes = payload(std::iter::repeat_n(0.25, self.parameters));
        let signed = self.sign(&key, commit(&self.round, &key, &bytes));
        for node in 0..4 {
            let address = self.network.node(node).grpc.clone();
            let answer = send(&address, tokio_stream::iter(upload(&signed, &bytes))).await;
            let case = format!("second update at node {node}");
            match answer {
                Err(status) if status.code() == Code::AlreadyExists => {
                    let said = status.get_details_error_info().map(|info| info.reason);
                    if !matches!(said.as_deref(), Some("SECOND_UPDATE" | "TURN_USED")) {
                        self.failures
                            .push(format!("{case}: {said:?}: {}", status.message()));
                    }
                }
                other => self.failures.push(format!("{case}: {other:?}")),
            }
        }
    }

    async fn bad_registrations(&mut self) {
        let mut client = ContributeServiceClient::connect(self.node(1).to_owned())
            .await
            .unwrap();
        let key = SecretKey::generate();
        let signed = Registration::sign("new".into(), &self.network.genesis().chain_id, &key);
        let registration_borsh = borsh::to_vec(&signed).unwrap();
        let answer = client
            .register(RegisterRequest { registration_borsh })
            .await;
        let (code, reason) = (Code::PermissionDenied, Some("REGISTRATION_CLOSED"));
        self.expect("closed registration", answer, code, reason, &["closed"]);
        let answer = client
            .register(RegisterRequest {
                registration_borsh: vec![1; 40],
            })
            .await;
        let words = ["registration_borsh"];
        self.expect(
            "malformed registration",
            answer,
            Code::InvalidArgument,
            None,
            &words,
        );
    }

    fn round_bytes(&self) -> u64 {
        self.parameters as u64 * 4
    }

    /// What is right is still taken, and the round ends with exactly that.
    async fn finish(mut self) {
        self.submit(1).await;
        self.submit(5).await;
        let view: RoundView = self.network.round_ended(0, 1).await;
        assert_eq!(self.failures, Vec::<String>::new());
        assert_eq!(view.summary.phase, PhaseView::Finalised, "{view:?}");
        let expect = |range: &[usize]| {
            let mut keys: Vec<_> = range.iter().map(|i| self.key(*i).public_key()).collect();
            keys.sort();
            keys
        };
        let mut accepted: Vec<_> = view.updates.iter().map(|u| *u.contributor.key()).collect();
        let mut rejected: Vec<_> = view
            .rejections
            .iter()
            .map(|u| *u.contributor.key())
            .collect();
        accepted.sort();
        rejected.sort();
        assert_eq!(accepted, expect(&[0, 1, 2, 5]));
        assert_eq!(rejected, expect(&[3, 4]));
        let tip = self.network.agree(0).await;
        self.network.stop().await;
        self.network.verify_all(tip).await;
    }
}

/// Waits until a round is open at a node.
async fn open(network: &mut Network, node: usize, round: u64) -> OpenRound {
    let client = network.client(&[node]);
    let round = network.until("the open round", async || {
        let current = client.current_round(TASK, None).await?;
        let fits = current.phase == PhaseView::Open && current.open.round == RoundId(round);
        fits.then_some(current.open)
            .ok_or_else(|| NotYet::because(current))
    });
    round.await
}

async fn bad_input(parameters: u64) {
    let mut bench = Bench::new(parameters).await;
    bench.submit(0).await;
    bench.bad_commitments().await;
    bench.bad_signatures().await;
    bench.malformed().await;
    bench.bad_uploads(2).await;
    bench.rejected(3, f32::NAN, RejectReason::NotFinite).await;
    bench.rejected(4, 1e7, RejectReason::OutOfRange).await;
    bench.second(0).await;
    bench.second(3).await;
    bench.bad_registrations().await;
    bench.finish().await;
}

/// Payloads that travel inside of messages.
#[tokio::test]
async fn bad_input_loses_nothing() {
    bad_input(1_000).await;
}

/// Payloads that validators fetch from the gateway.
#[tokio::test]
async fn bad_input_with_large_payloads_loses_nothing() {
    bad_input(150_000).await;
}

/// Bytes that are no protocol at all, on every port.
#[tokio::test]
async fn noise_on_every_port_harms_nobody() {
    let mut network = Network::generate(&["--contributors", "4", "--max-rounds", "1"]).await;
    network.start().await;
    let noise: Vec<u8> = (0..65_536_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut open = Vec::new();
    for node in 0..4 {
        let node = network.node(node);
        let grpc: u16 = node.grpc.rsplit(':').next().unwrap().parse().unwrap();
        for port in [node.consensus_port, node.data_port, grpc, grpc + 1] {
            for bytes in [
                &noise[..],
                b"GET / HTTP/1.1\r\n\r\n",
                b"\x13/multistream/1.0.0\n",
                b"",
            ] {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // It may be closed before all is written.
                let _ = stream.write_all(bytes).await;
                let mut answer = [0; 256];
                let wait = Duration::from_millis(20);
                let _ = tokio::time::timeout(wait, stream.read(&mut answer)).await;
                open.push(stream);
            }
        }
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for bytes in [&noise[..1_200], &noise[..40], &[0xc0; 1_200], b""] {
            socket
                .send_to(bytes, ("127.0.0.1", node.data_port))
                .await
                .unwrap();
        }
    }
    // While those connections are still open.
    for index in 0..4 {
        network.contribute(index, &[]);
    }
    let round = network.round_ended(0, 0).await;
    assert_eq!(round.summary.phase, PhaseView::Finalised, "{round:?}");
    network.agree(0).await;
    drop(open);
    network.stop().await;
}
