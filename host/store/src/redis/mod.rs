//! The store in Redis or Valkey: one for many proxies. Each operation is one round trip, done
//! there as a whole; what expires is taken away there. While the server is out of reach each
//! operation fails at once, and a keeper tries to come back.

mod entry;
mod keeper;
mod link;
mod part;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use redis::{Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisResult, Value};
use tokio::sync::Notify;

use super::health::Record;
use super::{Health, Space, Unavailable};
use crate::{RedisHome, RedisKind};
use keeper::Keeper;
use link::{Link, Target};
pub(super) use part::Part;
use scripts::{Script, Scripts};

/// In a cluster a namespace is spread over so many slots.
const CLUSTER_PARTS: usize = 16;
/// How long an administrator's own work on the whole store may wait for one answer.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// Whether a text is an address of Redis.
///
/// # Errors
/// Why it is none, without repeating it: it may hold a password.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    match url.into_connection_info() {
        Ok(_) => Ok(()),
        Err(_) if !url.contains("://") => Err("it has no scheme"),
        Err(_) => Err("it cannot be read"),
    }
}

/// Connections that are in use.
struct Links {
    links: Vec<Link>,
    next: AtomicUsize,
}

/// What namespaces and the keeper share.
struct Shared {
    links: ArcSwapOption<Links>,
    trouble: Notify,
    record: Record,
    scripts: Scripts,
    timeout: Duration,
    /// The server as it may be told.
    address: String,
    /// What has to be cleaned away after a `clear`.
    cleared: tokio::sync::mpsc::UnboundedSender<Space>,
}

/// A store in Redis.
pub(super) struct Redis {
    shared: Arc<Shared>,
    prefix: String,
    parts: usize,
    _keeper: Keeper,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// What is read before a process becomes somebody who may read less.
pub(super) struct Keys(Target);

impl Keys {
    /// Reads passwords and certificates.
    ///
    /// # Errors
    /// Which file is not what it should be.
    pub fn read(home: &RedisHome) -> Result<Self, String> {
        Target::new(home).map(Self)
    }
}

impl Redis {
    /// Connects, and waits for it a moment; a server that is out of reach now may come later.
    ///
    /// # Errors
    /// Where the system has no thread to give.
    pub fn open(home: &RedisHome, keys: Keys) -> std::io::Result<Self> {
        let (cleared, to_sweep) = tokio::sync::mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            links: ArcSwapOption::empty(),
            trouble: Notify::new(),
            record: Record::default(),
            scripts: Scripts::new(),
            timeout: home.timeout,
            address: keys.0.address(),
            cleared,
        });
        let parts = if home.kind == RedisKind::Cluster { CLUSTER_PARTS } else { 1 };
        let keeper = Keeper::start(&shared, keys.0, home, parts, to_sweep)?;
        Ok(Self { shared, prefix: home.prefix.clone(), parts, _keeper: keeper })
    }

    pub fn part(&self, space: Space) -> Part {
        Part::new(self.shared.clone(), &self.prefix, space, self.parts)
    }

    pub fn health(&self) -> Health {
        match self.shared.record.trouble() {
            Some(why) => Health::OutOfReach { why },
            None => Health::Well,
        }
    }

    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Octets of memory that the server uses.
    pub async fn memory(&self) -> Option<u64> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let told: String = self.shared.within(LONG_WAIT, async |link| link.run(&command).await).await.ok()?;
        told.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
    }

    /// Names of the namespaces that are there.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn names(&self) -> Result<Vec<String>, Unavailable> {
        let mut names: Vec<String> = Vec::new();
        // Each namespace has one of these.
        let pattern = format!("{}{{*}}#usage", self.prefix);
        for routed_by in (0..self.parts).map(|part| part::tag(&self.prefix, "", part, self.parts)) {
            let mut cursor = 0_u64;
            loop {
                let (next, keys) = self.shared.scan(cursor, &pattern, &routed_by).await?;
                for key in keys {
                    let name = part::name_of(&key, &self.prefix, self.parts);
                    names.extend(name.map(str::to_owned));
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

impl Shared {
    fn ready(&self) -> Result<(), Unavailable> {
        match self.record.trouble() {
            Some(why) => Err(Unavailable(why)),
            None => Ok(()),
        }
    }

    /// The connections that there are now, if there are any.
    fn links(&self) -> Result<Arc<Links>, Unavailable> {
        self.links.load_full().ok_or_else(|| {
            let why = self.record.trouble();
            Unavailable(why.unwrap_or_else(|| "not connected yet".to_owned()))
        })
    }

    /// Does something within the time-out, and judges the server by what comes of it.
    async fn within<T: FromRedisValue>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Link) -> RedisResult<Value>,
    ) -> Result<T, Unavailable> {
        Record::count(&self.record.operations);
        let began = Instant::now();
        let links = self.links().inspect_err(|_| Record::count(&self.record.failures))?;
        let mut link = links.take();
        let result = tokio::time::timeout(limit, work(&mut link)).await;
        self.record.waits.observe(began.elapsed());
        let (why, of_this_key_only) = match result {
            Ok(Ok(value)) => match T::from_redis_value(value) {
                Ok(parsed) => return Ok(parsed),
                Err(_) => ("it answers what it was not asked".to_owned(), false),
            },
            Ok(Err(error)) => (link::words(&error), is_of_one_key(&error)),
            Err(_) => {
                Record::count(&self.record.timeouts);
                (format!("no answer within {} ms (store.timeout)", limit.as_millis()), false)
            }
        };
        Record::count(&self.record.failures);
        if !of_this_key_only {
            self.fail(&links, &why);
        }
        Err(Unavailable(why))
    }

    /// Runs one command.
    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.within(self.timeout, async |link| link.run(command).await).await
    }

    /// Runs a script.
    async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, Unavailable> {
        self.within(self.timeout, async |link| script.run(link, &arguments).await).await
    }

    /// One step over all keys of the server that has `routed_by`.
    async fn scan(
        &self,
        cursor: u64,
        pattern: &str,
        routed_by: &str,
    ) -> Result<(u64, Vec<Vec<u8>>), Unavailable> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
        self.within(LONG_WAIT, async |link| link.run_where(routed_by, command).await).await
    }

    /// The server is in trouble: nothing is asked of it until the keeper finds it well. `over`:
    /// the connections by which that came out; where the keeper has newer ones, it tells nothing
    /// about those.
    fn fail(&self, over: &Arc<Links>, why: &str) {
        let present = self.links.compare_and_swap(&Some(over.clone()), None);
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, over)) {
            self.out_of_reach(why);
            self.trouble.notify_one();
        }
    }

    /// Has it on record, and tells it once.
    fn out_of_reach(&self, why: &str) {
        if self.record.fail(why) {
            tracing::error!(
                server = self.address,
                why,
                "the store in Redis is out of reach; logins go by on-failure until it is back"
            );
        }
    }
}

impl Links {
    /// One of them, in turn.
    fn take(&self) -> Link {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.links.len();
        self.links[index].clone()
    }
}

/// Whether an error tells of one entry, not of the server.
fn is_of_one_key(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(redis::ServerErrorKind::ResponseError)
        && error.detail().is_some_and(|detail| detail.contains("not written by Reprieve"))
        || error.code() == Some("WRONGTYPE")
}
