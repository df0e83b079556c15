//! What a session keeps of itself for who is told of it at its end, and hands over then. Where
//! nobody is told, nothing is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Session;
use super::context::Context;
use super::link::Link;
use super::record::{End, Record};
use crate::decision_log::{self, Became, Decision, Journal, next_decision};
use crate::traces::Traces;
use reprieve_policy_host::{self as policy, Failure, Verdict};
use reprieve_pop3::command::Command;

/// Who is told of sessions.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// The decision log.
    pub journal: Option<Arc<Journal>>,
    /// OpenTelemetry.
    pub traces: Option<Arc<Traces>>,
}

impl Telling {
    /// Whether anybody is told of a session.
    fn is_wanted(&self, session: &str) -> bool {
        self.journal.is_some() || self.traces_of(session).is_some()
    }

    /// Has all that waits written and sent, and ends; for each it waits so long at the most.
    pub fn close(&self, within: Duration) {
        if let Some(journal) = &self.journal {
            journal.close(within);
        }
        if let Some(traces) = &self.traces {
            traces.close(within);
        }
    }

    fn traces_of(&self, session: &str) -> Option<&Traces> {
        self.traces.as_deref().filter(|traces| traces.wants(session))
    }
}

impl Session {
    /// Asks the policy, and keeps what that was about.
    pub(super) async fn decide(&mut self, login: &policy::Login) -> Result<Verdict, Failure> {
        let context = &self.context;
        if !context.telling.is_wanted(self.record.id.as_str()) {
            let verdict = Box::pin(context.judge.decide(login)).await;
            if let Some(shadow) = &context.shadow {
                // Nobody wants to know what it says of this one.
                let _ = shadow.judged(login, &verdict);
            }
            return verdict;
        }
        let (seq, asked) = (next_decision(), Instant::now());
        let verdict = Box::pin(context.judge.decide(login)).await;
        let took = asked.elapsed();
        let shadow = context
            .shadow
            .as_ref()
            .map(|shadow| (shadow.judged(login, &verdict), shadow.policy().identity().clone()));
        let (became, why) = Decision::became(&verdict, context.settings.on_failure);
        let decision = Decision {
            seq,
            at_ms: login.time.unix_ms,
            claim: login.claim.clone(),
            backend: login.backend.clone(),
            policy: context.judge.policy().identity().clone(),
            verdict: without_note(&verdict),
            became,
            why,
            ending: None,
            shadow,
            asked,
            took,
        };
        self.record.story.get_or_insert_default().add(decision);
        verdict
    }
}

/// That there was a note is told, and not what it says.
fn without_note(verdict: &Result<Verdict, Failure>) -> Result<Verdict, &'static str> {
    match verdict {
        Ok(Verdict::Pass(pass)) => Ok(Verdict::Pass(policy::Pass {
            pool: pass.pool.clone(),
            user: pass.user.clone(),
            note: pass.note.as_ref().map(|_| String::new()),
            delay_ms: pass.delay_ms,
        })),
        Ok(Verdict::Deny(deny)) => Ok(Verdict::Deny(deny.clone())),
        Err(failure) => Err(failure.kind()),
    }
}

impl Record {
    /// The latest decision, where it is kept.
    fn decision(&mut self) -> Option<&mut Decision> {
        self.story.as_mut()?.latest()
    }

    /// Something else is carried out than the policy has said.
    pub(super) fn instead(&mut self, became: Became, why: &'static str) {
        if let Some(decision) = self.decision() {
            (decision.became, decision.why) = (became, Some(why));
        }
    }

    /// A login at a mail server has ended, as the policy is told. `began`: when the verdict
    /// was there.
    pub(super) fn ending(&mut self, outcome: &policy::Outcome, began: Instant) {
        if let Some(decision) = self.decision() {
            decision.ending = Some(decision_log::Ending {
                outcome: outcome.ending,
                at_ms: outcome.time.unix_ms,
                node: outcome.node.clone(),
                latency_ms: outcome.latency_ms,
                began,
                ended: Instant::now(),
            });
        }
    }

    /// A posed session was to go on at a mail server. `line`: the command that asked for it.
    /// `node`: the one that has let it in; without it the record's outcome says what was wrong.
    pub(super) fn upgrade(&mut self, line: &[u8], began: Instant, node: Result<Option<Arc<str>>, ()>) {
        let outcome = match &node {
            Ok(Some(_)) => "authenticated",
            Ok(None) => self.outcome,
            Err(()) => "abandoned",
        };
        if let Some(story) = &mut self.story {
            let why = match Command::parse(line) {
                Command::Retr(_) => "RETR",
                Command::Top(..) => "TOP",
                Command::Dele(_) => "DELE",
                _ => "other",
            };
            let node = node.unwrap_or_default();
            story.upgrade = Some(decision_log::Upgrade { why, outcome, node, began, ended: Instant::now() });
        }
    }

    /// Hands the session over.
    pub(super) fn tell(&mut self, context: &Context, link: &Link, end: End, relief: bool) {
        let telling = &context.telling;
        if !telling.is_wanted(self.id.as_str()) {
            return;
        }
        let session = decision_log::Session {
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
            octets_in: link.octets_in,
            octets_out: link.octets_out,
            end: end.name(),
        };
        if let Some(journal) = &telling.journal {
            journal.tell(&session, self.story.as_deref());
        }
        if let Some(traces) = telling.traces_of(self.id.as_str()) {
            traces.tell(&session, self.story.take());
        }
    }
}
