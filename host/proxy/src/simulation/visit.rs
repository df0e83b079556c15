//! One connection of a client: what it sends, and whether the replies are right.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::time::timeout;
use base64::Engine as _;

use super::lines::Lines;
use super::oracle::Scope;
use super::random::Random;
use super::site::{Process, Site};
use super::world::World;

/// How long a client waits for a reply: longer than any time limit of the proxy.
const PATIENCE: Duration = Duration::from_secs(900);

/// Why a visit is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The connection ended or broke.
    Lost,
    /// The client has closed it.
    Left,
}

/// The answer to a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoggedIn {
    Yes,
    /// The mail server says that the password is wrong.
    WrongPassword,
    /// Not now.
    Later,
}

pub(super) struct Visit {
    world: Arc<World>,
    process: Arc<Process>,
    pub peer: SocketAddr,
    user: usize,
    lines: Lines,
    random: Random,
    /// Whether the proxies had their stores back when the visit began, as when all is checked in calm.
    pub is_calm: bool,
    /// When the password was sent.
    then: u64,
    /// Failures of the proxy's store when the visit began.
    store_failures: u64,
    /// Unique-ids of the maildrop by number, once they are listed.
    ids: Option<Vec<String>>,
    /// Numbers of messages whose DELE was confirmed.
    deleted: BTreeSet<usize>,
    /// Whether the last complete listing had everything, for calm times.
    pub shown: Option<Vec<String>>,
}

impl Visit {
    /// Connects, and reads the greeting. None if the connection is refused.
    pub async fn begin(site: &Arc<Site>, proxy: usize, user: usize, random: Random) -> Option<Self> {
        let world = site.world.clone();
        let (endpoint, process, peer) = site.connect(proxy, &random);
        let mut visit = Self {
            store_failures: process.store_failures(),
            process,
            peer,
            user,
            lines: Lines::new(endpoint),
            random,
            is_calm: false,
            then: 0,
            ids: None,
            deleted: BTreeSet::new(),
            shown: None,
            world,
        };
        let greeting = visit.line().await.ok()?;
        if !greeting.starts_with("+OK") {
            if !greeting.starts_with("-ERR [SYS/TEMP]") {
                visit.violated(&format!("the greeting is {greeting:?}"));
            }
            return None;
        }
        Some(visit)
    }

    fn violated(&self, what: &str) {
        self.world.violated(&format!("client {} of user{}: {what}", self.peer.port(), self.user));
    }

    async fn line(&mut self) -> Result<String, Over> {
        match timeout(PATIENCE, self.lines.next()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(_) => Err(Over::Lost),
            Err(_) => {
                self.violated("no reply within any time limit");
                Err(Over::Lost)
            }
        }
    }

    pub async fn send(&mut self, text: &str) -> Result<(), Over> {
        match timeout(PATIENCE, self.lines.send(text)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over::Lost),
            Err(_) => {
                self.violated("the proxy does not read");
                Err(Over::Lost)
            }
        }
    }

    /// The lines of a multi-line reply after its first.
    async fn rows(&mut self) -> Result<Vec<String>, Over> {
        let mut rows = Vec::new();
        loop {
            match self.line().await? {
                end if end == "." => return Ok(rows),
                row => rows.push(row),
            }
        }
    }

    /// Where what this client sees is known.
    fn scope(&self) -> Scope {
        if self.process.is_superseded() && !self.process.shares() {
            Scope::Nowhere
        } else if self.process.store_failures() != self.store_failures {
            Scope::Proxy(self.process.number)
        } else {
            Scope::Everywhere
        }
    }

    pub async fn capabilities(&mut self) -> Result<(), Over> {
        self.send("CAPA\r\n").await?;
        if !self.line().await?.starts_with("+OK") {
            self.violated("CAPA is refused");
            return Ok(());
        }
        let rows = self.rows().await?;
        if !rows.iter().any(|row| row == "UIDL") {
            self.violated(&format!("CAPA lists no UIDL: {rows:?}"));
        }
        Ok(())
    }

    /// Logs in, and sends `more` commands together with the password.
    pub async fn log_in(&mut self, name: &str, password: &str, more: &str) -> Result<LoggedIn, Over> {
        let by_plain = self.random.chance(250);
        if by_plain {
            let message = format!("\0{name}\0{password}");
            let message = base64::engine::general_purpose::STANDARD.encode(message);
            self.then = self.world.oracle.lock().now();
            self.send(&format!("AUTH PLAIN {message}\r\n{more}")).await?;
        } else {
            let is_pipelined = self.random.coin();
            if !is_pipelined {
                self.send(&format!("USER {name}\r\n")).await?;
                self.line().await?;
            }
            self.then = self.world.oracle.lock().now();
            let user = if is_pipelined { format!("USER {name}\r\n") } else { String::new() };
            self.send(&format!("{user}PASS {password}\r\n{more}")).await?;
            if is_pipelined {
                self.line().await?;
            }
        }
        let reply = self.line().await?;
        Ok(self.check_login(name, password, &reply))
    }

    fn check_login(&mut self, name: &str, password: &str, reply: &str) -> LoggedIn {
        let (is_right, changed) = {
            let mail = self.world.mail.lock();
            (mail.mailboxes[self.user].password == password, mail.mailboxes[self.user].changed)
        };
        self.world.note(&format_args!("client {} {name} {password}: {reply}", self.peer.port()));
        if reply.starts_with("+OK") {
            let may_be_known = self.world.oracle.lock().may_be_known(self.user, password, self.then);
            if !is_right && !may_be_known {
                self.violated(&format!("logged in with {password:?}, which no mail server accepts"));
            }
            return LoggedIn::Yes;
        }
        if !reply.starts_with("-ERR") {
            self.violated(&format!("the reply to the login is {reply:?}"));
        }
        if !reply.starts_with("-ERR [AUTH]") {
            return LoggedIn::Later;
        }
        // Without a verdict, the first login of a user with a route of their own goes astray, also while
        // the policy's store is not connected again.
        let may_go_astray = self.world.plan.is_routed(self.user) && !self.is_calm;
        if is_right && changed < self.then && !may_go_astray {
            self.violated("the right password is said to be wrong");
        }
        // A server that has no such mailbox says nothing about its password.
        if self.scope() == Scope::Everywhere && !may_go_astray {
            self.world.oracle.lock().rejected(self.user, password);
        }
        LoggedIn::WrongPassword
    }

    /// UIDL, and the comparison with what the client is owed.
    pub async fn list_ids(&mut self) -> Result<(), Over> {
        self.send("UIDL\r\n").await?;
        self.read_ids().await
    }

    pub async fn read_ids(&mut self) -> Result<(), Over> {
        let status = self.line().await?;
        if !status.starts_with("+OK") {
            self.check_error("UIDL", &status, None);
            return Ok(());
        }
        let rows = self.rows().await?;
        let mut ids = Vec::new();
        let mut numbers = BTreeSet::<usize>::new();
        for row in &rows {
            let Some((number, id)) =
                row.split_once(' ').and_then(|(n, id)| Some((n.parse::<usize>().ok()?, id)))
            else {
                self.violated(&format!("a row of UIDL is {row:?}"));
                return Ok(());
            };
            numbers.insert(number);
            ids.push(id.to_owned());
        }
        if self.deleted.is_empty() {
            if !numbers.iter().copied().eq(1..=rows.len()) {
                self.violated(&format!("the numbers of UIDL are {numbers:?}"));
            }
            if self.ids.as_ref().is_some_and(|before| *before != ids) {
                self.violated(&format!("UIDL is {ids:?} after {:?}", self.ids));
            }
            self.take_listing(ids);
        } else if let Some(before) = &self.ids {
            let left = before.iter().enumerate().filter(|(at, _)| !self.deleted.contains(&(at + 1)));
            if !left.map(|(_, id)| id).eq(ids.iter()) {
                self.violated(&format!("UIDL is {ids:?} of {before:?} without {:?}", self.deleted));
            }
        }
        Ok(())
    }

    fn take_listing(&mut self, ids: Vec<String>) {
        let scope = self.scope();
        self.world.note(&format_args!("client {} is shown {ids:?}", self.peer.port()));
        let mut oracle = self.world.oracle.lock();
        if self.ids.is_none() {
            let complaint = oracle.compare(self.user, self.process.number, self.then, &ids);
            oracle.complain(self.peer, complaint);
        }
        for id in &ids {
            oracle.shown(id, scope);
        }
        drop(oracle);
        self.shown = Some(ids.clone());
        self.ids = Some(ids);
    }

    /// STAT, compared with the listing if that is known.
    pub async fn read_stat(&mut self) -> Result<(), Over> {
        let status = self.line().await?;
        let Some(count) = status.strip_prefix("+OK ").and_then(|rest| rest.split(' ').next()) else {
            self.check_error("STAT", &status, None);
            return Ok(());
        };
        if let Some(ids) = &self.ids
            && count.parse::<usize>().ok() != Some(ids.len() - self.deleted.len())
        {
            self.violated(&format!("STAT is {status:?} of {ids:?} without {:?}", self.deleted));
        }
        Ok(())
    }

    /// LIST, whose rows must be those of UIDL.
    pub async fn read_sizes(&mut self) -> Result<(), Over> {
        let status = self.line().await?;
        if !status.starts_with("+OK") {
            self.check_error("LIST", &status, None);
            return Ok(());
        }
        let rows = self.rows().await?;
        if let Some(ids) = &self.ids
            && rows.len() != ids.len() - self.deleted.len()
        {
            self.violated(&format!("LIST has {} rows for {ids:?} without {:?}", rows.len(), self.deleted));
        }
        Ok(())
    }

    /// The reply to RETR or TOP, which must have the right message.
    pub async fn read_message(&mut self, number: usize) -> Result<(), Over> {
        let status = self.line().await?;
        let id = self.ids.as_ref().and_then(|ids| ids.get(number - 1)).cloned();
        if !status.starts_with("+OK") {
            self.check_error("RETR", &status, id.as_deref());
            return Ok(());
        }
        let rows = self.rows().await?;
        let shown = rows.first().and_then(|row| row.strip_prefix("X-Id: "));
        if let Some(id) = &id
            && shown != Some(id)
        {
            self.violated(&format!("message {number} is {shown:?} instead of {id}"));
        }
        Ok(())
    }

    pub async fn read_deletion(&mut self, number: usize) -> Result<(), Over> {
        let status = self.line().await?;
        if status.starts_with("+OK") {
            self.deleted.insert(number);
        } else {
            let id = self.ids.as_ref().and_then(|ids| ids.get(number - 1)).cloned();
            self.check_error("DELE", &status, id.as_deref());
        }
        Ok(())
    }

    pub async fn reset(&mut self) -> Result<(), Over> {
        self.send("RSET\r\n").await?;
        if self.line().await?.starts_with("+OK") {
            self.deleted.clear();
        }
        Ok(())
    }

    pub async fn noop(&mut self) -> Result<(), Over> {
        self.send("NOOP\r\n").await?;
        self.line().await.map(drop)
    }

    /// An error must be a temporary one, or about a message that does not exist any more.
    fn check_error(&self, command: &str, status: &str, id: Option<&str>) {
        let is_gone = id.is_some_and(|id| !self.world.mail.lock().has(self.user, id));
        if !status.starts_with("-ERR [SYS/TEMP]") && !is_gone {
            self.violated(&format!("the reply to {command} is {status:?}"));
        }
    }

    fn deleted_ids(&self) -> Vec<String> {
        let ids = self.ids.as_deref().unwrap_or_default();
        self.deleted.iter().filter_map(|number| ids.get(number - 1).cloned()).collect()
    }

    /// QUIT, whose confirmation is one of the deletions.
    pub async fn quit(mut self) -> Result<Over, Over> {
        for id in self.deleted_ids() {
            self.world.oracle.lock().wants_deleted(&id);
        }
        self.send("QUIT\r\n").await?;
        self.read_goodbye().await
    }

    pub async fn read_goodbye(mut self) -> Result<Over, Over> {
        let status = self.line().await?;
        if !status.starts_with("+OK") {
            if !status.starts_with("-ERR") {
                self.violated(&format!("the reply to QUIT is {status:?}"));
            }
            return Ok(Over::Left);
        }
        let scope = self.scope();
        for id in self.deleted_ids() {
            let problem = self.world.oracle.lock().deletion_confirmed(&id, scope);
            if let Some(problem) = problem {
                self.violated(&problem);
            }
        }
        self.world.note(&format_args!(
            "client {} has quit, deleted {:?}",
            self.peer.port(),
            self.deleted_ids()
        ));
        Ok(Over::Left)
    }

    /// Leaves without QUIT.
    pub fn hang_up(mut self) {
        self.world.note(&format_args!("client {} hangs up", self.peer.port()));
        if self.random.coin() {
            self.lines.break_off();
        }
    }

    pub async fn half_close(&mut self) {
        self.lines.half_close().await;
    }

    pub fn ids(&self) -> &[String] {
        self.ids.as_deref().unwrap_or_default()
    }
}
