//! The text of `reprieve ctl status`.

use std::fmt::Write as _;

use crate::admin::{PolicyStatus, PoolStatus, ShadowStatus, Status, VirtualServerStatus};
use crate::session::CountersSnapshot;
use crate::top::duration;
use reprieve_store::Health;
use reprieve_text::escape;

/// Formats a status as text.
pub(super) fn text(status: &Status) -> String {
    let polls = status.passed + status.denied;
    let relief = match polls {
        0 => String::new(),
        polls => format!(" ({:.1} %)", status.relieved as f64 / polls as f64 * 100.0),
    };
    let mut text = format!(
        "reprieve {}, up {}: {} passed, {} denied, {} relieved{relief}\n",
        status.version,
        duration(status.uptime_s),
        status.passed,
        status.denied,
        status.relieved
    );
    for server in &status.virtual_servers {
        virtual_server(server, &mut text);
    }
    for pool in &status.pools {
        self::pool(pool, &mut text);
    }
    for store in &status.stores {
        let location = store.location.as_ref().map(|location| format!(" at {location}")).unwrap_or_default();
        let health = match &store.health {
            Health::Healthy => "healthy".to_owned(),
            Health::Unreachable { reason } => format!("unreachable: {}", plain(reason)),
            Health::MemoryOnly { reason } => format!("in memory only: {}", plain(reason)),
        };
        let _ = writeln!(text, "store: {}{location}, {health}", store.backend);
    }
    if let Some(log) = &status.decision_log {
        let _ = writeln!(text, "decision log: {} lines written, {} dropped", log.written, log.dropped);
    }
    text
}

fn virtual_server(server: &VirtualServerStatus, text: &mut String) {
    let counters = &server.counters;
    let _ = writeln!(text, "virtual server {} on {}", server.name, server.addresses.join(", "));
    let _ = writeln!(
        text,
        "  {} passed, {} denied, {} relieved, {} upgraded; pool {}",
        counters.passed, counters.denied, counters.relieved, counters.upgrades, server.pool
    );
    let problems = problems(counters);
    if !problems.is_empty() {
        let _ = writeln!(text, "  {}", problems.join(", "));
    }
    for user in &server.unrelieved {
        let _ = writeln!(
            text,
            "  no relief for {}: {} denied logins passed today ({}): {}",
            user.user, user.logins, user.reason, user.explanation
        );
    }
    for table in &server.lookups {
        let stale = table.error.as_ref().map(|error| format!(", NOT CURRENT: {}", plain(error)));
        let _ = writeln!(
            text,
            "  lookup table {}: {} entries of {}{}",
            table.name,
            table.entries,
            plain(&table.file),
            stale.unwrap_or_default()
        );
    }
    policy(&server.policy, text);
    if let Some(shadow) = &server.shadow {
        self::shadow(shadow, text);
    }
}

fn problems(counters: &CountersSnapshot) -> Vec<String> {
    let problems = [
        (counters.unreachable, "logins reached no mail server"),
        (counters.pool_full, "logins found all mail servers full"),
        (counters.failed_upgrades, "upgrades failed"),
        (counters.refused_connections, "connections over the limit"),
        (counters.failed_handshakes, "handshakes failed"),
    ];
    let found = problems.iter().filter(|(count, _)| *count > 0);
    found.map(|(count, problem)| format!("{count} {problem}")).collect()
}

fn policy(policy: &PolicyStatus, text: &mut String) {
    let digest = policy.sha256.get(..12).unwrap_or_default();
    let paused = if policy.paused { ", PAUSED" } else { "" };
    let failures = match policy.failures {
        0 => String::new(),
        count => format!(", {count} failures"),
    };
    let _ =
        writeln!(text, "  policy {} {digest} version {}{failures}{paused}", policy.component, policy.version);
}

fn shadow(shadow: &ShadowStatus, text: &mut String) {
    let _ = writeln!(
        text,
        "  shadow policy {}: {} logins, would pass {}, would deny {}; {} skipped, {:.1} s of CPU time",
        shadow.policy.component,
        shadow.would_pass + shadow.would_deny + shadow.failures,
        shadow.would_pass,
        shadow.would_deny,
        shadow.skipped,
        shadow.cpu_s
    );
    let differences = shadow.differences.iter().filter(|(_, count)| **count > 0);
    let differences: Vec<_> = differences.map(|(kind, count)| format!("{kind} {count}")).collect();
    if !differences.is_empty() {
        let _ = writeln!(text, "    differences: {}", differences.join(", "));
    }
}

fn pool(pool: &PoolStatus, text: &mut String) {
    let latency = pool.login_latency_ms.map(|ms| format!(", login latency {ms} ms")).unwrap_or_default();
    let _ = writeln!(text, "pool {}: {} queued{latency}", pool.name, pool.queued);
    if pool.new_mail.is_known() {
        let _ = writeln!(text, "  {}", pool.new_mail);
    }
    let width = pool.nodes.iter().map(|node| node.name.len()).max().unwrap_or_default();
    for node in &pool.nodes {
        let health = if node.healthy { "up" } else { "down" };
        let backup = if node.backup { ", backup" } else { "" };
        let error = node
            .last_error
            .as_ref()
            .map(|error| format!(", last error: {}", plain(error)))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "  {:width$}  {health:4}  {:8}  {} sessions{backup}{error}",
            node.name,
            node.mode.name(),
            node.sessions
        );
    }
}

/// Replaces control and direction characters in texts that mail servers and other programs sent.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if escape::is_active(letter) { '?' } else { letter }).collect()
}
