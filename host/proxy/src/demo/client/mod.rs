//! A mail program that polls: it knows POP3, keeps unique-ids of what it has, fetches what
//! it has not, and believes nothing that does not fit together.

mod fault;
mod habit;
mod listing;
mod wire;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::ledger::Ledger;
use fault::Fault;
use habit::{HABITS, Habit, Question};
use listing::Listing;
use wire::Wire;

/// A poll that takes longer has failed. Ten times what the busiest machine was seen to need.
const PATIENCE_S: u64 = 20;

/// Whose mail is polled, and with what.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// One mail program of one user.
pub(crate) struct Client {
    /// Its number in the ledger.
    pub(crate) number: usize,
    pub(crate) account: Account,
    /// Deletes on the server what it has fetched.
    pub(crate) deletes: bool,
    /// Another client polls the same maildrop, so that it can be locked at times.
    pub(crate) shares: bool,
    habit: &'static Habit,
    /// Unique-ids that it fetched and left on the server.
    left: HashSet<String>,
    /// Unique-ids that it fetched and deleted.
    deleted: HashSet<String>,
}

/// What came of a poll.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    /// From the connection's opening to its end.
    pub(crate) took: Duration,
    /// Messages fetched.
    pub(crate) fetched: u64,
    /// Replies that were read and checked.
    pub(crate) replies: u64,
    /// The maildrop was locked by the user's other client: the next poll will do.
    pub(crate) put_off: bool,
    /// What was wrong, if anything was.
    pub(crate) fault: Option<String>,
}

impl Client {
    pub(crate) fn new(number: usize, account: Account, deletes: bool, shares: bool) -> Self {
        let habit = &HABITS[number % HABITS.len()];
        Self { number, account, deletes, shares, habit, left: HashSet::new(), deleted: HashSet::new() }
    }

    /// The mail program that it behaves like.
    pub(crate) fn program(&self) -> &'static str {
        self.habit.program
    }

    /// Checks for mail, once.
    pub(crate) async fn poll(&mut self, at: SocketAddr, ledger: &Mutex<Ledger>) -> Poll {
        let mut poll = Poll::default();
        let start = Instant::now();
        let ended = timeout(Duration::from_secs(PATIENCE_S), self.session(at, ledger, &mut poll)).await;
        poll.took = start.elapsed();
        poll.fault = match ended {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault.to_string()),
            Err(_) => Some(Fault::Silent(PATIENCE_S).to_string()),
        };
        poll
    }

    /// Tries a password that is not the user's; what is wrong if it is not refused.
    pub(crate) async fn mistype(&self, at: SocketAddr) -> Result<(), String> {
        let attempt = async {
            let mut wire = Wire::connect(at).await?;
            wire.status("the connection").await?.expect_positive("the connection")?;
            wire.send(&format!("USER {}\r\n", self.account.user)).await?;
            wire.status("USER").await?.expect_positive("USER")?;
            wire.send(&format!("PASS {}x\r\n", self.account.password)).await?;
            let answer = wire.status("PASS").await?;
            if answer.positive {
                return Err(Fault::contradiction("a wrong password was accepted"));
            }
            if answer.is_temporary() {
                return Err(Fault::contradiction("a wrong password was not called wrong"));
            }
            wire.send("QUIT\r\n").await?;
            wire.status("QUIT").await?.expect_positive("QUIT")?;
            Ok(())
        };
        match timeout(Duration::from_secs(PATIENCE_S), attempt).await {
            Ok(result) => result.map_err(|fault: Fault| fault.to_string()),
            Err(_) => Err(Fault::Silent(PATIENCE_S).to_string()),
        }
    }

    async fn session(
        &mut self,
        at: SocketAddr,
        ledger: &Mutex<Ledger>,
        poll: &mut Poll,
    ) -> Result<(), Fault> {
        let mut wire = Wire::connect(at).await?;
        let result = self.converse(&mut wire, ledger, poll).await;
        poll.replies = wire.replies;
        result
    }

    async fn converse(
        &mut self,
        wire: &mut Wire,
        ledger: &Mutex<Ledger>,
        poll: &mut Poll,
    ) -> Result<(), Fault> {
        wire.status("the connection").await?.expect_positive("the connection")?;
        let mut pipelines = false;
        if self.habit.capabilities_first {
            let capabilities = ask_capabilities(wire).await?;
            for needed in ["USER", "UIDL"] {
                if !capabilities.iter().any(|capability| capability == needed) {
                    return Err(Fault::contradiction(format!("CAPA does not list {needed}")));
                }
            }
            pipelines = self.habit.pipelines && capabilities.iter().any(|name| name == "PIPELINING");
        }
        if !self.log_in(wire, pipelines).await? {
            poll.put_off = true;
            return quit(wire).await;
        }
        if self.habit.capabilities_after {
            ask_capabilities(wire).await?;
        }
        let listing = self.ask(wire, pipelines).await?;
        let fetched = self.fetch(wire, &listing, pipelines, ledger, poll).await?;
        if !self.deletes {
            return quit(wire).await;
        }
        self.delete(wire, &fetched).await?;
        quit(wire).await?;
        // Only now are they gone: without its +OK to QUIT the server keeps everything.
        for (_, unique_id) in fetched {
            self.left.remove(&unique_id);
            self.deleted.insert(unique_id);
        }
        Ok(())
    }

    /// Whether the login was accepted; if not, the maildrop is locked by the other client.
    async fn log_in(&self, wire: &mut Wire, pipelines: bool) -> Result<bool, Fault> {
        let user = format!("USER {}\r\n", self.account.user);
        let pass = format!("PASS {}\r\n", self.account.password);
        if pipelines {
            wire.send(&(user + &pass)).await?;
            wire.status("USER").await?.expect_positive("USER")?;
        } else {
            wire.send(&user).await?;
            wire.status("USER").await?.expect_positive("USER")?;
            wire.send(&pass).await?;
        }
        let answer = wire.status("PASS").await?;
        if self.shares && answer.is_temporary() {
            return Ok(false);
        }
        answer.expect_positive("PASS")?;
        Ok(true)
    }

    async fn ask(&self, wire: &mut Wire, pipelines: bool) -> Result<Listing, Fault> {
        let mut listing = Listing::default();
        if pipelines {
            let all: String = self.habit.questions.iter().map(|question| question.command()).collect();
            wire.send(&all).await?;
        }
        for question in self.habit.questions {
            if !pipelines {
                wire.send(question.command()).await?;
            }
            match question {
                Question::Stat => {
                    let totals = wire.status("STAT").await?.expect_positive("STAT")?;
                    listing.stat(&totals)?;
                }
                Question::List => {
                    wire.status("LIST").await?.expect_positive("LIST")?;
                    listing.list(&wire.lines("LIST").await?)?;
                }
                Question::Uidl => {
                    wire.status("UIDL").await?.expect_positive("UIDL")?;
                    listing.uidl(&wire.lines("UIDL").await?)?;
                }
            }
        }
        listing.check(&self.left, &self.deleted)?;
        Ok(listing)
    }

    /// Fetches what it has not, and tells which messages those were.
    async fn fetch(
        &mut self,
        wire: &mut Wire,
        listing: &Listing,
        pipelines: bool,
        ledger: &Mutex<Ledger>,
        poll: &mut Poll,
    ) -> Result<Vec<(u64, String)>, Fault> {
        let has = |id: &String| self.left.contains(id) || self.deleted.contains(id);
        let new: Vec<(u64, String)> =
            listing.unique_ids().iter().filter(|(_, id)| !has(id)).cloned().collect();
        if pipelines {
            let all: String = new.iter().map(|(number, _)| format!("RETR {number}\r\n")).collect();
            wire.send(&all).await?;
        }
        let mut fetched = Vec::new();
        for (number, unique_id) in new {
            let mut size = listing.size(number);
            if self.habit.sizes_one_by_one && !pipelines {
                size = Some(ask_size(wire, number).await?);
            }
            if !pipelines {
                wire.send(&format!("RETR {number}\r\n")).await?;
            }
            let answer = wire.status("RETR").await?;
            if self.shares && answer.is_temporary() {
                poll.put_off = true;
                continue;
            }
            answer.expect_positive("RETR")?;
            let message = joined(&wire.lines("RETR").await?);
            if let Some(size) = size
                && size != message.len() as u64
            {
                let octets = message.len();
                return Err(Fault::contradiction(format!("LIST tells {size} octets, RETR brought {octets}")));
            }
            ledger.lock().fetched(&message, &self.account.user, self.number).map_err(Fault::Contradiction)?;
            poll.fetched += 1;
            self.left.insert(unique_id.clone());
            fetched.push((number, unique_id));
        }
        Ok(fetched)
    }

    async fn delete(&self, wire: &mut Wire, messages: &[(u64, String)]) -> Result<(), Fault> {
        for (number, _) in messages {
            wire.send(&format!("DELE {number}\r\n")).await?;
            wire.status("DELE").await?.expect_positive("DELE")?;
        }
        Ok(())
    }
}

impl Question {
    fn command(self) -> &'static str {
        match self {
            Self::Stat => "STAT\r\n",
            Self::List => "LIST\r\n",
            Self::Uidl => "UIDL\r\n",
        }
    }
}

async fn ask_capabilities(wire: &mut Wire) -> Result<Vec<String>, Fault> {
    wire.send("CAPA\r\n").await?;
    wire.status("CAPA").await?.expect_positive("CAPA")?;
    let lines = wire.lines("CAPA").await?;
    Ok(lines.iter().map(|line| String::from_utf8_lossy(line).to_ascii_uppercase()).collect())
}

async fn ask_size(wire: &mut Wire, message: u64) -> Result<u64, Fault> {
    wire.send(&format!("LIST {message}\r\n")).await?;
    let text = wire.status("LIST").await?.expect_positive("LIST")?;
    let mut words = text.split(' ').map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(number)), Some(Ok(size))) if number == message => Ok(size),
        _ => Err(Fault::contradiction(format!("LIST {message} was answered with {text:?}"))),
    }
}

async fn quit(wire: &mut Wire) -> Result<(), Fault> {
    wire.send("QUIT\r\n").await?;
    wire.status("QUIT").await?.expect_positive("QUIT")?;
    if !wire.is_closed().await? {
        return Err(Fault::contradiction("there was more after the answer to QUIT"));
    }
    Ok(())
}

fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
    for line in lines {
        octets.extend_from_slice(line);
        octets.extend_from_slice(b"\r\n");
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::letter::Letter;
    use reprieve_mailserver::{MailServer, Settings};

    fn server() -> MailServer {
        let server = MailServer::start(Settings { password_rounds: 2, ..Settings::default() }).unwrap();
        server.add_user("anna", "se cret");
        server
    }

    fn account() -> Account {
        Account { user: "anna".to_owned(), password: "se cret".to_owned() }
    }

    fn send(server: &MailServer, ledger: &Mutex<Ledger>) {
        let letter = Letter::write("anna");
        ledger.lock().sent(&letter, "anna");
        server.deliver("anna", &letter.octets).unwrap();
    }

    #[tokio::test]
    async fn every_habit_fetches_each_message_once() {
        let server = server();
        let ledger = Mutex::new(Ledger::default());
        for number in 0..HABITS.len() {
            ledger.lock().client("anna", number);
            let mut client = Client::new(number, account(), false, false);
            for _ in 0..3 {
                send(&server, &ledger);
                let poll = client.poll(server.address(), &ledger).await;
                assert_eq!(poll.fault, None, "{}", client.program());
                assert!(poll.fetched > 0, "{}", client.program());
                let poll = client.poll(server.address(), &ledger).await;
                assert_eq!((poll.fetched, poll.fault), (0, None), "{}", client.program());
            }
        }
        let mut late = Client::new(0, account(), false, false);
        late.poll(server.address(), &ledger).await;
        assert_eq!(ledger.lock().tally().doubled, 3, "who forgets what it has, fetches it again");
    }

    #[tokio::test]
    async fn what_a_client_deletes_is_gone_and_not_missed() {
        let server = server();
        let ledger = Mutex::new(Ledger::default());
        ledger.lock().client("anna", 1);
        let mut client = Client::new(1, account(), true, false);
        for _ in 0..2 {
            send(&server, &ledger);
            send(&server, &ledger);
            let poll = client.poll(server.address(), &ledger).await;
            assert_eq!((poll.fetched, poll.fault), (2, None));
            assert!(server.messages("anna").is_empty());
        }
        assert_eq!(ledger.lock().tally().missing(), 0);
    }

    #[tokio::test]
    async fn a_maildrop_that_somebody_else_emptied_is_a_fault() {
        let server = server();
        let ledger = Mutex::new(Ledger::default());
        send(&server, &ledger);
        let mut keeps = Client::new(0, account(), false, false);
        assert_eq!(keeps.poll(server.address(), &ledger).await.fault, None);
        Client::new(1, account(), true, false).poll(server.address(), &ledger).await;
        let fault = keeps.poll(server.address(), &ledger).await.fault.unwrap();
        assert!(fault.contains("gone"), "{fault}");
    }

    #[tokio::test]
    async fn a_wrong_password_must_be_refused() {
        let server = server();
        let client = Client::new(0, account(), false, false);
        assert_eq!(client.mistype(server.address()).await, Ok(()));
        server.add_user("anna", "se cretx");
        assert!(client.mistype(server.address()).await.unwrap_err().contains("accepted"));
    }
}
