//! Replay: what a policy would have done with the logins that a log tells of, in the log's own
//! time. Formats turn lines into logins, the player puts them to the policy as the host would,
//! the report adds up. It knows no sockets, and writes nothing but what it is asked for.

mod calendar;
mod difference;
mod entry;
pub mod format;
mod lines;
mod merge;
mod order;
mod periods;
mod player;
mod problems;
pub mod report;
mod run;
mod said;
mod saw;
mod source;
mod stream;
mod tally;
mod users;

pub use calendar::{Calendar, FirstYear};
pub use difference::{Difference, Example, Kind};
pub use entry::{Entry, Recorded};
pub use format::{Format, Reader, Told};
pub use periods::Period;
pub use player::{Decision, OwnLines, PlayedPolicy, Player};
pub use problems::{Problem, Problems, Unread, WithoutLogins, WrongYear};
pub use report::Report;
pub use run::{Plan, Progress, run};
pub use said::{Said, Word};
pub use source::LogFile;
pub use tally::Counts;
pub use users::UserRow;
