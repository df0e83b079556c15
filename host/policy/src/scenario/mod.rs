//! Scenarios: files with the logins of a test, step by step in virtual time, and the expected
//! decisions of the policy. `docs/scenarios.md` is the reference.

mod comparison;
mod condition;
mod expectation;
mod file;
mod report;
mod result;
mod run;
mod step;

pub use file::Scenario;
pub use report::{Format, write};
pub use result::{ScenarioResult, StepFailure};
