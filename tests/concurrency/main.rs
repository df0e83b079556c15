//! Many sessions at the same time: what each of them is shown, in orders that a test chooses and
//! in orders that chance chooses.

mod history;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod changes_under_load;
mod histories;
mod interleavings;
mod listings;
mod maildrop_names;
mod planted;
