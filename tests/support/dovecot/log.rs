//! Dovecot's log, read as it is written.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::DEADLINE;

/// The log so far, and a way to wait for more.
#[derive(Default)]
pub(super) struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Starts a thread that reads the log to its end.
    pub(super) fn follow(log: &Arc<Self>, source: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = Arc::clone(log);
        thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                log.lock().lines.push(line);
                log.changed.notify_all();
            }
            log.lock().ended = true;
            log.changed.notify_all();
        })
    }

    /// Waits for this many matching lines; false if the time is up or the log ends first.
    pub(super) fn wait_for(&self, time: Duration, count: usize, wanted: impl Fn(&str) -> bool) -> bool {
        let enough = |state: &LogState| state.lines.iter().filter(|line| wanted(line)).count() >= count;
        let waiting = |state: &mut LogState| !enough(state) && !state.ended;
        let (state, _) = self.changed.wait_timeout_while(self.lock(), time, waiting).expect("the log");
        enough(&state)
    }

    /// Waits for the end of the log; false if the deadline passes first.
    pub(super) fn wait_for_end(&self) -> bool {
        let (state, _) =
            self.changed.wait_timeout_while(self.lock(), DEADLINE, |state| !state.ended).expect("the log");
        state.ended
    }

    /// Number of matching lines.
    pub(super) fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.lock().lines.iter().filter(|line| wanted(line)).count()
    }

    /// The whole log so far.
    pub(super) fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().expect("the log")
    }
}
