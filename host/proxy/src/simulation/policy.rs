//! The policy of a simulation: native code that does what the built-in `interval` does, and now and then
//! something else. Sessions call it as they call a component.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::plan::SECOND;
use super::random::Random;
use super::store::StoreClient;
use super::world::{World, pause};
use reprieve_policy_host::{
    self as host, Deny, Ending, Failure, Freshness, Login, Manner, Outcome, Pass, Policy, SessionSummary,
    Standing, Verdict,
};

/// Evaluates a component, or the policy of a simulation.
#[derive(Debug)]
pub(crate) enum Evaluator {
    Component(host::Evaluator),
    Native(NativePolicy),
}

impl Evaluator {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self::Component(host::Evaluator::new(policy))
    }

    pub(crate) fn policy(&self) -> &Policy {
        match self {
            Self::Component(evaluator) => evaluator.policy(),
            Self::Native(_) => unreachable!("a simulation has no decision log"),
        }
    }

    pub(crate) async fn warm_up(&self) -> Result<(), Failure> {
        match self {
            Self::Component(evaluator) => evaluator.warm_up().await,
            Self::Native(_) => Ok(()),
        }
    }

    pub(crate) async fn decide(&self, login: &Arc<Login>) -> Result<Verdict, Failure> {
        match self {
            Self::Component(evaluator) => evaluator.decide(login).await,
            Self::Native(policy) => policy.decide(login).await,
        }
    }

    pub(crate) async fn observe(&self, outcome: &Arc<Outcome>) -> Result<(), Failure> {
        match self {
            Self::Component(evaluator) => evaluator.observe(outcome).await,
            Self::Native(policy) => policy.observe(outcome).await,
        }
    }

    pub(crate) fn wants_sessions(&self) -> bool {
        match self {
            Self::Component(evaluator) => evaluator.wants_sessions(),
            Self::Native(_) => true,
        }
    }

    pub(crate) async fn ended(&self, summary: &SessionSummary) -> Result<(), Failure> {
        match self {
            Self::Component(evaluator) => evaluator.ended(summary).await,
            Self::Native(policy) => policy.ended(summary),
        }
    }

    pub(crate) fn retire(&self) {
        if let Self::Component(evaluator) = self {
            evaluator.retire();
        }
    }
}

/// What the policy has to decide when all is calm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Whatever it decides itself.
    Free,
    Pass,
    Deny,
}

/// What the policies of all proxies know, as if their store never failed.
#[derive(Debug)]
pub(super) struct PolicyMemory {
    /// By user key: when the mail server last accepted a login.
    passed_ms: Mutex<BTreeMap<String, u64>>,
    pub order: Mutex<Order>,
    /// What a policy was told last about a maildrop with a snapshot.
    pub told: Mutex<Option<Freshness>>,
}

impl PolicyMemory {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { passed_ms: Mutex::default(), order: Mutex::new(Order::Free), told: Mutex::default() })
    }
}

/// What the policies were told and what they said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PolicyTally {
    pub passes: u64,
    pub denials: u64,
    /// Of the denials: those that let nobody in.
    pub turned_away: u64,
    pub failures: u64,
    pub outcomes: u64,
    pub sessions: u64,
}

/// The policy of one process.
#[derive(Debug)]
pub(crate) struct NativePolicy {
    world: Arc<World>,
    memory: Arc<PolicyMemory>,
    /// The store that it needs.
    store: Option<Arc<StoreClient>>,
    random: Mutex<Random>,
    own: Arc<Mutex<PolicyTally>>,
}

impl NativePolicy {
    /// `own`: what this process has been told and has said.
    pub(super) fn new(
        world: &Arc<World>,
        memory: &Arc<PolicyMemory>,
        store: Option<Arc<StoreClient>>,
        own: &Arc<Mutex<PolicyTally>>,
    ) -> Self {
        let random = Mutex::new(world.fork());
        Self { world: world.clone(), memory: memory.clone(), store, random, own: own.clone() }
    }

    async fn decide(&self, login: &Arc<Login>) -> Result<Verdict, Failure> {
        let wait_ms = self.random.lock().up_to(3);
        pause(wait_ms).await;
        let verdict = self.judge(login);
        let mut own = self.own.lock();
        match &verdict {
            Ok(Verdict::Pass(_)) => own.passes += 1,
            Ok(Verdict::Deny(deny)) => {
                own.denials += 1;
                own.turned_away += u64::from(matches!(deny.manner, Manner::Refuse | Manner::Disconnect));
            }
            Err(_) => own.failures += 1,
        }
        verdict
    }

    fn judge(&self, login: &Login) -> Result<Verdict, Failure> {
        let mut random = self.random.lock();
        let order = *self.memory.order.lock();
        *self.memory.told.lock() = login.maildrop.snapshot.map(|_| login.maildrop.freshness);
        let plan = &self.world.plan;
        let has_failed = self.world.has_accident(&mut random, plan.accidents.policy_failures);
        if has_failed || self.store.as_ref().is_some_and(|store| !store.is_connected()) {
            return Err(Failure::Store("simulated".to_owned()));
        }
        // A denied login of a user whose way is not known would go to the wrong pool.
        let is_routed = plan.routes_user && login.claim.key.user().eq_ignore_ascii_case("user0");
        let may_deny =
            !is_routed || login.claim.standing == Standing::Known && login.maildrop.snapshot.is_some();
        let pass = Pass {
            pool: is_routed.then(|| SECOND.to_owned()),
            user: is_routed.then(|| plan.mailbox(0)),
            ..Pass::default()
        };
        match order {
            Order::Pass => return Ok(Verdict::Pass(pass)),
            Order::Deny if may_deny => return Ok(Verdict::Deny(Deny::new(Manner::Unchanged, "interval"))),
            Order::Deny => return Ok(Verdict::Pass(pass)),
            Order::Free => {}
        }
        let wait_s = match login.maildrop.freshness {
            Freshness::NewMail => 0,
            Freshness::Unknown => plan.interval_s,
            Freshness::Unchanged => plan.longest_s,
        };
        let passed_ms = self.memory.passed_ms.lock().get(login.claim.key.stored()).copied();
        let is_due =
            passed_ms.is_none_or(|passed| login.time.unix_ms.saturating_sub(passed) >= wait_s * 1000);
        if is_due || !may_deny || random.chance(30) {
            return Ok(Verdict::Pass(pass));
        }
        let manner = match random.up_to(60) {
            0 => Manner::Empty,
            1 => Manner::Busy,
            2 => Manner::Refuse,
            3 => Manner::Disconnect,
            _ => Manner::Unchanged,
        };
        let despite_new_mail = random.chance(20);
        if despite_new_mail {
            self.world.oracle.lock().insisted.insert(login.session.id.to_string());
        }
        let delay_ms = if random.chance(50) { 200 } else { 0 };
        Ok(Verdict::Deny(Deny { despite_new_mail, delay_ms, ..Deny::new(manner, "interval") }))
    }

    async fn observe(&self, outcome: &Outcome) -> Result<(), Failure> {
        let wait_ms = self.random.lock().up_to(2);
        pause(wait_ms).await;
        self.own.lock().outcomes += 1;
        if outcome.ending == Ending::Authenticated {
            let key = outcome.login.claim.key.stored().to_owned();
            self.memory.passed_ms.lock().insert(key, outcome.time.unix_ms);
        }
        Ok(())
    }

    fn ended(&self, _: &SessionSummary) -> Result<(), Failure> {
        self.own.lock().sessions += 1;
        Ok(())
    }
}
