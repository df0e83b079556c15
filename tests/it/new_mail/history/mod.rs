//! Many users with several clients each, deliveries and signals, interleaved at random, with accidents.

mod checker;
pub mod dovecot;
pub mod listing;
pub mod sessions;
mod site;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

pub use checker::{Checker, quantiles};
pub use site::{Proxies, SiteSettings};

use crate::support::account::{Account, PASSWORD, Security};
use crate::support::until;

pub const CLIENTS_PER_USER: usize = 3;

/// A mail program, or something like it.
pub trait Program: Send {
    /// Checks the account once. Returns the ids of all messages that it has now; None if the poll failed
    /// because a server was away.
    fn poll(&mut self, account: &Account) -> Option<Vec<String>>;

    /// Its name, for people.
    fn name(&self) -> &'static str;
}

/// How much happens.
#[derive(Clone, Copy)]
pub struct Scale {
    pub users: usize,
    pub deliveries: usize,
}

impl Scale {
    /// 20 users and `DELIVERIES` messages if that is set, and this otherwise.
    pub fn usually(users: usize, deliveries: usize) -> Self {
        match std::env::var("DELIVERIES") {
            Ok(number) => Self { users: 20, deliveries: number.parse().expect("DELIVERIES is a number") },
            Err(_) => Self { users, deliveries },
        }
    }

    /// The names of the users.
    pub fn names(self) -> Vec<String> {
        (0..self.users).map(name).collect()
    }
}

/// How fast things happen.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Longest pause of a client between two polls.
    pub poll: Duration,
    /// Longest pause between two deliveries.
    pub delivery: Duration,
}

/// A history: what happened, and what was seen of it.
pub struct History {
    pub proxies: Proxies,
    pub checker: Checker,
    scale: Scale,
    pace: Pace,
    is_over: AtomicBool,
    /// When that was, in milliseconds since 1970.
    pub over_ms: AtomicU64,
    pub polls: AtomicU64,
    /// Polls that found a message that no client had seen.
    pub fetches: AtomicU64,
    failed_polls: AtomicU64,
}

/// The name of a user.
pub fn name(user: usize) -> String {
    format!("user{user}")
}

impl History {
    pub fn new(settings: SiteSettings, scale: Scale, pace: Pace) -> Self {
        Self {
            proxies: Proxies::start(settings),
            checker: Checker::new(scale.users),
            scale,
            pace,
            is_over: AtomicBool::new(false),
            over_ms: AtomicU64::new(0),
            polls: AtomicU64::new(0),
            fetches: AtomicU64::new(0),
            failed_polls: AtomicU64::new(0),
        }
    }

    /// Lets all clients poll while messages arrive. `programs`: those of each user. `deliver` delivers a
    /// message to a user; `disturb` is called after each delivery. Returns the programs.
    pub fn run<P: Program>(
        &self,
        seed: u64,
        programs: Vec<Vec<P>>,
        deliver: impl Fn(&Self, usize, usize),
        disturb: impl Fn(&Self, usize),
    ) -> Vec<Vec<P>> {
        std::thread::scope(|scope| {
            let mut clients = Vec::new();
            for (user, programs) in programs.into_iter().enumerate() {
                let start = |(client, program): (usize, P)| {
                    let random = StdRng::seed_from_u64(seed + (user * 10 + client) as u64);
                    scope.spawn(move || self.poll_until_over(user, client, program, random))
                };
                clients.push(programs.into_iter().enumerate().map(start).collect::<Vec<_>>());
            }
            let mut random = StdRng::seed_from_u64(seed);
            for number in 0..self.scale.deliveries {
                deliver(self, random.random_range(0..self.scale.users), number);
                sleep(random.random_range(Duration::ZERO..self.pace.delivery));
                disturb(self, number);
            }
            sleep(self.pace.poll);
            self.is_over.store(true, Ordering::Relaxed);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
            self.over_ms.store(now.as_millis() as u64, Ordering::Relaxed);
            let joined = |client: std::thread::ScopedJoinHandle<'_, P>| client.join().expect("a client");
            clients.into_iter().map(|clients| clients.into_iter().map(joined).collect()).collect()
        })
    }

    fn poll_until_over<P: Program>(
        &self,
        user: usize,
        client: usize,
        mut program: P,
        mut random: StdRng,
    ) -> P {
        while !self.is_over.load(Ordering::Relaxed) {
            sleep(random.random_range(Duration::ZERO..self.pace.poll));
            self.poll(user, &mut program, self.proxies.of_client(user, client, &mut random));
        }
        program
    }

    fn poll(&self, user: usize, program: &mut impl Program, proxy: usize) {
        let began = Instant::now();
        let Some(account) = self.account(user, proxy) else { return };
        self.polls.fetch_add(1, Ordering::Relaxed);
        match program.poll(&account) {
            Some(ids) => {
                let is_new = self.checker.polled(user, began, &ids);
                self.fetches.fetch_add(u64::from(is_new), Ordering::Relaxed);
            }
            // The proxy was killed, or another session has the maildrop.
            None => _ = self.failed_polls.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// A user's account at a proxy; None while it is down.
    fn account(&self, user: usize, proxy: usize) -> Option<Account> {
        let server = self.proxies.pop3(proxy)?;
        Some(Account {
            server,
            user: name(user),
            password: PASSWORD.to_owned(),
            security: Security::Cleartext,
        })
    }

    /// After everything serves again, and all users' mail has been signalled once more: each client polls
    /// and has each message once.
    pub fn finish<P: Program>(&self, mut programs: Vec<Vec<P>>) {
        self.proxies.repair();
        self.proxies.signal_all(&self.scale.names());
        for (user, programs) in programs.iter_mut().enumerate() {
            for (client, program) in programs.iter_mut().enumerate() {
                let proxy = self.proxies.of_client(user, client, &mut StdRng::seed_from_u64(0));
                let account = self.account(user, proxy).expect("all proxies serve");
                let label = format!("{} of user {user}", program.name());
                let mut ids = None;
                until(&format!("{label} can poll"), || {
                    ids = program.poll(&account);
                    ids.is_some()
                });
                self.checker.ended(user, &label, &ids.unwrap_or_default());
            }
        }
    }

    /// Prints what happened.
    pub fn report(&self) {
        println!(
            "{} polls ({} failed), {} found new mail; until the first poll that showed a message: {}",
            self.polls.load(Ordering::Relaxed),
            self.failed_polls.load(Ordering::Relaxed),
            self.fetches.load(Ordering::Relaxed),
            quantiles(&self.checker.waits()),
        );
    }
}
