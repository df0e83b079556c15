//! The decision log: one line a session, with all that its decisions needed and nothing secret.
//! Sessions hand over a [`Story`]; a thread of the journal's own writes it, so that a slow disk
//! never stalls a connection. Nothing here knows sockets of clients, POP3, or how verdicts are
//! made.

mod file;
mod journald;
mod line;
mod names;
mod queue;
mod story;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use queue::Counts;
pub use story::{Became, Decision, Ending, Session, Story, Upgrade, next_decision};

use crate::config::{DecisionLogConfig, LogTarget, LogUsers};
use file::LogFile;
use journald::Journald;
use names::Names;
use queue::{Pushed, Queue};
use reprieve_secrets::secret_file;
use writer::{Sink, Writer};

/// Why the decision log cannot be begun: one sentence for the administrator.
#[derive(Debug, thiserror::Error)]
#[error("{location}: `decision-log.{key}`: {why}")]
pub struct JournalError {
    /// File and line of the configuration.
    location: String,
    key: &'static str,
    why: String,
}

/// What a decision log needs and perhaps only root can read: the key of hashed user names.
#[derive(Debug)]
pub struct Keys(Names);

impl Keys {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// Which file cannot be used, and why, with its place in the configuration.
    pub fn read(config: &DecisionLogConfig) -> Result<Self, JournalError> {
        Ok(Self(match &config.users {
            LogUsers::Plain => Names::Plain,
            LogUsers::Hashed { key_file } => {
                let secret = secret_file::long_secret(key_file).map_err(|why| JournalError {
                    location: config.location.to_string(),
                    key: "hash-key-file",
                    why,
                })?;
                Names::hashed(&secret)
            }
        }))
    }
}

/// A decision log that is open, and not yet written to. What was opened for nothing leaves no
/// empty file behind.
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
    /// Opens what the configuration names, as the user who writes it.
    ///
    /// # Errors
    /// Which file cannot be used, and why, with its place in the configuration.
    pub fn open(config: &DecisionLogConfig, keys: Keys) -> Result<Self, JournalError> {
        let fail = |key, why| JournalError { location: config.location.to_string(), key, why };
        let Keys(names) = keys;
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

    /// Begins to write.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn start(self) -> Result<Arc<Journal>, JournalError> {
        let fail = |key, why| JournalError { location: self.config.location.to_string(), key, why };
        let sink: Box<dyn Sink> = match self.target {
            Target::File(file) => Box::new(file.kept()),
            Target::Journald(journald) => Box::new(journald),
        };
        let queue = Arc::new(Queue::with_room(self.config.buffer));
        Writer::start(queue.clone(), sink).map_err(|error| fail("path", error.to_string()))?;
        Ok(Arc::new(Journal { names: self.names, queue }))
    }
}

/// A decision log that is written to.
#[derive(Debug)]
pub struct Journal {
    names: Names,
    queue: Arc<Queue>,
}

impl Journal {
    /// Has a session written, if there is room for it. It does not wait.
    pub fn tell(&self, session: &Session<'_>, story: Option<&Story>) {
        if let Pushed::FirstDropped = self.queue.push(&line::line(session, story, &self.names)) {
            tracing::warn!(
                target: "decision-log",
                "the decision log drops lines: they come faster than they can be written, or they cannot be \
                 written; sessions go on"
            );
        }
    }

    /// Opens the file again, which somebody else may have renamed.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Has all that waits written, and ends; it waits for that, for so long at the most. What
    /// could not be written is told to the log, with its count.
    pub fn close(&self, within: Duration) {
        if let Err(lost) = self.queue.end(within) {
            tracing::error!(target: "decision-log", lost, "the last {lost} lines of the decision log could not be written");
        }
    }

    /// What has become of lines until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.queue.counts()
    }
}

/// The folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
