//! Who was sent what, and who got it: the ledger that tells whether a message was lost,
//! doubled or changed on its way.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::letter::{self, Letter};
use super::phase::Phase;

struct Entry {
    user: String,
    digest: blake3::Hash,
    delivered: Instant,
    during: Phase,
    /// The clients that fetched it, by their numbers, and what they waited.
    fetched: HashMap<usize, Fetch>,
}

struct Fetch {
    times: u64,
    waited: Duration,
    /// Fetched by the closing check, because the time was up.
    late: bool,
}

/// All messages of a demo.
pub(crate) struct Ledger {
    /// The phase that the demo is in.
    phase: Phase,
    entries: HashMap<String, Entry>,
    /// The clients of each user, by their numbers.
    clients: HashMap<String, Vec<usize>>,
}

/// What the ledger comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages delivered.
    pub delivered: u64,
    /// Fetches that there should be in the end: one by each client of the message's user.
    pub expected: u64,
    /// Fetches so far, repeated ones not counted.
    pub fetched: u64,
    /// Of the fetches, those by the closing check: the messages waited when the time was up.
    pub late: u64,
    /// Fetches of a message that the client had fetched before.
    pub doubled: u64,
}

impl Tally {
    /// Fetches that are missing: messages on their way, or lost if nobody polls any more.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.expected - self.fetched
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { phase: Phase::Arrival, entries: HashMap::new(), clients: HashMap::new() }
    }
}

impl Ledger {
    /// Notes that another phase begins.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Names a client that is to get each message to `user`.
    pub(crate) fn client(&mut self, user: &str, client: usize) {
        self.clients.entry(user.to_owned()).or_default().push(client);
    }

    /// Notes a message just before it is delivered.
    pub(crate) fn sent(&mut self, letter: &Letter, user: &str) {
        let entry = Entry {
            user: user.to_owned(),
            digest: blake3::hash(&letter.octets),
            delivered: Instant::now(),
            during: self.phase,
            fetched: HashMap::new(),
        };
        self.entries.insert(letter.message_id.clone(), entry);
    }

    /// Notes that a client fetched a message.
    ///
    /// # Errors
    /// Says what is wrong with the message, unless it is that it came twice: that is counted.
    pub(crate) fn fetched(&mut self, octets: &[u8], user: &str, client: usize) -> Result<(), String> {
        let Some(id) = letter::message_id(octets) else { return Err("a message without its id".to_owned()) };
        let Some(entry) = self.entries.get_mut(id) else {
            return Err(format!("message {id} was never sent"));
        };
        if entry.user != user {
            return Err(format!("message {id} is for {}", entry.user));
        }
        if entry.digest != blake3::hash(octets) {
            return Err(format!("message {id} was changed on its way"));
        }
        let waited = entry.delivered.elapsed();
        let late = self.phase == Phase::Closing;
        entry.fetched.entry(client).or_insert(Fetch { times: 0, waited, late }).times += 1;
        Ok(())
    }

    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for entry in self.entries.values() {
            tally.delivered += 1;
            tally.expected += self.clients.get(&entry.user).map_or(0, |clients| clients.len() as u64);
            tally.fetched += entry.fetched.len() as u64;
            tally.late += entry.fetched.values().filter(|fetch| fetch.late).count() as u64;
            tally.doubled += entry.fetched.values().map(|fetch| fetch.times - 1).sum::<u64>();
        }
        tally
    }

    /// How long the messages waited that were delivered during a phase and fetched before the
    /// closing, shortest first.
    pub(crate) fn waits(&self, during: Phase) -> Vec<Duration> {
        let entries = self.entries.values().filter(|entry| entry.during == during);
        let fetches = entries.flat_map(|entry| entry.fetched.values());
        let mut waits: Vec<_> = fetches.filter(|fetch| !fetch.late).map(|fetch| fetch.waited).collect();
        waits.sort_unstable();
        waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_doubled_and_changed_messages_are_told_apart() {
        let mut ledger = Ledger::default();
        ledger.client("anna", 0);
        ledger.client("anna", 1);
        ledger.client("bert", 2);
        let letter = Letter::write("anna");
        ledger.sent(&letter, "anna");
        assert_eq!(ledger.fetched(&letter.octets, "anna", 0), Ok(()));
        assert_eq!(ledger.tally(), Tally { delivered: 1, expected: 2, fetched: 1, late: 0, doubled: 0 });
        assert_eq!(ledger.fetched(&letter.octets, "anna", 0), Ok(()));
        assert_eq!(ledger.tally(), Tally { delivered: 1, expected: 2, fetched: 1, late: 0, doubled: 1 });
        assert_eq!(ledger.tally().missing(), 1);

        let mut changed = letter.octets.clone();
        changed.extend_from_slice(b"\r\n");
        assert!(ledger.fetched(&changed, "anna", 1).unwrap_err().contains("changed"));
        assert!(ledger.fetched(&letter.octets, "bert", 2).unwrap_err().contains("for anna"));
        assert!(ledger.fetched(&Letter::write("anna").octets, "anna", 1).unwrap_err().contains("never sent"));
        assert!(ledger.fetched(b"\r\n", "anna", 1).is_err());
    }

    #[test]
    fn waits_belong_to_the_phase_of_the_delivery_and_end_before_the_closing() {
        let mut ledger = Ledger::default();
        ledger.enter(Phase::Direct);
        ledger.client("anna", 0);
        let letter = Letter::write("anna");
        ledger.sent(&letter, "anna");
        ledger.enter(Phase::Relieved);
        ledger.fetched(&letter.octets, "anna", 0).unwrap();
        let last = Letter::write("anna");
        ledger.sent(&last, "anna");
        ledger.enter(Phase::Closing);
        ledger.fetched(&last.octets, "anna", 0).unwrap();
        assert_eq!(ledger.waits(Phase::Direct).len(), 1);
        assert_eq!(ledger.tally().late, 1);
        assert!(ledger.waits(Phase::Relieved).is_empty());
    }
}
