//! A mail server that accepts every login and counts sessions. It can be killed and restarted at
//! the same address, so that several of them make a pool.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

#[derive(Default)]
struct Seen {
    /// Logins by user.
    logins: Mutex<BTreeMap<String, usize>>,
    /// Open connections by number.
    open: Mutex<BTreeMap<usize, TcpStream>>,
    /// Sessions that are logged in, and the most at once so far.
    sessions: Mutex<(usize, usize)>,
    /// The reply to PASS, if not `+OK`.
    refusal: Mutex<Option<String>>,
    stopped: AtomicBool,
}

/// A running mail server; dropping it kills it.
pub struct FarmNode {
    address: SocketAddr,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl FarmNode {
    /// Starts one.
    pub fn start() -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Starts one at this address.
    pub fn at_address(address: SocketAddr) -> Self {
        Self::at(TcpListener::bind(address).expect("an address that is free"))
    }

    fn at(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Seen::default());
        let thread = std::thread::spawn({
            let seen = seen.clone();
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    if seen.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let seen = seen.clone();
                    let Ok(copy) = stream.try_clone() else { continue };
                    seen.open.lock().unwrap().insert(number, copy);
                    std::thread::spawn(move || {
                        let _ = converse(stream, &seen);
                        if let Some(stream) = seen.open.lock().unwrap().remove(&number) {
                            let _ = stream.shutdown(Shutdown::Both);
                        }
                    });
                }
            }
        });
        Self { address, seen, thread: Some(thread) }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepted logins.
    pub fn logins(&self) -> usize {
        self.seen.logins.lock().unwrap().values().sum()
    }

    /// Users that have logged in.
    pub fn users(&self) -> Vec<String> {
        self.seen.logins.lock().unwrap().keys().cloned().collect()
    }

    /// Resets the counts of logins.
    pub fn forget(&self) {
        self.seen.logins.lock().unwrap().clear();
    }

    /// The most sessions that were logged in at once.
    pub fn most_open(&self) -> usize {
        self.seen.sessions.lock().unwrap().1
    }

    /// Sets the reply to PASS; `None` accepts every login.
    pub fn refuse(&self, word: Option<&str>) {
        *self.seen.refusal.lock().unwrap() = word.map(str::to_owned);
    }

    /// Stops the server and closes its connections.
    pub fn kill(&mut self) {
        self.seen.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.seen.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Starts it again at the same address.
    pub fn revive(&mut self) {
        self.kill();
        let address = self.address;
        super::until("its port is free again", || {
            let Ok(listener) = TcpListener::bind(address) else { return false };
            *self = Self::at(listener);
            true
        });
    }
}

impl Drop for FarmNode {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A session from its login to its end, counted in `Seen::sessions`.
struct Session<'a>(&'a Seen);

impl<'a> Session<'a> {
    fn begin(seen: &'a Seen) -> Self {
        let (now, most) = &mut *seen.sessions.lock().unwrap();
        *now += 1;
        *most = (*most).max(*now);
        Self(seen)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.0.sessions.lock().unwrap().0 -= 1;
    }
}

fn converse(stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    writer.write_all(b"+OK farm\r\n")?;
    let mut user = String::new();
    let mut sessions = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            break Ok(());
        }
        let line = line.trim_end();
        let reply = match line.split_once(' ').unwrap_or((line, "")) {
            ("USER", name) => {
                name.clone_into(&mut user);
                "+OK\r\n".to_owned()
            }
            ("PASS", _) => match seen.refusal.lock().unwrap().clone() {
                Some(word) => format!("{word}\r\n"),
                None => {
                    *seen.logins.lock().unwrap().entry(user.clone()).or_default() += 1;
                    sessions.push(Session::begin(seen));
                    "+OK in\r\n".to_owned()
                }
            },
            ("CAPA", _) => "+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\n.\r\n".to_owned(),
            ("STAT", _) => "+OK 0 0\r\n".to_owned(),
            ("LIST" | "UIDL", _) => "+OK\r\n.\r\n".to_owned(),
            ("QUIT", _) => {
                // The next session may begin as soon as the reply arrives.
                sessions.clear();
                break writer.write_all(b"+OK bye\r\n");
            }
            _ => "+OK\r\n".to_owned(),
        };
        writer.write_all(reply.as_bytes())?;
    }
}
