//! The line that Reprieve logs of each session (`run --log-format json`). It tells only the last
//! login, and of its time only when the session began.

use std::borrow::Cow;

use serde::Deserialize;

use super::words::{address, mechanism};
use super::{Told, kept, user_name};
use crate::entry::{Entry, Recorded};
use crate::said::{Said, Word};
use reprieve_policy_host::harness::Becomes;
use reprieve_policy_host::{Ending, Manner, TlsSession, Worded as _};

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
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    outcome: Option<&'a str>,
    node: Option<String>,
    #[serde(default)]
    upgraded: bool,
    duration_ms: Option<u64>,
}

/// What the line tells; other lines of the log are nothing.
pub(super) fn read(line: &str) -> Told {
    if line.trim().is_empty() {
        return Told::Nothing;
    }
    if !line.starts_with('{') {
        return Told::Malformed("no JSON");
    }
    let line: Line<'_> = match serde_json::from_str(line) {
        Ok(line) => line,
        Err(error) if error.is_data() => return Told::Nothing,
        Err(_) => return Told::Malformed("no JSON"),
    };
    if line.target != Some("session") {
        return Told::Nothing;
    }
    let Some(user) = line.user.as_deref() else {
        return Told::Malformed("a session without `user`");
    };
    if user.is_empty() {
        // It never logged in.
        return Told::Nothing;
    }
    let Some(user) = user_name(user) else { return Told::BadName };
    let ended = line.timestamp.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let Some(ended) = ended.and_then(|at| u64::try_from(at.as_millisecond()).ok()) else {
        return Told::Malformed("a session without `timestamp`");
    };
    let at_ms = ended.saturating_sub(line.duration_ms.unwrap_or(0));
    // Why the host did otherwise stands in the place of the policy's reason.
    let reason = line.reason.as_deref().unwrap_or("");
    let overruled = matches!(reason, "unverified" | "no-snapshot" | "unverifiable" | "unreachable");
    let outcome = line.outcome.and_then(Ending::of);
    let (said, became) = match line.verdict {
        _ if reason == "policy-failure" || reason == "policy-paused" => (
            Some(Said::only(Word::Failure)),
            if line.verdict == Some("deny") { Becomes::Refused } else { Becomes::Passed },
        ),
        Some("pass") => (Some(Said::only(Word::Pass)), Becomes::Passed),
        Some("deny") => {
            let manner = line.manner.and_then(Manner::of);
            let became = match line.manner {
                _ if overruled => Becomes::Passed,
                Some("refuse") => Becomes::Refused,
                Some("disconnect") => Becomes::Disconnected,
                _ => Becomes::Posed,
            };
            let reason = (!overruled && !reason.is_empty()).then(|| kept(reason.to_owned()));
            (Some(Said { manner, reason, ..Said::only(Word::Deny) }), became)
        }
        _ => (None, Becomes::Passed),
    };
    // An upgrade's outcome is not the login's: that was posed.
    let outcome = if line.upgraded && became == Becomes::Posed { None } else { outcome };
    let recorded = Recorded {
        id: kept(line.id),
        virtual_server: kept(line.server),
        said,
        became: Some(became),
        no_snapshot: reason == "no-snapshot",
        upgraded: line.upgraded && became == Becomes::Posed,
        node: line.node.filter(|node| !node.is_empty()).map(kept),
        standing: (became == Becomes::Posed).then_some(reprieve_policy_host::Standing::Known),
        ..Recorded::default()
    };
    Told::login(Entry {
        mechanism: mechanism(line.mechanism.unwrap_or("")),
        peer: address(line.peer.unwrap_or("")),
        tls: (!line.tls.is_empty()).then_some(TlsSession {
            version: kept(line.tls),
            server_name: None,
            client_subject: None,
        }),
        outcome,
        recorded: Some(Box::new(recorded)),
        ..Entry::new(at_ms, user, Ending::Authenticated)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{one, utc_ms};
    use super::*;
    use reprieve_policy_host::Manner;

    fn line(rest: &str) -> String {
        format!(
            r#"{{"timestamp":"2026-11-27T22:11:26.500000Z","level":"INFO","message":"session","id":"a1","server":"pop3","peer":"192.0.2.7:50312","tls":"","user":"alice","mechanism":"USER",{rest},"octets_in":80,"octets_out":230,"duration_ms":400,"end":"quit","target":"session"}}"#
        )
    }

    #[test]
    fn the_login_is_dated_by_the_sessions_begin() {
        let posed = one(read(&line(
            r#""verdict":"deny","manner":"unchanged","reason":"too-soon","outcome":"","node":"","upgraded":false,"relief":true,"logins":1"#,
        )));
        assert_eq!((posed.at_ms, posed.outcome), (utc_ms("2026-11-27T22:11:26.100Z"), None));
        let recorded = posed.recorded.unwrap();
        assert_eq!(recorded.became, Some(Becomes::Posed));
        assert_eq!(recorded.said.unwrap().reason.as_deref(), Some("too-soon"));
    }

    #[test]
    fn what_the_host_made_of_it_is_told_apart_from_the_verdict() {
        let passed = one(read(&line(
            r#""verdict":"deny","manner":"unchanged","reason":"no-snapshot","outcome":"authenticated","node":"10.0.0.5:110","upgraded":false,"relief":false,"logins":1"#,
        )));
        let recorded = passed.recorded.unwrap();
        assert_eq!((recorded.became, recorded.no_snapshot), (Some(Becomes::Passed), true));
        let said = recorded.said.unwrap();
        assert_eq!((said.manner, said.reason), (Some(Manner::Unchanged), None));
        assert_eq!(passed.outcome, Some(Ending::Authenticated));
        let upgraded = one(read(&line(
            r#""verdict":"deny","manner":"unchanged","reason":"too-soon","outcome":"authenticated","node":"10.0.0.5:110","upgraded":true,"relief":false,"logins":1"#,
        )));
        let recorded = upgraded.recorded.unwrap();
        assert_eq!(
            (upgraded.outcome, recorded.became, recorded.upgraded),
            (None, Some(Becomes::Posed), true)
        );
    }

    #[test]
    fn other_lines_are_nothing_and_broken_ones_are_malformed() {
        for text in [
            r#"{"timestamp":"2026-11-27T22:11:26.500000Z","level":"INFO","message":"listening","target":"reprieve::server"}"#,
            r#"{"timestamp":1,"target":"session"}"#,
            "",
        ] {
            assert!(matches!(read(text), Told::Nothing), "{text}");
        }
        for text in
            ["{", "2026-11-27 plain", r#"{"target":"session","user":"alice"}"#, r#"{"target":"session"}"#]
        {
            assert!(matches!(read(text), Told::Malformed(_)), "{text}");
        }
    }
}
