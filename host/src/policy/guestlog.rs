//! Lines that a policy writes, by the `log` import or to its standard output: made harmless
//! and limited in rate, then handed to the host's log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tracing::Level;

use super::limits;
use crate::clock::{Clock, SystemClock};

/// Lines of one virtual server's policy, on all its instances.
#[derive(Debug)]
pub(super) struct GuestLog {
    server: Arc<str>,
    /// The second that is being counted.
    second: AtomicU64,
    in_second: AtomicU32,
    dropped: AtomicU64,
}

impl GuestLog {
    pub(super) fn new(server: Arc<str>) -> Self {
        Self { server, second: AtomicU64::new(0), in_second: AtomicU32::new(0), dropped: AtomicU64::new(0) }
    }

    pub(super) fn line(&self, level: Level, text: &str) {
        // The machine's own clock: the rate protects this machine, whatever time a test plays.
        let second = SystemClock.now_ms() / 1000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.in_second.store(0, Ordering::Relaxed);
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(target: "policy", server = &*self.server, dropped, "log lines were dropped");
            }
        }
        if self.in_second.fetch_add(1, Ordering::Relaxed) >= limits::LOG_LINES_A_SECOND {
            self.drop_line();
            return;
        }
        let text = harmless(text);
        let server = &*self.server;
        match level {
            Level::ERROR => tracing::error!(target: "policy", server, "{text}"),
            Level::WARN => tracing::warn!(target: "policy", server, "{text}"),
            Level::INFO => tracing::info!(target: "policy", server, "{text}"),
            _ => tracing::debug!(target: "policy", server, "{text}"),
        }
    }

    pub(super) fn drop_line(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// Cuts a line to its limit and escapes what could forge another line or move a terminal.
pub(super) fn harmless(text: &str) -> String {
    let mut cut = text.len().min(limits::LOG_LINE);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut out = String::with_capacity(cut);
    for character in text[..cut].chars() {
        if character.is_control() || ('\u{202A}'..='\u{2069}').contains(&character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    if cut < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_long_lines_cut() {
        assert_eq!(harmless("a\r\nb\u{1b}[2J"), "a\\u{d}\\u{a}b\\u{1b}[2J");
        let long = harmless(&"ä".repeat(2000));
        assert_eq!(long.chars().count(), limits::LOG_LINE / 2 + 1);
    }
}
