//! What the service manager is told that has started this process (systemd's sd_notify, by the
//! environment's `NOTIFY_SOCKET`). Where there is none, nothing is said.

use std::time::Duration;

use sd_notify::NotifyState;

/// It serves; `status` is shown by `systemctl status`.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again, until it is [`ready`] once more.
pub(crate) fn reloading() {
    let since = NotifyState::monotonic_usec_now();
    match since {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It drains, for so long at most: it is not to be killed meanwhile.
pub(crate) fn stopping(longest: Duration) {
    let longest = longest.saturating_add(Duration::from_secs(10));
    let extend = format!("EXTEND_TIMEOUT_USEC={}", longest.as_micros());
    tell(&[NotifyState::Stopping, NotifyState::Status("draining"), NotifyState::Custom(&extend)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}
