//! The writer's thread. If lines cannot be written, it logs that, keeps them and retries, and logs
//! when they can be written again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::queue::Queue;

/// Pause before a retry.
const AGAIN: Duration = Duration::from_secs(1);

/// A target of lines.
pub(super) trait Sink: Send {
    /// Writes the rest of a batch from `done`, and advances `done`. It may move back to the beginning
    /// of a line.
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()>;
    /// Reopens the target, if it has a path.
    fn reopen(&mut self);
    /// The name for log lines.
    fn name(&self) -> String;
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    sink: Box<dyn Sink>,
}

impl Writer {
    /// Starts the thread, which ends when the queue is closed.
    pub(super) fn start(queue: Arc<Queue>, sink: Box<dyn Sink>) -> io::Result<()> {
        let mut writer = Self { queue, sink };
        std::thread::Builder::new().name("decision-log".to_owned()).spawn(move || writer.run()).map(drop)
    }

    fn run(&mut self) {
        loop {
            let batch = self.queue.next();
            if batch.reopen {
                self.sink.reopen();
            }
            if let Some(dropped) = batch.dropped {
                tracing::warn!(target: "decision-log", dropped, "the decision log continues; {dropped} lines were dropped");
            }
            self.write(&batch.bytes);
            if batch.last {
                self.queue.done();
                return;
            }
        }
    }

    /// Writes a batch, retrying until it succeeds; the last batch is tried once.
    fn write(&mut self, batch: &[u8]) {
        let mut done = 0;
        let mut troubled = false;
        let mut last_try = false;
        while done < batch.len() {
            let before = done;
            let result = self.sink.write(batch, &mut done);
            if done > before {
                self.queue.wrote((done - before) as u64, lines(&batch[before..done]));
            }
            let Err(why) = result else { continue };
            if !troubled {
                troubled = true;
                tracing::error!(
                    target: "decision-log",
                    "the decision log cannot be written to {}: {why}; lines wait, and are dropped when too many \
                     do; sessions continue",
                    self.sink.name()
                );
            }
            if last_try {
                self.queue.gave_up(lines(&batch[done..]));
                return;
            }
            let (reopen, ended) = self.queue.pause(AGAIN);
            if reopen {
                self.sink.reopen();
            }
            last_try = ended;
        }
        if troubled {
            tracing::warn!(target: "decision-log", "the decision log is written to {} again", self.sink.name());
        }
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::super::queue::Counts;
    use super::*;

    /// A disk that is full for some writes and takes a few bytes per write.
    struct Full {
        refusals: usize,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Sink for Full {
        fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
            if self.refusals > 0 {
                self.refusals -= 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let end = batch.len().min(*done + 5);
            self.written.lock().extend_from_slice(&batch[*done..end]);
            *done = end;
            Ok(())
        }

        fn reopen(&mut self) {
            self.refusals = 0;
        }

        fn name(&self) -> String {
            "a small disk".to_owned()
        }
    }

    fn writing(refusals: usize) -> (Arc<Queue>, Arc<Mutex<Vec<u8>>>) {
        let (queue, written) = (Arc::new(Queue::with_room(1 << 20)), Arc::<Mutex<Vec<u8>>>::default());
        Writer::start(queue.clone(), Box::new(Full { refusals, written: written.clone() })).unwrap();
        (queue, written)
    }

    #[test]
    fn lines_are_kept_while_the_disk_is_full() {
        let (queue, written) = writing(usize::MAX);
        for _ in 0..100 {
            queue.push(b"one line\n");
        }
        queue.reopen();
        queue.end(Duration::from_secs(60)).unwrap();
        assert_eq!(*written.lock(), b"one line\n".repeat(100));
        assert_eq!(queue.counts(), Counts { written: 100, dropped: 0 });
    }

    #[test]
    fn lines_that_cannot_be_written_at_the_end_are_counted() {
        let (queue, written) = writing(usize::MAX);
        for _ in 0..3 {
            queue.push(b"one line\n");
        }
        assert_eq!(queue.end(Duration::from_secs(60)), Err(3));
        assert_eq!(queue.counts(), Counts { written: 0, dropped: 3 });
        assert!(written.lock().is_empty());
    }

    #[test]
    fn lines_of_many_threads_arrive_whole_and_each_once() {
        let (queue, written) = writing(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let queue = &queue;
                scope.spawn(move || {
                    for number in 0..1000 {
                        queue.push(format!("{thread} {number}\n").as_bytes());
                    }
                });
            }
        });
        queue.end(Duration::from_secs(60)).unwrap();
        let written = String::from_utf8(written.lock().clone()).unwrap();
        let lines: std::collections::BTreeSet<_> = written.lines().collect();
        assert_eq!((lines.len(), written.lines().count()), (4000, 4000));
    }
}
