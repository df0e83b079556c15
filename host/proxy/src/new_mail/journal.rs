//! Follows a systemd journal for deliveries, by running `journalctl` as a child. It knows the format
//! of the files, and their rotation.
//!
//! After a restart the child begins at the entry of the remembered cursor. If that entry is no longer
//! the first, the journal was vacuumed, and deliveries may be lost.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use memchr::{memchr_iter, memrchr};
use reprieve_replay::delivery;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio_util::sync::CancellationToken;

use super::deliveries::{Backoff, Deliveries, Gap, LoggedDelivery, NotWritten, now_ms};
use super::position::PositionFile;

/// Maximum length of an entry in bytes, as JSON: a message and a few short fields.
const ENTRY_LIMIT: usize = 512 << 10;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes of the child's complaint that are logged.
const COMPLAINT_LIMIT: usize = 300;
/// Pauses before the child is started again.
const RESTART_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Pauses between attempts to apply signals.
const APPLY_PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Follows one journal.
#[derive(Debug)]
pub(crate) struct JournalFollower {
    /// None: the system's journal.
    directory: Option<PathBuf>,
    program: PathBuf,
    position_file: PositionFile,
    cursor: Option<String>,
    saved: Option<String>,
    /// The next entry must be the one at the cursor.
    is_resuming: bool,
    /// When the child was started, in milliseconds since 1970: entries from before have their own time.
    started_ms: u64,
    /// The complaint that was logged last.
    problem: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
struct Position {
    cursor: String,
}

/// An entry as `journalctl --output=json` prints it. A value that is not text is an array of bytes, and
/// one that occurs several times an array of values.
#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP", default)]
    at_us: String,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    program: serde_json::Value,
    #[serde(rename = "MESSAGE", default)]
    message: serde_json::Value,
}

/// `journalctl`, which is stopped and reaped when this is dropped.
#[derive(Debug)]
struct Journalctl {
    child: Child,
    entries: Receiver,
    complaints: Receiver,
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl JournalFollower {
    /// Follows the journal in `directory`, or that of the system. `position` is the file with the
    /// position in it, which must be in a folder that Reprieve can write to.
    pub(crate) fn new(directory: Option<PathBuf>, position: PathBuf) -> Self {
        Self {
            directory,
            program: "journalctl".into(),
            position_file: PositionFile::new(position),
            cursor: None,
            saved: None,
            is_resuming: false,
            started_ms: 0,
            problem: None,
        }
    }

    /// Follows the journal until `stop`.
    pub(crate) async fn run(mut self, deliveries: &impl Deliveries, stop: CancellationToken) {
        self.cursor = self.position_file.load::<Position>().map(|position| position.cursor);
        self.saved.clone_from(&self.cursor);
        if self.cursor.is_none() {
            deliveries.missed(Gap::NoPosition);
        }
        let mut backoff = Backoff::new(RESTART_PAUSES.0, RESTART_PAUSES.1);
        loop {
            let began = Instant::now();
            let Some(ended) = stop.run_until_cancelled(self.follow(deliveries)).await else { break };
            self.save();
            self.report(&ended, deliveries);
            if began.elapsed() > RESTART_PAUSES.1 {
                backoff.reset();
            }
            if stop.run_until_cancelled(tokio::time::sleep(backoff.pause())).await.is_none() {
                break;
            }
        }
        self.save();
    }

    /// Reads what one child prints. Returns why it ended.
    async fn follow(&mut self, deliveries: &impl Deliveries) -> String {
        self.started_ms = now_ms();
        self.is_resuming = self.cursor.is_some();
        let mut journalctl = match self.spawn() {
            Ok(journalctl) => journalctl,
            Err(error) => return format!("cannot run {}: {error}", self.program.display()),
        };
        let mut unread: Vec<u8> = Vec::new();
        let mut complaint: Vec<u8> = Vec::new();
        let mut is_in_long_entry = false;
        let (mut buffer, mut complaints) = (vec![0; BUFFER_BYTES], [0; 1024]);
        loop {
            tokio::select! {
                biased;
                read = journalctl.complaints.read(&mut complaints), if complaint.len() < COMPLAINT_LIMIT => {
                    match read {
                        // It has closed its standard error, or is about to end.
                        Ok(0) | Err(_) => complaint.resize(COMPLAINT_LIMIT, b' '),
                        Ok(bytes) => complaint.extend_from_slice(&complaints[..bytes]),
                    }
                }
                read = journalctl.entries.read(&mut buffer) => match read {
                    Ok(bytes) if bytes > 0 => unread.extend_from_slice(&buffer[..bytes]),
                    _ => return String::from_utf8_lossy(&complaint).trim().to_owned(),
                }
            }
            if let Some(at) = memrchr(b'\n', &unread) {
                let start = if std::mem::take(&mut is_in_long_entry) {
                    memchr_iter(b'\n', &unread).next().map_or(0, |at| at + 1)
                } else {
                    0
                };
                self.apply(&unread[start..=at.max(start)], deliveries).await;
                unread.drain(..=at);
            }
            if unread.len() > ENTRY_LIMIT {
                if !is_in_long_entry {
                    deliveries.missed(Gap::LineTooLong);
                }
                is_in_long_entry = true;
                unread.clear();
            }
            if self.position_file.is_due() {
                self.save();
            }
        }
    }

    fn spawn(&self) -> io::Result<Journalctl> {
        let mut command = Command::new(&self.program);
        command.args(["--follow", "--output=json", "--all", "--quiet", "--no-pager"]);
        command.arg("--output-fields=MESSAGE,SYSLOG_IDENTIFIER");
        if let Some(directory) = &self.directory {
            command.arg("--directory").arg(directory);
        }
        match &self.cursor {
            Some(cursor) => command.arg("--no-tail").arg(format!("--cursor={cursor}")),
            // The last entry so far, for its cursor.
            None => command.arg("--lines=1"),
        };
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let (Some(entries), Some(complaints)) = pipes else {
            return Err(io::Error::other("no pipes"));
        };
        Ok(Journalctl {
            child,
            entries: Receiver::from_owned_fd(entries)?,
            complaints: Receiver::from_owned_fd(complaints)?,
        })
    }

    /// Applies the signals of whole entries, and then moves the position behind them.
    async fn apply(&mut self, entries: &[u8], deliveries: &impl Deliveries) {
        let mut found = Vec::new();
        let mut cursor = None;
        for line in entries.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let entry: Entry = match serde_json::from_slice(line) {
                Ok(entry) => entry,
                Err(error) => {
                    tracing::debug!("cannot read an entry of the journal: {error}");
                    deliveries.missed(Gap::Malformed("an entry of the journal cannot be read"));
                    continue;
                }
            };
            if std::mem::take(&mut self.is_resuming) {
                if self.cursor.as_ref() == Some(&entry.cursor) {
                    continue;
                }
                deliveries.missed(Gap::Vacuumed);
            }
            match delivery::parse_message(&text(&entry.program), &text(&entry.message)) {
                Ok(Some(delivery)) => {
                    let at_ms = self.time(&entry);
                    found.push(LoggedDelivery { users: delivery.users, at_ms });
                }
                Ok(None) => {}
                Err(why) => deliveries.missed(Gap::Malformed(why)),
            }
            cursor = Some(entry.cursor);
        }
        let mut backoff = Backoff::new(APPLY_PAUSES.0, APPLY_PAUSES.1);
        while !found.is_empty() && deliveries.delivered(&found).await == Err(NotWritten) {
            tokio::time::sleep(backoff.pause()).await;
        }
        self.cursor = cursor.or_else(|| self.cursor.take());
    }

    /// Time of an entry in milliseconds since 1970.
    fn time(&self, entry: &Entry) -> u64 {
        let logged_ms = entry.at_us.parse::<u64>().ok().map(|at_us| at_us / 1000);
        logged_ms.filter(|logged_ms| *logged_ms < self.started_ms).unwrap_or_else(now_ms)
    }

    /// Logs once why the child ended, which it never should.
    fn report(&mut self, ended: &str, deliveries: &impl Deliveries) {
        // The journal is no longer the one of the cursor.
        if self.is_resuming && ended.contains("cursor") {
            self.cursor = None;
            deliveries.missed(Gap::NoPosition);
        }
        if self.is_resuming || self.cursor.is_none() {
            deliveries.missed(Gap::Unreadable);
        }
        if self.problem.as_deref() != Some(ended) {
            let reason = if ended.is_empty() { "journalctl has ended" } else { ended };
            tracing::warn!("cannot follow the journal: {reason}; it is tried again");
            self.problem = Some(ended.to_owned());
        }
    }

    /// Writes the position if it has changed.
    fn save(&mut self) {
        if self.cursor != self.saved
            && let Some(cursor) = self.cursor.clone()
            && self.position_file.save(&Position { cursor })
        {
            self.saved.clone_from(&self.cursor);
        }
    }
}

/// The text of a field.
fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) => {
            let byte = |value: &serde_json::Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
            let bytes: Option<Vec<u8>> = values.iter().map(byte).collect();
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
