//! A mail program that polls: what it does in each session is drawn at random.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::random::Random;
use super::site::Site;
use super::visit::{LoggedIn, Over, Visit};
use super::world::{World, pause};

pub(super) struct Client {
    world: Arc<World>,
    site: Arc<Site>,
    user: usize,
    random: Random,
    /// Unique-ids of messages that it has fetched.
    fetched: BTreeSet<String>,
    deletes: bool,
}

impl Client {
    pub fn new(site: &Arc<Site>, user: usize) -> Self {
        let world = site.world.clone();
        let mut random = world.fork();
        let deletes = random.coin();
        Self { site: site.clone(), user, random, fetched: BTreeSet::new(), deletes, world }
    }

    /// Polls until all is calm.
    pub async fn run(mut self) {
        while !self.world.is_calm() {
            pause(self.random.up_to(self.world.plan.most_pause_s * 1000)).await;
            let _ = self.poll().await;
        }
    }

    fn name(&mut self) -> String {
        let name = format!("user{}", self.user);
        if self.world.plan.folds_case && self.random.coin() { name.to_uppercase() } else { name }
    }

    fn password(&mut self) -> String {
        let wrong = self.random.up_to(99);
        let mail = self.world.mail.lock();
        let mailbox = &mail.mailboxes[self.user];
        match wrong {
            0..6 => "guess".to_owned(),
            6..9 => mailbox.former.clone(),
            _ => mailbox.password.clone(),
        }
    }

    fn hangs_up(&mut self) -> bool {
        self.world.has_accident(&mut self.random, self.world.plan.accidents.hang_ups)
    }

    async fn poll(&mut self) -> Result<Over, Over> {
        let proxy = self.random.at(self.world.plan.proxies);
        let random = self.random.fork();
        let Some(mut visit) = Visit::begin(&self.site, proxy, self.user, random).await else {
            return Err(Over::Lost);
        };
        if self.hangs_up() {
            visit.hang_up();
            return Ok(Over::Left);
        }
        if self.random.chance(200) {
            visit.capabilities().await?;
        }
        if self.random.chance(60) {
            // Long enough for another process to take over.
            pause(self.random.up_to(60_000)).await;
        }
        if self.random.chance(250) {
            return self.poll_at_once(visit).await;
        }
        for _ in 0..2 {
            let (name, password) = (self.name(), self.password());
            if visit.log_in(&name, &password, "").await? == LoggedIn::Yes {
                return self.use_maildrop(visit).await;
            }
            if self.hangs_up() {
                visit.hang_up();
                return Ok(Over::Left);
            }
        }
        visit.quit().await
    }

    /// All commands with the password, as some scripts do.
    async fn poll_at_once(&mut self, mut visit: Visit) -> Result<Over, Over> {
        let (name, password) = (self.name(), self.password());
        if visit.log_in(&name, &password, "STAT\r\nUIDL\r\nQUIT\r\n").await? != LoggedIn::Yes {
            return Ok(Over::Left);
        }
        if self.random.chance(300) {
            visit.half_close().await;
        }
        visit.read_stat().await?;
        visit.read_ids().await?;
        visit.read_goodbye().await
    }

    async fn use_maildrop(&mut self, mut visit: Visit) -> Result<Over, Over> {
        if self.random.coin() {
            visit.send("STAT\r\n").await?;
            visit.read_stat().await?;
        }
        if self.hangs_up() {
            visit.hang_up();
            return Ok(Over::Left);
        }
        if self.random.chance(300) {
            visit.send("LIST\r\nUIDL\r\n").await?;
            visit.read_sizes().await?;
            visit.read_ids().await?;
        } else if self.random.chance(900) {
            visit.list_ids().await?;
        }
        if self.random.chance(100) {
            pause(self.random.up_to(30_000)).await;
        }
        if self.random.chance(600) {
            self.fetch(&mut visit).await?;
        }
        if self.random.chance(100) {
            visit.noop().await?;
        }
        if self.random.chance(50) {
            visit.reset().await?;
        }
        if self.random.chance(100) {
            visit.list_ids().await?;
        }
        if self.hangs_up() || self.random.chance(80) {
            visit.hang_up();
            return Ok(Over::Left);
        }
        visit.quit().await
    }

    /// Fetches new messages, and deletes what it has fetched if it is that kind of client.
    async fn fetch(&mut self, visit: &mut Visit) -> Result<(), Over> {
        let ids = visit.ids().to_vec();
        let is_old = |id: &String| self.fetched.contains(id);
        let new: Vec<usize> = (0..ids.len()).filter(|at| !is_old(&ids[*at])).map(|at| at + 1).collect();
        let again = (!ids.is_empty() && self.random.chance(150)).then(|| 1 + self.random.at(ids.len()));
        let wanted: Vec<usize> = new.into_iter().chain(again).collect();
        let mut commands = String::new();
        let batch = if self.random.coin() { wanted.len() } else { 1 };
        for numbers in wanted.chunks(batch.max(1)) {
            commands.clear();
            for number in numbers {
                let _ = if self.random.chance(200) {
                    write!(commands, "TOP {number} 0\r\n")
                } else {
                    write!(commands, "RETR {number}\r\n")
                };
            }
            visit.send(&commands).await?;
            for number in numbers {
                visit.read_message(*number).await?;
                self.fetched.insert(ids[number - 1].clone());
            }
        }
        if self.deletes && self.random.chance(700) {
            let numbers: Vec<usize> = (1..=ids.len()).filter(|_| self.random.chance(600)).collect();
            for number in numbers {
                visit.send(&format!("DELE {number}\r\n")).await?;
                visit.read_deletion(number).await?;
            }
        }
        Ok(())
    }
}
