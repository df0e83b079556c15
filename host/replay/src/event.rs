//! What a log tells: logins, and deliveries of new mail.

use super::entry::Entry;
use super::format::delivery::Delivery;

/// Something in a log, with its time.
#[derive(Debug)]
pub(super) enum Event {
    /// A login. Boxed, because events are moved often.
    Login(Box<Entry>),
    /// New mail, at a time in milliseconds since 1970.
    Delivery(u64, Delivery),
}

impl Event {
    /// Its time in milliseconds since 1970.
    pub(super) fn at_ms(&self) -> u64 {
        match self {
            Self::Login(entry) => entry.at_ms,
            Self::Delivery(at_ms, _) => *at_ms,
        }
    }

    /// Number of the decision in its process.
    pub(super) fn seq(&self) -> Option<u64> {
        match self {
            Self::Login(entry) => entry.seq(),
            Self::Delivery(..) => None,
        }
    }
}

impl From<Entry> for Event {
    fn from(entry: Entry) -> Self {
        Self::Login(Box::new(entry))
    }
}
