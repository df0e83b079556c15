//! The reconnect thread: connects, checks that the server can be used, pings it, and reconnects
//! after failures. It also removes the entries that a `clear` has left.

use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use redis::{ErrorKind, FromRedisValue as _, RedisError, RedisResult};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};

use super::connection::{self, Connection, Target};
use super::{Connections, RedisNamespace, Shared};
use crate::epoch;
use crate::{NamespaceConfig, RedisSettings};

/// First pause after a failed attempt; it doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause between attempts.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How often the server is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Longest time that opening a store waits for the first attempt.
const START_TIMEOUT: Duration = Duration::from_secs(2);
/// Time to live of the key that checks whether the server keeps what is written.
const PROBE_TTL_MS: u32 = 10_000;

/// Handle of the reconnect thread. Dropping it stops the thread.
pub(super) struct Reconnect {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Reconnect {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct Worker {
    shared: Weak<Shared>,
    target: Target,
    connections: usize,
    prefix: String,
    slots: usize,
}

impl Reconnect {
    /// Starts the thread, and waits a moment for the first attempt to connect.
    pub fn start(
        shared: &Arc<Shared>,
        target: Target,
        settings: &RedisSettings,
        slots: usize,
        cleared: UnboundedReceiver<NamespaceConfig>,
    ) -> std::io::Result<Self> {
        let worker = Worker {
            shared: Arc::downgrade(shared),
            target,
            connections: settings.connections,
            prefix: settings.prefix.clone(),
            slots,
        };
        let (stop, stopped) = oneshot::channel();
        let (attempted, first_attempt) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = worker.stay_connected(&attempted) => {}
                    () = worker.sweep(cleared) => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        })?;
        let _ = first_attempt.recv_timeout(START_TIMEOUT);
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

/// Identifies the process of the server: after a restart or a failover it is another one, which may have
/// lost the last writes. 0 if that is not known: in a cluster, and if INFO is not permitted.
async fn run_id(connection: &mut Connection) -> u64 {
    if matches!(connection, Connection::Cluster(_)) {
        return 0;
    }
    let mut info = redis::cmd("INFO");
    info.arg("server");
    let reply = connection.run(&info).await.ok().and_then(|reply| String::from_redis_value(reply).ok());
    let run_id = reply.as_deref().and_then(|info| info.lines().find_map(|line| line.strip_prefix("run_id:")));
    if run_id.is_none() {
        tracing::warn!(
            "the store in Redis does not permit INFO: a restart that loses writes will not be noticed; permit \
             it to the user with `ACL SETUSER … +info`"
        );
    }
    run_id.map_or(0, |run_id| epoch::of(run_id.trim().as_bytes()))
}

impl Worker {
    /// Connects again and again. `attempted` receives a message after each attempt.
    async fn stay_connected(&self, attempted: &mpsc::Sender<()>) {
        let mut pause = MIN_PAUSE;
        loop {
            let connected = self.connect().await;
            let Some(shared) = self.shared.upgrade() else { return };
            match connected {
                Ok((all, epoch)) => {
                    // Before the connections are used: nothing from the old one is read as of the new one.
                    shared.epoch.set(epoch);
                    // The outage ends before the new connections are used: their failures begin
                    // a new one.
                    if let Some(outage) = shared.monitor.recover() {
                        tracing::info!(
                            server = shared.address,
                            after_s = outage.as_secs_f64(),
                            "the store in Redis is reachable again"
                        );
                    }
                    shared.connections.store(Some(Arc::new(Connections { all, next: 0.into() })));
                    pause = MIN_PAUSE;
                    let _ = attempted.send(());
                    drop(shared);
                    self.watch().await;
                }
                Err(error) => {
                    shared.report_unreachable(&connection::describe(&error));
                    drop(shared);
                    let _ = attempted.send(());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Pings the server until the connections fail.
    async fn watch(&self) {
        loop {
            let Some(shared) = self.shared.upgrade() else { return };
            let ping = async {
                tokio::time::sleep(PING_INTERVAL).await;
                shared.command::<redis::Value>(&redis::cmd("PING")).await
            };
            tokio::select! {
                _ = ping => {}
                () = shared.failed.notified() => {}
            }
            if shared.connections.load().is_none() {
                return;
            }
        }
    }

    async fn connect(&self) -> RedisResult<(Vec<Connection>, u64)> {
        let late = |_| {
            let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "connecting took too long");
            RedisError::from(error)
        };
        let limit = self.target.connect_timeout(self.connections);
        let connecting = self.target.connect(self.connections);
        let mut connections = tokio::time::timeout(limit, connecting).await.map_err(late)??;
        let probing = self.probe(&mut connections[0]);
        tokio::time::timeout(self.target.timeout() * 2, probing).await.map_err(late)??;
        let asking = run_id(&mut connections[0]);
        let server = tokio::time::timeout(self.target.timeout(), asking).await.map_err(late)?;
        // During a failover the address may lead to another server from one connection to the next. Nobody
        // would notice that the other one has lost writes.
        if server != 0 {
            for connection in &mut connections[1..] {
                let asking = run_id(connection);
                if tokio::time::timeout(self.target.timeout(), asking).await.map_err(late)? != server {
                    let error = "the connections lead to different servers";
                    return Err(RedisError::from((ErrorKind::Client, error)));
                }
            }
        }
        Ok((connections, server))
    }

    /// Writes a key and reads it back: fails if the server is loading, full, a replica, or not
    /// Redis at all.
    async fn probe(&self, connection: &mut Connection) -> RedisResult<()> {
        let mut nonce = [0; 8];
        let _ = getrandom::fill(&mut nonce);
        let nonce = u64::from_le_bytes(nonce).to_string();
        let key = format!("{}probe:{nonce}", self.prefix);
        let mut write = redis::cmd("SET");
        write.arg(&key).arg(&nonce).arg("PX").arg(PROBE_TTL_MS);
        connection.run(&write).await?;
        let mut read = redis::cmd("GETDEL");
        read.arg(&key);
        let read_back = connection.run(&read).await?;
        if String::from_redis_value(read_back).ok().as_deref() == Some(&*nonce) {
            return Ok(());
        }
        Err(RedisError::from((ErrorKind::Client, "a value written to it could not be read back")))
    }

    /// Removes the old entries of namespaces that were cleared.
    async fn sweep(&self, mut cleared: UnboundedReceiver<NamespaceConfig>) {
        while let Some(config) = cleared.recv().await {
            let Some(shared) = self.shared.upgrade() else { return };
            let namespace = RedisNamespace::new(shared, &self.prefix, config, self.slots);
            if let Err(error) = namespace.sweep().await {
                tracing::warn!(%error, "cleared entries stay in Redis until they expire");
            }
        }
    }
}
