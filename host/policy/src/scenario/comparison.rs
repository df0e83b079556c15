//! Compares two harnesses that play the same logins, for example one with reused instances and one
//! with a fresh instance for each call.

use super::step::Change;
use crate::Failure;
use crate::harness::{Decision, Harness, TestLogin, format_time, named, named_value, quoted};

/// First logins of a scenario that always get fresh instances.
const ALWAYS_FRESH: u64 = 100;
/// Afterwards, one of this many logins gets them: a new instance costs much more than a call.
const FRESH_EVERY: u64 = 16;

/// What the other harness does differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variation {
    /// Each call of a login gets a fresh instance; of many logins, only some do.
    FreshInstances,
    /// None by itself: the harness was built differently.
    AsBuilt,
}

/// A second harness, and the first difference to the main one.
pub(super) struct Comparison {
    other: Harness,
    variation: Variation,
    logins: u64,
    /// Whether there is no use in comparing any further.
    is_done: bool,
    difference: Option<Difference>,
}

/// The first difference between two harnesses.
pub(super) struct Difference {
    /// What differs: a login, or a key at the end.
    pub(super) what: String,
    /// Result of the main harness.
    pub(super) ours: String,
    /// Result of the other harness.
    pub(super) theirs: String,
}

impl Comparison {
    pub(super) fn with(other: Harness, variation: Variation) -> Self {
        Self { other, variation, logins: 0, is_done: false, difference: None }
    }

    pub(super) fn difference(self) -> Option<Difference> {
        self.difference
    }

    /// Plays a login that the main harness has played. After a difference, nothing is played any
    /// more: further differences would be consequences of the first.
    pub(super) fn log_in(&mut self, login: TestLogin, ours: &Decision, line: usize) {
        if self.is_done {
            return;
        }
        if self.variation == Variation::FreshInstances {
            let is_fresh = self.logins < ALWAYS_FRESH || self.logins.is_multiple_of(FRESH_EVERY);
            self.other.use_fresh_instances(is_fresh);
        }
        self.logins += 1;
        self.other.set_now_ms(ours.at_ms);
        let theirs = self.other.login(login);
        let (ours_text, theirs_text) = (describe(ours), describe(&theirs));
        self.is_done = ours_text != theirs_text;
        // Whether a slow call is too slow depends on the machine and on caches, which are cold for a
        // fresh instance.
        if self.is_done && !is_too_slow(ours) && !is_too_slow(&theirs) {
            let at = format_time(ours.at_ms, self.other.zone());
            self.difference = Some(Difference {
                what: format!("in line {line}, at {at}, the login of {}", quoted(&ours.user)),
                ours: ours_text,
                theirs: theirs_text,
            });
        }
    }

    /// Makes the changes that the main harness has made.
    pub(super) fn change(&mut self, now_ms: u64, change: &Change) {
        self.other.set_now_ms(now_ms);
        // The main harness reports a rejected write.
        let _ = change.apply(&mut self.other);
    }

    /// Compares the contents of the stores at the end.
    pub(super) fn compare_stores(&mut self, main: &Harness) {
        if self.is_done {
            return;
        }
        self.other.set_now_ms(main.now_ms());
        let (ours, theirs) = (main.store(), self.other.store());
        let only_in = |one: &[(String, Vec<u8>)], other: &[(String, Vec<u8>)]| {
            one.iter().find(|entry| other.binary_search(entry).is_err()).map(|(key, _)| key.clone())
        };
        if let Some(key) = only_in(&ours, &theirs).or_else(|| only_in(&theirs, &ours)) {
            let value = |harness: &Harness| {
                harness.stored(&key).map_or_else(|| "nothing".to_owned(), |value| named_value(&key, &value))
            };
            self.difference = Some(Difference {
                what: format!("at the end, {} in the store", named(&key)),
                ours: value(main),
                theirs: value(&self.other),
            });
        }
    }
}

fn is_too_slow(decision: &Decision) -> bool {
    matches!(decision.failure(), Some(Failure::Time(_) | Failure::StartTime(_) | Failure::Wait(_)))
}

/// What a login shows of the policy: its verdict, the disposition, and a failure of `observe` or `ended`.
fn describe(decision: &Decision) -> String {
    let mut text = format!("{} → {}", decision.describe_verdict(), decision.action().name());
    if let Some((_, Some(failure))) = &decision.observed {
        text = format!("{text}, and the outcome failure {}: {failure}", failure.kind());
    }
    if let Some(failure) = &decision.end_failure {
        text = format!("{text}, and the end failure {}: {failure}", failure.kind());
    }
    text
}
