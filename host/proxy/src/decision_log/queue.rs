//! The queue of lines between the worker threads and the writer. Its size in bytes is limited; lines
//! beyond it are dropped and counted, so that no worker waits.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};

/// How long lines are gathered before a write, so that one write takes many.
const GATHERED_FOR: Duration = Duration::from_millis(50);
/// Time without dropped lines after which the end of the problem is logged.
const CALM: Duration = Duration::from_secs(2);

/// Lines written and dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines written.
    pub written: u64,
    /// Lines dropped because the queue was full or they could not be written.
    pub dropped: u64,
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// The line is queued.
    Waits,
    /// The line was dropped, the first in a while.
    FirstDropped,
    /// The line was dropped, like others before it.
    Dropped,
}

/// Lines to write now.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) reopen: bool,
    /// It is the last batch.
    pub(super) last: bool,
    /// Lines dropped in a problem that has just ended.
    pub(super) dropped: Option<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Bytes of the batch being written.
    in_progress: u64,
    /// Lines dropped since that was logged, and when the last one was.
    trouble: Option<(u64, Instant)>,
    counts: Counts,
    reopen: bool,
    ended: bool,
    /// The writer has stopped.
    done: bool,
    /// Lines accepted that are neither written nor given up.
    pending: u64,
    lost_at_end: u64,
}

#[derive(Debug)]
pub(super) struct Queue {
    /// Size limit in bytes.
    room: u64,
    waiting: Mutex<Waiting>,
    /// Signals the writer.
    arrived: Condvar,
    /// Signals that the writer has stopped.
    finished: Condvar,
}

impl Queue {
    pub(super) fn with_room(room: u64) -> Self {
        Self { room, waiting: Mutex::default(), arrived: Condvar::new(), finished: Condvar::new() }
    }

    /// Queues a line, which includes its line end.
    pub(super) fn push(&self, line: &[u8]) -> Pushed {
        let mut waiting = self.waiting.lock();
        let taken = waiting.bytes.len() as u64 + waiting.in_progress;
        if waiting.ended || taken + line.len() as u64 > self.room {
            waiting.counts.dropped += 1;
            let before = waiting.trouble.map(|(count, _)| count);
            waiting.trouble = Some((before.unwrap_or(0) + 1, Instant::now()));
            return if before.is_none() { Pushed::FirstDropped } else { Pushed::Dropped };
        }
        let before = waiting.bytes.len() as u64;
        waiting.bytes.extend_from_slice(line);
        waiting.pending += 1;
        let half = self.room / 2;
        let wakes = before == 0 || before < half && waiting.bytes.len() as u64 >= half;
        drop(waiting);
        if wakes {
            self.arrived.notify_one();
        }
        Pushed::Waits
    }

    /// Waits for the writer's next batch.
    pub(super) fn next(&self) -> Batch {
        let mut waiting = self.waiting.lock();
        waiting.in_progress = 0;
        while waiting.bytes.is_empty() && !waiting.reopen && !waiting.ended {
            if let Some(dropped) = waiting.calm() {
                return Batch { dropped: Some(dropped), ..Batch::default() };
            }
            match waiting.trouble {
                Some(_) => drop(self.arrived.wait_for(&mut waiting, CALM)),
                None => self.arrived.wait(&mut waiting),
            }
        }
        let gather_until = Instant::now() + GATHERED_FOR;
        while !waiting.reopen && !waiting.ended && (waiting.bytes.len() as u64) < self.room / 2 {
            if self.arrived.wait_until(&mut waiting, gather_until).timed_out() {
                break;
            }
        }
        let bytes = std::mem::take(&mut waiting.bytes);
        waiting.in_progress = bytes.len() as u64;
        let reopen = std::mem::take(&mut waiting.reopen);
        Batch { bytes, reopen, last: waiting.ended, dropped: waiting.calm() }
    }

    /// Waits before the writer tries again, or until something happens. Returns whether to reopen the
    /// file, and whether this is the end.
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

    /// Records bytes that were written.
    pub(super) fn wrote(&self, bytes: u64, lines: u64) {
        let mut waiting = self.waiting.lock();
        waiting.in_progress = waiting.in_progress.saturating_sub(bytes);
        waiting.counts.written += lines;
        waiting.pending = waiting.pending.saturating_sub(lines);
    }

    /// Records lines that the writer gives up.
    pub(super) fn gave_up(&self, lines: u64) {
        let mut waiting = self.waiting.lock();
        waiting.in_progress = 0;
        waiting.counts.dropped += lines;
        waiting.pending = waiting.pending.saturating_sub(lines);
        waiting.lost_at_end += lines;
    }

    /// Signals that the writer has stopped.
    pub(super) fn done(&self) {
        self.waiting.lock().done = true;
        self.finished.notify_all();
    }

    /// Makes the writer reopen its file.
    pub(super) fn reopen(&self) {
        self.waiting.lock().reopen = true;
        self.arrived.notify_one();
    }

    /// Closes the queue and waits, at most `within`, until it is written. The error is the number of
    /// lines that could not be written.
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
    /// Lines dropped in a problem that has ended.
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
    fn lines_beyond_the_limit_are_dropped_and_counted_without_waiting() {
        let queue = Queue::with_room(10);
        assert_eq!(queue.push(b"12345\n"), Pushed::Waits);
        assert_eq!(queue.push(b"12345\n"), Pushed::FirstDropped);
        assert_eq!(queue.push(b"12345\n"), Pushed::Dropped);
        assert_eq!(queue.push(b"123\n"), Pushed::Waits, "a shorter one still fits");
        let batch = queue.next();
        assert_eq!((&*batch.bytes, batch.dropped), (&b"12345\n123\n"[..], None));
        // The batch being written counts towards the limit.
        assert_eq!(queue.push(b"1\n"), Pushed::Dropped);
        queue.wrote(10, 2);
        assert_eq!(queue.push(b"1\n"), Pushed::Waits);
        assert_eq!(queue.counts(), Counts { written: 2, dropped: 3 });
    }

    #[test]
    fn the_end_of_a_problem_is_reported_once_with_its_count() {
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
    fn closing_does_not_wait_for_a_hanging_writer() {
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
