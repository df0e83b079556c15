//! Reprieve's decision log: a JSON object per session, with all of its logins.

use serde::Deserialize;

use super::fields::{address, mechanism};
use super::{ParsedLine, truncated, user_name};
use crate::calendar::Calendar;
use crate::entry::{Entry, Recorded, RecordedPolicy};
use crate::recorded_verdict::{RecordedVerdict, VerdictKind};
use reprieve_policy_host::{
    Action, Backend, Because, Ending, Manner, ResponseCode, Standing, TlsSession, Worded as _,
};

/// The version of the schema that can be parsed.
const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct Session<'a> {
    v: Option<u32>,
    #[serde(default)]
    id: String,
    #[serde(default)]
    virtual_server: String,
    peer: Option<&'a str>,
    local: Option<&'a str>,
    tls: Option<Tls>,
    logins: Option<Vec<Login>>,
    #[serde(default)]
    upgraded: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct Tls {
    #[serde(default)]
    version: String,
    server_name: Option<String>,
    client_subject: Option<String>,
    client_subject_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct Login {
    seq: Option<u64>,
    at_ms: u64,
    user: Option<String>,
    user_hash: Option<String>,
    authorization_id: Option<String>,
    authorization_id_hash: Option<String>,
    mechanism: Option<String>,
    standing: Option<String>,
    backend: Option<BackendState>,
    policy: Option<Policy>,
    verdict: Option<String>,
    failure: Option<String>,
    manner: Option<String>,
    code: Option<String>,
    retry_after_s: Option<u32>,
    reason: Option<String>,
    delay_ms: Option<u32>,
    to_pool: Option<String>,
    as_user: Option<String>,
    disposition: Option<String>,
    because: Option<String>,
    outcome: Option<String>,
    outcome_at_ms: Option<u64>,
    node: Option<String>,
    latency_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct BackendState {
    #[serde(default)]
    pool: String,
    #[serde(default)]
    nodes: u32,
    #[serde(default)]
    healthy_nodes: u32,
    #[serde(default)]
    sessions: u32,
    #[serde(default)]
    waiting: u32,
    login_latency_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct Policy {
    #[serde(default)]
    component: String,
    #[serde(default)]
    sha256: String,
}

/// Parses a line: a session with all of its logins.
pub(super) fn parse(line: &str, _calendar: &mut Calendar) -> ParsedLine {
    if line.trim().is_empty() {
        return ParsedLine::NoLogin;
    }
    let mut session: Session<'_> = match serde_json::from_str(line) {
        Ok(session) => session,
        Err(error) if error.is_data() => {
            return ParsedLine::Malformed("JSON, but not a line of the decision log");
        }
        Err(_) => return ParsedLine::Malformed("not JSON"),
    };
    let (Some(version), Some(logins)) = (session.v, session.logins.take()) else {
        return ParsedLine::Malformed("JSON, but not a line of the decision log");
    };
    if version != VERSION {
        return ParsedLine::Malformed("an unknown version of the decision log");
    }
    let entries: Result<Vec<Entry>, _> = logins.into_iter().map(|login| entry(login, &session)).collect();
    let mut entries = match entries {
        Ok(entries) if entries.is_empty() => return ParsedLine::NoLogin,
        Ok(entries) => entries,
        Err(reason) => return ParsedLine::Malformed(reason),
    };
    // Only the last login of a session can be posed.
    if let Some(recorded) = entries.last_mut().and_then(|last| last.recorded.as_mut()) {
        recorded.upgraded = session.upgraded && recorded.action == Some(Action::Posed);
    }
    ParsedLine::Logins(entries)
}

fn entry(mut login: Login, session: &Session<'_>) -> Result<Entry, &'static str> {
    let is_date = i64::try_from(login.at_ms).is_ok_and(|ms| jiff::Timestamp::from_millisecond(ms).is_ok());
    if !is_date {
        return Err("no such date");
    }
    let user = login.user.take().or(login.user_hash.take());
    let user = user.as_deref().and_then(user_name).ok_or("a login without a user")?;
    let recorded = Recorded {
        id: truncated(session.id.clone()),
        virtual_server: truncated(session.virtual_server.clone()),
        seq: login.seq,
        standing: login.standing.as_deref().and_then(Standing::of),
        backend: login.backend.take().map(Into::into),
        outcome_at_ms: login.outcome_at_ms,
        node: login.node.take().map(truncated),
        action: login.disposition.as_deref().and_then(Action::named),
        because: login.because.as_deref().and_then(Because::named),
        upgraded: false,
        policy: login.policy.take().map(|policy| RecordedPolicy {
            component: truncated(policy.component),
            sha256: truncated(policy.sha256),
        }),
        verdict: login.take_verdict(),
    };
    Ok(Entry {
        at_ms: login.at_ms,
        user: user.to_owned(),
        authorization_id: login.authorization_id.or(login.authorization_id_hash).map(truncated),
        mechanism: mechanism(match login.mechanism.as_deref() {
            Some("user-pass") | None => "user",
            Some(name) => name,
        }),
        peer: address(session.peer.unwrap_or("")),
        local: address(session.local.unwrap_or("")),
        tls: session.tls.as_ref().map(|tls| TlsSession {
            version: truncated(tls.version.clone()),
            server_name: tls.server_name.clone().map(truncated),
            client_subject: tls.client_subject.clone().or(tls.client_subject_hash.clone()).map(truncated),
        }),
        outcome: login.outcome.as_deref().and_then(Ending::of),
        latency_ms: login.latency_ms,
        times: 1,
        recorded: Some(Box::new(recorded)),
    })
}

impl From<BackendState> for Backend {
    fn from(state: BackendState) -> Self {
        Self {
            pool: truncated(state.pool).into(),
            nodes: state.nodes,
            healthy_nodes: state.healthy_nodes,
            sessions: state.sessions,
            waiting: state.waiting,
            login_latency_ms: state.login_latency_ms,
        }
    }
}

impl Login {
    /// Takes the fields of the verdict. None if the policy was not asked.
    fn take_verdict(&mut self) -> Option<RecordedVerdict> {
        if let Some(failure) = self.failure.take() {
            let reason = Some(truncated(failure));
            return Some(RecordedVerdict { reason, ..RecordedVerdict::new(VerdictKind::Failure) });
        }
        match self.verdict.as_deref()? {
            "pass" => Some(RecordedVerdict {
                pool: self.to_pool.take().map(truncated),
                user: self.as_user.take().map(truncated),
                delay_ms: self.delay_ms,
                ..RecordedVerdict::new(VerdictKind::Pass)
            }),
            "deny" => Some(RecordedVerdict {
                manner: self.manner.as_deref().and_then(Manner::of),
                code: self.code.as_deref().and_then(ResponseCode::of),
                retry_after: self.retry_after_s,
                reason: self.reason.take().map(truncated),
                delay_ms: self.delay_ms,
                ..RecordedVerdict::new(VerdictKind::Deny)
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one};
    use super::*;
    use reprieve_policy_host::Mechanism;

    const LINE: &str = r#"{"v":1,"time":"2026-11-27T22:07:23.123Z","id":"a1b2c3d4000001","virtual_server":"pop3",
        "began_ms":1795817243123,"ended_ms":1795817243456,"peer":"192.0.2.7:50312","local":"198.51.100.1:110",
        "tls":{"version":"1.3","server_name":"mail.example"},"added_later":{"x":[1]},
        "logins":[{"seq":17,"at_ms":1795817243200,"user":"alice","mechanism":"user-pass","standing":"known",
        "backend":{"pool":"mail","nodes":2,"healthy_nodes":2,"sessions":3,"waiting":0,"login_latency_ms":12},
        "policy":{"component":"interval","sha256":"00","version":3},"verdict":"deny","manner":"unchanged",
        "retry_after_s":540,"reason":"too-soon","delay_ms":0,"disposition":"posed","decide_us":3}],
        "upgraded":true,"relief":true,"bytes_in":80,"bytes_out":230,"end":"quit"}"#;

    fn parse_line(line: &str) -> ParsedLine {
        parse(line, &mut calendar())
    }

    #[test]
    fn a_denial_is_parsed_with_all_recorded_fields() {
        let login = one(parse_line(LINE));
        assert_eq!(
            (login.at_ms, &*login.user, login.mechanism),
            (1_795_817_243_200, "alice", Mechanism::UserPass)
        );
        assert_eq!((login.outcome, login.latency_ms), (None, None));
        assert_eq!(login.tls.unwrap().server_name.as_deref(), Some("mail.example"));
        let recorded = login.recorded.unwrap();
        assert_eq!((recorded.seq, recorded.standing), (Some(17), Some(Standing::Known)));
        assert_eq!(recorded.backend.unwrap().login_latency_ms, Some(12));
        assert_eq!(recorded.policy.unwrap().component, "interval");
        assert_eq!((recorded.action, recorded.upgraded), (Some(Action::Posed), true));
        let verdict = recorded.verdict.unwrap();
        assert_eq!(
            (verdict.kind, verdict.manner, verdict.retry_after),
            (VerdictKind::Deny, Some(Manner::Unchanged), Some(540))
        );
    }

    #[test]
    fn all_logins_of_a_session_are_parsed_with_names_or_hashes() {
        let line = r#"{"v":1,"logins":[
            {"seq":1,"at_ms":1000,"user_hash":"00ff","mechanism":"plain","standing":"unknown","verdict":"pass","outcome":"rejected","outcome_at_ms":1040,"latency_ms":40},
            {"seq":2,"at_ms":2000,"user_hash":"00ff","failure":"time","disposition":"passed","because":"policy-failure","outcome":"authenticated"}]}"#;
        let ParsedLine::Logins(logins) = parse_line(line) else { panic!("no logins") };
        assert_eq!(logins.len(), 2);
        assert_eq!((&*logins[0].user, logins[0].outcome), ("00ff", Some(Ending::Rejected)));
        assert_eq!(logins[0].recorded.as_ref().unwrap().outcome_at_ms, Some(1040));
        let verdict = logins[1].recorded.as_ref().unwrap().verdict.clone().unwrap();
        assert_eq!(verdict.describe(), "failure time");
    }

    #[test]
    fn a_line_with_another_schema_is_malformed() {
        for line in [
            "{",
            "[]",
            "nonsense",
            "{\"v\":1}",
            r#"{"v":2,"logins":[]}"#,
            r#"{"v":1,"logins":[{"at_ms":1}]}"#,
            r#"{"v":1,"logins":[{"at_ms":-1,"user":"alice"}]}"#,
            r#"{"v":1,"logins":[{"at_ms":1e300,"user":"alice"}]}"#,
            r#"{"v":1,"logins":[{"at_ms":18446744073709551615,"user":"alice"}]}"#,
            r#"{"v":99999999999999999999,"logins":[]}"#,
        ] {
            assert!(matches!(parse_line(line), ParsedLine::Malformed(_)), "{line}");
        }
        assert!(
            matches!(parse_line(r#"{"v":1,"logins":[]}"#), ParsedLine::NoLogin),
            "a client that never logged in"
        );
    }
}
