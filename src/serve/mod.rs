//! The listeners: from a socket to a router, with TLS, bounds and an orderly end.
//!
//! Every listener speaks HTTP/1.1 and HTTP/2 (gRPC needs the latter), with or without TLS.

mod limit;
#[cfg(test)]
mod tests;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

use crate::config::{Limits, Listen};
use crate::schedule::Stop;
use limit::Limiter;
pub use limit::TurnedAway;
pub use tls::Certificate;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the first request of a connection. Who connects has something to say; who is silent holds
/// a place that others wait for.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the header of a further request, and between two requests of a connection. Longer than the
/// minute between two exports of a client, so that its connection lives.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// Time between two signs of life of an HTTP/2 connection, and to answer one.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for requests in progress when tallyd stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause after a failed accept: out of file descriptors, it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What answers on each listener, and where it is noted who did not get so far.
#[derive(Clone, Debug)]
pub struct Doors {
    pub http: Router,
    pub otlp_http: Router,
    pub grpc: Router,
    pub turned_away: TurnedAway,
}

/// The addresses that were really taken; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub http: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
    pub grpc: Option<SocketAddr>,
}

/// Open sockets that nobody answers yet.
#[derive(Debug)]
pub struct Listeners {
    http: Option<TcpListener>,
    otlp_http: Option<TcpListener>,
    grpc: Option<TcpListener>,
    addresses: Addresses,
}

impl Listeners {
    /// Opens the sockets.
    pub async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        let http = bind("listen.http", listen.http).await?;
        let otlp_http = bind("listen.otlp_http", listen.otlp_http).await?;
        let grpc = bind("listen.grpc", listen.grpc).await?;
        let address = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        let addresses = Addresses {
            http: address(&http),
            otlp_http: address(&otlp_http),
            grpc: address(&grpc),
        };
        Ok(Self {
            http,
            otlp_http,
            grpc,
            addresses,
        })
    }

    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Answers until `stop`, then lets requests in progress end within
    /// [`DRAIN_TIMEOUT`].
    pub async fn serve(
        self,
        doors: Doors,
        limits: &Limits,
        certificate: Option<Arc<Certificate>>,
        stop: Stop,
    ) -> anyhow::Result<()> {
        let tls = match certificate {
            Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
            None => None,
        };
        let limiter = Limiter::new(limits, doors.turned_away);
        let mut running = JoinSet::new();
        for (name, listener, router) in [
            ("http", self.http, doors.http),
            ("otlp_http", self.otlp_http, doors.otlp_http),
            ("grpc", self.grpc, doors.grpc),
        ] {
            let Some(listener) = listener else { continue };
            let door = Door {
                name,
                router,
                limiter: limiter.clone(),
                tls: tls.clone(),
                stop: stop.clone(),
            };
            // Each listener has its own bound: what fills one port leaves the others reachable.
            let connections = Arc::new(Semaphore::new(limits.connections));
            running.spawn(accept(listener, door, connections));
        }
        while running.join_next().await.is_some() {}
        Ok(())
    }
}

async fn bind(key: &str, address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("{key}: cannot listen on {address}"))?;
    Ok(Some(listener))
}

/// What each connection of a listener needs.
#[derive(Clone)]
struct Door {
    /// The listener's name in its setting.
    name: &'static str,
    router: Router,
    limiter: Limiter,
    tls: Option<TlsAcceptor>,
    stop: Stop,
}

async fn accept(listener: TcpListener, door: Door, connections: Arc<Semaphore>) {
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            biased;
            () = door.stop.stopped() => break,
            next = next => next,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection = connect(stream, peer, door.clone(), graceful.watcher());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closed first: a new caller is better refused than left hanging.
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        while tasks.try_join_next().is_some() {}
        info!(
            connections = tasks.len(),
            "cut off what took too long to end"
        );
    }
}

async fn connect(stream: TcpStream, peer: SocketAddr, mut door: Door, watcher: Watcher) {
    // Answers are written whole; waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set TCP_NODELAY");
    }
    let Some(tls) = door.tls.take() else {
        return converse(stream, peer, door, watcher).await;
    };
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        () = door.stop.stopped() => return,
    };
    match shaken {
        Ok(Ok(stream)) => converse(stream, peer, door, watcher).await,
        Ok(Err(error)) => debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => debug!(%peer, "a TLS handshake took too long"),
    }
}

/// Answers the requests of one connection.
async fn converse<S>(stream: S, peer: SocketAddr, door: Door, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let note = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        note.store(true, Ordering::Relaxed);
        let (limiter, router) = (door.limiter.clone(), door.router.clone());
        let request = request.map(Body::new);
        async move { Ok::<_, Infallible>(limiter.answer(door.name, request, router).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    let mut connection = pin!(watcher.watch(connection));
    // Until the first request it is not known whether the peer speaks at all.
    let silence = async {
        tokio::time::sleep(FIRST_REQUEST_TIMEOUT).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                debug!(%peer, error, "a connection ended badly");
            }
        }
        () = silence => debug!(%peer, "no request came on a connection"),
    }
}
