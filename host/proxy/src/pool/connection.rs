//! A connection to a node.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::capabilities;
use super::node::{LoginResult, Node};
use super::queue::Place;
use crate::config::NodeMode;
use crate::net::Stream;
use reprieve_pop3::credential::Mechanism;

/// The longest line that is read before a session is relayed, in octets.
const LINE_LIMIT: usize = 2048;

/// Lines to and from a mail server.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: Stream,
    /// What has arrived after the last line that was read.
    pub(super) rest: Vec<u8>,
}

impl Wire {
    pub(super) async fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets).await?;
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
            if searched > LINE_LIMIT {
                return Err(std::io::Error::other("the mail server's line is too long"));
            }
            if self.stream.read_buf(&mut self.rest).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// An open connection to a node. The node counts it as a session while it lives.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    place: Place,
    reply_timeout: Duration,
    watched: Option<u64>,
    told_more: bool,
}

impl Connection {
    pub(super) fn new(wire: Wire, place: Place, reply_timeout: Duration) -> Self {
        Self { wire, place, reply_timeout, watched: None, told_more: false }
    }

    /// Its octets, for whoever relays them.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.wire.stream
    }

    /// What has arrived after the last line that was read.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire.rest)
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &Arc<str> {
        &self.place.node().name
    }

    pub(super) fn node_itself(&self) -> &Arc<Node> {
        self.place.node()
    }

    /// Counts what a login came to that was not the pool's to make.
    pub(crate) fn count(&self, result: LoginResult) {
        self.place.node().count(result);
    }

    /// Whether the node may be sent several commands at once. A node that was not asked is
    /// taken for one that may, as nearly all do.
    #[must_use]
    pub fn takes_pipelines(&self) -> bool {
        self.place.node().learned().is_none_or(|learned| learned.pipelining)
    }

    /// Whether the node has said that it may be sent several commands at once.
    pub(super) fn says_pipelining(&self) -> bool {
        self.place.node().learned().is_some_and(|learned| learned.pipelining)
    }

    /// Whether the node may know AUTH with a mechanism: it lists it, or was not asked.
    pub(super) fn may_take(&self, mechanism: Mechanism) -> bool {
        self.place.node().learned().is_none_or(|learned| learned.mechanisms.contains(mechanism))
    }

    /// Asks the node what it can do after the login.
    ///
    /// # Errors
    /// Why the connection did not survive the question.
    pub(super) async fn ask_after_login(&mut self, within: Duration) -> std::io::Result<()> {
        let asked = tokio::time::timeout(within, capabilities(&mut self.wire)).await;
        let learned = asked.map_err(Into::into).and_then(|answer| answer);
        self.place.node().learn_after_login(learned.as_ref().ok().copied().flatten());
        self.told_more = learned?.is_some();
        Ok(())
    }

    /// Whether the login has taught what the node can do.
    #[must_use]
    pub fn told_more(&self) -> bool {
        self.told_more
    }

    /// Whether the node was disabled: its sessions end.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.place.node().mode() == NodeMode::Disabled
    }

    /// How long the node may be silent while a reply of its is awaited.
    #[must_use]
    pub fn reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    /// Has a task woken when the node is disabled.
    pub fn watch(&mut self, waker: &Waker) {
        if self.watched.is_none() {
            self.watched = Some(self.place.node().watch(waker.clone()));
        }
    }

    /// Writes all octets.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.wire.write(octets).await
    }

    /// Reads one line, its end included.
    ///
    /// # Errors
    /// Where the connection ends before, or the line is longer than any should be.
    pub async fn line(&mut self) -> std::io::Result<Vec<u8>> {
        self.wire.line().await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(number) = self.watched {
            self.place.node().unwatch(number);
        }
    }
}
