//! Ctrl-C and SIGTERM: the first ends in good order, the second at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// What a shell shows for a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// Both signals, watched from now on.
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Needs a runtime around it.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next of either.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Says at the first that it is time to stop, and ends the process at the second.
    pub(crate) async fn stop_then_end(mut self, stop: watch::Sender<bool>) {
        self.next().await;
        let _ = stop.send(true);
        self.next().await;
        std::process::exit(INTERRUPTED);
    }
}
