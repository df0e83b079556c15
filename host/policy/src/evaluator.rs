//! Asks a policy, on one thread, with instances of that thread's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::component::{Call, Isolation, Policy};
use super::failure::Failure;
use super::instance::Instance;
use super::limits;
use super::metrics::Overrun;
use super::{Login, Outcome, Verdict};

/// Asks a policy, on one thread. Instances are made when they are needed, and kept.
pub struct Evaluator {
    policy: Arc<Policy>,
    idle: Mutex<Vec<Instance>>,
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
    /// A judge for one thread.
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

    /// The policy that it asks.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Has an instance ready, so that the first login pays nothing for it.
    ///
    /// # Errors
    /// Where the policy cannot be started.
    pub async fn warm_up(&self) -> Result<(), Failure> {
        let instance = Instance::start(&self.policy).await?;
        self.idle.lock().push(instance);
        Ok(())
    }

    /// Asks for a verdict. One that cannot be carried out safely is a failure; a delay that is
    /// too long is shortened.
    ///
    /// # Errors
    /// Where the call failed, or its verdict cannot be carried out.
    pub async fn decide(&self, login: &Login) -> Result<Verdict, Failure> {
        let admitted = self.policy.admit(Call::Decide)?;
        let began = Instant::now();
        let result = self.call_decide(login).await;
        self.policy.metrics_now().decided(began.elapsed());
        self.policy.ended(Call::Decide, admitted, &login.session.id, &result);
        result
    }

    /// Tells what became of a passed login.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn observe(&self, outcome: &Outcome) -> Result<(), Failure> {
        let admitted = self.policy.admit(Call::Observe)?;
        let result = self.call_observe(outcome).await;
        self.policy.ended(Call::Observe, admitted, &outcome.session.id, &result);
        result
    }

    /// The next `decide` finds that its time is over: for trials of what happens then.
    pub fn exhaust_next_decision(&self) {
        self.exhausted.store(true, Ordering::Relaxed);
    }

    /// Octets of memory of the instances that wait for calls.
    #[must_use]
    pub fn idle_memory(&self) -> u64 {
        self.idle.lock().iter().map(Instance::memory).sum()
    }

    /// Another has taken its place: calls that are under way end, and no instance is kept for
    /// more of them.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.forget_instances();
    }

    /// Throws the waiting instances away: the next call gets a fresh one.
    pub fn forget_instances(&self) {
        self.idle.lock().clear();
    }

    async fn call_decide(&self, login: &Login) -> Result<Verdict, Failure> {
        let _place = self.place().await?;
        let mut instance = self.instance(Call::Decide).await?;
        let exhausted =
            self.exhausted.load(Ordering::Relaxed) && self.exhausted.swap(false, Ordering::Relaxed);
        let verdict = instance.decide(&self.policy, login, exhausted).await?;
        self.keep(instance);
        self.check(verdict)
    }

    async fn call_observe(&self, outcome: &Outcome) -> Result<(), Failure> {
        let _place = self.place().await?;
        let mut instance = self.instance(Call::Observe).await?;
        instance.observe(&self.policy, outcome).await?;
        self.keep(instance);
        Ok(())
    }

    async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let limits = self.policy.limits();
        match tokio::time::timeout(limits.wait, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Failure::Busy(limits.instances)),
        }
    }

    async fn instance(&self, call: Call) -> Result<Instance, Failure> {
        self.policy.metrics_now().called(call);
        let idle = self.idle.lock().pop();
        match idle {
            Some(instance) => Ok(instance),
            None => Instance::start(&self.policy).await,
        }
    }

    fn keep(&self, instance: Instance) {
        if self.policy.isolation() == Isolation::Call {
            return;
        }
        if instance.is_worn(&self.policy) {
            self.policy.log().overran(Overrun::Recycled);
            return;
        }
        let mut idle = self.idle.lock();
        // Looked at under the lock: whoever retires it empties what is kept after that.
        if !self.retired.load(Ordering::Relaxed) {
            idle.push(instance);
        }
    }

    /// A verdict comes from a stranger: what cannot be carried out safely is a failure.
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
                if pass.note.as_ref().is_some_and(|note| note.len() > limits::NOTE) {
                    return Err(Failure::Verdict(format!("its note is longer than {} octets", limits::NOTE)));
                }
            }
            Verdict::Deny(deny) => {
                self.shorten(&mut deny.delay_ms);
                let fits = |reason: &str| {
                    reason.len() <= limits::REASON
                        && reason.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-'))
                };
                if !fits(&deny.reason) {
                    return Err(Failure::Verdict(format!(
                        "its reason {} is not made of up to {} lower-case letters, digits and hyphens",
                        excerpt(&deny.reason),
                        limits::REASON
                    )));
                }
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

fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}
