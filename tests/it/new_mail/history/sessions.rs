//! What reached the mail server: sessions of the decision log beside those of Dovecot's log.

use std::collections::{BTreeMap, HashMap};

/// A session that reached the mail server.
struct Reached {
    began_ms: u64,
    ended_ms: u64,
    /// Number of messages that were fetched.
    fetched: u32,
    /// What was known, and what happened.
    facts: String,
}

/// Counts of polls.
#[derive(Debug, Default)]
pub struct Sessions {
    pub polls: u64,
    /// Polls that reached the mail server.
    pub reached: u64,
    /// Of these, those that fetched nothing, although no other session of the user was open, and the user
    /// had been there twice.
    pub vain: u64,
}

impl Sessions {
    /// `decision_logs`: of all proxies. `dovecot`: lines of its log about the ends of sessions. Sessions that
    /// began after `until_ms`, in milliseconds since 1970, do not count.
    pub fn of(decision_logs: &str, dovecot: &[String], until_ms: u64) -> Self {
        let fetched: HashMap<&str, u32> = dovecot.iter().filter_map(|line| fetched(line)).collect();
        let mut counts = Self::default();
        let mut users: BTreeMap<String, Vec<Reached>> = BTreeMap::new();
        for line in decision_logs.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            let Some(login) = line["logins"].get(0) else { continue };
            let ms = |key: &str| line[key].as_u64().expect("a time");
            if ms("began_ms") > until_ms {
                continue;
            }
            counts.polls += 1;
            let Some(&fetched) = fetched.get(line["id"].as_str().expect("an id")) else { continue };
            counts.reached += 1;
            let user = login["user"].as_str().expect("a user").to_owned();
            let (began_ms, ended_ms) = (ms("began_ms"), ms("ended_ms"));
            let facts = format!("{user} {} {}", login["freshness"], login["disposition"]);
            users.entry(user).or_default().push(Reached { began_ms, ended_ms, fetched, facts });
        }
        for sessions in users.values_mut() {
            sessions.sort_by_key(|session| session.began_ms);
            for vain in (2..sessions.len()).filter(|&number| is_vain(sessions, number)) {
                counts.vain += 1;
                let Reached { began_ms, ended_ms, facts, .. } = &sessions[vain];
                let after_ms = began_ms - sessions[vain - 1].began_ms;
                println!("vain: {facts}, {} ms, {after_ms} ms after another", ended_ms - began_ms);
            }
        }
        counts
    }

    /// The share of polls that reached the mail server in vain, in percent.
    pub fn vain_percent(&self) -> f64 {
        self.vain as f64 / self.polls.max(1) as f64 * 100.0
    }
}

/// `pop3(user3)<812><ID>: Info: Disconnected: Logged out top=0/0, retr=1/345, del=0/6, size=2070`. fetchmail
/// fetches with TOP what it leaves there.
fn fetched(line: &str) -> Option<(&str, u32)> {
    let (prefix, rest) = line.split_once(">: Info: Disconnected: ")?;
    let count = |what| rest.split_once(what)?.1.split('/').next()?.parse::<u32>().ok();
    Some((prefix.rsplit_once('<')?.1, count("top=")? + count("retr=")?))
}

fn is_vain(sessions: &[Reached], number: usize) -> bool {
    let session = &sessions[number];
    let is_beside = |other: &Reached| {
        !std::ptr::eq(other, session)
            && other.began_ms <= session.ended_ms
            && session.began_ms <= other.ended_ms
    };
    session.fetched == 0 && !sessions.iter().any(is_beside)
}

#[test]
fn sessions_that_fetch_nothing_are_vain_if_they_are_alone() {
    let session = |id: u64, began: u64, ended: u64| {
        format!(
            r#"{{"id":"S{id}","began_ms":{began},"ended_ms":{ended},"logins":[{{"user":"a"}}],"relief":false}}"#
        )
    };
    let end = |id: u64, fetched: u32| {
        format!(
            "pop3(a)<7><S{id}>: Info: Disconnected: Logged out top=0/0, retr={fetched}/9, del=0/6, size=7"
        )
    };
    let log = [
        session(1, 10, 19),
        session(2, 20, 29),
        session(3, 30, 39),
        session(4, 40, 49),
        session(5, 45, 59),
        session(6, 60, 69),
        session(7, 70, 79),
        session(8, 80, 89),
    ];
    let dovecot = [end(1, 0), end(2, 0), end(3, 1), end(4, 1), end(5, 0), end(6, 0)];
    let counts = Sessions::of(&log.join("\n"), &dovecot, 79);
    assert_eq!((counts.polls, counts.reached, counts.vain), (7, 6, 1), "{counts:?}");
}
