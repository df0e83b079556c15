//! The host's log: lines that are gathered in memory and written by a thread of their own, so
//! that a slow terminal or journal never stalls a connection.

mod line;
mod recent;

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use line::{Look, Written};
pub use recent::{Recent, Trouble};

/// Octets that may wait to be written. What comes beyond is dropped, and counted.
const MOST_WAITING: usize = 4 << 20;
/// Room for lines that is kept for the next ones.
const ROOM: usize = 256 << 10;
/// How long the end waits for what is not written yet: whoever reads it may have stopped.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long lines are gathered before they are written.
const GATHERED_FOR: Duration = Duration::from_millis(20);

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Default)]
struct Waiting {
    octets: Vec<u8>,
    dropped: u64,
    ended: bool,
}

#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Waiting>, Condvar)>);

/// Keeps the log going. What waits is written when it is dropped, if that takes no longer than a
/// moment.
pub struct Logging {
    lines: Lines,
    recent: Recent,
    /// Nothing comes by it; it is closed when all is written.
    written: Receiver<Infallible>,
}

/// Sends the log to standard error. `level`: what to log, as `RUST_LOG` says it.
///
/// # Errors
/// Where the level cannot be read, or a log is going already.
pub fn start(format: Format, level: &str) -> anyhow::Result<Logging> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        anyhow::anyhow!("--log-level: {error}; an example is \"info\" or \"warn,session=info\"")
    })?;
    let lines = Lines::default();
    let look = match format {
        Format::Human if io::stderr().is_terminal() => Look::Coloured,
        Format::Human => Look::Plain,
        Format::Json => Look::Json,
    };
    let written = Written { look, lines: lines.clone() };
    let recent = Recent::default();
    let log = tracing_subscriber::registry().with(filter).with(written).with(recent.clone());
    log.try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    let (writing, written) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("log".to_owned()).spawn({
        let lines = lines.clone();
        move || {
            lines.write_until_ended();
            drop(writing);
        }
    })?;
    Ok(Logging { lines, recent, written })
}

impl Logging {
    /// The last warnings and errors.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.0.0.lock().ended = true;
        self.lines.0.1.notify_all();
        let _ = self.written.recv_timeout(LAST_LINES);
    }
}

impl Lines {
    fn write_until_ended(&self) {
        let (waiting, changed) = &*self.0;
        let mut octets = Vec::new();
        loop {
            let mut guard = waiting.lock();
            while guard.octets.is_empty() && !guard.ended {
                changed.wait(&mut guard);
            }
            if !guard.ended {
                // Many lines in one write.
                changed.wait_for(&mut guard, GATHERED_FOR);
            }
            // What was written last time is the room for what comes next.
            std::mem::swap(&mut guard.octets, &mut octets);
            let dropped = std::mem::take(&mut guard.dropped);
            let ended = guard.ended;
            drop(guard);
            let mut stderr = io::stderr().lock();
            let _ = stderr.write_all(&octets);
            if dropped > 0 {
                let _ = writeln!(
                    stderr,
                    "log: {dropped} lines were dropped: they came faster than they could be written"
                );
            }
            if ended {
                return;
            }
            octets.clear();
            octets.shrink_to(ROOM);
        }
    }

    /// Adds a line, its end included.
    fn add(&self, line: &str) {
        let (waiting, changed) = &*self.0;
        let mut guard = waiting.lock();
        if guard.octets.len() + line.len() > MOST_WAITING {
            guard.dropped += 1;
            return;
        }
        let first = guard.octets.is_empty();
        guard.octets.extend_from_slice(line.as_bytes());
        drop(guard);
        if first {
            changed.notify_one();
        }
    }
}
