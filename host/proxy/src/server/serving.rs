//! One thread's life: what it is told to listen on, and the sessions that come from there.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::runtime;
use crate::net::Admission;
use crate::session::{self, Door, Incoming};

/// How long sessions that are told to end may take for their last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a server ends.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// Nothing more is accepted.
    pub(super) closing: watch::Sender<bool>,
    /// Sessions that have not logged in, or are posed, are told.
    pub(super) drain: CancellationToken,
    /// When sessions that are still under way are ended.
    pub(super) deadline: watch::Sender<Option<Instant>>,
}

impl Ending {
    pub(super) fn new() -> Self {
        Self {
            closing: watch::channel(false).0,
            drain: CancellationToken::new(),
            deadline: watch::channel(None).0,
        }
    }

    /// Waits for the deadline. Who has not been told yet is told then, and has a moment.
    async fn over(&self) {
        let mut deadline = self.deadline.subscribe();
        let end = deadline.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        if let Some(end) = end {
            tokio::time::sleep_until(end.into()).await;
        }
        if !self.drain.is_cancelled() {
            self.drain.cancel();
            tokio::time::sleep(LAST_WORDS).await;
        }
    }
}

/// What a thread is told to do.
pub(super) struct Accept {
    pub(super) socket: TcpListener,
    /// Whether its connections begin with a TLS handshake.
    pub(super) encrypted: bool,
    pub(super) door: Arc<Door>,
    pub(super) admission: Arc<Admission>,
    /// Becomes true when nothing more is to be accepted there.
    pub(super) stopped: watch::Receiver<bool>,
}

/// One thread's life.
pub(super) fn thread(
    mut told: mpsc::UnboundedReceiver<Accept>,
    ending: Ending,
    ready: &std::sync::mpsc::Sender<anyhow::Result<()>>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    runtime.block_on(async {
        let mut accepting = JoinSet::new();
        let mut closing = ending.closing.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => break,
                task = told.recv() => match task {
                    Some(task) => {
                        accepting.spawn(accept(task, ending.closing.subscribe()));
                    }
                    None => break,
                },
                _ = accepting.join_next(), if !accepting.is_empty() => {}
            }
        }
        // Each acceptor ends when its last session has ended.
        let all_ended = async { while accepting.join_next().await.is_some() {} };
        tokio::select! {
            () = all_ended => {}
            () = ending.over() => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// Accepts connections until it is to stop, then waits for the sessions.
async fn accept(task: Accept, mut closing: watch::Receiver<bool>) {
    let Accept { socket, encrypted, door, admission, mut stopped } = task;
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    let mut stop = pin!(async move {
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    });
    // Each session holds it to its end: nobody has to look at each one that ends.
    let (under_way, mut all_ended) = mpsc::channel::<Infallible>(1);
    // Only where it listens on all addresses must each connection be asked for its own.
    let listening_on = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let local = match listening_on {
                    Some(address) => address,
                    None => match stream.local_addr() {
                        Ok(address) => address,
                        Err(_) => continue,
                    },
                };
                match admission.admit() {
                    Ok(admitted) => {
                        let incoming = Incoming { stream, peer, local, encrypted, admitted };
                        tokio::spawn(session::serve(door.clone(), incoming, under_way.clone()));
                    }
                    Err(refused) => session::refuse(&stream, refused, encrypted, &door.context()),
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: let sessions end before the next try.
                let context = door.context();
                tracing::error!(server = &*context.settings.name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, under_way));
    let _ = all_ended.recv().await;
}
