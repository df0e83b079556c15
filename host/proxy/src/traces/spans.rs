//! The spans of a session: the session, each login with the decision and the connection to a mail
//! server, then the posed and the relayed part with the upgrade between them. Attributes have the
//! keys and values of the decision log.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use super::otlp::{Attribute, Kind, Span, Status, Value};
use crate::decision_log::{Decision, EndedSession, SessionEvents};
use reprieve_policy_host::{Action, Because, Ending, Verdict, Worded as _};

/// A finished session with owned data.
#[derive(Debug)]
pub(super) struct FinishedSession {
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
    bytes_in: u64,
    bytes_out: u64,
    end: &'static str,
    events: Option<Box<SessionEvents>>,
}

/// An instant and its system time, to convert other instants.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    instant: Instant,
    time: SystemTime,
}

impl Anchor {
    fn at(&self, instant: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(instant);
        self.time.checked_sub(ago).unwrap_or(self.time)
    }
}

impl FinishedSession {
    pub(super) fn new(session: &EndedSession<'_>, events: Option<Box<SessionEvents>>) -> Self {
        Self {
            anchor: Anchor { instant: Instant::now(), time: SystemTime::now() },
            id: session.id.to_owned(),
            virtual_server: session.virtual_server.to_owned(),
            peer: session.peer,
            local: session.local,
            tls: session.tls.map(|tls| tls.version),
            began: session.began,
            ended: session.ended,
            upgraded: session.upgraded,
            relief: session.relief,
            bytes_in: session.bytes_in,
            bytes_out: session.bytes_out,
            end: session.end,
            events,
        }
    }
}

/// The spans of one session.
struct Trace<'a> {
    id: String,
    anchor: Anchor,
    spans: &'a mut Vec<Span>,
}

/// A span that is being built.
struct SpanBuilder {
    name: &'static str,
    kind: Kind,
    from: Instant,
    to: Instant,
    attributes: Vec<Attribute>,
    /// What failed, if something did.
    error: Option<&'static str>,
}

impl SpanBuilder {
    fn new(name: &'static str, from: Instant, to: Instant) -> Self {
        Self { name, kind: Kind::Internal, from, to, attributes: Vec::new(), error: None }
    }

    fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(Attribute { key, value: value.into() });
        self
    }

    fn with_optional(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn with_error(mut self, error: Option<&'static str>) -> Self {
        self.error = error;
        self
    }
}

/// Appends the spans of a session.
pub(super) fn spans(session: FinishedSession, spans: &mut Vec<Span>) {
    let mut trace = Trace { id: random::<16>(), anchor: session.anchor, spans };
    let session_span = SpanBuilder::new("session", session.began, session.ended)
        .with_kind(Kind::Server)
        .with("reprieve.id", session.id)
        .with("reprieve.virtual_server", session.virtual_server)
        .with("client.address", session.peer.ip().to_canonical().to_string())
        .with("client.port", u64::from(session.peer.port()))
        .with("server.address", session.local.ip().to_canonical().to_string())
        .with("server.port", u64::from(session.local.port()))
        .with_optional("reprieve.tls.version", session.tls)
        .with("reprieve.upgraded", session.upgraded)
        .with("reprieve.relief", session.relief)
        .with("reprieve.bytes_in", session.bytes_in)
        .with("reprieve.bytes_out", session.bytes_out)
        .with("reprieve.end", session.end);
    let root = trace.push("", session_span);
    let Some(events) = session.events else { return };
    for decision in &events.decisions {
        trace.login(&root, decision);
    }
    let Some(last) = events.decisions.last().filter(|_| events.left_out == 0) else { return };
    let upgrade = events.upgrade.as_ref();
    let action = last.disposition.map(|disposition| disposition.action);
    let mut relayed_from = match (&last.outcome, action) {
        (Some(outcome), Some(Action::Passed)) if outcome.ending == Ending::Authenticated => {
            Some(outcome.ended)
        }
        _ => None,
    };
    if action == Some(Action::Posed) {
        let until = upgrade.map_or(session.ended, |upgrade| upgrade.began);
        trace.push(&root, SpanBuilder::new("pose", end_of(last), until));
    }
    if let Some(upgrade) = upgrade {
        let failed = (upgrade.outcome != Ending::Authenticated).then(|| upgrade.outcome.word());
        let upgrade_span = SpanBuilder::new("upgrade", upgrade.began, upgrade.ended)
            .with_kind(Kind::Client)
            .with("reprieve.upgrade_command", upgrade.command)
            .with("reprieve.upgrade_outcome", upgrade.outcome.word())
            .with_optional("reprieve.upgrade_node", upgrade.node.as_deref())
            .with_error(failed);
        trace.push(&root, upgrade_span);
        if session.upgraded {
            relayed_from = Some(upgrade.ended);
        } else {
            // A failed upgrade: the session stays posed.
            trace.push(&root, SpanBuilder::new("pose", upgrade.ended, session.ended));
        }
    }
    if let Some(from) = relayed_from {
        trace.push(&root, SpanBuilder::new("relay", from, session.ended));
    }
}

/// End of a login: of its outcome if there is one, otherwise of the decision.
fn end_of(decision: &Decision) -> Instant {
    decision.outcome.as_ref().map_or(decision.asked + decision.took, |outcome| outcome.ended)
}

impl Trace<'_> {
    fn login(&mut self, root: &str, decision: &Decision) {
        let (verdict, manner, reason, failure) = match &decision.verdict {
            Ok(Verdict::Pass(_)) => (Some("pass"), None, None, None),
            Ok(Verdict::Deny(deny)) => (Some("deny"), Some(deny.manner.word()), Some(&*deny.reason), None),
            Err(failure) => (None, None, None, Some(*failure)),
        };
        let outcome = decision.outcome.as_ref().map(|outcome| outcome.ending.word());
        let login = SpanBuilder::new("login", decision.asked, end_of(decision))
            .with("reprieve.seq", decision.seq)
            .with("reprieve.mechanism", decision.claim.mechanism.word())
            .with("reprieve.standing", decision.claim.standing.word())
            .with_optional("reprieve.disposition", decision.disposition.map(|it| it.action.name()))
            .with_optional(
                "reprieve.because",
                decision.disposition.and_then(|it| it.because).map(Because::name),
            )
            .with_optional("reprieve.outcome", outcome);
        let login = self.push(root, login);
        let decide = SpanBuilder::new("decide", decision.asked, decision.asked + decision.took)
            .with("reprieve.policy.component", &*decision.policy.component)
            .with("reprieve.policy.sha256", &*decision.policy.sha256)
            .with("reprieve.policy.version", decision.policy.version)
            .with_optional("reprieve.verdict", verdict)
            .with_optional("reprieve.manner", manner)
            .with_optional("reprieve.reason", reason)
            .with_optional("reprieve.failure", failure)
            .with_error(failure);
        self.push(&login, decide);
        if let Some(outcome) = &decision.outcome {
            let ending = outcome.ending.word();
            let connect = SpanBuilder::new("connect", outcome.began, outcome.ended)
                .with_kind(Kind::Client)
                .with_optional("reprieve.node", outcome.node.as_deref())
                .with("reprieve.outcome", ending)
                .with_error((outcome.ending == Ending::Unreachable).then_some(ending));
            self.push(&login, connect);
        }
    }

    /// Appends a span and returns its id.
    fn push(&mut self, parent: &str, span: SpanBuilder) -> String {
        let id = random::<8>();
        self.spans.push(Span {
            trace_id: self.id.clone(),
            span_id: id.clone(),
            parent_span_id: parent.to_owned(),
            name: span.name,
            kind: span.kind,
            start: self.anchor.at(span.from),
            end: self.anchor.at(span.to.max(span.from)),
            attributes: span.attributes,
            status: span.error.map(Status::error),
        });
        id
    }
}

/// `BYTES` random bytes in hexadecimal.
fn random<const BYTES: usize>() -> String {
    use std::fmt::Write as _;
    let mut bytes = [0_u8; BYTES];
    // If the system has no random bytes, spans of several traces are mixed up, but nothing else.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().fold(String::with_capacity(2 * BYTES), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
