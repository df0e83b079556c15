//! `reprieve store capacity`

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use crate::bench::{Capacity, Site, Work, measure_capacity};
use crate::cli::FAILED;
use crate::output::{Output, outln};
use reprieve_settings::{DURATION_EXAMPLES, duration};
use reprieve_store::{Share, StoreBackend, StoreConfig};

/// Sizes of the larger sites, in users.
const LARGER_SITES: [u64; 3] = [1_000_000, 10_000_000, 100_000_000];

/// Measure the memory or disk that a store needs for a number of users
///
/// Fills a store with the state of that many users, measures it, and extrapolates to larger sites. Each
/// user logs in twice, as with the policy `interval`: the first login passes, the second is denied. In
/// Redis, all keys have a prefix of their own and are deleted at the end; do not use a server that is
/// in production, because it is put under full load and needs the memory. A file must not exist yet.
///
/// Extrapolation: bytes per user are the growth of the process, the file or Redis, divided by the
/// users. Logins per second are the users divided by `--poll-every`; of these, `--poll-every` divided
/// by `--interval` pass. The load is the time that the measured logins took, in the same proportion.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Store: memory, file:PATH, or a URL such as redis://127.0.0.1:6379
    #[arg(long, value_name = "STORE", default_value = "memory", value_parser = StoreConfig::from_argument)]
    store: StoreConfig,
    /// Number of users
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    users: u32,
    /// Messages in each user's maildrop
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    messages: u32,
    /// What proxies share through the store; always off in memory
    #[arg(long, value_name = "SHARE", default_value = "tags+snapshots", value_parser = ["off", "tags+snapshots"])]
    share: String,
    /// Number of proxies that use the store (more than one only in Redis)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    proxies: u32,
    /// Concurrent logins per proxy
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    at_once: u32,
    /// How often each client checks for mail
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = time)]
    poll_every: Duration,
    /// How often the policy lets each user pass
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    interval: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    let read = duration(text).filter(|time| !time.is_zero());
    read.ok_or_else(|| format!("use a duration such as {DURATION_EXAMPLES}"))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let is_redis = matches!(arguments.store.backend, StoreBackend::Redis(_));
    anyhow::ensure!(
        is_redis || arguments.proxies == 1,
        "--proxies {}: only a store in Redis can be shared by several proxies",
        arguments.proxies
    );
    let in_memory = matches!(arguments.store.backend, StoreBackend::Memory);
    let site = Site {
        store: arguments.store.clone(),
        share: if arguments.share == "off" || in_memory { Share::Off } else { Share::TagsAndSnapshots },
        users: arguments.users,
        messages: arguments.messages,
        proxies: arguments.proxies,
        concurrent_logins: arguments.at_once,
    };
    let bar = super::progress_bar(u64::from(arguments.users) * 2, "logins");
    let measured = measure_capacity(&site, |done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    let larger = LARGER_SITES.map(|users| Extrapolation::new(arguments, &measured, users));
    if arguments.json {
        outln!("{}", as_json(arguments, &measured, &larger));
    } else {
        Output.write_all(as_text(arguments, &measured, &larger).as_bytes())?;
    }
    let failed = measured.passes.failed + measured.denials.failed;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What a larger site needs.
struct Extrapolation {
    users: u64,
    logins_per_second: f64,
    bytes: u64,
    /// How many times what was measured, in work per second.
    load: f64,
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Extrapolation {
    fn new(arguments: &Arguments, measured: &Capacity, users: u64) -> Self {
        let bytes = store_bytes(measured) as f64 / f64::from(arguments.users) * users as f64;
        let logins_per_second = users as f64 / arguments.poll_every.as_secs_f64();
        let passed = (arguments.poll_every.as_secs_f64() / arguments.interval.as_secs_f64()).min(1.0);
        let load = logins_per_second * passed / per_second(&measured.passes)
            + logins_per_second * (1.0 - passed) / per_second(&measured.denials);
        Self { users, logins_per_second, bytes: bytes as u64, load }
    }
}

/// Bytes where the state is kept.
fn store_bytes(measured: &Capacity) -> u64 {
    measured.redis_bytes.or(measured.file_bytes).unwrap_or(measured.process_bytes)
}

#[allow(clippy::cast_precision_loss)]
fn per_second(work: &Work) -> f64 {
    work.logins as f64 / work.elapsed.as_secs_f64().max(1e-9)
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn as_json(arguments: &Arguments, measured: &Capacity, larger: &[Extrapolation]) -> serde_json::Value {
    let users = u64::from(arguments.users);
    let work = |work: &Work| {
        json!({
            "logins": work.logins,
            "failed": work.failed,
            "logins_per_second": per_second(work),
            "p50_us": microseconds(work.latency.p50),
            "p99_us": microseconds(work.latency.p99),
            "cpu_us": microseconds(work.cpu_per_login),
        })
    };
    let larger = larger.iter().map(|site| {
        json!({
            "users": site.users,
            "logins_per_second": site.logins_per_second,
            "bytes": site.bytes,
            "load": site.load,
        })
    });
    json!({
        "store": arguments.store.backend.name(),
        "users": arguments.users,
        "messages": arguments.messages,
        "proxies": arguments.proxies,
        "passed": work(&measured.passes),
        "denied": work(&measured.denials),
        "bytes_per_user": {
            "quota": measured.quota_bytes / users,
            "process": measured.process_bytes / users,
            "file": measured.file_bytes.map(|bytes| bytes / users),
            "redis": measured.redis_bytes.map(|bytes| bytes / users),
        },
        "extrapolated": larger.collect::<Vec<_>>(),
    })
}

#[allow(clippy::cast_precision_loss)]
fn as_text(arguments: &Arguments, measured: &Capacity, larger: &[Extrapolation]) -> String {
    let mut text = String::new();
    let users = u64::from(arguments.users);
    let _ = writeln!(
        text,
        "{} users with {} messages each, store in {}, {} proxies with {} concurrent logins each",
        arguments.users,
        arguments.messages,
        arguments.store.backend.name(),
        arguments.proxies,
        arguments.at_once
    );
    for (name, work) in [("passed", &measured.passes), ("denied", &measured.denials)] {
        let _ = writeln!(
            text,
            "{name:8} {:>8.0} logins per second, p50 {:.1} µs, p99 {:.1} µs, {:.1} µs of CPU each, {} failed",
            per_second(work),
            microseconds(work.latency.p50),
            microseconds(work.latency.p99),
            microseconds(work.cpu_per_login),
            work.failed
        );
    }
    let _ = writeln!(
        text,
        "bytes per user: {} in the process, {} count towards the policy's quota{}{}",
        measured.process_bytes / users,
        measured.quota_bytes / users,
        measured.file_bytes.map(|bytes| format!(", {} in the file", bytes / users)).unwrap_or_default(),
        measured.redis_bytes.map(|bytes| format!(", {} in Redis", bytes / users)).unwrap_or_default()
    );
    let _ = writeln!(
        text,
        "extrapolated to clients that check every {} s and pass every {} s:",
        arguments.poll_every.as_secs(),
        arguments.interval.as_secs()
    );
    for site in larger {
        let _ = writeln!(
            text,
            "  {:>11} users: {:>8.1} GiB, {:>9.0} logins per second, {:>6.2} times the measured load",
            site.users,
            site.bytes as f64 / f64::from(1 << 30),
            site.logins_per_second,
            site.load
        );
    }
    text
}
