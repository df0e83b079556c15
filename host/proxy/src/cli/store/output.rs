//! Stores and users as text.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::server::{KnownUser, Page, StoreStats};
use reprieve_store::{Entry, Health};

pub(super) fn stats(stats: &[StoreStats]) -> String {
    let mut text = String::new();
    for store in stats {
        let status = &store.status;
        let of = store.virtual_server.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
        let location = status.location.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
        let health = match &status.health {
            Health::Healthy => "healthy".to_owned(),
            Health::Unreachable { reason } => format!("UNREACHABLE: {reason}"),
            Health::MemoryOnly { reason } => format!("IN MEMORY ONLY: {reason}"),
        };
        let _ = writeln!(text, "store{of}: {}{location}, {health}", status.backend);
        if status.operations > 0 {
            let _ = writeln!(
                text,
                "  {} operations of {} µs on average, {} failed ({} timed out), {} outages",
                status.operations,
                status.waited_us / status.operations,
                status.failures,
                status.timeouts,
                status.outages
            );
        }
        if store.users_in_memory > 0 {
            let _ = writeln!(
                text,
                "  users in memory: {}, {} bytes",
                store.users_in_memory, store.bytes_in_memory
            );
        }
        if let Some(error) = &store.error {
            let _ = writeln!(text, "  its namespaces cannot be read: {error}");
        }
        let width = store.namespaces.iter().map(|namespace| namespace.name.len()).max().unwrap_or_default();
        for namespace in &store.namespaces {
            let _ = writeln!(text, "  {:width$}  {:>12} bytes", namespace.name, namespace.bytes);
        }
    }
    text
}

pub(super) fn user(user: &str, known: &[KnownUser], pages: &[Page]) -> String {
    let mut text = String::new();
    for KnownUser { virtual_server, known } in known {
        let accepted = known.accepted_at_s.map(|at| format!(", last accepted {}", time(at * 1000)));
        let _ = writeln!(
            text,
            "{virtual_server}: {} known secrets{}",
            known.secrets,
            accepted.unwrap_or_default()
        );
        let _ = match (known.messages, known.bytes) {
            (Some(messages), Some(bytes)) => {
                writeln!(text, "  clients last saw {messages} messages, {bytes} bytes")
            }
            _ => {
                let reason = known.no_snapshot.map_or("none-yet", |reason| reason.name());
                writeln!(text, "  no snapshot of the maildrop ({reason}): the next login passes")
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
        let of = page.virtual_server.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
        for entry in &page.entries {
            let expires = entry.expires.map(|at| format!(", until {}", time(at))).unwrap_or_default();
            let (namespace, Entry { key, value: bytes, .. }) = (&page.namespace, entry);
            let _ = match reprieve_policy_host::remembered(key, bytes) {
                Some((_, numbers)) => {
                    writeln!(text, "{namespace}{of}: the policy remembers {numbers:?}{expires}")
                }
                None => writeln!(text, "{namespace}{of}: {key:?} = {}{expires}", value(bytes)),
            };
        }
    }
    if text.is_empty() {
        let _ = writeln!(text, "nothing is known about {user}");
    }
    text
}

fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms"), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A value as quoted text, or in hexadecimal if it is not readable text.
fn value(value: &[u8]) -> String {
    const MAX_BYTES: usize = 64;
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(reprieve_text::escape::is_active) && text.len() <= MAX_BYTES => {
            format!("{text:?}")
        }
        _ => {
            let digits: String = value.iter().take(MAX_BYTES).map(|byte| format!("{byte:02x}")).collect();
            let more =
                if value.len() > MAX_BYTES { format!("… ({} bytes)", value.len()) } else { String::new() };
            format!("0x{digits}{more}")
        }
    }
}
