//! Taking the place of a process that serves, without a connection being refused. Nothing here
//! waits for ever: a process that was stopped, or hangs, is named.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::hand_over::{Arrival, DRAIN, PATIENCE};
use super::{Client, CtlError};
use crate::net::Inherited;

/// A process that serves, and has handed over what it listens at.
#[derive(Debug)]
pub struct Predecessor {
    socket: PathBuf,
    /// It goes on if this is closed before it is told to drain.
    held: Option<UnixStream>,
    retired: bool,
}

impl Predecessor {
    /// Asks the process at an admin socket for what it listens at. None if none serves there.
    /// Within a runtime.
    ///
    /// # Errors
    /// If it does not answer, or nothing is handed over.
    pub async fn ask(socket: &Path) -> anyhow::Result<Option<(Self, Inherited)>> {
        let Some(process) = serving(socket).await? else {
            tracing::info!(path = %socket.display(), "nobody serves there: there is nothing to take over");
            return Ok(None);
        };
        let client = Client::new(socket);
        client.access().await.with_context(|| {
            format!(
                "{process}, which serves, does not hand over; if it was stopped, go on with it (kill -CONT) or \
                 end it (kill -KILL), and start again"
            )
        })?;
        let arrival = Arrival::beside(socket)
            .with_context(|| format!("cannot listen beside {} for what is handed over", socket.display()))?;
        let mut predecessor = Self { socket: socket.to_owned(), held: None, retired: false };
        let arrived = async { arrival.sockets(PATIENCE).await.context("cannot take over sockets") };
        let promised = async { Ok(client.hand_over(arrival.path()).await?) };
        let ((sockets, held), promised) = tokio::try_join!(arrived, promised)?;
        predecessor.held = Some(held);
        anyhow::ensure!(
            sockets.len() == promised,
            "{promised} sockets were promised, and {} came",
            sockets.len()
        );
        tracing::info!(sockets = sockets.len(), "took over what another process listens at");
        Ok(Some((predecessor, Inherited::of(sockets))))
    }

    /// Has it drain and end: another one serves now. One that does not answer finds it written
    /// when it goes on.
    pub async fn retire(mut self) {
        self.retired = true;
        let Err(error) = Client::new(&self.socket).drain().await else { return };
        let written = self.held.as_mut().map(|held| held.write_all(&[DRAIN]));
        tracing::warn!(
            "the process that served before does not answer ({error}); {}",
            match written {
                Some(Ok(())) => "it drains when it goes on",
                _ => "end it",
            }
        );
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if self.retired {
            return;
        }
        // Nobody serves in its place. It sees that the connection is closed; one of an older
        // version is told.
        drop(self.held.take());
        let socket = self.socket.clone();
        let telling = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(Client::new(&socket).keep()).map_err(io::Error::other)
        });
        let _ = telling.join();
    }
}

/// The process that listens at a socket, in words; None if there is none.
async fn serving(socket: &Path) -> anyhow::Result<Option<String>> {
    match tokio::net::UnixStream::connect(socket).await {
        Ok(stream) => {
            let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
            Ok(Some(process.map_or_else(|| "the process".to_owned(), |id| format!("process {id}"))))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(why) => Err(CtlError::Unreachable { path: socket.to_owned(), why }).context(
            "cannot take over (a process that another user runs cannot be taken over: stop it, and start this one)",
        ),
    }
}
