//! The end-to-end tests: Reprieve between real mail servers and real clients, one module per
//! subject. What needs a process of its own is in another binary; host/proxy/Cargo.toml says why.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod attacks;
mod authentication;
mod client_address;
mod clients;
mod command_line;
mod conformance;
mod contract;
mod ctl;
mod cyrus;
mod dashboard;
mod decision_log;
mod dependencies;
mod docs;
mod examples;
mod full_disk;
mod golden_components;
mod interval_policy;
mod layers;
mod lifecycle;
mod limits;
mod long_credentials;
mod long_messages;
mod lookups;
mod maildrop;
mod maildrop_facts;
mod manners;
mod metrics;
mod new_mail;
mod nodes;
mod overload;
mod policy_failures;
mod policy_tools;
mod pools;
mod relief;
mod reload;
mod replay;
mod scenarios;
mod shared_store;
mod slow_clients;
mod store;
mod store_file;
mod store_redis;
mod takeover;
mod tls;
mod tls_clients;
mod top;
mod traces;
mod upgrade;
