//! Metrics of the signals of new mail.

use std::sync::Arc;

use super::exposition::Exposition;
use crate::new_mail::{Missed, SignalCounts, Source};
use crate::pool::Pool;
use reprieve_metrics::HistogramSnapshot;

pub(super) fn write(pools: &[Arc<Pool>], out: &mut Exposition) {
    let all: Vec<_> = pools.iter().map(|pool| (pool.name(), pool.signals().counts())).collect();
    let mut signals =
        out.counter("reprieve_new_mail_signals", "Users named in signals of new mail, by source.");
    for (pool, counts) in &all {
        for source in Source::ALL {
            signals.add(&[("pool", pool), ("source", source.name())], counts.received[source.index()]);
        }
    }
    let mut users = out.counter(
        "reprieve_new_mail_users",
        "Users named in signals of new mail, by whether Reprieve remembers them. For others nothing is done.",
    );
    for (pool, counts) in &all {
        users.add(&[("pool", pool), ("state", "remembered")], counts.remembered);
        users.add(&[("pool", pool), ("state", "unknown")], counts.unknown);
    }
    let mut gaps = out.counter(
        "reprieve_new_mail_gaps",
        "Times that signals of new mail may have been missed, by reason. Users without new mail then wait `interval` until their next pass.",
    );
    for (pool, counts) in &all {
        for why in Missed::ALL {
            gaps.add(&[("pool", pool), ("reason", why.name())], counts.missed[why.index()]);
        }
    }
    let mut since = out.gauge(
        "reprieve_new_mail_complete_since_timestamp_seconds",
        "Time since which no signal of new mail can have been missed; 0 if no source is complete.",
    );
    for (pool, counts) in &all {
        since.add(&[("pool", pool)], counts.complete_since_s.unwrap_or(0).into());
    }
    let mut histogram = |name, help, value: fn(&SignalCounts) -> &HistogramSnapshot| {
        let mut samples = out.histogram(name, help);
        all.iter().for_each(|(pool, counts)| samples.add_histogram(&[("pool", pool)], value(counts)));
    };
    histogram(
        "reprieve_new_mail_wait_seconds",
        "How long signalled mail waited for the user's next session at the mail server.",
        |counts| &counts.waited,
    );
    histogram(
        "reprieve_new_mail_added_wait_seconds",
        "How much of that Reprieve added: from the first login that was posed after the signal.",
        |counts| &counts.delayed,
    );
    histogram(
        "reprieve_new_mail_unsignalled_wait_seconds",
        "How long mail without a signal may have waited because of Reprieve: from the first login that was posed since the user's last session.",
        |counts| &counts.delayed_unsignalled,
    );
}
