//! Stores and users in words.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::server::{Page, KnownUser, StoreStats};
use reprieve_store::Health;

pub(super) fn stats(stats: &[StoreStats]) -> String {
    let mut text = String::new();
    for store in stats {
        let status = &store.status;
        let of = store.of.as_ref().map_or_else(|| "store".to_owned(), |of| format!("store of {of}"));
        let place = status.location.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        let health = match &status.health {
            Health::Healthy => "healthy".to_owned(),
            Health::Unreachable { reason } => format!("UNREACHABLE: {reason}"),
            Health::MemoryOnly { reason } => format!("IN MEMORY ONLY: {reason}"),
        };
        let _ = writeln!(text, "{of}: {}{place}, {health}", status.backend);
        if status.operations > 0 {
            let _ = writeln!(
                text,
                "  {} operations, {} failed ({} by time-out), {} outages, {} µs each",
                status.operations,
                status.failures,
                status.timeouts,
                status.outages,
                status.waited_us / status.operations
            );
        }
        if store.users_in_memory > 0 {
            let _ = writeln!(
                text,
                "  users in memory: {}, {} octets",
                store.users_in_memory, store.octets_in_memory
            );
        }
        if let Some(why) = &store.unseen {
            let _ = writeln!(text, "  what it has cannot be seen: {why}");
        }
        let width = store.namespaces.iter().map(|namespace| namespace.name.len()).max().unwrap_or_default();
        for namespace in &store.namespaces {
            let _ = writeln!(text, "  {:width$}  {:>12} octets", namespace.name, namespace.bytes);
        }
    }
    text
}

pub(super) fn user(user: &str, registered: &[KnownUser], pages: &[Page]) -> String {
    let mut text = String::new();
    for KnownUser { virtual_server, known } in registered {
        let accepted = known.accepted_at_s.map(|at| format!(", the latest accepted {}", time(at * 1000)));
        let _ = writeln!(
            text,
            "{virtual_server}: {} known secrets{}",
            known.secrets,
            accepted.unwrap_or_default()
        );
        let _ = match (known.messages, known.octets) {
            (Some(messages), Some(octets)) => {
                writeln!(text, "  clients last saw {messages} messages, {octets} octets")
            }
            _ => {
                let why = known.no_snapshot.map_or("none-yet", |why| why.name());
                writeln!(text, "  what clients last saw is not known ({why}): the next login passes")
            }
        };
        if known.rejections > 0 {
            let _ = writeln!(text, "  {} rejected logins since the last accepted one", known.rejections);
        }
        if let Some(pool) = &known.pool {
            let _ = writeln!(text, "  the last session went to pool {pool}");
        }
    }
    for page in pages {
        let of = page.of.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
        for entry in &page.entries {
            let expires = entry.expires.map(|at| format!(", until {}", time(at))).unwrap_or_default();
            let _ =
                writeln!(text, "{}{of}: {:?} = {}{expires}", page.namespace, entry.key, value(&entry.value));
        }
    }
    if text.is_empty() {
        let _ = writeln!(text, "nothing is known of {user}");
    }
    text
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A value as text where it is one, else in hexadecimal.
fn value(value: &[u8]) -> String {
    const MOST: usize = 64;
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(reprieve_text::escape::is_active) && text.len() <= MOST => {
            format!("{text:?}")
        }
        _ => {
            let shown: String = value.iter().take(MOST).map(|octet| format!("{octet:02x}")).collect();
            let more =
                if value.len() > MOST { format!("… ({} octets)", value.len()) } else { String::new() };
            format!("0x{shown}{more}")
        }
    }
}
