//! The spans of a session: itself; each login with its decision and its way to a mail server;
//! then the posed and the relayed part, with the upgrade between them. Attributes have the
//! words of the decision log.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};

use super::Anchor;
use crate::journal::{Became, Decision, Session, Story, words};
use crate::policy::{Ending, Verdict};

/// A session that is over, with nothing borrowed.
#[derive(Debug)]
pub(super) struct Whole {
    anchor: Anchor,
    id: String,
    virtual_server: String,
    peer: SocketAddr,
    local: SocketAddr,
    tls: Option<&'static str>,
    began: Instant,
    ended: Instant,
    upgraded: bool,
    relief: bool,
    octets_in: u64,
    octets_out: u64,
    end: &'static str,
    story: Option<Box<Story>>,
}

impl Whole {
    pub(super) fn new(session: &Session<'_>, story: Option<Box<Story>>) -> Self {
        Self {
            anchor: Anchor::now(),
            id: session.id.to_owned(),
            virtual_server: session.virtual_server.to_owned(),
            peer: session.peer,
            local: session.local,
            tls: session.tls.map(|tls| tls.version),
            began: session.began,
            ended: session.ended,
            upgraded: session.upgraded,
            relief: session.relief,
            octets_in: session.octets_in,
            octets_out: session.octets_out,
            end: session.end,
            story,
        }
    }
}

/// Makes spans.
#[derive(Debug)]
pub(super) struct Maker {
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
}

impl Default for Maker {
    fn default() -> Self {
        let scope = InstrumentationScope::builder("reprieve").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { ids: RandomIdGenerator::default(), scope }
    }
}

/// The spans of one session.
struct Trace<'a> {
    maker: &'a Maker,
    id: TraceId,
    anchor: Anchor,
    spans: &'a mut Vec<SpanData>,
}

/// What tells one span from others.
struct Part {
    name: &'static str,
    kind: SpanKind,
    from: Instant,
    to: Instant,
    attributes: Vec<KeyValue>,
    /// What went wrong, where something did.
    error: Option<&'static str>,
}

impl Part {
    fn new(name: &'static str, from: Instant, to: Instant) -> Self {
        Self { name, kind: SpanKind::Internal, from, to, attributes: Vec::new(), error: None }
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    fn maybe(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn failed(mut self, error: Option<&'static str>) -> Self {
        self.error = error;
        self
    }

    /// It asks another server.
    fn asking(mut self) -> Self {
        self.kind = SpanKind::Client;
        self
    }
}

impl Maker {
    /// Adds the spans of a session.
    pub(super) fn make(&self, session: Whole, spans: &mut Vec<SpanData>) {
        let mut trace = Trace { maker: self, id: self.ids.new_trace_id(), anchor: session.anchor, spans };
        let mut whole = Part::new("session", session.began, session.ended)
            .with("reprieve.id", session.id)
            .with("reprieve.virtual-server", session.virtual_server)
            .with("client.address", session.peer.ip().to_canonical().to_string())
            .with("client.port", i64::from(session.peer.port()))
            .with("server.address", session.local.ip().to_canonical().to_string())
            .with("server.port", i64::from(session.local.port()))
            .maybe("reprieve.tls.version", session.tls)
            .with("reprieve.upgraded", session.upgraded)
            .with("reprieve.relief", session.relief)
            .with("reprieve.octets-in", number(session.octets_in))
            .with("reprieve.octets-out", number(session.octets_out))
            .with("reprieve.end", session.end);
        whole.kind = SpanKind::Server;
        let root = trace.add(SpanId::INVALID, whole);
        let Some(story) = session.story else { return };
        for decision in &story.decisions {
            trace.login(root, decision);
        }
        let Some(last) = story.decisions.last().filter(|_| story.left_out == 0) else { return };
        let logged_in = end_of(last);
        let upgrade = story.upgrade.as_ref();
        let mut relayed_from = match (&last.ending, last.became) {
            (Some(ending), Became::Passed) if ending.outcome == Ending::Authenticated => Some(ending.ended),
            _ => None,
        };
        if last.became == Became::Posed {
            trace.add(
                root,
                Part::new("pose", logged_in, upgrade.map_or(session.ended, |upgrade| upgrade.began)),
            );
        }
        if let Some(upgrade) = upgrade {
            let failed = (upgrade.outcome != "authenticated").then_some(upgrade.outcome);
            let part = Part::new("upgrade", upgrade.began, upgrade.ended)
                .with("reprieve.upgrade-why", upgrade.why)
                .with("reprieve.upgrade-outcome", upgrade.outcome)
                .maybe("reprieve.upgrade-node", upgrade.node.as_deref().map(str::to_owned))
                .failed(failed)
                .asking();
            trace.add(root, part);
            if session.upgraded {
                relayed_from = Some(upgrade.ended);
            } else if last.became == Became::Posed {
                // It stays posed.
                trace.add(root, Part::new("pose", upgrade.ended, session.ended));
            }
        }
        if let Some(from) = relayed_from {
            trace.add(root, Part::new("relay", from, session.ended));
        }
    }
}

/// When a login was through.
fn end_of(decision: &Decision) -> Instant {
    decision.ending.as_ref().map_or(decision.asked + decision.took, |ending| ending.ended)
}

impl Trace<'_> {
    fn login(&mut self, root: SpanId, decision: &Decision) {
        let (verdict, manner, reason, failure) = match &decision.verdict {
            Ok(Verdict::Pass(_)) => (Some("pass"), None, None, None),
            Ok(Verdict::Deny(deny)) => {
                (Some("deny"), Some(words::manner(deny.manner)), Some(deny.reason.clone()), None)
            }
            Err(failure) => (None, None, None, Some(*failure)),
        };
        let outcome = decision.ending.as_ref().map(|ending| words::outcome(ending.outcome));
        let login = Part::new("login", decision.asked, end_of(decision))
            .with("reprieve.seq", number(decision.seq))
            .with("reprieve.mechanism", words::mechanism(decision.claim.mechanism))
            .with("reprieve.standing", words::standing(decision.claim.standing))
            .with("reprieve.became", decision.became.name())
            .maybe("reprieve.why", decision.why)
            .maybe("reprieve.outcome", outcome);
        let login = self.add(root, login);
        let decide = Part::new("decide", decision.asked, decision.asked + decision.took)
            .with("reprieve.policy.component", decision.policy.component.clone())
            .with("reprieve.policy.sha256", decision.policy.sha256.clone())
            .with("reprieve.policy.version", number(decision.policy.version))
            .maybe("reprieve.verdict", verdict)
            .maybe("reprieve.manner", manner)
            .maybe("reprieve.reason", reason)
            .maybe("reprieve.failure", failure)
            .failed(failure);
        self.add(login, decide);
        if let Some(ending) = &decision.ending {
            let outcome = words::outcome(ending.outcome);
            let connect = Part::new("connect", ending.began, ending.ended)
                .with("reprieve.backend.pool", decision.backend.pool.clone())
                .maybe("reprieve.node", ending.node.clone())
                .with("reprieve.outcome", outcome)
                .failed((ending.outcome == Ending::Unreachable).then_some(outcome))
                .asking();
            self.add(login, connect);
        }
    }

    fn add(&mut self, parent: SpanId, part: Part) -> SpanId {
        let id = self.maker.ids.new_span_id();
        self.spans.push(SpanData {
            span_context: SpanContext::new(self.id, id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: part.kind,
            name: part.name.into(),
            start_time: self.time(part.from),
            end_time: self.time(part.to.max(part.from)),
            attributes: part.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: part.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.maker.scope.clone(),
        });
        id
    }

    fn time(&self, instant: Instant) -> SystemTime {
        self.anchor.at(instant)
    }
}

/// OpenTelemetry's numbers have a sign.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
