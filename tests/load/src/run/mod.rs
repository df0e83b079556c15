//! `reprieve-load run`: many sessions at a time, and what came of them.

mod hold;
mod pace;
mod report;
mod tally;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use crate::cli::{Interrupt, RunArgs, Scenario};
use crate::client::tls::Trust;
use crate::client::{Dial, Fault, Kind, Trace, tls};
use crate::mailbox::Mailbox;
use crate::process;
use crate::scenario::{Expectation, Expected, Visit, visit};
use crate::units::Sources;
use crate::users::{Account, Users};
use pace::{Pace, Turn};
use report::{Report, WarmUp};
use tally::{Outcome, Tally};

/// Descriptors that are not connections.
const OTHER_FILES: u64 = 32;

/// What all sessions of a run have in common.
#[derive(Clone)]
struct Common {
    dial: Rc<Dial>,
    users: Rc<Users>,
    expectation: Expectation,
    timeout: Duration,
}

impl Common {
    fn account(&self, session: u64) -> Account {
        self.users.of_session(session)
    }

    /// Waits for a step of a session, or says where it hangs.
    async fn in_time<T>(
        &self,
        trace: &Trace,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        match tokio::time::timeout(self.timeout, step).await {
            Ok(result) => result,
            Err(_) => {
                let detail = format!("after {:?}", self.timeout);
                Err(Fault { stage: trace.stage.get(), kind: Kind::Timeout, detail })
            }
        }
    }
}

/// Runs what the command line asks for, prints what came of it, and tells whether all was well.
pub(crate) fn run(arguments: &RunArgs) -> anyhow::Result<bool> {
    let files = process::raise_open_files();
    let connections = u64::from(arguments.connections);
    anyhow::ensure!(
        connections + OTHER_FILES <= files,
        "{connections} connections are more than the limit of {files} open files allows; \
         raise it (`ulimit -n`), or give fewer --connections"
    );
    anyhow::ensure!(
        arguments.scenario != Scenario::Hold
            || (arguments.sessions.is_none() && arguments.duration.is_none() && arguments.rate.is_none()),
        "--sessions, --duration and --rate are for sessions that come and go; those of `hold` are \
         bounded by --connections and --hold-for"
    );
    let common = Rc::new(common(arguments)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let report = local.block_on(&runtime, carry_out(arguments, common))?;
    if arguments.json {
        println!("{}", report.to_json());
    } else {
        print!("{report}");
    }
    Ok(report.all_is_well())
}

fn common(arguments: &RunArgs) -> anyhow::Result<Common> {
    let sources = arguments.source.clone().map_or_else(Vec::new, |Sources(addresses)| addresses);
    let trust = match &arguments.ca {
        _ if arguments.insecure => Trust::Anybody,
        Some(file) => Trust::File(file),
        None => Trust::Machine,
    };
    let tls = if arguments.tls { Some(tls::configure(&trust)?) } else { None };
    let users = match &arguments.users_file {
        Some(path) => Users::from_file(path)?,
        None => Users::Made {
            pattern: arguments.user_format.clone(),
            first: arguments.first_user,
            // Without a number all would be the same one.
            count: if arguments.user_format.has_number() { arguments.users } else { 1 },
            password: arguments.password.clone(),
        },
    };
    let mailbox = arguments.messages.zip(arguments.size);
    Ok(Common {
        dial: Rc::new(Dial::new(&arguments.connect, sources, tls)?),
        users: Rc::new(users),
        expectation: Expectation {
            expected: arguments.expect,
            mailbox: mailbox.map(|(messages, size)| Rc::new(Mailbox::new(messages, size))),
        },
        timeout: arguments.timeout,
    })
}

async fn carry_out(arguments: &RunArgs, common: Rc<Common>) -> anyhow::Result<Report> {
    let (stopper, stop) = watch::channel(false);
    let interrupt = Interrupt::new().context("cannot watch for signals")?;
    tokio::task::spawn_local(interrupt.stop_then_end(stopper));

    let mut warm_up = None;
    if arguments.warm_up {
        warm_up = Some(self::warm_up(arguments, &common, stop.clone()).await);
    }
    let begun = Instant::now();
    let cpu = process::cpu_time();
    let tally = match arguments.scenario.visit() {
        Some(what) => {
            let sessions = arguments.sessions.unwrap_or(match arguments.duration {
                Some(_) => u64::MAX,
                None => RunArgs::SESSIONS,
            });
            let pace = Pace::new(sessions, arguments.duration, arguments.rate, stop);
            visits(what, arguments.connections, &common, pace).await
        }
        None => hold::hold(arguments, &common, stop).await,
    };
    Ok(Report {
        scenario: arguments.scenario,
        connections: arguments.connections,
        rate: arguments.rate,
        took: begun.elapsed(),
        cpu: process::cpu_time().saturating_sub(cpu),
        tally,
        warm_up,
    })
}

/// Logs each user in once, whatever they are shown: a server that denies has met them then.
async fn warm_up(arguments: &RunArgs, common: &Rc<Common>, stop: watch::Receiver<bool>) -> WarmUp {
    let RunArgs { scenario, connections, .. } = arguments;
    // Not everybody's whole mail is fetched for that, and no maildrop is unknown afterwards.
    let what = if *scenario == Scenario::PollUidl { Visit::PollUidl } else { Visit::Poll };
    let expectation = Expectation { expected: Expected::Either, ..common.expectation.clone() };
    let lenient = Rc::new(Common { expectation, ..Common::clone(common) });
    let pace = Pace::new(common.users.count(), None, None, stop);
    WarmUp { tally: visits(what, *connections, &lenient, pace).await }
}

/// Sessions that come and go, on so many connections at a time.
async fn visits(what: Visit, connections: u32, common: &Rc<Common>, pace: Pace) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let pace = Rc::new(pace);
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let (common, pace, tally) = (Rc::clone(common), Rc::clone(&pace), Rc::clone(&tally));
        workers.spawn_local(async move {
            while let Some(Turn { session, since }) = pace.turn().await {
                let trace = Trace::default();
                let account = common.account(session);
                let session = visit(what, &common.dial, session, &account, &common.expectation, &trace);
                let shown = common.in_time(&trace, session).await;
                tally.borrow_mut().add(Outcome {
                    shown,
                    duration: since.elapsed(),
                    login: trace.login.get(),
                    received: trace.received.get(),
                });
            }
        });
    }
    finish(workers).await;
    tally.take()
}

/// Waits for all tasks; one that panicked is an error of this program, and must not pass for a
/// session that went well.
async fn finish(mut tasks: JoinSet<()>) {
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
