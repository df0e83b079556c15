//! The rule, without host calls: what is remembered about a user, and the interval that follows
//! from it.

use crate::bindings::reprieve::policy::types::Memory;

/// Messages and bytes of a maildrop; None if Reprieve has no snapshot of it.
pub(crate) type Listing = Option<(u32, u32)>;

/// How the interval grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) shortest_s: u32,
    pub(crate) longest_s: u32,
    /// The interval is the time without a change divided by this.
    pub(crate) divisor: u32,
}

impl Interval {
    /// Seconds between two logins, if the maildrop was unchanged for `unchanged_s` at the first one.
    pub(crate) fn after(self, unchanged_s: u32) -> u32 {
        (unchanged_s / self.divisor).min(self.longest_s).max(self.shortest_s)
    }
}

/// What is remembered about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History {
    /// Unix time of the last login at the mail server; 0 if none is known.
    last_login: u32,
    /// Unix time of the last login that found something else than the session before it had left;
    /// not later than `last_login`.
    last_change: u32,
    /// What the session before the last login had left.
    listing: Listing,
}

impl History {
    /// Seconds since the last login; None if none is known, or if the clock was set back.
    pub(crate) fn elapsed_s(self, now: u32) -> Option<u32> {
        now.checked_sub(self.last_login).filter(|_| self.last_login > 0)
    }

    /// Seconds that the maildrop was unchanged at the last login.
    pub(crate) fn unchanged_s(self) -> u32 {
        self.last_login.saturating_sub(self.last_change)
    }

    /// With what the last session has left. If it differs from what the one before had left, the
    /// last session has found or made a change.
    pub(crate) fn noticing(self, listing: Listing) -> Self {
        if listing == self.listing {
            return self;
        }
        Self { last_change: self.last_login, listing, ..self }
    }

    pub(crate) fn logged_in(self, now: u32) -> Self {
        // The maildrop of a new user is taken to have changed just now.
        let last_change = if self.last_login == 0 { now } else { self.last_change };
        Self { last_login: now, last_change: last_change.min(now), ..self }
    }
}

impl From<Memory> for History {
    fn from(memory: Memory) -> Self {
        Self {
            last_login: memory.first,
            last_change: memory.second,
            listing: memory.third.checked_sub(1).map(|messages| (messages, memory.fourth)),
        }
    }
}

impl From<History> for Memory {
    fn from(history: History) -> Self {
        // 0 is for no listing.
        let third = history.listing.map_or(0, |(messages, _)| messages.saturating_add(1));
        let fourth = history.listing.map_or(0, |(_, bytes)| bytes);
        Self { first: history.last_login, second: history.last_change, third, fourth }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Interval = Interval { shortest_s: 120, longest_s: 1800, divisor: 6 };
    const NEW: History = History { last_login: 0, last_change: 0, listing: None };

    #[test]
    fn the_interval_grows_between_its_bounds() {
        for (unchanged_s, interval_s) in
            [(0, 120), (719, 120), (726, 121), (3600, 600), (10_800, 1800), (u32::MAX, 1800)]
        {
            assert_eq!(INTERVAL.after(unchanged_s), interval_s, "{unchanged_s}");
        }
    }

    #[test]
    fn logins_that_find_the_same_listing_add_up() {
        let mut history = NEW.logged_in(1000);
        assert_eq!(history.unchanged_s(), 0);
        for now in [2000, 3000, 4000] {
            history = history.noticing(Some((5, 700))).logged_in(now);
        }
        // The login at 1000 found the five messages.
        assert_eq!(history.unchanged_s(), 3000);
        assert_eq!(history.elapsed_s(4001), Some(1));
        // The one at 4000 has found a sixth.
        assert_eq!(history.noticing(Some((6, 900))).unchanged_s(), 0);
        assert_eq!(history.noticing(Some((6, 900))).logged_in(4600).unchanged_s(), 600);
    }

    #[test]
    fn after_the_clock_was_set_back_a_login_passes() {
        let history = NEW.logged_in(5000).logged_in(4000);
        assert_eq!(history.unchanged_s(), 0);
        assert_eq!(history.elapsed_s(3999), None);
        assert_eq!(NEW.elapsed_s(4000), None);
    }

    #[test]
    fn a_history_is_read_as_it_was_remembered() {
        for listing in [None, Some((0, 0)), Some((7, 4000)), Some((u32::MAX - 1, u32::MAX))] {
            let history = History { last_login: 2000, last_change: 1000, listing };
            assert_eq!(History::from(Memory::from(history)), history);
        }
        assert_eq!(History::from(Memory { first: 0, second: 0, third: 0, fourth: 0 }), NEW);
    }
}
