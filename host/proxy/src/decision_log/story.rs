//! What a session hands over of itself: what its decisions needed, and what came of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::net::TlsSession;
use reprieve_policy_host::{
    self as policy, Backend, Claim, Failure, Identity, Manner, OnFailure, Opinion, Told, Verdict,
};

/// Decisions that are kept of one session. A client that goes on trying takes no more memory
/// than that.
const MOST_DECISIONS: usize = 32;

/// What is kept of a session while it lasts, once there was a login.
#[derive(Debug, Default)]
pub struct Story {
    /// In their order.
    pub decisions: Vec<Decision>,
    /// Decisions that are left out, because there were too many.
    pub left_out: u32,
    /// The upgrade of a posed session, where one was tried.
    pub upgrade: Option<Upgrade>,
}

/// What was carried out for a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// The host answered in the mail server's place.
    Posed,
    /// It went to a mail server.
    Passed,
    /// The client was told that it cannot log in.
    Refused,
    /// The connection was closed.
    Disconnected,
}

impl Became {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Posed => "posed",
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Disconnected => "disconnected",
        }
    }
}

/// A login that was judged, or could not be.
#[derive(Debug)]
pub struct Decision {
    /// The order of decisions in this process.
    pub seq: u64,
    /// The policy's clock, in Unix milliseconds.
    pub at_ms: u64,
    /// Who wants in.
    pub claim: Claim,
    /// How the pool was.
    pub backend: Backend,
    /// Who decided.
    pub policy: Arc<Identity>,
    /// What it said; or the word for how it failed.
    pub verdict: Result<Verdict, &'static str>,
    /// What was carried out.
    pub became: Became,
    /// Why, where that differs from the verdict.
    pub why: Option<&'static str>,
    /// How the login at a mail server ended, where one was asked.
    pub ending: Option<Ending>,
    /// What the policy in the shadow says, once it has; and which one that is.
    pub shadow: Option<(Told, Arc<Identity>)>,
    /// When the policy was asked.
    pub asked: Instant,
    /// What it took to decide.
    pub took: Duration,
}

/// How a login at a mail server ended.
#[derive(Clone, Debug)]
pub struct Ending {
    /// In the WIT's words.
    pub outcome: policy::Ending,
    /// The policy's clock, in Unix milliseconds.
    pub at_ms: u64,
    /// `host:port` of the node that has judged, where one has.
    pub node: Option<String>,
    /// From the verdict to the end.
    pub latency_ms: u32,
    /// When the verdict was there.
    pub began: Instant,
    /// When it was there.
    pub ended: Instant,
}

/// A posed session's way to a mail server.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The command that asked for it.
    pub why: &'static str,
    /// `authenticated`, `rejected`, `unreachable` or `abandoned`.
    pub outcome: &'static str,
    /// The node that it went to.
    pub node: Option<Arc<str>>,
    /// When it began.
    pub began: Instant,
    /// When it was there, or had failed.
    pub ended: Instant,
}

/// What a session is when it is over.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// As in the log and at the nodes.
    pub id: &'a str,
    /// Name of the virtual server.
    pub virtual_server: &'a str,
    /// The client.
    pub peer: SocketAddr,
    /// What it has connected to.
    pub local: SocketAddr,
    /// TLS, where there was any.
    pub tls: Option<&'a TlsSession>,
    /// The policy's clock at the end, in Unix milliseconds.
    pub ended_ms: u64,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether a posed session went on at a mail server.
    pub upgraded: bool,
    /// Whether it did not reach a mail server.
    pub relief: bool,
    /// Octets of the client.
    pub octets_in: u64,
    /// Octets to the client.
    pub octets_out: u64,
    /// How it ended.
    pub end: &'static str,
}

/// The next number in the order of decisions, from 1.
#[must_use]
pub fn next_decision() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Decision {
    /// What became of a login, as far as its verdict says.
    #[must_use]
    pub fn became(
        verdict: &Result<Verdict, Failure>,
        on_failure: OnFailure,
    ) -> (Became, Option<&'static str>) {
        match verdict {
            Ok(Verdict::Pass(_)) => (Became::Passed, None),
            Ok(Verdict::Deny(deny)) => match deny.manner {
                Manner::Refuse => (Became::Refused, None),
                Manner::Disconnect => (Became::Disconnected, None),
                Manner::Unchanged | Manner::Empty | Manner::Busy => (Became::Posed, None),
            },
            Err(failure) => {
                let why = match failure {
                    Failure::Paused => "policy-paused",
                    _ => "policy-failure",
                };
                match on_failure {
                    OnFailure::Pass => (Became::Passed, Some(why)),
                    OnFailure::Deny => (Became::Refused, Some(why)),
                }
            }
        }
    }
}

impl Decision {
    /// What the policy said, as far as another one's word can be compared with it.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        match &self.verdict {
            Ok(verdict) => Opinion::of_verdict(verdict),
            Err(kind) => Opinion::Failed(kind),
        }
    }
}

impl Story {
    /// Adds a decision, if there is room for it.
    pub fn add(&mut self, decision: Decision) {
        if self.decisions.len() < MOST_DECISIONS {
            self.decisions.push(decision);
        } else {
            self.left_out += 1;
        }
    }

    /// The latest decision, where it was kept.
    pub fn latest(&mut self) -> Option<&mut Decision> {
        if self.left_out > 0 { None } else { self.decisions.last_mut() }
    }
}
