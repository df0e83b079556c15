//! What the host remembers of users: which secrets their mail servers have accepted, as keyed
//! tags, and their maildrops' snapshots. It knows no sockets and no policies.

mod registry;
mod tag;

pub use registry::{Registry, Route, Session, Standing};
pub use tag::{Tag, Tagger, UserKey};
