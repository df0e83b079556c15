//! Policy swaps, reloads, new certificates and takeovers, repeatedly, while clients poll as fast as
//! they can. Every reply is checked.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority, Files};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::free_address;
use crate::support::guests;
use crate::support::redis::{Make, Redis};
use crate::support::running::BINARY;
use crate::support::{DEADLINE, until};
use reprieve_mailserver::{MailServer, Settings};

const USERS: usize = 40;
const CLIENTS: usize = 8;

/// A site with known users and policies that always deny them.
struct Site {
    folder: tempfile::TempDir,
    mail: MailServer,
    valkey: Redis,
    authority: Authority,
    files: Files,
    listen: SocketAddr,
    listen_tls: SocketAddr,
}

impl Site {
    fn new() -> Self {
        let mail = MailServer::start(Settings { password_rounds: 1, ..Settings::default() }).unwrap();
        for user in 0..USERS {
            mail.add_user(&format!("user{user}"), PASSWORD);
        }
        let authority = Authority::new();
        let files = authority.server("front", &["localhost"], Age::Valid);
        let folder = tempfile::tempdir().unwrap();
        crate::support::write_secret(
            &folder.path().join("secret"),
            "the secret that proxies of this site have\n",
        );
        Self {
            folder,
            mail,
            valkey: Redis::start(Make::Valkey),
            authority,
            files,
            listen: free_address(),
            listen_tls: free_address(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the configuration file, as editors do.
    fn configure(&self, banner: &str) {
        let text = format!(
            r#"
threads = 2
max-connections = 2000
policy-cache = {cache:?}
admin = {{ socket = {socket:?} }}
[store]
backend = "redis"
url = "{url}"
timeout = "2s"
share = "tags+snapshots"
secret-file = {secret:?}
[[virtual-server]]
name = "pop3"
listen = ["{listen}"]
listen-tls = ["{listen_tls}"]
pool = "mail"
banner = "{banner}"
cleartext-login = "allow"
max-connections-per-address = 10000
[virtual-server.tls]
certificate = {chain:?}
key = {key:?}
[virtual-server.policy]
settings = {{ interval = "24h", reset = "never", manner = "busy" }}
limits = {{ wait = "2s" }}
[pool.mail]
nodes = ["{node}"]
health-check = "off"
"#,
            cache = self.path("compiled"),
            socket = self.path("admin.sock"),
            url = self.valkey.url(),
            secret = self.path("secret"),
            listen = self.listen,
            listen_tls = self.listen_tls,
            chain = self.files.chain,
            key = self.files.key,
            node = self.mail.address(),
        );
        std::fs::write(self.path("new.toml"), text).unwrap();
        std::fs::rename(self.path("new.toml"), self.path("reprieve.toml")).unwrap();
    }

    /// Starts a process that takes over from the running one.
    fn serve(&self, number: usize) -> Serving {
        let log = self.path(&format!("log.{number}"));
        let output = std::fs::File::create(&log).unwrap();
        let child = Command::new(BINARY)
            .args(["run", "--take-over", "--log-level", "warn,reprieve=info,session=warn", "--config"])
            .arg(self.path("reprieve.toml"))
            .stderr(output)
            .stdout(Stdio::null())
            .spawn()
            .expect("starting reprieve");
        let serving = Serving { child, log };
        until("it serves", || {
            let log = serving.log();
            assert!(!log.contains("reprieve: "), "{log}");
            log.contains("admin socket ready")
        });
        serving
    }

    fn ctl(&self, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(BINARY)
            .arg("ctl")
            .arg("--socket")
            .arg(self.path("admin.sock"))
            .args(arguments)
            .output()
            .expect("running reprieve");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let (done, said) = self.ctl(arguments);
        assert!(done, "{arguments:?}: {said}");
        said
    }
}

struct Serving {
    child: Child,
    log: PathBuf,
}

impl Serving {
    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it exits successfully.
    fn ends(mut self) {
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            std::thread::yield_now();
        };
        assert_eq!(status.code(), Some(0), "{}", self.log());
        assert!(self.log().contains("drained"), "{}", self.log());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session and its expected result: a known user is denied in one of two manners, depending on
/// the policy; a wrong password is refused by the mail server.
fn session(site: (SocketAddr, SocketAddr), trusted: &Arc<rustls::ClientConfig>, client: usize, turn: usize) {
    let user = (client + turn * CLIENTS) % USERS;
    let mut session = match turn % 8 {
        7 => Dialogue::open_tls(site.1, trusted, "localhost"),
        _ => Dialogue::open(site.0),
    };
    if turn % 10 == 9 {
        session.ok(&format!("USER user{user}"));
        let answer = session.err("PASS wrong");
        assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    } else {
        session.give_password(&format!("user{user}"), PASSWORD);
        session.send("STAT");
        let answer = session.line();
        let is_denied = answer.starts_with("-ERR [SYS/TEMP]") || answer == "+OK 0 0";
        assert!(is_denied, "user{user} at turn {turn}: {answer}");
    }
    session.quit();
}

/// Clients that hold one session after another.
struct Load {
    clients: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Load {
    fn start(site: &Site) -> Self {
        let addresses = (site.listen, site.listen_tls);
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let trusted = site.authority.trusted(None);
        let clients = (0..CLIENTS).map(|client| {
            let (stop, done, trusted) = (stop.clone(), done.clone(), trusted.clone());
            std::thread::spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    session(addresses, &trusted, client, turn);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        Self { clients: clients.collect(), stop, done }
    }

    /// Waits for this many further sessions.
    fn wait_for(&self, count: usize) {
        let from = self.done.load(Ordering::SeqCst);
        until("sessions go on", || {
            assert!(self.clients.iter().all(|client| !client.is_finished()), "a session failed");
            self.done.load(Ordering::SeqCst) >= from + count
        });
    }

    /// Returns the number of sessions, none of which failed.
    fn stop(self) -> usize {
        let sessions = self.done.load(Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        self.clients.into_iter().for_each(|client| client.join().expect("no session failed"));
        sessions
    }
}

#[test]
fn swaps_reloads_certificates_and_new_binaries_cost_no_session() {
    let site = Site::new();
    site.configure("the first");
    let mut serving = site.serve(0);
    for user in 0..USERS {
        let mut session = Dialogue::open(site.listen);
        session.give_password(&format!("user{user}"), PASSWORD);
        assert!(session.ok("STAT").starts_with("0 "));
        session.quit();
    }
    let load = Load::start(&site);
    let began = Instant::now();
    let mirror = guests::mirror().to_str().unwrap();
    let hostile = guests::hostile().to_str().unwrap();
    let policies: [&[&str]; 4] = [
        &[mirror, "--set", "manner=busy"],
        &["interval", "--set", "interval=24h", "--set", "reset=never", "--set", "manner=empty"],
        &[mirror, "--set", "manner=empty"],
        &["interval", "--set", "interval=24h", "--set", "reset=never", "--set", "manner=busy"],
    ];
    let (mut swaps, mut refused, mut reloads, mut certificates, mut binaries) = (0, 0, 0, 0, 0);
    for turn in 0..50 {
        let said = site.done(&[&["swap", "pop3"], policies[turn % policies.len()]].concat());
        assert!(said.contains("version "), "{said}");
        swaps += 1;
        load.wait_for(20);
        if turn % 5 == 0 {
            // An invalid policy is refused, with no effect on sessions.
            let wrong: [&[&str]; 3] = [
                &[mirror, "--set", "manner=none"],
                &[hostile, "--set", "at=configure", "--set", "how=trap"],
                &["/nonexistent.wasm", "--no-settings"],
            ];
            let (done, said) = site.ctl(&[&["swap", "pop3"], wrong[turn / 5 % wrong.len()]].concat());
            assert!(!done && said.contains("nothing was changed"), "{said}");
            refused += 1;
        }
        if turn % 5 < 2 {
            site.configure(&format!("at turn {turn}"));
            assert!(site.done(&["reload"]).contains("virtual server pop3"));
            reloads += 1;
            load.wait_for(20);
        }
        if turn % 5 == 3 {
            site.authority.server("front", &["localhost"], Age::Valid);
            site.done(&["reload"]);
            certificates += 1;
            load.wait_for(20);
        }
        if turn % 16 == 15 {
            let next = site.serve(turn);
            std::mem::replace(&mut serving, next).ends();
            binaries += 1;
            load.wait_for(50);
        }
    }
    let (sessions, took) = (load.stop(), began.elapsed());
    assert_eq!((swaps, refused, reloads, certificates, binaries), (50, 10, 20, 10, 3));
    println!("{sessions} sessions in {took:?}: {:.0} a second", sessions as f64 / took.as_secs_f64());
    let status: serde_json::Value = serde_json::from_str(&site.done(&["status", "--json"])).unwrap();
    let counters = &status["virtual_servers"][0]["counters"];
    for none in ["policy_failures", "unreachable", "refused_connections", "failed_handshakes", "no_snapshot"]
    {
        assert_eq!(counters[none], 0, "{none}: {counters}");
    }
    let warnings = serving.log();
    assert!(!warnings.contains(" WARN ") || is_root_alone(&warnings), "{warnings}");
}

/// The warning about running as root, since tests may.
fn is_root_alone(log: &str) -> bool {
    log.lines().filter(|line| line.contains(" WARN ")).all(|line| line.contains("running as root"))
}
