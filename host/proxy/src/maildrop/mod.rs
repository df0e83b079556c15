//! What the host remembers of users: which secrets their mail servers have accepted, as keyed
//! tags, and their maildrops' snapshots. It knows no sockets and no policies.

mod local;
mod record;
mod registry;
mod shared;
mod table;
mod tag;
mod user;

pub use local::Remembered;
pub use registry::{Begun, Commit, Description, Opening, Registry, Seen, Takes};
pub use tag::{Tag, Tagger, UserKey};
pub use user::{Left, NoSnapshot, Route, Session, Standing};
