//! Expectations of a step, and comparison with the actual results.

use super::condition::Condition;
use crate::harness::{Decision, Harness, named, named_value};
use crate::{Action, MANNERS, Manner, Verdict, Worded as _};

/// An expected value that differs from the actual one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Mismatch {
    pub(super) fn new(what: &str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { what: what.to_owned(), expected: expected.into(), got: got.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VerdictKind {
    Pass,
    Deny,
    Failure,
}

impl VerdictKind {
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("pass", Self::Pass), ("deny", Self::Deny), ("failure", Self::Failure)];

    fn of(decision: &Decision) -> &'static str {
        match decision.verdict {
            Ok(Verdict::Pass(_)) => "pass",
            Ok(Verdict::Deny(_)) => "deny",
            Err(_) => "failure",
        }
    }
}

/// Expected fields of a verdict; `None` accepts anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expectation {
    pub(super) verdict: Option<VerdictKind>,
    pub(super) failure: Option<String>,
    pub(super) manner: Option<Condition<&'static str>>,
    pub(super) otherwise: Option<Condition<&'static str>>,
    pub(super) despite_new_mail: Option<bool>,
    pub(super) code: Option<Condition<&'static str>>,
    pub(super) text: Option<Condition<String>>,
    /// In seconds.
    pub(super) retry_after: Option<Condition<u32>>,
    pub(super) reason: Option<Condition<String>>,
    pub(super) delay_ms: Option<Condition<u32>>,
    pub(super) pool: Option<Condition<String>>,
    pub(super) user: Option<Condition<String>>,
    pub(super) note: Option<Condition<String>>,
}

impl Expectation {
    /// Parses the name of a verdict, or of a manner, which implies a denial.
    pub(super) fn of(word: &str) -> Option<Self> {
        if let Some((_, kind)) = VerdictKind::NAMES.iter().find(|(other, _)| *other == word) {
            return Some(Self { verdict: Some(*kind), ..Self::default() });
        }
        let manner = Condition::Is(Manner::of(word)?.word());
        Some(Self { verdict: Some(VerdictKind::Deny), manner: Some(manner), ..Self::default() })
    }

    fn is_of_a_pass(&self) -> bool {
        self.pool.is_some() || self.user.is_some()
    }

    fn is_of_a_denial(&self) -> bool {
        self.manner.is_some()
            || self.otherwise.is_some()
            || self.despite_new_mail.is_some()
            || self.code.is_some()
            || self.text.is_some()
            || self.retry_after.is_some()
            || self.reason.is_some()
    }

    /// Expects the verdict that the other keys belong to, so that `{ manner = { not = "busy" } }` is
    /// met by a denial only.
    pub(super) fn with_implied_verdict(mut self) -> Self {
        if self.verdict.is_none() {
            self.verdict = match (self.is_of_a_pass(), self.is_of_a_denial()) {
                (true, _) => Some(VerdictKind::Pass),
                (false, true) => Some(VerdictKind::Deny),
                (false, false) => None,
            };
        }
        self
    }

    /// Why no verdict can match this expectation.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let (of_a_pass, of_a_denial) = (self.is_of_a_pass(), self.is_of_a_denial());
        match self.verdict {
            Some(VerdictKind::Failure)
                if of_a_pass || of_a_denial || self.note.is_some() || self.delay_ms.is_some() =>
            {
                Some("expects a failure, but has keys of a verdict")
            }
            Some(VerdictKind::Deny) if of_a_pass => {
                Some("expects a denial, but has keys that only a pass has")
            }
            Some(VerdictKind::Pass) if of_a_denial => {
                Some("expects a pass, but has keys that only a denial has")
            }
            _ if of_a_pass && of_a_denial => Some("has keys of a pass and keys of a denial"),
            _ => None,
        }
    }

    pub(super) fn allows_failure(&self) -> bool {
        self.verdict == Some(VerdictKind::Failure)
    }

    pub(super) fn differences(&self, decision: &Decision) -> Vec<Mismatch> {
        let mut found = Vec::new();
        if let Some(kind) = self.verdict {
            let expected =
                VerdictKind::NAMES.iter().find(|(_, other)| *other == kind).map_or("", |(word, _)| word);
            let got = if self.allows_failure() && decision.failure().is_some() {
                "failure"
            } else {
                VerdictKind::of(decision)
            };
            if got != expected {
                // Further differences would only be consequences of this one.
                return vec![Mismatch::new("verdict", expected, decision.describe_verdict())];
            }
        }
        let (pass, deny) = (decision.pass(), decision.deny());
        if let Some(expected) = &self.failure
            && decision.failure().is_none_or(|failure| failure.kind() != expected)
        {
            let got = decision.failure().map_or("none", |failure| failure.kind());
            found.push(Mismatch::new("failure", expected, got));
        }
        let mut words = |what, expected, got: Option<&'static str>| {
            found.extend(compare(what, expected, got.as_ref(), |word| (*word).to_owned()));
        };
        words("manner", &self.manner, deny.map(|deny| deny.manner.word()));
        words("otherwise", &self.otherwise, deny.and_then(|deny| deny.otherwise).map(|other| other.word()));
        words("code", &self.code, deny.and_then(|deny| deny.code).map(|code| code.word()));
        let insists = deny.map(|deny| deny.despite_new_mail);
        if let Some(expected) = self.despite_new_mail.filter(|expected| insists != Some(*expected)) {
            let got = insists.map_or_else(|| "none".to_owned(), |insists| insists.to_string());
            found.push(Mismatch::new("despite-new-mail", expected.to_string(), got));
        }
        let delay_ms = pass.map(|pass| pass.delay_ms).or(deny.map(|deny| deny.delay_ms));
        let mut numbers = |what, expected, got: Option<u32>| {
            found.extend(compare(what, expected, got.as_ref(), u32::to_string));
        };
        numbers("retry-after", &self.retry_after, deny.and_then(|deny| deny.retry_after));
        numbers("delay-ms", &self.delay_ms, delay_ms);
        let reason = deny.map(|deny| deny.reason.clone().into_owned());
        let mut texts = |what, expected, got| found.extend(compare(what, expected, got, String::clone));
        texts("text", &self.text, deny.and_then(|deny| deny.text.as_ref()));
        texts("reason", &self.reason, reason.as_ref());
        texts("pool", &self.pool, pass.and_then(|pass| pass.pool.as_ref()));
        texts("user", &self.user, pass.and_then(|pass| pass.user.as_ref()));
        let note = pass.map_or_else(|| deny.and_then(|deny| deny.note.as_ref()), |pass| pass.note.as_ref());
        texts("note", &self.note, note);
        found
    }
}

/// The mismatch of a value, if its condition does not hold.
pub(super) fn compare<T: PartialEq + PartialOrd>(
    what: &str,
    expected: &Option<Condition<T>>,
    got: Option<&T>,
    show: impl Fn(&T) -> String,
) -> Option<Mismatch> {
    let expected = expected.as_ref().filter(|expected| !expected.holds(got))?;
    let got = got.map_or_else(|| "none".to_owned(), &show);
    Some(Mismatch::new(what, expected.describe(&show), got))
}

/// Number of a step's logins per verdict, manner and disposition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts(Vec<(&'static str, u64)>);

/// Expected numbers of a step's logins per verdict, manner and disposition.
pub(super) type ExpectedCounts = Vec<(String, Condition<u64>)>;

impl Counts {
    /// Names that can be counted.
    pub(super) fn names() -> Vec<&'static str> {
        let kinds = VerdictKind::NAMES.iter().map(|(word, _)| *word);
        let manners = MANNERS.iter().map(|(word, _)| *word);
        kinds.chain(manners).chain(Action::ALL.into_iter().map(Action::name)).collect()
    }

    pub(super) fn add(&mut self, decision: &Decision) {
        let manner = decision.deny().map(|deny| deny.manner.word());
        for word in
            [Some(VerdictKind::of(decision)), manner, Some(decision.action().name())].into_iter().flatten()
        {
            match self.0.iter_mut().find(|(other, _)| *other == word) {
                Some((_, count)) => *count += 1,
                None => self.0.push((word, 1)),
            }
        }
    }

    pub(super) fn differences(&self, expected: &ExpectedCounts) -> Vec<Mismatch> {
        let counted = |word: &str| self.0.iter().find(|(other, _)| *other == word).map_or(0, |(_, n)| *n);
        let wrong = expected.iter().filter(|(word, count)| !count.holds(Some(&counted(word))));
        wrong
            .map(|(word, count)| {
                let got = counted(word).to_string();
                Mismatch::new(&format!("count of {word}"), count.describe(u64::to_string), got)
            })
            .collect()
    }
}

/// Expected contents of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreExpectation {
    pub(super) has: Vec<String>,
    pub(super) lacks: Vec<String>,
    pub(super) values: Vec<(String, Vec<u8>)>,
    pub(super) usage_at_most: Option<u64>,
    pub(super) empty: Option<bool>,
}

impl StoreExpectation {
    pub(super) fn differences(&self, harness: &Harness) -> Vec<Mismatch> {
        let mut found = Vec::new();
        let shown = |key: &str| {
            harness.stored(key).map_or_else(|| "nothing".to_owned(), |value| named_value(key, &value))
        };
        let place = |key: &str| format!("store, {}", named(key));
        for key in self.has.iter().filter(|key| harness.stored(key).is_none()) {
            found.push(Mismatch::new(&place(key), "something", "nothing"));
        }
        for key in self.lacks.iter().filter(|key| harness.stored(key).is_some()) {
            found.push(Mismatch::new(&place(key), "nothing", shown(key)));
        }
        for (key, value) in &self.values {
            if harness.stored(key).as_ref() != Some(value) {
                found.push(Mismatch::new(&place(key), named_value(key, value), shown(key)));
            }
        }
        let usage = harness.store_usage();
        if let Some(most) = self.usage_at_most.filter(|most| usage > *most) {
            found.push(Mismatch::new("store, bytes", format!("at most {most}"), usage.to_string()));
        }
        let keys = harness.store();
        if let Some(empty) = self.empty.filter(|empty| *empty != keys.is_empty()) {
            let describe = |empty| if empty { "empty" } else { "not empty" };
            found.push(Mismatch::new("store", describe(empty), format!("{} keys", keys.len())));
        }
        found
    }
}

/// Parses a stored value: text, or `hex:` and pairs of hexadecimal digits.
pub(super) fn value(text: &str) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix("hex:") else { return Some(text.as_bytes().to_vec()) };
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// All names of verdicts and manners, for errors.
pub(super) fn verdict_names() -> String {
    let kinds = VerdictKind::NAMES.iter().map(|(word, _)| format!("\"{word}\""));
    kinds.chain(MANNERS.iter().map(|(word, _)| format!("\"{word}\""))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_verdict_or_a_manner_and_a_manner_implies_a_denial() {
        assert_eq!(Expectation::of("pass").and_then(|expected| expected.verdict), Some(VerdictKind::Pass));
        let busy = Expectation::of("busy").unwrap();
        assert_eq!((busy.verdict, busy.manner), (Some(VerdictKind::Deny), Some(Condition::Is("busy"))));
        assert_eq!(Expectation::of("allow"), None);
    }

    #[test]
    fn an_expectation_that_no_verdict_can_match_is_a_contradiction() {
        let some = || Some(Condition::Is("x".to_owned()));
        let of = |verdict| Expectation { verdict, ..Expectation::default() };
        assert!(
            Expectation { manner: Some(Condition::Is("busy")), ..of(Some(VerdictKind::Pass)) }
                .contradiction()
                .is_some()
        );
        assert!(Expectation { pool: some(), ..of(Some(VerdictKind::Deny)) }.contradiction().is_some());
        assert!(Expectation { text: some(), ..of(Some(VerdictKind::Pass)) }.contradiction().is_some());
        assert!(Expectation { note: some(), ..of(Some(VerdictKind::Failure)) }.contradiction().is_some());
        assert!(Expectation { note: some(), ..of(Some(VerdictKind::Deny)) }.contradiction().is_none());
        assert!(
            Expectation { delay_ms: Some(Condition::Is(0)), ..of(Some(VerdictKind::Failure)) }
                .contradiction()
                .is_some()
        );
        assert!(Expectation { user: some(), reason: some(), ..of(None) }.contradiction().is_some());
        assert!(
            Expectation { note: some(), delay_ms: Some(Condition::Is(1)), ..of(None) }
                .contradiction()
                .is_none()
        );
        assert!(
            Expectation { retry_after: Some(Condition::Is(1)), ..of(Some(VerdictKind::Deny)) }
                .contradiction()
                .is_none()
        );
    }

    #[test]
    fn different_counts_are_reported_and_missing_ones_are_zero() {
        let actual = Counts(vec![("pass", 3)]);
        let expected = |pairs: &[(&str, u64)]| {
            pairs.iter().map(|(word, n)| ((*word).to_owned(), Condition::Is(*n))).collect::<ExpectedCounts>()
        };
        assert_eq!(actual.differences(&expected(&[("pass", 3), ("deny", 0)])), []);
        assert_eq!(
            actual.differences(&expected(&[("pass", 2), ("busy", 1)])),
            [Mismatch::new("count of pass", "2", "3"), Mismatch::new("count of busy", "1", "0")]
        );
    }

    #[test]
    fn values_are_text_or_pairs_of_hexadecimal_digits() {
        assert_eq!(value("text"), Some(b"text".to_vec()));
        assert_eq!(value("hex:00fF"), Some(vec![0, 255]));
        for wrong in ["hex:0", "hex:0g", "hex:+1"] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }
}
