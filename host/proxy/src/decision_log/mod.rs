//! The decision log: one line per session with everything that its decisions were based on, and
//! nothing secret. Sessions hand over their [`SessionEvents`]; a thread of its own writes the lines,
//! so that a slow disk never stalls a connection. It knows neither client sockets nor POP3, nor how
//! verdicts are made.

mod file;
mod journald;
mod line;
mod names;
mod queue;
mod session_events;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use queue::Counts;
pub use session_events::{Decision, EndedSession, ObservedOutcome, SessionEvents, Upgrade, next_decision};

use crate::config::{DecisionLogConfig, LogTarget, LogUsers};
use file::LogFile;
use journald::Journald;
use names::Names;
use queue::{Pushed, Queue};
use reprieve_secrets::secret_file;
use writer::{Sink, Writer};

/// Why the decision log cannot be opened, in one sentence for the administrator.
#[derive(Debug, thiserror::Error)]
#[error("{location}: `decision-log.{key}`: {why}")]
pub struct DecisionLogError {
    /// File and line of the configuration.
    location: String,
    key: &'static str,
    why: String,
}

/// The key of hashed user names, which perhaps only root can read.
#[derive(Debug)]
pub struct DecisionLogKeys(Names);

impl DecisionLogKeys {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// Which file cannot be used and why, with its line in the configuration.
    pub fn read(config: &DecisionLogConfig) -> Result<Self, DecisionLogError> {
        Ok(Self(match &config.users {
            LogUsers::Plain => Names::Plain,
            LogUsers::Hashed { key_file } => {
                let secret = secret_file::long_secret(key_file).map_err(|why| DecisionLogError {
                    location: config.location.to_string(),
                    key: "hash-key-file",
                    why,
                })?;
                Names::hashed(&secret)
            }
        }))
    }
}

/// A decision log that is open but not started. If it is dropped, it leaves no empty file behind.
#[derive(Debug)]
pub struct Opened {
    config: DecisionLogConfig,
    names: Names,
    target: Target,
}

#[derive(Debug)]
enum Target {
    File(LogFile),
    Journald(Journald),
}

impl Opened {
    /// Opens the target, as the user who will write to it.
    ///
    /// # Errors
    /// Which file cannot be used and why, with its line in the configuration.
    pub fn open(config: &DecisionLogConfig, keys: DecisionLogKeys) -> Result<Self, DecisionLogError> {
        let fail = |key, why| DecisionLogError { location: config.location.to_string(), key, why };
        let DecisionLogKeys(names) = keys;
        let target = match &config.target {
            LogTarget::File { path, rotation } => {
                let file = LogFile::open(path, *rotation).map_err(|why| fail("path", why))?;
                Target::File(file)
            }
            LogTarget::Journald { socket } => {
                Target::Journald(Journald::open(socket).map_err(|why| fail("journald", why))?)
            }
        };
        Ok(Self { config: config.clone(), names, target })
    }

    /// Starts the writer.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn start(self) -> Result<Arc<DecisionLog>, DecisionLogError> {
        let fail = |key, why| DecisionLogError { location: self.config.location.to_string(), key, why };
        let sink: Box<dyn Sink> = match self.target {
            Target::File(file) => Box::new(file.kept()),
            Target::Journald(journald) => Box::new(journald),
        };
        let queue = Arc::new(Queue::with_room(self.config.buffer));
        Writer::start(queue.clone(), sink).map_err(|error| fail("path", error.to_string()))?;
        Ok(Arc::new(DecisionLog { names: self.names, queue }))
    }
}

/// A running decision log.
#[derive(Debug)]
pub struct DecisionLog {
    names: Names,
    queue: Arc<Queue>,
}

impl DecisionLog {
    /// Queues a session's line, or drops it if the buffer is full. Never waits.
    pub fn tell(&self, session: &EndedSession<'_>, events: Option<&SessionEvents>) {
        if let Pushed::FirstDropped = self.queue.push(&line::line(session, events, &self.names)) {
            tracing::warn!(
                target: "decision-log",
                "the decision log drops lines: they arrive faster than they can be written, or the target \
                 cannot be written to; sessions are not affected"
            );
        }
    }

    /// Reopens the file, after it was renamed for rotation.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Flushes and stops the writer, waiting at most `within`. Logs how many lines could not be
    /// written.
    pub fn close(&self, within: Duration) {
        if let Err(lost) = self.queue.end(within) {
            tracing::error!(target: "decision-log", lost, "the last {lost} lines of the decision log could not be written");
        }
    }

    /// Lines written and dropped so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.queue.counts()
    }
}

/// The directory of a file.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
