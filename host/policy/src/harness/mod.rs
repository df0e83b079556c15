//! Policies tried on a desk: in virtual time, without sockets, with the host's part played as
//! the proxy plays it. For those who write policies, and for `reprieve policy test`.
//!
//! ```
//! use reprieve_policy_host::Action;
//! use reprieve_policy_host::harness::Trial;
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut trial = Trial::of("interval")
//!     .setting("interval", "10m")
//!     .time_zone("Europe/Berlin")?
//!     .start("2026-03-10T12:00:00")?
//!     .build()?;
//! trial.login("alice").expect_pass();
//! trial.advance("9m")?;
//! let again = trial.login("alice");
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

pub use builder::{Builder, refusal};
pub use decision::{Decision, LogLine};
pub use login::{Attempt, Happens, Who};

use crate::{
    Action, Decided, Ending, Evaluator, Facts, Failure, Outcome, Policy, Rules, Standing, Verdict, dispose,
    moment,
};
use recorder::{Lines, Recorder};
pub(crate) use recorder::{octets, text as text_in_words};
use reprieve_metrics::cpu_time;
use reprieve_store::clock::ManualClock;
use reprieve_store::{Fault, Namespace};
pub(crate) use time::Moment;
pub use time::in_words;

/// The reference's example in Rust is compiled and run with the others.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/scenarios.md")]
struct Reference;

/// A policy that is being tried. Time stands still but where it is moved.
#[derive(Debug)]
pub struct Trial {
    runtime: tokio::runtime::Runtime,
    judge: Evaluator,
    namespace: Namespace,
    clock: Arc<ManualClock>,
    recorder: Arc<Recorder>,
    lines: Arc<Lines>,
    zone: TimeZone,
    virtual_server: String,
    pool: String,
    rules: Rules,
    outcome: Happens,
    /// Pairs of user and authorization id whose secret a mail server has accepted.
    known: HashSet<(String, Option<String>)>,
    /// Those who have had a session at a mail server, which leaves a snapshot.
    seen: HashSet<(String, Option<String>)>,
    logins: u64,
}

impl Trial {
    /// Begins to describe a trial. `component`: a built-in policy's name, or a file's path.
    #[must_use]
    pub fn of(component: &str) -> Builder {
        Builder::new(component)
    }

    /// Has somebody log in, and tells all that followed.
    pub fn login(&mut self, attempt: impl Into<Attempt>) -> Decision {
        let Attempt { mut who, standing, happens, pool, interference, out_of_time } = attempt.into();
        let identity = (who.user.clone(), who.authorization_id.clone());
        who.standing = standing.unwrap_or(if self.known.contains(&identity) {
            Standing::Known
        } else {
            Standing::Unknown
        });
        who.backend.pool = pool.unwrap_or_else(|| self.pool.clone());
        self.logins += 1;
        let at_ms = self.clock.now_ms();
        let login = who.login(&self.virtual_server, &format!("trial-{}", self.logins), at_ms, &self.zone);
        if out_of_time {
            self.judge.exhaust_next_decision();
        }
        self.recorder.interfere_with(interference);
        let began = cpu_time::of_this_thread();
        let verdict = self.runtime.block_on(self.judge.decide(&login));
        let computing = cpu_time::of_this_thread().saturating_sub(began);
        self.advance_by(delay(&verdict));
        let facts = Facts {
            standing: who.standing,
            sees_secret: !who.mechanism.hides_secret(),
            // A secret is known or has changed only after a session at a mail server.
            has_snapshot: who.standing != Standing::Unknown || self.seen.contains(&identity),
        };
        let disposition = dispose(Decided::from(&verdict), facts, self.rules);
        let happens = happens.unwrap_or_else(|| self.outcome.clone());
        let mut observed = None;
        let mut observing = Duration::ZERO;
        if disposition.action == Action::Passed
            && let Happens::Ends { ending, node, latency, after } = &happens
        {
            self.advance_by(*after);
            let outcome = Outcome {
                session: login.session,
                client: login.client,
                claim: login.claim,
                time: moment(self.clock.now_ms(), &self.zone),
                node: node.clone(),
                latency_ms: u32::try_from(latency.as_millis()).unwrap_or(u32::MAX),
                ending: *ending,
                note: match &verdict {
                    Ok(Verdict::Pass(pass)) => pass.note.clone(),
                    _ => None,
                },
            };
            match ending {
                Ending::Authenticated => {
                    self.seen.insert(identity.clone());
                    self.known.insert(identity);
                }
                // That another secret is wrong says nothing about the one that is known.
                Ending::Rejected if who.standing == Standing::Known => {
                    self.known.remove(&identity);
                }
                Ending::Rejected | Ending::Unreachable | Ending::Abandoned => {}
            }
            let began = cpu_time::of_this_thread();
            let failure = self.runtime.block_on(self.judge.observe(&outcome)).err();
            observing = cpu_time::of_this_thread().saturating_sub(began);
            observed = Some((*ending, failure));
        }
        self.recorder.interfere_with(None);
        Decision {
            at_ms,
            user: who.user,
            standing: who.standing,
            verdict,
            disposition,
            observed,
            log: self.lines.take(),
            store: self.recorder.take(),
            computing,
            observing,
            memory: self.judge.idle_memory(),
        }
    }

    /// Lets time pass: `90s`, `10m`, `1h`, `1d`.
    ///
    /// # Errors
    /// Where the text is no duration.
    pub fn advance(&mut self, by: &str) -> anyhow::Result<()> {
        let by = reprieve_settings::duration(by)
            .ok_or_else(|| anyhow::anyhow!("{by:?} is no duration; an example is \"10m\""))?;
        self.advance_by(by);
        Ok(())
    }

    /// Lets time pass.
    pub fn advance_by(&mut self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.clock.set(self.clock.now_ms().saturating_add(by));
    }

    /// Goes to a moment, which may be before the present one: clocks are set back sometimes.
    /// `to`: `2026-03-10T12:00:00`, in the time zone.
    ///
    /// # Errors
    /// Where the text is no date and time.
    pub fn go_to(&mut self, to: &str) -> anyhow::Result<()> {
        self.clock.set(time::moment(to, &self.zone).map_err(anyhow::Error::msg)?);
        Ok(())
    }

    /// Milliseconds since 1970 that the clock shows.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Sets the clock, to milliseconds since 1970.
    pub fn set_now_ms(&mut self, unix_ms: u64) {
        self.clock.set(unix_ms);
    }

    /// The time zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The store's value under a key.
    #[must_use]
    pub fn stored(&self, key: &str) -> Option<Vec<u8>> {
        self.runtime.block_on(self.namespace.get(key)).ok().flatten()
    }

    /// All keys and values of the store, by key.
    #[must_use]
    pub fn store(&self) -> Vec<(String, Vec<u8>)> {
        let mut all: Vec<_> =
            self.namespace.entries().into_iter().map(|(key, value, _)| (key, value)).collect();
        all.sort();
        all
    }

    /// Octets that the store takes, as the policy is told.
    #[must_use]
    pub fn store_usage(&self) -> u64 {
        self.runtime.block_on(self.namespace.usage()).unwrap_or(0)
    }

    /// Writes into the store, as another proxy that shares it would.
    ///
    /// # Errors
    /// Where the store refuses.
    pub fn write(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        Ok(self.runtime.block_on(self.namespace.set(key, value, None))??)
    }

    /// Takes a key from the store; tells whether it was there.
    pub fn forget(&mut self, key: &str) -> bool {
        self.runtime.block_on(self.namespace.delete(key)).unwrap_or(false)
    }

    /// Throws the policy's instances away, as the host may at any time: what it has in its own
    /// memory is gone.
    pub fn forget_instances(&mut self) {
        self.judge.forget_instances();
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.judge.policy()
    }
}

/// How long the host waits before it goes on or answers.
fn delay(verdict: &Result<Verdict, Failure>) -> Duration {
    let ms = match verdict {
        Ok(Verdict::Pass(pass)) => pass.delay_ms,
        Ok(Verdict::Deny(deny)) => deny.delay_ms,
        Err(_) => 0,
    };
    Duration::from_millis(u64::from(ms))
}

/// What is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The store cannot be reached.
    StoreUnavailable,
    /// The store takes nothing more.
    StoreFull,
    /// The budget of computing time is spent at once.
    Time,
}

impl Injection {
    fn interference(self) -> Option<Fault> {
        match self {
            Self::StoreUnavailable => Some(Fault::Unavailable),
            Self::StoreFull => Some(Fault::Full),
            Self::Time => None,
        }
    }
}
