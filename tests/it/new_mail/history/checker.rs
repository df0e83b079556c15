//! Checks what clients are shown: every message in the first login after its signal was answered, and
//! in the end each message once.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// All deliveries to some users, and what their clients have seen of them.
pub struct Checker {
    users: Vec<Mutex<UserMail>>,
}

#[derive(Default)]
struct UserMail {
    messages: BTreeMap<String, Message>,
    /// Ids that a client has seen.
    seen: HashSet<String>,
    /// Polls that did not show a message that was in the maildrop.
    hidden: Vec<Hidden>,
    /// What else is wrong.
    faults: Vec<String>,
}

struct Message {
    delivered: Instant,
    /// A login that starts later shows it.
    due: Option<Instant>,
    /// When the first poll started that showed it.
    shown: Option<Instant>,
}

struct Hidden {
    id: String,
    /// When the poll started.
    began: Instant,
}

impl Checker {
    pub fn new(users: usize) -> Self {
        Self { users: (0..users).map(|_| Mutex::default()).collect() }
    }

    /// A message is in a user's maildrop. `due`: when its signal was answered, after which every login
    /// shows it; None if that is not known yet.
    pub fn delivered(&self, user: usize, id: &str, due: Option<Instant>) {
        let message = Message { delivered: Instant::now(), due, shown: None };
        self.users[user].lock().messages.insert(id.to_owned(), message);
    }

    /// Sets when the signals of messages were answered. None: it was not.
    pub fn set_due(&self, due: impl Fn(&str, Instant) -> Option<Instant>) {
        for user in &self.users {
            for (id, message) in &mut user.lock().messages {
                message.due = due(id, message.delivered);
            }
        }
    }

    /// A poll that started at `began` shows these messages. Returns whether one of them is new to all
    /// of the user's clients.
    pub fn polled(&self, user: usize, began: Instant, ids: &[String]) -> bool {
        let mut user = self.users[user].lock();
        let user = &mut *user;
        let shown: HashSet<&String> = ids.iter().collect();
        if shown.len() != ids.len() {
            user.faults.push(format!("{} of {} messages are doubled", ids.len() - shown.len(), ids.len()));
        }
        for (id, message) in &mut user.messages {
            if shown.contains(id) {
                message.shown.get_or_insert(began);
            } else if message.delivered < began {
                user.hidden.push(Hidden { id: id.clone(), began });
            }
        }
        let mut is_new = false;
        for id in shown {
            is_new |= user.seen.insert(id.clone());
        }
        is_new
    }

    /// The last poll of a client shows these messages: all of the user's, each once.
    pub fn ended(&self, user: usize, client: &str, ids: &[String]) {
        let mut user = self.users[user].lock();
        let mut shown = ids.to_vec();
        shown.sort_unstable();
        let expected: Vec<_> = user.messages.keys().cloned().collect();
        if shown != expected {
            let fault = format!("{client} has {} messages of {}", shown.len(), expected.len());
            user.faults.push(fault);
        }
    }

    /// Fails if a message was hidden by a login that started after its signal was answered, or if
    /// something else is wrong.
    #[track_caller]
    pub fn check(&self) {
        let mut violations = Vec::new();
        for (number, user) in self.users.iter().enumerate() {
            let user = user.lock();
            violations.extend(user.faults.iter().map(|fault| format!("user {number}: {fault}")));
            for Hidden { id, began } in &user.hidden {
                let due = user.messages[id].due;
                if let Some(late) = due.and_then(|due| began.checked_duration_since(due))
                    && !late.is_zero()
                {
                    violations.push(format!("user {number}: {id} was hidden {late:?} after its signal"));
                }
            }
        }
        assert!(violations.is_empty(), "{} violations: {:#?}", violations.len(), &violations[..1]);
    }

    /// How long messages waited for the first poll that showed them, sorted.
    pub fn waits(&self) -> Vec<Duration> {
        let mut waits = Vec::new();
        for user in &self.users {
            let user = user.lock();
            let shown = user.messages.values().filter_map(|message| Some((message, message.shown?)));
            waits.extend(shown.map(|(message, shown)| shown.saturating_duration_since(message.delivered)));
        }
        waits.sort_unstable();
        waits
    }
}

/// Median, 99th percentile and maximum of sorted durations, for people.
pub fn quantiles(sorted: &[Duration]) -> String {
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len() - 1));
    match sorted {
        [] => "nothing".to_owned(),
        [.., last] => format!(
            "median {:.3} s, 99 of 100 within {:.3} s, longest {:.3} s",
            at(0.5).map_or(0.0, Duration::as_secs_f64),
            at(0.99).map_or(0.0, Duration::as_secs_f64),
            last.as_secs_f64()
        ),
    }
}
