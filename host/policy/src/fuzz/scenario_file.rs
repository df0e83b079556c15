//! Writes a counterexample as a scenario file.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use reprieve_settings::format::quoted;
use reprieve_settings::{print_duration, print_size};

use super::check::Finding;
use super::growth::Growth;
use super::history::{Details, Event, History};
use super::invariant::Invariant;
use crate::harness::HarnessBuilder;
use crate::{Ending, Maildrop, Worded as _};

/// The scenario that shows a violation in one history.
pub(super) fn of_finding(invariant: Invariant, finding: &Finding, builder: &HarnessBuilder) -> String {
    let History { zone, events } = &finding.history;
    let start_ms = events.first().map_or(0, |event| event.at_ms);
    let mut text = head(invariant, builder, zone, start_ms);
    let mut previous_ms = start_ms;
    for (index, event) in events.iter().enumerate() {
        let is_last = index + 1 == events.len();
        let mut keys = Vec::new();
        let elapsed = |ms: u64| quoted(&print_duration(Duration::from_millis(ms)));
        match event.at_ms.checked_sub(previous_ms) {
            Some(0) => {}
            Some(after_ms) => keys.push(("after", elapsed(after_ms))),
            None => keys.push(("set-back", elapsed(previous_ms - event.at_ms))),
        }
        previous_ms = event.at_ms;
        keys.extend(login_keys(event));
        if is_last {
            keys.extend(finding.expected.keys(&finding.got));
        }
        write_step(&mut text, &keys);
    }
    text
}

/// The scenario in which the store grows.
pub(super) fn of_growth(growth: &Growth, builder: &HarnessBuilder, start_ms: u64) -> String {
    let mut text = head(Invariant::Store, builder, "UTC", start_ms);
    for day in 1..=Growth::DAYS {
        let mut keys = Vec::new();
        if day > 1 {
            keys.push(("after", quoted("1d")));
        }
        let (count, name) = (growth.users_per_day, quoted(&Growth::name(day)));
        keys.push(("users", format!("{{ count = {count}, name = {name} }}")));
        write_step(&mut text, &keys);
    }
    let limit = quoted(&print_size(growth.limit_bytes));
    write_step(&mut text, &[("after", quoted("1h")), ("store", format!("{{ usage-at-most = {limit} }}"))]);
    text
}

fn head(invariant: Invariant, builder: &HarnessBuilder, zone: &str, start_ms: u64) -> String {
    let start = i64::try_from(start_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let mut text = format!("# {}\nname = {}\n", invariant.rule(), quoted(invariant.name()));
    let settings: Vec<_> = builder
        .settings()
        .iter()
        .map(|(key, value)| format!("{} = {}", quoted(key), quoted(value)))
        .collect();
    if !settings.is_empty() {
        let _ = writeln!(text, "settings = {{ {} }}", settings.join(", "));
    }
    let pools: Vec<_> = builder.pool_names().iter().map(|pool| quoted(pool)).collect();
    let _ = writeln!(text, "pools = [{}]", pools.join(", "));
    let _ = writeln!(text, "time-zone = {}", quoted(zone));
    let _ = writeln!(text, "start = {}", quoted(&start.unwrap_or(Timestamp::MIN).to_string()));
    text
}

fn write_step(text: &mut String, keys: &[(&str, String)]) {
    text.push_str("\n[[step]]\n");
    for (key, value) in keys {
        let _ = writeln!(text, "{key} = {value}");
    }
}

fn login_keys(event: &Event) -> Vec<(&'static str, String)> {
    let (details, plain) = (&event.details, Details::plain());
    let mut login = vec![format!("user = {}", quoted(&event.user))];
    login.extend(event.authorization_id.as_ref().map(|id| format!("authorization-id = {}", quoted(id))));
    login.extend(event.standing.map(|standing| format!("standing = {}", quoted(standing.word()))));
    if details.mechanism != plain.mechanism {
        login.push(format!("mechanism = {}", quoted(details.mechanism.word())));
    }
    if details.peer != plain.peer {
        login.push(format!("peer = {}", quoted(&details.peer.to_string())));
    }
    if let Some(tls) = &details.tls {
        let mut keys = vec![format!("version = {}", quoted(&tls.version))];
        keys.extend(tls.server_name.as_ref().map(|name| format!("server-name = {}", quoted(name))));
        keys.extend(
            tls.client_subject.as_ref().map(|subject| format!("client-subject = {}", quoted(subject))),
        );
        login.push(format!("tls = {}", table(&keys)));
    }
    if details.earlier_logins > 0 {
        login.push(format!("earlier-logins = {}", details.earlier_logins));
    }
    let value = if login.len() == 1 { quoted(&event.user) } else { table(&login) };
    let mut keys = vec![("login", value)];
    if details.backend != plain.backend {
        let backend = &details.backend;
        let mut numbers = vec![
            format!("nodes = {}", backend.nodes),
            format!("healthy-nodes = {}", backend.healthy_nodes),
            format!("sessions = {}", backend.sessions),
            format!("waiting = {}", backend.waiting),
        ];
        numbers.extend(backend.login_latency_ms.map(|ms| format!("login-latency-ms = {ms}")));
        keys.push(("backend", table(&numbers)));
    }
    if details.maildrop != plain.maildrop {
        keys.push(("maildrop", table(&maildrop_keys(details.maildrop))));
    }
    if event.ending != Ending::Authenticated {
        keys.push(("outcome", quoted(event.ending.word())));
    }
    keys
}

fn maildrop_keys(maildrop: Maildrop) -> Vec<String> {
    let snapshot = maildrop.snapshot;
    let numbers = [
        ("messages", snapshot.map(|snapshot| snapshot.messages)),
        ("total-bytes", snapshot.map(|snapshot| snapshot.total_bytes)),
        ("seconds-since-seen", snapshot.and_then(|snapshot| snapshot.seconds_since_seen)),
        ("seconds-unchanged", snapshot.and_then(|snapshot| snapshot.seconds_unchanged)),
        ("seconds-since-upgrade", maildrop.seconds_since_upgrade),
        ("open-sessions", Some(maildrop.open_sessions)),
    ];
    let numbers = numbers.into_iter().filter_map(|(key, number)| Some(format!("{key} = {}", number?)));
    numbers.chain([format!("freshness = {}", quoted(maildrop.freshness.name()))]).collect()
}

fn table(keys: &[String]) -> String {
    format!("{{ {} }}", keys.join(", "))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fuzz::expected::Expected;
    use crate::fuzz::generate;
    use crate::fuzz::player::{Player, Variation};
    use crate::harness::Harness;
    use crate::scenario::Scenario;

    #[test]
    fn a_scenario_plays_the_logins_of_the_history_at_the_same_times() {
        let builder = Harness::of("interval").setting("interval", "1h");
        let prepared = builder.prepare().unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        let mut denied = 0;
        for _ in 0..12 {
            let history = generate::history(&mut rng);
            let decisions = Player::new(&builder, &prepared).play(&history, Variation::None).unwrap();
            let got = decisions.last().unwrap().clone();
            let (at_ms, verdict) = (got.at_ms, got.describe_verdict());
            denied += usize::from(got.deny().is_some());
            let (expected, got_text) = (Expected::Nothing, verdict.clone());
            let finding = Finding { history, expected, got, got_text };
            let text = of_finding(Invariant::Failure, &finding, &builder);
            let scenarios = Scenario::parse(&text, "one.toml", "interval")
                .unwrap_or_else(|error| panic!("{error}\n{text}"));
            let line = *scenarios[0].login_lines().last().unwrap();
            let (_, played) = scenarios[0].play_until(line, &mut Vec::new()).unwrap().unwrap();
            assert_eq!((played.at_ms, played.describe_verdict()), (at_ms, verdict), "{text}");
            assert_eq!(played.standing, finding.got.standing, "{text}");
        }
        assert!(denied > 0);
    }
}
