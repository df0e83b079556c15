//! A small POP3 mail server on a loopback port: what the demo's clients poll, and a backend
//! for tests. It is honest where it matters: real passwords, real locks, real unique-ids, and
//! deletion only at QUIT. It keeps mail in memory and meters its own work.

mod connection;
mod maildrop;
mod meter;
mod password;
mod session;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use maildrop::Message;
pub use meter::Stats;

use maildrop::Maildrops;
use meter::Meter;
use session::Session;

/// How a mail server is to behave.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a client may be silent. RFC 1939 asks for at least ten minutes.
    pub inactivity: Duration,
    /// Rounds of the password derivation, which each login pays.
    pub password_rounds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { inactivity: Duration::from_secs(600), password_rounds: password::ROUNDS }
    }
}

/// A mail server that runs on a thread of its own until it is dropped.
///
/// One thread, so that its CPU time is the cost of serving and of nothing else.
pub struct MailServer {
    address: SocketAddr,
    maildrops: Arc<Maildrops>,
    meter: Arc<Meter>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MailServer {
    /// Starts a server without users on a free port of the IPv4 loopback interface.
    ///
    /// # Errors
    /// If the port cannot be opened or the thread cannot be started.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .context("the mail server cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let maildrops = Arc::new(Maildrops::new(settings.password_rounds));
        let meter = Arc::new(Meter::default());
        let at_rest = Arc::clone(&meter);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || at_rest.cpu.publish())
            .build()
            .context("the mail server's runtime cannot be started")?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("mail-server".to_owned())
            .spawn({
                let (maildrops, meter) = (Arc::clone(&maildrops), Arc::clone(&meter));
                move || {
                    runtime.block_on(async {
                        tokio::select! {
                            () = accept(listener, maildrops, meter, settings.inactivity) => {}
                            _ = stopped => {}
                        }
                    });
                }
            })
            .context("the mail server's thread cannot be started")?;
        Ok(Self { address, maildrops, meter, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a user, or changes the password of one that is there.
    pub fn add_user(&self, user: &str, password: &str) {
        self.maildrops.add_user(user, password);
    }

    /// Puts a message into a user's maildrop and tells its unique-id; nothing if there is no
    /// such user. Bare line feeds become CR LF.
    pub fn deliver(&self, user: &str, message: &[u8]) -> Option<String> {
        self.maildrops.deliver(user, message)
    }

    /// What a user's maildrop holds now, in the order of the messages' numbers.
    #[must_use]
    pub fn messages(&self, user: &str) -> Vec<Arc<Message>> {
        self.maildrops.messages(user)
    }

    /// Logins that were judged for a user so far, refused ones included.
    #[must_use]
    pub fn logins(&self, user: &str) -> u64 {
        self.maildrops.logins(user)
    }

    /// What it has done since its start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.meter.read()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed where it happened; there is nobody else to tell.
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: std::net::TcpListener,
    maildrops: Arc<Maildrops>,
    meter: Arc<Meter>,
    inactivity: Duration,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                meter.connection();
                let session = Session::new(Arc::clone(&maildrops), Arc::clone(&meter));
                let meter = Arc::clone(&meter);
                tokio::spawn(async move {
                    // A client that went away is no error of the server's.
                    let _: io::Result<()> =
                        connection::serve(stream, session, Arc::clone(&meter), inactivity).await;
                    meter.closed();
                });
            }
            // Out of file descriptors, usually: wait until a connection has ended.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn server(inactivity: Duration) -> MailServer {
        let server = MailServer::start(Settings { inactivity, password_rounds: 2 }).unwrap();
        server.add_user("anna", "secret");
        server
    }

    fn line(reader: &mut impl BufRead) -> String {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn a_whole_session_works_over_a_connection_pipelined_and_not() {
        let server = server(Duration::from_secs(30));
        server.deliver("anna", b"Subject: one\n\n.dot\n").unwrap();
        let stream = TcpStream::connect(server.address()).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        assert!(line(&mut reader).starts_with("+OK"));
        writer.write_all(b"USER anna\r\n").unwrap();
        assert!(line(&mut reader).starts_with("+OK"));
        writer.write_all(b"PASS secret\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n").unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(
            rest,
            "+OK 1 messages (22 octets)\r\n+OK 22 octets\r\nSubject: one\r\n\r\n..dot\r\n.\r\n+OK\r\n+OK bye\r\n"
        );
        assert!(server.messages("anna").is_empty());
        let stats = server.stats();
        assert_eq!((stats.connections, stats.logins, stats.rejected, stats.commands), (1, 1, 0, 5));
    }

    #[test]
    fn a_dropped_connection_unlocks_and_deletes_nothing() {
        let server = server(Duration::from_secs(30));
        server.deliver("anna", b"Subject: one\n\n").unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"USER anna\r\nPASS secret\r\nDELE 1\r\n").unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..4 {
            assert!(line(&mut reader).starts_with("+OK"));
        }
        drop((stream, reader));
        while server.stats().open > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(server.messages("anna").len(), 1);
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"USER anna\r\nPASS secret\r\nQUIT\r\n").unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert!(!replies.contains("-ERR"), "{replies}");
    }

    #[test]
    fn a_silent_client_is_told_and_let_go() {
        let server = server(Duration::from_millis(50));
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("-ERR closed for inactivity\r\n"), "{said}");
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let server = server(Duration::from_secs(30));
        let address = server.address();
        let mut open = TcpStream::connect(address).unwrap();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        let mut rest = Vec::new();
        // Closed or reset, but not left waiting.
        let _ = open.read_to_end(&mut rest);
    }

    #[test]
    fn the_work_of_a_login_shows_in_the_cpu_time() {
        let server = MailServer::start(Settings { password_rounds: 20_000, ..Settings::default() }).unwrap();
        server.add_user("anna", "secret");
        let before = server.stats();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"USER anna\r\nPASS secret\r\nQUIT\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let work = || server.stats().since(&before);
        // The clock is taken when the thread goes to sleep, which is just after the answer.
        let patience = std::time::Instant::now() + Duration::from_secs(10);
        while work().cpu < Duration::from_micros(500) && std::time::Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
        let Stats { cpu, password_cpu, .. } = work();
        assert!(cpu > password_cpu && password_cpu > Duration::from_micros(500), "{cpu:?}, {password_cpu:?}");
        assert_eq!(server.logins("anna"), 1);
    }
}
