//! Models: fetched from any gateway, believed from none. The root is checked against certificate or
//! genesis before a byte is taken, the bytes against the root as they come.
//!
//! Invariant: never more bytes than the manifest of our own genesis says. A download goes on where it
//! broke, at another gateway; should bytes of several gateways not make the model, it starts anew from
//! one at a time, so that blame falls on the right one.

mod download;

use std::{path::PathBuf, time::Duration};

use cifer_chain::{AggregateCertificate, ModelRoot, RoundId, TaskId};
use cifer_genesis::document::Task;
use cifer_proto::{
    MAX_CHUNK_BYTES,
    v1::{self, download_model_request::Model as Selector, download_model_response::Part},
};
use tonic::Streaming;

use self::download::Download;
use crate::{
    client::Client,
    error::{ClientError, Fault},
    follow::OpenRound,
    gateway::Gateway,
    verify::{self, Provenance},
};

/// A gateway that delivers less than this a second is as good as down.
const MIN_BYTES_PER_SECOND: u64 = 64 << 10;
/// Passes over all gateways before a claimed base is given up, about 1.5 seconds of pauses: it may be
/// a lie that nobody else can serve, and then it is better to ask anew.
const MAX_PASSES: u32 = 6;
/// How often the current round is asked for when its model cannot be had.
const MAX_CLAIMS: u32 = 8;

/// Which model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelSelector {
    /// The newest that the gateway knows of.
    Newest,
    /// What a round ended with.
    Round(RoundId),
    /// By its root.
    Root(ModelRoot),
}

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelTarget {
    /// Into memory: as much as the model is long.
    Memory,
    /// Into a file, by way of `<path>.part`; the file appears only once verified.
    File(PathBuf),
}

/// The bytes of a model: every tensor of the manifest in order, row-major, f32 little endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelBytes {
    /// In memory.
    Memory(Vec<u8>),
    /// In this file.
    File(PathBuf),
}

/// A model whose root is proven and whose bytes are those of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedModel {
    /// The task.
    pub task: TaskId,
    /// BLAKE3 of the bytes.
    pub root: ModelRoot,
    /// Length of the bytes.
    pub length_bytes: u64,
    /// What proves the root; `None` for the initial model, which genesis names.
    pub certificate: Option<AggregateCertificate>,
    /// The bytes.
    pub bytes: ModelBytes,
    /// Who delivered the last of them.
    pub gateway: String,
}

/// The model of the open round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentModel {
    /// The round, whose `base` is the model's root.
    pub round: OpenRound,
    /// The model.
    pub model: VerifiedModel,
}

impl VerifiedModel {
    /// The round that ended with this model; `None` for the initial one.
    #[must_use]
    pub fn round(&self) -> Option<RoundId> {
        self.certificate
            .as_ref()
            .map(|certificate| certificate.statement.round)
    }

    /// The parameters in the order of the manifest.
    ///
    /// # Errors
    /// [`ClientError::Io`] if they are in a file that cannot be read.
    pub fn parameters(&self) -> Result<Vec<f32>, ClientError> {
        match &self.bytes {
            ModelBytes::Memory(bytes) => Ok(parse_f32(bytes)),
            ModelBytes::File(path) => std::fs::read(path)
                .map(|b| parse_f32(&b))
                .map_err(|e| ClientError::io(path, e)),
        }
    }
}

fn parse_f32(bytes: &[u8]) -> Vec<f32> {
    let (chunks, _) = bytes.as_chunks::<4>();
    chunks
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect()
}

impl Client {
    /// The model that the task's open round starts from (or, between two rounds, will have started
    /// from), verified.
    ///
    /// # Errors
    /// [`ClientError`]; of gateways only when none is left that serves it.
    pub async fn fetch_current(
        &self,
        task: TaskId,
        target: ModelTarget,
    ) -> Result<CurrentModel, ClientError> {
        let mut claims = 0;
        loop {
            let current = self.current_round(task, None).await?;
            let round = current.open;
            match self.fetch_base(&round, target.clone()).await {
                Ok(model) => return Ok(CurrentModel { round, model }),
                // Whoever named this root may have lagged or lied; ask another one.
                Err(error @ ClientError::Exhausted { .. }) => {
                    claims += 1;
                    if claims >= MAX_CLAIMS {
                        return Err(error);
                    }
                    tracing::debug!(%task, round = %round.round, %error, "asking anew");
                    self.gateways().rotate();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The model that `round` starts from. That it does is verified, too.
    ///
    /// # Errors
    /// See [`Client::fetch_current`].
    pub async fn fetch_base(
        &self,
        round: &OpenRound,
        target: ModelTarget,
    ) -> Result<VerifiedModel, ClientError> {
        self.fetch(round.task, round.base, Some(round), target)
            .await
    }

    /// Verifies that `round` starts from its `base`, without fetching the bytes.
    ///
    /// # Errors
    /// See [`Client::fetch_current`].
    pub async fn prove_base(&self, round: &OpenRound) -> Result<(), ClientError> {
        let task = self.trusted()?.task(round.task)?;
        let length = self.trusted()?.model_bytes(round.task)?;
        let mut attempts = self.gateways().attempts().at_most_passes(MAX_PASSES);
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            let wanted = Wanted {
                task,
                length,
                root: Some(round.base),
                base_of: Some(round),
            };
            match self
                .open_download(&gateway, &wanted, Some(by_root(round.base)), 0)
                .await
            {
                Ok(_) => return Ok(()),
                Err(error) => attempts.failed_for_now(&gateway, error)?,
            }
        }
    }

    /// Any model of a task, verified.
    ///
    /// # Errors
    /// See [`Client::fetch_current`]; [`ClientError::Refused`] when no gateway has it.
    pub async fn fetch_model(
        &self,
        task: TaskId,
        selector: ModelSelector,
        target: ModelTarget,
    ) -> Result<VerifiedModel, ClientError> {
        let root = match selector {
            ModelSelector::Root(root) => root,
            ModelSelector::Newest | ModelSelector::Round(_) => {
                self.resolve_model(task, selector).await?
            }
        };
        self.fetch(task, root, None, target).await
    }

    /// The root of the newest model, or of what a round ended with; proven by the gateway's header.
    async fn resolve_model(
        &self,
        id: TaskId,
        selector: ModelSelector,
    ) -> Result<ModelRoot, ClientError> {
        let task = self.trusted()?.task(id)?;
        let length = self.trusted()?.model_bytes(id)?;
        let request = match selector {
            ModelSelector::Newest => None,
            ModelSelector::Round(round) => Some(Selector::Round(round.0)),
            ModelSelector::Root(root) => Some(by_root(root)),
        };
        let wanted = Wanted {
            task,
            length,
            root: None,
            base_of: None,
        };
        let mut attempts = self.gateways().attempts();
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            match self
                .open_download(&gateway, &wanted, request.clone(), 0)
                .await
            {
                Ok(opened) => match (selector, opened.certificate) {
                    (ModelSelector::Round(asked), Some(c)) if c.statement.round > asked => {
                        let fault = Fault::mismatch("round of the model", c.statement.round, asked);
                        attempts.failed(&gateway, gateway.fault(fault))?;
                    }
                    _ => return Ok(opened.root),
                },
                Err(error) => attempts.failed(&gateway, error)?,
            }
        }
    }

    async fn fetch(
        &self,
        id: TaskId,
        root: ModelRoot,
        base_of: Option<&OpenRound>,
        target: ModelTarget,
    ) -> Result<VerifiedModel, ClientError> {
        let task = self.trusted()?.task(id)?;
        let length_bytes = self.trusted()?.model_bytes(id)?;
        let wanted = Wanted {
            task,
            length: length_bytes,
            root: Some(root),
            base_of,
        };
        let mut download = Download::new(root, length_bytes, target).await?;
        match self.fill(&wanted, &mut download).await {
            Ok((certificate, gateway)) => {
                let bytes = download.finish().await?;
                Ok(VerifiedModel {
                    task: id,
                    root,
                    length_bytes,
                    certificate,
                    bytes,
                    gateway,
                })
            }
            Err(error) => {
                download.discard().await;
                Err(error)
            }
        }
    }

    /// Goes from gateway to gateway until all bytes are here and right.
    async fn fill(
        &self,
        wanted: &Wanted<'_>,
        download: &mut Download,
    ) -> Result<(Option<AggregateCertificate>, String), ClientError> {
        let mut attempts = self.gateways().attempts();
        if wanted.base_of.is_some() {
            attempts = attempts.at_most_passes(MAX_PASSES);
        }
        loop {
            let gateway = self.gateway(&mut attempts).await?;
            match self.continue_download(&gateway, wanted, download).await {
                Ok(certificate) => return Ok((certificate, gateway.address().to_owned())),
                Err(error) => {
                    let lied = matches!(error, ClientError::Gateway { .. });
                    attempts.failed_for_now(&gateway, error)?;
                    if lied || download.bad {
                        download.restart().await?;
                    }
                }
            }
        }
    }

    /// Takes what one gateway gives. `Ok` means that all bytes are here and right.
    async fn continue_download(
        &self,
        gateway: &Gateway,
        wanted: &Wanted<'_>,
        download: &mut Download,
    ) -> Result<Option<AggregateCertificate>, ClientError> {
        if download.alone {
            download.restart().await?;
        }
        let missing = wanted.length.saturating_sub(download.received);
        let idle = self.gateways().options().idle_timeout;
        let limit = idle + Duration::from_secs(missing / MIN_BYTES_PER_SECOND);
        let transfer = async {
            let request = Some(by_root(download.root));
            let mut opened = self
                .open_download(gateway, wanted, request, download.received)
                .await?;
            while download.received < wanted.length {
                let Some(chunk) = opened.next_chunk(gateway, idle).await? else {
                    return Err(gateway.fault(Fault::Length {
                        what: "model stream",
                        got: download.received,
                        expected: wanted.length,
                    }));
                };
                download.write(gateway, &chunk).await?;
            }
            download.check(gateway)?;
            Ok(opened.certificate)
        };
        match tokio::time::timeout(limit, transfer).await {
            Ok(result) => result,
            Err(_) => Err(gateway.failed(format!("no model within {limit:?}"))),
        }
    }

    /// Asks for a download and verifies the header.
    async fn open_download(
        &self,
        gateway: &Gateway,
        wanted: &Wanted<'_>,
        model: Option<Selector>,
        offset: u64,
    ) -> Result<Opened, ClientError> {
        let idle = self.gateways().options().idle_timeout;
        let request = v1::DownloadModelRequest {
            task: wanted.task.id.0,
            model,
            offset,
        };
        let mut stream = gateway
            .answer(gateway.query().download_model(request))
            .await?;
        let first = gateway
            .within(idle, "model header", stream.message())
            .await?;
        let Some(Part::Header(header)) = first.and_then(|message| message.part) else {
            return Err(gateway.fault(Fault::malformed(
                "model stream",
                "does not start with a header",
            )));
        };
        let fault = |fault| gateway.fault(fault);
        let root = verify::model_root("model root", &header.root).map_err(fault)?;
        let certificate =
            verify::aggregate_certificate(header.aggregate_certificate.as_ref()).map_err(fault)?;
        wanted.check_header(&header, root, offset).map_err(fault)?;
        let network = self.trusted()?;
        match wanted.base_of {
            None => network
                .check_model(wanted.task, root, certificate.as_ref())
                .map_err(fault)?,
            Some(round) => {
                let provenance = network
                    .check_base(wanted.task, round.round, root, certificate.as_ref())
                    .map_err(fault)?;
                if provenance == Provenance::Gap {
                    self.prove_round_open(gateway, round).await?;
                }
            }
        }
        Ok(Opened {
            stream,
            root,
            certificate,
        })
    }
}

/// What a download must deliver.
struct Wanted<'a> {
    task: &'a Task,
    length: u64,
    root: Option<ModelRoot>,
    base_of: Option<&'a OpenRound>,
}

impl Wanted<'_> {
    fn check_header(
        &self,
        header: &v1::ModelHeader,
        root: ModelRoot,
        offset: u64,
    ) -> Result<(), Fault> {
        if let Some(expected) = self.root {
            verify::expect("model root", root, expected)?;
        }
        if header.length_bytes != self.length {
            let (got, expected) = (header.length_bytes, self.length);
            return Err(Fault::Length {
                what: "model",
                got,
                expected,
            });
        }
        verify::expect("model offset", header.offset, offset)
    }
}

struct Opened {
    stream: Streaming<v1::DownloadModelResponse>,
    root: ModelRoot,
    certificate: Option<AggregateCertificate>,
}

impl Opened {
    async fn next_chunk(
        &mut self,
        gateway: &Gateway,
        idle: Duration,
    ) -> Result<Option<tonic::codegen::Bytes>, ClientError> {
        let message = gateway
            .within(idle, "model bytes", self.stream.message())
            .await?;
        match message.map(|message| message.part) {
            None => Ok(None),
            Some(Some(Part::Chunk(chunk))) if chunk.len() > MAX_CHUNK_BYTES => {
                let (got, limit) = (chunk.len() as u64, MAX_CHUNK_BYTES as u64);
                Err(gateway.fault(Fault::Limit {
                    what: "model chunk",
                    got,
                    limit,
                }))
            }
            // Empty chunks make no progress: a stream of them is nothing else than silence.
            Some(Some(Part::Chunk(chunk))) if !chunk.is_empty() => Ok(Some(chunk)),
            Some(_) => Err(gateway.fault(Fault::malformed(
                "model stream",
                "has an empty or second header part",
            ))),
        }
    }
}

fn by_root(root: ModelRoot) -> Selector {
    Selector::Root(root.as_bytes().to_vec())
}
