//! The decision log: one record per session, without secrets, which never delays a session.

mod names;
mod output;
mod records;
mod to_scenario;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::until;

/// A temporary folder with a decision log.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("decisions.jsonl")
    }

    /// The key `decision-log` of the configuration, with additional settings.
    fn section(&self, more: &str) -> String {
        format!("decision-log = {{ path = {:?}{more} }}", self.path())
    }

    /// Waits for this many records. A line counts when its end is written: a read can come in the
    /// middle of a write.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<Value> {
        until("the lines are written", || text_of(&self.path()).matches('\n').count() >= count);
        let lines: Vec<_> = parsed(&text_of(&self.path()));
        assert_eq!(lines.len(), count);
        lines
    }
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

/// Some members of a record, by JSON pointer.
fn some(value: &Value, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| value.pointer(key).cloned().unwrap_or(Value::Null)).collect()
}
