//! Writes down what a policy does to the store and to the log.

use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::Level;

use super::decision::LogLine;
use reprieve_store::{Access, AccessResult, Fault, Interceptor};

#[derive(Debug, Default)]
pub(super) struct Recorder {
    interference: Mutex<Option<Fault>>,
    seen: Mutex<Vec<String>>,
}

impl Recorder {
    pub(super) fn interfere_with(&self, interference: Option<Fault>) {
        *self.interference.lock() = interference;
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock())
    }
}

impl Interceptor for Recorder {
    fn inject_fault(&self, _: &Access<'_>) -> Option<Fault> {
        *self.interference.lock()
    }

    fn observe(&self, access: &Access<'_>, answer: &AccessResult) {
        self.seen.lock().push(format!("{} → {}", access_in_words(access), answer_in_words(answer)));
    }
}

fn access_in_words(access: &Access<'_>) -> String {
    let lives = |ttl: &Option<Duration>| match ttl {
        Some(ttl) => format!(" for {}s", ttl.as_secs()),
        None => String::new(),
    };
    match access {
        Access::Get { key } => format!("get {}", text(key)),
        Access::Set { key, value, ttl } => format!("set {} = {}{}", text(key), octets(value), lives(ttl)),
        Access::Add { key, value, ttl } => format!("add {} = {}{}", text(key), octets(value), lives(ttl)),
        Access::CompareAndSet { key, expected, value, ttl } => {
            format!("compare-and-set {}: {} to {}{}", text(key), octets(expected), octets(value), lives(ttl))
        }
        Access::Increment { key, by, ttl } => format!("increment {} by {by}{}", text(key), lives(ttl)),
        Access::Delete { key } => format!("delete {}", text(key)),
        Access::Usage => "usage".to_owned(),
        Access::Clear => "clear".to_owned(),
    }
}

fn answer_in_words(answer: &AccessResult) -> String {
    match answer {
        AccessResult::Value(Some(value)) => octets(value),
        AccessResult::Value(None) => "nothing".to_owned(),
        AccessResult::Done(true) => "done".to_owned(),
        AccessResult::Done(false) => "not done".to_owned(),
        AccessResult::Number(number) => number.to_string(),
        AccessResult::Refused(refused) => format!("refused: {refused}"),
        AccessResult::Unavailable => "the store cannot be reached".to_owned(),
    }
}

/// A text in quotes, cut where it is long.
pub(crate) fn text(key: &str) -> String {
    let shown: String = key.chars().take(64).collect();
    if shown.len() < key.len() {
        format!("{shown:?}… ({} octets)", key.len())
    } else {
        format!("{shown:?}")
    }
}

/// Octets as text where they are some, else in hexadecimal digits.
pub(crate) fn octets(value: &[u8]) -> String {
    const SHOWN: usize = 48;
    let readable = |text: &str| !text.chars().any(char::is_control);
    match std::str::from_utf8(value) {
        Ok(value) if readable(value) => text(value),
        _ => {
            let mut digits = "hex:".to_owned();
            for octet in value.iter().take(SHOWN) {
                let _ = write!(digits, "{octet:02x}");
            }
            if value.len() > SHOWN {
                let _ = write!(digits, "… ({} octets)", value.len());
            }
            digits
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Vec<LogLine>>);

impl Lines {
    pub(super) fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.lock())
    }
}

impl crate::Lines for Lines {
    fn line(&self, level: Level, text: &str) {
        self.0.lock().push(LogLine { level, text: text.to_owned() });
    }
}
