//! What has happened, in order: as a hash, and as text if somebody wants to read it.

use std::fmt::{Display, Write as _};

/// The events of a simulation.
#[derive(Debug)]
pub(super) struct Trace {
    hash: u64,
    events: u64,
    text: Option<String>,
    line: String,
}

impl Trace {
    pub fn new(keeps_text: bool) -> Self {
        let text = keeps_text.then(String::new);
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, text, line: String::new() }
    }

    /// `at_ms`: the virtual time.
    pub fn note(&mut self, at_ms: u64, event: &dyn Display) {
        self.line.clear();
        let _ = writeln!(self.line, "{at_ms} {event}");
        // FNV-1a.
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.events += 1;
        if let Some(text) = &mut self.text {
            text.push_str(&self.line);
        }
    }

    /// The same for two runs in which the same has happened.
    pub fn fingerprint(&self) -> (u64, u64) {
        (self.hash, self.events)
    }

    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}
