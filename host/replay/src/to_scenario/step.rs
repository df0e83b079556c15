//! The text of a step in TOML.

use std::fmt::Write as _;

use super::super::entry::{Entry, NO_ADDRESS, Recorded};
use super::super::recorded_verdict::{RecordedVerdict, VerdictKind};
use reprieve_policy_host::{Because, Failure, Mechanism, Worded as _};
use reprieve_text::escape;

/// A login as a step.
pub(super) struct Step<'a> {
    pub(super) entry: &'a Entry,
    pub(super) recorded: &'a Recorded,
    /// Time of the login, if it is later than that of the previous login.
    pub(super) at: Option<String>,
    /// How long after the decision and the policy's delay the outcome comes.
    pub(super) after_ms: u64,
    pub(super) default_pool: Option<&'a str>,
    /// Why nothing is expected, if so.
    pub(super) unchecked: Option<&'static str>,
}

impl Step<'_> {
    pub(super) fn write(&self, to: &mut String) {
        to.push('\n');
        if let Some(why) = self.unchecked {
            let _ = writeln!(to, "# Not checked: {why}.");
        }
        to.push_str("[[scenario.step]]\n");
        let verdict = self.recorded.verdict.as_ref().filter(|_| self.unchecked.is_none());
        let disposition = self.recorded.action.filter(|_| self.unchecked.is_none() && self.is_by_rules());
        let keys = [
            ("at", self.at.as_deref().map(quoted)),
            ("login", Some(self.login())),
            ("backend", self.backend()),
            ("outcome", self.outcome()),
            ("inject", self.fault().map(quoted)),
            ("expect", verdict.map(expectation)),
            ("disposition", disposition.map(|action| quoted(action.name()))),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                let _ = writeln!(to, "{key} = {value}");
            }
        }
    }

    /// Whether the rules that a scenario knows led to the disposition.
    fn is_by_rules(&self) -> bool {
        !matches!(
            self.recorded.because,
            Some(Because::NoSnapshot | Because::NotRoutable | Because::Unreachable | Because::PolicyPaused)
        )
    }

    fn login(&self) -> String {
        let entry = self.entry;
        let (ip, port) = (entry.peer.ip(), entry.peer.port());
        let tls = entry.tls.as_ref().map(|tls| {
            table(texts([
                ("version", Some(&*tls.version).filter(|version| !version.is_empty())),
                ("server-name", tls.server_name.as_deref()),
                ("client-subject", tls.client_subject.as_deref()),
            ]))
        });
        let mechanism = Some(entry.mechanism).filter(|mechanism| *mechanism != Mechanism::UserPass);
        let own = [
            ("user", Some(quoted(&entry.user))),
            ("authorization-id", entry.authorization_id.as_deref().map(quoted)),
            ("standing", self.recorded.standing.map(|standing| quoted(standing.word()))),
            ("mechanism", mechanism.map(|mechanism| quoted(mechanism.word()))),
            ("peer", (ip != NO_ADDRESS.ip()).then(|| quoted(&ip.to_string()))),
            ("port", (port != 0).then(|| port.to_string())),
            ("tls", tls),
        ];
        table(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))))
    }

    fn backend(&self) -> Option<String> {
        let backend = self.recorded.backend.as_ref()?;
        let pool = Some(&*backend.pool).filter(|pool| Some(*pool) != self.default_pool && !pool.is_empty());
        let numbers = [
            ("nodes", Some(backend.nodes)),
            ("healthy-nodes", Some(backend.healthy_nodes)),
            ("sessions", Some(backend.sessions)),
            ("waiting", Some(backend.waiting)),
            ("login-latency-ms", backend.login_latency_ms),
        ];
        let numbers =
            numbers.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_string())));
        Some(table(texts([("pool", pool)]).chain(numbers)))
    }

    fn outcome(&self) -> Option<String> {
        let ending = self.entry.outcome?;
        let own = [
            ("ending", Some(quoted(ending.word()))),
            ("node", self.recorded.node.as_deref().map(quoted)),
            ("latency-ms", self.entry.latency_ms.map(|ms| ms.to_string())),
            ("after", (self.after_ms > 0).then(|| quoted(&duration(self.after_ms)))),
        ];
        Some(table(own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)))))
    }

    /// The fault that makes the policy fail as it did, for failures that are not its own.
    fn fault(&self) -> Option<&'static str> {
        let verdict = self.recorded.verdict.as_ref()?;
        match (verdict.kind, verdict.reason.as_deref()?) {
            (VerdictKind::Failure, "time") => Some("time"),
            (VerdictKind::Failure, "store") => Some("store-unavailable"),
            _ => None,
        }
    }
}

fn expectation(verdict: &RecordedVerdict) -> String {
    let delay_ms = verdict.delay_ms.filter(|&ms| ms > 0).map(|ms| ("delay-ms".to_owned(), ms.to_string()));
    let reason = verdict.reason.as_deref();
    match verdict.kind {
        VerdictKind::Failure => {
            // Another version may have kinds that a scenario of this one cannot expect.
            let kind = reason.filter(|kind| Failure::KINDS.contains(kind));
            table(texts([("verdict", Some("failure")), ("failure", kind)]))
        }
        VerdictKind::Pass => {
            let own = [
                ("verdict", Some("pass")),
                ("pool", verdict.pool.as_deref()),
                ("user", verdict.user.as_deref()),
            ];
            table(texts(own).chain(delay_ms))
        }
        VerdictKind::Deny => {
            let own = [
                ("verdict", Some("deny")),
                ("manner", verdict.manner.map(|manner| manner.word())),
                ("code", verdict.code.map(|code| code.word())),
                ("reason", reason),
            ];
            let retry_after = verdict.retry_after.map(|after| ("retry-after".to_owned(), after.to_string()));
            table(texts(own).chain(retry_after).chain(delay_ms))
        }
    }
}

fn duration(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// Pairs of a key and a text, without those that are absent.
fn texts<const N: usize>(pairs: [(&str, Option<&str>); N]) -> impl Iterator<Item = (String, String)> {
    let present = pairs.map(|(key, text)| text.map(|text| (key.to_owned(), quoted(text))));
    present.into_iter().flatten()
}

/// An inline table of finished keys and values.
pub(super) fn table(pairs: impl Iterator<Item = (String, String)>) -> String {
    let pairs: Vec<_> = pairs.map(|(key, value)| format!("{key} = {value}")).collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// A list of strings.
pub(super) fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// A TOML string. Characters that act on a terminal or are invisible are escaped.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
            quoted.push(character);
        } else if escape::is_active(character) {
            let _ = write!(quoted, "\\U{:08x}", u32::from(character));
        } else {
            quoted.push(character);
        }
    }
    quoted.push('"');
    quoted
}
