//! When which entry's turn comes to be looked at, the next first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Milliseconds from the base after which it is moved.
const FAR: u64 = 1 << 31;

/// A queue of places in the table. A turn takes 32 bits, milliseconds from a base that moves
/// with the time; one further away than those reach comes early.
#[derive(Debug, Default)]
pub(super) struct Queue {
    places: BinaryHeap<Reverse<(u32, u32)>>,
    /// Milliseconds since 1970.
    base: u64,
}

impl Queue {
    /// Has an entry looked at when it expires, or some weeks from now if that is sooner.
    pub fn push(&mut self, at: u32, expires: u64, now: u64) {
        self.move_base(now);
        if self.places.len() == self.places.capacity() {
            // There may be millions: not twice as many places as are needed.
            self.places.reserve_exact(self.places.len() / 8 + 8);
        }
        self.places.push(Reverse((self.turn(expires), at)));
    }

    /// The next one whose turn has come.
    pub fn due(&mut self, now: u64) -> Option<u32> {
        self.move_base(now);
        let &Reverse((turn, at)) = self.places.peek()?;
        if u64::from(turn) > now - self.base {
            return None;
        }
        self.places.pop();
        Some(at)
    }

    /// Places in it.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets all that is in it, for these places and when they expire.
    pub fn replace(&mut self, places: impl Iterator<Item = (u32, u64)>, now: u64) {
        self.move_base(now);
        let places: Vec<_> = places.map(|(at, expires)| Reverse((self.turn(expires), at))).collect();
        self.places = places.into();
    }

    fn turn(&self, expires: u64) -> u32 {
        u32::try_from(expires.saturating_sub(self.base)).unwrap_or(u32::MAX)
    }

    /// Keeps the base at or before now, and not so far before it that turns end.
    fn move_base(&mut self, now: u64) {
        if now >= self.base && now - self.base < FAR {
            return;
        }
        let before = self.base;
        self.base = now;
        let places = std::mem::take(&mut self.places).into_vec();
        let moved = places.into_iter().map(|Reverse((turn, at))| {
            // Those that come to lie beyond either end are early, as far away as they were.
            Reverse((self.turn(before.saturating_add(u64::from(turn))), at))
        });
        self.places = moved.collect::<Vec<_>>().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const YEAR: u64 = 365 * 86_400_000;

    #[test]
    fn turns_come_in_order_and_to_the_millisecond() {
        let mut queue = Queue::default();
        for (at, after) in [(1, 3_000), (2, 1), (3, 2_000)] {
            queue.push(at, NOW + after, NOW);
        }
        assert_eq!(queue.due(NOW), None);
        assert_eq!(queue.due(NOW + 1), Some(2));
        assert_eq!(queue.due(NOW + 1_999), None);
        assert_eq!(queue.due(NOW + 5_000), Some(3));
        assert_eq!(queue.due(NOW + 5_000), Some(1));
        assert_eq!((queue.due(NOW + 5_000), queue.len()), (None, 0));
    }

    #[test]
    fn a_turn_that_is_years_away_comes_early_and_never_late() {
        let mut queue = Queue::default();
        queue.push(1, NOW + YEAR, NOW);
        assert_eq!(queue.due(NOW + 1_000), None);
        let mut now = NOW;
        let mut looks = 0;
        // Whoever is looked at early is queued again.
        while now < NOW + YEAR {
            if queue.due(now).is_some() {
                looks += 1;
                queue.push(1, NOW + YEAR, now);
            }
            now += 3_600_000;
        }
        assert_eq!(queue.due(NOW + YEAR), Some(1));
        assert!((1..=20).contains(&looks), "{looks}");
    }

    #[test]
    fn the_clock_may_be_set_back_and_forward() {
        let mut queue = Queue::default();
        queue.push(1, NOW + 10, NOW);
        assert_eq!(queue.due(NOW - YEAR), None);
        queue.push(2, NOW - YEAR + 5, NOW - YEAR);
        assert_eq!(queue.due(NOW - YEAR + 4), None);
        assert_eq!(queue.due(NOW - YEAR + 5), Some(2));
        assert_eq!(queue.due(NOW + 3 * YEAR), Some(1));
        queue.replace([(7, NOW + 3 * YEAR + 1)].into_iter(), NOW + 3 * YEAR);
        assert_eq!(queue.due(NOW + 3 * YEAR), None);
        assert_eq!(queue.due(NOW + 3 * YEAR + 1), Some(7));
    }
}
