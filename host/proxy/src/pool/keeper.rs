//! Keeps what is known of nodes up to date, on a thread of its own: their addresses where they
//! are known by name, whether they are well, and what they can do. Logins only read it.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::names::Names;
use super::node::Node;
use super::state::Pool;

/// How long a start waits for the first look at all nodes.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// The least time between two looks, however often logins fail.
const LEAST_PAUSE: Duration = Duration::from_millis(500);

/// Looks after nodes as long as it lives.
#[derive(Debug)]
pub struct Keeper {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins, and returns when every node was looked at once, or after two seconds.
    /// `name_servers`: whom to ask instead of the machine's own.
    ///
    /// # Errors
    /// Where the system has no more threads.
    pub fn start(pools: Vec<Arc<Pool>>, name_servers: Vec<std::net::SocketAddr>) -> std::io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let needed = |pool: &Pool, node: &Node| pool.config().health_check.is_some() || node.is_named;
        let tasks: Vec<_> = pools
            .iter()
            .flat_map(|pool| pool.nodes().iter().map(move |node| (pool.clone(), node.clone())))
            .filter(|(pool, node)| needed(pool, node))
            .collect();
        if tasks.is_empty() {
            return Ok(Self { stop, thread: None });
        }
        let (looked, first_looks) = mpsc::channel();
        let count = tasks.len();
        let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    tracing::error!(%error, "nodes are not looked after");
                    return;
                }
            };
            runtime.block_on(async {
                let names = match Names::new(&name_servers) {
                    Ok(names) => Some(Arc::new(names)),
                    Err(error) => {
                        tracing::warn!(%error, "no name servers to ask for the addresses of nodes");
                        None
                    }
                };
                let mut stopped = stopped;
                for (pool, node) in tasks {
                    tokio::spawn(look_after(pool, node, names.clone(), looked.clone()));
                }
                drop(looked);
                let _ = stopped.wait_for(|stopped| *stopped).await;
            });
        })?;
        let deadline = Instant::now() + FIRST_LOOK;
        for _ in 0..count {
            let left = deadline.saturating_duration_since(Instant::now());
            if first_looks.recv_timeout(left).is_err() {
                break;
            }
        }
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn look_after(pool: Arc<Pool>, node: Arc<Node>, names: Option<Arc<Names>>, looked: mpsc::Sender<()>) {
    let mut first = Some(looked);
    loop {
        let mut pause = Duration::from_secs(3600);
        if node.is_named {
            pause = pause.min(resolve(&pool, &node, names.as_deref()).await);
        }
        if pool.config().health_check.is_some() {
            pause = pause.min(check(&pool, &node).await);
        }
        if let Some(looked) = first.take() {
            let _ = looked.send(());
        }
        tokio::select! {
            () = tokio::time::sleep(pause.max(LEAST_PAUSE)) => {}
            () = async {
                tokio::time::sleep(LEAST_PAUSE).await;
                // A login has failed there.
                node.look.notified().await;
            } => {}
        }
    }
}

/// Asks for the node's addresses; how long they count.
async fn resolve(pool: &Pool, node: &Node, names: Option<&Names>) -> Duration {
    let Some(names) = names else { return pool.config().retry_after };
    match names.find(&node.host, node.port).await {
        Ok((mut addresses, valid)) => {
            // Name servers turn their answers round; that is no news.
            addresses.sort_unstable();
            let before = node.addresses.load();
            if **before != addresses {
                tracing::info!(pool = pool.name(), node = &*node.name, ?addresses, "node resolved");
                node.addresses.store(Arc::new(addresses));
            }
            valid
        }
        Err(error) => {
            // What was known is better than nothing.
            tracing::warn!(pool = pool.name(), node = &*node.name, %error, "node cannot be resolved");
            pool.config().retry_after
        }
    }
}

/// Asks how the node is, and what it can do; when to ask again.
async fn check(pool: &Pool, node: &Node) -> Duration {
    let Some(settings) = pool.config().health_check else { return Duration::MAX };
    let asked = async {
        let (wire, _) = pool.greeted(node, None).await?;
        pool.ask_capabilities(wire).await
    };
    let answers = match asked.await {
        Ok(learned) => {
            if node.learn(learned) {
                tracing::debug!(pool = pool.name(), node = &*node.name, ?learned, "node asked");
            }
            pool.succeeded(node);
            true
        }
        Err(why) => {
            pool.check_failed(node, &why.to_string());
            false
        }
    };
    let is_well = answers && node.is_healthy();
    if is_well { settings.interval } else { settings.interval.min(pool.config().retry_after) }
}
