//! What a session records for the decision log and the traces, and hands over when it ends. If
//! neither is configured, nothing is recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use super::client_io::ClientIo;
use super::context::Context;
use super::labeled_counters::UpgradeCommand;
use super::session_record::{SessionEnd, SessionRecord};
use crate::decision_log::{self, Decision, DecisionLog, next_decision};
use crate::traces::Traces;
use reprieve_policy_host::{self as policy, Disposition, Ending, Failure, Verdict};

/// The receivers of finished sessions.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// The decision log.
    pub decision_log: Option<Arc<DecisionLog>>,
    /// OpenTelemetry traces.
    pub traces: Option<Arc<Traces>>,
}

impl Sinks {
    /// Whether either of them wants a session.
    fn is_wanted(&self, session: &str) -> bool {
        self.decision_log.is_some() || self.traces_of(session).is_some()
    }

    /// Flushes and closes both, waiting at most `within` for each.
    pub fn close(&self, within: Duration) {
        if let Some(decision_log) = &self.decision_log {
            decision_log.close(within);
        }
        if let Some(traces) = &self.traces {
            traces.close(within);
        }
    }

    fn traces_of(&self, session: &str) -> Option<&Traces> {
        self.traces.as_deref().filter(|traces| traces.is_sampled(session))
    }
}

impl Session {
    /// Calls the policy, and records the decision if it is wanted. `has_snapshot`: for the shadow
    /// policy, to whose verdict the same rules are applied.
    pub(super) async fn decide(
        &mut self,
        login: &Arc<policy::Login>,
        has_snapshot: bool,
    ) -> Result<Verdict, Failure> {
        let context = &self.context;
        if !context.sinks.is_wanted(self.record.id.as_str()) {
            let verdict = Box::pin(context.evaluator.decide(login)).await;
            if let Some(shadow) = &context.shadow {
                // The shadow's verdict is counted, but not recorded with this session.
                let _ = shadow.judged(login, &verdict, has_snapshot);
            }
            return verdict;
        }
        let (seq, asked) = (next_decision(), Instant::now());
        let verdict = Box::pin(context.evaluator.decide(login)).await;
        let took = asked.elapsed();
        let shadow = context
            .shadow
            .as_ref()
            .map(|shadow| (shadow.judged(login, &verdict, has_snapshot), shadow.policy().identity().clone()));
        let decision = Decision {
            seq,
            at_ms: login.time.unix_ms,
            claim: login.claim.clone(),
            freshness: login.maildrop.freshness,
            backend: login.backend.clone(),
            policy: context.evaluator.policy().identity().clone(),
            verdict: without_note(&verdict),
            disposition: None,
            outcome: None,
            shadow,
            asked,
            took,
        };
        self.record.events.get_or_insert_default().add(decision);
        verdict
    }
}

/// The verdict with an empty note: that there was a note is recorded, its text is not.
fn without_note(verdict: &Result<Verdict, Failure>) -> Result<Verdict, &'static str> {
    match verdict {
        Ok(Verdict::Pass(pass)) => {
            let note = pass.note.as_ref().map(|_| String::new());
            Ok(Verdict::Pass(policy::Pass { note, ..pass.clone() }))
        }
        Ok(Verdict::Deny(deny)) => {
            let note = deny.note.as_ref().map(|_| String::new());
            Ok(Verdict::Deny(policy::Deny { note, ..deny.clone() }))
        }
        Err(failure) => Err(failure.kind()),
    }
}

impl SessionRecord {
    /// The latest decision, if decisions are recorded.
    fn decision(&mut self) -> Option<&mut Decision> {
        self.events.as_mut()?.latest()
    }

    /// Records what happens to the latest login.
    pub(super) fn dispose(&mut self, disposition: Disposition) {
        self.disposition = Some(disposition);
        if let Some(decision) = self.decision() {
            decision.disposition = Some(disposition);
        }
    }

    /// Records how a login ended at a mail server. `began`: when the verdict was made.
    pub(super) fn ending(&mut self, outcome: &policy::Outcome, began: Instant) {
        if let Some(decision) = self.decision() {
            decision.outcome = Some(decision_log::ObservedOutcome {
                ending: outcome.ending,
                at_ms: outcome.time.unix_ms,
                node: outcome.node.as_deref().map(str::to_owned),
                latency_ms: outcome.latency_ms,
                began,
                ended: Instant::now(),
            });
        }
    }

    /// Records an upgrade. `line`: the command that asked for it.
    pub(super) fn upgrade(&mut self, line: &[u8], began: Instant, outcome: Ending, node: Option<Arc<str>>) {
        if let Some(events) = &mut self.events {
            let command = UpgradeCommand::of(line).map_or("other", UpgradeCommand::name);
            events.upgrade =
                Some(decision_log::Upgrade { command, outcome, node, began, ended: Instant::now() });
        }
    }

    /// Hands the finished session to the decision log and the traces.
    pub(super) fn tell(&mut self, context: &Context, client: &ClientIo, end: SessionEnd, relief: bool) {
        let sinks = &context.sinks;
        if !sinks.is_wanted(self.id.as_str()) {
            return;
        }
        let session = decision_log::EndedSession {
            id: self.id.as_str(),
            virtual_server: &context.settings.name,
            peer: self.peer,
            local: self.local,
            tls: self.tls.as_deref(),
            ended_ms: context.clock.now_ms(),
            began: self.began,
            ended: Instant::now(),
            upgraded: self.upgraded,
            relief,
            bytes_in: client.bytes_in,
            bytes_out: client.bytes_out,
            end: end.name(),
        };
        if let Some(decision_log) = &sinks.decision_log {
            decision_log.tell(&session, self.events.as_deref());
        }
        if let Some(traces) = sinks.traces_of(self.id.as_str()) {
            traces.record(&session, self.events.take());
        }
    }
}
