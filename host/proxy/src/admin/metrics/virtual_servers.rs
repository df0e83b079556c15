//! Sessions, verdicts and policies of each virtual server.

use super::exposition::{Exposition, Samples};
use crate::server::{PolicyState, VirtualServerState as State};

/// What is counted of sessions.
pub(super) fn write(servers: &[State], out: &mut Exposition) {
    let mut counter = |name, help, value: fn(&State) -> u64| {
        let mut samples = out.counter(name, help);
        servers.iter().for_each(|server| samples.add(&[("virtual_server", &server.name)], value(server)));
    };
    counter(
        "reprieve_polls",
        "Logins that the policy was to judge: what relief is measured against.",
        |server| server.kinds.polls(),
    );
    counter(
        "reprieve_relieved",
        "Polls that never reached a mail server. Posed sessions count when they end.",
        |server| server.counters.relieved,
    );
    counter("reprieve_posed", "Denials that let the client in.", |server| server.counters.posed);
    counter(
        "reprieve_pool_full",
        "Logins that found all mail servers with as many sessions as they may have.",
        |server| server.counters.pool_full,
    );
    counter("reprieve_sessions", "Sessions that have begun.", |server| server.counters.begun);
    counter(
        "reprieve_received_bytes",
        "Octets that clients have sent, of sessions that have ended.",
        |server| server.counters.octets_in,
    );
    counter("reprieve_sent_bytes", "Octets that clients were sent, of sessions that have ended.", |server| {
        server.counters.octets_out
    });
    counter(
        "reprieve_proxy_header_failures",
        "Connections without the PROXY header that they must have.",
        |server| server.counters.without_proxy_header,
    );
    counter("reprieve_tls_handshake_failures", "TLS handshakes that failed.", |server| {
        server.counters.without_tls
    });
    write_verdicts(servers, out);
    write_kinds(servers, out);
    let mut expiry = out.gauge(
        "reprieve_tls_certificate_expiry_timestamp_seconds",
        "When the certificate in a file, as it is shown to clients, expires.",
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
        "Verdicts of the policy. It chooses the reasons; after 64 of them others count as other.",
    );
    for server in servers {
        let label = |verdict, manner, reason| {
            [("virtual_server", &*server.name), ("verdict", verdict), ("manner", manner), ("reason", reason)]
        };
        verdicts.add(&label("pass", "", ""), server.counters.passed);
        for (reason, manner, count) in &server.kinds.denials {
            verdicts.add(&label("deny", manner, reason), *count);
        }
    }
    let mut outcomes = out.counter(
        "reprieve_outcomes",
        "How logins ended that went to a mail server, those of upgrades included.",
    );
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

/// A family that is counted by one kind.
type ByKind = (&'static str, &'static str, &'static str, fn(&State) -> &[(&'static str, u64)]);

fn write_kinds(servers: &[State], out: &mut Exposition) {
    let counters: [ByKind; 7] = [
        ("reprieve_logins", "mechanism", "Logins by mechanism.", |server| &server.kinds.logins),
        (
            "reprieve_unjudged",
            "reason",
            "Logins that on-failure has decided: the policy has failed, or was paused.",
            |server| &server.kinds.unjudged,
        ),
        (
            "reprieve_denials_passed",
            "reason",
            "Denied logins that went to a mail server all the same, by why: their secret was not known, or their maildrop was not.",
            |server| &server.kinds.unrelieved,
        ),
        ("reprieve_session_ends", "end", "Sessions that have ended, by how.", |server| &server.kinds.ends),
        (
            "reprieve_upgrades",
            "command",
            "Posed sessions that went on at a mail server, by the command that asked for it.",
            |server| &server.kinds.upgrades,
        ),
        (
            "reprieve_upgrade_failures",
            "reason",
            "Posed sessions that could not go on at a mail server.",
            |server| &server.kinds.failed_upgrades,
        ),
        (
            "reprieve_connections_refused",
            "limit",
            "Connections that were refused because of a limit, or because no node is healthy.",
            |server| &server.kinds.refused,
        ),
    ];
    for (name, label, help, counts) in counters {
        let mut samples = out.counter(name, help);
        for server in servers {
            samples.by_kind(&[("virtual_server", &server.name)], label, counts(server));
        }
    }
    let mut open = out.gauge("reprieve_sessions_open", "Sessions that are open, by what they are at.");
    for server in servers {
        open.by_kind(&[("virtual_server", &server.name)], "state", &server.kinds.open);
    }
    let mut handshakes = out.counter("reprieve_tls_handshakes", "TLS handshakes.");
    // Where there is no TLS, nothing is said of it.
    for server in servers.iter().filter(|server| !server.certificates.is_empty()) {
        for (version, is_resumed, count) in &server.kinds.handshakes {
            let resumed = if *is_resumed { "true" } else { "false" };
            let labels = [("virtual_server", &*server.name), ("version", version), ("resumed", resumed)];
            handshakes.add(&labels, *count);
        }
    }
}

/// What is counted of policies.
pub(super) fn write_policies(servers: &[State], out: &mut Exposition) {
    let mut info = out.info("reprieve_policy", "The policy that is in force.");
    servers.iter().for_each(|server| about(&mut info, &server.name, &server.policy));
    let mut calls = out.counter("reprieve_policy_calls", "Calls of the policy.");
    for server in servers {
        let metrics = &server.policy.metrics;
        let counts = [("decide", metrics.decides), ("observe", metrics.observes)];
        calls.by_kind(&[("virtual_server", &server.name)], "call", &counts);
    }
    let mut times = out.histogram(
        "reprieve_policy_decide_seconds",
        "What decisions took, with the waiting for an instance and for the store.",
    );
    for server in servers {
        times.add_histogram(&[("virtual_server", &server.name)], &server.policy.metrics.decisions);
    }
    let mut failures = out.counter("reprieve_policy_failures", "Calls of the policy that failed, by kind.");
    for server in servers {
        // A call that is not made for a pause is no failed one: such logins are unjudged.
        let counts: Vec<_> =
            server.policy.metrics.failures.iter().filter(|(kind, _)| *kind != "paused").copied().collect();
        failures.by_kind(&[("virtual_server", &server.name)], "kind", &counts);
    }
    let mut overruns = out.counter(
        "reprieve_policy_overruns",
        "Limits of the policy that were reached without failing a call, by kind.",
    );
    for server in servers {
        overruns.by_kind(&[("virtual_server", &server.name)], "kind", &server.policy.metrics.overruns);
    }
    let mut pauses = out.counter(
        "reprieve_policy_pauses",
        "Times that the circuit breaker has paused the policy, trials that failed included.",
    );
    for server in servers {
        pauses.add(&[("virtual_server", &server.name)], server.policy.metrics.pauses);
    }
    let mut started = out.counter("reprieve_policy_instances_started", "Instances that were started.");
    for server in servers {
        started.add(&[("virtual_server", &server.name)], server.policy.metrics.started);
    }
    let mut paused = out.gauge("reprieve_policy_paused", "Whether the policy is paused.");
    for server in servers {
        paused.add(&[("virtual_server", &server.name)], server.policy.is_paused.into());
    }
}

/// What is counted of policies in the shadow, where there are any.
pub(super) fn write_shadows(servers: &[State], out: &mut Exposition) {
    let shadows: Vec<_> =
        servers.iter().filter_map(|server| Some((&*server.name, server.shadow.as_ref()?))).collect();
    let mut info = out.info("reprieve_shadow", "The policy that judges beside, without consequences.");
    for (server, shadow) in &shadows {
        about(&mut info, server, &shadow.policy);
    }
    let mut verdicts = out.counter("reprieve_shadow_verdicts", "What the policy in the shadow said.");
    for (server, shadow) in &shadows {
        let tally = &shadow.tally;
        let counts = [("pass", tally.would_pass), ("deny", tally.would_deny), ("failure", tally.failed)];
        verdicts.by_kind(&[("virtual_server", server)], "verdict", &counts);
    }
    let mut differences = out.counter(
        "reprieve_shadow_differences",
        "Logins that the policy in the shadow judged otherwise than the one in force, by kind.",
    );
    for (server, shadow) in &shadows {
        let counts = shadow.tally.differences.map(|(kind, count)| (kind.name(), count));
        differences.by_kind(&[("virtual_server", server)], "kind", &counts);
    }
    let mut left_out = out.counter(
        "reprieve_shadow_left_out",
        "Logins that the policy in the shadow was not asked about, because it did not keep up.",
    );
    for (server, shadow) in &shadows {
        left_out.add(&[("virtual_server", server)], shadow.tally.left_out);
    }
    let mut cpu = out.counter("reprieve_shadow_cpu_seconds", "CPU time of the policy in the shadow.");
    for (server, shadow) in &shadows {
        cpu.add_fraction(&[("virtual_server", server)], shadow.tally.cpu.as_secs_f64());
    }
}

/// A policy, in words.
fn about(samples: &mut Samples<'_>, server: &str, policy: &PolicyState) {
    let version = policy.version.to_string();
    let labels = [
        ("virtual_server", server),
        ("component", &policy.component),
        ("sha256", &policy.sha256),
        ("version", &version),
    ];
    samples.add(&labels, 1);
}
