//! Time limits of a relayed session, checked with one timer that ticks rarely.

use std::time::Duration;

use super::super::client_io::{Disconnect, LEAST_PROGRESS};
use super::super::context::Context;
use super::super::session_record::SessionEnd;
use super::Pump;
use crate::pool::Connection;

/// How long each side may keep the session waiting.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The client, for its next command.
    idle: Duration,
    /// The client, for 1 KiB of a reply.
    stall: Duration,
    /// The mail server, while a reply is awaited.
    reply: Duration,
}

impl Limits {
    pub(super) fn of(context: &Context, connection: &Connection) -> Self {
        let settings = &context.settings;
        Self { idle: settings.idle_timeout, stall: settings.stall_timeout, reply: connection.reply_timeout() }
    }

    pub(super) fn shortest(&self) -> Duration {
        self.idle.min(self.stall).min(self.reply)
    }
}

/// Progress since the last tick of the timer, which ticks rarely, not once per command.
#[derive(Default)]
pub(super) struct Progress {
    /// A complete command was read, or the mail server sent something, since the last tick.
    pub(super) command: bool,
    pub(super) server: bool,
    /// Time without progress of each kind, counted in ticks.
    without_command: Waited,
    without_server: Waited,
    without_delivery: Waited,
    /// Bytes that the client had acknowledged when it last made enough progress.
    delivered: u64,
}

/// Time without progress, in a compact form: each session has three.
#[derive(Clone, Copy, Default)]
struct Waited {
    ms: u32,
}

impl Waited {
    /// Adds a tick. True if the limit is reached; limits beyond 49 days are capped.
    fn has_reached(&mut self, tick: Duration, limit: Duration) -> bool {
        let tick_ms = u32::try_from(tick.as_millis()).unwrap_or(u32::MAX);
        self.ms = self.ms.saturating_add(tick_ms.max(1));
        self.ms == u32::MAX || Duration::from_millis(self.ms.into()) >= limit
    }
}

impl Pump<'_> {
    pub(super) fn limits(&self) -> Limits {
        Limits::of(self.context, &self.connection)
    }

    /// Checks the time limits, and returns how the session ends if one is exceeded. Each is noticed
    /// at the first tick after it.
    pub(super) fn tick(&mut self) -> Option<Result<SessionEnd, Disconnect>> {
        let limits = self.limits();
        let tick = limits.shortest();
        let delivered = self.client.bytes_out.saturating_sub(
            (self.splice.held() + self.to_client.bytes.len() - self.to_client.written) as u64
                + self.client.stream.unacknowledged_bytes(),
        );
        let is_owed = delivered < self.client.bytes_out;
        let progress = &mut self.progress;
        let taken = delivered.saturating_sub(progress.delivered);
        if !is_owed || taken >= LEAST_PROGRESS {
            progress.delivered = delivered;
            progress.without_delivery = Waited::default();
        } else if progress.without_delivery.has_reached(tick, limits.stall) {
            return Some(Err(Disconnect::Stalled));
        }
        // If the client does not read, the mail server is not read either: that is not its fault.
        if std::mem::take(&mut progress.server) || !self.relay.is_waiting() || is_owed {
            progress.without_server = Waited::default();
        } else if progress.without_server.has_reached(tick, limits.reply) {
            return Some(Ok(SessionEnd::ServerLost));
        }
        if std::mem::take(&mut progress.command) || self.relay.is_waiting() || is_owed {
            progress.without_command = Waited::default();
        } else if progress.without_command.has_reached(tick, limits.idle) {
            return Some(Ok(SessionEnd::Idle));
        }
        None
    }
}
