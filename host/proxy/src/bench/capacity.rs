//! Measures what a store needs: simulated proxies fill it as a number of users would. Larger sites
//! are extrapolated from that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::histogram::{Percentiles, Times};
use crate::maildrop::{LeftMaildrop, Opening, Registry, Tag, TagStanding, Tagger, UserKey};
use reprieve_metrics::cpu_time;
use reprieve_policy_host::MemoryKey;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::snapshot::{Row, Snapshot};
use reprieve_store::clock::SystemClock;
use reprieve_store::{Namespace, NamespaceConfig, Store, StoreSecrets};
use reprieve_store::{Share, StoreBackend, StoreConfig};

/// Prefix of all keys of a simulation.
const PREFIX: &str = "reprieve-capacity:";
/// Durations that are kept: those of all logins would take memory that is measured.
const KEPT_DURATIONS: u32 = 100_000;

/// The site to simulate.
#[derive(Clone, Debug)]
pub struct Site {
    /// The store of the proxies.
    pub store: StoreConfig,
    /// What proxies share.
    pub share: Share,
    /// Number of users.
    pub users: u32,
    /// Number of messages in each maildrop.
    pub messages: u32,
    /// Number of proxies.
    pub proxies: u32,
    /// Number of concurrent logins at each proxy.
    pub concurrent_logins: u32,
}

/// Measurements of logins.
#[derive(Clone, Debug)]
pub struct Work {
    /// Number of logins.
    pub logins: u64,
    /// Elapsed time of all logins.
    pub elapsed: Duration,
    /// Elapsed time of each login.
    pub latency: Percentiles,
    /// CPU time of this process per login.
    pub cpu_per_login: Duration,
    /// Number of logins whose data the store could not return or accept.
    pub failed: u64,
}

/// Measurements of a store.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Passed logins: the policy writes its timestamp, a session begins and leaves a snapshot.
    pub passes: Work,
    /// Denied logins: the policy's timestamp and the user's snapshot are read.
    pub denials: Work,
    /// Bytes of the policy's entries that count towards its quota.
    pub quota_bytes: u64,
    /// Growth of the memory of this process in bytes.
    pub process_bytes: u64,
    /// Size of the file in bytes.
    pub file_bytes: Option<u64>,
    /// Growth of the memory of Redis in bytes.
    pub redis_bytes: Option<u64>,
}

/// A simulated proxy.
struct Proxy {
    store: Store,
    namespace: Namespace,
    registry: Registry,
    tagger: Tagger,
}

impl Proxy {
    fn open(site: &Site) -> anyhow::Result<Self> {
        let store = Store::open(StoreSecrets::read(&site.store)?, Arc::new(SystemClock))?;
        let namespace = store.namespace(NamespaceConfig::for_policies("policy:capacity", u64::MAX >> 16));
        let tagger = Tagger::keyed(b"the secret of a simulation");
        let credential_ttl = Duration::from_secs(86_400);
        let registry = match site.share {
            Share::Off => Registry::new(u64::MAX >> 16, credential_ttl),
            share => Registry::shared(u64::MAX >> 16, credential_ttl, &store, &tagger, share)?,
        };
        Ok(Self { store, namespace, registry, tagger })
    }

    /// The store operations of a login that passes with the default policy.
    async fn pass(&self, user: u32, snapshot: &Snapshot) -> bool {
        let (memory, key, tag) = self.user(user);
        // The policy `interval` remembers a time and a day, in four bytes each.
        let written = self.namespace.set(memory.stored(), &[7; 8], Some(Duration::from_secs(86_400))).await;
        let fetched = self.registry.look(key, Some(&tag), now_ms()).await;
        let timestamp = self.namespace.get(memory.stored()).await;
        let opening = Opening {
            user: key,
            tag: Some(tag),
            route: None,
            accepted_ms: now_ms(),
            fetched,
            expects_signals: false,
        };
        let session = self.registry.begin(opening).wait().await;
        let end = LeftMaildrop::without_deletions(snapshot.clone(), now_ms());
        if let Some(commit) = self.registry.commit(session, end) {
            commit.await;
        }
        matches!((timestamp, written), (Ok(_), Ok(Ok(()))))
    }

    /// The store operations of a login that is denied.
    async fn deny(&self, user: u32) -> bool {
        let (memory, key, tag) = self.user(user);
        let fetched = self.registry.look(key, Some(&tag), now_ms()).await;
        let known = fetched.standing == TagStanding::Known;
        let timestamp = self.namespace.get(memory.stored()).await;
        let is_posed = known && self.registry.last_seen(&fetched, key).is_ok();
        self.registry.pose(key, now_ms());
        is_posed && matches!(timestamp, Ok(Some(_)))
    }

    fn user(&self, user: u32) -> (MemoryKey, UserKey, Tag) {
        let name = format!("user-{user}@example.org");
        let credentials = Credentials::new(name.as_bytes(), Secret::new(b"a password"), Mechanism::UserPass);
        let key = self.tagger.user("mail", name.as_bytes());
        let tag = self.tagger.tag(key, &credentials);
        (MemoryKey::new(&name, None), key, tag)
    }
}

fn now_ms() -> u64 {
    use reprieve_store::clock::Clock as _;
    SystemClock.now_ms()
}

/// Fills a store, measures it, and removes the data again. `progress` is called with the number of
/// logins so far and in total.
///
/// # Errors
/// If the store cannot be opened or reached.
pub fn measure(site: &Site, progress: impl Fn(u64, u64) + Sync) -> anyhow::Result<Capacity> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut own = site.clone();
    match &mut own.store.backend {
        StoreBackend::Memory => {}
        // Other data in the same Redis is not touched.
        StoreBackend::Redis(redis) => PREFIX.clone_into(&mut redis.prefix),
        StoreBackend::File(file) => {
            let path = file.path.display();
            anyhow::ensure!(
                !file.path.exists(),
                "{path} exists already; name a new file, which is only for this measurement"
            );
        }
    }
    let site = &own;
    let proxies = (0..site.proxies.max(1)).map(|_| Proxy::open(site));
    let proxies = proxies.collect::<anyhow::Result<Vec<_>>>()?;
    // Remove the data of an earlier simulation that was interrupted.
    runtime.block_on(proxies[0].clear())?;
    let before = resident_bytes();
    let redis_before = runtime.block_on(proxies[0].store.redis_memory_bytes());
    let ids: Vec<_> = (0..site.messages).map(|number| format!("{number:08x}5f3a2b1c")).collect();
    let rows = ids.iter().map(|id| Row { size: 20_000, unique_id: id.as_bytes() });
    let snapshot = Snapshot::pack(rows).unwrap_or_default();

    let all = u64::from(site.users) * 2;
    let passes = work(
        site,
        &proxies,
        async |proxy, user| proxy.pass(user, &snapshot).await,
        |done| progress(done, all),
    );
    runtime.block_on(proxies[0].store.save());
    let denials = work(
        site,
        &proxies,
        // In a scattered order: real users do not poll in the order of their names.
        async |proxy, user| {
            let other = u64::from(user) * 2_654_435_761 % u64::from(site.users.max(1));
            proxy.deny(u32::try_from(other).unwrap_or(0)).await
        },
        |done| progress(u64::from(site.users) + done, all),
    );
    let quota_bytes = runtime.block_on(proxies[0].namespace.usage())?;
    let process_bytes = resident_bytes().saturating_sub(before);
    let redis_after = runtime.block_on(proxies[0].store.redis_memory_bytes());
    let file_bytes = match &site.store.backend {
        StoreBackend::File(file) => std::fs::metadata(&file.path).ok().map(|data| data.len()),
        _ => None,
    };
    runtime.block_on(proxies[0].clear())?;
    drop(proxies);
    if let StoreBackend::File(file) = &site.store.backend {
        std::fs::remove_file(&file.path)?;
    }
    progress(all, all);
    let redis_bytes = redis_after.zip(redis_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Capacity { passes, denials, quota_bytes, process_bytes, file_bytes, redis_bytes })
}

impl Proxy {
    async fn clear(&self) -> anyhow::Result<()> {
        self.namespace.purge().await?;
        let records = self.store.namespace(NamespaceConfig::for_policies("maildrop", u64::MAX >> 16));
        records.purge().await?;
        Ok(())
    }
}

/// Logs in all users once, with a thread per proxy.
fn work(
    site: &Site,
    proxies: &[Proxy],
    login: impl AsyncFn(&Proxy, u32) -> bool + Sync,
    progress: impl Fn(u64) + Sync,
) -> Work {
    let done = std::sync::atomic::AtomicU64::new(0);
    let began = Instant::now();
    let cpu = cpu_time::of_this_process();
    let shares: Vec<(Times, u64)> = std::thread::scope(|scope| {
        let threads = proxies.iter().zip(0_u32..).map(|(proxy, index)| {
            let (login, done, progress) = (&login, &done, &progress);
            scope.spawn(move || {
                one_share(site, proxy, index, login, |count| {
                    let done = done.fetch_add(count, std::sync::atomic::Ordering::Relaxed) + count;
                    progress(done);
                })
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let elapsed = began.elapsed();
    let cpu_per_login = cpu_time::of_this_process().saturating_sub(cpu);
    let mut times = Times::new(KEPT_DURATIONS as usize);
    let mut failed = 0;
    for (share, share_failed) in shares {
        times.add_all(share);
        failed += share_failed;
    }
    let logins = u64::from(site.users);
    let cpu_per_login = cpu_per_login / site.users.max(1);
    Work { logins, elapsed, latency: times.percentiles(), cpu_per_login, failed }
}

/// Logs in the users of one proxy, with concurrent logins.
fn one_share(
    site: &Site,
    proxy: &Proxy,
    index: u32,
    login: &impl AsyncFn(&Proxy, u32) -> bool,
    progress: impl Fn(u64),
) -> (Times, u64) {
    let mut times = Times::new((KEPT_DURATIONS / site.proxies.max(1)) as usize + 1);
    let logins_per_duration = site.users.div_ceil(KEPT_DURATIONS);
    let mut failed = 0;
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return (times, u64::from(site.users));
    };
    let next = std::cell::Cell::new(index);
    let results = std::cell::RefCell::new((&mut times, &mut failed));
    let client = async || {
        loop {
            let user = next.get();
            if user >= site.users {
                return;
            }
            next.set(user.saturating_add(site.proxies.max(1)));
            let began = Instant::now();
            let succeeded = login(proxy, user).await;
            let mut results = results.borrow_mut();
            if (user / site.proxies.max(1)).is_multiple_of(logins_per_duration) {
                results.0.add(began.elapsed());
            }
            *results.1 += u64::from(!succeeded);
            if (user / site.proxies.max(1)).is_multiple_of(1024) {
                progress(1024);
            }
        }
    };
    runtime.block_on(async {
        let mut clients: Vec<_> = (0..site.concurrent_logins.max(1)).map(|_| Box::pin(client())).collect();
        std::future::poll_fn(|task| {
            clients.retain_mut(|client| client.as_mut().poll(task).is_pending());
            if clients.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
    (times, failed)
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
