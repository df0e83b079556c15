//! Ctrl-C and SIGTERM: the first signal stops gracefully, the second one at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Exit code that shells use for a program ended by SIGINT.
const INTERRUPTED: i32 = 130;

/// Catches both signals from its creation on.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Panics outside of a Tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal of either kind.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Sends `true` at the first signal, and ends the process at the second.
    pub(crate) async fn stop_then_end(mut self, stop: watch::Sender<bool>) {
        self.next().await;
        let _ = stop.send(true);
        self.next().await;
        std::process::exit(INTERRUPTED);
    }
}
