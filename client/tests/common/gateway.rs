//! A gateway: a real tonic server over the test ledger, honest or not.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cifer_chain::{
    AggregateCertificate, Event, Height, ModelRoot, Phase, RoundId, Signature, SignedUpdate, State,
    StateKey, Store, TaskRecord, Transaction, ValidatorId, testing,
};
use cifer_proto::v1::{
    self,
    contribute_service_server::{ContributeService, ContributeServiceServer},
    query_service_server::{QueryService, QueryServiceServer},
};
use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, ServerTlsConfig},
};

use super::{Ledger, TASK, root_of};

/// Small, so that every download has many chunks.
pub(crate) const CHUNK: usize = 4096;

/// What a gateway does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Nothing.
    None,
    /// Serves other bytes than the model's.
    WrongModelBytes,
    /// Serves wrong bytes up to this offset, then breaks.
    WrongBytesThenBreak(u64),
    /// Breaks at this offset.
    BreakAt(u64),
    /// Ends the stream, without an error, at this offset.
    TruncateAt(u64),
    /// Sends more bytes than the model has.
    TooLong,
    /// Says that the model is shorter.
    WrongLength,
    /// Sends the header and then nothing.
    HangAfterHeader,
    /// Answers no request for the current round.
    HangOnRound,
    /// Names another model as the base of the round, and serves it.
    WrongRoot,
    /// Certificates signed by strangers.
    ForgedCertificate,
    /// Certificates signed by two of four validators.
    ShortCertificate,
    /// Certificates with one validator twice.
    DuplicateSigner,
    /// Says that a later round is open, from the model that is certified.
    FutureRound,
    /// Says that the task is finished.
    Finished,
    /// Receipts signed by strangers.
    ForgedReceipts,
    /// Receipts of two of four validators.
    ShortReceipts,
    /// Says "rejected" with one validator's signature.
    ShortRejection,
    /// Refuses every update.
    RefuseUpdates,
    /// Takes uploads and never answers.
    HangOnSubmit,
    /// Loses the first upload, and says from then on that an update is on its way.
    LosesFirstUpload,
    /// Takes an update, loses the answer, and refuses the second one of the round.
    LosesFirstAnswer,
    /// Another network's genesis hash.
    WrongGenesis,
    /// A state proof with another value.
    WrongProof,
    /// Header with another state root.
    WrongHeader,
    /// Events stop after the first.
    DeadEvents,
    /// Fails all requests.
    Down,
}

pub(crate) struct TestGateway {
    pub(crate) address: String,
    /// Calls of `DownloadModel`, and the offset of the last one.
    pub(crate) downloads: Arc<AtomicU64>,
    pub(crate) last_offset: Arc<AtomicU64>,
    pub(crate) submissions: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl TestGateway {
    pub(crate) async fn start(ledger: Arc<Ledger>, lie: Lie) -> Self {
        Self::start_tls(ledger, lie, None).await
    }

    pub(crate) async fn start_tls(
        ledger: Arc<Ledger>,
        lie: Lie,
        tls: Option<ServerTlsConfig>,
    ) -> Self {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let address = format!("{scheme}://127.0.0.1:{port}");
        let service = Service {
            ledger,
            lie,
            downloads: Arc::default(),
            last_offset: Arc::default(),
            submissions: Arc::default(),
        };
        let (downloads, last_offset) = (
            Arc::clone(&service.downloads),
            Arc::clone(&service.last_offset),
        );
        let submissions = Arc::clone(&service.submissions);
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).unwrap();
        }
        let router = server
            .add_service(QueryServiceServer::new(service.clone()))
            .add_service(ContributeServiceServer::new(service));
        let server = tokio::spawn(async move {
            router
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            address,
            downloads,
            last_offset,
            submissions,
            server,
        }
    }

    /// Stops it, with all its connections.
    pub(crate) fn kill(&self) {
        self.server.abort();
    }
}

#[derive(Clone)]
struct Service {
    ledger: Arc<Ledger>,
    lie: Lie,
    downloads: Arc<AtomicU64>,
    last_offset: Arc<AtomicU64>,
    submissions: Arc<AtomicU64>,
}

type Answer<T> = Result<Response<T>, Status>;
type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    fn up(&self) -> Result<(), Status> {
        if self.lie == Lie::Down {
            Err(Status::unavailable("down"))
        } else {
            Ok(())
        }
    }

    fn signatures(&self, message: &[u8]) -> Vec<(ValidatorId, Signature)> {
        let mut all = self.ledger.network.quorum(message);
        match self.lie {
            Lie::ForgedCertificate | Lie::ForgedReceipts => {
                for (index, (_, signature)) in all.iter_mut().enumerate() {
                    *signature = testing::key(9, index).sign_bytes(message);
                }
            }
            Lie::ShortCertificate | Lie::ShortReceipts => all.truncate(2),
            Lie::ShortRejection => all.truncate(1),
            Lie::DuplicateSigner => all[1] = all[0],
            _ => {}
        }
        all
    }

    fn certificate(&self, certificate: AggregateCertificate) -> v1::Certificate {
        let tampered = matches!(
            self.lie,
            Lie::ForgedCertificate | Lie::ShortCertificate | Lie::DuplicateSigner
        );
        let mut certificate = certificate;
        if tampered {
            let message = certificate
                .statement
                .signing_bytes(self.ledger.network.chain_id());
            certificate.signatures = self.signatures(&message);
        }
        v1::Certificate {
            borsh: borsh::to_vec(&certificate).unwrap(),
            signatures: Vec::new(),
        }
    }

    fn false_model(&self, root: &ModelRoot) -> Vec<u8> {
        let mut bytes = self
            .ledger
            .model(root)
            .map(|(bytes, _)| bytes)
            .unwrap_or_default();
        bytes.reverse();
        bytes
    }

    /// The current round as this gateway tells it.
    fn round(&self, state: &State) -> v1::RoundSummary {
        let task = testing::current(state);
        let (phase, deadline_ms) = match &task.phase {
            Phase::Open(open) => (v1::RoundPhase::Open, open.deadline_ms.0),
            Phase::Closed(_) => (v1::RoundPhase::Closed, 0),
            Phase::Complete => (v1::RoundPhase::Finalised, 0),
        };
        let mut base = task.model;
        if self.lie == Lie::WrongRoot {
            base = root_of(&self.false_model(&base));
        }
        let ahead = if self.lie == Lie::FutureRound { 3 } else { 0 };
        v1::RoundSummary {
            task: TASK.0,
            round: task.round.0 + ahead,
            phase: phase.into(),
            base_root: base.as_bytes().to_vec(),
            deadline_ms,
            ..v1::RoundSummary::default()
        }
    }

    fn events_at(&self, height: Height) -> Vec<v1::SubscribeResponse> {
        let block = self.ledger.store.block(height).unwrap().unwrap();
        let wrap = |event| v1::SubscribeResponse {
            height: height.0,
            time_ms: block.header.time_ms.0,
            event: Some(event),
        };
        let committed = v1::BlockCommitted {
            hash: block.hash().as_bytes().to_vec(),
            state_root: block.header.state_root.as_bytes().to_vec(),
            tx_count: block.transactions.len() as u32,
        };
        let mut events = vec![wrap(v1::subscribe_response::Event::BlockCommitted(
            committed,
        ))];
        for event in self.ledger.store.events(height).unwrap().unwrap() {
            let changed = self.round_changed(&event);
            events.extend(changed.map(|c| wrap(v1::subscribe_response::Event::RoundChanged(c))));
        }
        events
    }

    fn round_changed(&self, event: &Event) -> Option<v1::RoundChanged> {
        use v1::RoundTransition as T;
        let (task, round, transition, model, deadline) = match event {
            Event::RoundOpened {
                task,
                round,
                base,
                deadline_ms,
            } => (task, round, T::Opened, *base, deadline_ms.0),
            Event::RoundExtended {
                task,
                round,
                deadline_ms,
                ..
            } => (
                task,
                round,
                T::Extended,
                ModelRoot::default(),
                deadline_ms.0,
            ),
            Event::RoundClosed { task, round, .. } => {
                (task, round, T::Closed, ModelRoot::default(), 0)
            }
            Event::RoundFinalised {
                task, round, model, ..
            } => (task, round, T::Finalised, *model, 0),
            Event::RoundAborted { task, round, .. } => {
                (task, round, T::Aborted, ModelRoot::default(), 0)
            }
            _ => return None,
        };
        Some(v1::RoundChanged {
            task: task.0,
            round: round.0,
            transition: transition.into(),
            model_root: model.as_bytes().to_vec(),
            accepted: 0,
            rejected: 0,
            deadline_ms: deadline,
        })
    }

    fn download(&self, bytes: Vec<u8>, offset: u64) -> Boxed<v1::DownloadModelResponse> {
        let mut bytes = bytes;
        match self.lie {
            Lie::WrongModelBytes => bytes.reverse(),
            Lie::WrongBytesThenBreak(_) => bytes.iter_mut().for_each(|byte| *byte ^= 1),
            Lie::TooLong => bytes.extend_from_slice(&[0; CHUNK]),
            _ => {}
        }
        let end = match self.lie {
            Lie::BreakAt(end) | Lie::TruncateAt(end) | Lie::WrongBytesThenBreak(end) => end,
            Lie::HangAfterHeader => offset,
            _ => bytes.len() as u64,
        };
        let rest = bytes[offset as usize..(end.max(offset) as usize).min(bytes.len())].to_vec();
        let chunks: Vec<_> = rest
            .chunks(CHUNK)
            .map(|chunk| {
                let part = v1::download_model_response::Part::Chunk(chunk.to_vec().into());
                Ok(v1::DownloadModelResponse { part: Some(part) })
            })
            .collect();
        let chunks = stream::iter(chunks);
        match self.lie {
            Lie::BreakAt(_) | Lie::WrongBytesThenBreak(_) => {
                Box::pin(chunks.chain(stream::once(async { Err(Status::unavailable("broke")) })))
            }
            Lie::HangAfterHeader => Box::pin(chunks.chain(stream::pending())),
            _ => Box::pin(chunks),
        }
    }
}

#[tonic::async_trait]
impl QueryService for Service {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<v1::GetStatusResponse> {
        self.up()?;
        let state = self.ledger.store.state();
        let mut genesis_hash = self.ledger.store.genesis_hash().as_bytes().to_vec();
        if self.lie == Lie::WrongGenesis {
            genesis_hash[0] ^= 1;
        }
        let block = self.ledger.store.block(state.height).unwrap().unwrap();
        Ok(Response::new(v1::GetStatusResponse {
            node_name: "test\u{7}".into(),
            role: v1::NodeRole::Observer.into(),
            node_key: vec![1; 32],
            version: "0".into(),
            chain_id: state.chain_id.clone(),
            genesis_hash,
            height: state.height.0,
            block_hash: block.hash().as_bytes().to_vec(),
            block_time_ms: state.time_ms.0,
            state_root: block.header.state_root.as_bytes().to_vec(),
            earliest_height: 1,
            healthy: true,
            ..v1::GetStatusResponse::default()
        }))
    }

    async fn get_genesis(
        &self,
        _: Request<v1::GetGenesisRequest>,
    ) -> Answer<v1::GetGenesisResponse> {
        Ok(Response::new(v1::GetGenesisResponse {
            genesis_hash: self.ledger.store.genesis_hash().as_bytes().to_vec(),
            borsh: borsh::to_vec(&self.ledger.network.genesis).unwrap(),
            toml: String::new(),
        }))
    }

    async fn get_block(
        &self,
        request: Request<v1::GetBlockRequest>,
    ) -> Answer<v1::GetBlockResponse> {
        use v1::get_block_request::Block as Which;
        let height = match request.into_inner().block {
            None => self.ledger.store.tip(),
            Some(Which::Height(height)) => Height(height),
            Some(Which::Hash(hash)) => {
                let hash = cifer_chain::BlockHash::from_bytes(hash.try_into().unwrap());
                self.ledger
                    .store
                    .height_of(&hash)
                    .unwrap()
                    .unwrap_or_default()
            }
        };
        let block = self.ledger.store.block(height).unwrap();
        let mut block = block.ok_or_else(|| Status::not_found("no such block"))?;
        let certificate = self.ledger.store.certificate(height).unwrap().unwrap();
        if self.lie == Lie::WrongHeader {
            block.header.state_root = cifer_chain::StateRoot::from_bytes([9; 32]);
        }
        Ok(Response::new(v1::GetBlockResponse {
            hash: block.hash().as_bytes().to_vec(),
            borsh: borsh::to_vec(&block).unwrap(),
            commit_certificate: Some(v1::Certificate {
                borsh: borsh::to_vec(&certificate).unwrap(),
                signatures: Vec::new(),
            }),
            ..v1::GetBlockResponse::default()
        }))
    }

    async fn get_transaction(
        &self,
        request: Request<v1::GetTransactionRequest>,
    ) -> Answer<v1::GetTransactionResponse> {
        let hash = cifer_chain::TxHash::from_bytes(request.into_inner().hash.try_into().unwrap());
        let location = self.ledger.store.tx_location(&hash).unwrap();
        let location = location.ok_or_else(|| Status::not_found("no such transaction"))?;
        let block = self.ledger.store.block(location.height).unwrap().unwrap();
        Ok(Response::new(v1::GetTransactionResponse {
            height: location.height.0,
            index: location.index,
            summary: None,
            borsh: borsh::to_vec(&block.transactions[location.index as usize]).unwrap(),
        }))
    }

    async fn get_round(
        &self,
        request: Request<v1::GetRoundRequest>,
    ) -> Answer<v1::GetRoundResponse> {
        let round = RoundId(request.into_inner().round.unwrap_or_default());
        let record = self
            .ledger
            .store
            .value(&StateKey::Round(TASK, round))
            .unwrap();
        let record = record.ok_or_else(|| Status::not_found("no such round"))?;
        let record: cifer_chain::RoundRecord = borsh::from_slice(&record).unwrap();
        let certificate = match &record.outcome {
            cifer_chain::Outcome::Finalised(certificate) => Some(certificate.clone()),
            cifer_chain::Outcome::Aborted(_) => None,
        };
        let phase = if certificate.is_some() {
            v1::RoundPhase::Finalised
        } else {
            v1::RoundPhase::Aborted
        };
        Ok(Response::new(v1::GetRoundResponse {
            summary: Some(v1::RoundSummary {
                task: TASK.0,
                round: round.0,
                phase: phase.into(),
                base_root: record.base.as_bytes().to_vec(),
                model_root: record.model().as_bytes().to_vec(),
                ..v1::RoundSummary::default()
            }),
            aggregate_certificate: certificate.map(|c| self.certificate(c)),
            ..v1::GetRoundResponse::default()
        }))
    }

    async fn list_rounds(
        &self,
        request: Request<v1::ListRoundsRequest>,
    ) -> Answer<v1::ListRoundsResponse> {
        let request = request.into_inner();
        let newest = testing::current(&self.ledger.store.state()).round.0;
        let from = request.page_token.parse().unwrap_or(newest);
        // Two a page, so that a handful of rounds has several pages.
        let rounds: Vec<_> = (0..=from)
            .rev()
            .take(request.page_size.min(2) as usize)
            .collect();
        let next = rounds.last().and_then(|round| round.checked_sub(1));
        let root = vec![1; 32];
        let summary = |round: u64| v1::RoundSummary {
            task: TASK.0,
            round,
            base_root: root.clone(),
            ..v1::RoundSummary::default()
        };
        Ok(Response::new(v1::ListRoundsResponse {
            rounds: rounds.into_iter().map(summary).collect(),
            next_page_token: next.map(|round| round.to_string()).unwrap_or_default(),
        }))
    }

    async fn list_validators(
        &self,
        _: Request<v1::ListValidatorsRequest>,
    ) -> Answer<v1::ListValidatorsResponse> {
        let state = self.ledger.store.state();
        let extra = u64::from(self.lie == Lie::WrongHeader);
        let validator = |(id, power): &(ValidatorId, cifer_chain::VotingPower)| v1::Validator {
            id: id.key().as_bytes().to_vec(),
            power: power.0 + extra,
            ..v1::Validator::default()
        };
        Ok(Response::new(v1::ListValidatorsResponse {
            height: state.height.0,
            validators: state.validators.entries().iter().map(validator).collect(),
            total_power: state.validators.total_power().0,
            validators_hash: state.validators.hash(&state.chain_id).0.to_vec(),
        }))
    }

    async fn get_contributor(
        &self,
        request: Request<v1::GetContributorRequest>,
    ) -> Answer<v1::GetContributorResponse> {
        let contributor = request.into_inner().contributor;
        Ok(Response::new(v1::GetContributorResponse {
            contributor,
            name: "somebody".into(),
            ..v1::GetContributorResponse::default()
        }))
    }

    async fn list_tasks(&self, _: Request<v1::ListTasksRequest>) -> Answer<v1::ListTasksResponse> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn get_model_manifest(
        &self,
        _: Request<v1::GetModelManifestRequest>,
    ) -> Answer<v1::GetModelManifestResponse> {
        Err(Status::unimplemented("not in this test"))
    }

    type DownloadModelStream = Boxed<v1::DownloadModelResponse>;

    async fn download_model(
        &self,
        request: Request<v1::DownloadModelRequest>,
    ) -> Answer<Self::DownloadModelStream> {
        use v1::download_model_request::Model;
        self.up()?;
        let request = request.into_inner();
        self.downloads.fetch_add(1, Ordering::SeqCst);
        self.last_offset.store(request.offset, Ordering::SeqCst);
        let state = self.ledger.store.state();
        let newest = testing::current(&state).model;
        let mut root = match request.model {
            None => newest,
            Some(Model::Root(root)) => ModelRoot::from_bytes(root.try_into().unwrap()),
            Some(Model::Round(round)) => {
                let key = StateKey::Round(TASK, RoundId(round));
                let record = self.ledger.store.value(&key).unwrap();
                let record = record.ok_or_else(|| Status::not_found("no such round"))?;
                borsh::from_slice::<cifer_chain::RoundRecord>(&record)
                    .unwrap()
                    .model()
            }
        };
        let mut found = self.ledger.model(&root);
        if self.lie == Lie::WrongRoot {
            // With the true model's certificate, for want of a better one.
            let bytes = self.false_model(&newest);
            root = root_of(&bytes);
            found = Some((bytes, self.ledger.model(&newest).unwrap().1));
        }
        let (bytes, certificate) = found.ok_or_else(|| Status::not_found("no such model"))?;
        let wrong = u64::from(self.lie == Lie::WrongLength);
        let header = v1::ModelHeader {
            root: root.as_bytes().to_vec(),
            length_bytes: bytes.len() as u64 - wrong,
            offset: request.offset,
            round: None,
            aggregate_certificate: certificate.map(|c| self.certificate(c)),
        };
        let part = v1::download_model_response::Part::Header(header);
        let header = v1::DownloadModelResponse { part: Some(part) };
        let chunks = self.download(bytes, request.offset);
        Ok(Response::new(Box::pin(
            stream::once(async { Ok(header) }).chain(chunks),
        )))
    }

    async fn get_state_proof(
        &self,
        request: Request<v1::GetStateProofRequest>,
    ) -> Answer<v1::GetStateProofResponse> {
        use v1::get_state_proof_request::Key;
        let key = match request.into_inner().key {
            Some(Key::Task(task)) => StateKey::Task(cifer_chain::TaskId(task)),
            Some(Key::Raw(bytes)) => borsh::from_slice(&bytes).unwrap(),
            _ => return Err(Status::unimplemented("not in this test")),
        };
        let (height, proof) = self.ledger.prove(key);
        let block = self.ledger.store.block(height).unwrap().unwrap();
        let certificate = self.ledger.store.certificate(height).unwrap().unwrap();
        let mut value = proof.value;
        if self.lie == Lie::WrongProof || self.lie == Lie::FutureRound {
            let mut record: TaskRecord = borsh::from_slice(value.as_ref().unwrap()).unwrap();
            record.round = RoundId(record.round.0 + 3);
            value = Some(borsh::to_vec(&record).unwrap());
        }
        Ok(Response::new(v1::GetStateProofResponse {
            height: height.0,
            header_borsh: borsh::to_vec(&block.header).unwrap(),
            commit_certificate: Some(v1::Certificate {
                borsh: borsh::to_vec(&certificate).unwrap(),
                signatures: Vec::new(),
            }),
            key: key.to_bytes(),
            value,
            proof: proof.proof,
        }))
    }

    type SubscribeStream = Boxed<v1::SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Answer<Self::SubscribeStream> {
        self.up()?;
        let from = request.into_inner().from_height;
        let from = from.map_or(self.ledger.store.tip().0 + 1, |height| height.max(1));
        let (this, heights) = (self.clone(), self.ledger.heights());
        let blocks = stream::unfold((from, heights), move |(next, mut heights)| {
            let this = this.clone();
            async move {
                while this.ledger.store.tip().0 < next {
                    heights.changed().await.ok()?;
                }
                let events = this.events_at(Height(next)).into_iter().map(Ok);
                Some((
                    stream::iter(events.collect::<Vec<_>>()),
                    (next + 1, heights),
                ))
            }
        });
        let events = blocks.flatten();
        if self.lie == Lie::DeadEvents {
            let broken = stream::once(async { Err(Status::unavailable("broke")) });
            return Ok(Response::new(Box::pin(events.take(1).chain(broken))));
        }
        Ok(Response::new(Box::pin(events)))
    }
}

#[tonic::async_trait]
impl ContributeService for Service {
    async fn get_current_round(
        &self,
        request: Request<v1::GetCurrentRoundRequest>,
    ) -> Answer<v1::GetCurrentRoundResponse> {
        self.up()?;
        if self.lie == Lie::HangOnRound {
            std::future::pending::<()>().await;
        }
        let contributor = request.into_inner().contributor;
        let state = self.ledger.store.state();
        let standing =
            match cifer_chain::PublicKey::from_bytes(contributor.try_into().unwrap_or_default()) {
                Ok(key)
                    if state
                        .contributors
                        .contains_key(&cifer_chain::ContributorId(key)) =>
                {
                    match testing::current(&state).turn(&cifer_chain::ContributorId(key)) {
                        None if self.lie == Lie::LosesFirstUpload
                            && self.submissions.load(Ordering::SeqCst) > 0 =>
                        {
                            v1::ContributorStanding::Pending
                        }
                        None => v1::ContributorStanding::MaySubmit,
                        Some(_) => v1::ContributorStanding::Accepted,
                    }
                }
                Ok(_) => v1::ContributorStanding::Unregistered,
                Err(_) => v1::ContributorStanding::Unspecified,
            };
        let finished =
            self.lie == Lie::Finished || testing::current(&state).phase == Phase::Complete;
        Ok(Response::new(v1::GetCurrentRoundResponse {
            chain_id: state.chain_id.clone(),
            round: Some(self.round(&state)),
            finished,
            standing: standing.into(),
            height: state.height.0,
            block_time_ms: state.time_ms.0,
            ..v1::GetCurrentRoundResponse::default()
        }))
    }

    async fn submit_update(
        &self,
        request: Request<Streaming<v1::SubmitUpdateRequest>>,
    ) -> Answer<v1::SubmitUpdateResponse> {
        use v1::submit_update_request::Part;
        self.up()?;
        let earlier = self.submissions.fetch_add(1, Ordering::SeqCst);
        if self.lie == Lie::LosesFirstUpload && earlier == 0 {
            return Err(Status::unavailable("the connection broke"));
        }
        if self.lie == Lie::LosesFirstAnswer && earlier > 0 {
            return Err(Status::already_exists("the turn is used"));
        }
        if self.lie == Lie::RefuseUpdates {
            return Err(Status::failed_precondition("round 99 is not open"));
        }
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|message| message.part);
        let Some(Part::Header(header)) = first else {
            return Err(Status::invalid_argument("no header"));
        };
        let signed: SignedUpdate = borsh::from_slice(&header.signed_update_borsh)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut payload = Vec::new();
        while let Some(message) = parts.message().await? {
            let Some(Part::Chunk(chunk)) = message.part else {
                return Err(Status::invalid_argument("a second header"));
            };
            payload.extend_from_slice(&chunk);
        }
        if self.lie == Lie::HangOnSubmit {
            std::future::pending::<()>().await;
        }
        if *blake3::hash(&payload).as_bytes() != *signed.update.payload.as_bytes() {
            return Err(Status::invalid_argument(
                "payload: is not of the committed hash",
            ));
        }
        let tx = self.ledger.submit(&signed, payload)?;
        if self.lie == Lie::LosesFirstAnswer {
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(self.verdict(&signed, &tx)))
    }

    async fn get_update_outcome(
        &self,
        _: Request<v1::GetUpdateOutcomeRequest>,
    ) -> Answer<v1::GetUpdateOutcomeResponse> {
        Err(Status::not_found("no such update"))
    }

    type WatchUpdateStream = Boxed<v1::WatchUpdateResponse>;

    async fn watch_update(
        &self,
        _: Request<v1::WatchUpdateRequest>,
    ) -> Answer<Self::WatchUpdateStream> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Answer<v1::RegisterResponse> {
        let bytes = request.into_inner().registration_borsh;
        let registration = borsh::from_slice(&bytes)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let tx = Transaction::Register(registration);
        let tx_hash = tx.hash(self.ledger.network.chain_id()).as_bytes().to_vec();
        self.ledger.commit([tx]);
        Ok(Response::new(v1::RegisterResponse { tx_hash }))
    }
}

impl Service {
    fn verdict(&self, signed: &SignedUpdate, tx: &Transaction) -> v1::SubmitUpdateResponse {
        use cifer_chain::{RejectReason, Verdict, update::verdict_signing_bytes};
        use v1::submit_update_response::Verdict as Wire;
        let chain_id = self.ledger.network.chain_id();
        let id = signed.id(chain_id);
        let rejected = matches!(tx, Transaction::Rejection(_)) || self.lie == Lie::ShortRejection;
        let verdict = if rejected {
            Verdict::Rejected(RejectReason::NotFinite)
        } else {
            Verdict::Available
        };
        let signatures = self
            .signatures(&verdict_signing_bytes(chain_id, id, verdict))
            .into_iter()
            .map(|(validator, signature)| v1::ValidatorSignature {
                validator: validator.key().as_bytes().to_vec(),
                signature: signature.0.to_vec(),
            })
            .collect();
        let tx_hash = tx.hash(chain_id).as_bytes().to_vec();
        let verdict = if rejected {
            Wire::Rejected(v1::CertifiedRejection {
                reason: v1::RejectReason::NotFinite.into(),
                rejections: signatures,
                tx_hash,
            })
        } else {
            Wire::Certified(v1::CertifiedUpdate {
                tx_hash,
                receipts: signatures,
            })
        };
        v1::SubmitUpdateResponse {
            update_id: id.0.to_vec(),
            verdict: Some(verdict),
        }
    }
}
