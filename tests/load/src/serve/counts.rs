//! Counters of the stub.

use std::cell::Cell;
use std::fmt;

#[derive(Default)]
pub(super) struct Counts {
    connections: Cell<u64>,
    logins: Cell<u64>,
    retrieved: Cell<u64>,
}

impl Counts {
    pub(super) fn connection(&self) {
        self.connections.set(self.connections.get() + 1);
    }

    pub(super) fn login(&self) {
        self.logins.set(self.logins.get() + 1);
    }

    pub(super) fn retrieval(&self) {
        self.retrieved.set(self.retrieved.get() + 1);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, logins, retrieved } = self;
        write!(f, "connections={} logins={} retrieved={}", connections.get(), logins.get(), retrieved.get())
    }
}
