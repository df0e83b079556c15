//! What an hour of polls costs Dovecot, and what a signal costs Reprieve. A measurement:
//! `cargo test --release --test it new_mail::cost -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use super::{SIGNALS, Site};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::http::ask_at;

const USERS: usize = 10;
/// A second stands for a minute.
const MINUTE: Duration = Duration::from_secs(1);
const SITE: &str = "policy = { settings = { interval = \"10s\", longest-interval = \"60s\" } }";

/// CPU time of a process and of its children that have ended, or of all processes of its group.
fn cpu_time(process: u32, whole_group: bool) -> Duration {
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let (pid, _) = text.split_once(' ')?;
        let fields: Vec<u64> = text
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // After the state: parent, group, …; utime, stime, cutime and cstime are the fields 14 to 17.
        let is_own = pid.parse() == Ok(process);
        let of_group = fields[1] == u64::from(process);
        let own = fields[10] + fields[11];
        let ended = if is_own { fields[12] + fields[13] } else { 0 };
        (is_own || (whole_group && of_group)).then_some(own + ended)
    });
    Duration::from_millis(stats.sum::<u64>() * 10)
}

/// An hour of all users: a poll per minute, and six messages.
fn hour(dovecot: &Dovecot, server: std::net::SocketAddr, prefix: &str, deliver: &dyn Fn(&str)) -> usize {
    let mut shown = 0;
    let began = Instant::now();
    for minute in 0..60_u32 {
        for user in 0..USERS {
            let name = format!("{prefix}{user}");
            if (minute as usize + user) % 10 == 9 {
                deliver(&name);
            }
            let mut session = Dialogue::log_in(&dovecot.account_at(server, &name));
            session.ok("STAT");
            shown = session.lines("UIDL").len();
            session.quit();
        }
        std::thread::sleep((began + MINUTE * (minute + 1)).saturating_duration_since(Instant::now()));
    }
    shown
}

#[test]
#[ignore = "a measurement of three minutes"]
fn an_hour_of_polls() {
    let names: Vec<_> = ["direct", "interval", "signals"]
        .iter()
        .flat_map(|kind| (0..USERS).map(move |user| format!("{kind}{user}")))
        .collect();
    let dovecot = Dovecot::start(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let site = Site::with_policy(dovecot.address(), super::NOTIFICATIONS, "", SITE);
    let without = Site::with_policy(dovecot.address(), "", "", SITE);
    let (mail, reprieve) = (dovecot.id(), site.reprieve.id());
    let signal = |user: &str| {
        let authorization = format!("Authorization: Bearer {SIGNALS}");
        let body = format!(r#"{{"users": ["{user}"]}}"#);
        let answer = ask_at(site.admin, "POST /new-mail/mail", &[&authorization], &body).unwrap();
        assert_eq!(answer.status, 200);
    };
    let mut direct = Duration::ZERO;
    for kind in ["direct", "interval", "signals"] {
        for user in 0..USERS {
            for _ in 0..5 {
                dovecot.deliver(&format!("{kind}{user}"));
            }
        }
        let server = match kind {
            "direct" => dovecot.address(),
            "interval" => without.pop3,
            _ => site.pop3,
        };
        let deliver = |user: &str| {
            dovecot.deliver(user);
            if kind == "signals" {
                signal(user);
            }
        };
        let before = cpu_time(mail, true);
        let shown = hour(&dovecot, server, kind, &deliver);
        let spent = cpu_time(mail, true) - before;
        if kind == "direct" {
            direct = spent;
        }
        println!(
            "{kind}: Dovecot {:.2} ms per user and hour, {:.1} %; the last login showed {shown} messages",
            spent.as_secs_f64() * 1e3 / USERS as f64,
            spent.as_secs_f64() / direct.as_secs_f64() * 100.0,
        );
    }
    let before = cpu_time(reprieve, false);
    (0..2000).for_each(|_| signal("signals0"));
    let spent = cpu_time(reprieve, false) - before;
    println!(
        "a signal over HTTP, with a connection of its own: {:.0} µs of Reprieve's CPU time",
        spent.as_secs_f64() * 1e6 / 2000.0
    );
}
