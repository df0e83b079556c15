//! Keeps connections to Redis: connects, tries whether the server can be used, looks at it now
//! and then, and comes back after trouble. It also cleans away what a `clear` has left.

use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use redis::{ErrorKind, FromRedisValue as _, RedisError, RedisResult};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use super::link::{self, Link, Target};
use super::{Links, Part, Shared};
use crate::RedisHome;
use crate::Space;

/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often a server that nobody asks is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a start waits for a server.
const START_WAIT: Duration = Duration::from_secs(2);

/// Its thread. It ends with it.
pub(super) struct Keeper {
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    shared: Weak<Shared>,
    target: Target,
    connections: usize,
    prefix: String,
    parts: usize,
}

impl Keeper {
    pub fn start(
        shared: &Arc<Shared>,
        target: Target,
        home: &RedisHome,
        parts: usize,
        cleared: UnboundedReceiver<Space>,
    ) -> std::io::Result<Self> {
        let work = Work {
            shared: Arc::downgrade(shared),
            target,
            connections: home.connections,
            prefix: home.prefix.clone(),
            parts,
        };
        let (end, ended) = oneshot::channel();
        let (tried, first_try) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    () = work.keep(&tried) => {}
                    () = work.sweep(cleared) => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        let _ = first_try.recv_timeout(START_WAIT);
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Work {
    async fn keep(&self, tried: &mpsc::Sender<()>) {
        let mut pause = PAUSES.0;
        loop {
            let connected = self.connect().await;
            let Some(shared) = self.shared.upgrade() else { return };
            match connected {
                Ok(links) => {
                    // First: what goes wrong by the new connections is not to be forgotten.
                    if let Some(away) = shared.record.recover() {
                        tracing::info!(
                            server = shared.address,
                            after_s = away.as_secs_f64(),
                            "the store in Redis is back"
                        );
                    }
                    shared.links.store(Some(Arc::new(Links { links, next: 0.into() })));
                    pause = PAUSES.0;
                    let _ = tried.send(());
                    drop(shared);
                    self.watch().await;
                }
                Err(error) => {
                    shared.out_of_reach(&link::words(&error));
                    drop(shared);
                    let _ = tried.send(());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Returns when there is trouble.
    async fn watch(&self) {
        loop {
            let Some(shared) = self.shared.upgrade() else { return };
            let look = async {
                tokio::time::sleep(LOOK_EVERY).await;
                shared.command::<redis::Value>(&redis::cmd("PING")).await
            };
            tokio::select! {
                _ = look => {}
                () = shared.trouble.notified() => {}
            }
            if shared.links.load().is_none() {
                return;
            }
        }
    }

    async fn connect(&self) -> RedisResult<Vec<Link>> {
        let late = |_| {
            let what = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer to a connection in time");
            RedisError::from(what)
        };
        let patience = self.target.patience(self.connections);
        let connecting = self.target.connect(self.connections);
        let mut links = tokio::time::timeout(patience, connecting).await.map_err(late)??;
        let trying = self.try_out(&mut links[0]);
        tokio::time::timeout(self.target.timeout() * 2, trying).await.map_err(late)??;
        Ok(links)
    }

    /// Whether it is a server that keeps what is written: not one that is loading, full, a
    /// replica, or something else.
    async fn try_out(&self, link: &mut Link) -> RedisResult<()> {
        let mut nonce = [0; 8];
        let _ = getrandom::fill(&mut nonce);
        let nonce = u64::from_le_bytes(nonce).to_string();
        let key = format!("{}trial:{nonce}", self.prefix);
        let mut write = redis::cmd("SET");
        write.arg(&key).arg(&nonce).arg("PX").arg(10_000);
        link.run(&write).await?;
        let mut read = redis::cmd("GETDEL");
        read.arg(&key);
        let back = link.run(&read).await?;
        if String::from_redis_value(back).ok().as_deref() == Some(&*nonce) {
            return Ok(());
        }
        Err(RedisError::from((ErrorKind::Client, "it does not keep what is written to it")))
    }

    /// Takes away entries of namespaces that were cleared.
    async fn sweep(&self, mut cleared: UnboundedReceiver<Space>) {
        while let Some(space) = cleared.recv().await {
            let Some(shared) = self.shared.upgrade() else { return };
            let part = Part::new(shared, &self.prefix, space, self.parts);
            if let Err(error) = part.sweep().await {
                tracing::warn!(%error, "what was cleared stays in Redis until its time to live is over");
            }
        }
    }
}
