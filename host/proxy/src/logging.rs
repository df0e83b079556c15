//! The log on standard error. Lines are collected in memory and written by a separate thread, so that
//! a slow terminal or journal never delays a connection.

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

use line::{LineLayer, Style};
pub use recent::{Recent, RecentLine};

/// Maximum size in bytes of lines that wait to be written. Further lines are dropped and counted.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Capacity in bytes of the buffer that is kept after a write.
const KEPT_CAPACITY: usize = 256 << 10;
/// How long to wait at the end for the last lines to be written: standard error may be blocked.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long lines are collected for one write.
const BATCH_TIME: Duration = Duration::from_millis(20);

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// Lines that wait to be written.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Number of lines that were dropped since the last write.
    dropped: u64,
    is_closed: bool,
}

#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Waiting>, Condvar)>);

/// The running log. Dropping it writes the waiting lines, for at most two seconds.
pub struct Logging {
    lines: Lines,
    recent: Recent,
    /// Disconnected when the last line is written.
    finished: Receiver<Infallible>,
}

/// Starts the log. `level` is a filter in the syntax of `RUST_LOG`.
///
/// # Errors
/// If the filter is invalid, or the log was started already.
pub fn start(format: Format, level: &str) -> anyhow::Result<Logging> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        anyhow::anyhow!("--log-level: {error}; an example is \"info\" or \"warn,session=info\"")
    })?;
    let lines = Lines::default();
    let style = match format {
        Format::Human if io::stderr().is_terminal() => Style::Coloured,
        Format::Human => Style::Plain,
        Format::Json => Style::Json,
    };
    let line_layer = LineLayer { style, lines: lines.clone() };
    let recent = Recent::default();
    let log = tracing_subscriber::registry().with(filter).with(line_layer).with(recent.clone());
    log.try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    let (running, finished) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("log".to_owned()).spawn({
        let lines = lines.clone();
        move || {
            lines.write_until_closed();
            drop(running);
        }
    })?;
    Ok(Logging { lines, recent, finished })
}

impl Logging {
    /// The most recent warnings and errors.
    #[must_use]
    pub fn recent(&self) -> &Recent {
        &self.recent
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.0.0.lock().is_closed = true;
        self.lines.0.1.notify_all();
        let _ = self.finished.recv_timeout(SHUTDOWN_TIMEOUT);
    }
}

impl Lines {
    fn write_until_closed(&self) {
        let (waiting, changed) = &*self.0;
        let mut bytes = Vec::new();
        loop {
            let mut guard = waiting.lock();
            while guard.bytes.is_empty() && !guard.is_closed {
                changed.wait(&mut guard);
            }
            if !guard.is_closed {
                // Collect lines for one write.
                changed.wait_for(&mut guard, BATCH_TIME);
            }
            // The buffer of the previous write becomes the buffer of the next lines.
            std::mem::swap(&mut guard.bytes, &mut bytes);
            let dropped = std::mem::take(&mut guard.dropped);
            let is_closed = guard.is_closed;
            drop(guard);
            let mut stderr = io::stderr().lock();
            let _ = stderr.write_all(&bytes);
            if dropped > 0 {
                let _ = writeln!(
                    stderr,
                    "log: {dropped} lines were dropped: they came faster than they could be written"
                );
            }
            if is_closed {
                return;
            }
            bytes.clear();
            bytes.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Adds a line, which includes its line end.
    fn add(&self, line: &str) {
        let (waiting, changed) = &*self.0;
        let mut guard = waiting.lock();
        if guard.bytes.len() + line.len() > MAX_WAITING_BYTES {
            guard.dropped += 1;
            return;
        }
        let is_first = guard.bytes.is_empty();
        guard.bytes.extend_from_slice(line.as_bytes());
        drop(guard);
        if is_first {
            changed.notify_one();
        }
    }
}
