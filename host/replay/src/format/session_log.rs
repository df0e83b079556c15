//! The line per session in Reprieve's own log (`run --log-format json`). It has only the last login of
//! a session, and the beginning of the session instead of the time of the login.

use std::borrow::Cow;

use serde::Deserialize;

use super::fields::{address, mechanism};
use super::{ParsedLine, truncated, user_name};
use crate::calendar::Calendar;
use crate::entry::{Entry, Recorded};
use crate::recorded_verdict::{RecordedVerdict, VerdictKind};
use reprieve_policy_host::{Action, Because, Ending, Manner, Standing, TlsSession, Worded as _};

#[derive(Deserialize)]
struct Line<'a> {
    timestamp: Option<&'a str>,
    target: Option<&'a str>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    server: String,
    peer: Option<&'a str>,
    #[serde(default)]
    tls: String,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    mechanism: Option<&'a str>,
    verdict: Option<&'a str>,
    manner: Option<&'a str>,
    disposition: Option<&'a str>,
    because: Option<&'a str>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    outcome: Option<&'a str>,
    node: Option<String>,
    #[serde(default)]
    upgraded: bool,
    duration_ms: Option<u64>,
}

/// Parses a line. Only lines about sessions have logins.
pub(super) fn parse(line: &str, _calendar: &mut Calendar) -> ParsedLine {
    if line.trim().is_empty() {
        return ParsedLine::NoLogin;
    }
    if !line.starts_with('{') {
        return ParsedLine::Malformed("not JSON");
    }
    let line: Line<'_> = match serde_json::from_str(line) {
        Ok(line) => line,
        Err(error) if error.is_data() => return ParsedLine::NoLogin,
        Err(_) => return ParsedLine::Malformed("not JSON"),
    };
    if line.target != Some("session") {
        return ParsedLine::NoLogin;
    }
    let Some(user) = line.user.as_deref() else {
        return ParsedLine::Malformed("a session without `user`");
    };
    if user.is_empty() {
        // A session without a login.
        return ParsedLine::NoLogin;
    }
    let Some(user) = user_name(user) else { return ParsedLine::InvalidUserName };
    let ended = line.timestamp.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some(ended) = ended.and_then(|at| u64::try_from(at.as_millisecond()).ok()) else {
        return ParsedLine::Malformed("a session without `timestamp`");
    };
    let at_ms = ended.saturating_sub(line.duration_ms.unwrap_or(0));
    let outcome = line.outcome.and_then(Ending::of);
    let because = line.because.and_then(Because::named);
    let verdict = line.recorded_verdict(because);
    // A login without a verdict was passed on.
    let action = line.disposition.and_then(Action::named).unwrap_or(Action::Passed);
    // The outcome of an upgrade is not the outcome of the login, which was posed.
    let outcome = if line.upgraded && action == Action::Posed { None } else { outcome };
    let recorded = Recorded {
        id: truncated(line.id),
        virtual_server: truncated(line.server),
        verdict,
        action: Some(action),
        because,
        upgraded: line.upgraded && action == Action::Posed,
        node: line.node.filter(|node| !node.is_empty()).map(truncated),
        standing: (action == Action::Posed).then_some(Standing::Known),
        ..Recorded::default()
    };
    ParsedLine::login(Entry {
        mechanism: mechanism(line.mechanism.unwrap_or("")),
        peer: address(line.peer.unwrap_or("")),
        tls: (!line.tls.is_empty()).then_some(TlsSession {
            version: truncated(line.tls),
            server_name: None,
            client_subject: None,
        }),
        outcome,
        recorded: Some(Box::new(recorded)),
        ..Entry::new(at_ms, user, Ending::Authenticated)
    })
}

impl Line<'_> {
    /// The verdict without the details that the line does not have.
    fn recorded_verdict(&self, because: Option<Because>) -> Option<RecordedVerdict> {
        if matches!(because, Some(Because::PolicyFailure | Because::PolicyPaused)) {
            return Some(RecordedVerdict::new(VerdictKind::Failure));
        }
        match self.verdict? {
            "pass" => Some(RecordedVerdict::new(VerdictKind::Pass)),
            "deny" => {
                let reason = self.reason.as_deref().filter(|reason| !reason.is_empty());
                Some(RecordedVerdict {
                    manner: self.manner.and_then(Manner::of),
                    reason: reason.map(|reason| truncated(reason.to_owned())),
                    ..RecordedVerdict::new(VerdictKind::Deny)
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one, utc_ms};
    use super::*;
    use reprieve_policy_host::Manner;

    fn parse_line(line: &str) -> ParsedLine {
        parse(line, &mut calendar())
    }

    fn line(rest: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-11-27T22:11:26.500000Z","level":"INFO","message":"session","id":"a1","server":"pop3","peer":"192.0.2.7:50312","tls":"","user":"alice","mechanism":"USER",{rest},"bytes_in":80,"bytes_out":230,"duration_ms":400,"end":"quit","target":"session"}}"#
        )
    }

    #[test]
    fn the_login_has_the_time_at_which_the_session_began() {
        let posed = one(parse_line(&line(
            r#""verdict":"deny","manner":"unchanged","reason":"too-soon","disposition":"posed","outcome":"","node":"","upgraded":false,"relief":true,"logins":1"#,
        )));
        assert_eq!((posed.at_ms, posed.outcome), (utc_ms("2026-11-27T22:11:26.100Z"), None));
        let recorded = posed.recorded.unwrap();
        assert_eq!(recorded.action, Some(Action::Posed));
        assert_eq!(recorded.verdict.unwrap().reason.as_deref(), Some("too-soon"));
    }

    #[test]
    fn the_disposition_may_differ_from_the_verdict() {
        let passed = one(parse_line(&line(
            r#""verdict":"deny","manner":"unchanged","reason":"too-soon","disposition":"passed","because":"no-snapshot","outcome":"authenticated","node":"10.0.0.5:110","upgraded":false,"relief":false,"logins":1"#,
        )));
        let recorded = passed.recorded.unwrap();
        assert_eq!((recorded.action, recorded.because), (Some(Action::Passed), Some(Because::NoSnapshot)));
        let verdict = recorded.verdict.unwrap();
        assert_eq!((verdict.manner, verdict.reason.as_deref()), (Some(Manner::Unchanged), Some("too-soon")));
        assert_eq!(passed.outcome, Some(Ending::Authenticated));
        let upgraded = one(parse_line(&line(
            r#""verdict":"deny","manner":"unchanged","reason":"too-soon","disposition":"posed","outcome":"authenticated","node":"10.0.0.5:110","upgraded":true,"relief":false,"logins":1"#,
        )));
        let recorded = upgraded.recorded.unwrap();
        assert_eq!((upgraded.outcome, recorded.action, recorded.upgraded), (None, Some(Action::Posed), true));
    }

    #[test]
    fn other_lines_are_ignored_and_broken_ones_are_malformed() {
        for text in [
            r#"{"timestamp":"2026-11-27T22:11:26.500000Z","level":"INFO","message":"listening","target":"reprieve::server"}"#,
            r#"{"timestamp":1,"target":"session"}"#,
            "",
        ] {
            assert!(matches!(parse_line(text), ParsedLine::NoLogin), "{text}");
        }
        for text in
            ["{", "2026-11-27 plain", r#"{"target":"session","user":"alice"}"#, r#"{"target":"session"}"#]
        {
            assert!(matches!(parse_line(text), ParsedLine::Malformed(_)), "{text}");
        }
    }
}
