//! The health checker: a thread that resolves the host names of nodes, checks their health and
//! learns their capabilities, so that logins only read the results.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::dns::Resolver;
use super::node::{Node, TAKES_NO_PASSWORD};
use super::pool::Pool;

/// Longest time that [`HealthChecker::start`] waits for the first check of all nodes.
const FIRST_CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Shortest time between two checks of a node, however often logins fail.
const MIN_PAUSE: Duration = Duration::from_millis(500);

/// Handle of the health checker's thread, which stops when this is dropped.
#[derive(Debug)]
pub struct HealthChecker {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl HealthChecker {
    /// Starts the thread and returns after every node was checked once, or after two seconds.
    /// `name_servers` replace the system's DNS servers unless empty.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(pools: Vec<Arc<Pool>>, name_servers: Vec<std::net::SocketAddr>) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let needed = |pool: &Pool, node: &Node| pool.config().health_check.is_some() || node.has_host_name;
        let tasks: Vec<_> = pools
            .iter()
            .flat_map(|pool| pool.nodes().iter().map(move |node| (pool.clone(), node.clone())))
            .filter(|(pool, node)| needed(pool, node))
            .collect();
        if tasks.is_empty() {
            return Ok(Self { stop, thread: None });
        }
        let (first_checks, first_results) = mpsc::channel();
        let count = tasks.len();
        let thread = std::thread::Builder::new().name("health-checker".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "cannot start health checks");
                    return;
                }
            };
            runtime.block_on(async {
                let resolver = match Resolver::new(&name_servers) {
                    Ok(resolver) => Some(Arc::new(resolver)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot resolve the host names of nodes");
                        None
                    }
                };
                let mut stopped = stopped;
                for (pool, node) in tasks {
                    tokio::spawn(watch_node(pool, node, resolver.clone(), first_checks.clone()));
                }
                drop(first_checks);
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
        })?;
        let deadline = Instant::now() + FIRST_CHECK_TIMEOUT;
        for _ in 0..count {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if first_results.recv_timeout(remaining).is_err() {
                break;
            }
        }
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for HealthChecker {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread does for the nodes of a pool with addresses, for the runtime of a simulation.
#[cfg(test)]
pub(crate) fn watch_nodes(pool: &Arc<Pool>) -> Vec<impl Future<Output = ()> + Send + use<>> {
    let (first_checks, _) = mpsc::channel();
    let nodes = pool.nodes().iter().cloned();
    nodes.map(|node| watch_node(pool.clone(), node, None, first_checks.clone())).collect()
}

/// Resolves and checks one node forever. Sends one message after the first round.
async fn watch_node(
    pool: Arc<Pool>,
    node: Arc<Node>,
    resolver: Option<Arc<Resolver>>,
    first_check: mpsc::Sender<()>,
) {
    let mut first_check = Some(first_check);
    loop {
        let mut pause = Duration::from_secs(3600);
        if node.has_host_name {
            pause = pause.min(resolve(&pool, &node, resolver.as_deref()).await);
        }
        if pool.config().health_check.is_some() {
            pause = pause.min(check(&pool, &node).await);
        }
        if let Some(first_check) = first_check.take() {
            let _ = first_check.send(());
        }
        tokio::select! {
            biased;
            () = crate::time::sleep(pause.max(MIN_PAUSE)) => {}
            () = async {
                crate::time::sleep(MIN_PAUSE).await;
                // A login has failed at this node.
                node.check_now.notified().await;
            } => {}
        }
    }
}

/// Updates the node's addresses from DNS. Returns when to resolve them again.
async fn resolve(pool: &Pool, node: &Node, resolver: Option<&Resolver>) -> Duration {
    let Some(resolver) = resolver else { return pool.config().retry_after };
    match resolver.lookup(&node.host, node.port).await {
        Ok((mut addresses, time_to_live)) => {
            // DNS servers rotate their answers; that is no change.
            addresses.sort_unstable();
            let before = node.addresses.load();
            if **before != addresses {
                tracing::info!(pool = pool.name(), node = &*node.name, ?addresses, "node has new addresses");
                node.addresses.store(Arc::new(addresses));
            }
            time_to_live
        }
        Err(error) => {
            // Keep the old addresses.
            tracing::warn!(pool = pool.name(), node = &*node.name, %error, "cannot resolve the host name of the node");
            pool.config().retry_after
        }
    }
}

/// Checks the node's health and learns its capabilities. Returns when to check it again.
async fn check(pool: &Pool, node: &Node) -> Duration {
    let Some(settings) = pool.config().health_check else { return Duration::MAX };
    let check = async {
        let (line_stream, _) = pool.connect(node, None).await?;
        pool.check_capabilities(line_stream).await
    };
    let succeeded = match check.await {
        Ok(capabilities) => {
            if node.set_capabilities_before_login(capabilities) {
                tracing::debug!(
                    pool = pool.name(),
                    node = &*node.name,
                    ?capabilities,
                    "node capabilities changed"
                );
                if !capabilities.takes_secrets() {
                    tracing::warn!(pool = pool.name(), node = &*node.name, "node {TAKES_NO_PASSWORD}");
                }
            }
            pool.succeeded(node);
            true
        }
        Err(why) => {
            pool.check_failed(node, &why.to_string());
            false
        }
    };
    if succeeded && node.is_healthy() {
        settings.interval
    } else {
        settings.interval.min(pool.config().retry_after)
    }
}
