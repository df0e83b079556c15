//! Taking the place of a process that serves, without a connection being refused.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::{Arrival, Client, CtlError};
use crate::config::Config;
use crate::net::Inherited;
use crate::server::{Options, Prepared};

/// A process that serves, and has handed over what it listens at.
#[derive(Debug)]
pub struct Predecessor {
    socket: PathBuf,
    serves_on: bool,
}

impl Predecessor {
    /// Asks the process at an admin socket for what it listens at. None where nobody serves
    /// there.
    ///
    /// # Errors
    /// Where the configuration could not be served, or nothing is handed over.
    pub fn ask(config: &Config) -> anyhow::Result<Option<(Self, Inherited)>> {
        let socket = config.admin.socket.as_deref().context(
            "--take-over needs `admin.socket` in the configuration, by which the process that serves is asked",
        )?;
        if UnixStream::connect(socket).is_err() {
            tracing::info!(path = %socket.display(), "nobody serves there: there is nothing to take over");
            return Ok(None);
        }
        // What is wrong is found before anything is taken from anybody.
        drop(Prepared::new(config.clone(), Options { without_stores: true, ..Options::default() })?);
        let arrival = Arrival::beside(socket)
            .with_context(|| format!("cannot listen beside {} for what is handed over", socket.display()))?;
        let predecessor = Self { socket: socket.to_owned(), serves_on: false };
        let path = arrival.path().to_owned();
        let asking = std::thread::spawn({
            let socket = socket.to_owned();
            move || {
                let asked = ask(&socket, async |client| client.hand_over(&path).await);
                if asked.is_err() {
                    // Nothing will come: whoever waits for it waits no longer.
                    let _ = UnixStream::connect(&path);
                }
                asked
            }
        });
        let arrived = arrival.sockets();
        let promised = asking.join().map_err(|_| anyhow::anyhow!("asking for sockets failed"))??;
        let sockets = arrived.context("cannot take over sockets")?;
        anyhow::ensure!(
            sockets.len() == promised,
            "{promised} sockets were promised, and {} came",
            sockets.len()
        );
        tracing::info!(sockets = sockets.len(), "took over what another process listens at");
        Ok(Some((predecessor, Inherited::of(sockets))))
    }

    /// Has it drain and end: another one serves now.
    ///
    /// # Errors
    /// Where it cannot be told.
    pub fn retire(mut self) -> anyhow::Result<()> {
        self.serves_on = true;
        ask(&self.socket, async |client| client.drain().await)
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if !self.serves_on {
            // Nobody serves in its place.
            let _ = ask(&self.socket, async |client| client.keep().await);
        }
    }
}

fn ask<T>(socket: &Path, question: impl AsyncFnOnce(&Client) -> Result<T, CtlError>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(question(&Client::new(socket)))?)
}
