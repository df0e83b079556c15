//! Asks a running Reprieve.

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
use super::changes::TakeOver;
use super::routes::NodeChange;
use crate::config::{NodeMode, NodeTls, NodeTlsMode};
use crate::net::{NodeConnector, Stream};
use crate::server::{Change, Page, PageRequest, Registered, Reloaded, StoreStats};
use reprieve_secrets::Secret;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// Nobody listens there.
    #[error(
        "cannot reach a running reprieve at {path}: {why}; set `admin.socket` in its configuration, and the same path here (--socket)"
    )]
    Unreachable {
        /// The path.
        path: PathBuf,
        /// What the system says.
        why: std::io::Error,
    },
    /// Nobody answers at a URL.
    #[error(
        "cannot reach a running reprieve at {url}: {why}; the URL is one of `admin.listen` in its configuration"
    )]
    NoAnswer {
        /// The URL.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// The URL is none.
    #[error("--url is {url:?}; it is http://HOST:PORT or https://HOST:PORT, without a path")]
    BadUrl {
        /// What was given.
        url: String,
    },
    /// What it needs for TLS is not there.
    #[error("{0}")]
    Tls(String),
    /// It takes the question, and says nothing.
    #[error("the reprieve at {place} does not answer within {}s; it may be stopped or overloaded", .within.as_secs())]
    Silent {
        /// A path or a URL.
        place: String,
        /// How long it had.
        within: Duration,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// It is no Reprieve, or one of another time.
    #[error("the answer is not understood: {0}")]
    Odd(String),
}

/// How long it may take to reach a URL.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer may take for which nothing is read, compiled or saved.
const QUICK: Duration = Duration::from_secs(10);
/// How long the sockets and stores of a process may take on their way to another.
const HAND_OVER: Duration = Duration::from_secs(60);

/// A running Reprieve at a URL.
#[derive(Clone, Debug)]
pub struct Remote {
    url: String,
    host: String,
    port: u16,
    /// What requests name as Host.
    authority: String,
    tls: Option<NodeConnector>,
    token: Option<Arc<Secret>>,
}

impl Remote {
    /// `ca`: who has signed its certificate, where the machine does not trust him. `token`: what
    /// is shown to it.
    ///
    /// # Errors
    /// Where the URL is none, or `ca` cannot be used.
    pub fn new(url: &str, ca: Option<&Path>, token: Option<Secret>) -> Result<Self, CtlError> {
        let bad = || CtlError::BadUrl { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad())?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let usual = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(bad()),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(bad());
        }
        let tls = (usual == 443).then(|| {
            let place = "--ca".into();
            let ca = ca.map(Path::to_owned);
            NodeConnector::load(&NodeTls { mode: NodeTlsMode::Implicit, ca, place, ..NodeTls::default() })
        });
        Ok(Self {
            url: url.to_owned(),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(usual),
            authority: authority.to_string(),
            tls: tls.transpose().map_err(|error| CtlError::Tls(error.to_string()))?,
            token: token.map(Arc::new),
        })
    }

    async fn connect(&self) -> Result<Stream, CtlError> {
        let connected = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            match &self.tls {
                None => Ok(Stream::Plain(stream)),
                Some(tls) => tls.connect(&self.host, stream).await,
            }
        };
        let within = tokio::time::timeout(PATIENCE, connected).await;
        let no_answer = |why: String| CtlError::NoAnswer { url: self.url.clone(), why };
        within
            .map_err(|_| no_answer("no answer in time".to_owned()))?
            .map_err(|error: std::io::Error| no_answer(error.to_string()))
    }
}

/// A way to a running Reprieve.
#[derive(Clone, Debug)]
pub struct Client(Way);

#[derive(Clone, Debug)]
enum Way {
    Socket(PathBuf),
    Remote(Remote),
}

impl Client {
    /// By its socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self(Way::Socket(socket.to_owned()))
    }

    /// By one of its addresses.
    #[must_use]
    pub fn remote(remote: Remote) -> Self {
        Self(Way::Remote(remote))
    }

    /// How it is.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn status(&self) -> Result<Status, CtlError> {
        let answer = self.ask_within(QUICK, Method::GET, "/status", Bytes::new()).await?;
        serde_json::from_slice(&answer).map_err(|error| CtlError::Odd(error.to_string()))
    }

    /// Whether it answers at all.
    ///
    /// # Errors
    /// If it does not.
    pub(super) async fn access(&self) -> Result<(), CtlError> {
        self.ask_within(QUICK, Method::GET, "/access", Bytes::new()).await.map(|_| ())
    }

    /// Has a node get logins or not.
    ///
    /// # Errors
    /// Where there is no such node, or Reprieve cannot be asked.
    pub async fn set_node(&self, pool: &str, node: &str, mode: NodeMode) -> Result<(), CtlError> {
        let change =
            serde_json::to_vec(&NodeChange { mode }).map_err(|error| CtlError::Odd(error.to_string()))?;
        let path = format!("/pools/{}/nodes/{}", escaped(pool), escaped(node));
        self.ask_within(QUICK, Method::PUT, &path, change.into()).await.map(|_| ())
    }

    /// Has another policy judge at a virtual server.
    ///
    /// # Errors
    /// Why it cannot judge, or that Reprieve cannot be asked.
    pub async fn swap(&self, server: &str, change: &Change) -> Result<(), CtlError> {
        self.ask_for(Method::PUT, &format!("/virtual-servers/{}/policy", escaped(server)), change).await
    }

    /// Has the policy judge again that was swapped out last.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn swap_back(&self, server: &str) -> Result<(), CtlError> {
        self.ask_for(Method::POST, &format!("/virtual-servers/{}/policy/back", escaped(server)), &()).await
    }

    /// Has a policy judge beside the one in force; None ends that.
    ///
    /// # Errors
    /// As [`Client::swap`].
    pub async fn shadow(&self, server: &str, change: Option<&Change>) -> Result<(), CtlError> {
        let path = format!("/virtual-servers/{}/shadow", escaped(server));
        match change {
            Some(change) => self.ask_for(Method::PUT, &path, change).await,
            None => self.ask_for(Method::DELETE, &path, &()).await,
        }
    }

    /// Has it read its configuration again.
    ///
    /// # Errors
    /// What is wrong with the configuration, or that Reprieve cannot be asked.
    pub async fn reload(&self) -> Result<Reloaded, CtlError> {
        self.ask_for(Method::POST, "/reload", &()).await
    }

    /// Has it drain and end.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn drain(&self) -> Result<(), CtlError> {
        self.ask_within(QUICK, Method::POST, "/drain", Bytes::new()).await.map(|_| ())
    }

    /// Has it hand its sockets over, to whoever listens at a path; how many they are.
    ///
    /// # Errors
    /// Where it cannot, or cannot be asked.
    pub async fn hand_over(&self, socket: &Path) -> Result<usize, CtlError> {
        let to = TakeOver { socket: socket.to_owned(), holds: true };
        let odd = |error: serde_json::Error| CtlError::Odd(error.to_string());
        let to = serde_json::to_vec(&to).map_err(odd)?;
        let answer = self.ask_within(HAND_OVER, Method::POST, "/hand-over", to.into()).await?;
        serde_json::from_slice(&answer).map_err(odd)
    }

    /// Tells it that nobody came to serve in its place.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn keep(&self) -> Result<(), CtlError> {
        self.ask_within(QUICK, Method::DELETE, "/hand-over", Bytes::new()).await.map(|_| ())
    }

    /// The stores at a glance.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn store_stats(&self) -> Result<Vec<StoreStats>, CtlError> {
        self.ask_for(Method::GET, "/store", &()).await
    }

    /// Some entries of a store.
    ///
    /// # Errors
    /// Where it cannot be asked, or cannot reach the store.
    pub async fn store_page(&self, request: &PageRequest) -> Result<Page, CtlError> {
        self.ask_for(Method::POST, "/store/page", request).await
    }

    /// Writes entries; how many were written.
    ///
    /// # Errors
    /// Where it cannot be asked, or the store does not take them.
    pub async fn store_put(&self, page: &Page) -> Result<usize, CtlError> {
        self.ask_for(Method::PUT, "/store/entries", page).await
    }

    /// Forgets entries; how many there were.
    ///
    /// # Errors
    /// Where it cannot be asked, or cannot reach the store.
    pub async fn store_delete(&self, page: &Page) -> Result<usize, CtlError> {
        self.ask_for(Method::DELETE, "/store/entries", page).await
    }

    /// What is remembered of a user.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn store_user(&self, user: &str) -> Result<Vec<Registered>, CtlError> {
        self.ask_for(Method::GET, &format!("/store/users/{}", escaped(user)), &()).await
    }

    /// Forgets a user; at how many virtual servers.
    ///
    /// # Errors
    /// Where it cannot be asked, or cannot reach the store.
    pub async fn store_forget(&self, user: &str) -> Result<usize, CtlError> {
        self.ask_for(Method::DELETE, &format!("/store/users/{}", escaped(user)), &()).await
    }

    async fn ask_for<Q: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        question: &Q,
    ) -> Result<A, CtlError> {
        let odd = |error: serde_json::Error| CtlError::Odd(error.to_string());
        let body = serde_json::to_vec(question).map_err(odd)?;
        // The work may take its time, if there is somebody who does it.
        self.access().await?;
        serde_json::from_slice(&self.ask(method, path, body.into()).await?).map_err(odd)
    }

    async fn ask_within(
        &self,
        within: Duration,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Bytes, CtlError> {
        let answered = tokio::time::timeout(within, self.ask(method, path, body)).await;
        let place = match &self.0 {
            Way::Socket(path) => path.display().to_string(),
            Way::Remote(remote) => remote.url.clone(),
        };
        answered.unwrap_or(Err(CtlError::Silent { place, within }))
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CtlError> {
        let mut request =
            Request::builder().method(method).uri(path).header("content-type", "application/json");
        match &self.0 {
            Way::Socket(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|why| CtlError::Unreachable { path: path.clone(), why })?;
                exchange(stream, request.header("host", super::HOST), body).await
            }
            Way::Remote(remote) => {
                if let Some(token) = &remote.token {
                    let bearer = [b"Bearer ", token.expose()].concat();
                    let mut bearer = hyper::header::HeaderValue::from_bytes(&bearer).map_err(|_| {
                        CtlError::Odd("the token has characters that no token has".to_owned())
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
) -> Result<Bytes, CtlError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let odd = |error: &dyn std::fmt::Display| CtlError::Odd(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| odd(&error))?;
    let connection = tokio::spawn(connection);
    let request = request.body(Full::new(body)).map_err(|error| odd(&error))?;
    let response = sender.send_request(request).await.map_err(|error| odd(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| odd(&error))?.to_bytes();
    connection.abort();
    match status {
        StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
        _ => Err(CtlError::Refused(String::from_utf8_lossy(&body).into_owned())),
    }
}

/// Octets that would end a part of a path, in hexadecimal.
fn escaped(part: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~:".contains(&octet);
    part.bytes()
        .map(|octet| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
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
