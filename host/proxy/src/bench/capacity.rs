//! What a store needs for so many users: it is filled as they would fill it, by as many proxies
//! as wanted, and measured; larger sites are calculated from that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::histogram::{Percentiles, Times};
use crate::maildrop::{Begun, Opening, Registry, Standing, Tag, Tagger};
use reprieve_metrics::cpu_time;
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::snapshot::{Row, Snapshot};
use reprieve_store::clock::SystemClock;
use reprieve_store::{Store, StoreSecrets, Namespace, NamespaceConfig};
use reprieve_store::{Share, StoreConfig, StoreBackend};

/// What all keys of a simulation begin with.
const PREFIX: &str = "reprieve-capacity:";

/// How a site is.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where its state is kept.
    pub store: StoreConfig,
    /// What proxies share.
    pub share: Share,
    /// Users.
    pub users: u32,
    /// Messages in each one's maildrop.
    pub messages: u32,
    /// Proxies that work at once.
    pub proxies: u32,
    /// Logins that each proxy has under way at once.
    pub at_once: u32,
}

/// Work that was done and measured.
#[derive(Clone, Debug)]
pub struct Work {
    /// Logins.
    pub logins: u64,
    /// How long all of them took, one beside the other.
    pub took: Duration,
    /// How long each took.
    pub each: Percentiles,
    /// CPU time of this process for each.
    pub computing: Duration,
    /// Logins of which the store could not tell or take what it should.
    pub failed: u64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Passed logins: the policy's stamp is written, a session begins and leaves a snapshot.
    pub passes: Work,
    /// Denied logins: the policy's stamp is read, and what is known of the user.
    pub denials: Work,
    /// Octets that the policy's entries count towards its quota.
    pub counted: u64,
    /// Octets of memory that this process has more than before.
    pub memory: u64,
    /// Octets of the file.
    pub file: Option<u64>,
    /// Octets of memory that Redis has more than before.
    pub redis: Option<u64>,
}

/// A proxy's part of the work.
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
        let tagger = Tagger::keyed(b"what a simulation shares with itself");
        let trust = Duration::from_secs(86_400);
        let registry = match site.share {
            Share::Off => Registry::new(u64::MAX >> 16, trust),
            share => Registry::shared(u64::MAX >> 16, trust, &store, &tagger, share)?,
        };
        Ok(Self { store, namespace, registry, tagger })
    }

    /// What the default policy and the host do with a login that passes.
    async fn pass(&self, user: u32, snapshot: &Snapshot) -> bool {
        let (name, key, tag) = self.user(user);
        // As `interval` keeps it: a moment and a day, until they are of no more use.
        let written = self.namespace.set(&name, &[7; 12], Some(Duration::from_secs(86_400))).await;
        let seen = self.registry.look(key, Some(&tag), now_ms()).await;
        let stamp = self.namespace.get(&name).await;
        let opening = Opening { user: key, tag: Some(tag), route: None, accepted_ms: now_ms(), seen };
        let session = match self.registry.begin(opening) {
            Begun::Now(session) => session,
            Begun::Later(session) => session.await,
        };
        if let Some(commit) = self.registry.commit(session, Ok(snapshot.clone()), false) {
            commit.await;
        }
        matches!((stamp, written), (Ok(_), Ok(Ok(()))))
    }

    /// What they do with one that is denied.
    async fn deny(&self, user: u32) -> bool {
        let (name, key, tag) = self.user(user);
        let seen = self.registry.look(key, Some(&tag), now_ms()).await;
        let known = seen.standing == Standing::Known;
        let stamp = self.namespace.get(&name).await;
        known && self.registry.snapshot(&seen, key).is_ok() && matches!(stamp, Ok(Some(_)))
    }

    fn user(&self, user: u32) -> (String, crate::maildrop::UserKey, Tag) {
        let name = format!("user-{user}@example.org");
        let credentials = Credentials::new(name.as_bytes(), Secret::new(b"a password"), Mechanism::UserPass);
        let key = self.tagger.user("mail", name.as_bytes());
        let tag = self.tagger.tag(key, &credentials);
        (name, key, tag)
    }
}

fn now_ms() -> u64 {
    use reprieve_store::clock::Clock as _;
    SystemClock.now_ms()
}

/// Fills a store and measures it; what was written is taken away again. `progress` is told how
/// many of how many logins were made.
///
/// # Errors
/// Where the store cannot be opened or reached.
pub fn measure(site: &Site, progress: impl Fn(u64, u64) + Sync) -> anyhow::Result<Capacity> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut own = site.clone();
    match &mut own.store.backend {
        StoreBackend::Memory => {}
        // What others keep there is not touched.
        StoreBackend::Redis(redis) => PREFIX.clone_into(&mut redis.prefix),
        StoreBackend::File(file) => {
            let path = file.path.display();
            anyhow::ensure!(
                !file.path.exists(),
                "{path} is there already; name a file that is not, for this alone"
            );
        }
    }
    let site = &own;
    let proxies = (0..site.proxies.max(1)).map(|_| Proxy::open(site));
    let proxies = proxies.collect::<anyhow::Result<Vec<_>>>()?;
    // Only what a simulation before has left: its namespaces are its own.
    runtime.block_on(proxies[0].clear())?;
    let before = resident();
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
        // Another user each time, far from the last: nobody polls in the order of names.
        async |proxy, user| {
            let other = u64::from(user) * 2_654_435_761 % u64::from(site.users.max(1));
            proxy.deny(u32::try_from(other).unwrap_or(0)).await
        },
        |done| progress(u64::from(site.users) + done, all),
    );
    let counted = runtime.block_on(proxies[0].namespace.usage())?;
    let memory = resident().saturating_sub(before);
    let redis = runtime.block_on(proxies[0].store.redis_memory_bytes());
    let file = match &site.store.backend {
        StoreBackend::File(file) => std::fs::metadata(&file.path).ok().map(|data| data.len()),
        _ => None,
    };
    runtime.block_on(proxies[0].clear())?;
    drop(proxies);
    if let StoreBackend::File(file) = &site.store.backend {
        std::fs::remove_file(&file.path)?;
    }
    progress(all, all);
    let redis = redis.zip(redis_before).map(|(after, before)| after.saturating_sub(before));
    Ok(Capacity { passes, denials, counted, memory, file, redis })
}

impl Proxy {
    async fn clear(&self) -> anyhow::Result<()> {
        self.namespace.purge().await?;
        let records = self.store.namespace(NamespaceConfig::for_policies("maildrop", u64::MAX >> 16));
        records.purge().await?;
        Ok(())
    }
}

/// Has all users log in once, each proxy on a thread of its own.
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
    let took = began.elapsed();
    let computing = cpu_time::of_this_process().saturating_sub(cpu);
    let mut times = Times::new(site.users as usize);
    let mut failed = 0;
    for (share, share_failed) in shares {
        times.add_all(share);
        failed += share_failed;
    }
    let logins = u64::from(site.users);
    let computing = computing / site.users.max(1);
    Work { logins, took, each: times.percentiles(), computing, failed }
}

/// A proxy's share of the users, some at once.
fn one_share(
    site: &Site,
    proxy: &Proxy,
    index: u32,
    login: &impl AsyncFn(&Proxy, u32) -> bool,
    progress: impl Fn(u64),
) -> (Times, u64) {
    let mut times = Times::new((site.users / site.proxies.max(1)) as usize + 1);
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
            let well = login(proxy, user).await;
            let mut results = results.borrow_mut();
            results.0.add(began.elapsed());
            *results.1 += u64::from(!well);
            if (user / site.proxies.max(1)).is_multiple_of(1024) {
                progress(1024);
            }
        }
    };
    runtime.block_on(async {
        let mut clients: Vec<_> = (0..site.at_once.max(1)).map(|_| Box::pin(client())).collect();
        std::future::poll_fn(|task| {
            clients.retain_mut(|client| client.as_mut().poll(task).is_pending());
            if clients.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    });
    (times, failed)
}

/// Octets of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}
