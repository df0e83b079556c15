//! A store that fails, answers slowly or answers nonsense.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reprieve_store::clock::SystemClock;
use reprieve_store::{NamespaceConfig, Store, StoreSecrets};
use reprieve_store::{StoreBackend, StoreConfig};

use super::{TIMEOUT, configuration, mail_server, poll};
use crate::support::proxy::Proxy;
use crate::support::redis::{Make, Redis};
use crate::support::until;

/// Clients that poll continuously; a failed session fails the test.
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

    /// Waits for this many more sessions.
    fn more(&self, count: usize) {
        let wanted = self.done.load(Ordering::SeqCst) + count;
        until("load goes on", || {
            assert!(self.is_well(), "a client has failed");
            self.done.load(Ordering::SeqCst) >= wanted
        });
    }

    /// The 99th percentile of login durations since the last call.
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

/// A server that sends nonsense until it is dropped.
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
        // A connection ends with its client.
        drop(self.thread.take());
    }
}

#[test]
fn when_valkey_fails_under_load_no_client_is_affected_and_relief_returns() {
    let mail = mail_server();
    let folder = tempfile::tempdir().unwrap();
    let mut valkey = Redis::start(Make::Valkey);
    let store = format!("url = \"{}\"\ntimeout = \"{}ms\"", valkey.url(), TIMEOUT.as_millis());
    let front = Proxy::start(&configuration(folder.path(), mail.address(), &store));
    let server = front.address();
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

    // Out of memory: it answers, and refuses writes.
    load.p99();
    valkey.ask(&["config", "set", "maxmemory", "1"]);
    front.clock.advance(Duration::from_secs(3600));
    fails("full");
    valkey.ask(&["config", "set", "maxmemory", "0"]);
    relief_is_back("roomy again");

    // Restarted empty: its data is gone, with no other effect.
    load.p99();
    valkey.ask(&["flushall"]);
    relief_is_back("flushed");
    in_time("flushed");
    load.end();
    assert_eq!(front.server.counters().unreachable, 0);
}

/// Reads a command of a Redis client.
fn asked(from: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let mut number = |sign: char| {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let number: usize = line.strip_prefix(sign)?.trim_end().parse().ok()?;
        if sign == '*' {
            return Some((number, Vec::new()));
        }
        let mut bytes = vec![0; number + 2];
        from.read_exact(&mut bytes).ok()?;
        bytes.truncate(number);
        Some((number, bytes))
    };
    let (count, _) = number('*')?;
    (0..count).map(|_| number('$').map(|(_, bytes)| bytes)).collect()
}

/// A server that passes Reprieve's connection check and gives this answer to everything else. It
/// runs until the test process exits.
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
async fn an_unexpected_reply_is_never_taken_for_a_valid_one() {
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
        // An entry that is too short.
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
        let mut config = StoreConfig::from_argument(&format!("redis://{}", answering(answer))).unwrap();
        let StoreBackend::Redis(redis) = &mut config.backend else { panic!("a store in Redis") };
        redis.timeout = TIMEOUT;
        let store = Store::open(StoreSecrets::read(&config).unwrap(), Arc::new(SystemClock)).unwrap();
        let space = store.namespace(NamespaceConfig::for_policies("asked", 1 << 20));
        let began = Instant::now();
        assert!(space.get("key").await.is_err(), "{what}");
        // Reprieve reconnects meanwhile.
        while space.ready().is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
            tokio::task::yield_now().await;
        }
        assert!(space.increment("key", 1, None).await.is_err(), "{what}");
        assert!(store.status().failures >= 1, "{what}");
    }
}

/// A proxy in front of a server that delays each answer.
fn slowed(to: SocketAddr, delay_ms: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let delay_ms = delay_ms.clone();
    // It runs until the test process exits; its connections end with Reprieve's.
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(to)) else { continue };
            let (mut asking, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asking, &mut asked));
            let (mut answering, mut answered, delay_ms) = (server, client, delay_ms.clone());
            std::thread::spawn(move || {
                let mut bytes = [0; 65_536];
                while let Ok(count @ 1..) = answering.read(&mut bytes) {
                    // The delay is what is tested.
                    std::thread::sleep(Duration::from_millis(delay_ms.load(Ordering::SeqCst) as u64));
                    if answered.write_all(&bytes[..count]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_store_that_is_slow_but_in_time_is_not_a_policy_failure() {
    let mail = mail_server();
    let folder = tempfile::tempdir().unwrap();
    let valkey = Redis::start(Make::Valkey);
    let delay_ms = Arc::<AtomicUsize>::default();
    let slow = slowed(([127, 0, 0, 1], valkey.port()).into(), &delay_ms);
    // Each operation is in time, but two of them exceed the time that a call may wait.
    let store = format!("url = \"redis://{slow}\"\ntimeout = \"400ms\"");
    let text = configuration(folder.path(), mail.address(), &store);
    let text = text.replace("interval = \"1h\" }", "interval = \"1h\" }\nlimits = { wait = \"30ms\" }");
    let front = Proxy::start(&text);
    let load = Load::at(front.address());
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
