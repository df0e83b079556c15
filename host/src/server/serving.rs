//! One thread's life: its listeners, and the sessions that come from them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sockets::Listener;
use super::{Prepared, runtime};
use crate::net::Admission;
use crate::policy::Judge;
use crate::session::{self, Context, Incoming};

/// One thread's life.
pub(super) fn thread(
    prepared: &Prepared,
    listeners: Vec<Vec<Listener>>,
    drained: &watch::Receiver<bool>,
    mut ends: watch::Receiver<Option<Instant>>,
    ready: &std::sync::mpsc::Sender<anyhow::Result<()>>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let mut accepting = JoinSet::new();
        for (shared, listeners) in prepared.servers.iter().zip(listeners) {
            let context = Arc::new(Context {
                settings: shared.settings.clone(),
                judge: Judge::new(shared.policy.clone()),
                pools: prepared.pools.clone(),
                pool: shared.pool.clone(),
                registry: shared.store.registry.clone(),
                tagger: shared.store.tagger.clone(),
                clock: prepared.clock.clone(),
                counters: shared.counters.clone(),
                drain: drained.clone(),
            });
            if let Err(failure) = context.judge.warm_up().await {
                let _ =
                    ready.send(Err(anyhow::anyhow!("virtual server {}: {failure}", shared.settings.name)));
                return;
            }
            for listener in listeners {
                let Listener { socket, encrypted } = listener;
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => {
                        let admission = shared.admission.clone();
                        accepting.spawn(accept(socket, encrypted, context.clone(), admission));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error.into()));
                        return;
                    }
                }
            }
        }
        let _ = ready.send(Ok(()));
        // Each acceptor ends at the drain, when its last session has ended.
        let all_ended = async { while accepting.join_next().await.is_some() {} };
        let deadline = async {
            let end = ends.wait_for(Option::is_some).await.ok().and_then(|end| *end);
            if let Some(end) = end {
                tokio::time::sleep_until(end.into()).await;
            }
        };
        tokio::select! {
            () = all_ended => {}
            () = deadline => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// Accepts connections until the drain, then waits for the sessions.
async fn accept(
    listener: tokio::net::TcpListener,
    encrypted: bool,
    context: Arc<Context>,
    admission: Arc<Admission>,
) {
    let mut sessions = JoinSet::new();
    let mut drain = context.drain.clone();
    // Only where it listens on all addresses must each connection be asked for its own.
    let listening_on = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    loop {
        let accepted = tokio::select! {
            biased;
            _ = drain.wait_for(|drained| *drained) => break,
            accepted = listener.accept() => accepted,
            _ = sessions.join_next(), if !sessions.is_empty() => continue,
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
                        sessions.spawn(session::serve(context.clone(), incoming));
                    }
                    Err(refused) => session::refuse(&stream, refused, encrypted, &context),
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: let sessions end before the next try.
                tracing::error!(server = &*context.settings.name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}
