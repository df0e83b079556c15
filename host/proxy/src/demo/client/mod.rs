//! A simulated mail program: it polls, remembers the unique-ids of fetched messages, fetches new ones
//! and checks that all replies are consistent.

mod client_profile;
mod connection;
mod fault;
mod listing;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::deliveries::Deliveries;
use client_profile::{ClientProfile, ListingCommand, PROFILES};
use connection::Connection;
use fault::Fault;
use listing::Listing;

/// Timeout of a poll in seconds, ten times the longest duration seen on a busy machine.
const POLL_TIMEOUT_S: u64 = 20;

/// Credentials of a user.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// A mail program of one user.
pub(crate) struct Client {
    /// Its number in [`Deliveries`].
    pub(crate) number: usize,
    pub(crate) account: Account,
    /// Deletes fetched messages on the server.
    pub(crate) deletes: bool,
    /// Another client polls the same maildrop, which may therefore be locked.
    pub(crate) shares: bool,
    profile: &'static ClientProfile,
    /// Unique-ids of messages fetched and left on the server.
    left: HashSet<String>,
    /// Unique-ids of messages fetched and deleted.
    deleted: HashSet<String>,
}

/// Result of a poll.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// Duration from connecting to the end of the session.
    pub(crate) duration: Duration,
    /// Number of messages fetched.
    pub(crate) fetched: u64,
    /// Number of replies checked.
    pub(crate) replies: u64,
    /// The maildrop was locked by the user's other client.
    pub(crate) locked: bool,
    /// The error, if any.
    pub(crate) fault: Option<String>,
}

impl Client {
    pub(crate) fn new(number: usize, account: Account, deletes: bool, shares: bool) -> Self {
        let profile = &PROFILES[number % PROFILES.len()];
        Self { number, account, deletes, shares, profile, left: HashSet::new(), deleted: HashSet::new() }
    }

    /// Name of the mail program that it simulates.
    pub(crate) fn program(&self) -> &'static str {
        self.profile.program
    }

    /// Checks for mail once.
    pub(crate) async fn poll(&mut self, at: SocketAddr, deliveries: &Mutex<Deliveries>) -> Poll {
        let mut poll = Poll::default();
        let start = Instant::now();
        let ended =
            timeout(Duration::from_secs(POLL_TIMEOUT_S), self.session(at, deliveries, &mut poll)).await;
        poll.duration = start.elapsed();
        poll.fault = match ended {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(_) => Some(Fault::Timeout(POLL_TIMEOUT_S).to_string()),
        };
        poll
    }

    /// Tries a wrong password. Returns an error if it is not rejected as such.
    pub(crate) async fn try_wrong_password(&self, at: SocketAddr) -> Result<(), String> {
        let attempt = async {
            let mut connection = Connection::connect(at).await?;
            connection.status("the connection").await?.expect_positive("the connection")?;
            connection.send(&format!("USER {}\r\n", self.account.user)).await?;
            connection.status("USER").await?.expect_positive("USER")?;
            connection.send(&format!("PASS {}x\r\n", self.account.password)).await?;
            let answer = connection.status("PASS").await?;
            if answer.positive {
                return Err(Fault::contradiction("a wrong password was accepted"));
            }
            if answer.is_temporary() {
                return Err(Fault::contradiction("a wrong password got a temporary error"));
            }
            connection.send("QUIT\r\n").await?;
            connection.status("QUIT").await?.expect_positive("QUIT")?;
            Ok(())
        };
        match timeout(Duration::from_secs(POLL_TIMEOUT_S), attempt).await {
            Ok(result) => result.map_err(|fault: Fault| fault.to_string()),
            Err(_) => Err(Fault::Timeout(POLL_TIMEOUT_S).to_string()),
        }
    }

    async fn session(
        &mut self,
        at: SocketAddr,
        deliveries: &Mutex<Deliveries>,
        poll: &mut Poll,
    ) -> Result<(), Fault> {
        let mut connection = Connection::connect(at).await?;
        let result = self.run_session(&mut connection, deliveries, poll).await;
        poll.replies = connection.replies;
        result
    }

    async fn run_session(
        &mut self,
        connection: &mut Connection,
        deliveries: &Mutex<Deliveries>,
        poll: &mut Poll,
    ) -> Result<(), Fault> {
        connection.status("the connection").await?.expect_positive("the connection")?;
        let mut pipelines = false;
        if self.profile.capa_before_login {
            let capabilities = request_capabilities(connection).await?;
            for needed in ["USER", "UIDL"] {
                if !capabilities.iter().any(|capability| capability == needed) {
                    return Err(Fault::contradiction(format!("CAPA does not list {needed}")));
                }
            }
            pipelines = self.profile.pipelines && capabilities.iter().any(|name| name == "PIPELINING");
        }
        if !self.log_in(connection, pipelines).await? {
            poll.locked = true;
            return quit(connection).await;
        }
        if self.profile.capa_after_login {
            request_capabilities(connection).await?;
        }
        let listing = self.request_listing(connection, pipelines).await?;
        let fetched = self.fetch(connection, &listing, pipelines, deliveries, poll).await?;
        if !self.deletes {
            return quit(connection).await;
        }
        self.delete(connection, &fetched).await?;
        quit(connection).await?;
        // The server deletes messages only if it answers QUIT with +OK (RFC 1939, section 6).
        for (_, unique_id) in fetched {
            self.left.remove(&unique_id);
            self.deleted.insert(unique_id);
        }
        Ok(())
    }

    /// Logs in. Returns false if the maildrop is locked by the other client.
    async fn log_in(&self, connection: &mut Connection, pipelines: bool) -> Result<bool, Fault> {
        let user = format!("USER {}\r\n", self.account.user);
        let pass = format!("PASS {}\r\n", self.account.password);
        if pipelines {
            connection.send(&(user + &pass)).await?;
            connection.status("USER").await?.expect_positive("USER")?;
        } else {
            connection.send(&user).await?;
            connection.status("USER").await?.expect_positive("USER")?;
            connection.send(&pass).await?;
        }
        let answer = connection.status("PASS").await?;
        if self.shares && answer.is_temporary() {
            return Ok(false);
        }
        answer.expect_positive("PASS")?;
        Ok(true)
    }

    async fn request_listing(&self, connection: &mut Connection, pipelines: bool) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        if pipelines {
            let all: String = self.profile.commands.iter().map(|command| command.command()).collect();
            connection.send(&all).await?;
        }
        for command in self.profile.commands {
            if !pipelines {
                connection.send(command.command()).await?;
            }
            match command {
                ListingCommand::Stat => {
                    let totals = connection.status("STAT").await?.expect_positive("STAT")?;
                    listing.stat(&totals)?;
                }
                ListingCommand::List => {
                    connection.status("LIST").await?.expect_positive("LIST")?;
                    listing.list(&connection.lines("LIST").await?)?;
                }
                ListingCommand::Uidl => {
                    connection.status("UIDL").await?.expect_positive("UIDL")?;
                    listing.uidl(&connection.lines("UIDL").await?)?;
                }
            }
        }
        listing.check(&self.left, &self.deleted)?;
        Ok(listing)
    }

    /// Fetches new messages and returns their numbers and unique-ids.
    async fn fetch(
        &mut self,
        connection: &mut Connection,
        listing: &Listing,
        pipelines: bool,
        deliveries: &Mutex<Deliveries>,
        poll: &mut Poll,
    ) -> Result<Vec<(u64, String)>, Fault> {
        let has = |id: &String| self.left.contains(id) || self.deleted.contains(id);
        let new: Vec<(u64, String)> =
            listing.unique_ids().iter().filter(|(_, id)| !has(id)).cloned().collect();
        if pipelines {
            let all: String = new.iter().map(|(number, _)| format!("RETR {number}\r\n")).collect();
            connection.send(&all).await?;
        }
        let mut fetched = Vec::new();
        for (number, unique_id) in new {
            let mut size = listing.size(number);
            if self.profile.lists_each_message && !pipelines {
                size = Some(request_size(connection, number).await?);
            }
            if !pipelines {
                connection.send(&format!("RETR {number}\r\n")).await?;
            }
            let answer = connection.status("RETR").await?;
            if self.shares && answer.is_temporary() {
                poll.locked = true;
                continue;
            }
            answer.expect_positive("RETR")?;
            let message = joined(&connection.lines("RETR").await?);
            if let Some(size) = size
                && size != message.len() as u64
            {
                let bytes = message.len();
                return Err(Fault::contradiction(format!(
                    "LIST reports {size} bytes, RETR returned {bytes}"
                )));
            }
            deliveries
                .lock()
                .fetched(&message, &self.account.user, self.number)
                .map_err(Fault::Contradiction)?;
            poll.fetched += 1;
            self.left.insert(unique_id.clone());
            fetched.push((number, unique_id));
        }
        Ok(fetched)
    }

    async fn delete(&self, connection: &mut Connection, messages: &[(u64, String)]) -> Result<(), Fault> {
        for (number, _) in messages {
            connection.send(&format!("DELE {number}\r\n")).await?;
            connection.status("DELE").await?.expect_positive("DELE")?;
        }
        Ok(())
    }
}

impl ListingCommand {
    fn command(self) -> &'static str {
        match self {
            Self::Stat => "STAT\r\n",
            Self::List => "LIST\r\n",
            Self::Uidl => "UIDL\r\n",
        }
    }
}

async fn request_capabilities(connection: &mut Connection) -> Result<Vec<String>, Fault> {
    connection.send("CAPA\r\n").await?;
    connection.status("CAPA").await?.expect_positive("CAPA")?;
    let lines = connection.lines("CAPA").await?;
    Ok(lines.iter().map(|line| String::from_utf8_lossy(line).to_ascii_uppercase()).collect())
}

async fn request_size(connection: &mut Connection, message: u64) -> Result<u64, Fault> {
    connection.send(&format!("LIST {message}\r\n")).await?;
    let text = connection.status("LIST").await?.expect_positive("LIST")?;
    let mut words = text.split(' ').map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(number)), Some(Ok(size))) if number == message => Ok(size),
        _ => Err(Fault::contradiction(format!("invalid reply to LIST {message}: {text:?}"))),
    }
}

async fn quit(connection: &mut Connection) -> Result<(), Fault> {
    connection.send("QUIT\r\n").await?;
    connection.status("QUIT").await?.expect_positive("QUIT")?;
    if !connection.is_closed().await? {
        return Err(Fault::contradiction("the server sent more after its reply to QUIT"));
    }
    Ok(())
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::message::Message;
    use reprieve_mailserver::{MailServer, Settings};

    fn server() -> MailServer {
        let server = MailServer::start(Settings { password_rounds: 2, ..Settings::default() }).unwrap();
        server.add_user("anna", "se cret");
        server
    }

    fn account() -> Account {
        Account { user: "anna".to_owned(), password: "se cret".to_owned() }
    }

    fn deliver(server: &MailServer, deliveries: &Mutex<Deliveries>) {
        let message = Message::generate("anna");
        deliveries.lock().delivered(&message, "anna");
        server.deliver("anna", &message.bytes).unwrap();
    }

    #[tokio::test]
    async fn every_profile_fetches_each_message_once() {
        let server = server();
        let deliveries = Mutex::new(Deliveries::default());
        for number in 0..PROFILES.len() {
            deliveries.lock().add_client("anna", number);
            let mut client = Client::new(number, account(), false, false);
            for _ in 0..3 {
                deliver(&server, &deliveries);
                let poll = client.poll(server.address(), &deliveries).await;
                assert_eq!(poll.fault, None, "{}", client.program());
                assert!(poll.fetched > 0, "{}", client.program());
                let poll = client.poll(server.address(), &deliveries).await;
                assert_eq!((poll.fetched, poll.fault), (0, None), "{}", client.program());
            }
        }
        let mut late = Client::new(0, account(), false, false);
        late.poll(server.address(), &deliveries).await;
        assert_eq!(
            deliveries.lock().totals().duplicated,
            3,
            "a new client of the user fetches all messages again"
        );
    }

    #[tokio::test]
    async fn deleted_messages_are_not_reported_as_missing() {
        let server = server();
        let deliveries = Mutex::new(Deliveries::default());
        deliveries.lock().add_client("anna", 1);
        let mut client = Client::new(1, account(), true, false);
        for _ in 0..2 {
            deliver(&server, &deliveries);
            deliver(&server, &deliveries);
            let poll = client.poll(server.address(), &deliveries).await;
            assert_eq!((poll.fetched, poll.fault), (2, None));
            assert!(server.messages("anna").is_empty());
        }
        assert_eq!(deliveries.lock().totals().missing(), 0);
    }

    #[tokio::test]
    async fn a_maildrop_emptied_by_another_client_is_a_fault() {
        let server = server();
        let deliveries = Mutex::new(Deliveries::default());
        deliver(&server, &deliveries);
        let mut keeps = Client::new(0, account(), false, false);
        assert_eq!(keeps.poll(server.address(), &deliveries).await.fault, None);
        Client::new(1, account(), true, false).poll(server.address(), &deliveries).await;
        let fault = keeps.poll(server.address(), &deliveries).await.fault.unwrap();
        assert!(fault.contains("missing"), "{fault}");
    }

    #[tokio::test]
    async fn a_wrong_password_must_be_rejected() {
        let server = server();
        let client = Client::new(0, account(), false, false);
        assert_eq!(client.try_wrong_password(server.address()).await, Ok(()));
        server.add_user("anna", "se cretx");
        assert!(client.try_wrong_password(server.address()).await.unwrap_err().contains("accepted"));
    }
}
