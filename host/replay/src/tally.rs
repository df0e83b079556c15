//! What became of all logins together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::Entry;
use super::player::Decision;
use super::said::Word;
use reprieve_policy_host::harness::Becomes;
use reprieve_policy_host::{Ending, Worded as _};

/// Different words that are counted apart: a policy can make up as many as it likes.
const MOST_WORDS: usize = 100;
/// Where the others are counted.
const OTHER: &str = "other";

/// Counts of logins, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// All of them.
    pub logins: u64,
    /// Those that reach a mail server.
    pub passed: u64,
    /// Those that do not: the relief.
    pub relieved: u64,
    /// Those that are let in and answered by Reprieve.
    pub posed: u64,
    /// Of the posed, those that went on at the mail server all the same, where the log tells.
    pub upgraded: u64,
    /// Those that are answered with `-ERR`.
    pub refused: u64,
    /// Those whose connection is closed.
    pub disconnected: u64,
    /// Denied ones that pass all the same, by why.
    pub passed_though_denied: BTreeMap<String, u64>,
    /// Denials, by their manner.
    pub manners: BTreeMap<String, u64>,
    /// Denials, by the policy's reason.
    pub reasons: BTreeMap<String, u64>,
    /// Failures of the policy, by their kind.
    pub failures: BTreeMap<String, u64>,
    /// Logins that the mail server had refused.
    pub rejected: u64,
}

impl Counts {
    pub(super) fn add(&mut self, entry: &Entry, decision: &Decision) {
        self.logins += 1;
        self.rejected += u64::from(entry.outcome == Some(Ending::Rejected));
        let relieves = decision.relieves(entry);
        self.relieved += u64::from(relieves);
        self.passed += u64::from(!relieves);
        match decision.becomes {
            Becomes::Passed => {}
            Becomes::Posed => {
                self.posed += 1;
                self.upgraded += u64::from(!relieves);
            }
            Becomes::Refused => self.refused += 1,
            Becomes::Disconnected => self.disconnected += 1,
        }
        match decision.said.word {
            Word::Pass => {}
            Word::Deny => {
                count(&mut self.manners, decision.said.manner.map_or("", |manner| manner.word()));
                count(&mut self.reasons, decision.said.reason.as_deref().unwrap_or(""));
                if let Some(why) = decision.why {
                    count(&mut self.passed_though_denied, why);
                }
            }
            Word::Failure => count(&mut self.failures, decision.said.reason.as_deref().unwrap_or("")),
        }
    }

    /// The part that was relieved: 0 to 1.
    #[must_use]
    pub fn relief(&self) -> f64 {
        share(self.relieved, self.logins)
    }
}

fn count(counts: &mut BTreeMap<String, u64>, word: &str) {
    if let Some(count) = counts.get_mut(word) {
        *count += 1;
        return;
    }
    let word = if counts.len() < MOST_WORDS { word } else { OTHER };
    *counts.entry(word.to_owned()).or_default() += 1;
}

/// A part of a whole: 0 to 1, and 0 of nothing.
#[allow(clippy::cast_precision_loss)]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
