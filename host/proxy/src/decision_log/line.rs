//! A session as one line of JSON. docs/decision-log.md explains its keys, and a test here
//! compares the two.

use jiff::Timestamp;
use serde::Serialize;

use super::names::{Names, Shown};
use super::session_events::{Decision, EndedSession, SessionEvents};
use reprieve_policy_host::{Because, Difference, Identity, Opinion, Verdict, Worded};
use reprieve_text::escape;

/// Version of the schema: it grows when a key gets another meaning or goes.
const VERSION: u8 = 1;

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct Line<'a> {
    v: u8,
    time: String,
    id: &'a str,
    virtual_server: &'a str,
    began_ms: u64,
    ended_ms: u64,
    peer: String,
    local: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls<'a>>,
    logins: Vec<Login<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logins_left_out: Option<u32>,
    upgraded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_command: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_node: Option<&'a str>,
    relief: bool,
    bytes_in: u64,
    bytes_out: u64,
    end: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct Tls<'a> {
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_subject_hash: Option<String>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "snake_case")]
struct Login<'a> {
    seq: u64,
    at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_id_hash: Option<String>,
    mechanism: &'static str,
    standing: &'static str,
    freshness: &'static str,
    backend: Backend<'a>,
    policy: Policy<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    as_user_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    has_note: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<u32>,
    decide_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<Shadow<'a>>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "snake_case")]
struct Shadow<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    /// Whether it decided otherwise than the policy in force.
    differs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<&'static str>,
    policy: Policy<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "snake_case")]
struct Backend<'a> {
    pool: &'a str,
    nodes: u32,
    healthy_nodes: u32,
    sessions: u32,
    waiting: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_latency_ms: Option<u32>,
}

#[derive(Default, Serialize)]
struct Policy<'a> {
    component: &'a str,
    sha256: &'a str,
    version: u64,
}

/// A session as a line, its end included.
pub(super) fn line(session: &EndedSession<'_>, events: Option<&SessionEvents>, names: &Names) -> Vec<u8> {
    let lasted = session.ended.saturating_duration_since(session.began).as_millis();
    let first =
        events.and_then(|events| events.decisions.first()).map_or(u64::MAX, |decision| decision.at_ms);
    let began = session.ended_ms.saturating_sub(u64::try_from(lasted).unwrap_or(u64::MAX));
    let upgrade = events.and_then(|events| events.upgrade.as_ref());
    let line = Line {
        v: VERSION,
        time: time(session.ended_ms),
        id: session.id,
        virtual_server: session.virtual_server,
        // A clock that was set meanwhile leaves the order as it was.
        began_ms: began.min(first),
        ended_ms: session.ended_ms,
        peer: canonical(session.peer),
        local: canonical(session.local),
        tls: session.tls.map(|tls| {
            let subject = tls.client.as_ref().map(|client| &*client.subject);
            let (client_subject, client_subject_hash) = shown(names, subject);
            Tls {
                version: tls.version,
                server_name: tls.server_name.as_deref(),
                client_subject,
                client_subject_hash,
            }
        }),
        logins: events
            .map(|events| events.decisions.iter().map(|decision| login(decision, names)).collect())
            .unwrap_or_default(),
        logins_left_out: events.map(|events| events.left_out).filter(|&count| count > 0),
        upgraded: session.upgraded,
        upgrade_command: upgrade.map(|upgrade| upgrade.command),
        upgrade_outcome: upgrade.map(|upgrade| upgrade.outcome.word()),
        upgrade_node: upgrade.and_then(|upgrade| upgrade.node.as_deref()),
        relief: session.relief,
        bytes_in: session.bytes_in,
        bytes_out: session.bytes_out,
        end: session.end,
    };
    // Texts, numbers and booleans: nothing that JSON lacks.
    let mut text = serde_json::to_string(&line).unwrap_or_default();
    debug_assert!(!text.is_empty());
    escape::escape_json(&mut text, 0);
    text.push('\n');
    text.into_bytes()
}

fn login<'a>(decision: &'a Decision, names: &Names) -> Login<'a> {
    let claim = &decision.claim;
    let (user, user_hash) = shown(names, Some(&claim.user));
    let (authorization_id, authorization_id_hash) = shown(names, claim.authorization_id.as_deref());
    let backend = &decision.backend;
    let mut login = Login {
        seq: decision.seq,
        at_ms: decision.at_ms,
        user,
        user_hash,
        authorization_id,
        authorization_id_hash,
        mechanism: claim.mechanism.word(),
        standing: claim.standing.word(),
        freshness: decision.freshness.name(),
        backend: Backend {
            pool: &backend.pool,
            nodes: backend.nodes,
            healthy_nodes: backend.healthy_nodes,
            sessions: backend.sessions,
            waiting: backend.waiting,
            login_latency_ms: backend.login_latency_ms,
        },
        policy: policy(&decision.policy),
        disposition: decision.disposition.map(|it| it.action.name()),
        because: decision.disposition.and_then(|it| it.because).map(Because::name),
        decide_us: u64::try_from(decision.took.as_micros()).unwrap_or(u64::MAX),
        shadow: shadow(decision),
        ..Login::default()
    };
    match &decision.verdict {
        Ok(Verdict::Pass(pass)) => {
            login.verdict = Some("pass");
            login.delay_ms = Some(pass.delay_ms);
            login.to_pool = pass.pool.as_deref();
            (login.as_user, login.as_user_hash) = shown(names, pass.user.as_deref());
            login.has_note = pass.note.is_some().then_some(true);
        }
        Ok(Verdict::Deny(deny)) => {
            login.verdict = Some("deny");
            login.manner = Some(deny.manner.word());
            login.code = deny.code.map(Worded::word);
            login.retry_after_s = deny.retry_after;
            login.reason = Some(&deny.reason);
            login.delay_ms = Some(deny.delay_ms);
        }
        Err(kind) => login.failure = Some(kind),
    }
    if let Some(outcome) = &decision.outcome {
        login.outcome = Some(outcome.ending.word());
        login.outcome_at_ms = Some(outcome.at_ms);
        login.node = outcome.node.as_deref();
        login.latency_ms = Some(outcome.latency_ms);
    }
    login
}

fn policy(identity: &Identity) -> Policy<'_> {
    Policy { component: &identity.component, sha256: &identity.sha256, version: identity.version }
}

/// The shadow policy's verdict, if it has decided by now.
fn shadow(decision: &Decision) -> Option<Shadow<'_>> {
    let (told, identity) = decision.shadow.as_ref()?;
    let own = told.get()?;
    let difference = Difference::between(&decision.opinion(), own).map(Difference::name);
    let mut shadow =
        Shadow { differs: difference.is_some(), difference, policy: policy(identity), ..Shadow::default() };
    match own {
        Opinion::Pass { .. } => shadow.verdict = Some("pass"),
        Opinion::Deny { manner, reason, retry_after } => {
            shadow.verdict = Some("deny");
            shadow.manner = Some(manner.word());
            shadow.reason = Some(reason);
            shadow.retry_after_s = *retry_after;
        }
        Opinion::Failed(kind) => shadow.failure = Some(kind),
    }
    Some(shadow)
}

/// A name, or its hash.
fn shown<'a>(names: &Names, name: Option<&'a str>) -> (Option<&'a str>, Option<String>) {
    match name.map(|name| names.show(name)) {
        None => (None, None),
        Some(Shown::Plain(name)) => (Some(name), None),
        Some(Shown::Hash(hash)) => (None, Some(hash)),
    }
}

/// As policies see it: an IPv4-mapped IPv6 address as an IPv4 address.
fn canonical(address: std::net::SocketAddr) -> String {
    std::net::SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

fn time(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", moment.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests;
