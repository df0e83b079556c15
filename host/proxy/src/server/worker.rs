//! A worker thread: accepts connections and runs their sessions.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::runtime;
use crate::net::{Admission, Stream};
use crate::session::{self, ContextHandle, Incoming};

/// Time for sessions to send a final reply after the deadline.
const FINAL_REPLY_GRACE: Duration = Duration::from_secs(1);

/// Signals of a shutdown to all worker threads.
#[derive(Clone, Debug)]
pub(super) struct Shutdown {
    /// Stop accepting connections.
    pub(super) closing: watch::Sender<bool>,
    /// Close sessions that have not logged in or are posed.
    pub(super) drain: CancellationToken,
    /// When sessions that are still open are ended.
    pub(super) deadline: watch::Sender<Option<Instant>>,
}

impl Shutdown {
    pub(super) fn new() -> Self {
        Self {
            closing: watch::channel(false).0,
            drain: CancellationToken::new(),
            deadline: watch::channel(None).0,
        }
    }

    /// Waits for the deadline. Then cancels `drain`, unless done before, and waits a moment.
    async fn deadline_passed(&self) {
        let mut deadline = self.deadline.subscribe();
        let end = deadline.wait_for(Option::is_some).await.ok().and_then(|end| *end);
        if let Some(end) = end {
            tokio::time::sleep_until(end.into()).await;
        }
        if !self.drain.is_cancelled() {
            self.drain.cancel();
            tokio::time::sleep(FINAL_REPLY_GRACE).await;
        }
    }
}

/// Tells a worker thread to accept connections on a socket.
pub(super) struct AcceptTask {
    pub(super) socket: TcpListener,
    /// Whether its connections begin with a TLS handshake.
    pub(super) encrypted: bool,
    pub(super) handle: Arc<ContextHandle>,
    pub(super) admission: Arc<Admission>,
    /// Becomes true when the thread is to stop accepting.
    pub(super) stopped: watch::Receiver<bool>,
}

/// Runs a worker thread until the shutdown is complete.
pub(super) fn run(
    mut tasks: mpsc::UnboundedReceiver<AcceptTask>,
    shutdown: Shutdown,
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
        let mut closing = shutdown.closing.subscribe();
        loop {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing) => break,
                task = tasks.recv() => match task {
                    Some(task) => {
                        accepting.spawn(accept(task, shutdown.closing.subscribe()));
                    }
                    None => break,
                },
                _ = accepting.join_next(), if !accepting.is_empty() => {}
            }
        }
        // Each task ends after its last session.
        let all_ended = async { while accepting.join_next().await.is_some() {} };
        tokio::select! {
            () = all_ended => {}
            () = shutdown.deadline_passed() => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// Accepts connections until stopped, then waits for their sessions.
async fn accept(task: AcceptTask, mut closing: watch::Receiver<bool>) {
    let AcceptTask { socket, encrypted, handle, admission, mut stopped } = task;
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
    // Each session holds a sender; `recv` returns when the last one is dropped.
    let (in_progress, mut all_ended) = mpsc::channel::<Infallible>(1);
    // Saves a system call per connection, unless the socket listens on all addresses.
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
                let stream = Stream::Plain(stream);
                match admission.admit(peer.ip()) {
                    Ok(admitted) => {
                        let incoming = Incoming { stream, peer, local, encrypted, admitted };
                        tokio::spawn(session::serve(handle.clone(), incoming, in_progress.clone()));
                    }
                    Err(refused) => session::refuse(&stream, refused, encrypted, &handle.context()),
                }
            }
            Err(error) => {
                // Most likely out of file descriptors: give sessions time to end.
                let context = handle.context();
                tracing::error!(server = &*context.settings.name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop((listener, in_progress));
    let _ = all_ended.recv().await;
}
