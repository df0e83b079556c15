//! The scenario `hold`: sessions are opened, held for a while, and ended.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::totals::{Outcome, Totals};
use super::{RunContext, finish};
use crate::cli::RunArgs;
use crate::client::Progress;
use crate::scenario::open;

/// Sessions opened or ended concurrently, so that the server's backlog does not overflow.
const MAX_CONCURRENT: usize = 64;

/// Opens all sessions, announces it, holds them, and ends them. If the server sends something to a
/// held session or closes it, that is an error.
pub(super) async fn hold(
    arguments: &RunArgs,
    context: &Rc<RunContext>,
    mut stop: watch::Receiver<bool>,
) -> Totals {
    let totals = Rc::new(RefCell::new(Totals::default()));
    let gate = Rc::new(Semaphore::new(MAX_CONCURRENT));
    let (release, released) = watch::channel(false);
    let (opened, mut openings) = mpsc::unbounded_channel();
    let mut sessions = JoinSet::new();
    for number in 0..u64::from(arguments.connections) {
        let (context, totals, gate) = (Rc::clone(context), Rc::clone(&totals), Rc::clone(&gate));
        let (mut released, opened, stop) = (released.clone(), opened.clone(), stop.clone());
        let until = arguments.stage;
        sessions.spawn_local(async move {
            let progress = Progress::default();
            let account = context.account(number);
            let permit = gate.acquire().await;
            if *stop.borrow() {
                return;
            }
            let started = Instant::now();
            let session = open(until, &context.connector, number, &account, &context.expectation, &progress);
            let result = context.with_timeout(&progress, session).await;
            drop(permit);
            let (client, shown) = match result {
                Ok((client, shown)) => (Some((client, shown)), Ok(shown)),
                Err(fault) => (None, Err(fault)),
            };
            totals.borrow_mut().add(Outcome {
                shown,
                duration: started.elapsed(),
                login: progress.login.get(),
                received: progress.received.get(),
            });
            let Some((mut client, shown)) = client else { return };
            let _ = opened.send(());
            // When every sender is dropped, all sessions are open.
            drop(opened);
            tokio::select! {
                fault = client.wait_while_silent() => return totals.borrow_mut().retract(shown, &fault),
                _ = released.wait_for(|released| *released) => {}
            }
            let _permit = gate.acquire().await;
            if let Err(fault) = context.with_timeout(&progress, client.quit()).await {
                totals.borrow_mut().retract(shown, &fault);
            }
        });
    }
    drop(opened);
    let mut held = 0_u64;
    while openings.recv().await.is_some() {
        held += 1;
    }
    announce(arguments.json, held);
    tokio::select! {
        () = tokio::time::sleep(arguments.hold_for) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
    let _ = release.send(true);
    finish(sessions).await;
    totals.take()
}

/// Announces that all sessions are open, to a program that measures the server meanwhile.
fn announce(json: bool, held: u64) {
    let line = if json {
        serde_json::json!({ "event": "holding", "connections": held }).to_string()
    } else {
        format!("holding {held} connections")
    };
    // If nobody reads the output, the run continues.
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
