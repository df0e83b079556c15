//! Whole lines on a connection in memory.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::network::Endpoint;

/// Reads and writes lines.
pub(super) struct Lines {
    endpoint: Endpoint,
    buffer: Vec<u8>,
}

impl Lines {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, buffer: Vec::new() }
    }

    /// The next line, without its end. None at the end of the stream.
    pub async fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned()));
            }
            let mut bytes = [0; 512];
            let count = self.endpoint.read(&mut bytes).await?;
            if count == 0 {
                return Ok(None);
            }
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    /// Whether a whole line has arrived.
    pub fn has_line(&self) -> bool {
        self.buffer.contains(&b'\n')
    }

    pub async fn send(&mut self, text: &str) -> io::Result<()> {
        self.endpoint.write_all(text.as_bytes()).await
    }

    /// Breaks the connection instead of closing it.
    pub fn break_off(&self) {
        self.endpoint.break_off();
    }

    /// Sends no more, and still receives.
    pub async fn half_close(&mut self) {
        let _ = self.endpoint.shutdown().await;
    }
}
