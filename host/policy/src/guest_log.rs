//! Log lines of a policy, from the `log` import and its standard output: escaped, limited in rate,
//! then passed to the host's log or to the test harness.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tracing::Level;

use super::limits::Limits;
use super::metrics::{Metrics, Overrun};
use reprieve_store::clock::{Clock, SystemClock};

/// Receives a policy's log lines instead of the host's log.
pub trait Lines: Send + Sync + std::fmt::Debug {
    /// One line, already escaped.
    fn line(&self, level: Level, text: &str);
}

/// The log of one virtual server's policy, shared by its instances.
#[derive(Debug)]
pub(super) struct GuestLog {
    server: Arc<str>,
    policy: Arc<str>,
    /// Lines per second, if they go to the host's log.
    rate: u32,
    /// Bytes per line.
    pub(super) longest: usize,
    taker: Option<Arc<dyn Lines>>,
    metrics: Arc<Metrics>,
    /// The current second.
    second: AtomicU64,
    in_second: AtomicU32,
}

impl GuestLog {
    pub(super) fn new(
        server: &str,
        policy: &str,
        limits: &Limits,
        metrics: Arc<Metrics>,
        taker: Option<Arc<dyn Lines>>,
    ) -> Self {
        Self {
            server: server.into(),
            policy: policy.into(),
            rate: limits.log_rate,
            longest: limits.log_line as usize,
            taker,
            metrics,
            second: AtomicU64::new(0),
            in_second: AtomicU32::new(0),
        }
    }

    pub(super) fn line(&self, level: Level, text: &str) {
        let line = harmless(text, self.longest);
        if text.len() > self.longest {
            self.overran(Overrun::LogLine);
        }
        if let Some(taker) = &self.taker {
            taker.line(level, &line);
            return;
        }
        // The system clock: the rate limit protects this machine, also in virtual time.
        let second = SystemClock.now_ms() / 1000;
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.in_second.store(0, Ordering::Relaxed);
        }
        if self.in_second.fetch_add(1, Ordering::Relaxed) >= self.rate {
            self.drop_line();
            return;
        }
        let (server, policy) = (&*self.server, &*self.policy);
        match level {
            Level::ERROR => tracing::error!(target: "policy", server, policy, "{line}"),
            Level::WARN => tracing::warn!(target: "policy", server, policy, "{line}"),
            Level::INFO => tracing::info!(target: "policy", server, policy, "{line}"),
            _ => tracing::debug!(target: "policy", server, policy, "{line}"),
        }
    }

    pub(super) fn drop_line(&self) {
        self.overran(Overrun::LogLines);
    }

    pub(super) fn overran(&self, overrun: Overrun) {
        self.metrics.overran(&self.server, &self.policy, overrun);
    }
}

/// Truncates a line and escapes characters that could forge lines or control a terminal.
pub(super) fn harmless(text: &str, longest: usize) -> String {
    let mut cut = text.len().min(longest);
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut out = String::with_capacity(cut);
    for character in text[..cut].chars() {
        if reprieve_text::escape::is_active(character) {
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
    fn control_characters_are_escaped_and_long_lines_truncated() {
        assert_eq!(harmless("a\r\nb\u{1b}[2J", 1024), "a\\u{d}\\u{a}b\\u{1b}[2J");
        let long = harmless(&"ä".repeat(2000), 1024);
        assert_eq!(long.chars().count(), 512 + 1);
    }
}
