//! Lines that a policy writes, by the `log` import or to its standard output: made harmless
//! and limited in rate, then handed to the host's log, or to whoever tries the policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tracing::Level;

use super::limits::Limits;
use super::metrics::{Metrics, Overrun};
use reprieve_store::clock::{Clock, SystemClock};

/// Takes the lines that a policy writes, instead of the host's log.
pub trait Lines: Send + Sync + std::fmt::Debug {
    /// One line, harmless already.
    fn line(&self, level: Level, text: &str);
}

/// Lines of one virtual server's policy, on all its instances.
#[derive(Debug)]
pub(super) struct GuestLog {
    server: Arc<str>,
    policy: Arc<str>,
    /// Lines a second, where they go to the host's log.
    rate: u32,
    /// Octets of a line.
    pub(super) longest: usize,
    taker: Option<Arc<dyn Lines>>,
    metrics: Arc<Metrics>,
    /// The second that is being counted.
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
        // The machine's own clock: the rate protects this machine, whatever time a test plays.
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

/// Cuts a line to its limit and escapes what could forge another line or move a terminal.
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
    fn control_characters_are_escaped_and_long_lines_cut() {
        assert_eq!(harmless("a\r\nb\u{1b}[2J", 1024), "a\\u{d}\\u{a}b\\u{1b}[2J");
        let long = harmless(&"ä".repeat(2000), 1024);
        assert_eq!(long.chars().count(), 512 + 1);
    }
}
