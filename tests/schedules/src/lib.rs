//! Models of code that threads share, run by Shuttle: see README.md.
//!
//! The files of the product are compiled here once more (`#[path]`), because their crates, with `wasmtime`,
//! would take a quarter of an hour under another configuration.
#![cfg(shuttle)]
#![allow(dead_code, unused_imports, unused_qualifications, reason = "no model uses all of a file")]

mod config;
mod explore;
mod maildrop;
mod net;
mod policy;
mod pool;
mod store;
#[path = "../../../host/proxy/src/time.rs"]
mod time;

pub use explore::explore;

/// Each model with its name.
pub const MODELS: [(&str, fn()); 19] = [
    ("breaker::failures_in_a_row_open_it_once", policy::failures_in_a_row_open_it_once),
    ("breaker::one_trial_follows_a_pause", policy::one_trial_follows_a_pause),
    (
        "breaker::calls_of_before_the_pause_do_not_open_it_again",
        policy::calls_of_before_the_pause_do_not_open_it_again,
    ),
    ("breaker::failures_after_a_trial_open_it_again", policy::failures_after_a_trial_open_it_again),
    ("breaker::calls_of_any_outcome_leave_it_consistent", policy::calls_of_any_outcome_leave_it_consistent),
    ("queue::no_node_exceeds_its_limit_and_no_login_is_forgotten", pool::logins_of_limited_nodes),
    ("queue::a_node_that_is_enabled_again_gets_those_who_wait", pool::drained_and_enabled_again),
    ("queue::a_limit_that_a_reload_brings_holds_for_who_comes_after_it", pool::limit_by_reload),
    ("queue::a_lowered_limit_is_reached_although_logins_wait", pool::limit_lowered_by_reload),
    ("connections::limits_hold_and_nothing_is_left_behind", net::connections_of_two_networks),
    ("connections::a_shed_connection_ends", net::a_shed_connection_ends),
    ("connections::a_login_is_shed_or_stays", net::a_login_is_shed_or_stays),
    ("users::sums_follow_every_change_and_memory_is_bounded", maildrop::users_come_and_go),
    ("users::open_sessions_are_counted", maildrop::open_sessions_are_counted),
    ("stale::a_record_is_trusted_only_after_its_deletion", maildrop::a_stale_record_is_deleted),
    ("stale::all_records_are_trusted_only_after_their_deletion", maildrop::all_records_are_deleted),
    ("store::batches_lose_no_unit", store::batches_lose_no_unit),
    ("store::counters_and_first_writes_happen_once", store::counters_and_first_writes_happen_once),
    ("store::the_quota_is_never_exceeded", store::the_quota_is_never_exceeded),
];
