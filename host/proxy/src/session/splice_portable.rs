//! Stands in for `splice.rs` on systems without splice(2): everything is copied.

use std::io;
use std::task::{Context, Poll};

use crate::net::Stream;
use reprieve_pop3::relay::Relay;

/// Never splices.
#[derive(Debug, Default)]
pub(super) struct Splice;

impl Splice {
    pub(super) fn begin_turn(&mut self) {}

    pub(super) fn was_read(&mut self, _all: bool) {}

    pub(super) fn held(&self) -> usize {
        0
    }

    pub(super) fn take(&mut self, _relay: &mut Relay, _from: &Stream, _to: &Stream) -> Option<usize> {
        None
    }

    pub(super) fn poll_write(&mut self, _to: &Stream, _task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
