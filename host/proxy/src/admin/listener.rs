//! Where an administrator is heard: the Unix socket and addresses for HTTP. Connections are
//! few, and none of them can wait for ever.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::dashboard::Feed;
use super::guard::{Guard, Way};
use super::patient::Patient;
use super::places::{Place, Places};
use super::routes::{self, Desk};
use super::socket::AdminSocket;
use super::tokens::Tokens;
use crate::config::{AdminConfig, exposed_warning};
use crate::logging::Recent;
use crate::net::{self, TlsAcceptor};
use crate::server::{Control, View};

/// Connections by the socket at once; [`Places`] has those over TCP.
const CONNECTIONS: usize = 64;
/// How long the head of a request may take, and a connection may be silent between two.
const HEAD: Duration = Duration::from_secs(10);
/// How long an answer under way may take when the process ends.
const LAST_WORD: Duration = Duration::from_millis(500);
/// Octets of a request's head.
const HEAD_OCTETS: usize = 16 << 10;

/// Tokens and keys, which perhaps only root can read.
#[derive(Debug)]
pub struct AdminKeys {
    tokens: Tokens,
    tls: Option<Arc<TlsAcceptor>>,
}

impl AdminKeys {
    /// Reads the files that a configuration names.
    ///
    /// # Errors
    /// Which file is not what it should be, with its place in the configuration.
    pub fn read(config: &AdminConfig) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().map(|tls| TlsAcceptor::load(tls).map(Arc::new)).transpose()?;
        Ok(Self { tokens: Tokens::read(config)?, tls })
    }
}

/// What an administrator comes by, open and not yet served.
#[derive(Debug)]
pub struct Doors {
    config: AdminConfig,
    guard: Arc<Guard>,
    tls: Option<Arc<TlsAcceptor>>,
    tcp: Vec<TcpListener>,
}

/// What an administrator comes by, as long as this is there.
#[derive(Debug)]
pub struct Open {
    socket: Option<AdminSocket>,
    control: Control,
    /// Whoever accepts connections.
    accepting: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.control.has_handed_over()
            && let Some(socket) = self.socket.take()
        {
            socket.leave();
        }
        self.accepting.abort_all();
        self.closing.send_replace(true);
    }
}

impl Doors {
    /// Listens on the addresses; `beside` another process that does and is about to end. The
    /// socket is for later: it belongs to whoever serves.
    ///
    /// # Errors
    /// Where an address is taken, forbidden, or not this machine's.
    pub fn open(config: &AdminConfig, keys: AdminKeys, beside: bool) -> anyhow::Result<Self> {
        for address in config.exposed() {
            tracing::warn!("{}", exposed_warning(address));
        }
        let tcp = config.listen.iter().map(|&address| net::bind_one(address, beside).context("admin.listen"));
        let tcp = tcp.collect::<Result<_, _>>()?;
        let guard = Arc::new(Guard::new(config, keys.tokens));
        Ok(Self { config: config.clone(), guard, tls: keys.tls, tcp })
    }

    /// TLS of the addresses, for whoever replaces certificates.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsAcceptor>> {
        self.tls.as_ref()
    }

    /// Serves, as tasks of the runtime that this is called on. `takes_over`: whoever has the
    /// socket is about to end.
    ///
    /// # Errors
    /// Where the socket cannot be made.
    pub fn serve(self, view: &View, recent: &Recent, takes_over: bool) -> anyhow::Result<Open> {
        let (closing, closed) = watch::channel(false);
        let mut accepting = JoinSet::new();
        let control = view.control();
        if self.config.socket.is_none() && self.tcp.is_empty() {
            return Ok(Open { socket: None, control, accepting, closing });
        }
        let feed = Feed::new(view.clone(), recent.clone());
        accepting.spawn(feed.clone().run());
        let router = routes::routes(Desk { view: view.clone(), guard: self.guard, feed });
        let reception = Reception { router, closed };
        let mut socket = None;
        if let Some(path) = &self.config.socket {
            let (own, listener) =
                if takes_over { AdminSocket::take_over(path)? } else { AdminSocket::listen(path)? };
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tracing::info!(path = %path.display(), "taking commands");
            accepting.spawn(by_socket(listener, reception.clone()));
            socket = Some(own);
        }
        let places = Places::default();
        for listener in self.tcp {
            let address = listener.local_addr()?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            tracing::info!(
                url = format!("{scheme}://{address}/"),
                "taking commands, and showing the dashboard"
            );
            let is_loopback = address.ip().is_loopback();
            accepting.spawn(by_tcp(
                listener,
                is_loopback,
                self.tls.clone(),
                places.clone(),
                reception.clone(),
            ));
        }
        Ok(Open { socket, control, accepting, closing })
    }
}

/// What connections are served with.
#[derive(Clone)]
struct Reception {
    router: Router,
    /// Becomes true when they are to end.
    closed: watch::Receiver<bool>,
}

async fn by_socket(listener: tokio::net::UnixListener, reception: Reception) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = converse(stream, Way::Socket, None, &reception);
                tokio::spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => not_accepted(&error).await,
        }
    }
}

async fn by_tcp(
    listener: tokio::net::TcpListener,
    is_loopback: bool,
    tls: Option<Arc<TlsAcceptor>>,
    places: Places,
    reception: Reception,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                not_accepted(&error).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let way = Way::Tcp { peer, local, is_loopback };
        let (tls, reception) = (tls.clone(), reception.clone());
        let place = places.take(peer.ip());
        tokio::spawn(async move {
            let held = Some(place.clone());
            let served = async {
                match tls {
                    None => converse(stream, way, held, &reception).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok((stream, _)) => converse(stream, way, held, &reception).await,
                        Err(error) => tracing::debug!(target: "admin", %peer, %error, "no TLS handshake"),
                    },
                }
            };
            tokio::select! {
                () = served => {}
                () = place.lost() => {
                    tracing::debug!(target: "admin", %peer, "a connection without a token made room for another");
                }
            }
        });
    }
}

async fn not_accepted(error: &std::io::Error) {
    tracing::error!(target: "admin", %error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    way: Way,
    place: Option<Arc<Place>>,
    reception: &Reception,
) -> impl Future<Output = ()> + use<S> {
    let router = reception.router.clone().layer(Extension(way)).layer(Extension(place));
    let service = TowerToHyperService::new(router);
    let mut closed = reception.closed.clone();
    async move {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(HEAD_OCTETS)
            .serve_connection(TokioIo::new(Patient::new(stream)), service);
        let mut served = std::pin::pin!(served);
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = async { drop(closed.wait_for(|closed| *closed).await) } => {
                // Who has asked for the end hears that it comes.
                served.as_mut().graceful_shutdown();
                match tokio::time::timeout(LAST_WORD, served).await {
                    Ok(result) => result,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(target: "admin", %error, "a connection ended");
        }
    }
}
