//! Metrics of virtual servers: sessions, verdicts, policies.

use super::exposition::{Exposition, Samples};
use crate::server::{PolicyState, VirtualServerState as State};

/// Writes the metrics of sessions.
pub(super) fn write(servers: &[State], out: &mut Exposition) {
    let mut counter = |name, help, value: fn(&State) -> u64| {
        let mut samples = out.counter(name, help);
        servers.iter().for_each(|server| samples.add(&[("virtual_server", &server.name)], value(server)));
    };
    counter(
        "reprieve_polls",
        "Logins for which a verdict of the policy was required; relief is measured against them.",
        |server| server.labeled.polls(),
    );
    counter(
        "reprieve_relieved",
        "Polls that never reached a mail server. A posed session counts when it ends.",
        |server| server.counters.relieved,
    );
    counter("reprieve_posed", "Denied logins that were posed.", |server| server.counters.posed);
    counter("reprieve_pool_full", "Logins that found all mail servers at max-sessions.", |server| {
        server.counters.pool_full
    });
    counter("reprieve_sessions", "Sessions since the start.", |server| server.counters.begun);
    counter(
        "reprieve_connections_shed",
        "Connections closed before their login to make room for others, because max-connections was reached.",
        |server| server.counters.shed,
    );
    counter("reprieve_received_bytes", "Bytes received from clients, in finished sessions.", |server| {
        server.counters.bytes_in
    });
    counter("reprieve_sent_bytes", "Bytes sent to clients, in finished sessions.", |server| {
        server.counters.bytes_out
    });
    counter("reprieve_proxy_header_failures", "Connections without the required PROXY header.", |server| {
        server.counters.without_proxy_header
    });
    counter("reprieve_tls_handshake_failures", "Failed TLS handshakes.", |server| {
        server.counters.without_tls
    });
    write_verdicts(servers, out);
    write_labeled(servers, out);
    let mut expiry = out.gauge(
        "reprieve_tls_certificate_expiry_timestamp_seconds",
        "Expiry time of the certificate that clients are shown.",
    );
    for server in servers {
        for certificate in &server.certificates {
            let file = certificate.file.display().to_string();
            let labels = [("virtual_server", &*server.name), ("file", &file)];
            expiry.add(&labels, u64::try_from(certificate.expires_s).unwrap_or(0));
        }
    }
}

fn write_verdicts(servers: &[State], out: &mut Exposition) {
    let mut verdicts = out.counter(
        "reprieve_verdicts",
        "Verdicts of the policy, which chooses the reasons; beyond the first 64, reasons are counted as other.",
    );
    for server in servers {
        let label = |verdict, manner, reason| {
            [("virtual_server", &*server.name), ("verdict", verdict), ("manner", manner), ("reason", reason)]
        };
        verdicts.add(&label("pass", "", ""), server.counters.passed);
        for (reason, manner, count) in &server.labeled.denials {
            verdicts.add(&label("deny", manner, reason), *count);
        }
    }
    let mut outcomes =
        out.counter("reprieve_outcomes", "Logins that went to a mail server, upgrades included, by outcome.");
    for server in servers {
        let counts = [
            ("authenticated", server.counters.authenticated),
            ("rejected", server.counters.rejected),
            ("unreachable", server.counters.unreachable),
            ("abandoned", server.counters.abandoned),
        ];
        outcomes.by_kind(&[("virtual_server", &server.name)], "outcome", &counts);
    }
}

/// Name, label, help and values of a counter with one label besides the virtual server.
type ByKind = (&'static str, &'static str, &'static str, fn(&State) -> &[(&'static str, u64)]);

fn write_labeled(servers: &[State], out: &mut Exposition) {
    let counters: [ByKind; 7] = [
        ("reprieve_logins", "mechanism", "Polls by login mechanism.", |server| &server.labeled.logins),
        (
            "reprieve_unjudged",
            "reason",
            "Logins that on-failure decided, because the policy failed or was paused.",
            |server| &server.labeled.unjudged,
        ),
        (
            "reprieve_denials_passed",
            "reason",
            "Denied logins that went to a mail server nevertheless, by reason: the secret or the maildrop was not known.",
            |server| &server.labeled.unrelieved,
        ),
        ("reprieve_session_ends", "end", "Finished sessions, by how they ended.", |server| {
            &server.labeled.ends
        }),
        (
            "reprieve_upgrades",
            "command",
            "Posed sessions that continued at a mail server, by the command that required it.",
            |server| &server.labeled.upgrades,
        ),
        ("reprieve_upgrade_failures", "reason", "Upgrades that failed, by reason.", |server| {
            &server.labeled.failed_upgrades
        }),
        (
            "reprieve_connections_refused",
            "limit",
            "Refused connections, by limit, or because no node is healthy.",
            |server| &server.labeled.refused,
        ),
    ];
    for (name, label, help, counts) in counters {
        let mut samples = out.counter(name, help);
        for server in servers {
            samples.by_kind(&[("virtual_server", &server.name)], label, counts(server));
        }
    }
    let mut open = out.gauge("reprieve_sessions_open", "Open sessions, by state.");
    for server in servers {
        open.by_kind(&[("virtual_server", &server.name)], "state", &server.labeled.open);
    }
    let mut handshakes = out.counter("reprieve_tls_handshakes", "TLS handshakes.");
    // Only virtual servers with TLS.
    for server in servers.iter().filter(|server| !server.certificates.is_empty()) {
        for (version, is_resumed, count) in &server.labeled.handshakes {
            let resumed = if *is_resumed { "true" } else { "false" };
            let labels = [("virtual_server", &*server.name), ("version", version), ("resumed", resumed)];
            handshakes.add(&labels, *count);
        }
    }
}

/// Writes the metrics of the lookup tables, if there are any.
pub(super) fn write_lookups(servers: &[State], out: &mut Exposition) {
    let tables =
        || servers.iter().flat_map(|server| server.lookups.iter().map(|table| (&*server.name, table)));
    let mut entries = out.gauge("reprieve_lookup_entries", "Entries of a lookup table.");
    for (server, table) in tables() {
        entries.add(&[("virtual_server", server), ("table", &table.name)], table.entries);
    }
    let mut stale = out.gauge(
        "reprieve_lookup_stale",
        "Whether the newest version of a lookup table's file cannot be used, so that an older one is in use.",
    );
    for (server, table) in tables() {
        stale.add(&[("virtual_server", server), ("table", &table.name)], table.error.is_some().into());
    }
}

/// Writes the metrics of the active policies.
pub(super) fn write_policies(servers: &[State], out: &mut Exposition) {
    let mut info = out.info("reprieve_policy", "The active policy.");
    servers.iter().for_each(|server| add_policy_info(&mut info, &server.name, &server.policy));
    let mut calls = out.counter("reprieve_policy_calls", "Calls of the policy.");
    for server in servers {
        let metrics = &server.policy.metrics;
        let counts = [("decide", metrics.decides), ("observe", metrics.observes), ("ended", metrics.ends)];
        calls.by_kind(&[("virtual_server", &server.name)], "call", &counts);
    }
    let mut times = out.histogram(
        "reprieve_policy_decide_seconds",
        "Time per decision, including the wait for an instance and for the store.",
    );
    for server in servers {
        times.add_histogram(&[("virtual_server", &server.name)], &server.policy.metrics.decisions);
    }
    let mut failures = out.counter("reprieve_policy_failures", "Failed calls of the policy, by kind.");
    for server in servers {
        // A call that is not made because of a pause is not a failed one; see `reprieve_unjudged`.
        let counts: Vec<_> =
            server.policy.metrics.failures.iter().filter(|(kind, _)| *kind != "paused").copied().collect();
        failures.by_kind(&[("virtual_server", &server.name)], "kind", &counts);
    }
    let mut overruns =
        out.counter("reprieve_policy_overruns", "Limits that were reached without failing a call, by kind.");
    for server in servers {
        overruns.by_kind(&[("virtual_server", &server.name)], "kind", &server.policy.metrics.overruns);
    }
    let mut pauses = out.counter(
        "reprieve_policy_pauses",
        "Times that the circuit breaker opened, including after failed trial calls.",
    );
    for server in servers {
        pauses.add(&[("virtual_server", &server.name)], server.policy.metrics.pauses);
    }
    let mut started = out.counter("reprieve_policy_instances_started", "Instances started.");
    for server in servers {
        started.add(&[("virtual_server", &server.name)], server.policy.metrics.started);
    }
    let mut paused = out.gauge("reprieve_policy_paused", "Whether the circuit breaker is open.");
    for server in servers {
        paused.add(&[("virtual_server", &server.name)], server.policy.is_paused.into());
    }
}

/// Writes the metrics of the shadow policies, if there are any.
pub(super) fn write_shadows(servers: &[State], out: &mut Exposition) {
    let shadows: Vec<_> =
        servers.iter().filter_map(|server| Some((&*server.name, server.shadow.as_ref()?))).collect();
    let mut info =
        out.info("reprieve_shadow", "The shadow policy, called for each login without effect on it.");
    for (server, shadow) in &shadows {
        add_policy_info(&mut info, server, &shadow.policy);
    }
    let mut verdicts = out.counter("reprieve_shadow_verdicts", "Verdicts of the shadow policy.");
    for (server, shadow) in &shadows {
        let metrics = &shadow.metrics;
        let counts =
            [("pass", metrics.would_pass), ("deny", metrics.would_deny), ("failure", metrics.failed)];
        verdicts.by_kind(&[("virtual_server", server)], "verdict", &counts);
    }
    let mut differences = out.counter(
        "reprieve_shadow_differences",
        "Logins for which the verdicts of the shadow policy and the active policy differ, by kind.",
    );
    for (server, shadow) in &shadows {
        let counts = shadow.metrics.differences.map(|(kind, count)| (kind.name(), count));
        differences.by_kind(&[("virtual_server", server)], "kind", &counts);
    }
    let mut skipped = out.counter(
        "reprieve_shadow_skipped",
        "Logins that the shadow policy was not called for, because it did not keep up.",
    );
    for (server, shadow) in &shadows {
        skipped.add(&[("virtual_server", server)], shadow.metrics.skipped);
    }
    let mut cpu = out.counter("reprieve_shadow_cpu_seconds", "CPU time of the shadow policy.");
    for (server, shadow) in &shadows {
        cpu.add_fraction(&[("virtual_server", server)], shadow.metrics.cpu.as_secs_f64());
    }
}

/// Adds a policy's info sample.
fn add_policy_info(samples: &mut Samples<'_>, server: &str, policy: &PolicyState) {
    let version = policy.version.to_string();
    let labels = [
        ("virtual_server", server),
        ("component", &policy.component),
        ("sha256", &policy.sha256),
        ("version", &version),
    ];
    samples.add(&labels, 1);
}
