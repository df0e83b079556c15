//! A small POP3 server on a loopback port: the backend of the demo and of tests.
//!
//! It is a real mail server in what matters to a proxy: it checks passwords at a realistic cost,
//! locks maildrops, gives out unique-ids, and deletes only at QUIT. It keeps mail in memory, and
//! measures its own work: connections, logins, CPU time.
//!
//! It shares no POP3 code with the proxy, so that a mistake in one is not hidden by the same mistake
//! in the other. Commands are in `session`, the lock and the messages in `maildrop`.

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

/// Settings of a [`MailServer`].
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Inactivity timeout. RFC 1939 requires at least ten minutes.
    pub inactivity: Duration,
    /// Rounds of the password hash, which determine the CPU time of a login.
    pub password_rounds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { inactivity: Duration::from_secs(600), password_rounds: password::ROUNDS }
    }
}

/// A mail server that runs until it is dropped, on a thread of its own: the CPU time of that thread is
/// the cost of serving.
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
        let parked = Arc::clone(&meter);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || parked.cpu.publish())
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

    /// Its listen address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a user, or changes the password of an existing one.
    pub fn add_user(&self, user: &str, password: &str) {
        self.maildrops.add_user(user, password);
    }

    /// Adds a message to a user's maildrop and returns its unique-id. None if the user does not exist.
    /// Bare line feeds become CR LF.
    pub fn deliver(&self, user: &str, message: &[u8]) -> Option<String> {
        self.maildrops.deliver(user, message)
    }

    /// The messages in a user's maildrop, in the order of their numbers.
    #[must_use]
    pub fn messages(&self, user: &str) -> Vec<Arc<Message>> {
        self.maildrops.messages(user)
    }

    /// Number of logins of a user so far, including refused ones.
    #[must_use]
    pub fn logins(&self, user: &str) -> u64 {
        self.maildrops.logins(user)
    }

    /// Its work since it was started.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.meter.read()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already printed its message.
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
                    // A client that disconnects is not an error.
                    let _: io::Result<()> =
                        connection::serve(stream, session, Arc::clone(&meter), inactivity).await;
                    meter.closed();
                });
            }
            // Usually there are no file descriptors left: wait until connections have ended.
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
    fn a_session_may_be_pipelined() {
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
            std::thread::yield_now();
        }
        assert_eq!(server.messages("anna").len(), 1);
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"USER anna\r\nPASS secret\r\nQUIT\r\n").unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert!(!replies.contains("-ERR"), "{replies}");
    }

    #[test]
    fn an_inactive_client_is_disconnected_with_a_reason() {
        let server = server(Duration::from_millis(50));
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let mut replies = String::new();
        stream.read_to_string(&mut replies).unwrap();
        assert!(replies.ends_with("-ERR closed for inactivity\r\n"), "{replies}");
    }

    #[test]
    fn a_dropped_server_closes_its_port_and_connections() {
        let server = server(Duration::from_secs(30));
        let address = server.address();
        let mut open = TcpStream::connect(address).unwrap();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
        let mut rest = Vec::new();
        // It ends with or without an error, but it ends.
        let _ = open.read_to_end(&mut rest);
    }

    #[test]
    fn the_cpu_time_includes_the_password_check() {
        let server = MailServer::start(Settings { password_rounds: 20_000, ..Settings::default() }).unwrap();
        server.add_user("anna", "secret");
        let before = server.stats();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"USER anna\r\nPASS secret\r\nQUIT\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let work = || server.stats().since(&before);
        // The thread publishes its CPU time when it goes to sleep, shortly after the reply.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while work().cpu < Duration::from_micros(500) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
        }
        let Stats { cpu, password_cpu, .. } = work();
        assert!(cpu > password_cpu && password_cpu > Duration::from_micros(500), "{cpu:?}, {password_cpu:?}");
        assert_eq!(server.logins("anna"), 1);
    }
}
