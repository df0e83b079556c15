//! Many clients of the same users at the same time, in front of a slow mail server: what each of
//! them is shown follows the rules of posing.
//!
//! ```sh
//! cargo test --test concurrency histories
//! REPRIEVE_LOGINS=100000 cargo test --test concurrency snapshots -- --nocapture
//! REPRIEVE_SEED=7 cargo test --test concurrency histories
//! ```
//!
//! `REPRIEVE_LOGINS` is the number of logins of each of the three set-ups. A seed repeats what
//! clients do and the mail server's delays, but not the interleaving of threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::history::checker::violations;
use crate::history::client::Client;
use crate::history::mail_server::{Behavior, LoginReply, MailServer, Moment, ServerSession};
use crate::history::proxies::{INTERVAL, Proxies, Share};
use crate::history::record::{History, Login, Outage, Session, What};
use crate::support::account::PASSWORD;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Users that are there at the same time. Those of each round are new.
const USERS: usize = 12;
/// Clients of each of them.
const CLIENTS: usize = 3;
/// Logins of each client in a round; more while something happens to the store.
const LOGINS: usize = 10;
/// Logins of each set-up, if nobody asks for more.
const FEW_LOGINS: u64 = 2_500;
/// The longest that the mail server waits.
const LONGEST_DELAY_MS: u64 = 10;
/// So far the clock goes at each login, at most: of three or four polls of a user one passes.
const STEP_MS: u64 = 600_000 / 60;

/// Delays and ways to open a maildrop, as chance has them.
pub struct Chance {
    /// What repeats it.
    pub seed: u64,
}

impl Chance {
    fn of(&self, session: &ServerSession) -> StdRng {
        StdRng::seed_from_u64(self.seed ^ session.number << 20 ^ session.moments << 50)
    }
}

impl Behavior for Chance {
    fn check_password(&self, session: &ServerSession, password: &str) -> LoginReply {
        match password == PASSWORD {
            false => LoginReply::Refuse("-ERR [AUTH] wrong\r\n"),
            true if self.of(session).random_bool(0.5) => LoginReply::OpenThenAccept,
            true => LoginReply::AcceptThenOpen,
        }
    }

    fn wait(&self, session: &ServerSession, _moment: Moment) {
        let mut chance = self.of(session);
        if chance.random_bool(0.6) {
            std::thread::sleep(Duration::from_micros(chance.random_range(0..=LONGEST_DELAY_MS * 1000)));
        }
    }
}

/// What happened, for the figures.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    pub logins: u64,
    pub passed: u64,
    pub posed: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub upgrades: u64,
    pub deletions: u64,
    pub without_quit: u64,
}

impl Figures {
    /// Adds the sessions of a history.
    pub fn add(&mut self, history: &History) {
        for session in &history.sessions {
            self.logins += 1;
            match session.login {
                Login::Unanswered => self.unanswered += 1,
                Login::Refused => self.refused += 1,
                Login::Posed => self.posed += 1,
                Login::Passed(_) => self.passed += 1,
            }
            let has = |wanted: fn(&What) -> bool| session.events.iter().any(|event| wanted(&event.what));
            let upgrades = session.login == Login::Posed
                && has(|what| matches!(what, What::Retrieved(..) | What::Deleted(_)));
            self.upgrades += u64::from(upgrades);
            match session.quit_answered() {
                Some(at) => self.deletions += session.marked(at).len() as u64,
                None => self.without_quit += 1,
            }
        }
    }
}

/// How clients log in one time after the other.
#[derive(Clone, Copy)]
pub struct Pace {
    /// The longest that a client pauses between two logins: enough for some to be alone.
    pub longest_pause_ms: u64,
    /// Logins of each client after something has happened to the store.
    pub logins_after: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { longest_pause_ms: 120, logins_after: 0 }
    }
}

/// Everything that the clients of a round share.
pub struct Round<'a> {
    /// Where it takes place.
    pub site: &'a Site,
    /// Different for each round of a site.
    pub number: u64,
    /// How its clients log in.
    pub pace: Pace,
}

/// Proxies in front of a mail server.
pub struct Site {
    /// The proxies; they end before the mail server.
    pub proxies: Proxies,
    /// The mail server.
    pub server: MailServer<Chance>,
    seed: u64,
    /// Whether something happens to the store.
    disturbed: AtomicBool,
    /// Whether some users' clients pause.
    hold: (Mutex<bool>, Condvar),
    wrongly_refused: AtomicU64,
}

impl Site {
    /// Where nothing has happened yet.
    pub fn new(proxies: Proxies, server: MailServer<Chance>, seed: u64) -> Self {
        let (disturbed, wrongly_refused) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { proxies, server, seed, disturbed, hold: Default::default(), wrongly_refused }
    }

    /// Has the clients of most users pause from their next login on, or go on.
    pub fn hold(&self, hold: bool) {
        *self.hold.0.lock().expect("no client has panicked") = hold;
        self.hold.1.notify_all();
    }

    fn wait_while_held(&self, user: usize) {
        if !user.is_multiple_of(3) {
            let held = self.hold.0.lock().expect("no client has panicked");
            drop(self.hold.1.wait_while(held, |held| *held));
        }
    }

    /// Logins with the right password that were refused.
    pub fn wrongly_refused(&self) -> u64 {
        self.wrongly_refused.load(Ordering::SeqCst)
    }
}

impl Round<'_> {
    fn user(&self, user: usize) -> String {
        format!("r{}u{user}", self.number)
    }

    fn chance(&self, user: usize, client: usize) -> StdRng {
        let place = (self.number * USERS as u64 + user as u64) * 100 + client as u64;
        StdRng::seed_from_u64(self.site.seed.wrapping_mul(1_000_003) ^ place)
    }

    fn begin(&self, proxy: usize, user: &str, password: &str) -> Client {
        Client::begin(&self.site.proxies, self.site.server.sequence(), proxy, user, password)
    }

    /// All that one client does.
    fn client(&self, user: usize, client: usize) -> Vec<Session> {
        let mut chance = self.chance(user, client);
        // Clients of every second user take their leave: of them it is known when all is over.
        let hangs_up = user % 2 == 1;
        let (place, user) = (user, self.user(user));
        let mut last = LOGINS;
        let goes_on = |&login: &usize| {
            if self.site.disturbed.load(Ordering::SeqCst) {
                last = LOGINS.max(login + 1 + self.pace.logins_after);
            }
            login < last
        };
        let sessions = (0..).take_while(goes_on).map(|_| {
            if chance.random_bool(0.7) {
                let pause_ms = chance.random_range(0..=self.pace.longest_pause_ms);
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
            self.site.wait_while_held(place);
            if chance.random_bool(0.3) {
                self.site.server.deliver(&user);
            }
            if chance.random_bool(0.03) {
                self.site.server.expunge(&user);
            }
            self.site.proxies.clock().advance(Duration::from_millis(chance.random_range(0..=STEP_MS)));
            self.session(&user, hangs_up, &mut chance)
        });
        sessions.collect()
    }

    fn session(&self, user: &str, hangs_up: bool, chance: &mut StdRng) -> Session {
        let proxy = chance.random_range(0..self.site.proxies.count());
        let password = if chance.random_bool(0.04) { "wrong" } else { PASSWORD };
        let mut client = self.begin(proxy, user, password);
        if hangs_up && chance.random_bool(0.06) {
            return client.hang_up();
        }
        if client.answered() == Login::Refused {
            if password == PASSWORD {
                self.site.wrongly_refused.fetch_add(1, Ordering::SeqCst);
            }
            return client.hang_up();
        }
        look(&mut client, chance);
        match chance.random_range(0..100) {
            0..25 if hangs_up => client.hang_up(),
            25..35 if hangs_up => client.quit_and_hang_up(),
            _ => client.quit(),
        }
    }

    /// When everybody has gone: a login that passes, and one that is shown exactly what it left.
    fn epilogue(&self, user: usize) -> Vec<Session> {
        let mut chance = self.chance(user, CLIENTS);
        let proxy = chance.random_range(0..self.site.proxies.count());
        let mut passing = self.begin(proxy, &self.user(user), PASSWORD);
        passing.answered();
        look(&mut passing, &mut chance);
        let passed = passing.quit();
        let mut denied = self.begin(proxy, &self.user(user), PASSWORD);
        denied.answered();
        denied.stat();
        denied.list();
        denied.unique_ids();
        vec![passed, denied.quit()]
    }

    /// A round: what the clients of each user saw. `meanwhile`: what happens to the store.
    pub fn play(&self, meanwhile: impl FnOnce() -> Vec<Outage>) -> Vec<History> {
        for user in 0..USERS {
            (0..3).for_each(|_| _ = self.site.server.deliver(&self.user(user)));
        }
        let mut outages = Vec::new();
        self.site.disturbed.store(true, Ordering::SeqCst);
        let mut sessions = std::thread::scope(|scope| {
            let client = |place| scope.spawn(move || self.client(place / CLIENTS, place % CLIENTS));
            let clients: Vec<_> = (0..USERS * CLIENTS).map(client).collect();
            outages = meanwhile();
            self.site.disturbed.store(false, Ordering::SeqCst);
            let mut sessions = vec![Vec::new(); USERS];
            for (place, client) in clients.into_iter().enumerate() {
                let seen =
                    client.join().unwrap_or_else(|_| panic!("a client failed, seed {}", self.site.seed));
                sessions[place / CLIENTS].extend(seen);
            }
            sessions
        });
        self.site.proxies.wait_for_open(0);
        self.site.server.idle();
        let settled = self.site.server.sequence().next();
        self.site.proxies.clock().advance(INTERVAL);
        std::thread::scope(|scope| {
            let last: Vec<_> = (0..USERS).map(|user| scope.spawn(move || self.epilogue(user))).collect();
            for (sessions, last) in sessions.iter_mut().zip(last) {
                sessions.extend(last.join().expect("the last two logins"));
            }
        });
        let histories = sessions.into_iter().enumerate().map(|(user, mut sessions)| {
            sessions.sort_by_key(|session| session.start);
            let user = self.user(user);
            History {
                maildrop: self.site.server.maildrop(&user),
                user,
                sessions,
                interval_ms: u64::try_from(INTERVAL.as_millis()).unwrap(),
                settled,
                shares_snapshots: self.site.proxies.share() != Share::Tags,
                outages: outages.clone(),
            }
        });
        histories.collect()
    }
}

/// A client looks at its maildrop, and does this and that.
fn look(client: &mut Client, chance: &mut StdRng) {
    let (stat, list, ids) = (chance.random_bool(0.4), chance.random_bool(0.4), chance.random_bool(0.85));
    if chance.random_bool(0.1) {
        client.nothing();
    }
    if stat {
        client.stat();
    }
    if list {
        client.list();
    }
    if !ids {
        return;
    }
    let count = client.unique_ids().len();
    if count == 0 {
        return;
    }
    if chance.random_bool(0.15) {
        client.retrieve(chance.random_range(1..=count));
    }
    if chance.random_bool(0.2) {
        client.delete(chance.random_range(1..=count));
    }
    if chance.random_bool(0.05) {
        client.reset();
    }
    if chance.random_bool(0.1) {
        client.unique_ids();
    }
}

/// A number from the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Rounds until there were enough logins.
fn every_history_keeps_the_rules(share: Share) {
    let (logins, seed) = (number("REPRIEVE_LOGINS", FEW_LOGINS), number("REPRIEVE_SEED", 1));
    let server = MailServer::start(Chance { seed });
    let proxies = Proxies::start(share, server.address());
    let site = Site::new(proxies, server, seed);
    let (mut figures, mut broken, mut first) = (Figures::default(), Vec::new(), None);
    let began = Instant::now();
    for number in 0.. {
        if figures.logins >= logins {
            break;
        }
        for history in (Round { site: &site, number, pace: Pace::default() }).play(Vec::new) {
            figures.add(&history);
            let violations = violations(&history);
            if !violations.is_empty() {
                first.get_or_insert_with(|| format!("{history}\n{violations:#?}"));
                broken.extend(violations.iter().map(|violation| violation.rule));
            }
        }
    }
    let Figures { logins, passed, posed, refused, unanswered, upgrades, deletions, without_quit } = figures;
    println!(
        "{share:?}, seed {seed}: {logins} logins in {:.0?}: {passed} passed, {posed} posed, {upgrades} of them upgraded, \
         {refused} refused, {unanswered} left before the answer, {without_quit} without an answer to QUIT, \
         {deletions} deletions; {} violations",
        began.elapsed(),
        broken.len(),
    );
    assert!(
        broken.is_empty(),
        "{share:?}, seed {seed}, {} violations in {logins} logins: {broken:?}\n{}",
        broken.len(),
        first.unwrap_or_default(),
    );
    assert_eq!(site.wrongly_refused(), 0, "a right password was refused");
    // There was something of everything.
    for (what, count) in [("passed", passed), ("posed", posed), ("without QUIT", without_quit)] {
        assert!(count * 20 > logins, "{what}: {count} of {logins}");
    }
    for (what, count) in [("upgrades", upgrades), ("deletions", deletions), ("refused", refused)] {
        assert!(count * 100 > logins, "{what}: {count} of {logins}");
    }
}

#[test]
fn one_proxy_in_memory() {
    every_history_keeps_the_rules(Share::Alone);
}

#[test]
fn two_proxies_that_share_snapshots() {
    every_history_keeps_the_rules(Share::Snapshots);
}

#[test]
fn two_proxies_that_share_tags() {
    every_history_keeps_the_rules(Share::Tags);
}
