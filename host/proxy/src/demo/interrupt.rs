//! Ends the demo early, with its summary, on SIGINT (Ctrl-C) or SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Returns on the first signal and restores the default action, so that a second signal ends the
/// process immediately.
pub(crate) async fn wait() {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        // Without a handler the signal ends the process by default.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    for number in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: SIG_DFL installs no handler, so no code of this process runs in a signal.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}
