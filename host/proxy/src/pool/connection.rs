//! A connection to a node, and reading and writing lines on it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::query_capabilities;
use super::node::{LoginResult, Node};
use super::queue::SessionSlot;
use crate::config::NodeMode;
use crate::net::Stream;
use reprieve_pop3::credential::Mechanism;

/// Longest line accepted from a node before relaying starts, in bytes.
const MAX_LINE_BYTES: usize = 2048;

/// Reads and writes whole lines, and keeps what was read beyond the last one.
#[derive(Debug)]
pub(super) struct LineStream {
    pub(super) stream: Stream,
    /// Bytes received after the last line that was read.
    pub(super) rest: Vec<u8>,
}

impl LineStream {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    pub(super) async fn line(&mut self) -> std::io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.rest[searched..]) {
                let rest = self.rest.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.rest, rest));
            }
            searched = self.rest.len();
            if searched > MAX_LINE_BYTES {
                return Err(std::io::Error::other("the line from the mail server is too long"));
            }
            if self.stream.read_buf(&mut self.rest).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// An open connection to a node, counted as one of its sessions until dropped.
#[derive(Debug)]
pub struct Connection {
    line_stream: LineStream,
    slot: SessionSlot,
    reply_timeout: Duration,
    waker_key: Option<u64>,
    capabilities_updated: bool,
}

impl Connection {
    pub(super) fn new(line_stream: LineStream, slot: SessionSlot, reply_timeout: Duration) -> Self {
        Self { line_stream, slot, reply_timeout, waker_key: None, capabilities_updated: false }
    }

    /// The underlying stream, for relaying.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.line_stream.stream
    }

    /// Takes the bytes received after the last line that was read.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line_stream.rest)
    }

    /// The node's `host:port`, as configured.
    #[must_use]
    pub fn node_name(&self) -> &Arc<str> {
        &self.slot.node().name
    }

    pub(super) fn node(&self) -> &Arc<Node> {
        self.slot.node()
    }

    /// Counts the result of a login that the session itself made on this connection (APOP,
    /// CRAM-MD5, SCRAM), rather than [`Pool::log_in`](super::Pool::log_in).
    pub(crate) fn count(&self, result: LoginResult) {
        self.slot.node().count(result);
    }

    /// Whether commands may be pipelined. A node whose capabilities are unknown is assumed to
    /// support it, as nearly all do.
    #[must_use]
    pub fn may_pipeline(&self) -> bool {
        self.slot.node().capabilities().is_none_or(|learned| learned.pipelining)
    }

    /// Whether the node has announced PIPELINING (RFC 2449, section 6.6).
    pub(super) fn announces_pipelining(&self) -> bool {
        self.slot.node().capabilities().is_some_and(|learned| learned.pipelining)
    }

    /// Whether the node lists a SASL mechanism, or its capabilities are unknown.
    pub(super) fn may_support(&self, mechanism: Mechanism) -> bool {
        self.slot.node().capabilities().is_none_or(|learned| learned.mechanisms.contains(mechanism))
    }

    /// Queries the node's capabilities after the login and remembers them for the node.
    ///
    /// # Errors
    /// If the connection was lost by the query, or the reply did not arrive within `timeout`.
    pub(super) async fn query_capabilities(&mut self, timeout: Duration) -> std::io::Result<()> {
        let reply = crate::time::timeout(timeout, query_capabilities(&mut self.line_stream)).await;
        let capabilities = reply.map_err(Into::into).and_then(|reply| reply);
        self.slot.node().set_capabilities_after_login(capabilities.as_ref().ok().copied().flatten());
        self.capabilities_updated = capabilities?.is_some();
        Ok(())
    }

    /// Whether this login has refreshed what is known of the node's capabilities.
    #[must_use]
    pub fn capabilities_updated(&self) -> bool {
        self.capabilities_updated
    }

    /// Whether an administrator has disabled the node, so that its sessions must end.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.slot.node().mode() == NodeMode::Disabled
    }

    /// Time to wait for a reply from the node.
    #[must_use]
    pub fn reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    /// Registers a task to be woken when the node is disabled. Later calls do nothing.
    pub fn wake_when_disabled(&mut self, waker: &Waker) {
        if self.waker_key.is_none() {
            self.waker_key = Some(self.slot.node().add_waker(waker.clone()));
        }
    }

    /// Writes all bytes and flushes.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.line_stream.write(bytes).await
    }

    /// Reads one line, including its line ending.
    ///
    /// # Errors
    /// If the connection ends before the line does, or the line exceeds 2,048 bytes.
    pub async fn line(&mut self) -> std::io::Result<Vec<u8>> {
        self.line_stream.line().await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(key) = self.waker_key {
            self.slot.node().remove_waker(key);
        }
    }
}
