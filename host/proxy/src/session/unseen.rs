//! Long messages between connections in cleartext: all of one but its end passes within the
//! system, unseen and uncopied. The octets of short ones are cheaper to copy.

use std::io;
use std::task::{Context, Poll};

use crate::net::{Pipe, Stream};
use reprieve_pop3::relay::Relay;

/// Octets that must have arrived to be worth it.
const WORTH: usize = 16 << 10;
/// Octets that pass before others have their turn.
const TURN: usize = 4 << 20;

/// The way past the session, of messages that are worth it.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Whether more octets come than are read at once.
    flows: bool,
    pipe: Option<Pipe>,
    /// Octets that have passed in this turn.
    in_turn: usize,
}

impl Unseen {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.in_turn = 0;
    }

    /// So many octets were read; `all`: as many as are read at once.
    pub(super) fn was_read(&mut self, all: bool) {
        self.flows = all;
    }

    /// Octets that are on their way to the client.
    pub(super) fn held(&self) -> usize {
        self.pipe.as_ref().map_or(0, Pipe::held)
    }

    /// Lets what has arrived of a message go its way. How many octets; None where they have to
    /// be read.
    pub(super) fn take(&mut self, relay: &mut Relay, from: &Stream, to: &Stream) -> Option<usize> {
        if !self.flows || self.in_turn >= TURN {
            return None;
        }
        let (Stream::Plain(source), Stream::Plain(_)) = (from, to) else { return None };
        let passing = relay.unseen_but().and_then(|end| {
            let arrived = from.arrived();
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
        relay.passed_unseen();
        self.in_turn += taken;
        Some(taken)
    }

    /// Writes what is on its way. Ready when nothing is.
    pub(super) fn poll_write(&mut self, to: &Stream, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        let Stream::Plain(stream) = to else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        let drained = pipe.poll_drain(stream, task);
        if drained.is_ready() && !self.flows {
            // Between messages a session keeps none.
            self.pipe = None;
        }
        drained
    }
}
