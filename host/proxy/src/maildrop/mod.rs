//! What the proxy remembers about users: which secrets their mail servers have accepted, as keyed
//! hashes, and what their clients last saw of their maildrops. It knows no sockets and no policies.
//!
//! | file | contents |
//! | --- | --- |
//! | `registry` | the public interface, the same for all modes |
//! | `mode` | what a mode has to do; `local_only`, `shared_tags` and `shared_snapshots` do it |
//! | `user` | what is remembered about one user, and how sessions change it |
//! | `maildrop_session` | what a session knows of the maildrop that it has seen, and what it leaves |
//! | `no_snapshot` | why there is no snapshot of a maildrop |
//! | `users`, `table` | users in the memory of this process |
//! | `names` | users whose mailboxes have other names at the mail server |
//! | `open_sessions` | how many relayed sessions each user has |
//! | `records`, `seal` | users in a store that proxies share |
//! | `stale_records` | users whose record there is out of date |
//! | `sealed_bytes` | records of any content, for fuzz targets |
//! | `tag` | keyed hashes of users and secrets |

mod local_only;
mod maildrop_session;
mod mode;
mod names;
mod no_snapshot;
mod open_sessions;
mod records;
mod registry;
mod seal;
mod sealed_bytes;
mod shared_snapshots;
mod shared_tags;
mod stale_records;
mod table;
mod tag;
mod user;
mod users;

pub use maildrop_session::{LeftMaildrop, MaildropSession, Wait};
pub(crate) use mode::{Fetched, MaildropFacts, Pending, PendingWrite, Upgrade};
pub use mode::{MaybeReady, Opening};
pub(crate) use names::Learned;
pub(crate) use no_snapshot::NoSnapshot;
pub(crate) use registry::Description;
pub use registry::Registry;
pub use sealed_bytes::{OpenedRecord, SealedBytes};
pub use tag::{Tag, Tagger, UserKey};
pub(crate) use user::{LastSeen, Route, TagStanding};
pub(crate) use users::{MemoryUsage, OpenSession};
