//! Gateways: the nodes a client talks through, in order of preference, none of them trusted.
//!
//! Invariants: a gateway that was caught lying is never asked again by this pool; one that merely
//! failed moves to the back. Every operation makes at least one pass over the gateways and ends,
//! at the latest, with the first pass that ends after `give_up_after`.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cifer_proto::{
    MAX_RESPONSE_BYTES,
    v1::{
        contribute_service_client::ContributeServiceClient,
        query_service_client::QueryServiceClient,
    },
};
use rand::Rng;
use tonic::{
    Response, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::error::{ClientError, Fault};

/// Most gateways of one client; more help nobody and each costs a connection.
pub const MAX_GATEWAYS: usize = 64;
/// Largest certificate or key file.
const MAX_PEM_BYTES: u64 = 1 << 20;
/// First pause after all gateways failed; doubles up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(50);
/// Longest pause between two passes.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// HTTP/2 window of one stream: four chunks in flight.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// HTTP/2 window of a connection, and so what a gateway can make this side hold unread.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Pings on a connection, so that a dead gateway is noticed while waiting for events.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// PEM files for TLS. With `https` addresses a CA is required: no system roots are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate authority of the gateways.
    pub ca: Option<PathBuf>,
    /// This client's certificate, for gateways that ask for one.
    pub cert: Option<PathBuf>,
    /// Key of `cert`.
    pub key: Option<PathBuf>,
}

/// How patient a client is, and its TLS files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayOptions {
    /// TLS files.
    pub tls: TlsFiles,
    /// For one connection.
    pub connect_timeout: Duration,
    /// For one plain request.
    pub request_timeout: Duration,
    /// For the next message of a stream, and for progress of an upload.
    pub idle_timeout: Duration,
    /// For the validators' verdict after an upload.
    pub verdict_timeout: Duration,
    /// For one operation over all gateways; zero is a single pass.
    pub give_up_after: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            tls: TlsFiles::default(),
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            verdict_timeout: Duration::from_secs(120),
            give_up_after: Duration::from_secs(5),
        }
    }
}

/// One gateway. Cheap to clone; connects when first used and again after a failure.
#[derive(Debug, Clone)]
pub struct Gateway {
    index: usize,
    address: Arc<str>,
    channel: Channel,
    request_timeout: Duration,
}

impl Gateway {
    /// Its address, with scheme.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    pub(crate) fn contribute(&self) -> ContributeServiceClient<Channel> {
        ContributeServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Awaits a call that should answer at once.
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        self.within(self.request_timeout, "answer", call)
            .await
            .map(Response::into_inner)
    }

    /// Awaits anything that this gateway owes within `limit`.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|status| self.status(&status)),
            Err(_) => Err(self.failed(format!("no {what} within {limit:?}"))),
        }
    }

    pub(crate) fn status(&self, status: &Status) -> ClientError {
        ClientError::from_status(&self.address, status)
    }

    pub(crate) fn failed(&self, reason: impl std::fmt::Display) -> ClientError {
        ClientError::network(&self.address, reason)
    }

    pub(crate) fn fault(&self, fault: Fault) -> ClientError {
        ClientError::Gateway {
            gateway: self.address.to_string(),
            fault,
        }
    }
}

/// Several gateways with failover. Clones share which one is preferred and which are at fault.
#[derive(Debug, Clone)]
pub struct Gateways(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    gateways: Vec<Gateway>,
    options: GatewayOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    preferred: usize,
    standings: Vec<Standing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Not asked yet to which network it belongs.
    New,
    Good,
    Faulty(Fault),
}

impl Gateways {
    /// Checks addresses and TLS files; connects to nobody yet. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Config`] and [`ClientError::Io`] name what to change.
    pub fn new(addresses: &[String], options: GatewayOptions) -> Result<Self, ClientError> {
        if addresses.is_empty() || addresses.len() > MAX_GATEWAYS {
            let reason = format!("1 to {MAX_GATEWAYS} gateway addresses are needed");
            return Err(ClientError::config("gateways", addresses.join(","), reason));
        }
        let tls = tls_config(&options.tls)?;
        let mut gateways: Vec<Gateway> = Vec::with_capacity(addresses.len());
        for address in addresses {
            let gateway = connect(gateways.len(), address, tls.as_ref(), &options)?;
            if gateways
                .iter()
                .all(|known| known.address != gateway.address)
            {
                gateways.push(gateway);
            }
        }
        let standings = vec![Standing::New; gateways.len()];
        let state = Mutex::new(State {
            preferred: 0,
            standings,
        });
        Ok(Self(Arc::new(Inner {
            gateways,
            options,
            state,
        })))
    }

    /// The options in force.
    #[must_use]
    pub fn options(&self) -> &GatewayOptions {
        &self.0.options
    }

    /// All gateways in the order given.
    #[must_use]
    pub fn all(&self) -> &[Gateway] {
        &self.0.gateways
    }

    /// The gateways caught lying, with what they did.
    #[must_use]
    pub fn faults(&self) -> Vec<(String, Fault)> {
        let state = self.state();
        let faulty = |(gateway, standing): (&Gateway, &Standing)| match standing {
            Standing::Faulty(fault) => Some((gateway.address.to_string(), fault.clone())),
            _ => None,
        };
        self.0
            .gateways
            .iter()
            .zip(&state.standings)
            .filter_map(faulty)
            .collect()
    }

    /// Prefers the next gateway that is not at fault.
    pub(crate) fn rotate(&self) {
        let mut state = self.state();
        let from = state.preferred + 1;
        if let Some(next) = self.usable_from(&state, from) {
            state.preferred = next;
        }
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts {
            pool: self.clone(),
            started: Instant::now(),
            failures: 0,
            in_pass: 0,
            passes: 0,
            max_passes: u32::MAX,
            last: None,
            refusal: None,
        }
    }

    /// Whether the gateway's network was not checked yet.
    pub(crate) fn is_new(&self, gateway: &Gateway) -> bool {
        self.state().standings[gateway.index] == Standing::New
    }

    pub(crate) fn mark_good(&self, gateway: &Gateway) {
        let mut state = self.state();
        if state.standings[gateway.index] == Standing::New {
            state.standings[gateway.index] = Standing::Good;
        }
    }

    fn usable_from(&self, state: &State, from: usize) -> Option<usize> {
        let count = self.0.gateways.len();
        (0..count)
            .map(|step| (from + step) % count)
            .find(|&index| !matches!(state.standings[index], Standing::Faulty(_)))
    }

    fn usable(&self) -> usize {
        let usable = |s: &&Standing| !matches!(s, Standing::Faulty(_));
        self.state().standings.iter().filter(usable).count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tries of one operation. Ask for [`next`](Self::next), report with [`failed`](Self::failed).
#[derive(Debug)]
pub(crate) struct Attempts {
    pool: Gateways,
    started: Instant,
    failures: u32,
    in_pass: usize,
    passes: u32,
    max_passes: u32,
    last: Option<ClientError>,
    refusal: Option<ClientError>,
}

impl Attempts {
    /// Ends after so many passes even if there is time left.
    pub(crate) fn at_most_passes(mut self, passes: u32) -> Self {
        self.max_passes = passes;
        self
    }

    /// The gateway to try now. Pauses between passes.
    pub(crate) async fn next(&mut self) -> Result<Gateway, ClientError> {
        let usable = self.pool.usable();
        if usable == 0 {
            let distrusted = ClientError::Distrusted {
                faults: self.pool.faults(),
            };
            return Err(self.refusal.take().unwrap_or(distrusted));
        }
        if self.in_pass >= usable {
            self.in_pass = 0;
            self.passes = self.passes.saturating_add(1);
            self.end_or_pause().await?;
        }
        let state = self.pool.state();
        let index = self
            .pool
            .usable_from(&state, state.preferred)
            .ok_or(ClientError::Internal("gateway selection"))?;
        Ok(self.pool.0.gateways[index].clone())
    }

    /// Takes note of a failure. Gives an error back when trying elsewhere is no use: for what is
    /// no gateway's doing, and for a refusal once every gateway has been asked.
    pub(crate) fn failed(
        &mut self,
        gateway: &Gateway,
        error: ClientError,
    ) -> Result<(), ClientError> {
        match &error {
            ClientError::Gateway { fault, .. } => {
                tracing::warn!(gateway = gateway.address(), %fault, "gateway dropped");
                self.pool.state().standings[gateway.index] = Standing::Faulty(fault.clone());
            }
            ClientError::Network { reason, .. } => {
                tracing::debug!(gateway = gateway.address(), reason, "gateway failed");
                self.in_pass += 1;
            }
            ClientError::Refused { refusal, .. } => {
                tracing::debug!(gateway = gateway.address(), %refusal, "gateway refused");
                self.in_pass += 1;
            }
            _ => return Err(error),
        }
        self.failures = self.failures.saturating_add(1);
        self.move_on(gateway);
        match error {
            ClientError::Refused { .. } => self.refusal = Some(error),
            _ => self.last = Some(error),
        }
        let asked_all = self.in_pass >= self.pool.usable();
        match self.refusal.take() {
            Some(refusal) if asked_all => Err(refusal),
            refusal => {
                self.refusal = refusal;
                Ok(())
            }
        }
    }

    /// Like [`failed`](Self::failed), but a refusal is a failure like any other, to be tried again: a
    /// gateway that lags does not have yet what is asked for.
    pub(crate) fn failed_for_now(
        &mut self,
        gateway: &Gateway,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if !matches!(error, ClientError::Refused { .. }) {
            return self.failed(gateway, error);
        }
        self.failures = self.failures.saturating_add(1);
        self.in_pass += 1;
        self.move_on(gateway);
        self.last = Some(error);
        Ok(())
    }

    fn move_on(&self, gateway: &Gateway) {
        // Another operation may have moved on already.
        if self.pool.state().preferred == gateway.index {
            self.pool.rotate();
        }
    }

    async fn end_or_pause(&mut self) -> Result<(), ClientError> {
        let after = self.started.elapsed();
        if after >= self.pool.options().give_up_after || self.passes >= self.max_passes {
            let last = self.last.take().ok_or(ClientError::Internal("attempts"))?;
            let attempts = self.failures;
            return Err(ClientError::Exhausted {
                after,
                attempts,
                last: Box::new(last),
            });
        }
        let doubled = MIN_BACKOFF.saturating_mul(1 << self.passes.saturating_sub(1).min(16));
        let jitter = rand::thread_rng().gen_range(0.5..=1.0);
        tokio::time::sleep(doubled.min(MAX_BACKOFF).mul_f64(jitter)).await;
        Ok(())
    }
}

fn connect(
    index: usize,
    address: &str,
    tls: Option<&ClientTlsConfig>,
    options: &GatewayOptions,
) -> Result<Gateway, ClientError> {
    let address = address.trim();
    let address = match address.strip_suffix('/') {
        Some(shorter) if !shorter.ends_with('/') => shorter,
        _ => address,
    };
    let url = if address.contains("://") {
        address.to_owned()
    } else if tls.is_some() {
        format!("https://{address}")
    } else {
        format!("http://{address}")
    };
    let refused = |reason: String| ClientError::config("gateway address", &url, reason);
    let mut endpoint = Endpoint::from_shared(url.clone())
        .map_err(|error| refused(format!("{error}; expected http://host:port")))?;
    match (endpoint.uri().scheme_str(), tls) {
        (Some("http"), _) => {}
        (Some("https"), Some(tls)) => {
            endpoint = endpoint.tls_config(tls.clone()).map_err(|error| {
                refused(format!(
                    "TLS cannot be set up: {}",
                    crate::error::chain(&error)
                ))
            })?;
        }
        (Some("https"), None) => {
            return Err(refused(
                "https needs a certificate authority file (TLS CA)".to_owned(),
            ));
        }
        _ => return Err(refused("the scheme must be http or https".to_owned())),
    }
    if endpoint.uri().host().is_none_or(str::is_empty) {
        return Err(refused(
            "there is no host in it; expected http://host:port".to_owned(),
        ));
    }
    let channel = endpoint
        .user_agent(concat!("cifer/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| refused(error.to_string()))?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(options.idle_timeout)
        .keep_alive_while_idle(true)
        .connect_lazy();
    let request_timeout = options.request_timeout;
    Ok(Gateway {
        index,
        address: url.into(),
        channel,
        request_timeout,
    })
}

fn tls_config(files: &TlsFiles) -> Result<Option<ClientTlsConfig>, ClientError> {
    let mut config = match &files.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read_pem(ca)?)),
        None if files.cert.is_some() || files.key.is_some() => {
            return Err(ClientError::config(
                "TLS CA",
                "",
                "a client certificate needs the gateways' certificate authority as well",
            ));
        }
        None => return Ok(None),
    };
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            config = config.identity(Identity::from_pem(read_pem(cert)?, read_pem(key)?));
        }
        (None, None) => {}
        (cert, key) => {
            let value = format!("certificate {cert:?}, key {key:?}");
            return Err(ClientError::config(
                "TLS",
                value,
                "give both or none of them",
            ));
        }
    }
    Ok(Some(config))
}

fn read_pem(path: &Path) -> Result<Vec<u8>, ClientError> {
    let io = |source| ClientError::io(path, source);
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > MAX_PEM_BYTES {
        let reason = format!("has {length} bytes, the limit is {MAX_PEM_BYTES}");
        return Err(ClientError::config(
            "TLS file",
            path.display().to_string(),
            reason,
        ));
    }
    std::fs::read(path).map_err(io)
}
