//! What is expected, and how what came differs from it.

use crate::harness::{Decision, Trial, octets};
use crate::{Action, MANNERS, Manner, ResponseCode, Verdict, Worded as _};

/// One thing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Difference {
    pub(super) fn new(what: &str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { what: what.to_owned(), expected: expected.into(), got: got.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pass,
    Deny,
    Failure,
}

impl Kind {
    pub(super) const WORDS: [(&'static str, Self); 3] =
        [("pass", Self::Pass), ("deny", Self::Deny), ("failure", Self::Failure)];

    fn of(decision: &Decision) -> &'static str {
        match decision.verdict {
            Ok(Verdict::Pass(_)) => "pass",
            Ok(Verdict::Deny(_)) => "deny",
            Err(_) => "failure",
        }
    }
}

/// A verdict, whole or in part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expectation {
    pub(super) verdict: Option<Kind>,
    pub(super) failure: Option<String>,
    pub(super) manner: Option<Manner>,
    pub(super) code: Option<ResponseCode>,
    pub(super) retry_after: Option<u32>,
    pub(super) reason: Option<String>,
    pub(super) delay_ms: Option<u32>,
    pub(super) pool: Option<String>,
    pub(super) user: Option<String>,
    pub(super) note: Option<String>,
}

impl Expectation {
    /// A verdict by its word, or a manner, which only a denial has.
    pub(super) fn of(word: &str) -> Option<Self> {
        if let Some((_, kind)) = Kind::WORDS.iter().find(|(other, _)| *other == word) {
            return Some(Self { verdict: Some(*kind), ..Self::default() });
        }
        let manner = Manner::of(word)?;
        Some(Self { verdict: Some(Kind::Deny), manner: Some(manner), ..Self::default() })
    }

    /// Why no verdict could ever be this.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let of_a_pass = self.pool.is_some() || self.user.is_some() || self.note.is_some();
        let of_a_denial = self.manner.is_some()
            || self.code.is_some()
            || self.retry_after.is_some()
            || self.reason.is_some();
        match self.verdict {
            Some(Kind::Failure) if of_a_pass || of_a_denial || self.delay_ms.is_some() => {
                Some("expects more of a failure than its kind")
            }
            Some(Kind::Deny) if of_a_pass => Some("expects of a denial what only a pass has"),
            Some(Kind::Pass) if of_a_denial => Some("expects of a pass what only a denial has"),
            _ if of_a_pass && of_a_denial => Some("expects a pass and a denial at once"),
            _ => None,
        }
    }

    pub(super) fn allows_failure(&self) -> bool {
        self.verdict == Some(Kind::Failure)
    }

    pub(super) fn differences(&self, decision: &Decision) -> Vec<Difference> {
        let mut found = Vec::new();
        if let Some(kind) = self.verdict {
            let expected = Kind::WORDS.iter().find(|(_, other)| *other == kind).map_or("", |(word, _)| word);
            let got = if self.allows_failure() && decision.failure().is_some() {
                "failure"
            } else {
                Kind::of(decision)
            };
            if got != expected {
                // The rest says nothing where this is wrong.
                return vec![Difference::new("verdict", expected, decision.verdict_in_words())];
            }
        }
        let mut compare = |what: &str, expected: Option<String>, got: Option<String>| {
            if let Some(expected) = expected
                && got.as_deref() != Some(expected.as_str())
            {
                found.push(Difference::new(what, expected, got.unwrap_or_else(|| "none".to_owned())));
            }
        };
        let (pass, deny) = (decision.pass(), decision.deny());
        compare("failure", self.failure.clone(), decision.failure().map(|failure| failure.kind().to_owned()));
        compare("manner", self.manner.map(word_of_manner), deny.map(|deny| word_of_manner(deny.manner)));
        compare("code", self.code.map(word_of_code), deny.and_then(|deny| deny.code).map(word_of_code));
        compare(
            "retry-after",
            self.retry_after.map(|seconds| seconds.to_string()),
            deny.and_then(|deny| deny.retry_after).map(|seconds| seconds.to_string()),
        );
        compare("reason", self.reason.clone(), deny.map(|deny| deny.reason.clone()));
        compare(
            "delay-ms",
            self.delay_ms.map(|ms| ms.to_string()),
            pass.map(|pass| pass.delay_ms).or(deny.map(|deny| deny.delay_ms)).map(|ms| ms.to_string()),
        );
        compare("pool", self.pool.clone(), pass.and_then(|pass| pass.pool.clone()));
        compare("user", self.user.clone(), pass.and_then(|pass| pass.user.clone()));
        compare("note", self.note.clone(), pass.and_then(|pass| pass.note.clone()));
        found
    }
}

fn word_of_manner(of: Manner) -> String {
    of.word().to_owned()
}

fn word_of_code(of: ResponseCode) -> String {
    of.word().to_owned()
}

/// How many of a step's logins came to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(pub(super) Vec<(String, u64)>);

impl Counts {
    /// The words that can be counted.
    pub(super) fn words() -> Vec<&'static str> {
        let kinds = Kind::WORDS.iter().map(|(word, _)| *word);
        let manners = MANNERS.iter().map(|(word, _)| *word);
        kinds.chain(manners).chain(Action::ALL.into_iter().map(Action::name)).collect()
    }

    pub(super) fn add(&mut self, decision: &Decision) {
        let manner = decision.deny().map(|deny| deny.manner.word());
        for word in [Some(Kind::of(decision)), manner, Some(decision.action().name())].into_iter().flatten() {
            match self.0.iter_mut().find(|(other, _)| other == word) {
                Some((_, count)) => *count += 1,
                None => self.0.push((word.to_owned(), 1)),
            }
        }
    }

    pub(super) fn differences(&self, expected: &Self) -> Vec<Difference> {
        let counted =
            |word: &str| self.0.iter().find(|(other, _)| other == word).map_or(0, |(_, count)| *count);
        let wrong = expected.0.iter().filter(|(word, count)| counted(word) != *count);
        wrong
            .map(|(word, count)| {
                Difference::new(&format!("count of {word}"), count.to_string(), counted(word).to_string())
            })
            .collect()
    }
}

/// What the store is to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreExpectation {
    pub(super) has: Vec<String>,
    pub(super) lacks: Vec<String>,
    pub(super) values: Vec<(String, Vec<u8>)>,
    pub(super) usage_at_most: Option<u64>,
    pub(super) empty: Option<bool>,
}

impl StoreExpectation {
    pub(super) fn differences(&self, trial: &Trial) -> Vec<Difference> {
        let mut found = Vec::new();
        let shown =
            |key: &str| trial.stored(key).map_or_else(|| "nothing".to_owned(), |value| octets(&value));
        for key in self.has.iter().filter(|key| trial.stored(key).is_none()) {
            found.push(Difference::new(&format!("store, {key:?}"), "something", "nothing"));
        }
        for key in self.lacks.iter().filter(|key| trial.stored(key).is_some()) {
            found.push(Difference::new(&format!("store, {key:?}"), "nothing", shown(key)));
        }
        for (key, value) in &self.values {
            if trial.stored(key).as_ref() != Some(value) {
                found.push(Difference::new(&format!("store, {key:?}"), octets(value), shown(key)));
            }
        }
        let usage = trial.store_usage();
        if let Some(most) = self.usage_at_most.filter(|most| usage > *most) {
            found.push(Difference::new("store, octets", format!("at most {most}"), usage.to_string()));
        }
        let keys = trial.store();
        if let Some(empty) = self.empty.filter(|empty| *empty != keys.is_empty()) {
            let words = |empty| if empty { "empty" } else { "not empty" };
            found.push(Difference::new("store", words(empty), format!("{} keys", keys.len())));
        }
        found
    }
}

/// A value as files write it: text, or `hex:` and digits.
pub(super) fn value(text: &str) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix("hex:") else { return Some(text.as_bytes().to_vec()) };
    if digits.len() % 2 != 0 || !digits.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// All words of response codes and manners, for errors.
pub(super) fn verdict_words() -> String {
    let kinds = Kind::WORDS.iter().map(|(word, _)| format!("\"{word}\""));
    kinds.chain(MANNERS.iter().map(|(word, _)| format!("\"{word}\""))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_verdict_or_a_manner_which_only_a_denial_has() {
        assert_eq!(Expectation::of("pass").and_then(|expected| expected.verdict), Some(Kind::Pass));
        let busy = Expectation::of("busy").unwrap();
        assert_eq!((busy.verdict, busy.manner), (Some(Kind::Deny), Some(Manner::Busy)));
        assert_eq!(Expectation::of("allow"), None);
    }

    #[test]
    fn what_no_verdict_can_be_is_a_contradiction() {
        let some = || Some("x".to_owned());
        let of = |verdict| Expectation { verdict, ..Expectation::default() };
        assert!(Expectation { manner: Some(Manner::Busy), ..of(Some(Kind::Pass)) }.contradiction().is_some());
        assert!(Expectation { note: some(), ..of(Some(Kind::Deny)) }.contradiction().is_some());
        assert!(Expectation { delay_ms: Some(0), ..of(Some(Kind::Failure)) }.contradiction().is_some());
        assert!(Expectation { note: some(), reason: some(), ..of(None) }.contradiction().is_some());
        assert!(Expectation { note: some(), delay_ms: Some(1), ..of(None) }.contradiction().is_none());
        assert!(Expectation { retry_after: Some(1), ..of(Some(Kind::Deny)) }.contradiction().is_none());
    }

    #[test]
    fn counts_that_differ_are_told_and_what_never_came_counts_nothing() {
        let came = Counts(vec![("pass".to_owned(), 3)]);
        let expected =
            |pairs: &[(&str, u64)]| Counts(pairs.iter().map(|(word, n)| ((*word).to_owned(), *n)).collect());
        assert_eq!(came.differences(&expected(&[("pass", 3), ("deny", 0)])), []);
        assert_eq!(
            came.differences(&expected(&[("pass", 2), ("busy", 1)])),
            [Difference::new("count of pass", "2", "3"), Difference::new("count of busy", "1", "0")]
        );
    }

    #[test]
    fn values_are_text_or_pairs_of_digits() {
        assert_eq!(value("text"), Some(b"text".to_vec()));
        assert_eq!(value("hex:00fF"), Some(vec![0, 255]));
        for wrong in ["hex:0", "hex:0g", "hex:+1"] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }
}
