//! The proxies of a site: real sessions, registries, pools and signals, put together as a server does it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::mail_server;
use super::network::{Endpoint, connection};
use super::plan::{MAIN, Plan, SECOND};
use super::policy::{Evaluator, NativePolicy, PolicyMemory, PolicyTally};
use super::random::Random;
use super::store::{Namespace, StoreClient, StoreServer};
use super::world::World;
use crate::config::{CleartextLogin, NewMailConfig, NodeConfig, NotificationsConfig, PoolConfig};
use crate::maildrop::{Registry, Tagger};
use crate::net::{Admission, AllConnections, Stream};
use crate::new_mail::Missed;
use crate::pool::Pool;
use crate::server::{ServedUsers, SignalledUsers, share_gaps};
use crate::session::{
    self, AllPools, Context, ContextHandle, Counters, OfferedCapabilities, Settings, Sinks,
};
use jiff::tz::TimeZone;
use reprieve_policy_host::{Rules, Unverifiable, Verify};
use reprieve_pop3::credential::{Mechanism, Mechanisms};
use reprieve_pop3::user_name::{NameCase, NameSpelling};
use reprieve_store::Share;
use reprieve_store::clock::Clock;

const SITE_SECRET: &[u8] = b"a secret of the site, long enough";
const MEMORY: u64 = 1 << 20;
const DAY: Duration = Duration::from_secs(86_400);
/// Time for the sessions of a process after another has taken over.
const GRACE: Duration = Duration::from_secs(60);

/// A process of a proxy.
#[derive(Debug)]
pub(super) struct Process {
    pub number: usize,
    handle: Arc<ContextHandle>,
    pub registry: Arc<Registry>,
    tagger: Arc<Tagger>,
    pub counters: Arc<Counters>,
    pub connections: Arc<AllConnections>,
    admission: Arc<Admission>,
    store: Option<Arc<StoreClient>>,
    pub tally: Arc<Mutex<PolicyTally>>,
    users: SignalledUsers,
    superseded: Arc<AtomicBool>,
    drain: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Process {
    /// Failures of its store so far; one more while it is not connected.
    pub fn store_failures(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.failures() + u64::from(!store.is_connected()))
    }

    pub fn shares(&self) -> bool {
        self.store.is_some()
    }

    pub fn store(&self) -> Option<&Arc<StoreClient>> {
        self.store.as_ref()
    }

    /// Whether another process has taken its sockets.
    pub fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    pub fn pool(&self, name: &str) -> Arc<Pool> {
        self.handle.context().pools[name].clone()
    }

    pub fn pools(&self) -> Vec<Arc<Pool>> {
        [MAIN, SECOND].into_iter().map(|name| self.pool(name)).collect()
    }

    /// A signal of new mail. As the server's code does it, which needs a whole server.
    pub async fn hear(&self, pool: &str, name: &str, clock: &Arc<dyn Clock>) -> bool {
        let pool = self.pool(pool);
        let heard = self.users.hear(&pool, &[name.as_bytes().to_vec()], clock.now_ms()).await;
        if heard.is_err() {
            pool.signals().missed(Missed::Unavailable, clock.now_ms());
        }
        heard.is_ok() && !self.is_superseded()
    }

    /// As an administrator does it.
    pub async fn forget(&self, user: usize) {
        let key = self.tagger.user(MAIN, format!("user{user}").as_bytes());
        let _ = self.registry.forget(key).await;
    }

    fn stop_tasks(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// The process ends.
    pub fn end(&self) {
        self.stop_tasks();
        if let Some(store) = &self.store {
            store.close();
        }
    }
}

#[derive(Debug)]
pub(super) struct Site {
    pub world: Arc<World>,
    pub clock: Arc<dyn Clock>,
    pub store: Arc<StoreServer>,
    pub policy: Arc<PolicyMemory>,
    /// By proxy.
    current: Mutex<Vec<Arc<Process>>>,
    pub all: Mutex<Vec<Arc<Process>>>,
    aliases: Option<tempfile::NamedTempFile>,
    next_peer: AtomicU32,
}

impl Site {
    pub fn new(world: &Arc<World>) -> Arc<Self> {
        let signals = world.plan.signals.filter(|signals| signals.aliases);
        let site = Arc::new(Self {
            clock: world.clock.clone(),
            store: StoreServer::new(),
            policy: PolicyMemory::new(),
            current: Mutex::default(),
            all: Mutex::default(),
            aliases: signals.map(|_| aliases(&world.plan)),
            next_peer: AtomicU32::new(1024),
            world: world.clone(),
        });
        for proxy in 0..world.plan.proxies {
            let process = site.start(proxy);
            site.current.lock().push(process);
        }
        site
    }

    pub fn current(&self, proxy: usize) -> Arc<Process> {
        self.current.lock()[proxy].clone()
    }

    /// The name under which signals tell of a user.
    pub fn signalled_name(&self, user: usize) -> String {
        let mailbox = self.world.plan.mailbox(user);
        if self.aliases.is_some() { format!("{mailbox}@example.org") } else { mailbox }
    }

    fn pool_config(&self, name: &str) -> PoolConfig {
        let plan = &self.world.plan;
        let numbers = if name == MAIN { 0..plan.nodes } else { plan.nodes..plan.nodes + 1 };
        let node = |number| NodeConfig {
            max_sessions: plan.max_sessions,
            ..NodeConfig::new(&mail_server::address(number).to_string())
        };
        let new_mail = plan.signals.map(|signals| NewMailConfig {
            notifications: Some(NotificationsConfig { complete: signals.complete }),
            settle: Duration::from_secs(signals.settle_s),
            aliases: self.aliases.as_ref().map(|file| file.path().to_owned()),
            ..NewMailConfig::default()
        });
        let mut config = PoolConfig::new(name, Vec::new());
        config.nodes = numbers.map(node).collect();
        config.balance = plan.balance;
        config.queue_length = plan.queue_length;
        config.queue_timeout = Duration::from_secs(5);
        config.login_timeout = Duration::from_secs(20);
        config.reply_timeout = Duration::from_secs(60);
        config.new_mail = new_mail;
        if !plan.health_checks {
            config.health_check = None;
        }
        config
    }

    /// Builds a pool, which inherits the state of the one that it replaces.
    fn build_pool(&self, name: &str, previous: Option<&Arc<Pool>>) -> Arc<Pool> {
        let pool = Pool::replacing(self.pool_config(name), previous.map(|pool| &**pool));
        Arc::new(pool.expect("a valid pool"))
    }

    /// Starts a process of a proxy.
    fn start(self: &Arc<Self>, proxy: usize) -> Arc<Process> {
        let plan = &self.world.plan;
        let number = self.all.lock().len();
        let tagger = Arc::new(Tagger::keyed(SITE_SECRET));
        let local = Registry::new(MEMORY, DAY);
        let (registry, store) = if plan.share == Share::Off {
            (local, None)
        } else {
            let store = StoreClient::new(&self.world, &self.store, proxy);
            let keeps_snapshots = plan.share == Share::TagsAndSnapshots;
            let first_token = (number as u64 + 1) << 48;
            let namespace = Namespace::Simulated(store.clone());
            let epoch = store.epoch.clone();
            (local.simulated(namespace, &tagger, epoch, keeps_snapshots, first_token), Some(store))
        };
        let registry = Arc::new(registry);
        let pools = [MAIN, SECOND].map(|name| (name.to_owned(), self.build_pool(name, None)));
        let tally = Arc::<Mutex<PolicyTally>>::default();
        let policy = NativePolicy::new(&self.world, &self.policy, store.clone(), &tally);
        let settings = Arc::new(settings(plan));
        let connections = Arc::<AllConnections>::default();
        let (drain, superseded) = (CancellationToken::new(), Arc::<AtomicBool>::default());
        let context = Context {
            settings: settings.clone(),
            evaluator: Arc::new(Evaluator::Native(policy)),
            shadow: None,
            pool: pools[0].1.clone(),
            pools: Arc::new(AllPools::from_iter(pools)),
            registry: registry.clone(),
            tagger: tagger.clone(),
            clock: self.clock.clone(),
            counters: Arc::default(),
            sinks: Sinks::default(),
            pollers: None,
            unrelieved: Arc::default(),
            drain: drain.clone(),
            handed_over: superseded.clone(),
        };
        let served = ServedUsers { settings, registry: registry.clone(), tagger: tagger.clone() };
        let process = Arc::new(Process {
            number,
            counters: context.counters.clone(),
            handle: ContextHandle::new(Arc::new(context)),
            registry,
            tagger,
            admission: Admission::new(connections.clone(), 40, 20),
            connections,
            store,
            tally,
            users: SignalledUsers { served: vec![served], clock: self.clock.clone() },
            superseded,
            drain,
            tasks: Mutex::default(),
        });
        self.start_tasks(&process);
        self.all.lock().push(process.clone());
        self.world.note(&format_args!("process {number} of proxy {proxy} starts"));
        process
    }

    /// Health checks, and what proxies tell each other about signals.
    fn start_tasks(self: &Arc<Self>, process: &Arc<Process>) {
        process.stop_tasks();
        let mut tasks = Vec::new();
        for pool in process.pools() {
            if self.world.plan.signals.is_some() {
                pool.signals().start(self.clock.now_ms());
            }
            if self.world.plan.health_checks {
                tasks.extend(crate::pool::watch_nodes(&pool).into_iter().map(tokio::spawn));
            }
        }
        if self.world.plan.signals.is_some() && process.shares() {
            let (process, clock) = (process.clone(), self.clock.clone());
            tasks.push(tokio::spawn(async move {
                let pool = process.pool(MAIN);
                let stores = || vec![(process.registry.clone(), process.tagger.clone())];
                share_gaps(MAIN, pool.signals(), &clock, stores).await;
            }));
        }
        process.tasks.lock().extend(tasks);
    }

    /// A client connects to a proxy.
    pub fn connect(&self, proxy: usize, random: &Random) -> (Endpoint, Arc<Process>, SocketAddr) {
        let process = self.current(proxy);
        let port = self.next_peer.fetch_add(1, Ordering::Relaxed);
        let peer: SocketAddr = (Ipv4Addr::new(192, 0, 2, 1), u16::try_from(port).expect("a port")).into();
        let local = (Ipv4Addr::new(198, 51, 100, 1), 110).into();
        let (near, far) = connection(random.clone().fork(), self.world.plan.latency);
        let stream = Stream::Simulated(Box::new(far));
        self.world.note(&format_args!("client {port} connects to process {}", process.number));
        match process.admission.admit(peer.ip()) {
            Ok(admitted) => {
                let incoming = session::Incoming { stream, peer, local, encrypted: false, admitted };
                tokio::spawn(session::serve(process.handle.clone(), incoming, ()));
            }
            Err(refused) => session::refuse(&stream, refused, false, &process.handle.context()),
        }
        (near, process, peer)
    }

    /// Replaces the configuration by one with the same content.
    pub fn reload(self: &Arc<Self>, proxy: usize) {
        let process = self.current(proxy);
        self.world.note(&format_args!("process {} reloads", process.number));
        let before = process.handle.context();
        let pools = [MAIN, SECOND].map(|name| {
            let pool = self.build_pool(name, before.pools.get(name));
            (name.to_owned(), pool)
        });
        let policy = NativePolicy::new(&self.world, &self.policy, process.store.clone(), &process.tally);
        let context = Context {
            settings: Arc::new(settings(&self.world.plan)),
            evaluator: Arc::new(Evaluator::Native(policy)),
            shadow: None,
            pool: pools[0].1.clone(),
            pools: Arc::new(AllPools::from_iter(pools)),
            registry: before.registry.clone(),
            tagger: before.tagger.clone(),
            clock: before.clock.clone(),
            counters: before.counters.clone(),
            sinks: Sinks::default(),
            pollers: None,
            unrelieved: before.unrelieved.clone(),
            drain: before.drain.clone(),
            handed_over: before.handed_over.clone(),
        };
        process.handle.replace(Arc::new(context));
        self.start_tasks(&process);
    }

    /// A new process takes over the sockets of a proxy.
    pub fn take_over(self: &Arc<Self>, proxy: usize) {
        let old = self.current(proxy);
        old.superseded.store(true, Ordering::Relaxed);
        let fresh = self.start(proxy);
        self.current.lock()[proxy] = fresh;
        self.world.note(&format_args!("process {} is superseded", old.number));
        tokio::spawn(async move {
            super::time::sleep(GRACE).await;
            old.drain.cancel();
        });
    }
}

fn aliases(plan: &Plan) -> tempfile::NamedTempFile {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    for user in 0..plan.users {
        let mailbox = plan.mailbox(user);
        writeln!(file, "{mailbox}@example.org {mailbox}").expect("a temporary file");
    }
    file
}

fn settings(plan: &Plan) -> Settings {
    let mechanisms = Mechanisms::of(&[Mechanism::UserPass, Mechanism::Plain]);
    Settings {
        name: "pop3".into(),
        banner: b"+OK ready"[..].into(),
        offers: OfferedCapabilities::new(None, mechanisms),
        tls: None,
        cleartext_login: CleartextLogin::Allow,
        proxy_from: Vec::new(),
        proxy_timeout: Duration::from_secs(5),
        apop: false,
        master_separator: None,
        time_zone: TimeZone::UTC,
        rules: Rules { verify: Verify::On, on_failure: plan.on_failure, unverifiable: Unverifiable::Pass },
        on_unreachable: plan.on_unreachable,
        login_timeout: Duration::from_secs(120),
        idle_timeout: Duration::from_secs(600),
        stall_timeout: Duration::from_secs(60),
        max_bad_commands: 20,
        max_bad_commands_before_login: 3,
        max_failed_logins: 3,
        max_rejected_logins: 5,
        name_spelling: NameSpelling {
            case: if plan.folds_case { NameCase::Fold } else { NameCase::Exact },
            default_domain: None,
        },
        pool: MAIN.to_owned(),
    }
}
