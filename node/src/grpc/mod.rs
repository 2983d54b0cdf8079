//! The gRPC interface: thin services over [`Node`], with bounds on everything a client can hold.
//!
//! - [`query`], [`rounds`], [`models`], [`events`]: reading.
//! - [`contribute`]: updates and registrations.
//! - [`convert`], [`status`]: chain types to messages, errors to statuses with details.

mod contribute;
mod convert;
mod events;
mod models;
mod query;
mod rounds;
mod status;

use std::time::Duration;

use cifer_proto::v1::{
    contribute_service_server::ContributeServiceServer, query_service_server::QueryServiceServer,
};
use eyre::{Context, Report};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

use crate::{
    config::{GrpcConfig, TlsConfig},
    core::Node,
};

/// Requests that one connection may have open.
const MAX_CONCURRENT_STREAMS: u32 = 128;
/// HTTP/2 keepalive: a dead client is noticed after about 30 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Flow-control windows: an upload holds at most a stream window, a connection at most its own.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;

/// Serves on `listener` until `stop`.
///
/// # Errors
/// When a certificate cannot be read or used.
pub(crate) async fn spawn(
    listener: TcpListener,
    config: &GrpcConfig,
    node: Node,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, Report> {
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter
        .set_serving::<QueryServiceServer<query::Query>>()
        .await;
    health_reporter
        .set_serving::<ContributeServiceServer<contribute::Contribute>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(cifer_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let query = QueryServiceServer::new(query::Query::new(node.clone(), stop.clone()))
        .max_decoding_message_size(cifer_proto::MAX_REQUEST_BYTES)
        .max_encoding_message_size(cifer_proto::MAX_GENESIS_RESPONSE_BYTES);
    let timeout = Duration::from_millis(config.request_timeout_ms);
    let contribute =
        ContributeServiceServer::new(contribute::Contribute::new(node, timeout, stop.clone()))
            .max_decoding_message_size(cifer_proto::MAX_REQUEST_BYTES)
            .max_encoding_message_size(cifer_proto::MAX_RESPONSE_BYTES);

    let mut server = Server::builder()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .tcp_nodelay(true);
    if let Some(tls) = &config.tls {
        server = server
            .tls_config(tls_config(tls)?)
            .wrap_err("TLS certificates of grpc.tls_*")?;
    }
    let router = server
        .add_service(health)
        .add_service(reflection)
        .add_service(query)
        .add_service(contribute);
    let incoming = limited(listener, config.max_connections);
    Ok(tokio::spawn(async move {
        let served = router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "gRPC server ended");
        }
    }))
}

fn tls_config(tls: &TlsConfig) -> Result<ServerTlsConfig, Report> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).wrap_err_with(|| format!("cannot read {}", path.display()))
    };
    let identity = Identity::from_pem(read(&tls.cert)?, read(&tls.key)?);
    let config = ServerTlsConfig::new().identity(identity);
    Ok(match &tls.client_ca {
        Some(ca) => config.client_ca_root(Certificate::from_pem(read(ca)?)),
        None => config,
    })
}

/// Accepted connections, of which at most `limit` are open at a time: one too many is closed.
fn limited(
    listener: TcpListener,
    limit: usize,
) -> impl tokio_stream::Stream<Item = std::io::Result<limit::Counted>> {
    let open = std::sync::Arc::new(tokio::sync::Semaphore::new(limit));
    TcpListenerStream::new(listener).filter_map(move |accepted| match accepted {
        Ok(stream) => {
            let _ = stream.set_nodelay(true);
            let permit = std::sync::Arc::clone(&open).try_acquire_owned();
            if permit.is_err() {
                tracing::warn!(limit, "too many gRPC connections; one is closed");
            }
            Some(Ok(limit::Counted::new(stream, permit.ok()?)))
        }
        // One failed accept (a reset, no file descriptors) must not end the server.
        Err(error) => {
            tracing::warn!(%error, "gRPC connection not accepted");
            None
        }
    })
}

mod limit {
    //! A TCP stream that counts as open until it is dropped.

    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::{
        io::{AsyncRead, AsyncWrite, ReadBuf},
        net::TcpStream,
        sync::OwnedSemaphorePermit,
    };
    use tonic::transport::server::{Connected, TcpConnectInfo};

    pub(crate) struct Counted {
        stream: TcpStream,
        _permit: OwnedSemaphorePermit,
    }

    impl Counted {
        pub(super) fn new(stream: TcpStream, permit: OwnedSemaphorePermit) -> Self {
            Self {
                stream,
                _permit: permit,
            }
        }
    }

    impl Connected for Counted {
        type ConnectInfo = TcpConnectInfo;
        fn connect_info(&self) -> Self::ConnectInfo {
            self.stream.connect_info()
        }
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}
