//! `reprieve store capacity`

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::bench::{Capacity, Site, Work, measure_capacity};
use crate::cli::FAILED;
use crate::output::{Output, outln};
use reprieve_settings::duration;
use reprieve_store::{Share, StoreConfig, StoreBackend};

/// Find out what a store needs for so many users, by a simulation
///
/// A store is filled as they would fill it and measured; larger sites are calculated from that.
/// Each user logs in once and passes, then once and is denied, as with the policy `interval`. What
/// this writes in Redis has a prefix of its own and is taken away at the end; but do not point it at
/// one that is at work: it loads it as much as it can, and needs the room. A file must be a new one.
///
/// The calculation: octets a user are measured (what the process, the file or Redis has more than
/// before, divided by the users) and taken times the users; logins a second are the users divided
/// by `--poll-every`, of which `--poll-every` / `--interval` pass; cores are the time that the
/// measured logins took, in the same proportion.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Which: memory, file:PATH, or an address such as redis://127.0.0.1:6379
    #[arg(long, value_name = "STORE", default_value = "memory", value_parser = StoreConfig::from_argument)]
    store: StoreConfig,
    /// Users
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    users: u32,
    /// Messages in each one's maildrop
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    messages: u32,
    /// What is shared through the store; nothing in memory
    #[arg(long, value_name = "SHARE", default_value = "tags+snapshots", value_parser = ["off", "tags+snapshots"])]
    share: String,
    /// Proxies that use it at once (Redis only)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    proxies: u32,
    /// Logins that each proxy has under way at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    at_once: u32,
    /// How often clients check mail
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    poll_every: Duration,
    /// How often the policy lets each through
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    interval: Duration,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let read = duration(text).filter(|time| !time.is_zero());
    read.ok_or_else(|| "a time is written as 90s, 10m or 1h".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let is_redis = matches!(arguments.store.backend, StoreBackend::Redis(_));
    anyhow::ensure!(
        is_redis || arguments.proxies == 1,
        "--proxies {}: only a store in Redis is shared",
        arguments.proxies
    );
    let in_memory = matches!(arguments.store.backend, StoreBackend::Memory);
    let site = Site {
        store: arguments.store.clone(),
        share: if arguments.share == "off" || in_memory { Share::Off } else { Share::TagsAndSnapshots },
        users: arguments.users,
        messages: arguments.messages,
        proxies: arguments.proxies,
        at_once: arguments.at_once,
    };
    let bar = super::bar(u64::from(arguments.users) * 2, "logins");
    let measured = measure_capacity(&site, |done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    let larger = [1_000_000, 10_000_000, 100_000_000].map(|users| Needs::of(arguments, &measured, users));
    if arguments.json {
        let work = |work: &Work| {
            json!({
                "logins": work.logins,
                "failed": work.failed,
                "a-second": work.a_second(),
                "p50-us": work.each.p50.as_secs_f64() * 1e6,
                "p99-us": work.each.p99.as_secs_f64() * 1e6,
                "cpu-us": work.computing.as_secs_f64() * 1e6,
            })
        };
        let needs = larger.iter().map(|needs| {
            json!({ "users": needs.users, "logins-a-second": needs.logins, "octets": needs.octets, "share-of-this": needs.share })
        });
        let told = json!({
            "store": arguments.store.backend.name(),
            "users": arguments.users,
            "messages": arguments.messages,
            "proxies": arguments.proxies,
            "passed": work(&measured.passes),
            "denied": work(&measured.denials),
            "octets-a-user": { "counted": measured.counted / u64::from(arguments.users), "process": measured.memory / u64::from(arguments.users),
                "file": measured.file.map(|octets| octets / u64::from(arguments.users)), "redis": measured.redis.map(|octets| octets / u64::from(arguments.users)) },
            "calculated": needs.collect::<Vec<_>>(),
        });
        outln!("{told}");
    } else {
        Output.write_all(shown(arguments, &measured, &larger).as_bytes())?;
    }
    let failed = measured.passes.failed + measured.denials.failed;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What a site of another size needs.
struct Needs {
    users: u64,
    /// Logins a second.
    logins: f64,
    octets: u64,
    /// How often the store and the proxies that were measured.
    share: f64,
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Needs {
    fn of(arguments: &Arguments, measured: &Capacity, users: u64) -> Self {
        let all = octets(measured) as f64 / f64::from(arguments.users) * users as f64;
        let logins = users as f64 / arguments.poll_every.as_secs_f64();
        let passed = (arguments.poll_every.as_secs_f64() / arguments.interval.as_secs_f64()).min(1.0);
        let share = logins * passed / measured.passes.a_second()
            + logins * (1.0 - passed) / measured.denials.a_second();
        Self { users, logins, octets: all as u64, share }
    }
}

/// Octets where the state is.
fn octets(measured: &Capacity) -> u64 {
    measured.redis.or(measured.file).unwrap_or(measured.memory)
}

impl Work {
    #[allow(clippy::cast_precision_loss)]
    fn a_second(&self) -> f64 {
        self.logins as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

#[allow(clippy::cast_precision_loss)]
fn shown(arguments: &Arguments, measured: &Capacity, larger: &[Needs]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let users = u64::from(arguments.users);
    let _ = writeln!(
        text,
        "{} users with {} messages each, store in {}, {} proxies with {} logins at once each",
        arguments.users,
        arguments.messages,
        arguments.store.backend.name(),
        arguments.proxies,
        arguments.at_once
    );
    for (name, work) in [("passed", &measured.passes), ("denied", &measured.denials)] {
        let _ = writeln!(
            text,
            "{name:8} {:>8.0} logins a second, p50 {:.1} µs, p99 {:.1} µs, {:.1} µs of CPU each, {} failed",
            work.a_second(),
            work.each.p50.as_secs_f64() * 1e6,
            work.each.p99.as_secs_f64() * 1e6,
            work.computing.as_secs_f64() * 1e6,
            work.failed
        );
    }
    let _ = writeln!(
        text,
        "octets a user: {} in the process, {} count towards the policy's quota{}{}",
        measured.memory / users,
        measured.counted / users,
        measured.file.map(|octets| format!(", {} in the file", octets / users)).unwrap_or_default(),
        measured.redis.map(|octets| format!(", {} in Redis", octets / users)).unwrap_or_default()
    );
    let _ = writeln!(
        text,
        "calculated for clients that check every {} s and pass every {} s:",
        arguments.poll_every.as_secs(),
        arguments.interval.as_secs()
    );
    for needs in larger {
        let _ = writeln!(
            text,
            "  {:>11} users: {:>8.1} GiB, {:>9.0} logins a second, {:>6.2} times what was measured",
            needs.users,
            needs.octets as f64 / f64::from(1 << 30),
            needs.logins,
            needs.share
        );
    }
    text
}
