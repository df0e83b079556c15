//! A connection to a node.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::node::Node;

/// The longest line that is read before a session is relayed, in octets.
const LINE_LIMIT: usize = 2048;

/// An open connection to a node. The node counts it as a session while it lives.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: TcpStream,
    node: Arc<Node>,
    /// What has arrived after the last line that was read.
    pub(crate) rest: Vec<u8>,
}

impl Connection {
    /// `within`: for each address that the node's name has, so that one that does not answer
    /// leaves time for the next.
    pub(super) async fn open(node: &Arc<Node>, within: Duration) -> std::io::Result<Self> {
        let mut last = std::io::Error::other("its name has no address");
        for address in node.addresses().await? {
            match tokio::time::timeout(within, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    node.sessions.fetch_add(1, Ordering::Relaxed);
                    return Ok(Self { stream, node: node.clone(), rest: Vec::new() });
                }
                Ok(Err(error)) => last = error,
                Err(elapsed) => last = elapsed.into(),
            }
        }
        Err(last)
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &Arc<str> {
        &self.node.name
    }

    /// Writes all octets.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub async fn write(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// Reads one line, its end included.
    ///
    /// # Errors
    /// Where the connection ends before, or the line is longer than any should be.
    pub async fn line(&mut self) -> std::io::Result<Vec<u8>> {
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

impl Drop for Connection {
    fn drop(&mut self) {
        self.node.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
