//! The shadow policy: it is asked about the same logins as the policy in force, and its verdicts have
//! no consequences. It has its own store and a low-priority thread, and logins are skipped if it does
//! not keep up.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use lru::LruCache;
use tokio::sync::mpsc;

use super::component::Policy;
use super::disposition::{Action, Decided, Facts, Rules, dispose};
use super::evaluator::Evaluator;
use super::failure::Failure;
use super::shadow_metrics::{Difference, ShadowMetrics, ShadowMetricsSnapshot};
use super::{Cause, Ending, Login, Manner, Moment, Outcome, SessionSummary, Standing, Verdict, Worded as _};
use reprieve_metrics::cpu_time;

/// Queue of logins and outcomes; beyond it they are skipped.
const WAITING: usize = 4096;
/// Logins whose outcome is awaited.
const PENDING: usize = 16_384;
/// Logged differences per second.
const LINES_A_SECOND: u32 = 10;

/// A policy's decision, as far as two of them can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// The verdict `pass`.
    Pass {
        /// The pool, if it is not the default.
        pool: Option<String>,
        /// The user to log in as, if it is another.
        user: Option<String>,
    },
    /// The verdict `deny`.
    Deny {
        /// The manner.
        manner: Manner,
        /// The policy's reason.
        reason: Cow<'static, str>,
        /// Seconds until a retry is useful.
        retry_after: Option<u32>,
    },
    /// The call failed, with the kind of failure.
    Failed(&'static str),
}

impl Opinion {
    /// From the result of a call.
    #[must_use]
    pub fn of(result: &Result<Verdict, Failure>) -> Self {
        match result {
            Ok(verdict) => Self::of_verdict(verdict),
            Err(failure) => Self::Failed(failure.kind()),
        }
    }

    /// From a verdict.
    #[must_use]
    pub fn of_verdict(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Pass(pass) => Self::Pass { pool: pass.pool.clone(), user: pass.user.clone() },
            Verdict::Deny(deny) => {
                Self::Deny { manner: deny.manner, reason: deny.reason.clone(), retry_after: deny.retry_after }
            }
        }
    }
}

/// The shadow's decision about one login, once it is made.
pub type Told = Arc<OnceLock<Opinion>>;

/// Events for the shadow's thread.
enum Event {
    /// The policy in force decided about a login.
    Judged { login: Arc<Login>, has_snapshot: bool, actual: Opinion, told: Told },
    /// A mail server was asked.
    Outcome(Arc<Outcome>),
    /// No mail server was asked: the login was posed or refused.
    NotAsked { session: String, time: Moment },
    /// A relayed session ended.
    Ended(SessionSummary),
}

/// A running shadow policy.
#[derive(Debug)]
pub struct Shadow {
    policy: Arc<Policy>,
    metrics: Arc<ShadowMetrics>,
    /// Dropping it ends the thread.
    events: mpsc::Sender<Event>,
}

impl Shadow {
    /// Starts the thread. `server`: name of the virtual server, for log lines. `rules`: the virtual
    /// server's, for what would happen to a login.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(policy: Arc<Policy>, server: &str, rules: Rules) -> std::io::Result<Arc<Self>> {
        let (events, coming) = mpsc::channel(WAITING);
        let metrics = Arc::<ShadowMetrics>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = Worker {
            evaluator: Evaluator::new(policy.clone()),
            metrics: metrics.clone(),
            pending: LruCache::new(NonZeroUsize::new(PENDING).unwrap_or(NonZeroUsize::MIN)),
            open: LruCache::new(NonZeroUsize::new(PENDING).unwrap_or(NonZeroUsize::MIN)),
            server: server.to_owned(),
            rules,
            lines: Lines::default(),
        };
        std::thread::Builder::new().name("shadow".to_owned()).spawn(move || {
            yield_to_others();
            runtime.block_on(worker.run(coming));
        })?;
        Ok(Arc::new(Self { policy, metrics, events }))
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> ShadowMetricsSnapshot {
        self.metrics.snapshot()
    }

    /// Passes on a login with the decision of the policy in force. The result is filled in later, or
    /// never if the shadow does not keep up.
    #[must_use]
    pub fn judged(&self, login: &Arc<Login>, actual: &Result<Verdict, Failure>, has_snapshot: bool) -> Told {
        let told = Told::default();
        let event = Event::Judged {
            login: login.clone(),
            has_snapshot,
            actual: Opinion::of(actual),
            told: told.clone(),
        };
        if self.events.try_send(event).is_err() {
            self.metrics.skipped();
        }
        told
    }

    /// A mail server was asked about the login.
    pub fn outcome(&self, outcome: &Arc<Outcome>) {
        let _ = self.events.try_send(Event::Outcome(outcome.clone()));
    }

    /// Whether the policy wants to know how sessions end.
    #[must_use]
    pub fn wants_sessions(&self) -> bool {
        self.policy.linked().has_sessions()
    }

    /// A relayed session ended.
    pub fn ended(&self, summary: SessionSummary) {
        if self.wants_sessions() {
            let _ = self.events.try_send(Event::Ended(summary));
        }
    }

    /// No mail server was asked about a session's login.
    pub fn not_asked(&self, session: &str, time: Moment) {
        let _ = self.events.try_send(Event::NotAsked { session: session.to_owned(), time });
    }
}

/// A login that the shadow has decided about and whose outcome is awaited.
struct Pending {
    login: Arc<Login>,
    note: Option<String>,
    /// Why it would have gone there.
    cause: Cause,
    /// Whether its verdict would have sent the login to a mail server.
    goes: bool,
}

struct Worker {
    evaluator: Evaluator,
    metrics: Arc<ShadowMetrics>,
    pending: LruCache<Box<str>, Pending>,
    /// Logins that the mail server has accepted and that the shadow, too, would have sent there.
    open: LruCache<Box<str>, Arc<Login>>,
    server: String,
    rules: Rules,
    lines: Lines,
}

impl Worker {
    async fn run(mut self, mut coming: mpsc::Receiver<Event>) {
        while let Some(event) = coming.recv().await {
            match event {
                Event::Judged { login, has_snapshot, actual, told } => {
                    self.judge(login, has_snapshot, &actual, &told).await
                }
                Event::Outcome(outcome) => self.outcome(&outcome).await,
                Event::NotAsked { session, time } => self.not_asked(&session, time).await,
                Event::Ended(summary) => self.ended(summary).await,
            }
            self.metrics.computed(cpu_time::of_this_thread());
        }
    }

    async fn judge(&mut self, login: Arc<Login>, has_snapshot: bool, actual: &Opinion, told: &Told) {
        let result = self.evaluator.decide(&login).await;
        let own = Opinion::of(&result);
        let difference = Difference::between(actual, &own);
        self.metrics.judged(&own, difference);
        if let Some(difference) = difference
            && self.lines.may()
        {
            tracing::info!(
                target: "shadow",
                server = self.server,
                policy = self.evaluator.policy().component_name(),
                id = &*login.session.id,
                user = login.claim.user,
                difference = difference.name(),
                "policy in force: {}; shadow policy: {}",
                in_words(actual),
                in_words(&own),
            );
        }
        let facts = Facts::of(&login, result.as_ref().ok().and_then(Verdict::pass), has_snapshot);
        let disposition = dispose(Decided::from(&result), facts, self.rules);
        let goes = disposition.action == Action::Passed;
        let note = result.ok().and_then(|verdict| verdict.note().map(str::to_owned));
        let _ = told.set(own);
        let pending = Pending { cause: disposition.cause(), login: login.clone(), note, goes };
        self.pending.put(login.session.id.clone(), pending);
    }

    async fn outcome(&mut self, outcome: &Outcome) {
        if let Some(pending) = self.pending.pop(&outcome.login.session.id)
            && pending.goes
        {
            let Pending { login, note, cause, .. } = pending;
            if outcome.ending == Ending::Authenticated && self.evaluator.wants_sessions() {
                self.open.put(login.session.id.clone(), login.clone());
            }
            self.observe(Outcome { login, note, cause, ..outcome.clone() }).await;
        }
    }

    /// Sessions that the shadow would not have sent to the mail server have no end for it.
    async fn ended(&mut self, summary: SessionSummary) {
        if let Some(login) = self.open.pop(&summary.login.session.id) {
            // Failures are counted and logged like any policy's.
            let _ = self.evaluator.ended(&SessionSummary { login, ..summary }).await;
        }
    }

    /// If the secret is known, the mail server would have accepted the login.
    async fn not_asked(&mut self, session: &str, time: Moment) {
        if let Some(pending) = self.pending.pop(session)
            && pending.goes
            && pending.login.claim.standing == Standing::Known
        {
            let Pending { login, note, cause, .. } = pending;
            let outcome = Outcome { cause, time, note, ..Outcome::new(login, Ending::Authenticated) };
            self.observe(outcome).await;
        }
    }

    async fn observe(&mut self, outcome: Outcome) {
        // Failures are counted and logged like any policy's.
        let _ = self.evaluator.observe(&Arc::new(outcome)).await;
    }
}

fn in_words(opinion: &Opinion) -> String {
    match opinion {
        Opinion::Pass { pool: None, user: None } => "pass".to_owned(),
        Opinion::Pass { pool, user } => {
            let to = pool.as_ref().map(|pool| format!(" to pool {pool}")).unwrap_or_default();
            let as_user = user.as_ref().map(|user| format!(" as {user:?}")).unwrap_or_default();
            format!("pass{to}{as_user}")
        }
        Opinion::Deny { manner, reason, retry_after } => {
            let again = retry_after.map(|seconds| format!(", again in {seconds} s")).unwrap_or_default();
            format!("deny {} ({reason}{again})", manner.word())
        }
        Opinion::Failed(kind) => format!("failure ({kind})"),
    }
}

/// Rate limit of log lines.
#[derive(Default)]
struct Lines {
    second: u64,
    count: u32,
}

impl Lines {
    fn may(&mut self) -> bool {
        let second = reprieve_store::clock::Clock::now_ms(&reprieve_store::clock::SystemClock) / 1000;
        if second != self.second {
            *self = Self { second, count: 0 };
        }
        self.count += 1;
        self.count <= LINES_A_SECOND
    }
}

/// Gives this thread the lowest priority.
fn yield_to_others() {
    // SAFETY: only numbers are passed; on Linux, 0 means the calling thread.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
    }
}
