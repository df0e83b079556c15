//! `reprieve-load run`: runs many sessions concurrently and reports.

mod hold;
mod pace;
mod report;
mod totals;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use crate::cli::{Interrupt, RunArgs, Scenario};
use crate::client::tls::Trust;
use crate::client::{Connector, Fault, FaultKind, Progress, tls};
use crate::mailbox::Mailbox;
use crate::process;
use crate::scenario::{Expectation, Expected, Script, run_session};
use crate::units::Sources;
use crate::users::{Account, Users};
use pace::{Pace, Turn};
use report::{Report, WarmUp};
use totals::{Outcome, Totals};

/// File descriptors for other things than connections.
const OTHER_FILES: u64 = 32;

/// Shared by all sessions of a run.
#[derive(Clone)]
struct RunContext {
    connector: Rc<Connector>,
    users: Rc<Users>,
    expectation: Expectation,
    timeout: Duration,
}

impl RunContext {
    fn account(&self, session: u64) -> Account {
        self.users.for_session(session)
    }

    /// Runs a step of a session with the timeout; a timeout names the step.
    async fn with_timeout<T>(
        &self,
        progress: &Progress,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(self.timeout, step).await {
            Ok(result) => result,
            Err(_) => {
                let detail = format!("after {:?}", self.timeout);
                Err(Fault { stage: progress.stage.get(), kind: FaultKind::Timeout, detail })
            }
        }
    }
}

/// Runs the command and prints the report. Returns whether there were no errors.
pub(crate) fn run(arguments: &RunArgs) -> anyhow::Result<bool> {
    let files = process::raise_open_files();
    let connections = u64::from(arguments.connections);
    anyhow::ensure!(
        connections + OTHER_FILES <= files,
        "{connections} connections are more than the limit of {files} open files allows; \
         raise it (`ulimit -n`) or use fewer --connections"
    );
    anyhow::ensure!(
        arguments.scenario != Scenario::Hold
            || (arguments.sessions.is_none() && arguments.duration.is_none() && arguments.rate.is_none()),
        "--sessions, --duration and --rate do not apply to `hold`; use --connections and --hold-for"
    );
    let context = Rc::new(context(arguments)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let report = local.block_on(&runtime, execute(arguments, context))?;
    if arguments.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(report.is_success())
}

fn context(arguments: &RunArgs) -> anyhow::Result<RunContext> {
    let sources = arguments.source.clone().map_or_else(Vec::new, |Sources(addresses)| addresses);
    let trust = match &arguments.ca {
        _ if arguments.insecure => Trust::AnyCertificate,
        Some(file) => Trust::File(file),
        None => Trust::System,
    };
    let tls = if arguments.tls { Some(tls::configure(&trust)?) } else { None };
    let users = match &arguments.users_file {
        Some(path) => Users::from_file(path)?,
        None => Users::Generated {
            pattern: arguments.user_format.clone(),
            first: arguments.first_user,
            // Without a number in the format, all users are the same one.
            count: if arguments.user_format.has_number() { arguments.users } else { 1 },
            password: arguments.password.clone(),
        },
    };
    let mailbox = arguments.messages.zip(arguments.size);
    Ok(RunContext {
        connector: Rc::new(Connector::new(&arguments.connect, sources, tls)?),
        users: Rc::new(users),
        expectation: Expectation {
            expected: arguments.expect,
            mailbox: mailbox.map(|(messages, size)| Rc::new(Mailbox::new(messages, size))),
        },
        timeout: arguments.timeout,
    })
}

async fn execute(arguments: &RunArgs, context: Rc<RunContext>) -> anyhow::Result<Report> {
    let (stopper, stop) = watch::channel(false);
    let interrupt = Interrupt::new().context("cannot watch for signals")?;
    tokio::task::spawn_local(interrupt.stop_then_end(stopper));

    let mut warm_up = None;
    if arguments.warm_up {
        warm_up = Some(self::warm_up(arguments, &context, stop.clone()).await);
    }
    let started = Instant::now();
    let cpu = process::cpu_time();
    let totals = match arguments.scenario.script() {
        Some(script) => {
            let sessions = arguments.sessions.unwrap_or(match arguments.duration {
                Some(_) => u64::MAX,
                None => RunArgs::DEFAULT_SESSIONS,
            });
            let pace = Pace::new(sessions, arguments.duration, arguments.rate, stop);
            run_sessions(script, arguments.connections, &context, pace).await
        }
        None => hold::hold(arguments, &context, stop).await,
    };
    Ok(Report {
        scenario: arguments.scenario,
        connections: arguments.connections,
        rate: arguments.rate,
        took: started.elapsed(),
        cpu: process::cpu_time().saturating_sub(cpu),
        totals,
        warm_up,
    })
}

/// Logs in each user once, real or denied, so that the server knows every user when measuring starts.
async fn warm_up(arguments: &RunArgs, context: &Rc<RunContext>, stop: watch::Receiver<bool>) -> WarmUp {
    let RunArgs { scenario, connections, .. } = arguments;
    // `bulk` would fetch all mail of all users; a poll is enough for the server to know them.
    let script = if *scenario == Scenario::PollUidl { Script::PollUidl } else { Script::Poll };
    let expectation = Expectation { expected: Expected::Either, ..context.expectation.clone() };
    let lenient = Rc::new(RunContext { expectation, ..RunContext::clone(context) });
    let pace = Pace::new(context.users.count(), None, None, stop);
    WarmUp { totals: run_sessions(script, *connections, &lenient, pace).await }
}

/// Runs sessions one after the other, on this many connections concurrently.
async fn run_sessions(script: Script, connections: u32, context: &Rc<RunContext>, pace: Pace) -> Totals {
    let totals = Rc::new(RefCell::new(Totals::default()));
    let pace = Rc::new(pace);
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (context, pace, totals) = (Rc::clone(context), Rc::clone(&pace), Rc::clone(&totals));
        workers.spawn_local(async move {
            while let Some(Turn { session, since }) = pace.turn().await {
                let progress = Progress::default();
                let account = context.account(session);
                let session = run_session(
                    script,
                    &context.connector,
                    session,
                    &account,
                    &context.expectation,
                    &progress,
                );
                let shown = context.with_timeout(&progress, session).await;
                totals.borrow_mut().add(Outcome {
                    shown,
                    duration: since.elapsed(),
                    login: progress.login.get(),
                    received: progress.received.get(),
                });
            }
        });
    }
    finish(workers).await;
    totals.take()
}

/// Waits for all tasks. A panic in one is a bug in this program and is passed on.
async fn finish(mut tasks: JoinSet<()>) {
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
