//! Evaluates a policy on one thread, with instances of that thread.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::component::{Call, Isolation, Policy};
use super::failure::Failure;
use super::instance::Instance;
use super::limits;
use super::metrics::Overrun;
use super::{Login, Outcome, SessionSummary, Verdict};

/// Evaluates a policy on one thread. Instances are created on demand and reused.
pub struct Evaluator {
    policy: Arc<Policy>,
    #[expect(clippy::vec_box, reason = "each call takes one out and puts it back: moving it costs more")]
    idle: Mutex<Vec<Box<Instance>>>,
    places: Semaphore,
    exhausted: AtomicBool,
    retired: AtomicBool,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Evaluator {
    /// An evaluator for one thread.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        let places = Semaphore::new(policy.limits().instances);
        Self {
            policy,
            idle: Mutex::new(Vec::new()),
            places,
            exhausted: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Creates an instance in advance, so that the first login does not wait for it.
    ///
    /// # Errors
    /// If the policy cannot be started.
    pub async fn warm_up(&self) -> Result<(), Failure> {
        let instance = Instance::start(&self.policy).await?;
        self.idle.lock().push(Box::new(instance));
        Ok(())
    }

    /// Calls `decide`. A verdict that cannot be carried out is a failure; a delay beyond the limit is
    /// shortened.
    ///
    /// # Errors
    /// If the call fails or its verdict cannot be carried out.
    pub async fn decide(&self, login: &Arc<Login>) -> Result<Verdict, Failure> {
        let admitted = self.policy.admit(Call::Decide)?;
        let began = Instant::now();
        let result = self.call_decide(login).await;
        self.policy.metrics_now().decided(began.elapsed());
        self.policy.ended(Call::Decide, admitted, &login.session.id, &result);
        result
    }

    /// Reports the outcome of a login that went to a mail server, if the policy wants to know it.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn observe(&self, outcome: &Arc<Outcome>) -> Result<(), Failure> {
        if !self.policy.linked().observes(outcome.cause) {
            return Ok(());
        }
        let admitted = self.policy.admit(Call::Observe)?;
        let result = self.call_observe(outcome).await;
        self.policy.ended(Call::Observe, admitted, &outcome.login.session.id, &result);
        result
    }

    /// Whether the policy has the optional export that sessions are reported to when they end.
    #[must_use]
    pub fn wants_sessions(&self) -> bool {
        self.policy.linked().has_sessions()
    }

    /// Reports the end of a session, if the policy wants to know.
    ///
    /// # Errors
    /// If the call fails.
    pub async fn ended(&self, summary: &SessionSummary) -> Result<(), Failure> {
        if !self.wants_sessions() {
            return Ok(());
        }
        let admitted = self.policy.admit(Call::Ended)?;
        let result = self.call_ended(summary).await;
        self.policy.ended(Call::Ended, admitted, &summary.login.session.id, &result);
        result
    }

    /// Makes the next `decide` exceed its CPU budget at once, for tests of that failure.
    pub fn exhaust_next_decision(&self) {
        self.exhausted.store(true, Ordering::Relaxed);
    }

    /// Memory of the idle instances, in bytes.
    #[must_use]
    pub fn idle_memory(&self) -> u64 {
        self.idle.lock().iter().map(|instance| instance.memory()).sum()
    }

    /// Retires this evaluator after it was replaced: calls in progress finish, and instances are not
    /// kept.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.forget_instances();
    }

    /// Drops the idle instances, so that the next call gets a new one.
    pub fn forget_instances(&self) {
        self.idle.lock().clear();
    }

    async fn call_decide(&self, login: &Arc<Login>) -> Result<Verdict, Failure> {
        let (mut instance, place) = self.instance(Call::Decide).await?;
        let exhausted =
            self.exhausted.load(Ordering::Relaxed) && self.exhausted.swap(false, Ordering::Relaxed);
        let verdict = instance.decide(&self.policy, login, place.is_none(), exhausted).await?;
        self.keep(instance);
        self.check(verdict)
    }

    async fn call_observe(&self, outcome: &Arc<Outcome>) -> Result<(), Failure> {
        let (mut instance, place) = self.instance(Call::Observe).await?;
        instance.observe(&self.policy, outcome, place.is_none()).await?;
        self.keep(instance);
        Ok(())
    }

    async fn call_ended(&self, summary: &SessionSummary) -> Result<(), Failure> {
        let (mut instance, _place) = self.instance(Call::Ended).await?;
        instance.ended(&self.policy, summary).await?;
        self.keep(instance);
        Ok(())
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Failure> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let limits = self.policy.limits();
        match tokio::time::timeout(limits.wait, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Failure::Busy(limits.instances)),
        }
    }

    /// An instance for a call, and the place that the call takes among those that run at once. None: the
    /// call is to be made directly, so that it ends before another can begin on this thread.
    async fn instance(&self, call: Call) -> Result<(Box<Instance>, Option<SemaphorePermit<'_>>), Failure> {
        if self.policy.may_call_directly() {
            let idle = self.idle.lock().pop();
            if let Some(instance) = idle {
                self.policy.metrics_now().called(call);
                return Ok((instance, None));
            }
        }
        let place = self.place().await?;
        self.policy.metrics_now().called(call);
        let idle = self.idle.lock().pop();
        let instance = match idle {
            Some(instance) => instance,
            None => Box::new(Instance::start(&self.policy).await?),
        };
        Ok((instance, Some(place)))
    }

    fn keep(&self, instance: Box<Instance>) {
        if self.policy.isolation() == Isolation::Call {
            return;
        }
        if instance.is_worn(&self.policy) {
            self.policy.log().overran(Overrun::Recycled);
            return;
        }
        let mut idle = self.idle.lock();
        // Checked under the lock, because `retire` sets the flag before it empties the list.
        if !self.retired.load(Ordering::Relaxed) {
            idle.push(instance);
        }
    }

    /// Validates a verdict: it comes from untrusted code.
    fn check(&self, mut verdict: Verdict) -> Result<Verdict, Failure> {
        match &mut verdict {
            Verdict::Pass(pass) => {
                self.shorten(&mut pass.delay_ms);
                if let Some(pool) = &pass.pool
                    && !self.policy.has_pool(pool)
                {
                    return Err(Failure::Verdict(format!("there is no pool {}", excerpt(pool))));
                }
                if let Some(user) = &pass.user
                    && (user.trim().is_empty() || user.len() > 248 || user.chars().any(char::is_control))
                {
                    return Err(Failure::Verdict(format!("{} cannot be a user name", excerpt(user))));
                }
                checked_note(pass.note.as_deref())?;
                checked_reason(&pass.reason)?;
            }
            Verdict::Deny(deny) => {
                self.shorten(&mut deny.delay_ms);
                checked_note(deny.note.as_deref())?;
                // The others are the host's own.
                if let Cow::Owned(reason) = &deny.reason {
                    checked_reason(reason)?;
                }
                checked_text(deny.text.as_deref())?;
            }
        }
        Ok(verdict)
    }

    fn shorten(&self, delay_ms: &mut u32) {
        let most = u32::try_from(self.policy.limits().delay.as_millis()).unwrap_or(u32::MAX);
        if *delay_ms > most {
            *delay_ms = most;
            self.policy.log().overran(Overrun::Delay);
        }
    }
}

fn checked_note(note: Option<&str>) -> Result<(), Failure> {
    match note {
        Some(note) if note.len() > limits::NOTE => {
            Err(Failure::Verdict(format!("its note is longer than {} bytes", limits::NOTE)))
        }
        _ => Ok(()),
    }
}

fn checked_reason(reason: &str) -> Result<(), Failure> {
    let fits = reason.len() <= limits::REASON
        && reason.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if fits {
        return Ok(());
    }
    Err(Failure::Verdict(format!(
        "its reason {} is not made of up to {} lower-case letters, digits and hyphens",
        excerpt(reason),
        limits::REASON
    )))
}

/// The text of a refusal becomes a part of a reply's line.
fn checked_text(text: Option<&str>) -> Result<(), Failure> {
    match text {
        Some(text) if text.len() > limits::TEXT || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            Err(Failure::Verdict(format!(
                "its text {} is not made of up to {} printable ASCII characters",
                excerpt(text),
                limits::TEXT
            )))
        }
        _ => Ok(()),
    }
}

fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}
