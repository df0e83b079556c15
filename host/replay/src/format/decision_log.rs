//! Reprieve's decision log: one JSON object a session, with all of its logins.

use serde::Deserialize;

use super::words::{address, mechanism};
use super::{Told, kept, user_name};
use crate::entry::{Entry, Recorded};
use crate::said::{Said, Word};
use reprieve_policy_host::harness::Becomes;
use reprieve_policy_host::{Backend, Ending, Manner, ResponseCode, Standing, TlsSession, Worded as _};

/// The version of the schema that is read.
const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
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
#[serde(rename_all = "kebab-case")]
struct Tls {
    #[serde(default)]
    version: String,
    server_name: Option<String>,
    client_subject: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Login {
    seq: Option<u64>,
    at: u64,
    user: Option<String>,
    user_hash: Option<String>,
    authorization_id: Option<String>,
    authorization_id_hash: Option<String>,
    mechanism: Option<String>,
    standing: Option<String>,
    backend: Option<BackendState>,
    verdict: Option<String>,
    failure: Option<String>,
    manner: Option<String>,
    code: Option<String>,
    retry_after: Option<u32>,
    reason: Option<String>,
    to_pool: Option<String>,
    as_user: Option<String>,
    became: Option<String>,
    why: Option<String>,
    outcome: Option<String>,
    outcome_at: Option<u64>,
    node: Option<String>,
    latency_ms: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
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

/// What the line tells.
pub(super) fn read(line: &str) -> Told {
    if line.trim().is_empty() {
        return Told::Nothing;
    }
    let session: Session<'_> = match serde_json::from_str(line) {
        Ok(session) => session,
        Err(error) if error.is_data() => {
            return Told::Malformed("JSON, but not of the decision log's schema");
        }
        Err(_) => return Told::Malformed("no JSON"),
    };
    let (Some(version), Some(logins)) = (session.v, session.logins) else {
        return Told::Malformed("JSON, but not of the decision log's schema");
    };
    if version != VERSION {
        return Told::Malformed("a version of the decision log's schema that is not known here");
    }
    let peer = address(session.peer.unwrap_or(""));
    let local = address(session.local.unwrap_or(""));
    let tls = session.tls.map(|tls| TlsSession {
        version: kept(tls.version),
        server_name: tls.server_name.map(kept),
        client_subject: tls.client_subject.map(kept),
    });
    let (id, virtual_server) = (kept(session.id), kept(session.virtual_server));
    let mut entries = Vec::with_capacity(logins.len());
    for login in logins {
        let recorded = Recorded {
            id: id.clone(),
            virtual_server: virtual_server.clone(),
            seq: login.seq,
            standing: login.standing.as_deref().and_then(Standing::of),
            backend: login.backend.map(|state| Backend {
                pool: kept(state.pool),
                nodes: state.nodes,
                healthy_nodes: state.healthy_nodes,
                sessions: state.sessions,
                waiting: state.waiting,
                login_latency_ms: state.login_latency_ms,
            }),
            outcome_at_ms: login.outcome_at,
            node: login.node.map(kept),
            became: login.became.as_deref().and_then(becomes),
            no_snapshot: login.why.as_deref() == Some("no-snapshot"),
            upgraded: false,
            said: said(
                login.verdict.as_deref(),
                login.failure.map(kept),
                login.manner.as_deref(),
                login.code.as_deref(),
                login.retry_after,
                login.reason.map(kept),
                login.to_pool.map(kept),
                login.as_user.map(kept),
            ),
        };
        let is_date = i64::try_from(login.at).is_ok_and(|ms| jiff::Timestamp::from_millisecond(ms).is_ok());
        if !is_date {
            return Told::Malformed("no such date");
        }
        let user = login.user.or(login.user_hash);
        let Some(user) = user.as_deref().and_then(user_name) else {
            return Told::Malformed("a login without a user");
        };
        entries.push(Entry {
            at_ms: login.at,
            user: user.to_owned(),
            authorization_id: login.authorization_id.or(login.authorization_id_hash).map(kept),
            mechanism: mechanism(match login.mechanism.as_deref() {
                Some("user-pass") | None => "user",
                Some(word) => word,
            }),
            peer,
            local,
            tls: tls.clone(),
            outcome: login.outcome.as_deref().and_then(Ending::of),
            latency_ms: login.latency_ms,
            times: 1,
            recorded: Some(Box::new(recorded)),
        });
    }
    // A session that is posed takes no other login.
    if let Some(recorded) = entries.last_mut().and_then(|last: &mut Entry| last.recorded.as_mut()) {
        recorded.upgraded = session.upgraded && recorded.became == Some(Becomes::Posed);
    }
    if entries.is_empty() { Told::Nothing } else { Told::Logins(entries) }
}

#[allow(clippy::too_many_arguments)]
fn said(
    verdict: Option<&str>,
    failure: Option<String>,
    manner: Option<&str>,
    code: Option<&str>,
    retry_after: Option<u32>,
    reason: Option<String>,
    to_pool: Option<String>,
    as_user: Option<String>,
) -> Option<Said> {
    if failure.is_some() {
        return Some(Said { reason: failure, ..Said::only(Word::Failure) });
    }
    match verdict? {
        "pass" => Some(Said { pool: to_pool, user: as_user, ..Said::only(Word::Pass) }),
        "deny" => Some(Said {
            manner: manner.and_then(Manner::of),
            code: code.and_then(ResponseCode::of),
            retry_after,
            reason,
            ..Said::only(Word::Deny)
        }),
        _ => None,
    }
}

fn becomes(word: &str) -> Option<Becomes> {
    Becomes::WORDS.iter().find(|(name, _)| *name == word).map(|(_, becomes)| *becomes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::one;
    use super::*;
    use reprieve_policy_host::Mechanism;

    const LINE: &str = r#"{"v":1,"time":"2026-11-27T22:07:23.123Z","id":"a1b2c3d4000001","virtual-server":"pop3",
        "began":1795817243123,"ended":1795817243456,"peer":"192.0.2.7:50312","local":"198.51.100.1:110",
        "tls":{"version":"1.3","server-name":"mail.example"},"what-comes-later":{"x":[1]},
        "logins":[{"seq":17,"at":1795817243200,"user":"alice","mechanism":"user-pass","standing":"known",
        "backend":{"pool":"mail","nodes":2,"healthy-nodes":2,"sessions":3,"waiting":0,"login-latency-ms":12},
        "policy":{"component":"interval","sha256":"00","version":3},"verdict":"deny","manner":"unchanged",
        "retry-after":540,"reason":"too-soon","delay-ms":0,"became":"posed","decide-us":3}],
        "upgraded":true,"relief":true,"octets-in":80,"octets-out":230,"end":"quit"}"#;

    #[test]
    fn a_denial_is_read_with_all_that_was_recorded() {
        let login = one(read(LINE));
        assert_eq!(
            (login.at_ms, &*login.user, login.mechanism),
            (1_795_817_243_200, "alice", Mechanism::UserPass)
        );
        assert_eq!((login.outcome, login.latency_ms), (None, None));
        assert_eq!(login.tls.unwrap().server_name.as_deref(), Some("mail.example"));
        let recorded = login.recorded.unwrap();
        assert_eq!((recorded.seq, recorded.standing), (Some(17), Some(Standing::Known)));
        assert_eq!(recorded.backend.unwrap().login_latency_ms, Some(12));
        assert_eq!((recorded.became, recorded.upgraded), (Some(Becomes::Posed), true));
        let said = recorded.said.unwrap();
        assert_eq!(
            (said.word, said.manner, said.retry_after),
            (Word::Deny, Some(Manner::Unchanged), Some(540))
        );
    }

    #[test]
    fn all_logins_of_a_session_are_read_and_hashes_stand_for_names() {
        let line = r#"{"v":1,"logins":[
            {"seq":1,"at":1000,"user-hash":"00ff","mechanism":"plain","standing":"unknown","verdict":"pass","outcome":"rejected","outcome-at":1040,"latency-ms":40},
            {"seq":2,"at":2000,"user-hash":"00ff","failure":"time","became":"passed","why":"policy-failure","outcome":"authenticated"}]}"#;
        let Told::Logins(logins) = read(line) else { panic!("no logins") };
        assert_eq!(logins.len(), 2);
        assert_eq!((&*logins[0].user, logins[0].outcome), ("00ff", Some(Ending::Rejected)));
        assert_eq!(logins[0].recorded.as_ref().unwrap().outcome_at_ms, Some(1040));
        let said = logins[1].recorded.as_ref().unwrap().said.clone().unwrap();
        assert_eq!(said.kind(), "failure time");
    }

    #[test]
    fn what_is_not_of_the_schema_is_malformed() {
        for line in [
            "{",
            "[]",
            "nonsense",
            "{\"v\":1}",
            r#"{"v":2,"logins":[]}"#,
            r#"{"v":1,"logins":[{"at":1}]}"#,
            r#"{"v":1,"logins":[{"at":-1,"user":"alice"}]}"#,
            r#"{"v":1,"logins":[{"at":1e300,"user":"alice"}]}"#,
            r#"{"v":1,"logins":[{"at":18446744073709551615,"user":"alice"}]}"#,
            r#"{"v":99999999999999999999,"logins":[]}"#,
        ] {
            assert!(matches!(read(line), Told::Malformed(_)), "{line}");
        }
        assert!(matches!(read(r#"{"v":1,"logins":[]}"#), Told::Nothing), "a client that never logged in");
    }
}
