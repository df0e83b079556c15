//! Many clients of the same users at the same time, at one proxy and at two that share a store, while the
//! store is killed, stopped, replaced by a replica that lags behind, or cut off from a proxy: what each
//! client is shown follows the guarantees of docs/state-and-clustering.md.
//!
//! ```sh
//! cargo test --test concurrency faults -- --nocapture
//! tests/concurrency/run HISTORIES [SEED]
//! ```
//!
//! A history is what the clients of one user saw in a round. A seed repeats what clients do, the mail
//! server's delays and the fault, but not the interleaving of threads.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::histories::{Chance, Figures, Pace, Round, Site, number};
use crate::history::checker::violations;
use crate::history::mail_server::MailServer;
use crate::history::proxies::{Proxies, Share};
use crate::history::record::Outage;
use crate::history::shared_store::{Fault, SharedStore, TIMEOUT};
use crate::support::redis::Make;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Histories, if nobody asks for more: a round of each fault has a dozen.
const FEW_HISTORIES: u64 = 72;
/// Clients are alone more often than where nothing happens to the store, so that more of them are posed; and
/// they go on when it is well again.
const PACE: Pace = Pace { longest_pause_ms: 300, logins_after: 8 };
/// Rounds at the same time: most of a round is waiting.
const AT_ONCE: usize = 2;

/// What happened in the rounds of one fault.
#[derive(Default)]
struct Row {
    rounds: u64,
    histories: u64,
    figures: Figures,
    /// Logins with the right password that were refused.
    wrongly_refused: u64,
    /// Rounds in which a proxy lost the store although nothing happened to it: the machine was too slow.
    disturbed: u64,
    violations: u64,
}

/// What all rounds found.
#[derive(Default)]
struct Found {
    rows: BTreeMap<(Fault, usize), Row>,
    /// The first history with a violation.
    first: Option<String>,
}

/// A round with a fault, and what it adds to the table.
fn round(number: u64, seed: u64, found: &Mutex<Found>) -> u64 {
    let mut chance = StdRng::seed_from_u64(seed.wrapping_mul(7_919) ^ number);
    let kinds = Fault::ALL.len() as u64;
    let fault = Fault::ALL[usize::try_from(number % kinds).expect("a small number")];
    let count = if (number / kinds + number).is_multiple_of(3) { 1 } else { 2 };
    let make = if chance.random_bool(0.5) { Make::Valkey } else { Make::Redis };
    let share = if chance.random_bool(0.75) { Share::Snapshots } else { Share::Tags };
    let mut store = SharedStore::start(make, count);
    let server = MailServer::start(Chance { seed: seed ^ number });
    let proxies = Proxies::sharing(share, server.address(), &store.urls(), TIMEOUT);
    let site = Site::new(proxies, server, seed);
    let mut before = Vec::new();
    let mut histories = Round { site: &site, number, pace: PACE }.play(|| {
        before = (0..count).map(|proxy| site.proxies.store(proxy).failures).collect();
        let outages =
            store.suffer(fault, &site.proxies, site.server.sequence(), &mut chance, |hold| site.hold(hold));
        let after: Vec<_> = (0..count).map(|proxy| site.proxies.store(proxy).failures).collect();
        // Those that the fault does not explain come after this, or at another proxy.
        for outage in &outages {
            before[outage.proxy] = after[outage.proxy];
        }
        outages
    });
    // A proxy that lost the store at another time may have been without it all the time.
    let lost = (0..count).filter(|&proxy| site.proxies.store(proxy).failures > before[proxy]);
    let more: Vec<_> = lost.map(|proxy| Outage { proxy, from: 0, to: u64::MAX }).collect();
    histories.iter_mut().for_each(|history| history.outages.extend_from_slice(&more));

    let mut found = found.lock().expect("no round has panicked");
    let Found { rows, first } = &mut *found;
    let row = rows.entry((fault, count)).or_default();
    row.rounds += 1;
    row.disturbed += u64::from(!more.is_empty());
    row.wrongly_refused += site.wrongly_refused();
    for history in &histories {
        row.histories += 1;
        row.figures.add(history);
        let violations = violations(history);
        row.violations += violations.len() as u64;
        if !violations.is_empty() {
            let setup =
                format!("{fault:?}, {count} proxies, {share:?}, {make:?}, seed {seed}, round {number}");
            first.get_or_insert_with(|| format!("{setup}\n{history}\n{violations:#?}"));
        }
    }
    histories.len() as u64
}

fn table(rows: &BTreeMap<(Fault, usize), Row>) -> String {
    let mut text = "| fault | proxies | rounds | histories | logins | passed | posed | upgraded | without QUIT | \
                    wrongly refused | disturbed | violations |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((fault, count), row) in rows {
        let Figures { logins, passed, posed, upgrades, without_quit, .. } = row.figures;
        let Row { rounds, histories, wrongly_refused, disturbed, violations, .. } = row;
        text += &format!(
            "| {fault:?} | {count} | {rounds} | {histories} | {logins} | {passed} | {posed} | {upgrades} | \
             {without_quit} | {wrongly_refused} | {disturbed} | {violations} |\n"
        );
    }
    text
}

#[test]
fn whatever_happens_to_the_store_each_history_keeps_the_guarantees() {
    let (wanted, seed) = (number("REPRIEVE_HISTORIES", FEW_HISTORIES), number("REPRIEVE_SEED", 1));
    let began = Instant::now();
    let (next, done, found) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while next.load(Ordering::SeqCst) * 12 < wanted {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    done.fetch_add(round(number, seed, &found), Ordering::SeqCst);
                }
            });
        }
    });
    let Found { rows, first } = found.into_inner().expect("no round has panicked");
    println!("seed {seed}, {} histories in {:.0?}:\n{}", done.into_inner(), began.elapsed(), table(&rows));
    let sum = |what: fn(&Row) -> u64| rows.values().map(what).sum::<u64>();
    assert_eq!(sum(|row| row.violations), 0, "\n{}", first.unwrap_or_default());
    assert_eq!(sum(|row| row.wrongly_refused), 0, "a right password was refused");
    // There was something of everything.
    let (logins, posed) = (sum(|row| row.figures.logins), sum(|row| row.figures.posed));
    assert!(posed * 20 > logins, "posed: {posed} of {logins}");
    for fault in Fault::ALL {
        assert!(rows.keys().any(|(with, _)| *with == fault), "no round with {fault:?}");
    }
}
