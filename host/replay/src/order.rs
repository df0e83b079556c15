//! Puts logins into the order in which they happened. Reprieve's own logs tell of a session when
//! it ends, others are a little out of order; a window of bounded time and size mends that.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::entry::Entry;

/// Logins that may wait for others that happened before them.
const MOST_WAITING: usize = 200_000;

#[derive(Debug)]
struct Waiting {
    /// Apart: a heap moves what it holds.
    entry: Box<Entry>,
    arrival: u64,
}

impl Waiting {
    /// Of the same time the order of decisions counts, or else that of lines.
    fn key(&self) -> (u64, u64, u64) {
        (self.entry.at_ms, self.entry.seq().unwrap_or(0), self.arrival)
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
    /// The heap has its greatest at the top: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

/// Logins on their way into their order.
#[derive(Debug)]
pub(super) struct Order {
    waiting: BinaryHeap<Waiting>,
    window_ms: u64,
    latest_ms: u64,
    arrivals: u64,
    /// The order's number of the last one that went.
    last_seq: Option<u64>,
    last_ms: u64,
    late: u64,
}

impl Order {
    /// Logins wait until the log has gone on by `window_ms`.
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

    pub(super) fn push(&mut self, entry: Entry) {
        self.latest_ms = self.latest_ms.max(entry.at_ms);
        self.late += u64::from(entry.at_ms < self.last_ms);
        self.arrivals += 1;
        self.waiting.push(Waiting { entry: Box::new(entry), arrival: self.arrivals });
    }

    /// The next login, if nothing that happened before it can still come.
    pub(super) fn pop_ready(&mut self) -> Option<Entry> {
        let next = &self.waiting.peek()?.entry;
        // Numbers of decisions have no gaps: the next one is the next one.
        let follows = next.seq().is_some() && next.seq() == self.last_seq.and_then(|seq| seq.checked_add(1));
        let is_old = next.at_ms.saturating_add(self.window_ms) < self.latest_ms;
        (follows || is_old || self.waiting.len() > MOST_WAITING).then(|| self.pop()).flatten()
    }

    /// The next login, whatever may still come.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let Waiting { entry, .. } = self.waiting.pop()?;
        self.last_seq = entry.seq();
        self.last_ms = self.last_ms.max(entry.at_ms);
        Some(*entry)
    }

    /// Logins that came after others that had happened later and had gone already.
    pub(super) fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Recorded;
    use reprieve_policy_host::Ending;

    fn entry(at_ms: u64, seq: Option<u64>) -> Entry {
        let recorded = seq.map(|seq| Box::new(Recorded { seq: Some(seq), ..Recorded::default() }));
        Entry { recorded, ..Entry::new(at_ms, "alice", Ending::Authenticated) }
    }

    fn drained(order: &mut Order) -> Vec<u64> {
        std::iter::from_fn(|| order.pop_ready()).map(|entry| entry.at_ms).collect()
    }

    #[test]
    fn a_long_session_does_not_lose_its_place() {
        let mut order = Order::new(60_000);
        for at in [5000, 6000, 1000, 7000] {
            order.push(entry(at, None));
        }
        assert!(drained(&mut order).is_empty(), "more may come");
        order.push(entry(66_500, None));
        assert_eq!(drained(&mut order), [1000, 5000, 6000]);
        order.push(entry(3000, None));
        assert_eq!(order.late(), 1);
        assert_eq!(drained(&mut order), [3000]);
        let rest: Vec<_> = std::iter::from_fn(|| order.pop()).map(|entry| entry.at_ms).collect();
        assert_eq!(rest, [7000, 66_500]);
    }

    #[test]
    fn numbers_without_a_gap_need_not_wait() {
        let mut order = Order::new(60_000);
        order.push(entry(1000, Some(7)));
        assert!(drained(&mut order).is_empty(), "nobody knows what the first number is");
        order.pop();
        order.push(entry(1000, Some(9)));
        assert!(drained(&mut order).is_empty(), "8 is missing");
        order.push(entry(1000, Some(8)));
        let seqs: Vec<_> = std::iter::from_fn(|| order.pop_ready()).map(|entry| entry.seq()).collect();
        assert_eq!(seqs, [Some(8), Some(9)]);
    }

    #[test]
    fn only_so_many_wait() {
        let mut order = Order::new(u64::MAX);
        for at in 0..=MOST_WAITING as u64 {
            order.push(entry(at, None));
        }
        assert_eq!(drained(&mut order), [0]);
    }
}
