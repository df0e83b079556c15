//! Where a virtual server's connections come in on one thread, and what holds for them now.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Context;

/// A virtual server's door on one thread. What it leads to is replaced as a whole: nobody ever
/// sees half of a change.
#[derive(Debug)]
pub struct Door(ArcSwap<Context>);

impl Door {
    /// A door that leads to this.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(context)))
    }

    /// What holds now.
    #[must_use]
    pub fn context(&self) -> Arc<Context> {
        self.0.load_full()
    }

    /// Has something else hold, for connections and logins from now on. What held before.
    pub fn lead_to(&self, context: Arc<Context>) -> Arc<Context> {
        self.0.swap(context)
    }
}
