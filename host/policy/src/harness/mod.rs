//! Test harness for policies: plays logins in virtual time and without sockets, and applies the
//! host's rules as the proxy does. For policy authors, and for `reprieve policy test`.
//!
//! ```
//! use reprieve_policy_host::Action;
//! use reprieve_policy_host::harness::Harness;
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut harness = Harness::of("interval")
//!     .setting("interval", "10m")
//!     .time_zone("Europe/Berlin")?
//!     .start("2026-03-10T12:00:00")?
//!     .build()?;
//! harness.login("alice").expect_pass();
//! harness.advance("9m")?;
//! let again = harness.login("alice");
//! assert_eq!(again.expect_deny().retry_after, Some(60));
//! assert_eq!(again.action(), Action::Posed);
//! # Ok(())
//! # }
//! ```

mod builder;
mod decision;
mod login;
mod recorder;
mod time;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use builder::{HarnessBuilder, settings_error};
pub use decision::{Decision, LogLine};
pub use login::{BackendOutcome, InjectedFault, LoginFacts, SessionTotals, TestLogin};

use crate::{
    Action, Cause, Decided, Ending, Evaluator, Facts, Failure, Freshness, Login, Manner, MemoryKey, Outcome,
    Policy, Pools, Rules, SessionSummary, Standing, Verdict, dispose, moment, remembered,
};
use login::TestPools;
use recorder::{LogBuffer, Recorder};
pub(crate) use recorder::{named, named_value, quoted};
use reprieve_metrics::cpu_time;
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;
pub use time::format_time;
pub(crate) use time::{TimeSpec, parse_time};

/// Compiles and runs the Rust example of the reference page with the other doctests.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/scenarios.md")]
struct Reference;

/// User name and authorization id, which together have a known secret or a snapshot.
type UserIdentity = (String, Option<String>);

/// A policy under test, with its store and a clock that moves only on request.
#[derive(Debug)]
pub struct Harness {
    runtime: tokio::runtime::Runtime,
    evaluator: Evaluator,
    namespace: Namespace,
    clock: Arc<ManualClock>,
    recorder: Arc<Recorder>,
    lines: Arc<LogBuffer>,
    zone: TimeZone,
    virtual_server: String,
    pool: String,
    pools: Arc<dyn Pools>,
    rules: Rules,
    /// Outcome of logins that do not specify one.
    outcome: BackendOutcome,
    /// Users whose current secret a mail server has accepted.
    known_secrets: HashSet<UserIdentity>,
    /// Users with a snapshot: they have had a session at a mail server.
    snapshots: HashSet<UserIdentity>,
    /// Users with new mail since their last session at a mail server.
    new_mail: HashSet<UserIdentity>,
    /// Whether each call gets a fresh instance.
    uses_fresh_instances: bool,
    logins: u64,
}

impl Harness {
    /// Starts the description of a harness. `component`: the name of a built-in policy, or the
    /// path of a component.
    #[must_use]
    pub fn of(component: &str) -> HarnessBuilder {
        HarnessBuilder::new(component)
    }

    /// Plays a login: a [`TestLogin`], [`LoginFacts`], or the name of a user.
    pub fn login(&mut self, login: impl Into<TestLogin>) -> Decision {
        let TestLogin { mut facts, standing, outcome, pool, fault, other_pools, upgrade, session } =
            login.into();
        let identity = (facts.user.clone(), facts.authorization_id.clone());
        facts.standing = standing.unwrap_or(if self.known_secrets.contains(&identity) {
            Standing::Known
        } else {
            Standing::Unknown
        });
        // A secret is known or has changed only after a session at a mail server.
        let has_snapshot = facts.standing != Standing::Unknown
            || facts.maildrop.snapshot.is_some()
            || self.snapshots.contains(&identity);
        if has_snapshot && self.new_mail.contains(&identity) {
            facts.maildrop.freshness = Freshness::NewMail;
        }
        facts.backend.pool = pool.unwrap_or_else(|| self.pool.clone()).into();
        self.logins += 1;
        let at_ms = self.clock.now_ms();
        let id = format!("login-{}", self.logins);
        facts.pools = Arc::new(TestPools { all: self.pools.clone(), states: other_pools });
        let login = facts.login(&self.virtual_server, &id, at_ms, &self.zone);
        if fault == Some(InjectedFault::Time) {
            self.evaluator.exhaust_next_decision();
        }
        self.recorder.set_fault(fault.and_then(InjectedFault::store_fault));
        self.forget_instances_if_fresh();
        let began = cpu_time::of_this_thread();
        let verdict = self.runtime.block_on(self.evaluator.decide(&login));
        let decide_cpu = cpu_time::of_this_thread().saturating_sub(began);
        self.advance_by(delay(&verdict));
        let pass = verdict.as_ref().ok().and_then(Verdict::pass);
        let disposition_facts = Facts::of(&login, pass, has_snapshot);
        let disposition = dispose(Decided::from(&verdict), disposition_facts, self.rules);
        let (mut observed, mut observe_cpu) = (None, Duration::ZERO);
        let mut end_failure = None;
        let cause = match disposition.action {
            Action::Passed => Some(disposition.cause()),
            Action::Posed if upgrade && disposition.manner == Some(Manner::Unchanged) => Some(Cause::Upgrade),
            _ => None,
        };
        if let Some(cause) = cause {
            let outcome = outcome.unwrap_or_else(|| self.outcome.clone());
            let note = verdict.as_ref().ok().and_then(Verdict::note).map(str::to_owned);
            (observed, observe_cpu) = self.observe(login.clone(), cause, note, outcome);
            if let (Some(totals), Some((Ending::Authenticated, _))) = (session, &observed) {
                end_failure = self.end(login, cause, totals);
            }
        }
        self.recorder.set_fault(None);
        Decision {
            at_ms,
            user: facts.user,
            standing: facts.standing,
            freshness: facts.maildrop.freshness,
            verdict,
            disposition,
            observed,
            end_failure,
            log: self.lines.take(),
            store: self.recorder.take(),
            decide_cpu,
            observe_cpu,
            memory_bytes: self.evaluator.idle_memory(),
        }
    }

    /// Reports the outcome of a passed login to the policy. Returns the ending, the failure of
    /// `observe`, and its CPU time.
    fn observe(
        &mut self,
        login: Arc<Login>,
        cause: Cause,
        note: Option<String>,
        outcome: BackendOutcome,
    ) -> (Option<(Ending, Option<Failure>)>, Duration) {
        let BackendOutcome::Observed { ending, node, latency, after, response_code } = outcome else {
            return (None, Duration::ZERO);
        };
        self.advance_by(after);
        let identity = (login.claim.user.clone(), login.claim.authorization_id.clone());
        match ending {
            Ending::Authenticated => {
                self.snapshots.insert(identity.clone());
                // An upgraded session keeps the listing that the client was shown.
                if cause != Cause::Upgrade {
                    self.new_mail.remove(&identity);
                }
                self.known_secrets.insert(identity);
            }
            // The rejection of another secret says nothing about the known one.
            Ending::Rejected if login.claim.standing == Standing::Known => {
                self.known_secrets.remove(&identity);
            }
            Ending::Rejected | Ending::Unreachable | Ending::Abandoned => {}
        }
        let outcome = Arc::new(Outcome {
            cause,
            time: moment(self.clock.now_ms(), &self.zone),
            node: node.map(Into::into),
            latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
            response_code: response_code.map(Into::into),
            note,
            ..Outcome::new(login, ending)
        });
        self.forget_instances_if_fresh();
        let began = cpu_time::of_this_thread();
        let failure = self.runtime.block_on(self.evaluator.observe(&outcome)).err();
        let observe_cpu = cpu_time::of_this_thread().saturating_sub(began);
        (Some((ending, failure)), observe_cpu)
    }

    /// Reports the end of a session to the policy. Returns how `ended` failed.
    fn end(&mut self, login: Arc<Login>, cause: Cause, totals: SessionTotals) -> Option<Failure> {
        let SessionTotals { lasts, fetched, deleted, sent_bytes, quit } = totals;
        self.advance_by(lasts);
        let time = moment(self.clock.now_ms(), &self.zone);
        let duration = Duration::from_millis(time.unix_ms.saturating_sub(login.time.unix_ms));
        let upgrade = cause == Cause::Upgrade;
        let summary = SessionSummary { login, time, upgrade, quit, duration, fetched, deleted, sent_bytes };
        self.forget_instances_if_fresh();
        self.runtime.block_on(self.evaluator.ended(&summary)).err()
    }

    /// Whether the policy has the export that hears how sessions end.
    #[must_use]
    pub fn wants_sessions(&self) -> bool {
        self.evaluator.wants_sessions()
    }

    /// Moves the clock forward by a duration such as `90s`, `10m`, `1h` or `1d`.
    ///
    /// # Errors
    /// The text is not a duration.
    pub fn advance(&mut self, by: &str) -> anyhow::Result<()> {
        let by = reprieve_settings::duration(by)
            .ok_or_else(|| anyhow::anyhow!("{by:?} is not a duration; an example is \"9m30s\""))?;
        self.advance_by(by);
        Ok(())
    }

    /// Moves the clock forward.
    pub fn advance_by(&mut self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.clock.set(self.clock.now_ms().saturating_add(by));
    }

    /// Sets the clock to a date and time in the time zone, such as `2026-03-10T12:00:00`. It may
    /// be in the past: real clocks are set back sometimes.
    ///
    /// # Errors
    /// The text is not a date and time.
    pub fn set_time(&mut self, to: &str) -> anyhow::Result<()> {
        self.clock.set(parse_time(to, &self.zone).map_err(anyhow::Error::msg)?);
        Ok(())
    }

    /// Unix time in milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Sets the clock to a Unix time in milliseconds.
    pub fn set_now_ms(&mut self, unix_ms: u64) {
        self.clock.set(unix_ms);
    }

    /// Time zone of the virtual server.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Value of a key in the store.
    #[must_use]
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.runtime.block_on(self.namespace.get(key)).ok().flatten()
    }

    /// What the policy remembers about a user. `user_key`: the user's name, or the names of a master
    /// user and of the user that they act as, with a NUL between them.
    #[must_use]
    pub fn remembered(&self, user_key: &str) -> [u32; 4] {
        let key = MemoryKey::of_user_key(user_key);
        let value = self.stored(key.stored()).unwrap_or_default();
        remembered(key.stored(), &value).map_or([0; 4], |(_, numbers)| numbers)
    }

    /// All entries of the store, sorted by key.
    #[must_use]
    pub fn store(&self) -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<_> =
            self.namespace.entries().into_iter().map(|(key, value, _)| (key, value)).collect();
        all.sort();
        all
    }

    /// Size of the store in bytes, as reported to the policy.
    #[must_use]
    pub fn store_usage(&self) -> u64 {
        self.runtime.block_on(self.namespace.usage()).unwrap_or(0)
    }

    /// Says that new mail has arrived for a user: their logins have the freshness `new-mail` until one
    /// passes and is authenticated. Without a snapshot this changes nothing. `user_key`: as for
    /// [`remembered`](Self::remembered).
    pub fn new_mail(&mut self, user_key: &str) {
        self.new_mail.insert(match user_key.split_once('\0') {
            Some((user, acting)) => (user.to_owned(), Some(acting.to_owned())),
            None => (user_key.to_owned(), None),
        });
    }

    /// Writes into the store, as another proxy that shares it would.
    ///
    /// # Errors
    /// The store rejects the write: see [`reprieve_store::Refused`].
    pub fn write(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.namespace.set(key, value, None))??)
    }

    /// Deletes a key from the store; returns whether it existed.
    pub fn delete(&mut self, key: &str) -> bool {
        self.runtime.block_on(self.namespace.delete(key)).unwrap_or(false)
    }

    /// Discards the policy's instances and everything in their memory, as the host may at any
    /// time.
    pub fn forget_instances(&mut self) {
        self.evaluator.forget_instances();
    }

    /// Whether each call gets a fresh instance, so that calls can share state only through the store
    /// [default: no].
    pub fn use_fresh_instances(&mut self, is_on: bool) {
        self.uses_fresh_instances = is_on;
    }

    fn forget_instances_if_fresh(&mut self) {
        if self.uses_fresh_instances {
            self.forget_instances();
        }
    }

    /// The policy under test, for its metrics.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.evaluator.policy()
    }
}

/// Delay that the verdict requests.
fn delay(verdict: &Result<Verdict, Failure>) -> Duration {
    Duration::from_millis(u64::from(verdict.as_ref().map_or(0, Verdict::delay_ms)))
}
