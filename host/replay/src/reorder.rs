//! Sorts the logins and deliveries of a log by time, within a window that is limited in time and size. Reprieve logs
//! a session when it ends; the lines of other logs are slightly out of order.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::event::Event;

/// The most logins that wait for earlier ones.
const MAX_WAITING: usize = 200_000;

#[derive(Debug)]
struct Waiting {
    event: Event,
    arrival: u64,
}

impl Waiting {
    /// Logins of the same millisecond are in the order of decisions if that is known, otherwise of
    /// lines.
    fn key(&self) -> (u64, u64, u64) {
        (self.event.at_ms(), self.event.seq().unwrap_or(0), self.arrival)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    /// Reversed: the top of the heap is the earliest login.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// Logins that wait for earlier ones.
#[derive(Debug)]
pub(super) struct ReorderBuffer {
    waiting: BinaryHeap<Waiting>,
    window_ms: u64,
    latest_ms: u64,
    arrivals: u64,
    /// Sequence number of the last login that was returned.
    last_seq: Option<u64>,
    last_ms: u64,
    late: u64,
}

impl ReorderBuffer {
    /// A login waits until the log has one that is later by more than `window_ms`.
    pub(super) fn new(window_ms: u64) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            window_ms,
            latest_ms: 0,
            arrivals: 0,
            last_seq: None,
            last_ms: 0,
            late: 0,
        }
    }

    pub(super) fn push(&mut self, event: Event) {
        self.latest_ms = self.latest_ms.max(event.at_ms());
        self.late += u64::from(event.at_ms() < self.last_ms);
        self.arrivals += 1;
        self.waiting.push(Waiting { event, arrival: self.arrivals });
    }

    /// The earliest login if no earlier one can follow.
    pub(super) fn pop_ready(&mut self) -> Option<Event> {
        let next = &self.waiting.peek()?.event;
        // Sequence numbers have no gaps.
        let follows = next.seq().is_some() && next.seq() == self.last_seq.and_then(|seq| seq.checked_add(1));
        let is_old = next.at_ms().saturating_add(self.window_ms) < self.latest_ms;
        (follows || is_old || self.waiting.len() > MAX_WAITING).then(|| self.pop()).flatten()
    }

    /// The earliest login, even if an earlier one may follow.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let Waiting { event, .. } = self.waiting.pop()?;
        self.last_seq = event.seq().or(self.last_seq);
        self.last_ms = self.last_ms.max(event.at_ms());
        Some(event)
    }

    /// Number of logins that were added after a later one had been returned.
    pub(super) fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, Recorded};
    use reprieve_policy_host::Ending;

    fn entry(at_ms: u64, seq: Option<u64>) -> Event {
        let recorded = seq.map(|seq| Box::new(Recorded { seq: Some(seq), ..Recorded::default() }));
        Entry { recorded, ..Entry::new(at_ms, "alice", Ending::Authenticated) }.into()
    }

    fn drained(buffer: &mut ReorderBuffer) -> Vec<u64> {
        std::iter::from_fn(|| buffer.pop_ready()).map(|event| event.at_ms()).collect()
    }

    #[test]
    fn a_login_within_the_window_is_put_into_order() {
        let mut buffer = ReorderBuffer::new(60_000);
        for at in [5000, 6000, 1000, 7000] {
            buffer.push(entry(at, None));
        }
        assert!(drained(&mut buffer).is_empty(), "earlier ones may follow");
        buffer.push(entry(66_500, None));
        assert_eq!(drained(&mut buffer), [1000, 5000, 6000]);
        buffer.push(entry(3000, None));
        assert_eq!(buffer.late(), 1);
        assert_eq!(drained(&mut buffer), [3000]);
        let rest: Vec<_> = std::iter::from_fn(|| buffer.pop()).map(|event| event.at_ms()).collect();
        assert_eq!(rest, [7000, 66_500]);
    }

    #[test]
    fn consecutive_sequence_numbers_do_not_wait() {
        let mut buffer = ReorderBuffer::new(60_000);
        buffer.push(entry(1000, Some(7)));
        assert!(drained(&mut buffer).is_empty(), "the first number is unknown");
        buffer.pop();
        buffer.push(entry(1000, Some(9)));
        assert!(drained(&mut buffer).is_empty(), "8 is missing");
        buffer.push(entry(1000, Some(8)));
        let seqs: Vec<_> = std::iter::from_fn(|| buffer.pop_ready()).map(|event| event.seq()).collect();
        assert_eq!(seqs, [Some(8), Some(9)]);
    }

    #[test]
    fn the_number_of_waiting_logins_is_limited() {
        let mut buffer = ReorderBuffer::new(u64::MAX);
        for at in 0..=MAX_WAITING as u64 {
            buffer.push(entry(at, None));
        }
        assert_eq!(drained(&mut buffer), [0]);
    }
}
