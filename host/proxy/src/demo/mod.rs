//! `reprieve demo`: a mail server, Reprieve before it, and mail programs that check for mail
//! far too often, all in one process. First they poll the server itself, then through
//! Reprieve; what that saves is measured, and every answer is checked on the way.

mod board;
mod client;
mod interrupt;
mod ledger;
mod letter;
mod phase;
mod proxy;
mod stage;
mod summary;
mod table;
mod view;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use parking_lot::Mutex;
use tokio::sync::watch;

use board::{Board, Reading};
use client::Client;
use ledger::Ledger;
use reprieve_mailserver::MailServer;
use reprieve_metrics::ThreadCpu;
use stage::{Plan, Stage};
use view::Actor;

use crate::terminal;

pub use board::Figures;
pub use ledger::Tally;
pub use summary::Report;

/// What the user can choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds of measuring, a quarter of them without Reprieve.
    pub seconds: u64,
    /// Mail programs that poll.
    pub clients: usize,
    /// The policy's interval, as in a configuration.
    pub interval: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 20, clients: 8, interval: "5s".to_owned() }
    }
}

/// Seconds below which nothing can be seen, and above which nothing more can.
const SECONDS: std::ops::RangeInclusive<u64> = 4..=3600;
/// More clients would measure this process's file descriptors.
const CLIENTS: std::ops::RangeInclusive<usize> = 1..=200;

/// Runs the demo and writes what happens to `out`, which is standard output if it is a
/// terminal. Takes SIGINT and SIGTERM for as long as the process lives.
///
/// # Errors
/// If an option is out of range, something cannot be started, or `out` cannot be written.
/// That something was *wrong* is no error but in the report.
pub fn run(options: &Options, out: &mut impl Write, terminal: bool) -> anyhow::Result<Report> {
    play(options, out, terminal, interrupt::wait())
}

/// Runs the demo until its time is up or `interrupted` says so.
fn play(
    options: &Options,
    out: &mut impl Write,
    terminal: bool,
    interrupted: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<Report> {
    ensure!(
        SECONDS.contains(&options.seconds),
        "a demo takes {} to {} seconds, not {}",
        SECONDS.start(),
        SECONDS.end(),
        options.seconds
    );
    ensure!(
        CLIENTS.contains(&options.clients),
        "a demo has {} to {} clients, not {}",
        CLIENTS.start(),
        CLIENTS.end(),
        options.clients
    );
    let server = MailServer::start(reprieve_mailserver::Settings::default())?;
    let reprieve = proxy::start(server.address(), &options.interval)?;
    let mut ledger = Ledger::default();
    let clients = stage::cast(options.clients, &server, &mut ledger);
    let cast = clients.iter().map(actor).collect::<Vec<_>>();
    let mut users: Vec<String> = cast.iter().map(|actor| actor.user.clone()).collect();
    users.dedup();
    let stage = Arc::new(Stage {
        server,
        proxy: reprieve.address(proxy::NAME),
        ledger: Mutex::new(ledger),
        board: Mutex::new(Board::new(options.clients)),
        clients_cpu: ThreadCpu::default(),
        view_cpu: ThreadCpu::default(),
        stop: watch::Sender::new(false),
        users,
        // The policy, which has started with it, has read it.
        plan: Plan::new(
            Duration::from_secs(options.seconds),
            reprieve_settings::duration(&options.interval).unwrap_or_default(),
        ),
    });

    let thread = std::thread::Builder::new()
        .name("clients".to_owned())
        .spawn({
            let stage = Arc::clone(&stage);
            move || perform(stage, clients, interrupted)
        })
        .context("the clients' thread cannot be started")?;
    let ended = || thread.is_finished();
    let shown = if terminal && terminal::can_redraw() {
        view::picture(&stage, &cast, &options.interval, out, ended)
    } else {
        view::progress(&stage, &options.interval, out, ended)
    };
    if shown.is_err() {
        // Nobody is looking any more.
        stage.stop.send_replace(true);
    }
    match thread.join() {
        Ok(result) => result?,
        Err(_) => bail!("the clients' thread failed"),
    }
    shown.context("the demo cannot write its view")?;

    let reading = Reading::take(&stage.server, &stage.clients_cpu, &stage.view_cpu);
    let upgrades = reprieve.counters().upgrades;
    let report = Report::new(&stage.board.lock(), &stage.ledger.lock(), &reading, upgrades);
    report.write(out).context("the demo cannot write its summary")?;
    Ok(report)
}

fn actor(client: &Client) -> Actor {
    Actor { user: client.account.user.clone(), program: client.program(), deletes: client.deletes }
}

/// The clients' thread.
fn perform(
    stage: Arc<Stage>,
    clients: Vec<Client>,
    interrupted: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let at_rest = Arc::clone(&stage);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || at_rest.clients_cpu.publish())
        .build()
        .context("the clients' runtime cannot be started")?;
    runtime.block_on(async {
        let interrupted = {
            let stage = Arc::clone(&stage);
            async move {
                interrupted.await;
                stage.board.lock().interrupted = true;
                stage.stop.send_replace(true);
            }
        };
        let interrupted = tokio::spawn(interrupted);
        stage::perform(stage, clients).await;
        interrupted.abort();
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short() -> Options {
        Options { seconds: 4, clients: 6, interval: "2s".to_owned() }
    }

    #[test]
    fn a_short_demo_relieves_the_server_and_ends_sound() {
        let mut out = Vec::new();
        let report = play(&short(), &mut out, false, std::future::pending()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(report.is_sound(), "{text}");
        assert!(!report.interrupted && report.messages.delivered > 0, "{text}");
        assert_eq!(report.direct.server.logins, report.direct.polls, "{text}");
        assert!(report.relieved.relief() > 0.2, "{text}");
        assert!(report.relieved.server_cpu_a_poll() < report.direct.server_cpu_a_poll(), "{text}");
        assert!(text.contains("lost: none, doubled: none") && !text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_demo_that_is_interrupted_ends_soon_and_still_sums_up() {
        let start = std::time::Instant::now();
        let mut out = Vec::new();
        let options = Options { seconds: 60, ..short() };
        let interrupted = async { tokio::time::sleep(Duration::from_millis(1500)).await };
        let report = play(&options, &mut out, false, interrupted).unwrap();
        assert!(report.interrupted && report.is_sound());
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_cannot_be_shown_is_refused_with_the_reason() {
        for (options, says) in [
            (Options { seconds: 1, ..short() }, "4 to 3600 seconds"),
            (Options { clients: 0, ..short() }, "1 to 200 clients"),
            (Options { interval: "soon".to_owned(), ..short() }, "interval"),
        ] {
            let error = play(&options, &mut Vec::new(), false, std::future::pending()).unwrap_err();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
    }
}
