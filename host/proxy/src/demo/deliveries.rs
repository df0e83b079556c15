//! Records which messages were delivered and which clients fetched them, to detect lost, duplicated
//! and changed messages.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::message::{self, Message};
use super::phase::{Phase, Route};

struct Delivery {
    user: String,
    digest: blake3::Hash,
    delivered: Instant,
    during: Phase,
    /// Fetches by client number.
    fetched: HashMap<usize, Fetch>,
}

struct Fetch {
    count: u64,
    delay: Duration,
    /// Fetched by the final check, after the measurement.
    late: bool,
}

/// All messages delivered in a demo.
pub(crate) struct Deliveries {
    /// The current phase.
    phase: Phase,
    entries: HashMap<String, Delivery>,
    /// Client numbers by user.
    clients: HashMap<String, Vec<usize>>,
}

/// Totals of deliveries and fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeliveryTotals {
    /// Number of messages delivered.
    pub delivered: u64,
    /// Expected number of fetches: one by each client of each message's user.
    pub expected: u64,
    /// Number of fetches, without repeated ones.
    pub fetched: u64,
    /// Fetches made by the final check: these messages were still waiting when the time was up.
    pub late: u64,
    /// Repeated fetches of a message by the same client.
    pub duplicated: u64,
}

impl DeliveryTotals {
    /// Number of missing fetches. After the final check, these messages are lost.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.expected - self.fetched
    }
}

impl Default for Deliveries {
    fn default() -> Self {
        Self { phase: Phase::WarmUp, entries: HashMap::new(), clients: HashMap::new() }
    }
}

impl Deliveries {
    /// Begins a phase.
    pub(crate) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Adds a client that must fetch each message to `user`.
    pub(crate) fn add_client(&mut self, user: &str, client: usize) {
        self.clients.entry(user.to_owned()).or_default().push(client);
    }

    /// Records a message just before it is delivered.
    pub(crate) fn delivered(&mut self, message: &Message, user: &str) {
        let entry = Delivery {
            user: user.to_owned(),
            digest: blake3::hash(&message.bytes),
            delivered: Instant::now(),
            during: self.phase,
            fetched: HashMap::new(),
        };
        self.entries.insert(message.message_id.clone(), entry);
    }

    /// Records that a client fetched a message.
    ///
    /// # Errors
    /// If the message is unknown, changed or for another user. Duplicates are only counted.
    pub(crate) fn fetched(&mut self, bytes: &[u8], user: &str, client: usize) -> Result<(), String> {
        let Some(id) = message::message_id(bytes) else {
            return Err("a message has no Message-ID".to_owned());
        };
        let Some(entry) = self.entries.get_mut(id) else {
            return Err(format!("message {id} was never delivered"));
        };
        if entry.user != user {
            return Err(format!("message {id} was delivered to {}", entry.user));
        }
        if entry.digest != blake3::hash(bytes) {
            return Err(format!("message {id} was changed"));
        }
        let delay = entry.delivered.elapsed();
        let late = self.phase == Phase::FinalCheck;
        entry.fetched.entry(client).or_insert(Fetch { count: 0, delay, late }).count += 1;
        Ok(())
    }

    pub(crate) fn totals(&self) -> DeliveryTotals {
        let mut totals = DeliveryTotals::default();
        for entry in self.entries.values() {
            totals.delivered += 1;
            totals.expected += self.clients.get(&entry.user).map_or(0, |clients| clients.len() as u64);
            totals.fetched += entry.fetched.len() as u64;
            totals.late += entry.fetched.values().filter(|fetch| fetch.late).count() as u64;
            totals.duplicated += entry.fetched.values().map(|fetch| fetch.count - 1).sum::<u64>();
        }
        totals
    }

    /// Delays of the messages that were delivered during a phase and fetched before the final check,
    /// sorted.
    pub(crate) fn delays(&self, during: Route) -> Vec<Duration> {
        let entries = self.entries.values().filter(|entry| entry.during == Phase::Measured(during));
        let fetches = entries.flat_map(|entry| entry.fetched.values());
        let mut delays: Vec<_> = fetches.filter(|fetch| !fetch.late).map(|fetch| fetch.delay).collect();
        delays.sort_unstable();
        delays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_duplicated_and_changed_messages_are_detected() {
        let mut deliveries = Deliveries::default();
        deliveries.add_client("anna", 0);
        deliveries.add_client("anna", 1);
        deliveries.add_client("bert", 2);
        let message = Message::generate("anna");
        deliveries.delivered(&message, "anna");
        assert_eq!(deliveries.fetched(&message.bytes, "anna", 0), Ok(()));
        assert_eq!(
            deliveries.totals(),
            DeliveryTotals { delivered: 1, expected: 2, fetched: 1, late: 0, duplicated: 0 }
        );
        assert_eq!(deliveries.fetched(&message.bytes, "anna", 0), Ok(()));
        assert_eq!(
            deliveries.totals(),
            DeliveryTotals { delivered: 1, expected: 2, fetched: 1, late: 0, duplicated: 1 }
        );
        assert_eq!(deliveries.totals().missing(), 1);

        let mut changed = message.bytes.clone();
        changed.extend_from_slice(b"\r\n");
        assert!(deliveries.fetched(&changed, "anna", 1).unwrap_err().contains("changed"));
        assert!(deliveries.fetched(&message.bytes, "bert", 2).unwrap_err().contains("to anna"));
        assert!(
            deliveries
                .fetched(&Message::generate("anna").bytes, "anna", 1)
                .unwrap_err()
                .contains("never delivered")
        );
        assert!(deliveries.fetched(b"\r\n", "anna", 1).is_err());
    }

    #[test]
    fn delays_belong_to_the_phase_of_the_delivery_and_exclude_the_final_check() {
        let mut deliveries = Deliveries::default();
        deliveries.begin(Phase::Measured(Route::Direct));
        deliveries.add_client("anna", 0);
        let message = Message::generate("anna");
        deliveries.delivered(&message, "anna");
        deliveries.begin(Phase::Measured(Route::Interval));
        deliveries.fetched(&message.bytes, "anna", 0).unwrap();
        let last = Message::generate("anna");
        deliveries.delivered(&last, "anna");
        deliveries.begin(Phase::FinalCheck);
        deliveries.fetched(&last.bytes, "anna", 0).unwrap();
        assert_eq!(deliveries.delays(Route::Direct).len(), 1);
        assert_eq!(deliveries.totals().late, 1);
        assert!(deliveries.delays(Route::Interval).is_empty());
    }
}
