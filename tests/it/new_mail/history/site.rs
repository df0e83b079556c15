//! The proxies of a site, which are killed, started again and taken over from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::new_mail::{ADMIN, SIGNALS};
use crate::support::http::ask_at;
use crate::support::redis::Redis;
use crate::support::running::{BINARY, Running};
use crate::support::{until, write_secret};

/// What the proxies of a site have in common.
pub struct SiteSettings {
    /// Number of proxies.
    pub proxies: usize,
    /// The store that they share.
    pub store: Option<Redis>,
    pub backend: SocketAddr,
    /// The pool's table of sources; `@POSITION@` stands for a file of the proxy.
    pub new_mail: String,
    /// More lines about the admin interface; `@FOLDER@` stands for the proxy's folder.
    pub admin: &'static str,
    /// The policy's settings.
    pub policy: &'static str,
    /// Whether each client stays at one proxy: many keep what they have fetched per server and port.
    pub clients_stay: bool,
}

impl SiteSettings {
    /// One proxy that denies for an hour, with signals over HTTP.
    pub fn in_front_of(backend: SocketAddr) -> Self {
        Self {
            proxies: 1,
            store: None,
            backend,
            new_mail: crate::new_mail::NOTIFICATIONS.to_owned(),
            admin: "",
            policy: "interval = \"1h\", longest-interval = \"1h\", reset = \"never\"",
            clients_stay: false,
        }
    }
}

/// The addresses of a proxy.
#[derive(Clone, Copy)]
pub struct Addresses {
    pub pop3: SocketAddr,
    pub admin: SocketAddr,
}

/// The proxies of a site.
pub struct Proxies {
    settings: SiteSettings,
    store: Option<Mutex<Redis>>,
    store_is_down: AtomicBool,
    /// None while a proxy is down.
    processes: Vec<RwLock<Option<Running>>>,
    /// Those that were taken over from, and may still have sessions.
    retired: Mutex<Vec<Running>>,
    addresses: Vec<Addresses>,
    folder: tempfile::TempDir,
}

impl Proxies {
    pub fn start(mut settings: SiteSettings) -> Self {
        let store = settings.store.take().map(Mutex::new);
        let mut proxies = Self {
            processes: (0..settings.proxies).map(|_| RwLock::new(None)).collect(),
            settings,
            store,
            store_is_down: AtomicBool::new(false),
            retired: Mutex::default(),
            addresses: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        for proxy in 0..proxies.settings.proxies {
            // An address of its own: the port stays free while the proxy is down.
            let unknown = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 77, 1 + proxy as u8)), 0);
            let mut running = proxies.spawn(proxy, Addresses { pop3: unknown, admin: unknown }, &[]);
            proxies.addresses.push(addresses(&mut running));
            *proxies.processes[proxy].write() = Some(running);
        }
        proxies
    }

    /// Which proxy a client polls.
    pub fn of_client(&self, user: usize, client: usize, random: &mut StdRng) -> usize {
        match self.settings.clients_stay {
            true => (user + client) % self.processes.len(),
            false => random.random_range(0..self.processes.len()),
        }
    }

    pub fn count(&self) -> usize {
        self.processes.len()
    }

    /// The POP3 address of a proxy; None while it is down.
    pub fn pop3(&self, proxy: usize) -> Option<SocketAddr> {
        self.processes[proxy].read().as_ref().map(|_| self.addresses[proxy].pop3)
    }

    /// The admin address of a proxy.
    pub fn admin(&self, proxy: usize) -> SocketAddr {
        self.addresses[proxy].admin
    }

    /// The URL for signals of a proxy.
    pub fn url(&self, proxy: usize) -> String {
        format!("http://{}", self.addresses[proxy].admin)
    }

    /// Signals to the proxies in turn, from this one on, until one accepts. Returns whether one did.
    pub fn signal(&self, user: &str, first: usize) -> bool {
        (0..self.count()).any(|attempt| {
            let proxy = (first + attempt) % self.count();
            self.processes[proxy].read().is_some() && self.signal_at(proxy, &[user.to_owned()])
        })
    }

    /// Signals these users' mail at each proxy.
    pub fn signal_all(&self, users: &[String]) {
        for proxy in 0..self.count() {
            until("the proxy accepts signals", || self.signal_at(proxy, users));
        }
    }

    fn signal_at(&self, proxy: usize, users: &[String]) -> bool {
        let authorization = format!("Authorization: Bearer {SIGNALS}");
        let body = users.join("\n");
        let answer = ask_at(self.addresses[proxy].admin, "POST /new-mail/mail", &[&authorization], &body);
        // Without `notifications`, the source is a log.
        matches!(answer, Ok(answer) if answer.status == 200)
    }

    /// The sum of a metric's samples with this label, at one proxy. None while it is down.
    pub fn metric(&self, proxy: usize, name: &str, label: &str) -> Option<f64> {
        let authorization = format!("Authorization: Bearer {ADMIN}");
        let answer = ask_at(self.addresses[proxy].admin, "GET /metrics", &[&authorization], "").ok()?;
        let samples = answer.body.lines().filter(|line| line.starts_with(name) && line.contains(label));
        samples.map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub fn start_again(&self, proxy: usize) {
        let mut running = self.spawn(proxy, self.addresses[proxy], &[]);
        addresses(&mut running);
        *self.processes[proxy].write() = Some(running);
    }

    pub fn kill(&self, proxy: usize) {
        // Dropping it kills it.
        *self.processes[proxy].write() = None;
    }

    /// A new process takes over from a running one.
    pub fn take_over(&self, proxy: usize) {
        let next = self.begin_takeover(proxy);
        self.finish_takeover(proxy, next);
    }

    /// Starts a process that has taken over the sockets of a running one, and does not serve yet.
    pub fn begin_takeover(&self, proxy: usize) -> Running {
        let mut next = self.spawn(proxy, self.addresses[proxy], &["--take-over"]);
        next.line_with("took over the listening sockets");
        next
    }

    /// Waits until the process serves.
    pub fn finish_takeover(&self, proxy: usize, mut next: Running) {
        next.line_with("admin interface ready");
        self.retired.lock().extend(self.processes[proxy].write().replace(next));
    }

    /// Waits until the processes that were taken over from have ended.
    pub fn wait_for_retired(&self) {
        self.retired.lock().drain(..).for_each(|mut retired| _ = retired.ended());
    }

    /// Ends all proxies, and returns their decision logs.
    pub fn decision_logs(&self) -> String {
        let mut text = String::new();
        for (proxy, running) in self.processes.iter().enumerate() {
            if let Some(mut running) = running.write().take() {
                running.signal("-TERM");
                running.ended();
            }
            text += &std::fs::read_to_string(self.file(proxy, "decisions.jsonl")).unwrap_or_default();
        }
        text
    }

    /// Kills the store that the proxies share.
    pub fn kill_store(&self) {
        self.store.as_ref().expect("a store").lock().kill();
        self.store_is_down.store(true, Ordering::SeqCst);
    }

    /// Starts the store again, with what it has saved.
    pub fn resume_store(&self) {
        self.store.as_ref().expect("a store").lock().resume();
        self.store_is_down.store(false, Ordering::SeqCst);
    }

    /// Starts everything again that is down.
    pub fn repair(&self) {
        if self.store_is_down.load(Ordering::SeqCst) {
            self.resume_store();
        }
        for proxy in 0..self.count() {
            if self.pop3(proxy).is_none() {
                self.start_again(proxy);
            }
        }
    }

    /// A file in a proxy's folder.
    pub fn file(&self, proxy: usize, name: &str) -> PathBuf {
        self.folder.path().join(proxy.to_string()).join(name)
    }

    fn spawn(&self, proxy: usize, listen: Addresses, more: &[&str]) -> Running {
        let folder = self.folder.path().join(proxy.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("reprieve.toml");
        std::fs::write(&file, self.configuration(proxy, listen)).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["run", "--config"]).arg(&file).args(["--log-format", "json"]);
        Running::spawn(command.args(["--log-level", "info,session=off"]).args(more))
    }

    fn configuration(&self, proxy: usize, listen: Addresses) -> String {
        let secret = |name: &str, text: &str| {
            let path = self.file(proxy, name);
            write_secret(&path, text);
            path
        };
        let store = self.store.as_ref().map_or_else(String::new, |store| {
            format!(
                "[store]\nbackend = \"redis\"\nurl = {:?}\nshare = \"tags+snapshots\"\nsecret-file = {:?}\n",
                store.lock().url(),
                secret("secret", "the secret that proxies of this site have\n"),
            )
        });
        let position = self.file(proxy, "position");
        let SiteSettings { backend, new_mail, admin, policy, .. } = &self.settings;
        let admin = admin.replace("@FOLDER@", position.parent().unwrap().to_str().unwrap());
        let new_mail = new_mail.replace("@POSITION@", position.to_str().unwrap());
        format!(
            r#"
policy-cache = "off"
drain-timeout = "5s"
{store}
[admin]
socket = {:?}
listen = ["{}"]
token-file = {:?}
new-mail-token-file = {:?}
{admin}
[decision-log]
path = {:?}
[[virtual-server]]
name = "pop3"
listen = ["{}"]
pool = "mail"
policy = {{ settings = {{ {policy} }} }}
[pool.mail]
nodes = ["{backend}"]
health-check = "off"
{new_mail}
"#,
            self.file(proxy, "admin.sock"),
            listen.admin,
            secret("admin.token", ADMIN),
            secret("signals.token", SIGNALS),
            self.file(proxy, "decisions.jsonl"),
            listen.pop3,
        )
    }
}

/// Where a proxy listens; it serves when this returns.
fn addresses(running: &mut Running) -> Addresses {
    let pop3 = running.address();
    let line: serde_json::Value = serde_json::from_str(&running.line_with("admin interface ready")).unwrap();
    let admin = line["url"].as_str().unwrap().split("//").nth(1).unwrap().trim_end_matches('/');
    Addresses { pop3, admin: admin.parse().unwrap() }
}
