//! Runs the phases of the demo: polling clients, mail deliveries and the final check. All of it runs
//! on one thread, so that the clients' CPU time can be separated from Reprieve's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::client::{Account, Client};
use super::deliveries::Deliveries;
use super::message::{Message, below};
use super::phase::{Phase, Route};
use super::random::Random;
use super::stats::{DemoStats, Reading};
use crate::new_mail::Source;
use crate::server::NewMail;
use reprieve_mailserver::MailServer;
use reprieve_metrics::ThreadCpu;

/// Shortest and longest time from one poll of a client to the next.
const POLL_INTERVAL: (Duration, Duration) = (Duration::from_millis(600), Duration::from_millis(1400));
/// Average interval between messages to a maildrop.
const DELIVERY_INTERVAL: Duration = Duration::from_secs(10);
/// Minimum number of messages in each maildrop at the start; the maximum is twice that.
const MIN_INITIAL_MESSAGES: usize = 4;
/// Attempts to open a locked maildrop in the final check before that counts as an error.
const MAX_LOCK_ATTEMPTS: usize = 50;

/// State shared by all phases.
pub(crate) struct Simulation {
    pub(crate) server: MailServer,
    /// Reprieve's listen addresses: without and with signals of new mail.
    pub(crate) proxies: [SocketAddr; 2],
    /// Takes the signals.
    pub(crate) new_mail: NewMail,
    pub(crate) deliveries: Mutex<Deliveries>,
    pub(crate) stats: Mutex<DemoStats>,
    /// CPU time of the clients' thread.
    pub(crate) clients_cpu: ThreadCpu,
    /// CPU time of the view's thread.
    pub(crate) view_cpu: ThreadCpu,
    /// Set to true to end the demo early.
    pub(crate) stop: watch::Sender<bool>,
    /// User names without duplicates.
    pub(crate) users: Vec<String>,
    /// For the moments of polls and deliveries, which are the same in each phase.
    pub(crate) seed: u64,
    pub(crate) schedule: Schedule,
}

/// Durations of the measured phases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Of each of them.
    pub(crate) phase: Duration,
    /// The policy's interval.
    pub(crate) interval: Duration,
}

impl Schedule {
    pub(crate) fn new(total: Duration, interval: Duration) -> Self {
        Self { phase: total / Route::ALL.len() as u32, interval }
    }

    pub(crate) fn total(&self) -> Duration {
        self.phase * Route::ALL.len() as u32
    }

    /// Time without deliveries at the end of each phase, so that messages are fetched in the phase in
    /// which they are delivered.
    fn quiet_period(&self) -> Duration {
        self.interval.saturating_add(POLL_INTERVAL.1).min(self.phase / 2)
    }
}

/// Creates the clients and their accounts on the mail server.
///
/// Every fourth client shares the maildrop of the previous one, like a phone and a desktop of one
/// user. One in four deletes messages after fetching them.
pub(crate) fn create_clients(count: usize, server: &MailServer, deliveries: &mut Deliveries) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::with_capacity(count);
    for number in 0..count {
        let second = number % 4 == 3;
        let (account, deletes) = match clients.last_mut() {
            Some(first) if second => {
                first.shares = true;
                (first.account.clone(), false)
            }
            _ => (new_account(number, server), number % 4 == 1),
        };
        deliveries.add_client(&account.user, number);
        clients.push(Client::new(number, account, deletes, second));
    }
    clients
}

fn new_account(number: usize, server: &MailServer) -> Account {
    const NAMES: [&str; 12] =
        ["anna", "bert", "clara", "dora", "emil", "frieda", "georg", "hanna", "ida", "jakob", "karl", "lena"];
    // Clients that share a maildrop do not use up names.
    let index = number - (number + 1) / 4;
    let user = NAMES.get(index).map_or_else(|| format!("user{index}"), |name| (*name).to_owned());
    let mut secret = [0; 8];
    getrandom::fill(&mut secret).expect("the system provides random bytes");
    // Includes a space, which a proxy must preserve.
    let password = format!("{:x} {:x}", secret[0], u64::from_le_bytes(secret));
    server.add_user(&user, &password);
    Account { user, password }
}

/// Runs all phases.
pub(crate) async fn run(simulation: Arc<Simulation>, mut clients: Vec<Client>) {
    download_initial_mail(&simulation, &mut clients).await;
    for route in Route::ALL {
        let at = simulation.address(route);
        if route != Route::Direct {
            first_polls(&simulation, &mut clients, at).await;
        }
        let phase = Phase::Measured(route);
        simulation.deliveries.lock().begin(phase);
        let reading = simulation.read_when_idle().await;
        simulation.stats.lock().begin(phase, reading);
        clients = poll_for(&simulation, clients, route).await;
        let reading = simulation.read_when_idle().await;
        simulation.stats.lock().end(phase, reading);
    }
    simulation.deliveries.lock().begin(Phase::FinalCheck);
    let reading = simulation.read_when_idle().await;
    simulation.stats.lock().begin(Phase::FinalCheck, reading);
    run_final_check(&simulation, &mut clients).await;
}

impl Simulation {
    /// Waits until no session is open and all threads are idle, then takes a reading.
    async fn read_when_idle(&self) -> Reading {
        let idle = async {
            while self.server.stats().open > 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        // Do not wait forever for a connection that Reprieve keeps open; it hardly affects the figures.
        let _ = timeout(Duration::from_secs(1), idle).await;
        sleep(Duration::from_millis(20)).await;
        self.clients_cpu.publish();
        Reading::take(&self.server, &self.clients_cpu, &self.view_cpu)
    }

    fn address(&self, route: Route) -> SocketAddr {
        match route {
            Route::Direct => self.server.address(),
            Route::Interval => self.proxies[0],
            Route::Signals => self.proxies[1],
        }
    }

    /// Delivers a message, and signals it once it is visible.
    async fn deliver_and_signal(&self, user: &str) {
        self.deliver(user);
        let users = [user.as_bytes().to_vec()];
        if let Err(error) = self.new_mail.hear(Some(super::proxy::SIGNALS), &users, Source::Control).await {
            self.stats.lock().fault(user, &error.to_string());
        }
    }

    fn deliver(&self, user: &str) {
        let message = Message::generate(user);
        self.deliveries.lock().delivered(&message, user);
        if self.server.deliver(user, &message.bytes).is_none() {
            self.stats.lock().fault(user, "the mail server has no such user");
        }
    }

    /// Polls once and records the result. Returns whether the maildrop was locked.
    async fn poll(&self, client: &mut Client, at: SocketAddr) -> bool {
        let logins = self.server.logins(&client.account.user);
        let poll = client.poll(at, &self.deliveries).await;
        // If two clients of a user poll at the same time, the view may show one login for both. The
        // figures are not affected, because they use the server's counters.
        let reached = self.server.logins(&client.account.user) > logins;
        let locked = poll.locked;
        self.stats.lock().poll(client.number, &name(client), poll, reached);
        locked
    }
}

/// Fills the maildrops and lets each client download them, so that the figures do not include the
/// first download.
async fn download_initial_mail(simulation: &Simulation, clients: &mut [Client]) {
    for user in &simulation.users {
        for _ in 0..MIN_INITIAL_MESSAGES + below(MIN_INITIAL_MESSAGES + 1) {
            simulation.deliver(user);
        }
    }
    for client in clients {
        simulation.poll(client, simulation.server.address()).await;
    }
}

/// Lets each client poll until Reprieve knows it, so that the figures do not include first logins.
async fn first_polls(simulation: &Simulation, clients: &mut [Client], at: SocketAddr) {
    simulation.deliveries.lock().begin(Phase::WarmUp);
    let reading = simulation.read_when_idle().await;
    simulation.stats.lock().begin(Phase::WarmUp, reading);
    for _ in 0..2 {
        for client in &mut *clients {
            simulation.poll(client, at).await;
        }
    }
}

/// Lets all clients poll and delivers mail until the time is up, at the same moments in each phase. No
/// mail is delivered in the last quiet period.
async fn poll_for(simulation: &Arc<Simulation>, clients: Vec<Client>, route: Route) -> Vec<Client> {
    let at = simulation.address(route);
    let start = Instant::now();
    let end = start + simulation.schedule.phase;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let simulation = Arc::clone(simulation);
        tasks.spawn(async move {
            let mut random = Random::new(simulation.seed, client.number as u64);
            // Spread the first polls.
            let mut next = start + random.time(Duration::ZERO, POLL_INTERVAL.1);
            let mut stop = simulation.stop.subscribe();
            while next < end && !wait(next, &mut stop).await {
                simulation.poll(&mut client, at).await;
                // On a slow machine, polls that are late are not made up for.
                next = Instant::now().max(next + random.time(POLL_INTERVAL.0, POLL_INTERVAL.1));
            }
            client
        });
    }
    let mut stop = simulation.stop.subscribe();
    let ((), _) = tokio::join!(deliver_for(simulation, start, route), wait(end, &mut stop));
    let mut clients = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(client) => clients.push(client),
            Err(error) => simulation.stats.lock().fault("demo", &error.to_string()),
        }
    }
    clients.sort_by_key(|client| client.number);
    clients
}

/// Delivers mail until the quiet period of a phase.
async fn deliver_for(simulation: &Simulation, start: Instant, route: Route) {
    let end = start + simulation.schedule.phase - simulation.schedule.quiet_period();
    let interval = DELIVERY_INTERVAL / u32::try_from(simulation.users.len()).unwrap_or(1);
    let mut random = Random::new(simulation.seed, u64::MAX);
    let mut stop = simulation.stop.subscribe();
    let mut next = start;
    loop {
        next += random.time(interval.mul_f64(0.2), interval.mul_f64(1.8));
        if next >= end || wait(next, &mut stop).await {
            return;
        }
        let user = &simulation.users[random.below(simulation.users.len())];
        match route {
            Route::Signals => simulation.deliver_and_signal(user).await,
            Route::Direct | Route::Interval => simulation.deliver(user),
        }
    }
}

/// Checks that a wrong password is refused even while Reprieve answers its user, and that each
/// client, polling the mail server directly, has fetched all its messages.
async fn run_final_check(simulation: &Simulation, clients: &mut [Client]) {
    for client in &mut *clients {
        // The user has just logged in, so the wrong password arrives within the interval.
        poll_until_unlocked(simulation, client, simulation.proxies[0]).await;
        let refused = client.try_wrong_password(simulation.proxies[0]).await;
        let mut stats = simulation.stats.lock();
        stats.wrong_passwords += 1;
        match refused {
            Ok(()) => stats.wrong_passwords_refused += 1,
            Err(fault) => stats.fault(&name(client), &fault),
        }
    }
    for client in clients {
        poll_until_unlocked(simulation, client, simulation.server.address()).await;
    }
}

async fn poll_until_unlocked(simulation: &Simulation, client: &mut Client, at: SocketAddr) {
    for _ in 0..MAX_LOCK_ATTEMPTS {
        if !simulation.poll(client, at).await {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    simulation.stats.lock().fault(&name(client), "the maildrop remains locked");
}

fn name(client: &Client) -> String {
    format!("{} ({})", client.account.user, client.program())
}

/// Waits until a moment. Returns true if the demo is stopped before it.
async fn wait(until: Instant, stop: &mut watch::Receiver<bool>) -> bool {
    timeout_at(until, stop.wait_for(|stop| *stop)).await.is_ok()
}
