//! What the followers of logs and journals report, and to what.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A message that was delivered, according to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoggedDelivery {
    /// The recipient; several names if the log does not say which one clients log in with.
    pub(crate) users: Vec<String>,
    /// Time in milliseconds since 1970. Deliveries that were logged before the follower started have
    /// the log's time, if it has a time zone, all others the time at which they were read: the clock
    /// and the time zone of the host that logs may be different.
    pub(crate) at_ms: u64,
}

/// Takes what a follower finds.
pub(crate) trait Deliveries {
    /// Applies the signals of these deliveries. They are reported again until this succeeds, and may be
    /// reported again after a crash.
    ///
    /// # Errors
    /// If they could not be written.
    async fn delivered(&self, deliveries: &[LoggedDelivery]) -> Result<(), NotWritten>;

    /// Deliveries may have been missed.
    fn missed(&self, gap: Gap);
}

/// Signals could not be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotWritten;

/// Why deliveries may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gap {
    /// There is no remembered position: it is the first start, or the file is lost or damaged.
    NoPosition,
    /// What follows the remembered position is gone: rotated away, compressed or deleted.
    RotatedAway,
    /// The file was truncated, perhaps before its end was read.
    Truncated,
    /// The file does not exist, or cannot be read.
    Unreadable,
    /// The journal no longer has the entry at the remembered position.
    Vacuumed,
    /// A line is longer than the limit.
    LineTooLong,
    /// A line about a delivery cannot be parsed.
    Malformed(&'static str),
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPosition => "there is no remembered position",
            Self::RotatedAway => "what follows the remembered position has been rotated away",
            Self::Truncated => "the file was truncated",
            Self::Unreadable => "the file cannot be read",
            Self::Vacuumed => "the journal no longer has the entry at the remembered position",
            Self::LineTooLong => "a line is too long",
            Self::Malformed(why) => why,
        })
    }
}

/// Growing pauses between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        pause
    }

    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A [`Deliveries`] for tests, which can be made unavailable.
#[cfg(test)]
pub(super) mod recorder {
    use parking_lot::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    pub(in crate::new_mail) struct Recorder {
        pub(in crate::new_mail) is_unavailable: Mutex<bool>,
        deliveries: Mutex<Vec<LoggedDelivery>>,
        gaps: Mutex<Vec<Gap>>,
        pub(in crate::new_mail) changed: tokio::sync::Notify,
    }

    impl Deliveries for Recorder {
        async fn delivered(&self, deliveries: &[LoggedDelivery]) -> Result<(), NotWritten> {
            if *self.is_unavailable.lock() {
                return Err(NotWritten);
            }
            self.deliveries.lock().extend_from_slice(deliveries);
            self.changed.notify_one();
            Ok(())
        }

        fn missed(&self, gap: Gap) {
            self.gaps.lock().push(gap);
            self.changed.notify_one();
        }
    }

    impl Recorder {
        /// The users of all deliveries since the last call.
        pub(in crate::new_mail) fn take_users(&self) -> Vec<String> {
            self.take().into_iter().flat_map(|delivery| delivery.users).collect()
        }

        pub(in crate::new_mail) fn take(&self) -> Vec<LoggedDelivery> {
            std::mem::take(&mut *self.deliveries.lock())
        }

        /// The gaps since the last call.
        pub(in crate::new_mail) fn take_gaps(&self) -> Vec<Gap> {
            std::mem::take(&mut *self.gaps.lock())
        }
    }
}
