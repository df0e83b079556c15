//! Redis and Valkey as sites have them: failing in every way, behind TLS and passwords, with a
//! sentinel; and entries carried from one home to another.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::free_address;
use crate::support::front::Front;
use crate::support::redis::{Make, Redis};
use crate::support::running::BINARY;
use crate::support::until;
use reprieve::config::Config;
use reprieve::server::{Options, Server};
use reprieve_mailserver::{MailServer, Settings};
use reprieve_pop3::credential::Secret;
use reprieve_store::clock::SystemClock;
use reprieve_store::{Home, Keys, Space};
use reprieve_store::{StoreConfig, StoreHome};

const TIMEOUT: Duration = Duration::from_millis(250);

fn configuration(folder: &Path, node: SocketAddr, store: &str) -> String {
    crate::support::write_secret(&folder.join("secret"), "the secret that proxies of this site have\n");
    format!(
        r#"
threads = 1
[store]
home = "redis"
{store}
share = "tags+snapshots"
secret-file = "{secret}"
[pool.mail]
nodes = ["{node}"]
check = "off"
[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
pool = "mail"
[virtual-server.policy]
settings = {{ interval = "1h" }}
"#,
        secret = folder.join("secret").display()
    )
}

/// A mail server whose users have two messages each.
fn mail_server() -> MailServer {
    let server = MailServer::start(Settings { password_rounds: 1, ..Settings::default() }).unwrap();
    for user in 0..40 {
        let user = format!("user{user}");
        server.add_user(&user, PASSWORD);
        server.deliver(&user, b"Subject: one\r\n\r\none\r\n");
        server.deliver(&user, b"Subject: two\r\n\r\ntwo\r\n");
    }
    server
}

/// Logs in, lists, and leaves; how long the login took.
fn poll(server: SocketAddr, user: usize) -> Duration {
    let mut dialogue = Dialogue::open(server);
    dialogue.ok(&format!("USER user{user}"));
    let began = Instant::now();
    dialogue.ok(&format!("PASS {PASSWORD}"));
    let took = began.elapsed();
    assert_eq!(dialogue.lines("UIDL").len(), 2);
    dialogue.quit();
    took
}

/// Clients that poll all the time; a session that fails fails the test.
struct Load {
    stop: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<Duration>>>,
    done: Arc<AtomicUsize>,
    clients: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn at(server: SocketAddr) -> Self {
        let (stop, took, done) =
            (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<_>>>::default(), Arc::default());
        let clients = (0..4).map(|client| {
            let (stop, took, done) = (stop.clone(), took.clone(), Arc::<AtomicUsize>::clone(&done));
            std::thread::spawn(move || {
                for turn in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let duration = poll(server, client * 10 + turn % 10);
                    took.lock().unwrap().push(duration);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let clients = clients.collect();
        Self { stop, took, done, clients }
    }

    fn is_well(&self) -> bool {
        self.clients.iter().all(|client| !client.is_finished())
    }

    /// Waits for so many more sessions.
    fn more(&self, count: usize) {
        let wanted = self.done.load(Ordering::SeqCst) + count;
        until("load goes on", || {
            assert!(self.is_well(), "a client has failed");
            self.done.load(Ordering::SeqCst) >= wanted
        });
    }

    /// The 99th percentile of logins since it was asked last.
    fn p99(&self) -> Duration {
        let mut took = std::mem::take(&mut *self.took.lock().unwrap());
        took.sort_unstable();
        took[took.len() * 99 / 100]
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.join().expect("no client sees an error");
        }
    }
}

/// Answers nonsense at a port until it is dropped.
struct Nonsense {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    address: SocketAddr,
}

impl Nonsense {
    fn at(address: SocketAddr) -> Self {
        let mut listener = None;
        until("the port is free", || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        let (listener, stop) = (listener.unwrap(), Arc::<AtomicBool>::default());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let words: [&[u8]; 5] = [
                b"HTTP/1.1 400 Bad Request\r\n\r\n",
                b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n",
                b"$5\r\nhel",
                b"*3\r\n:1\r\n$-1\r\n*-1\r\n:7\r\n",
                b"\xff\xfe\x00*999999999\r\n",
            ];
            for (turn, stream) in listener.incoming().enumerate() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut asked = [0; 4096];
                while stream.read(&mut asked).is_ok_and(|count| count > 0) {
                    if stream.write_all(words[turn % words.len()]).is_err() || turn % 7 == 6 {
                        break;
                    }
                }
            }
        });
        Self { stop, thread: Some(thread), address }
    }
}

impl Drop for Nonsense {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        // One that it serves ends with its client.
        drop(self.thread.take());
    }
}

#[test]
fn whatever_becomes_of_valkey_under_load_no_client_notices_and_relief_comes_back() {
    let mail = mail_server();
    let folder = tempfile::tempdir().unwrap();
    let mut valkey = Redis::start(Make::Valkey);
    let store = format!("url = \"{}\"\ntimeout = \"{}ms\"", valkey.url(), TIMEOUT.as_millis());
    let front = Front::start(&configuration(folder.path(), mail.address(), &store));
    let server = front.address(0);
    let load = Load::at(server);
    let relieved = || front.server.counters().relieved;
    let relief_is_back = |what: &str| {
        let (from, began) = (relieved(), Instant::now());
        until("relief is back", || {
            assert!(load.is_well());
            relieved() >= from + 40
        });
        let after = began.elapsed();
        assert!(after < Duration::from_secs(5), "{what}: {after:?}");
        eprintln!("{what}: relief is back after {after:?}");
    };
    let in_time = |what: &str| {
        let p99 = load.p99();
        eprintln!("{what}: p99 of a login {p99:?}");
        assert!(p99 < TIMEOUT + Duration::from_millis(10), "{what}: {p99:?}");
    };
    relief_is_back("at the start");
    load.p99();

    let failures = || front.server.counters().policy_failures;
    let fails = |what: &str| {
        let from = failures();
        until("it is noticed", || failures() > from);
        load.more(400);
        in_time(what);
    };

    valkey.kill();
    fails("stopped");
    valkey.start_again();
    relief_is_back("restarted empty");

    load.p99();
    valkey.signal("-STOP");
    fails("paused");
    valkey.signal("-CONT");
    relief_is_back("continued");

    load.p99();
    valkey.kill();
    let nonsense = Nonsense::at(([127, 0, 0, 1], valkey.port()).into());
    fails("nonsense");
    drop(nonsense);
    valkey.start_again();
    relief_is_back("itself again");

    // Full: it answers, and takes nothing.
    load.p99();
    valkey.ask(&["config", "set", "maxmemory", "1"]);
    front.clock.advance(Duration::from_secs(3600));
    fails("full");
    valkey.ask(&["config", "set", "maxmemory", "0"]);
    relief_is_back("roomy again");

    // Restarted empty between two breaths: all that it knew is gone, and that is all.
    load.p99();
    valkey.ask(&["flushall"]);
    relief_is_back("flushed");
    in_time("flushed");
    load.end();
    assert_eq!(front.server.counters().unreachable, 0);
}

/// The command that a client of Redis has sent.
fn asked(from: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let mut number = |sign: char| {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let number: usize = line.strip_prefix(sign)?.trim_end().parse().ok()?;
        if sign == '*' {
            return Some((number, Vec::new()));
        }
        let mut octets = vec![0; number + 2];
        from.read_exact(&mut octets).ok()?;
        octets.truncate(number);
        Some((number, octets))
    };
    let (count, _) = number('*')?;
    (0..count).map(|_| number('$').map(|(_, octets)| octets)).collect()
}

/// A server that does what a keeper tries out, and answers all else as it was told; the rest of
/// its life is that of the test's process.
fn answering(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(mut client) = client else { continue };
            let mut from = BufReader::new(client.try_clone().unwrap());
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                while let Some(command) = asked(&mut from) {
                    let said = match &*command[0] {
                        b"CLIENT" | b"SELECT" => b"+OK\r\n".to_vec(),
                        b"PING" => b"+PONG\r\n".to_vec(),
                        b"SET" => {
                            kept.clone_from(&command[2]);
                            b"+OK\r\n".to_vec()
                        }
                        b"GETDEL" => [format!("${}\r\n", kept.len()).as_bytes(), &kept, b"\r\n"].concat(),
                        _ => answer.to_vec(),
                    };
                    if client.write_all(&said).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_to_something_else_is_never_taken_for_one() {
    let deep: &[u8] = b"*1\r\n".repeat(300).leak();
    let answers: [&[u8]; 18] = [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"*2\r\n$-1\r\n$-1\r\n",
        b"*3\r\n$2\r\n-1\r\n$-1\r\n$-1\r\n",
        b"*3\r\n$-1\r\n$1\r\nx\r\n$-1\r\n",
        // An entry that is too short for one.
        b"*3\r\n$-1\r\n$-1\r\n$5\r\nshort\r\n",
        b"%1\r\n+a\r\n+b\r\n",
        b"*999999999\r\n:1\r\n:1\r\n",
        b"%9223372036854775807\r\n:1\r\n",
        b"$9223372036854775807\r\nx",
        deep,
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED 1 127.0.0.1:1\r\n",
        b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    for answer in answers {
        let what = String::from_utf8_lossy(&answer[..answer.len().min(50)]).into_owned();
        let mut config = StoreConfig::by_word(&format!("redis://{}", answering(answer))).unwrap();
        let StoreHome::Redis(redis) = &mut config.home else { panic!("a store in Redis") };
        redis.timeout = TIMEOUT;
        let home = Home::open(Keys::read(&config).unwrap(), Arc::new(SystemClock)).unwrap();
        let space = home.namespace(Space::for_policies("asked", 1 << 20));
        let began = Instant::now();
        assert!(space.get("key").await.is_err(), "{what}");
        // The keeper connects again meanwhile.
        while space.ready().is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
            tokio::task::yield_now().await;
        }
        assert!(space.increment("key", 1, None).await.is_err(), "{what}");
        assert!(home.status().failures >= 1, "{what}");
    }
}

/// A way to a server on which each answer takes so long.
fn slowed(to: SocketAddr, delay_ms: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let delay_ms = delay_ms.clone();
    // It ends with the test's process; its connections end with Reprieve's.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { continue };
            let (mut asking, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asking, &mut asked));
            let (mut answering, mut answered, delay_ms) = (server, client, delay_ms.clone());
            std::thread::spawn(move || {
                let mut octets = [0; 65_536];
                while let Ok(count @ 1..) = answering.read(&mut octets) {
                    // The slowness is what is tried here.
                    std::thread::sleep(Duration::from_millis(delay_ms.load(Ordering::SeqCst) as u64));
                    if answered.write_all(&octets[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_store_that_is_slow_but_in_time_is_not_held_against_the_policy() {
    let mail = mail_server();
    let folder = tempfile::tempdir().unwrap();
    let valkey = Redis::start(Make::Valkey);
    let delay_ms = Arc::<AtomicUsize>::default();
    let slow = slowed(([127, 0, 0, 1], valkey.port()).into(), &delay_ms);
    // Each operation is in time, and two of them are more than a call may wait.
    let store = format!("url = \"redis://{slow}\"\ntimeout = \"400ms\"");
    let text = configuration(folder.path(), mail.address(), &store);
    let text = text.replace("interval = \"1h\" }", "interval = \"1h\" }\nlimits = { wait = \"30ms\" }");
    let front = Front::start(&text);
    let load = Load::at(front.address(0));
    load.more(50);
    delay_ms.store(50, Ordering::SeqCst);
    let metrics = || front.server.policy_metrics("pop3").expect("a policy");
    until("it fails", || metrics().failed("store") >= 20);
    delay_ms.store(0, Ordering::SeqCst);
    let (from, began) = (front.server.counters().relieved, Instant::now());
    until("relief is back", || front.server.counters().relieved >= from + 40);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    load.end();
    assert_eq!((metrics().failed("wait"), metrics().failed("paused")), (0, 0));
}

#[test]
fn tls_an_acl_user_a_database_and_a_prefix_are_used() {
    let authority = Authority::new();
    let files = authority.server("redis", &["localhost"], Age::Valid);
    let encrypted = free_address().port();
    let users =
        ["user default off", "user reprieve on >the-password-of-redis ~site:* +@all -@dangerous +keys"];
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("users.acl");
    std::fs::write(&acl, users.join("\n") + "\n").unwrap();
    let text = |path: &Path| path.display().to_string();
    let redis = Redis::with(
        Make::Redis,
        &[
            "--tls-port",
            &encrypted.to_string(),
            "--tls-cert-file",
            &text(&files.chain),
            "--tls-key-file",
            &text(&files.key),
            "--tls-ca-cert-file",
            &text(&authority.file()),
            "--tls-auth-clients",
            "no",
            "--aclfile",
            &text(&acl),
        ],
    );
    let password = folder.path().join("password");
    crate::support::write_secret(&password, "the-password-of-redis\n");
    let mail = mail_server();
    let store = format!(
        "url = \"rediss://localhost:{encrypted}\"\nuser = \"reprieve\"\npassword-file = \"{}\"\nca = \"{}\"\ndatabase = 3\nprefix = \"site:\"\ntimeout = \"10s\"",
        password.display(),
        authority.file().display()
    );
    let front = Front::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(0), 1);
    poll(front.address(0), 1);
    until("all are counted", || front.server.counters().relieved == 1);
    let there = ["--user", "reprieve", "--pass", "the-password-of-redis", "--no-auth-warning", "-n", "3"];
    let keys = redis.ask(&[&there[..], &["keys", "*"]].concat());
    assert!(keys.contains("site:{policy:pop3}:user1") && keys.contains("site:{maildrop}:"), "{keys}");

    // A wrong password is told, without itself, and mail flows.
    crate::support::write_secret(&password, "something-else\n");
    let front = Front::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(0), 2);
    let status = front.server.view().stores()[0].home.status();
    let health = format!("{:?}", status.health);
    assert!(health.contains("WRONGPASS") || health.contains("Authentication"), "{health}");
    assert!(!format!("{status:?}").contains("something-else"));
    // So is a certificate of somebody else's.
    let other = Authority::new();
    let store = store.replace(&text(&authority.file()), &text(&other.file()));
    let front = Front::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(0), 3);
    let health = format!("{:?}", front.server.view().stores()[0].home.status().health);
    assert!(health.contains("ertificate"), "{health}");
}

/// Where somebody accepts connections and says nothing, as long as it is held.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn silent_addresses_do_not_hide_the_one_that_answers() {
    let valkey = Redis::start(Make::Valkey);
    let ((_one, one), (_other, other)) = (silent(), silent());
    let mut config = StoreConfig::by_word(&format!("redis://{one}")).unwrap();
    let StoreHome::Redis(redis) = &mut config.home else { panic!("a store in Redis") };
    redis.timeout = TIMEOUT;
    let more = [format!("redis://{other}"), valkey.url()];
    redis.urls.extend(more.iter().map(|url| Secret::new(url.as_bytes())));
    let home = Home::open(Keys::read(&config).unwrap(), Arc::new(SystemClock)).unwrap();
    let space = home.namespace(Space::for_policies("asked", 1 << 20));
    until("it answers", || space.ready().is_ok());
    assert_eq!(space.increment("key", 1, None).await.unwrap().unwrap(), 1);
}

#[test]
fn a_sentinel_names_the_master_and_after_a_failover_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = Redis::start(Make::Redis);
    let port = master.port().to_string();
    let replica = Redis::with(Make::Redis, &["--replicaof", "127.0.0.1", &port]);
    until("the replica follows", || replica.ask(&["info", "replication"]).contains("master_link_status:up"));
    let file = folder.path().join("sentinel.conf");
    let text = format!(
        "sentinel monitor mymaster 127.0.0.1 {port} 1\nsentinel down-after-milliseconds mymaster 300\nsentinel failover-timeout mymaster 3000\n"
    );
    std::fs::write(&file, text).unwrap();
    let sentinel = Redis::configured(&file, &["--sentinel"]);
    let mail = mail_server();
    // Another sentinel is on a machine that is down.
    let (_down, down) = silent();
    let store = format!(
        "url = [\"redis://{down}\", \"{}\"]\nsentinel = \"mymaster\"\ntimeout = \"500ms\"",
        sentinel.url()
    );
    until("the sentinel knows the replica", || {
        sentinel.ask(&["sentinel", "replicas", "mymaster"]).contains(&replica.port().to_string())
    });
    let front = Front::start(&configuration(folder.path(), mail.address(), &store));
    poll(front.address(0), 1);
    poll(front.address(0), 1);
    until("all are counted", || front.server.counters().relieved == 1);
    until("the replica has it", || replica.ask(&["keys", "*"]).contains("user1"));
    master.kill();
    let relieved = || {
        poll(front.address(0), 1);
        front.server.counters().relieved
    };
    until("the next master is found", || relieved() > 1);
    assert!(replica.ask(&["info", "replication"]).contains("role:master"));
}

/// What `reprieve store` says.
fn store(configuration: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(BINARY);
    let run = command.arg("store").args(arguments).arg("--config").arg(configuration).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{arguments:?}: {said}");
    said
}

/// Reprieve by the machine's clock.
fn now(text: &str) -> Server {
    let config = Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
    Server::start(config, Options::default()).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn entries_are_looked_at_forgotten_and_carried_to_another_home() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = Redis::start(Make::Redis);
    let mail = mail_server();
    let table = format!("url = \"{}\"\ntimeout = \"10s\"", redis.url());
    let text = configuration(folder.path(), mail.address(), &table);
    let in_redis = folder.path().join("redis.toml");
    std::fs::write(&in_redis, &text).unwrap();
    let reprieve = now(&text);
    let server = reprieve.address("pop3");
    for user in 0..12 {
        poll(server, user);
        poll(server, user);
    }
    until("all are counted", || reprieve.counters().relieved == 12);

    let said = store(&in_redis, &["get", "user1"]);
    assert!(said.contains("pop3: 1 known secrets") && said.contains("clients last saw 2 messages"), "{said}");
    assert!(said.contains("policy:pop3: \"user1\"") && !said.contains("user11"), "{said}");
    let json: serde_json::Value =
        serde_json::from_str(&store(&in_redis, &["get", "user1", "--json"])).unwrap();
    assert_eq!(json["entries"][0]["key"], "user1");
    assert_eq!(json["virtual_servers"][0]["known"]["messages"], 2);
    assert!(store(&in_redis, &["get", "nobody"]).contains("nothing is known of nobody"));
    let stats = store(&in_redis, &["stats"]);
    assert!(stats.contains("redis at 127.0.0.1:") && stats.contains("policy:pop3"), "{stats}");

    let said = store(&in_redis, &["forget", "user1"]);
    assert!(said.contains("forgotten at 1 virtual servers, with 1 entries"), "{said}");
    let logins = reprieve.counters().authenticated;
    poll(server, 1);
    assert_eq!(reprieve.counters().authenticated, logins + 1, "his next login passes");
    poll(server, 11);
    assert_eq!(reprieve.counters().authenticated, logins + 1, "and nobody else's");
    poll(server, 1);

    // To a file and on with it.
    drop(reprieve);
    let export = folder.path().join("export.jsonl");
    let export = export.to_str().unwrap();
    assert!(store(&in_redis, &["export", export]).contains("24 entries written"));
    let path = folder.path().join("store.redb");
    let moved =
        text.replace(&table, &format!("path = \"{}\"", path.display())).replace("\"redis\"", "\"file\"");
    let in_file = folder.path().join("file.toml");
    std::fs::write(&in_file, &moved).unwrap();
    assert!(store(&in_file, &["import", export]).contains("24 entries written of 24"));
    assert!(store(&in_file, &["get", "user1"]).contains("clients last saw 2 messages"));
    let reprieve = now(&moved);
    for user in 0..12 {
        poll(reprieve.address("pop3"), user);
    }
    until("all are counted", || reprieve.counters().relieved == 12);

    // What cannot be asked is not taken for empty.
    redis.kill();
    for arguments in [&["get", "user1"][..], &["forget", "user1"], &["export", export]] {
        let mut command = Command::new(BINARY);
        let run = command.arg("store").args(arguments).arg("--config").arg(&in_redis).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && said.contains("cannot be re"), "{arguments:?}: {said}");
    }
    assert_eq!(
        std::fs::read_to_string(export).unwrap().lines().count(),
        24,
        "the last export is still there"
    );
}

#[test]
fn capacity_is_measured_in_each_home_and_nothing_stays() {
    let redis = Redis::start(Make::Valkey);
    let folder = tempfile::tempdir().unwrap();
    let file = format!("file:{}/store.redb", folder.path().display());
    let url = redis.url();
    for (word, proxies) in [("memory", "1"), (file.as_str(), "1"), (url.as_str(), "2")] {
        let arguments =
            ["store", "capacity", "--users", "2000", "--json", "--store", word, "--proxies", proxies];
        let run = Command::new(BINARY).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{word}: {said} {}", String::from_utf8_lossy(&run.stderr));
        let told: serde_json::Value = serde_json::from_str(&said).unwrap();
        for what in ["passed", "denied"] {
            assert_eq!((&told[what]["logins"], &told[what]["failed"]), (&2000.into(), &0.into()), "{told}");
        }
        assert_eq!(told["calculated"][2]["users"], 100_000_000);
    }
    until("nothing stays", || redis.ask(&["keys", "*:*user*"]).is_empty());
    let run = Command::new(BINARY)
        .args([
            "policy", "bench", "interval", "--calls", "2000", "--fresh", "10", "--format", "json", "--store",
            &url,
        ])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let told: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(told["failed"], 0);
}
