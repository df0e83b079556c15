//! Takes over from a running process without refusing a connection (`run --take-over`). Every wait
//! is limited: a process that was stopped or hangs is reported.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::takeover::{DRAIN, SocketReceiver, TRANSFER_TIMEOUT};
use super::{Client, ClientError};
use crate::net::InheritedSockets;

/// The process that is being replaced, after it has handed over its listening sockets.
#[derive(Debug)]
pub struct Predecessor {
    socket: PathBuf,
    /// If this is closed before the process starts to drain, it resumes serving.
    held: Option<UnixStream>,
    retired: bool,
}

impl Predecessor {
    /// Takes over the listening sockets of the process at an admin socket. Returns None if no
    /// process listens there. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// If the process does not answer, or does not hand over all its sockets.
    pub async fn take_over(socket: &Path) -> anyhow::Result<Option<(Self, InheritedSockets)>> {
        let Some(process) = find_serving(socket).await? else {
            tracing::info!(path = %socket.display(), "no process listens on the admin socket; there is nothing to take over");
            return Ok(None);
        };
        let client = Client::new(socket);
        client.access().await.with_context(|| {
            format!(
                "the running {process} does not answer; if it was stopped, continue it (kill -CONT) or \
                 kill it (kill -KILL), and start again"
            )
        })?;
        let receiver = SocketReceiver::bind_next_to(socket)
            .with_context(|| format!("cannot create a socket next to {}", socket.display()))?;
        let mut predecessor = Self { socket: socket.to_owned(), held: None, retired: false };
        let arrived = async { receiver.sockets(TRANSFER_TIMEOUT).await.context("cannot take over sockets") };
        let announced = async { Ok(client.start_takeover(receiver.path()).await?) };
        let ((sockets, held), announced) = tokio::try_join!(arrived, announced)?;
        predecessor.held = Some(held);
        anyhow::ensure!(
            sockets.len() == announced,
            "the running process announced {announced} sockets, but {} arrived",
            sockets.len()
        );
        tracing::info!(sockets = sockets.len(), "took over the listening sockets of the running process");
        Ok(Some((predecessor, InheritedSockets::new(sockets))))
    }

    /// Tells the process to drain and exit. A process that does not answer (it may be stopped)
    /// finds the message when it continues.
    pub async fn retire(mut self) {
        self.retired = true;
        let Err(error) = Client::new(&self.socket).drain().await else { return };
        let written = self.held.as_mut().map(|held| held.write_all(&[DRAIN]));
        tracing::warn!(
            "the replaced process does not answer ({error}); {}",
            match written {
                Some(Ok(())) => "it will drain when it continues",
                _ => "kill it",
            }
        );
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if self.retired {
            return;
        }
        // This process does not serve after all. The old one notices the closed connection; the
        // request below makes it resume at once.
        drop(self.held.take());
        let socket = self.socket.clone();
        let cancelling = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(Client::new(&socket).cancel_takeover()).map_err(io::Error::other)
        });
        let _ = cancelling.join();
    }
}

/// Describes the process that listens on a socket, for messages; None if there is none.
async fn find_serving(socket: &Path) -> anyhow::Result<Option<String>> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(stream) => {
            let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
            Ok(Some(process.map_or_else(|| "process".to_owned(), |id| format!("process {id}"))))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(why) => Err(ClientError::Unreachable { path: socket.to_owned(), why }).context(
            "cannot take over (if another user runs the process: stop it, and start this one without --take-over)",
        ),
    }
}
