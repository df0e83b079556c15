//! Client of the admin interface, over the Unix socket or a URL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Status;
use super::control_routes::TakeoverRequest;
use super::routes::NodeChange;
use crate::config::{NodeMode, NodeTls, NodeTlsMode};
use crate::net::{NodeConnector, Stream};
use crate::new_mail::bodies;
use crate::server::{Applied, KnownUser, Page, PageRequest, PolicyChange, ReloadReport, StoreStats};
use reprieve_secrets::Secret;

/// Why a request to a running Reprieve failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket.
    #[error(
        "cannot reach a running Reprieve at {path}: {why}; is it running, and is {path} the `admin.socket` of its configuration? (option --socket)"
    )]
    #[allow(missing_docs)]
    Unreachable { path: PathBuf, why: std::io::Error },
    /// Cannot connect to the URL.
    #[error(
        "cannot reach a running Reprieve at {url}: {why}; the URL must be one of `admin.listen` in its configuration"
    )]
    #[allow(missing_docs)]
    UrlUnreachable { url: String, why: String },
    /// The URL cannot be used.
    #[error("--url {url:?} is not of the form http://HOST:PORT or https://HOST:PORT, without a path")]
    #[allow(missing_docs)]
    InvalidUrl { url: String },
    /// The TLS settings cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The server accepted the connection but did not answer in time.
    #[error("the Reprieve at {endpoint} does not answer within {}s; it may be stopped or overloaded", .within.as_secs())]
    NoAnswer {
        /// Path of the socket, or URL.
        endpoint: String,
        /// The timeout.
        within: Duration,
    },
    /// The server refused the request; its message.
    #[error("{0}")]
    Refused(String),
    /// The server is not Reprieve, or another version of it.
    #[error("unexpected answer: {0}")]
    UnexpectedAnswer(String),
}

/// Longest time to connect to a URL, TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for an answer that requires no reading of files, compiling or saving.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait until a process has handed over its sockets and saved its stores.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// A running Reprieve reached at a URL.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    host: String,
    port: u16,
    /// The `Host` header.
    authority: String,
    tls: Option<NodeConnector>,
    token: Option<Arc<Secret>>,
}

impl Remote {
    /// `ca`: file of the certificate authority, if it is not in the system's trust store.
    ///
    /// # Errors
    /// If the URL is invalid, or `ca` cannot be used.
    pub fn new(url: &str, ca: Option<&Path>, token: Option<Secret>) -> Result<Self, ClientError> {
        let bad = || ClientError::InvalidUrl { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(bad()),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad());
        }
        let tls = (default_port == 443).then(|| {
            let location = "--ca".into();
            let ca = ca.map(Path::to_owned);
            NodeConnector::load(&NodeTls { mode: NodeTlsMode::Implicit, ca, location, ..NodeTls::default() })
        });
        Ok(Self {
            url: url.to_owned(),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            authority: authority.to_string(),
            tls: tls.transpose().map_err(|error| ClientError::Tls(error.to_string()))?,
            token: token.map(Arc::new),
        })
    }

    async fn connect(&self) -> Result<Stream, ClientError> {
        let connected = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            match &self.tls {
                None => Ok(Stream::Plain(stream)),
                Some(tls) => tls.connect(&self.host, stream).await,
            }
        };
        let within = tokio::time::timeout(CONNECT_TIMEOUT, connected).await;
        let unreachable = |why: String| ClientError::UrlUnreachable { url: self.url.clone(), why };
        within
            .map_err(|_| unreachable("timed out".to_owned()))?
            .map_err(|error: std::io::Error| unreachable(error.to_string()))
    }
}

/// A client of a running Reprieve.
#[derive(Clone, Debug)]
pub struct Client(Endpoint);

#[derive(Clone, Debug)]
enum Endpoint {
    Socket(PathBuf),
    Remote(Remote),
}

impl Client {
    /// Uses the admin socket at this path.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self(Endpoint::Socket(socket.to_owned()))
    }

    /// Uses one of the admin interface's TCP addresses.
    #[must_use]
    pub fn remote(remote: Remote) -> Self {
        Self(Endpoint::Remote(remote))
    }

    /// Returns the server's status.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn status(&self) -> Result<Status, ClientError> {
        let answer = self.request_within(ANSWER_TIMEOUT, Method::GET, "/status", Bytes::new()).await?;
        serde_json::from_slice(&answer).map_err(|error| ClientError::UnexpectedAnswer(error.to_string()))
    }

    /// Checks that the server answers.
    ///
    /// # Errors
    /// If the request fails.
    pub(super) async fn access(&self) -> Result<(), ClientError> {
        self.request_within(ANSWER_TIMEOUT, Method::GET, "/access", Bytes::new()).await.map(|_| ())
    }

    /// Sets a node's mode: enabled, drain or disabled.
    ///
    /// # Errors
    /// If there is no such node, or the request fails.
    pub async fn set_node(&self, pool: &str, node: &str, mode: NodeMode) -> Result<(), ClientError> {
        let change = serde_json::to_vec(&NodeChange { mode })
            .map_err(|error| ClientError::UnexpectedAnswer(error.to_string()))?;
        let path = format!("/pools/{}/nodes/{}", percent_encoded(pool), percent_encoded(node));
        self.request_within(ANSWER_TIMEOUT, Method::PUT, &path, change.into()).await.map(|_| ())
    }

    /// Replaces a virtual server's policy.
    ///
    /// # Errors
    /// If the policy cannot be used, or the request fails.
    pub async fn swap(&self, server: &str, change: &PolicyChange) -> Result<(), ClientError> {
        self.request_json(
            Method::PUT,
            &format!("/virtual-servers/{}/policy", percent_encoded(server)),
            change,
        )
        .await
    }

    /// Restores the policy that was replaced last.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn swap_back(&self, server: &str) -> Result<(), ClientError> {
        self.request_json(
            Method::POST,
            &format!("/virtual-servers/{}/policy/back", percent_encoded(server)),
            &(),
        )
        .await
    }

    /// Sets a virtual server's shadow policy; None removes it.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn shadow(&self, server: &str, change: Option<&PolicyChange>) -> Result<(), ClientError> {
        let path = format!("/virtual-servers/{}/shadow", percent_encoded(server));
        match change {
            Some(change) => self.request_json(Method::PUT, &path, change).await,
            None => self.request_json(Method::DELETE, &path, &()).await,
        }
    }

    /// Reloads the configuration.
    ///
    /// # Errors
    /// If the configuration is invalid, or the request fails.
    pub async fn reload(&self) -> Result<ReloadReport, ClientError> {
        self.request_json(Method::POST, "/reload", &()).await
    }

    /// Tells the server to drain and exit.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn drain(&self) -> Result<(), ClientError> {
        self.request_within(ANSWER_TIMEOUT, Method::POST, "/drain", Bytes::new()).await.map(|_| ())
    }

    /// Makes the server send its listening sockets to the process that listens on `socket`; returns
    /// their number.
    ///
    /// # Errors
    /// If the sockets cannot be sent, or the request fails.
    pub async fn start_takeover(&self, socket: &Path) -> Result<usize, ClientError> {
        let to = TakeoverRequest { socket: socket.to_owned(), holds_connection: true };
        let unexpected = |error: serde_json::Error| ClientError::UnexpectedAnswer(error.to_string());
        let to = serde_json::to_vec(&to).map_err(unexpected)?;
        let answer = self.request_within(TAKEOVER_TIMEOUT, Method::POST, "/takeover", to.into()).await?;
        serde_json::from_slice(&answer).map_err(unexpected)
    }

    /// Tells the server to resume, because the new process did not start to serve.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn cancel_takeover(&self) -> Result<(), ClientError> {
        self.request_within(ANSWER_TIMEOUT, Method::DELETE, "/takeover", Bytes::new()).await.map(|_| ())
    }

    /// Lists the stores with their namespaces and sizes.
    ///
    /// # Errors
    /// If the request fails, or the store is unreachable.
    pub async fn store_stats(&self) -> Result<Vec<StoreStats>, ClientError> {
        self.request_json(Method::GET, "/store", &()).await
    }

    /// Reads a page of entries.
    ///
    /// # Errors
    /// If the request fails, or the store is unreachable.
    pub async fn store_page(&self, request: &PageRequest) -> Result<Page, ClientError> {
        self.request_json(Method::POST, "/store/page", request).await
    }

    /// Writes entries; returns how many were written.
    ///
    /// # Errors
    /// If the request fails, or the store is unreachable.
    pub async fn store_put(&self, page: &Page) -> Result<usize, ClientError> {
        self.request_json(Method::PUT, "/store/entries", page).await
    }

    /// Deletes entries; returns how many existed.
    ///
    /// # Errors
    /// If the request fails, or the store is unreachable.
    pub async fn store_delete(&self, page: &Page) -> Result<usize, ClientError> {
        self.request_json(Method::DELETE, "/store/entries", page).await
    }

    /// Returns what is remembered about a user, per virtual server.
    ///
    /// # Errors
    /// If the request fails, or the store is unreachable.
    pub async fn store_user(&self, user: &str) -> Result<Vec<KnownUser>, ClientError> {
        self.request_json(Method::GET, &format!("/store/users/{}", percent_encoded(user)), &()).await
    }

    /// Forgets a user; returns at how many virtual servers the user was known.
    ///
    /// # Errors
    /// If the request fails, or the store is unreachable.
    pub async fn store_forget(&self, user: &str) -> Result<usize, ClientError> {
        self.request_json(Method::DELETE, &format!("/store/users/{}", percent_encoded(user)), &()).await
    }

    /// Tells the server that users have new mail.
    ///
    /// # Errors
    /// If a request fails, no pool expects signals, or they cannot be written.
    pub async fn new_mail(&self, pool: Option<&str>, users: &[Vec<u8>]) -> Result<Applied, ClientError> {
        let path = pool.map_or_else(String::new, |pool| format!("/{}", percent_encoded(pool)));
        let path = format!("/new-mail{path}");
        let mut total = Applied::default();
        for body in bodies(users) {
            let answer = self.request_within(ANSWER_TIMEOUT, Method::POST, &path, body.into()).await?;
            let applied: Applied = serde_json::from_slice(&answer)
                .map_err(|error| ClientError::UnexpectedAnswer(error.to_string()))?;
            total.remembered += applied.remembered;
            total.unknown += applied.unknown;
        }
        Ok(total)
    }

    async fn request_json<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: &Q,
    ) -> Result<A, ClientError> {
        let unexpected = |error: serde_json::Error| ClientError::UnexpectedAnswer(error.to_string());
        let body = serde_json::to_vec(question).map_err(unexpected)?;
        // The request itself has no timeout: check first that the server answers.
        self.access().await?;
        serde_json::from_slice(&self.send(method, path, body.into()).await?).map_err(unexpected)
    }

    async fn request_within(
        &self,
        within: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let answered = tokio::time::timeout(within, self.send(method, path, body)).await;
        let endpoint = match &self.0 {
            Endpoint::Socket(path) => path.display().to_string(),
            Endpoint::Remote(remote) => remote.url.clone(),
        };
        answered.unwrap_or(Err(ClientError::NoAnswer { endpoint, within }))
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        match &self.0 {
            Endpoint::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|why| ClientError::Unreachable { path: path.clone(), why })?;
                exchange(stream, request.header("host", super::HOST), body).await
            }
            Endpoint::Remote(remote) => {
                if let Some(token) = &remote.token {
                    let bearer = [b"Bearer ", token.expose()].concat();
                    let mut bearer = hyper::header::HeaderValue::from_bytes(&bearer).map_err(|_| {
                        ClientError::Refused("the token contains characters that are not allowed".to_owned())
                    })?;
                    bearer.set_sensitive(true);
                    request = request.header("authorization", bearer);
                }
                let stream = remote.connect().await?;
                exchange(stream, request.header("host", &remote.authority), body).await
            }
        }
    }
}

async fn exchange<S>(
    stream: S,
    request: hyper::http::request::Builder,
    body: Bytes,
) -> Result<Bytes, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unexpected = |error: &dyn std::fmt::Display| ClientError::UnexpectedAnswer(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unexpected(&error))?;
    let connection = tokio::spawn(connection);
    let request = request.body(Full::new(body)).map_err(|error| unexpected(&error))?;
    let response = sender.send_request(request).await.map_err(|error| unexpected(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| unexpected(&error))?.to_bytes();
    connection.abort();
    match status {
        StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
        _ => Err(ClientError::Refused(String::from_utf8_lossy(&body).into_owned())),
    }
}

/// Percent-encodes a segment of a URL's path.
pub(crate) fn percent_encoded(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    part.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_with_a_port_and_nothing_else() {
        let remote = Remote::new("http://[::1]:8110", None, None).unwrap();
        assert_eq!((&*remote.host, remote.port, &*remote.authority), ("::1", 8110, "[::1]:8110"));
        assert_eq!(Remote::new("http://reprieve.example/", None, None).unwrap().port, 80);
        for bad in ["localhost:8110", "ftp://localhost", "http://a/status", "http://a/?b", "http://u:p@a", ""]
        {
            let error = Remote::new(bad, None, None).unwrap_err().to_string();
            assert!(error.contains("http://HOST:PORT"), "{error}");
        }
    }
}
