//! The bytes of one model as they come: counted, hashed, kept in memory or in a `.part` file, and checked
//! against the root when they are all here.

use std::path::{Path, PathBuf};

use cifer_chain::ModelRoot;
use tokio::{fs::File, io::AsyncWriteExt};

use super::{ModelBytes, ModelTarget};
use crate::{
    error::{ClientError, Fault},
    gateway::Gateway,
};

/// The bytes so far.
pub(super) struct Download {
    pub(super) root: ModelRoot,
    pub(super) length: u64,
    pub(super) received: u64,
    hasher: blake3::Hasher,
    sink: Sink,
    /// Who delivered the bytes so far; two are as mixed as many.
    sources: Vec<String>,
    /// Bytes of several gateways did not fit together: from now on one gateway has to deliver all.
    pub(super) alone: bool,
    /// All bytes came and they are not the model's.
    pub(super) bad: bool,
}

enum Sink {
    Memory(Vec<u8>),
    File {
        path: PathBuf,
        part: PathBuf,
        file: File,
    },
}

impl Download {
    pub(super) async fn new(
        root: ModelRoot,
        length: u64,
        target: ModelTarget,
    ) -> Result<Self, ClientError> {
        let sink = match target {
            ModelTarget::Memory => Sink::Memory(Vec::new()),
            ModelTarget::File(path) => {
                let mut part = path.clone().into_os_string();
                part.push(".part");
                let part = PathBuf::from(part);
                let file = File::create(&part)
                    .await
                    .map_err(|e| ClientError::io(&part, e))?;
                Sink::File { path, part, file }
            }
        };
        Ok(Self {
            root,
            length,
            received: 0,
            hasher: blake3::Hasher::new(),
            sink,
            sources: Vec::new(),
            alone: false,
            bad: false,
        })
    }

    pub(super) async fn restart(&mut self) -> Result<(), ClientError> {
        self.received = 0;
        self.bad = false;
        self.sources.clear();
        self.hasher.reset();
        match &mut self.sink {
            Sink::Memory(bytes) => bytes.clear(),
            Sink::File { part, file, .. } => {
                *file = File::create(&*part)
                    .await
                    .map_err(|e| ClientError::io(&*part, e))?;
            }
        }
        Ok(())
    }

    pub(super) async fn write(
        &mut self,
        gateway: &Gateway,
        chunk: &[u8],
    ) -> Result<(), ClientError> {
        let got = self.received.saturating_add(chunk.len() as u64);
        if got > self.length {
            let expected = self.length;
            return Err(gateway.fault(Fault::Length {
                what: "model stream",
                got,
                expected,
            }));
        }
        if self.sources.len() < 2 && self.sources.iter().all(|s| s != gateway.address()) {
            self.sources.push(gateway.address().to_owned());
        }
        self.hasher.update(chunk);
        match &mut self.sink {
            Sink::Memory(bytes) => bytes.extend_from_slice(chunk),
            Sink::File { part, file, .. } => {
                file.write_all(chunk)
                    .await
                    .map_err(|e| ClientError::io(&*part, e))?;
            }
        }
        self.received = got;
        Ok(())
    }

    pub(super) fn check(&mut self, gateway: &Gateway) -> Result<(), ClientError> {
        let got = ModelRoot::from_bytes(*self.hasher.finalize().as_bytes());
        if got == self.root {
            return Ok(());
        }
        self.bad = true;
        if self.sources.len() > 1 {
            self.alone = true;
            return Err(gateway.failed("bytes of several gateways do not make the model"));
        }
        Err(gateway.fault(Fault::ModelBytes {
            expected: self.root,
            got,
        }))
    }

    /// Takes the unfinished file away; that it may stay behind hurts nobody.
    pub(super) async fn discard(self) {
        if let Sink::File { part, .. } = self.sink {
            let _ = tokio::fs::remove_file(part).await;
        }
    }

    pub(super) async fn finish(self) -> Result<ModelBytes, ClientError> {
        match self.sink {
            Sink::Memory(bytes) => Ok(ModelBytes::Memory(bytes)),
            Sink::File {
                path,
                part,
                mut file,
            } => {
                let io = |at: &Path, error| ClientError::io(at, error);
                file.flush().await.map_err(|e| io(&part, e))?;
                file.sync_all().await.map_err(|e| io(&part, e))?;
                drop(file);
                tokio::fs::rename(&part, &path)
                    .await
                    .map_err(|e| io(&path, e))?;
                Ok(ModelBytes::File(path))
            }
        }
    }
}
