//! Ctrl-C, and the kinder signals that mean the same: the demo ends early, with its summary.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at the first signal that asks for the end. The next one ends the process at once,
/// as if nobody had listened.
pub(crate) async fn wait() {
    let interrupt = signal(SignalKind::interrupt());
    let terminate = signal(SignalKind::terminate());
    let (Ok(mut interrupt), Ok(mut terminate)) = (interrupt, terminate) else {
        // Without handlers a signal ends the process by itself.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    for number in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the default action runs no code of this process.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}
