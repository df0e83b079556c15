//! What a session hands over when it ends: its decisions, what they were based on, and what followed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::net::TlsSession;
use reprieve_policy_host::{
    self as policy, Backend, Claim, Disposition, Freshness, Identity, Opinion, Told, Verdict,
};

/// Decisions that are kept per session, so that a client that keeps trying takes bounded memory.
const MOST_DECISIONS: usize = 32;

/// The decisions of a session, from its first login on.
#[derive(Debug, Default)]
pub struct SessionEvents {
    /// The decisions, in order.
    pub decisions: Vec<Decision>,
    /// Further decisions, which are not kept.
    pub left_out: u32,
    /// The upgrade, if one was attempted.
    pub upgrade: Option<Upgrade>,
}

/// A login about which the policy was asked.
#[derive(Debug)]
pub struct Decision {
    /// Number of the decision in this process.
    pub seq: u64,
    /// The policy's clock, in Unix milliseconds.
    pub at_ms: u64,
    /// User, mechanism and standing.
    pub claim: Claim,
    /// What was known about changes of the maildrop.
    pub freshness: Freshness,
    /// State of the pool.
    pub backend: Backend,
    /// The policy that decided.
    pub policy: Arc<Identity>,
    /// The verdict, or the kind of failure.
    pub verdict: Result<Verdict, &'static str>,
    /// What happened to the login; none if the session was cut off before.
    pub disposition: Option<Disposition>,
    /// How the login at a mail server ended, if one was asked.
    pub outcome: Option<ObservedOutcome>,
    /// The shadow policy's verdict, once it is made, and its identity.
    pub shadow: Option<(Told, Arc<Identity>)>,
    /// When the policy was asked.
    pub asked: Instant,
    /// Duration of the decision.
    pub took: Duration,
}

/// How a login at a mail server ended.
#[derive(Clone, Debug)]
pub struct ObservedOutcome {
    /// Accepted, rejected, or why neither.
    pub ending: policy::Ending,
    /// The policy's clock, in Unix milliseconds.
    pub at_ms: u64,
    /// `host:port` of the node that answered, if one did.
    pub node: Option<String>,
    /// Time from the verdict to the outcome.
    pub latency_ms: u32,
    /// When the verdict was made.
    pub began: Instant,
    /// When the outcome was known.
    pub ended: Instant,
}

/// An upgrade: a posed session that tried to continue at a mail server.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The command that asked for it: `RETR`, `TOP`, `DELE` or `other`.
    pub command: &'static str,
    /// How the login at the mail server ended.
    pub outcome: policy::Ending,
    /// The node that it reached.
    pub node: Option<Arc<str>>,
    /// When it began.
    pub began: Instant,
    /// When it had succeeded or failed.
    pub ended: Instant,
}

/// A session that has ended.
#[derive(Clone, Copy, Debug)]
pub struct EndedSession<'a> {
    /// Session id, as in the log and at the mail servers.
    pub id: &'a str,
    /// Name of the virtual server.
    pub virtual_server: &'a str,
    /// The client.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// TLS, if it was used.
    pub tls: Option<&'a TlsSession>,
    /// The policy's clock at the end, in Unix milliseconds.
    pub ended_ms: u64,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// Whether a posed session continued at a mail server.
    pub upgraded: bool,
    /// Whether a login was denied and no mail server was asked.
    pub relief: bool,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
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
    /// The verdict, as far as it can be compared with another policy's.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        match &self.verdict {
            Ok(verdict) => Opinion::of_verdict(verdict),
            Err(kind) => Opinion::Failed(kind),
        }
    }
}

impl SessionEvents {
    /// Adds a decision, up to the limit.
    pub fn add(&mut self, decision: Decision) {
        if self.decisions.len() < MOST_DECISIONS {
            self.decisions.push(decision);
        } else {
            self.left_out += 1;
        }
    }

    /// The latest decision, if it was kept.
    pub fn latest(&mut self) -> Option<&mut Decision> {
        if self.left_out > 0 { None } else { self.decisions.last_mut() }
    }
}
