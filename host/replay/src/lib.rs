//! Replays logs with a policy: what would the policy have done with the logins in a log? Formats turn
//! lines into logins, the player asks the policy about them in the log's own time, and the report
//! adds up the results. Nothing is sent anywhere, and only what the caller asks for is written.

mod calendar;
mod contents;
mod differences;
mod entry;
mod event;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod lines;
mod merge;
mod new_mail;
mod periods;
mod player;
mod problems;
mod recorded_verdict;
mod reorder;
pub mod report;
mod run;
mod selection;
mod source;
mod stream;
mod to_scenario;
mod totals;
mod users;

pub use differences::{DifferenceKind, Differences, Example};
pub use format::{Format, delivery};
pub use new_mail::{NewMail, Waits};
pub use periods::Period;
pub use player::{PolicyLog, PolicySource};
pub use problems::{LogWithoutLogins, MostlyUnread, Problem, Problems, WrongYear};
pub use report::Report;
pub use run::{Plan, Progress, run};
pub use selection::Selection;
pub use source::LogSource;
pub use to_scenario::{WrittenScenario, to_scenario};
pub use totals::Totals;
pub use users::UserRow;
