//! Scenarios: readable files that say what a policy is to decide, step by step in virtual
//! time. `docs/scenarios.md` is their reference.

mod expectation;
mod file;
mod report;
mod run;
mod step;

pub use file::Scenario;
pub use report::{Format, write};
pub use run::{Failed, Played};
