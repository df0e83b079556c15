//! Notifies the service manager (systemd's sd_notify). Does nothing if the environment has no
//! `NOTIFY_SOCKET`.

use std::time::Duration;

use sd_notify::NotifyState;

/// Start or reload complete; `systemctl status` shows `status`.
pub(crate) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Reload started; it is complete at the next [`ready`].
pub(crate) fn reloading() {
    let since = NotifyState::monotonic_usec_now();
    match since {
        Ok(since) => notify(&[NotifyState::Reloading, since]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Drain started; extends the stop timeout beyond `longest`.
pub(crate) fn stopping(longest: Duration) {
    let longest = longest.saturating_add(Duration::from_secs(10));
    let extend = format!("EXTEND_TIMEOUT_USEC={}", longest.as_micros());
    notify(&[NotifyState::Stopping, NotifyState::Status("draining"), NotifyState::Custom(&extend)]);
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
