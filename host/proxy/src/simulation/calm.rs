//! What must hold when all accidents are over: users are relieved again, see their whole maildrops, and
//! nothing is left behind. Each user does by turns what clients do, one thing at a time.

use std::sync::Arc;

use super::accidents::{deliver, expunge, signal};
use super::oracle::EndedSession;
use super::policy::Order;
use super::random::Random;
use super::site::Site;
use super::visit::{LoggedIn, Over, Visit};
use super::world::{NodeHealth, World, pause};
use crate::new_mail::Missed;
use reprieve_policy_host::{Action, Freshness, OnUnreachable};

/// Time after which a node that was down is used again.
const RECOVERY_MS: u64 = 90_000;
/// Time after which a message that nobody has signalled is noticed, and more.
const UNSIGNALLED_MS: u64 = 12_000;
/// Time after which all proxies know of a gap, and more.
const GAP_MS: u64 = 2_500;

/// What is wrong.
type Checked = Result<(), String>;

/// A user's turn at a proxy.
pub(super) struct Calm {
    site: Arc<Site>,
    world: Arc<World>,
    user: usize,
    proxy: usize,
    random: Random,
}

/// Checks every user at every proxy.
pub(super) async fn check(site: &Arc<Site>) {
    for proxy in 0..site.world.plan.proxies {
        for user in 0..site.world.plan.users {
            let world = site.world.clone();
            let mut calm = Calm { site: site.clone(), user, proxy, random: world.fork(), world };
            if let Err(problem) = calm.check().await {
                site.world.violated(&format!("user{user} at proxy {proxy}: {problem}"));
            }
        }
    }
}

impl Calm {
    async fn check(&mut self) -> Checked {
        // Messages may have come or gone that nobody has told of.
        self.order(Order::Pass);
        self.poll().await?;
        self.is_relieved("after the accidents", 2).await?;
        self.sees_signalled_mail().await?;
        self.sees_mail_signalled_before_the_listing(false).await?;
        self.sees_mail_signalled_before_the_listing(true).await?;
        self.begins_when_it_sees_the_maildrop().await?;
        self.sees_mail_signalled_during_a_session().await?;
        self.sees_what_another_session_has_seen().await?;
        self.continues_at_the_mail_server().await?;
        self.keeps_what_is_not_deleted().await?;
        self.is_not_shown_what_another_session_deletes().await?;
        self.passes_after_a_failed_upgrade().await?;
        self.is_served_during_an_outage().await?;
        self.is_known_by_the_right_password().await?;
        self.is_not_known_by_a_former_password().await?;
        self.notices_missing_signals().await?;
        self.gets_a_slot_that_others_gave_up().await
    }

    fn order(&self, order: Order) {
        *self.site.policy.order.lock() = order;
    }

    fn name(&mut self) -> String {
        let name = format!("user{}", self.user);
        if self.world.plan.folds_case && self.random.coin() { name.to_uppercase() } else { name }
    }

    fn password(&self) -> String {
        self.world.mail.lock().mailboxes[self.user].password.clone()
    }

    fn letters(&self) -> Vec<String> {
        let mail = self.world.mail.lock();
        mail.mailboxes[self.user].letters.iter().map(|letter| letter.id.clone()).collect()
    }

    async fn visit(&mut self) -> Result<Visit, String> {
        let random = self.random.fork();
        let visit = Visit::begin(&self.site, self.proxy, self.user, random).await;
        let mut visit = visit.ok_or("no greeting".to_owned())?;
        visit.is_calm = true;
        Ok(visit)
    }

    /// A visit that is logged in with the right password.
    async fn logged_in(&mut self) -> Result<Visit, String> {
        let mut visit = self.visit().await?;
        let (name, password) = (self.name(), self.password());
        match visit.log_in(&name, &password, "").await {
            Ok(LoggedIn::Yes) => Ok(visit),
            other => Err(format!("the login ended with {other:?}")),
        }
    }

    /// The record of a session that is over.
    async fn ended(&self, peer: std::net::SocketAddr) -> Result<EndedSession, String> {
        for _ in 0..400 {
            if let Some(session) = self.world.oracle.lock().ended.get(&peer) {
                return Ok(session.clone());
            }
            pause(50).await;
        }
        Err("the session does not end".to_owned())
    }

    /// Logs in, lists, and quits.
    async fn poll(&mut self) -> Result<(EndedSession, Vec<String>), String> {
        let mut visit = self.logged_in().await?;
        let peer = visit.peer;
        visit.list_ids().await.map_err(over)?;
        let shown = visit.shown.take().ok_or("no listing")?;
        visit.quit().await.map_err(over)?;
        Ok((self.ended(peer).await?, shown))
    }

    /// Denied logins are posed after at most so many that pass, and show the whole maildrop.
    async fn is_relieved(&mut self, when: &str, most: usize) -> Checked {
        self.order(Order::Deny);
        for _ in 0..=most {
            let (session, shown) = self.poll().await.map_err(|error| format!("{when}: {error}"))?;
            let letters = self.letters();
            if shown != letters {
                return Err(format!("{when}: {shown:?} is shown instead of {letters:?} by {session}"));
            }
            if session.action == Some(Action::Posed) {
                return Ok(());
            }
        }
        Err(format!("{when}: more than {most} denied logins pass"))
    }

    /// A message arrives, and is signalled if this pool has signals.
    async fn new_mail(&mut self) -> Result<String, String> {
        let id = deliver(&self.world, self.user);
        if let Some(signals) = self.world.plan.signals {
            signal(self.site.clone(), self.user, id.clone(), self.random.fork()).await;
            if !self.world.oracle.lock().is_signalled(&id) {
                return Err("the signal is refused".to_owned());
            }
            pause(signals.settle_s * 1000 + 500).await;
        } else {
            self.order(Order::Pass);
            self.poll().await?;
        }
        Ok(id)
    }

    async fn sees_signalled_mail(&mut self) -> Checked {
        self.new_mail().await?;
        self.is_relieved("after new mail", 1).await
    }

    /// A session that has looked at the maildrop before the message came begins after its signal.
    async fn sees_mail_signalled_before_the_listing(&mut self, is_unknown: bool) -> Checked {
        self.order(Order::Pass);
        if is_unknown {
            self.site.current(self.proxy).forget(self.user).await;
        }
        let mut visit = self.logged_in().await?;
        pause(1_000).await;
        let id = deliver(&self.world, self.user);
        if self.world.plan.signals.is_some() {
            signal(self.site.clone(), self.user, id, self.random.fork()).await;
        }
        visit.list_ids().await.map_err(over)?;
        visit.quit().await.map_err(over)?;
        if self.world.plan.signals.is_none() {
            self.poll().await?;
        }
        pause(4_000).await;
        self.is_relieved("after mail before the listing", 2).await
    }

    /// A session that logs in before another, and sees more of the maildrop, is the later one.
    async fn begins_when_it_sees_the_maildrop(&mut self) -> Checked {
        self.order(Order::Pass);
        let mut slow = self.logged_in().await?;
        self.poll().await?;
        deliver(&self.world, self.user);
        slow.list_ids().await.map_err(over)?;
        slow.quit().await.map_err(over)?;
        self.order(Order::Deny);
        // What it is shown is compared with what the slow one was shown.
        self.poll().await?;
        self.order(Order::Pass);
        self.poll().await?;
        self.is_relieved("after a session that was slow to begin", 1).await
    }

    /// A posed session that is upgraded after another has seen new mail leaves nothing older.
    async fn sees_what_another_session_has_seen(&mut self) -> Checked {
        self.is_relieved("before overlapping with a posed session", 1).await?;
        let mut posed = self.logged_in().await?;
        posed.list_ids().await.map_err(over)?;
        let last = posed.ids().len();
        deliver(&self.world, self.user);
        self.order(Order::Pass);
        self.poll().await?;
        self.order(Order::Deny);
        posed.send(&format!("TOP {last} 0\r\n")).await.map_err(over)?;
        posed.read_message(last).await.map_err(over)?;
        posed.quit().await.map_err(over)?;
        self.is_relieved("after overlapping with a posed session", 1).await
    }

    async fn sees_mail_signalled_during_a_session(&mut self) -> Checked {
        self.order(Order::Pass);
        let mut visit = self.logged_in().await?;
        visit.list_ids().await.map_err(over)?;
        let id = deliver(&self.world, self.user);
        if self.world.plan.signals.is_some() {
            signal(self.site.clone(), self.user, id, self.random.fork()).await;
        }
        visit.quit().await.map_err(over)?;
        if self.world.plan.signals.is_none() {
            self.poll().await?;
        }
        pause(4_000).await;
        self.is_relieved("after mail during a session", 1).await
    }

    async fn continues_at_the_mail_server(&mut self) -> Checked {
        for _ in 0..2 {
            deliver(&self.world, self.user);
        }
        self.order(Order::Pass);
        self.poll().await?;
        self.is_relieved("before an upgrade", 1).await?;
        let mut visit = self.logged_in().await?;
        let peer = visit.peer;
        visit.list_ids().await.map_err(over)?;
        let last = visit.ids().len();
        // Not the first: the numbers of those after it must stay.
        visit.send(&format!("RETR {last}\r\n")).await.map_err(over)?;
        visit.read_message(last).await.map_err(over)?;
        visit.send(&format!("DELE {}\r\n", last - 1)).await.map_err(over)?;
        visit.read_deletion(last - 1).await.map_err(over)?;
        visit.quit().await.map_err(over)?;
        let session = self.ended(peer).await?;
        if !session.upgraded {
            return Err(format!("no upgrade: {session}"));
        }
        self.is_relieved("after an upgrade", 0).await?;
        self.hears_during_an_upgrade().await
    }

    /// A message that comes while a client is posed is not hidden by the upgrade.
    async fn hears_during_an_upgrade(&mut self) -> Checked {
        self.is_relieved("before an upgrade with new mail", 1).await?;
        let mut visit = self.logged_in().await?;
        visit.list_ids().await.map_err(over)?;
        let id = deliver(&self.world, self.user);
        if self.world.plan.signals.is_some() {
            signal(self.site.clone(), self.user, id, self.random.fork()).await;
        }
        expunge(&self.world, self.user, 0);
        let last = visit.ids().len();
        visit.send(&format!("TOP {last} 0\r\n")).await.map_err(over)?;
        visit.read_message(last).await.map_err(over)?;
        visit.quit().await.map_err(over)?;
        pause(4_000).await;
        self.is_relieved("after an upgrade with new mail", 1).await
    }

    /// A client that hangs up deletes nothing.
    async fn keeps_what_is_not_deleted(&mut self) -> Checked {
        self.order(Order::Pass);
        let mut visit = self.logged_in().await?;
        visit.list_ids().await.map_err(over)?;
        visit.send("DELE 1\r\n").await.map_err(over)?;
        visit.read_deletion(1).await.map_err(over)?;
        let peer = visit.peer;
        visit.hang_up();
        self.ended(peer).await?;
        self.is_relieved("after hanging up", 1).await
    }

    async fn is_not_shown_what_another_session_deletes(&mut self) -> Checked {
        deliver(&self.world, self.user);
        self.order(Order::Pass);
        let mut first = self.logged_in().await?;
        first.list_ids().await.map_err(over)?;
        let mut second = self.logged_in().await?;
        second.list_ids().await.map_err(over)?;
        let mut third = self.logged_in().await?;
        second.send("DELE 1\r\n").await.map_err(over)?;
        second.read_deletion(1).await.map_err(over)?;
        third.list_ids().await.map_err(over)?;
        second.quit().await.map_err(over)?;
        third.quit().await.map_err(over)?;
        self.is_relieved("after overlapping sessions", 1).await?;
        first.quit().await.map_err(over)?;
        self.is_relieved("after the first of them", 1).await
    }

    async fn passes_after_a_failed_upgrade(&mut self) -> Checked {
        self.is_relieved("before a failing upgrade", 1).await?;
        let mut visit = self.logged_in().await?;
        visit.list_ids().await.map_err(over)?;
        self.world.nodes.lock().fill(NodeHealth::Refuses);
        visit.send("RETR 1\r\n").await.map_err(over)?;
        visit.read_message(1).await.map_err(over)?;
        visit.quit().await.map_err(over)?;
        self.world.nodes.lock().fill(NodeHealth::Up);
        pause(RECOVERY_MS).await;
        self.order(Order::Deny);
        let (session, _) = self.poll().await?;
        if session.action == Some(Action::Posed) {
            return Err(format!("after a failed upgrade the next login is posed: {session}"));
        }
        self.is_relieved("after a failed upgrade", 1).await
    }

    async fn is_served_during_an_outage(&mut self) -> Checked {
        self.is_relieved("before an outage", 1).await?;
        self.order(Order::Pass);
        self.world.nodes.lock().fill(NodeHealth::Refuses);
        let on_unreachable = self.world.plan.on_unreachable;
        let polled = self.poll().await;
        self.world.nodes.lock().fill(NodeHealth::Up);
        pause(RECOVERY_MS).await;
        match (on_unreachable, polled) {
            (OnUnreachable::Pose, Ok((session, shown))) => {
                if session.action != Some(Action::Posed) || shown != self.letters() {
                    return Err(format!("{shown:?} is shown during an outage by {session}"));
                }
            }
            (OnUnreachable::Pose, Err(error)) => return Err(format!("during an outage: {error}")),
            (_, Ok((session, _))) => return Err(format!("a listing during an outage: {session}")),
            (_, Err(_)) => {}
        }
        self.is_relieved("after an outage", 2).await
    }

    async fn try_password(&mut self, password: &str) -> Result<LoggedIn, String> {
        let mut visit = self.visit().await?;
        let name = self.name();
        let answer = visit.log_in(&name, password, "").await.map_err(over)?;
        let peer = visit.peer;
        visit.quit().await.map_err(over)?;
        self.ended(peer).await?;
        Ok(answer)
    }

    async fn is_known_by_the_right_password(&mut self) -> Checked {
        self.order(Order::Deny);
        for _ in 0..2 {
            let answer = self.try_password("guess").await?;
            if answer != LoggedIn::WrongPassword {
                return Err(format!("the answer to a wrong password is {answer:?}"));
            }
        }
        self.is_relieved("after wrong passwords", 1).await
    }

    async fn is_not_known_by_a_former_password(&mut self) -> Checked {
        let former = self.password();
        let now = self.world.oracle.lock().now();
        self.world.mail.lock().change_password(self.user, now);
        self.order(Order::Pass);
        pause(2_000).await;
        for order in [Order::Pass, Order::Deny] {
            self.order(order);
            let answer = self.try_password(&former).await?;
            if answer != LoggedIn::WrongPassword {
                return Err(format!("the answer to a former password is {answer:?}"));
            }
        }
        self.is_relieved("with a new password", 2).await
    }

    /// Whether signals count as complete follows what has been missed.
    async fn notices_missing_signals(&mut self) -> Checked {
        let Some(signals) = self.world.plan.signals else { return Ok(()) };
        let process = self.site.current(self.proxy);
        let pool = process.pool(self.world.plan.pool(self.user));
        self.is_relieved("before mail without a signal", 1).await?;
        let unsignalled = || pool.signals().counts().missed[Missed::Unsignalled.index()];
        let before = unsignalled();
        deliver(&self.world, self.user);
        self.order(Order::Pass);
        self.poll().await?;
        pause(UNSIGNALLED_MS).await;
        if unsignalled() == before {
            return Err("a message without a signal is not noticed".to_owned());
        }
        if self.world.plan.is_routed(self.user) || !signals.complete {
            return Ok(());
        }
        // Set back, the clock may be behind the gap that was noted before.
        pause(200_000).await;
        self.poll().await?;
        self.order(Order::Deny);
        self.is_told(Freshness::Unchanged, "after a look").await?;
        pool.signals().missed(Missed::Gap, self.site.clock.now_ms());
        self.is_told(Freshness::Unknown, "after a gap").await?;
        let sees_snapshot = self.world.plan.share == reprieve_store::Share::TagsAndSnapshots;
        if !sees_snapshot || self.world.plan.proxies == 1 {
            return Ok(());
        }
        pause(GAP_MS).await;
        self.is_told_elsewhere("after a gap at another proxy").await?;
        self.order(Order::Pass);
        self.poll().await?;
        let store = process.store().ok_or("no store")?;
        store.set_partitioned(true);
        pause(GAP_MS).await;
        pool.signals().missed(Missed::Gap, self.site.clock.now_ms());
        pause(GAP_MS).await;
        store.set_partitioned(false);
        pause(2 * GAP_MS).await;
        self.order(Order::Deny);
        self.is_told_elsewhere("after a gap of a proxy without its store").await
    }

    /// At the other proxy the policy learns that there may be new mail.
    async fn is_told_elsewhere(&mut self, when: &str) -> Checked {
        let here = self.proxy;
        self.proxy = 1 - here;
        let told = self.is_told(Freshness::Unknown, when).await;
        self.proxy = here;
        told
    }

    async fn is_told(&mut self, expected: Freshness, when: &str) -> Checked {
        self.poll().await?;
        let told = *self.site.policy.told.lock();
        if told != Some(expected) {
            return Err(format!("{when} the policy sees {told:?}, not {expected:?}"));
        }
        Ok(())
    }

    /// A login that gives up waiting for a session slot takes none from others.
    async fn gets_a_slot_that_others_gave_up(&mut self) -> Checked {
        let plan = &self.world.plan;
        let Some(limit) = plan.max_sessions.filter(|_| plan.queue_length > 0) else { return Ok(()) };
        let nodes = if plan.is_routed(self.user) { 1 } else { plan.nodes };
        self.order(Order::Pass);
        let mut open = Vec::new();
        for _ in 0..limit as usize * nodes {
            let mut visit = self.visit().await?;
            let (name, password) = (self.name(), self.password());
            match visit.log_in(&name, &password, "").await.map_err(over)? {
                LoggedIn::Yes => open.push(visit),
                // With one node per user the others stay free.
                _ => drop(visit),
            }
        }
        let mut waiting = self.visit().await?;
        let (name, password) = (self.name(), self.password());
        waiting.send(&format!("USER {name}\r\nPASS {password}\r\n")).await.map_err(over)?;
        pause(1_000).await;
        let peer = waiting.peer;
        waiting.hang_up();
        pause(2_000).await;
        for visit in open {
            visit.quit().await.map_err(over)?;
        }
        self.ended(peer).await?;
        for _ in 0..limit as usize * nodes {
            self.poll().await.map_err(|error| format!("after a login has given up: {error}"))?;
        }
        Ok(())
    }
}

fn over(over: Over) -> String {
    format!("the connection is over: {over:?}")
}

/// Checks that nothing is left when all sessions have ended, and that the counters add up.
pub(super) fn check_leaks(site: &Site, tasks: usize) {
    let world = &site.world;
    let ended = world.oracle.lock().ended.len() as u64;
    let mut sessions = 0;
    for process in site.all.lock().iter() {
        let number = process.number;
        let is = |what: &str, found: u64, expected: u64| {
            if found != expected {
                world.violated(&format!("process {number}: {what} is {found} instead of {expected}"));
            }
        };
        for pool in process.pools() {
            is("sessions of nodes", pool.state().sessions.into(), 0);
            is("logins in progress", pool.state().waiting.into(), 0);
            is("logins in the queue", pool.queued() as u64, 0);
        }
        is("connections", process.connections.open().into(), 0);
        for (state, count) in process.counters.labeled().open {
            is(state, count, 0);
        }
        is("open sessions of users", process.registry.open_sessions(), 0);
        let counters = process.counters.snapshot();
        let policy = *process.tally.lock();
        sessions += counters.sessions;
        is("sessions that have ended", counters.sessions, counters.begun);
        is("passed", counters.passed, policy.passes);
        is("denied", counters.denied, policy.denials);
        is("policy failures", counters.policy_failures, policy.failures);
        let outcomes = counters.authenticated + counters.rejected + counters.unreachable + counters.abandoned;
        is("outcomes", outcomes, policy.outcomes);
    }
    if sessions != ended {
        world.violated(&format!("{sessions} sessions are counted, and {ended} have ended"));
    }
    let oracle = world.oracle.lock();
    let sent = |session: &&EndedSession| {
        oracle
            .judged
            .get(&session.id)
            .is_some_and(|judged| *judged > session.logins + u32::from(session.posed))
    };
    let twice: Vec<_> = oracle.ended.values().filter(sent).map(EndedSession::to_string).collect();
    drop(oracle);
    if !twice.is_empty() {
        world.violated(&format!("a password was sent to a second node: {}", twice.join(" and ")));
    }
    let servers = world.oracle.lock().server_connections;
    if servers != 0 {
        world.violated(&format!("{servers} connections to mail servers are open"));
    }
    if tasks > 0 {
        world.violated(&format!("{tasks} tasks are left"));
    }
}
