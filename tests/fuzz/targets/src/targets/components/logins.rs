//! Logins and outcomes with something in each part of them, so that each fact has a value.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reprieve_policy_host::{
    Backend, Cause, Claim, Client, Date, Ending, Freshness, Login, Lookups, Maildrop, Mechanism, MemoryKey,
    Moment, Outcome, Session, SessionSummary, SnapshotFacts, Standing, TlsSession, Weekday,
};

/// 2026-06-15T12:00:00Z, in milliseconds.
pub const NOON: u64 = 1_781_524_800_000;

fn time() -> Moment {
    let date = Date { year: 2026, month: 6, day: 15 };
    Moment { unix_ms: NOON, date, weekday: Weekday::Monday, second_of_day: 43_200 }
}

/// A complete login of a user with a known secret and a snapshot.
pub fn login(user: &str) -> Arc<Login> {
    Arc::new(Login {
        session: Session { virtual_server: "pop3".into(), id: "session".into(), earlier_logins: 1 },
        client: Client {
            peer: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 50_000)),
            local: SocketAddr::from((Ipv6Addr::LOCALHOST, 995)),
            tls: Some(TlsSession {
                version: "TLSv1.3".to_owned(),
                server_name: Some("pop.example".to_owned()),
                client_subject: None,
            }),
        },
        claim: Claim {
            user: user.to_owned(),
            authorization_id: Some("postmaster".to_owned()),
            key: MemoryKey::new(user, None),
            mechanism: Mechanism::Plain,
            standing: Standing::Known,
        },
        time: time(),
        backend: Backend::idle("main"),
        pools: Arc::new(vec!["main".to_owned(), "spare".to_owned()]),
        maildrop: Maildrop {
            snapshot: Some(SnapshotFacts { messages: 3, total_bytes: 4711, ..SnapshotFacts::default() }),
            seconds_since_upgrade: Some(5),
            open_sessions: 1,
            freshness: Freshness::Unchanged,
        },
    })
}

/// An outcome of a login, another one in each round.
pub fn outcome(login: &Arc<Login>, round: usize, note: Option<String>) -> Arc<Outcome> {
    let (ending, cause) = [
        (Ending::Authenticated, Cause::Verdict),
        (Ending::Rejected, Cause::Unverified),
        (Ending::Unreachable, Cause::NewMail),
        (Ending::Abandoned, Cause::Upgrade),
    ][round % 4];
    Arc::new(Outcome {
        cause,
        node: Some("192.0.2.1:110".into()),
        latency_ms: 12,
        response_code: Some("AUTH".into()),
        note,
        ..Outcome::new(login.clone(), ending)
    })
}

/// The end of a session.
pub fn summary(login: &Arc<Login>) -> SessionSummary {
    SessionSummary {
        login: login.clone(),
        time: time(),
        upgrade: true,
        quit: true,
        duration: Duration::from_secs(9),
        fetched: 2,
        deleted: 1,
        sent_bytes: u64::MAX,
    }
}

/// One table with one key.
#[derive(Debug)]
pub struct Tables;

impl Lookups for Tables {
    fn get(&self, table: &str, key: &str) -> Option<Option<Box<str>>> {
        (table == "plans").then(|| (key == "alice").then(|| "gold".into()))
    }

    fn contains(&self, table: &str, key: &str) -> Option<bool> {
        self.get(table, key).map(|found| found.is_some())
    }

    fn names(&self) -> Vec<String> {
        vec!["plans".to_owned()]
    }
}
