//! Listeners of the admin interface: the Unix socket and the TCP addresses. The number of
//! connections is limited, and so is every wait.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
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

use super::auth::{Authorizer, Transport};
use super::connection_slots::{ConnectionSlots, Slot};
use super::dashboard::Feed;
use super::new_mail_socket;
use super::routes::{self, AppState};
use super::socket::SocketPath;
use super::tokens::Tokens;
use super::write_timeout::WriteTimeout;
use crate::config::{AdminConfig, exposed_warning, missing_directory};
use crate::logging::Recent;
use crate::net::{self, TlsAcceptor};
use crate::new_mail::RateLimit;
use crate::server::{Control, View};

/// Concurrent connections through the Unix socket; [`ConnectionSlots`] limits those over TCP.
const MAX_SOCKET_CONNECTIONS: usize = 64;
/// Longest time to send a request's header, and to idle between two requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a response in progress when the process ends.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// Largest request header.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// Tokens and keys, which may be readable by root only.
#[derive(Debug)]
pub struct AdminKeys {
    tokens: Tokens,
    tls: Option<Arc<TlsAcceptor>>,
}

impl AdminKeys {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// If a file is unusable; the error names it with its line in the configuration.
    pub fn read(config: &AdminConfig) -> anyhow::Result<Self> {
        let tls = config.tls.as_ref().map(|tls| TlsAcceptor::load(tls).map(Arc::new)).transpose()?;
        Ok(Self { tokens: Tokens::read(config)?, tls })
    }
}

/// Listeners that are open but not yet served.
#[derive(Debug)]
pub struct Listeners {
    config: AdminConfig,
    authorizer: Arc<Authorizer>,
    tls: Option<Arc<TlsAcceptor>>,
    tcp: Vec<TcpListener>,
    /// The socket for signals of new mail, if it was opened before the others are served.
    new_mail_socket: Option<(SocketPath, UnixDatagram)>,
}

/// The running admin interface. Dropping it closes the listeners.
#[derive(Debug)]
pub struct AdminServer {
    sockets: Vec<SocketPath>,
    control: Control,
    /// Tasks that accept connections.
    accepting: JoinSet<()>,
    closing: watch::Sender<bool>,
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        if self.control.has_handed_over() {
            self.sockets.drain(..).for_each(SocketPath::leave);
        }
        self.accepting.abort_all();
        self.closing.send_replace(true);
    }
}

impl Listeners {
    /// Binds the TCP addresses. `shared`: another process, which is about to end, is still listening on
    /// them; this one does so after [`Listeners::listen`], so that no request waits until it serves. The
    /// Unix socket is opened by [`Listeners::serve`], because it belongs to the process that serves.
    ///
    /// # Errors
    /// If an address is in use, forbidden, or not local, or the socket's directory does not exist.
    pub fn open(config: &AdminConfig, keys: AdminKeys, shared: bool) -> anyhow::Result<Self> {
        for address in config.exposed() {
            tracing::warn!("{}", exposed_warning(address));
        }
        // Found before Reprieve says that it listens.
        if let Some((key, directory)) = config.missing_socket_directory() {
            anyhow::bail!(missing_directory(key, directory));
        }
        let tcp = config.listen.iter().map(|&address| net::bind_one(address, shared).context("admin.listen"));
        let tcp = tcp.collect::<Result<_, _>>()?;
        let authorizer = Arc::new(Authorizer::new(config, keys.tokens));
        let listeners =
            Self { config: config.clone(), authorizer, tls: keys.tls, tcp, new_mail_socket: None };
        if !shared {
            listeners.listen()?;
        }
        Ok(listeners)
    }

    /// Listens on the TCP addresses: connections wait there until [`Listeners::serve`].
    ///
    /// # Errors
    /// If another process has begun to listen on an address.
    pub fn listen(&self) -> anyhow::Result<()> {
        for socket in &self.tcp {
            let what = || socket.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
            net::listen(socket).with_context(|| format!("admin.listen: cannot listen on {}", what()))?;
        }
        Ok(())
    }

    /// TLS settings of the addresses, for certificate reloads.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsAcceptor>> {
        self.tls.as_ref()
    }

    /// Listens while the process that is being taken over still does: connections and signals of new mail
    /// wait until [`Listeners::serve`], and none finds a closed socket.
    ///
    /// # Errors
    /// If an address or the socket for signals cannot be used.
    pub fn listen_beside_predecessor(&mut self) -> anyhow::Result<()> {
        self.listen()?;
        if let Some(path) = &self.config.new_mail_socket {
            self.new_mail_socket = Some(SocketPath::receive(path, true)?);
        }
        Ok(())
    }

    /// Starts to serve, as tasks of the current runtime. `takes_over`: replace the socket of a
    /// process that is about to end.
    ///
    /// # Errors
    /// If the socket cannot be created.
    pub fn serve(self, view: &View, recent: &Recent, takes_over: bool) -> anyhow::Result<AdminServer> {
        let (closing, closed) = watch::channel(false);
        let mut accepting = JoinSet::new();
        let control = view.control();
        let signals = Arc::<RateLimit>::default();
        let mut sockets = Vec::new();
        if let Some(path) = &self.config.new_mail_socket {
            let (own, socket) = match self.new_mail_socket {
                Some(opened) => opened,
                None => SocketPath::receive(path, takes_over)?,
            };
            let socket = tokio::net::UnixDatagram::from_std(socket)?;
            tracing::info!(path = %path.display(), "socket for signals of new mail ready");
            accepting.spawn(new_mail_socket::receive(socket, view.new_mail(), signals.clone()));
            sockets.push(own);
        }
        if self.config.socket.is_none() && self.tcp.is_empty() {
            return Ok(AdminServer { sockets, control, accepting, closing });
        }
        let feed = Feed::new(view.clone(), recent.clone());
        accepting.spawn(feed.clone().run());
        let router =
            routes::routes(AppState { view: view.clone(), authorizer: self.authorizer, feed, signals });
        let handler = ConnectionHandler { router, closed };
        if let Some(path) = &self.config.socket {
            let (own, listener) = SocketPath::listen(path, takes_over)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tracing::info!(path = %path.display(), "admin socket ready");
            accepting.spawn(accept_unix(listener, handler.clone()));
            sockets.push(own);
        }
        let slots = ConnectionSlots::default();
        for listener in self.tcp {
            let address = listener.local_addr()?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            tracing::info!(url = format!("{scheme}://{address}/"), "dashboard and admin interface ready");
            let is_loopback = address.ip().is_loopback();
            accepting.spawn(accept_tcp(
                listener,
                is_loopback,
                self.tls.clone(),
                slots.clone(),
                handler.clone(),
            ));
        }
        Ok(AdminServer { sockets, control, accepting, closing })
    }
}

/// Shared by all connections.
#[derive(Clone)]
struct ConnectionHandler {
    router: Router,
    /// Becomes true when connections are to close.
    closed: watch::Receiver<bool>,
}

async fn accept_unix(listener: tokio::net::UnixListener, handler: ConnectionHandler) {
    let slots = Arc::new(Semaphore::new(MAX_SOCKET_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = handle(stream, Transport::Socket, None, &handler);
                tokio::spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            Err(error) => accept_failed(&error).await,
        }
    }
}

async fn accept_tcp(
    listener: tokio::net::TcpListener,
    is_loopback: bool,
    tls: Option<Arc<TlsAcceptor>>,
    slots: ConnectionSlots,
    handler: ConnectionHandler,
) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                accept_failed(&error).await;
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let transport = Transport::Tcp { peer, local, is_loopback };
        let (tls, handler) = (tls.clone(), handler.clone());
        let slot = slots.take(peer.ip());
        tokio::spawn(async move {
            let held = Some(slot.clone());
            let served = async {
                match tls {
                    None => handle(stream, transport, held, &handler).await,
                    Some(tls) => match tls.accept(stream).await {
                        Ok((stream, _)) => handle(stream, transport, held, &handler).await,
                        Err(error) => tracing::debug!(target: "admin", %peer, %error, "TLS handshake failed"),
                    },
                }
            };
            tokio::select! {
                () = served => {}
                () = slot.evicted() => {
                    tracing::debug!(target: "admin", %peer, "closed a connection without a token to make room for another");
                }
            }
        });
    }
}

async fn accept_failed(error: &std::io::Error) {
    tracing::error!(target: "admin", %error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn handle<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    transport: Transport,
    slot: Option<Arc<Slot>>,
    handler: &ConnectionHandler,
) -> impl Future<Output = ()> + use<S> {
    let router = handler.router.clone().layer(Extension(transport)).layer(Extension(slot));
    let service = TowerToHyperService::new(router);
    let mut closed = handler.closed.clone();
    async move {
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service);
        let mut served = std::pin::pin!(served);
        let result = tokio::select! {
            result = served.as_mut() => result,
            () = async { drop(closed.wait_for(|closed| *closed).await) } => {
                // The client that asked for the shutdown still gets its response.
                served.as_mut().graceful_shutdown();
                match tokio::time::timeout(SHUTDOWN_GRACE, served).await {
                    Ok(result) => result,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(target: "admin", %error, "connection failed");
        }
    }
}
