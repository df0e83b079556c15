//! The current configuration of a virtual server on one thread.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Context;

/// The context in force of a virtual server on one thread. It is replaced as a whole, so a session
/// never sees half of a change.
#[derive(Debug)]
pub struct ContextHandle(ArcSwap<Context>);

impl ContextHandle {
    /// Starts with this context.
    #[must_use]
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self(ArcSwap::new(context)))
    }

    /// The context in force.
    #[must_use]
    pub fn context(&self) -> Arc<Context> {
        self.0.load_full()
    }

    /// Replaces the context for connections and logins from now on, and returns the one before.
    pub fn replace(&self, context: Arc<Context>) -> Arc<Context> {
        self.0.swap(context)
    }
}
