//! Concurrent sessions: what each of them is shown, in chosen and in random orders.

mod history;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod changes_under_load;
#[path = "../differential/mod.rs"]
mod differential;
mod faults;
mod histories;
mod interleavings;
mod listings;
mod maildrop_names;
mod moving_address;
mod planted;
