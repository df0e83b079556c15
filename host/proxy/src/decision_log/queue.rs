//! Lines on their way from the threads that serve to the one that writes. There is room for so
//! many octets; what comes beyond is dropped and counted, and nobody waits.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

/// How long lines are gathered before they are written, so that many take one write.
const GATHERED_FOR: Duration = Duration::from_millis(50);
/// How long no line may have been dropped before the trouble counts as over.
const CALM: Duration = Duration::from_secs(2);

/// What has become of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were dropped, because there was no room for them or no way to write them.
    pub dropped: u64,
}

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits to be written.
    Waits,
    /// It was dropped, the first for a while.
    FirstDropped,
    /// It was dropped, as others just before.
    Dropped,
}

/// Lines that are to be written now.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) octets: Vec<u8>,
    pub(super) reopen: bool,
    /// Nothing comes after it.
    pub(super) last: bool,
    /// Lines that were dropped while the trouble lasted that is over now.
    pub(super) dropped: Option<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    octets: Vec<u8>,
    /// Octets of the batch that is being written.
    under_way: u64,
    /// Lines that were dropped since the first one that the log was told of; and when the last.
    trouble: Option<(u64, Instant)>,
    counts: Counts,
    reopen: bool,
    ended: bool,
    /// The writer has done all that it could.
    done: bool,
    /// Lines that were taken, and neither written nor given up.
    pending: u64,
    lost_at_end: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    /// Octets that may wait.
    room: u64,
    waiting: Mutex<Waiting>,
    /// There is something for the writer.
    arrived: Condvar,
    /// The writer is done.
    finished: Condvar,
}

impl Queue {
    pub(super) fn with_room(room: u64) -> Self {
        Self { room, waiting: Mutex::default(), arrived: Condvar::new(), finished: Condvar::new() }
    }

    /// Takes a line, with its end.
    pub(super) fn push(&self, line: &[u8]) -> Pushed {
        let mut waiting = self.waiting.lock();
        let taken = waiting.octets.len() as u64 + waiting.under_way;
        if waiting.ended || taken + line.len() as u64 > self.room {
            waiting.counts.dropped += 1;
            let before = waiting.trouble.map(|(count, _)| count);
            waiting.trouble = Some((before.unwrap_or(0) + 1, Instant::now()));
            return if before.is_none() { Pushed::FirstDropped } else { Pushed::Dropped };
        }
        let before = waiting.octets.len() as u64;
        waiting.octets.extend_from_slice(line);
        waiting.pending += 1;
        let half = self.room / 2;
        let wakes = before == 0 || before < half && waiting.octets.len() as u64 >= half;
        drop(waiting);
        if wakes {
            self.arrived.notify_one();
        }
        Pushed::Waits
    }

    /// What the writer has to do next. It waits for that.
    pub(super) fn next(&self) -> Batch {
        let mut waiting = self.waiting.lock();
        waiting.under_way = 0;
        while waiting.octets.is_empty() && !waiting.reopen && !waiting.ended {
            if let Some(dropped) = waiting.calm() {
                return Batch { dropped: Some(dropped), ..Batch::default() };
            }
            match waiting.trouble {
                Some(_) => drop(self.arrived.wait_for(&mut waiting, CALM)),
                None => self.arrived.wait(&mut waiting),
            }
        }
        let gather_until = Instant::now() + GATHERED_FOR;
        while !waiting.reopen && !waiting.ended && (waiting.octets.len() as u64) < self.room / 2 {
            if self.arrived.wait_until(&mut waiting, gather_until).timed_out() {
                break;
            }
        }
        let octets = std::mem::take(&mut waiting.octets);
        waiting.under_way = octets.len() as u64;
        let reopen = std::mem::take(&mut waiting.reopen);
        Batch { octets, reopen, last: waiting.ended, dropped: waiting.calm() }
    }

    /// What the writer cannot write waits for so long, if nothing happens meanwhile. True where
    /// the file is to be opened again; and whether it is the end.
    pub(super) fn pause(&self, pause: Duration) -> (bool, bool) {
        let mut waiting = self.waiting.lock();
        let until = Instant::now() + pause;
        while !waiting.reopen && !waiting.ended {
            if self.arrived.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        (std::mem::take(&mut waiting.reopen), waiting.ended)
    }

    /// So many octets less are under way.
    pub(super) fn wrote(&self, octets: u64, lines: u64) {
        let mut waiting = self.waiting.lock();
        waiting.under_way = waiting.under_way.saturating_sub(octets);
        waiting.counts.written += lines;
        waiting.pending = waiting.pending.saturating_sub(lines);
    }

    /// The writer gives so many lines up.
    pub(super) fn gave_up(&self, lines: u64) {
        let mut waiting = self.waiting.lock();
        waiting.under_way = 0;
        waiting.counts.dropped += lines;
        waiting.pending = waiting.pending.saturating_sub(lines);
        waiting.lost_at_end += lines;
    }

    /// The writer is done.
    pub(super) fn done(&self) {
        self.waiting.lock().done = true;
        self.finished.notify_all();
    }

    /// Has the writer open its file again.
    pub(super) fn reopen(&self) {
        self.waiting.lock().reopen = true;
        self.arrived.notify_one();
    }

    /// Nothing comes any more; waits until what is there is written, for so long at the most.
    /// The error is how many lines could not be written.
    pub(super) fn end(&self, within: Duration) -> Result<(), u64> {
        let mut waiting = self.waiting.lock();
        waiting.ended = true;
        self.arrived.notify_one();
        let until = Instant::now() + within;
        while !waiting.done {
            if self.finished.wait_until(&mut waiting, until).timed_out() {
                return Err(waiting.pending);
            }
        }
        match waiting.lost_at_end {
            0 => Ok(()),
            lost => Err(lost),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.waiting.lock().counts
    }
}

impl Waiting {
    /// How many lines were dropped, where that is over.
    fn calm(&mut self) -> Option<u64> {
        let (dropped, _) = self.trouble.filter(|(_, last)| last.elapsed() >= CALM)?;
        self.trouble = None;
        Some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_no_room_for_is_dropped_and_counted_and_nobody_waits() {
        let queue = Queue::with_room(10);
        assert_eq!(queue.push(b"12345\n"), Pushed::Waits);
        assert_eq!(queue.push(b"12345\n"), Pushed::FirstDropped);
        assert_eq!(queue.push(b"12345\n"), Pushed::Dropped);
        assert_eq!(queue.push(b"123\n"), Pushed::Waits, "a shorter one still fits");
        let batch = queue.next();
        assert_eq!((&*batch.octets, batch.dropped), (&b"12345\n123\n"[..], None));
        // What is being written takes room too.
        assert_eq!(queue.push(b"1\n"), Pushed::Dropped);
        queue.wrote(10, 2);
        assert_eq!(queue.push(b"1\n"), Pushed::Waits);
        assert_eq!(queue.counts(), Counts { written: 2, dropped: 3 });
    }

    #[test]
    fn the_end_of_a_trouble_is_told_once_with_its_count() {
        let queue = Queue::with_room(4);
        queue.push(b"123\n");
        queue.push(b"123\n");
        queue.next();
        queue.wrote(4, 1);
        let begun = Instant::now();
        assert_eq!(queue.next().dropped, Some(1), "also when nothing more comes");
        assert!(begun.elapsed() < CALM * 3);
        queue.push(b"123\n");
        assert_eq!(queue.next().dropped, None);
    }

    #[test]
    fn the_end_does_not_wait_for_a_writer_that_hangs() {
        let queue = Queue::with_room(100);
        queue.push(b"123\n");
        assert_eq!(queue.end(Duration::from_millis(10)), Err(1));
        assert!(queue.next().last);
        assert_eq!(queue.push(b"123\n"), Pushed::FirstDropped, "it is over");
        queue.wrote(4, 1);
        queue.done();
        assert_eq!(queue.end(Duration::from_millis(10)), Ok(()));
    }
}
