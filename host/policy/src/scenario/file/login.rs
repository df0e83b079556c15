//! Reads the facts of a login, the state of the pool, and the outcome at the mail server.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::harness::{BackendOutcome, SessionTotals};
use crate::scenario::step::LoginStep;
use crate::{Backend, Ending, Freshness, MECHANISMS, STANDINGS, SnapshotFacts, TlsSession};
use reprieve_settings::{Error, Section, Value};

pub(super) fn claim(value: &Value<'_, '_>, login: &mut LoginStep, needs_user: bool) -> Result<(), Error> {
    let mut section = value.section()?;
    let facts = &mut login.facts;
    if needs_user {
        section.required("user", "\"alice\"")?.text()?.clone_into(&mut facts.user);
    } else if let Some(value) = section.get("user") {
        return Err(value.error("and `users` exclude each other"));
    }
    if let Some(value) = section.get("peer") {
        let address: IpAddr = value.text()?.parse().map_err(|_| {
            value.error("is not an IP address; an example is \"192.0.2.7\" or \"2001:db8::7\"")
        })?;
        facts.peer = SocketAddr::new(address, facts.peer.port());
    }
    if let Some(value) = section.get("port") {
        facts.peer.set_port(u16::try_from(value.count(1, 65_535)?).unwrap_or(u16::MAX));
    }
    if let Some(value) = section.get("standing") {
        facts.standing = value.choice(&STANDINGS)?;
        login.standing_is_given = true;
    }
    if let Some(value) = section.get("mechanism") {
        facts.mechanism = value.choice(&MECHANISMS)?;
    }
    if let Some(value) = section.get("authorization-id") {
        facts.authorization_id = Some(value.text()?.to_owned());
    }
    if let Some(value) = section.get("earlier-logins") {
        facts.earlier_logins = number(value)?;
    }
    if let Some(value) = section.get("tls") {
        let mut tls = value.section()?;
        facts.tls = Some(TlsSession {
            version: tls.get("version").map_or(Ok("TLSv1.3"), |value| value.text())?.to_owned(),
            server_name: tls.get("server-name").map(|value| value.text().map(str::to_owned)).transpose()?,
            client_subject: tls
                .get("client-subject")
                .map(|value| value.text().map(str::to_owned))
                .transpose()?,
        });
        tls.finish()?;
    }
    section.finish()
}

fn number(value: Value<'_, '_>) -> Result<u32, Error> {
    value.count(0, u64::from(u32::MAX)).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

pub(super) fn backend(value: &Value<'_, '_>, login: &mut LoginStep) -> Result<(), Error> {
    let mut section = value.section()?;
    pool_state(&mut section, &mut login.facts.backend)?;
    if let Some(value) = section.get("pool") {
        login.pool = Some(value.text()?.to_owned());
    }
    section.finish()
}

/// States of pools, by their names. `others`: the scenario's pools without the login's own.
pub(super) fn other_pools(value: &Value<'_, '_>, others: &[&String]) -> Result<Vec<Backend>, Error> {
    let mut states = Vec::new();
    for (name, value) in value.section()?.entries() {
        if !others.iter().any(|other| *other == name) {
            return Err(value.error(
                "is not another one of the scenario's `pools`; the state of the login's own pool is its `backend`",
            ));
        }
        let mut state = Backend::idle(name);
        let mut section = value.section()?;
        pool_state(&mut section, &mut state)?;
        section.finish()?;
        states.push(state);
    }
    Ok(states)
}

fn pool_state(section: &mut Section<'_, '_>, state: &mut Backend) -> Result<(), Error> {
    let nodes = section.get("nodes").map(number).transpose()?;
    if let Some(nodes) = nodes {
        (state.nodes, state.healthy_nodes) = (nodes, nodes);
    }
    for (key, field) in [
        ("healthy-nodes", &mut state.healthy_nodes),
        ("sessions", &mut state.sessions),
        ("waiting", &mut state.waiting),
    ] {
        if let Some(value) = section.get(key) {
            *field = number(value)?;
        }
    }
    if let Some(value) = section.get("login-latency-ms") {
        state.login_latency_ms = Some(number(value)?);
    }
    Ok(())
}

pub(super) fn maildrop(value: &Value<'_, '_>, login: &mut LoginStep) -> Result<(), Error> {
    let mut section = value.section()?;
    let maildrop = &mut login.facts.maildrop;
    maildrop.seconds_since_upgrade = section.get("seconds-since-upgrade").map(number).transpose()?;
    maildrop.open_sessions = section.get("open-sessions").map(number).transpose()?.unwrap_or_default();
    if let Some(value) = section.get("freshness") {
        maildrop.freshness = value.choice(&Freshness::ALL.map(|one| (one.name(), one)))?;
    }
    // The other facts are those of a snapshot.
    if let Some(messages) = section.get("messages") {
        let total_bytes = section.required("total-bytes", "52000")?;
        maildrop.snapshot = Some(SnapshotFacts {
            messages: number(messages)?,
            total_bytes: number(total_bytes)?,
            seconds_since_seen: section.get("seconds-since-seen").map(number).transpose()?,
            seconds_unchanged: section.get("seconds-unchanged").map(number).transpose()?,
        });
    }
    section.finish()
}

pub(super) fn session(value: &Value<'_, '_>) -> Result<SessionTotals, Error> {
    let mut section = value.section()?;
    let totals = SessionTotals {
        lasts: section.get("lasts").map(|value| value.duration()).transpose()?.unwrap_or_default(),
        fetched: section.get("fetched").map(number).transpose()?.unwrap_or_default(),
        deleted: section.get("deleted").map(number).transpose()?.unwrap_or_default(),
        sent_bytes: section
            .get("sent-bytes")
            .map(|value| value.count(0, i64::MAX.unsigned_abs()))
            .transpose()?
            .unwrap_or_default(),
        quit: section.get("quit").map_or(Ok(true), |value| value.boolean())?,
    };
    section.finish()?;
    Ok(totals)
}

const ENDINGS: [(&str, Option<Ending>); 5] = [
    ("authenticated", Some(Ending::Authenticated)),
    ("rejected", Some(Ending::Rejected)),
    ("unreachable", Some(Ending::Unreachable)),
    ("abandoned", Some(Ending::Abandoned)),
    ("none", None),
];

pub(super) fn outcome(value: &Value<'_, '_>) -> Result<BackendOutcome, Error> {
    if !value.is_table() {
        return Ok(value.choice(&ENDINGS)?.map_or(BackendOutcome::NotObserved, BackendOutcome::from));
    }
    let mut section = value.section()?;
    let ending = section.required("ending", "\"authenticated\"")?;
    let Some(chosen) = ending.choice(&ENDINGS)? else {
        return Err(ending.error("cannot be \"none\" in a table; write outcome = \"none\""));
    };
    let mut outcome = BackendOutcome::from(chosen);
    if let BackendOutcome::Observed { node, latency, after, response_code, .. } = &mut outcome {
        if let Some(value) = section.get("response-code") {
            if chosen != Ending::Rejected {
                return Err(value.error("belongs to a login that is `rejected`"));
            }
            *response_code = Some(value.text()?.to_owned());
        }
        if let Some(value) = section.get("node") {
            *node = Some(value.text()?.to_owned());
        }
        if let Some(value) = section.get("latency-ms") {
            *latency = Duration::from_millis(value.count(0, u64::from(u32::MAX))?);
        }
        if let Some(value) = section.get("after") {
            *after = value.duration()?;
        }
    }
    section.finish()?;
    Ok(outcome)
}
