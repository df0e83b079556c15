//! A mail server: what it says, and how it fails. It says +OK to a login before, when or after it looks
//! at the maildrop, as real ones do.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::time::{Instant, sleep_until};
use base64::Engine as _;

use super::lines::Lines;
use super::mail::Letter;
use super::network::{Endpoint, connection};
use super::plan::{MAIN, SECOND};
use super::random::Random;
use super::world::{NodeHealth, World, pause};

/// How long a mail server is silent that hangs: longer than any time limit of the proxy.
const SILENCE: Duration = Duration::from_secs(400);

/// The address of a mail server. The last one is that of the second pool.
pub(super) fn address(node: usize) -> SocketAddr {
    let last = u8::try_from(node + 1).unwrap_or(u8::MAX);
    (Ipv4Addr::new(10, 0, 0, last), 110).into()
}

/// Answers an attempt to connect to a mail server.
pub(super) async fn accept(world: &Arc<World>, address: SocketAddr) -> io::Result<Endpoint> {
    let SocketAddr::V4(v4) = address else { return Err(io::ErrorKind::AddrNotAvailable.into()) };
    let node = usize::from(v4.ip().octets()[3]) - 1;
    let mut random = world.fork();
    pause(random.up_to(world.plan.latency.most_ms)).await;
    let health = world.nodes.lock()[node];
    match health {
        NodeHealth::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
        NodeHealth::Silent => {
            super::time::sleep(SILENCE).await;
            Err(io::ErrorKind::TimedOut.into())
        }
        NodeHealth::Up => {
            let (near, far) = connection(random.fork(), world.plan.latency);
            world.oracle.lock().server_connections += 1;
            let session = ServerSession::new(world.clone(), node, far, random);
            tokio::spawn(session.run());
            Ok(near)
        }
    }
}

/// Why a session ends early.
enum Stop {
    Lost,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// When the session looks at the maildrop.
enum Opening {
    /// Before +OK is said.
    Done,
    /// Some time after it, or when the first command comes, if that is earlier.
    At(Instant),
}

struct ServerSession {
    world: Arc<World>,
    node: usize,
    lines: Lines,
    random: Random,
    user_name: String,
    /// The id of the proxy's session, if it has told it.
    session: String,
    /// The user who is logged in.
    user: Option<usize>,
    password: String,
    opening: Opening,
    listing: Vec<Letter>,
    deleted: Vec<bool>,
}

impl Drop for ServerSession {
    fn drop(&mut self) {
        let mut oracle = self.world.oracle.lock();
        oracle.server_connections -= 1;
        if let Some(user) = self.user {
            oracle.closed(user, &self.password);
        }
    }
}

impl ServerSession {
    fn new(world: Arc<World>, node: usize, endpoint: Endpoint, random: Random) -> Self {
        Self {
            world,
            node,
            lines: Lines::new(endpoint),
            random,
            user_name: String::new(),
            session: String::new(),
            user: None,
            password: String::new(),
            opening: Opening::Done,
            listing: Vec::new(),
            deleted: Vec::new(),
        }
    }

    async fn run(mut self) {
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> Result<(), Stop> {
        let greeting = if self.world.plan.xclient { "+OK [XCLIENT] ready" } else { "+OK ready" };
        self.reply(greeting).await?;
        loop {
            let line = self.next_command().await?;
            if self.world.nodes.lock()[self.node] != NodeHealth::Up {
                self.lines.break_off();
                return Err(Stop::Lost);
            }
            let lost = self.world.plan.accidents.lost_replies;
            if self.world.has_accident(&mut self.random, lost / 2) {
                self.world.note(&format_args!("node {} drops before {}", self.node, word(&line)));
                return self.vanish();
            }
            let is_last = line.eq_ignore_ascii_case("QUIT");
            let reply = self.command(&line).await?;
            if self.world.has_accident(&mut self.random, lost / 2) {
                self.world.note(&format_args!("node {} loses the reply to {}", self.node, word(&line)));
                let part = self.random.at(reply.len());
                self.lines.send(&reply[..part]).await?;
                return self.vanish();
            }
            self.reply_text(&reply).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    fn vanish(&mut self) -> Result<(), Stop> {
        if self.random.coin() {
            self.lines.break_off();
        }
        Err(Stop::Lost)
    }

    /// The next command. The session looks at the maildrop meanwhile, if it is time.
    async fn next_command(&mut self) -> Result<String, Stop> {
        if let Opening::At(at) = self.opening {
            if !self.lines.has_line() {
                tokio::select! {
                    biased;
                    line = self.lines.next() => {
                        self.open();
                        return line?.ok_or(Stop::Lost);
                    }
                    () = sleep_until(at) => {}
                }
            }
            self.open();
        }
        self.lines.next().await?.ok_or(Stop::Lost)
    }

    fn open(&mut self) {
        self.opening = Opening::Done;
        let Some(user) = self.user else { return };
        self.listing.clone_from(&self.world.mail.lock().mailboxes[user].letters);
        self.deleted = vec![false; self.listing.len()];
    }

    async fn command(&mut self, line: &str) -> Result<String, Stop> {
        let (command, argument) = line.split_once(' ').unwrap_or((line, ""));
        let command = command.to_ascii_uppercase();
        Ok(match (&*command, self.user) {
            ("CAPA", _) => self.capabilities(),
            ("QUIT", None) => "+OK bye\r\n".to_owned(),
            ("XCLIENT", None) => {
                let session = argument.split(' ').find_map(|part| part.strip_prefix("SESSION="));
                self.session = session.unwrap_or_default().to_owned();
                "+OK\r\n".to_owned()
            }
            ("USER", None) => {
                self.user_name = argument.to_owned();
                "+OK\r\n".to_owned()
            }
            ("PASS", None) => {
                let name = self.user_name.clone();
                self.log_in(&name, argument).await
            }
            ("AUTH", None) => {
                self.reply("+ ").await?;
                let response = self.lines.next().await?.ok_or(Stop::Lost)?;
                let decoded = base64::engine::general_purpose::STANDARD.decode(response).unwrap_or_default();
                let text = String::from_utf8_lossy(&decoded).into_owned();
                let mut parts = text.split('\0').skip(1);
                let (name, secret) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
                self.log_in(name, secret).await
            }
            (_, Some(user)) => self.transaction(&command, argument, user),
            _ => "-ERR unknown command\r\n".to_owned(),
        })
    }

    fn capabilities(&self) -> String {
        let pipelining = if self.world.plan.pipelining { "PIPELINING\r\n" } else { "" };
        format!("+OK\r\nUSER\r\nTOP\r\nUIDL\r\n{pipelining}SASL PLAIN\r\n.\r\n")
    }

    async fn log_in(&mut self, name: &str, password: &str) -> String {
        pause(self.random.up_to(30)).await;
        let refused = self.world.plan.accidents.refused_logins;
        if self.world.has_accident(&mut self.random, refused) {
            let code = *self.random.pick(&["SYS/TEMP", "IN-USE"]);
            self.world.note(&format_args!("node {} refuses {name}: {code}", self.node));
            return format!("-ERR [{code}] not now\r\n");
        }
        let found = {
            let mail = self.world.mail.lock();
            let pool = if self.node == self.world.plan.nodes { SECOND } else { MAIN };
            let found = mail.find(name).filter(|user| self.world.plan.pool(*user) == pool);
            found.map(|user| (user, mail.mailboxes[user].password == password))
        };
        self.world.note(&format_args!("node {} judges {name}: {found:?}", self.node));
        if !self.session.is_empty() {
            *self.world.oracle.lock().judged.entry(self.session.clone()).or_default() += 1;
        }
        let Some((user, true)) = found else {
            return "-ERR [AUTH] Authentication failed.\r\n".to_owned();
        };
        self.world.oracle.lock().accepted(user, password);
        self.user = Some(user);
        self.password = password.to_owned();
        if self.random.chance(400) {
            self.open();
        } else {
            // Some mail servers open the maildrop when the first command comes.
            let most_ms = if self.random.chance(300) { 60_000 } else { 300 };
            let delay = Duration::from_millis(self.random.up_to(most_ms));
            self.opening = Opening::At(Instant::now() + delay);
        }
        "+OK Logged in.\r\n".to_owned()
    }

    /// A message that exists and is not deleted in this session.
    fn letter(&self, argument: &str) -> Option<(usize, &Letter)> {
        let number: usize = argument.split(' ').next()?.parse().ok()?;
        let at = number.checked_sub(1)?;
        let letter = self.listing.get(at)?;
        (!self.deleted[at]).then_some((at, letter))
    }

    fn rows(&self, row: impl Fn(&Letter) -> String) -> String {
        let left = self.listing.iter().enumerate().filter(|(at, _)| !self.deleted[*at]);
        let rows: String = left.map(|(at, letter)| format!("{} {}\r\n", at + 1, row(letter))).collect();
        format!("+OK\r\n{rows}.\r\n")
    }

    fn transaction(&mut self, command: &str, argument: &str, user: usize) -> String {
        const NONE: &str = "-ERR no such message\r\n";
        let size = |letter: &Letter| letter.size.to_string();
        match command {
            "STAT" => {
                let left = self.listing.iter().enumerate().filter(|(at, _)| !self.deleted[*at]);
                let (count, bytes) =
                    left.fold((0, 0), |(count, sum), (_, letter)| (count + 1, sum + letter.size));
                format!("+OK {count} {bytes}\r\n")
            }
            "LIST" if argument.is_empty() => self.rows(size),
            "UIDL" if argument.is_empty() => self.rows(|letter| letter.id.clone()),
            "LIST" | "UIDL" => match self.letter(argument) {
                Some((at, letter)) if command == "LIST" => format!("+OK {} {}\r\n", at + 1, letter.size),
                Some((at, letter)) => format!("+OK {} {}\r\n", at + 1, letter.id),
                None => NONE.to_owned(),
            },
            "RETR" | "TOP" => match self.letter(argument) {
                Some((_, letter)) if !self.world.mail.lock().has(user, &letter.id) => {
                    "-ERR message is gone\r\n".to_owned()
                }
                Some((_, letter)) if command == "RETR" => format!("+OK\r\n{}.\r\n", letter.text()),
                Some((_, letter)) => format!("+OK\r\nX-Id: {}\r\n\r\n.\r\n", letter.id),
                None => NONE.to_owned(),
            },
            "DELE" => match self.letter(argument).map(|(at, _)| at) {
                Some(at) => {
                    self.deleted[at] = true;
                    "+OK\r\n".to_owned()
                }
                None => NONE.to_owned(),
            },
            "RSET" => {
                self.deleted.fill(false);
                "+OK\r\n".to_owned()
            }
            "NOOP" => "+OK\r\n".to_owned(),
            "QUIT" => {
                self.expunge(user);
                "+OK bye\r\n".to_owned()
            }
            _ => "-ERR unknown command\r\n".to_owned(),
        }
    }

    /// The end of a session: what it has deleted is gone.
    fn expunge(&mut self, user: usize) {
        let deleted = self.listing.iter().zip(&self.deleted).filter(|(_, deleted)| **deleted);
        for id in deleted.map(|(letter, _)| &letter.id) {
            if self.world.mail.lock().expunge(user, id) {
                self.world.note(&format_args!("{id} is expunged by POP3"));
                let problem = self.world.oracle.lock().expunged(id, true);
                if let Some(problem) = problem {
                    self.world.violated(&problem);
                }
            }
        }
    }

    async fn reply(&mut self, line: &str) -> Result<(), Stop> {
        self.reply_text(&format!("{line}\r\n")).await
    }

    async fn reply_text(&mut self, text: &str) -> Result<(), Stop> {
        let slow = self.world.plan.accidents.slow_replies;
        if self.world.has_accident(&mut self.random, slow) {
            if self.random.chance(100) {
                super::time::sleep(SILENCE).await;
                return Err(Stop::Lost);
            }
            pause(self.random.up_to(20_000)).await;
        }
        pause(self.random.up_to(4)).await;
        self.lines.send(text).await?;
        Ok(())
    }
}

fn word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}
