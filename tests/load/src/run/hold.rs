//! Sessions that rest: opened, held for a while, and ended.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::tally::{Outcome, Tally};
use super::{Common, finish};
use crate::cli::RunArgs;
use crate::client::Trace;
use crate::scenario::open;

/// Sessions that are opened, or ended, at a time: a server's backlog is not what is tried here.
const AT_A_TIME: usize = 64;

/// Opens all, says so, holds them, and ends them. What a server says to a session that rests, or
/// its closing it, is an error.
pub(super) async fn hold(arguments: &RunArgs, common: &Rc<Common>, mut stop: watch::Receiver<bool>) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let gate = Rc::new(Semaphore::new(AT_A_TIME));
    let (release, released) = watch::channel(false);
    let (opened, mut openings) = mpsc::unbounded_channel();
    let mut sessions = JoinSet::new();
    for number in 0..u64::from(arguments.connections) {
        let (common, tally, gate) = (Rc::clone(common), Rc::clone(&tally), Rc::clone(&gate));
        let (mut released, opened, stop) = (released.clone(), opened.clone(), stop.clone());
        let until = arguments.stage;
        sessions.spawn_local(async move {
            let trace = Trace::default();
            let account = common.account(number);
            let permit = gate.acquire().await;
            if *stop.borrow() {
                return;
            }
            let begun = Instant::now();
            let session = open(until, &common.dial, number, &account, &common.expectation, &trace);
            let result = common.in_time(&trace, session).await;
            drop(permit);
            let (client, shown) = match result {
                Ok((client, shown)) => (Some((client, shown)), Ok(shown)),
                Err(fault) => (None, Err(fault)),
            };
            tally.borrow_mut().add(Outcome {
                shown,
                duration: begun.elapsed(),
                login: trace.login.get(),
                received: trace.received.get(),
            });
            let Some((mut client, shown)) = client else { return };
            let _ = opened.send(());
            // All are there when nobody can say so any more.
            drop(opened);
            tokio::select! {
                fault = client.silence() => return tally.borrow_mut().lose(shown, &fault),
                _ = released.wait_for(|released| *released) => {}
            }
            let _permit = gate.acquire().await;
            if let Err(fault) = common.in_time(&trace, client.quit()).await {
                tally.borrow_mut().lose(shown, &fault);
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
    tally.take()
}

/// Tells who measures the server meanwhile that all sessions are there.
fn announce(json: bool, held: u64) {
    let line = if json {
        serde_json::json!({ "event": "holding", "connections": held }).to_string()
    } else {
        format!("holding {held} connections")
    };
    // Who does not listen misses nothing else.
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
