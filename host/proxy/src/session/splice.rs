//! Splices the bytes of long messages between cleartext connections, all but the end of each,
//! without copying them through user space. Short messages are cheaper to copy.

use std::io;
use std::task::{Context, Poll};

use crate::net::{Pipe, Stream};
use reprieve_pop3::relay::Relay;

/// Bytes that must have arrived to make a splice worthwhile.
const WORTH: usize = 16 << 10;
/// Bytes per turn before the session yields to others.
const TURN: usize = 4 << 20;

/// The splice of one session.
#[derive(Debug, Default)]
pub(super) struct Splice {
    /// Whether bytes arrive faster than one read takes.
    flows: bool,
    pipe: Option<Pipe>,
    /// Bytes spliced in this turn.
    in_turn: usize,
}

impl Splice {
    /// Starts a turn.
    pub(super) fn begin_turn(&mut self) {
        self.in_turn = 0;
    }

    /// Records a read; `all`: the read buffer was filled.
    pub(super) fn was_read(&mut self, all: bool) {
        self.flows = all;
    }

    /// Bytes in the pipe.
    pub(super) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::buffered)
    }

    /// Splices what has arrived of a message, and returns how many bytes; None if they must be read
    /// instead.
    pub(super) fn take(&mut self, relay: &mut Relay, from: &Stream, to: &Stream) -> Option<usize> {
        if !self.flows || self.in_turn >= TURN {
            return None;
        }
        let (Stream::Plain(source), Stream::Plain(_)) = (from, to) else { return None };
        let passing = relay.unspliced_end().and_then(|end| {
            let arrived = from.unread_bytes();
            (arrived >= WORTH).then(|| arrived - end)
        });
        let Some(passing) = passing else {
            self.flows = false;
            return None;
        };
        if self.pipe.is_none() {
            self.pipe = Pipe::take().ok();
        }
        let taken = self.pipe.as_mut()?.fill(source, passing).ok().filter(|&taken| taken > 0)?;
        relay.spliced();
        self.in_turn += taken;
        Some(taken)
    }

    /// Writes the pipe's bytes. Ready when the pipe is empty.
    pub(super) fn poll_write(&mut self, to: &Stream, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        let Stream::Plain(stream) = to else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let drained = pipe.poll_drain(stream, task);
        if drained.is_ready() && !self.flows {
            // Between messages a session has no pipe.
            self.pipe = None;
        }
        drained
    }
}
