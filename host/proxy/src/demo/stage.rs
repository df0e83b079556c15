//! The demo's course: who polls, when mail comes, and what is checked in the end. Everything
//! here runs on one thread, so that the clients' CPU time can be told from Reprieve's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::board::{Board, Reading};
use super::client::{Account, Client};
use super::ledger::Ledger;
use super::letter::{Letter, below};
use super::phase::Phase;
use reprieve_mailserver::MailServer;
use reprieve_metrics::ThreadCpu;

/// A client waits at least this long between two polls, and at most the other.
const PAUSE_MS: (usize, usize) = (300, 1000);
/// Each maildrop gets a message about as often.
const MAIL_EVERY: Duration = Duration::from_secs(5);
/// Messages that lie in each maildrop at the start: so many, and up to as many more.
const AT_FIRST: usize = 4;
/// A locked maildrop is tried again so often before that counts as wrong.
const TRIES: usize = 50;

/// Everything that the phases share.
pub(crate) struct Stage {
    pub(crate) server: MailServer,
    /// Reprieve's address.
    pub(crate) proxy: SocketAddr,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) board: Mutex<Board>,
    /// CPU time of the clients' thread.
    pub(crate) clients_cpu: ThreadCpu,
    /// CPU time of the view's thread.
    pub(crate) view_cpu: ThreadCpu,
    /// True once the demo is to end early.
    pub(crate) stop: watch::Sender<bool>,
    /// Users, once each.
    pub(crate) users: Vec<String>,
    pub(crate) plan: Plan,
}

/// How long the measured phases take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) direct: Duration,
    pub(crate) relieved: Duration,
    /// The policy's interval.
    pub(crate) interval: Duration,
}

impl Plan {
    pub(crate) fn new(total: Duration, interval: Duration) -> Self {
        let direct = total / 4;
        Self { direct, relieved: total - direct, interval }
    }

    pub(crate) fn total(&self) -> Duration {
        self.direct + self.relieved
    }

    /// How long before a phase's end the last message comes, so that messages do not wait
    /// longer in the figures of the next phase, or not at all in those of the last.
    fn quiet(&self, phase: Phase) -> Duration {
        let pause = Duration::from_millis(PAUSE_MS.1 as u64);
        match phase {
            Phase::Relieved => (self.interval.saturating_add(pause)).min(self.relieved / 2),
            _ => pause.min(self.direct / 2),
        }
    }
}

/// Makes the clients and their accounts at the mail server.
///
/// Every fourth client is the second one of its user, as of a telephone beside a desk: then
/// the one is told of mail by what the other saw. One in four deletes what it has fetched.
pub(crate) fn cast(count: usize, server: &MailServer, ledger: &mut Ledger) -> Vec<Client> {
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
        ledger.client(&account.user, number);
        clients.push(Client::new(number, account, deletes, second));
    }
    clients
}

fn new_account(number: usize, server: &MailServer) -> Account {
    const NAMES: [&str; 12] =
        ["anna", "bert", "clara", "dora", "emil", "frieda", "georg", "hanna", "ida", "jakob", "karl", "lena"];
    // Clients that share a maildrop leave gaps in the numbers, not in the names.
    let index = number - (number + 1) / 4;
    let user = NAMES.get(index).map_or_else(|| format!("user{index}"), |name| (*name).to_owned());
    let mut secret = [0; 8];
    getrandom::fill(&mut secret).expect("the system gives random octets");
    // With a space, because passwords have them.
    let password = format!("{:x} {:x}", secret[0], u64::from_le_bytes(secret));
    server.add_user(&user, &password);
    Account { user, password }
}

/// Runs all phases, one after the other.
pub(crate) async fn perform(stage: Arc<Stage>, mut clients: Vec<Client>) {
    arrive(&stage, &mut clients).await;
    for phase in [Phase::Direct, Phase::Relieved] {
        let (at, length) = match phase {
            Phase::Direct => (stage.server.address(), stage.plan.direct),
            _ => (stage.proxy, stage.plan.relieved),
        };
        stage.ledger.lock().enter(phase);
        let reading = stage.settle().await;
        stage.board.lock().begin(phase, reading);
        clients = poll_for(&stage, clients, at, length, stage.plan.quiet(phase)).await;
        let reading = stage.settle().await;
        stage.board.lock().end(phase, reading);
    }
    stage.ledger.lock().enter(Phase::Closing);
    let reading = stage.settle().await;
    stage.board.lock().begin(Phase::Closing, reading);
    close(&stage, &mut clients).await;
}

impl Stage {
    /// Waits until nothing is under way and all threads sleep, then reads the clocks.
    async fn settle(&self) -> Reading {
        let idle = async {
            while self.server.stats().open > 0 {
                sleep(Duration::from_millis(2)).await;
            }
        };
        // A connection that Reprieve keeps does not hold up the demo; the figures bear it.
        let _ = timeout(Duration::from_secs(1), idle).await;
        sleep(Duration::from_millis(20)).await;
        self.clients_cpu.publish();
        Reading::take(&self.server, &self.clients_cpu, &self.view_cpu)
    }

    fn deliver(&self, user: &str) {
        let letter = Letter::write(user);
        self.ledger.lock().sent(&letter, user);
        if self.server.deliver(user, &letter.octets).is_none() {
            self.board.lock().fault(user, "the mail server does not know this user");
        }
    }

    /// Polls once and puts down what came of it.
    async fn poll(&self, client: &mut Client, at: SocketAddr) -> bool {
        let logins = self.server.logins(&client.account.user);
        let poll = client.poll(at, &self.ledger).await;
        // Where two clients of a user poll at the same moment, the strip may show the one's
        // login as the other's too. The figures count at the server and do not.
        let reached = self.server.logins(&client.account.user) > logins;
        let put_off = poll.put_off;
        self.board.lock().poll(client.number, &name(client), poll, reached);
        put_off
    }
}

/// Fills the maildrops and lets each client download what is there, so that the figures show
/// polling and not a first download.
async fn arrive(stage: &Stage, clients: &mut [Client]) {
    for user in &stage.users {
        for _ in 0..AT_FIRST + below(AT_FIRST + 1) {
            stage.deliver(user);
        }
    }
    for client in clients {
        stage.poll(client, stage.server.address()).await;
    }
}

/// Lets all clients poll, and mail come, until the time is up; `quiet`: the time before
/// that in which no mail comes.
async fn poll_for(
    stage: &Arc<Stage>,
    clients: Vec<Client>,
    at: SocketAddr,
    length: Duration,
    quiet: Duration,
) -> Vec<Client> {
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        let stage = Arc::clone(stage);
        tasks.spawn(async move {
            // Not all at once.
            let mut next = Instant::now() + Duration::from_millis(below(PAUSE_MS.1) as u64);
            let mut stop = stage.stop.subscribe();
            while next < end && !wait(next, &mut stop).await {
                stage.poll(&mut client, at).await;
                next = Instant::now() + pause();
            }
            client
        });
    }
    let mut stop = stage.stop.subscribe();
    let mut post = stage.stop.subscribe();
    let mail = async {
        loop {
            let gap = MAIL_EVERY / u32::try_from(stage.users.len()).unwrap_or(1);
            let next = Instant::now() + gap.mul_f64(0.2 + 1.6 * below(1000) as f64 / 1000.0);
            if next >= end - quiet || wait(next, &mut post).await {
                return;
            }
            stage.deliver(&stage.users[below(stage.users.len())]);
        }
    };
    let ((), _) = tokio::join!(mail, wait(end, &mut stop));
    let mut clients = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(client) => clients.push(client),
            Err(error) => stage.board.lock().fault("the demo", &error.to_string()),
        }
    }
    clients.sort_by_key(|client| client.number);
    clients
}

/// Checks what must be true in the end: a wrong password does not open a maildrop even while
/// its user is relieved, and straight at the mail server there is nothing that a client
/// should have and has not.
async fn close(stage: &Stage, clients: &mut [Client]) {
    for client in &mut *clients {
        // After this the user has been in for certain, so the wrong password comes within
        // the interval.
        until_open(stage, client, stage.proxy).await;
        let refused = client.mistype(stage.proxy).await;
        let mut board = stage.board.lock();
        board.mistyped += 1;
        match refused {
            Ok(()) => board.mistyped_refused += 1,
            Err(fault) => board.fault(&name(client), &fault),
        }
    }
    for client in clients {
        until_open(stage, client, stage.server.address()).await;
    }
}

async fn until_open(stage: &Stage, client: &mut Client, at: SocketAddr) {
    for _ in 0..TRIES {
        if !stage.poll(client, at).await {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    stage.board.lock().fault(&name(client), "the maildrop stays locked");
}

fn name(client: &Client) -> String {
    format!("{} ({})", client.account.user, client.program())
}

/// Waits until a moment; true if the demo is to end before it.
async fn wait(until: Instant, stop: &mut watch::Receiver<bool>) -> bool {
    timeout_at(until, stop.wait_for(|stop| *stop)).await.is_ok()
}

fn pause() -> Duration {
    Duration::from_millis((PAUSE_MS.0 + below(PAUSE_MS.1 - PAUSE_MS.0)) as u64)
}
