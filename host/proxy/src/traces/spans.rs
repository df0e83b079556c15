//! The spans of a session: itself; each login with its decision and its way to a mail server;
//! then the posed and the relayed part, with the upgrade between them. Attributes have the
//! words of the decision log.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use super::otlp::{Attribute, Kind, Span, Status, Value};
use crate::decision_log::{Became, Decision, Session, Story};
use reprieve_policy_host::{Ending, Verdict, Worded as _};

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

/// The moment on the machine's clock that an instant was.
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

impl Whole {
    pub(super) fn new(session: &Session<'_>, story: Option<Box<Story>>) -> Self {
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
            octets_in: session.octets_in,
            octets_out: session.octets_out,
            end: session.end,
            story,
        }
    }
}

/// The spans of one session.
struct Trace<'a> {
    id: String,
    anchor: Anchor,
    spans: &'a mut Vec<Span>,
}

/// What tells one span from others.
struct Part {
    name: &'static str,
    kind: Kind,
    from: Instant,
    to: Instant,
    attributes: Vec<Attribute>,
    /// What went wrong, where something did.
    error: Option<&'static str>,
}

impl Part {
    fn new(name: &'static str, from: Instant, to: Instant) -> Self {
        Self { name, kind: Kind::Internal, from, to, attributes: Vec::new(), error: None }
    }

    fn of(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(Attribute { key, value: value.into() });
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
}

/// Adds the spans of a session to others.
pub(super) fn spans(session: Whole, spans: &mut Vec<Span>) {
    let mut trace = Trace { id: random::<16>(), anchor: session.anchor, spans };
    let whole = Part::new("session", session.began, session.ended)
        .of(Kind::Server)
        .with("reprieve.id", session.id)
        .with("reprieve.virtual-server", session.virtual_server)
        .with("client.address", session.peer.ip().to_canonical().to_string())
        .with("client.port", u64::from(session.peer.port()))
        .with("server.address", session.local.ip().to_canonical().to_string())
        .with("server.port", u64::from(session.local.port()))
        .maybe("reprieve.tls.version", session.tls)
        .with("reprieve.upgraded", session.upgraded)
        .with("reprieve.relief", session.relief)
        .with("reprieve.octets-in", session.octets_in)
        .with("reprieve.octets-out", session.octets_out)
        .with("reprieve.end", session.end);
    let root = trace.add("", whole);
    let Some(story) = session.story else { return };
    for decision in &story.decisions {
        trace.login(&root, decision);
    }
    let Some(last) = story.decisions.last().filter(|_| story.left_out == 0) else { return };
    let upgrade = story.upgrade.as_ref();
    let mut relayed_from = match (&last.ending, last.became) {
        (Some(ending), Became::Passed) if ending.outcome == Ending::Authenticated => Some(ending.ended),
        _ => None,
    };
    if last.became == Became::Posed {
        let until = upgrade.map_or(session.ended, |upgrade| upgrade.began);
        trace.add(&root, Part::new("pose", end_of(last), until));
    }
    if let Some(upgrade) = upgrade {
        let failed = (upgrade.outcome != "authenticated").then_some(upgrade.outcome);
        let part = Part::new("upgrade", upgrade.began, upgrade.ended)
            .of(Kind::Client)
            .with("reprieve.upgrade-why", upgrade.why)
            .with("reprieve.upgrade-outcome", upgrade.outcome)
            .maybe("reprieve.upgrade-node", upgrade.node.as_deref())
            .failed(failed);
        trace.add(&root, part);
        if session.upgraded {
            relayed_from = Some(upgrade.ended);
        } else {
            // It stays posed.
            trace.add(&root, Part::new("pose", upgrade.ended, session.ended));
        }
    }
    if let Some(from) = relayed_from {
        trace.add(&root, Part::new("relay", from, session.ended));
    }
}

/// When a login was through.
fn end_of(decision: &Decision) -> Instant {
    decision.ending.as_ref().map_or(decision.asked + decision.took, |ending| ending.ended)
}

impl Trace<'_> {
    fn login(&mut self, root: &str, decision: &Decision) {
        let (verdict, manner, reason, failure) = match &decision.verdict {
            Ok(Verdict::Pass(_)) => (Some("pass"), None, None, None),
            Ok(Verdict::Deny(deny)) => (Some("deny"), Some(deny.manner.word()), Some(&*deny.reason), None),
            Err(failure) => (None, None, None, Some(*failure)),
        };
        let outcome = decision.ending.as_ref().map(|ending| ending.outcome.word());
        let login = Part::new("login", decision.asked, end_of(decision))
            .with("reprieve.seq", decision.seq)
            .with("reprieve.mechanism", decision.claim.mechanism.word())
            .with("reprieve.standing", decision.claim.standing.word())
            .with("reprieve.became", decision.became.name())
            .maybe("reprieve.why", decision.why)
            .maybe("reprieve.outcome", outcome);
        let login = self.add(root, login);
        let decide = Part::new("decide", decision.asked, decision.asked + decision.took)
            .with("reprieve.policy.component", &*decision.policy.component)
            .with("reprieve.policy.sha256", &*decision.policy.sha256)
            .with("reprieve.policy.version", decision.policy.version)
            .maybe("reprieve.verdict", verdict)
            .maybe("reprieve.manner", manner)
            .maybe("reprieve.reason", reason)
            .maybe("reprieve.failure", failure)
            .failed(failure);
        self.add(&login, decide);
        if let Some(ending) = &decision.ending {
            let outcome = ending.outcome.word();
            let connect = Part::new("connect", ending.began, ending.ended)
                .of(Kind::Client)
                .maybe("reprieve.node", ending.node.as_deref())
                .with("reprieve.outcome", outcome)
                .failed((ending.outcome == Ending::Unreachable).then_some(outcome));
            self.add(&login, connect);
        }
    }

    /// Adds a span; its id.
    fn add(&mut self, parent: &str, part: Part) -> String {
        let id = random::<8>();
        self.spans.push(Span {
            trace_id: self.id.clone(),
            span_id: id.clone(),
            parent_span_id: parent.to_owned(),
            name: part.name,
            kind: part.kind,
            start: self.anchor.at(part.from),
            end: self.anchor.at(part.to.max(part.from)),
            attributes: part.attributes,
            status: part.error.map(Status::error),
        });
        id
    }
}

/// So many random octets, in hexadecimal.
fn random<const OCTETS: usize>() -> String {
    use std::fmt::Write as _;
    let mut octets = [0_u8; OCTETS];
    // Where the system has none, traces are mixed up: nothing else depends on it.
    let _ = getrandom::fill(&mut octets);
    octets.iter().fold(String::with_capacity(2 * OCTETS), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}
