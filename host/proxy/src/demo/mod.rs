//! `reprieve demo`: a mail server, Reprieve in front of it, and mail programs that poll far too
//! often, all in one process. They poll the server directly first, then through Reprieve: with an
//! interval, and with signals of new mail. The demo measures the savings and checks every reply.

mod client;
mod deliveries;
mod interrupt;
mod message;
mod phase;
mod proxy;
mod random;
mod simulation;
mod stats;
mod summary;
mod table;
mod view;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use tokio::sync::watch;

use client::Client;
use deliveries::Deliveries;
use reprieve_mailserver::MailServer;
use reprieve_metrics::ThreadCpu;
use simulation::{Schedule, Simulation};
use stats::{DemoStats, Reading};
use view::ClientLabel;

use crate::terminal;

pub use summary::Report;

/// Command-line options of the demo.
#[derive(Clone, Debug)]
pub struct Options {
    /// Duration of the measurement in seconds; a third of it without Reprieve.
    pub seconds: u64,
    /// Number of mail programs that poll.
    pub clients: usize,
    /// The policy's `interval`, as in a configuration.
    pub interval: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 45, clients: 8, interval: "5s".to_owned() }
    }
}

/// Shorter demos show nothing, and longer ones nothing more.
const SECONDS: std::ops::RangeInclusive<u64> = 6..=3600;
/// More clients could exhaust the file descriptors of this process.
const CLIENTS: std::ops::RangeInclusive<usize> = 1..=200;

/// Runs the demo and shows its progress and summary on `out`. If `terminal` is set, `out` must be
/// standard output. Handles SIGINT and SIGTERM for the rest of the process's life.
///
/// # Errors
/// If an option is out of range, something cannot be started, or writing to `out` fails. Lost
/// messages and wrong replies are not errors; the report counts them.
pub fn run(options: &Options, out: &mut impl Write, terminal: bool) -> anyhow::Result<Report> {
    run_until(options, out, terminal, interrupt::wait())
}

/// Runs the demo until its time is up or `interrupted` completes.
fn run_until(
    options: &Options,
    out: &mut impl Write,
    terminal: bool,
    interrupted: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<Report> {
    ensure!(
        SECONDS.contains(&options.seconds),
        "--seconds must be {} to {}, not {}",
        SECONDS.start(),
        SECONDS.end(),
        options.seconds
    );
    ensure!(
        CLIENTS.contains(&options.clients),
        "--clients must be {} to {}, not {}",
        CLIENTS.start(),
        CLIENTS.end(),
        options.clients
    );
    let server = MailServer::start(reprieve_mailserver::Settings::default())?;
    let reprieve = proxy::start(server.address(), &options.interval)?;
    let mut deliveries = Deliveries::default();
    let clients = simulation::create_clients(options.clients, &server, &mut deliveries);
    let labels = clients.iter().map(label).collect::<Vec<_>>();
    let mut users: Vec<String> = labels.iter().map(|label| label.user.clone()).collect();
    users.dedup();
    let simulation = Arc::new(Simulation {
        server,
        proxies: [proxy::INTERVAL, proxy::SIGNALS].map(|name| reprieve.address(name)),
        new_mail: reprieve.view().new_mail(),
        deliveries: Mutex::new(deliveries),
        stats: Mutex::new(DemoStats::new(options.clients)),
        clients_cpu: ThreadCpu::default(),
        view_cpu: ThreadCpu::default(),
        stop: watch::Sender::new(false),
        users,
        seed: getrandom::u64().context("the system provides no random bytes")?,
        // The policy has accepted the interval, so it is valid.
        schedule: Schedule::new(
            Duration::from_secs(options.seconds),
            reprieve_settings::duration(&options.interval).unwrap_or_default(),
        ),
    });

    let thread = std::thread::Builder::new()
        .name("clients".to_owned())
        .spawn({
            let simulation = Arc::clone(&simulation);
            move || run_clients(simulation, clients, interrupted)
        })
        .context("cannot start the clients' thread")?;
    let has_ended = || thread.is_finished();
    let written = if terminal && terminal::can_redraw() {
        view::draw_live(&simulation, &labels, &options.interval, out, has_ended)
    } else {
        view::write_progress(&simulation, &options.interval, out, has_ended)
    };
    if written.is_err() {
        // The output was closed: end early.
        simulation.stop.send_replace(true);
    }
    match thread.join() {
        Ok(result) => result?,
        Err(_) => bail!("the clients' thread failed"),
    }
    written.context("cannot write the progress")?;

    let reading = Reading::take(&simulation.server, &simulation.clients_cpu, &simulation.view_cpu);
    let upgrades = reprieve.counters().upgrades;
    let report = Report::new(&simulation.stats.lock(), &simulation.deliveries.lock(), &reading, upgrades);
    report.write(out).context("cannot write the summary")?;
    Ok(report)
}

fn label(client: &Client) -> ClientLabel {
    ClientLabel { user: client.account.user.clone(), program: client.program(), deletes: client.deletes }
}

/// Runs the clients on the current thread.
fn run_clients(
    simulation: Arc<Simulation>,
    clients: Vec<Client>,
    interrupted: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let parked = Arc::clone(&simulation);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || parked.clients_cpu.publish())
        .build()
        .context("cannot start the clients' runtime")?;
    runtime.block_on(async {
        let interrupted = {
            let simulation = Arc::clone(&simulation);
            async move {
                interrupted.await;
                simulation.stats.lock().interrupted = true;
                simulation.stop.send_replace(true);
            }
        };
        let interrupted = tokio::spawn(interrupted);
        simulation::run(simulation, clients).await;
        interrupted.abort();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short() -> Options {
        Options { seconds: 12, clients: 6, interval: "2s".to_owned() }
    }

    #[test]
    fn a_short_demo_relieves_the_server_and_finds_no_errors() {
        let mut out = Vec::new();
        let report = run_until(&short(), &mut out, false, std::future::pending()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(report.is_sound(), "{text}");
        assert!(!report.interrupted && report.messages.delivered > 0, "{text}");
        assert_eq!(report.direct.server.logins, report.direct.polls, "{text}");
        for relieved in [&report.interval, &report.signals] {
            assert!(relieved.relief() > 0.2, "{text}");
            assert!(relieved.server_cpu_per_poll() < report.direct.server_cpu_per_poll(), "{text}");
        }
        assert!(text.contains("lost: none, duplicated: none") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn an_interrupted_demo_ends_soon_and_prints_its_summary() {
        let start = std::time::Instant::now();
        let mut out = Vec::new();
        let options = Options { seconds: 60, ..short() };
        let interrupted = async { tokio::time::sleep(Duration::from_millis(1500)).await };
        let report = run_until(&options, &mut out, false, interrupted).unwrap();
        assert!(report.interrupted && report.is_sound());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for (options, expected) in [
            (Options { seconds: 1, ..short() }, "--seconds must be 6 to 3600, not 1"),
            (Options { clients: 0, ..short() }, "--clients must be 1 to 200, not 0"),
            (Options { interval: "soon".to_owned(), ..short() }, "interval"),
        ] {
            let error = run_until(&options, &mut Vec::new(), false, std::future::pending()).unwrap_err();
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }
}
