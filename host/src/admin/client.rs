//! Asks a running Reprieve.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::Status;
use super::changes::TakeOver;
use super::routes::NodeChange;
use crate::config::NodeMode;
use crate::server::{Change, Page, PageRequest, Registered, Reloaded, StoreStats};

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
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// It is no Reprieve, or one of another time.
    #[error("the answer is not understood: {0}")]
    Odd(String),
}

/// A way to a running Reprieve.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// By its socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// How it is.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn status(&self) -> Result<Status, CtlError> {
        self.ask_for(Method::GET, "/status", &()).await
    }

    /// Has a node get logins or not.
    ///
    /// # Errors
    /// Where there is no such node, or Reprieve cannot be asked.
    pub async fn set_node(&self, pool: &str, node: &str, mode: NodeMode) -> Result<(), CtlError> {
        let change =
            serde_json::to_vec(&NodeChange { mode }).map_err(|error| CtlError::Odd(error.to_string()))?;
        let path = format!("/pools/{}/nodes/{}", escaped(pool), escaped(node));
        self.ask(Method::PUT, &path, change.into()).await.map(|_| ())
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
        self.ask(Method::POST, "/drain", Bytes::new()).await.map(|_| ())
    }

    /// Has it hand its sockets over, to whoever listens at a path; how many they are.
    ///
    /// # Errors
    /// Where it cannot, or cannot be asked.
    pub async fn hand_over(&self, socket: &Path) -> Result<usize, CtlError> {
        let to = TakeOver { socket: socket.to_owned() };
        self.ask_for(Method::POST, "/hand-over", &to).await
    }

    /// Tells it that nobody came to serve in its place.
    ///
    /// # Errors
    /// Where it cannot be asked.
    pub async fn keep(&self) -> Result<(), CtlError> {
        self.ask(Method::DELETE, "/hand-over", Bytes::new()).await.map(|_| ())
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
        serde_json::from_slice(&self.ask(method, path, body.into()).await?).map_err(odd)
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, CtlError> {
        let odd = |error: &dyn std::fmt::Display| CtlError::Odd(error.to_string());
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|why| CtlError::Unreachable { path: self.socket.clone(), why })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| odd(&error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "reprieve")
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(|error| odd(&error))?;
        let response = sender.send_request(request).await.map_err(|error| odd(&error))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| odd(&error))?.to_bytes();
        connection.abort();
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(body),
            _ => Err(CtlError::Refused(String::from_utf8_lossy(&body).into_owned())),
        }
    }
}

/// Octets that would end a part of a path, in hexadecimal.
fn escaped(part: &str) -> String {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~:".contains(&octet);
    part.bytes()
        .map(|octet| if plain(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
        .collect()
}
